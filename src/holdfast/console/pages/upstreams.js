// Upstreams and their keys: who rests, until when, how many stand in line. Keys are known by their place, never by name.

import { admin } from "../api.js";
import { card, fill, h, head, state, table } from "../dom.js";
import { count, seconds, tone, words } from "../format.js";

export const title = "Upstreams";
const REREAD_MS = 3000;

export async function show(main, { signal }) {
  const body = h("div", { class: "columns" });
  const read = async () => {
    const { data } = await admin("upstreams", { signal });
    fill(body, data.length ? data.map(drawn) : h("p", { class: "nothing" }, "No upstream is set."));
  };
  await read();
  fill(main, head("Upstreams"), body);
  const timer = setInterval(() => !document.hidden && read().catch((problem) => console.warn("upstreams", problem.message)), REREAD_MS);
  signal.addEventListener("abort", () => clearInterval(timer));
}

function until(row) {
  return row.until_s ? `for ${seconds(row.until_s)}` : "";
}

function drawn(row) {
  const places = row.places_max === null ? "no limit" : `${row.places} of ${row.places_max} free`;
  return h("section", { class: "card" }, h("div", { class: "head" }, h("h2", {}, row.name), state(`${words(row.state)} ${until(row)}`, tone(row.state))),
    h("dl", { class: "pairs small" }, [["Speaks", row.provider], ["At", row.base_url], ["Places", places], ["In line", count(row.waiting)], ["Serves", row.models.join(", ") || "nothing"]].map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
    table([["Key", (key) => `No. ${key.number}`], ["State", (key) => state(words(key.state), tone(key.state))], ["", (key) => h("span", { class: "soft" }, until(key))], ["Failures in a row", (key) => count(key.failures), true]], row.keys, "It needs no key."));
}
