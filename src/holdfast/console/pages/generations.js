// Every generation, newest first, narrowed by what the address says: a filter is a link that can be shared.

import { admin, withQuery } from "../api.js";
import { card, fill, h, head, select } from "../dom.js";
import { localInput } from "../forms.js";
import { GenerationList } from "../generations.js";
import { live } from "../live.js";
import { doing } from "../notice.js";

export const title = "Generations";
const STATUSES = ["queued", "running", "succeeded", "failed", "cancelled"];
const PAGE = 30;
const FILTERS = ["status", "model", "collected", "key_id", "since", "until"];

export async function show(main, { query, signal }) {
  const asked = Object.fromEntries(FILTERS.map((name) => [name, query.get(name) ?? ""]));
  const list = new GenerationList("Nothing fits. Take a filter away, or wait for what is asked for.");
  const more = h("button", { type: "button", hidden: true }, "Older ones");
  let rows = [];
  let after = "";

  const form = h("form", { class: "fields", onchange: apply, onsubmit: apply },
    h("label", {}, "Status", select("status", [["", "any"], ...STATUSES], asked.status)),
    h("label", {}, "Model", h("input", { name: "model", value: asked.model, placeholder: "any", spellcheck: "false" })),
    h("label", {}, "Collected", select("collected", [["", "either way"], ["true", "collected"], ["false", "never"]], asked.collected)),
    h("label", {}, "Key", h("input", { name: "key_id", value: asked.key_id, placeholder: "key_…", spellcheck: "false" })),
    h("label", {}, "Since", h("input", { name: "since", type: "datetime-local", value: localInput(asked.since) })),
    h("label", {}, "Until", h("input", { name: "until", type: "datetime-local", value: localInput(asked.until) })));
  fill(main, head("Generations", h("button", { type: "button", onclick: () => (location.hash = "#/generations") }, "Take filters away")),
    h("div", { class: "stack" }, card("", form), h("section", { class: "card" }, list.element, h("div", { class: "row" }, more))));

  function apply(event) {
    event.preventDefault();
    const given = Object.fromEntries(new FormData(form));
    for (const name of ["since", "until"]) given[name] = given[name] && new Date(given[name]).toISOString();
    location.hash = withQuery("#/generations", given);
  }

  async function read() {
    const page = await admin(withQuery("generations", { ...asked, after, limit: PAGE }), { signal });
    rows = [...rows, ...page.data];
    after = page.last_id ?? "";
    more.hidden = !page.has_more;
    list.draw(rows);
  }

  more.addEventListener("click", doing(read));
  live.addEventListener("change", ({ detail }) => {
    const known = new Map(rows.map((each) => [each.id, each]));
    // Without a filter what is new belongs on top; with one, only what is listed already is kept up to date.
    const isWhole = Object.values(asked).every((value) => !value);
    const fresh = isWhole ? detail.filter((each) => !known.has(each.id)).toReversed() : [];
    const moved = new Map(detail.map((each) => [each.id, each]));
    rows = [...fresh, ...rows.map((each) => moved.get(each.id) ?? live.open.get(each.id) ?? each)];
    list.draw(rows);
  }, { signal });
  await read();
}
