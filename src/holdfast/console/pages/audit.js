// Who changed what.

import { admin, withQuery } from "../api.js";
import { card, fill, h, head, table } from "../dom.js";
import { moment } from "../format.js";
import { doing } from "../notice.js";

export const title = "Audit";
const PAGE = 50;

export async function show(main, { query, signal }) {
  const asked = { action: query.get("action") ?? "", actor: query.get("actor") ?? "", target: query.get("target") ?? "" };
  const body = h("div");
  const more = h("button", { type: "button", hidden: true }, "Older ones");
  const form = h("form", { class: "fields", onsubmit: apply, onchange: apply },
    [["Action", "action", "key.revoked"], ["By", "actor", "key_…, cli"], ["On", "target", "an id"]].map(([text, name, example]) => h("label", {}, text, h("input", { name, value: asked[name], placeholder: example, spellcheck: "false" }))));
  fill(main, head("Audit"), h("div", { class: "stack" }, card("", form), h("section", { class: "card" }, body, h("div", { class: "row" }, more))));
  let rows = [];
  let after = "";

  function apply(event) {
    event.preventDefault();
    location.hash = withQuery("#/audit", Object.fromEntries(new FormData(form)));
  }

  async function read() {
    const page = await admin(withQuery("audit", { ...asked, after, limit: PAGE }), { signal });
    rows = [...rows, ...page.data];
    after = page.last_id ?? "";
    more.hidden = !page.has_more;
    fill(body, table([
      ["When", (row) => moment(row.at)], ["Who", (row) => row.actor_label ?? row.actor], ["What", (row) => row.action], ["On", (row) => h("span", { class: "mono wrap" }, row.target)],
      ["Details", (row) => h("span", { class: "soft small wrap" }, row.details ? JSON.stringify(row.details) : "")],
    ], rows, "Nothing was changed."));
  }

  more.addEventListener("click", doing(read));
  await read();
}
