// Settings as they are in force; secrets are masked by the gateway. They are changed in the file, and read anew at SIGHUP.

import { admin } from "../api.js";
import { card, fill, h, head, table } from "../dom.js";

export const title = "Settings";

export async function show(main, { signal }) {
  const { data } = await admin("settings", { signal });
  const body = h("div");
  const words = h("input", { type: "search", placeholder: "beat", "aria-label": "Find a setting", spellcheck: "false", oninput: draw });
  const changed = h("input", { type: "checkbox", onchange: draw });
  fill(main, head("Settings", words, h("label", { class: "inline" }, changed, "only what was changed")), card("", body));

  function draw() {
    const sought = words.value.trim().toLowerCase();
    const rows = data.filter((row) => (!changed.checked || !row.is_default) && `${row.name} ${row.means}`.toLowerCase().includes(sought));
    fill(body, table([
      ["Name", (row) => [h("span", { class: "mono" }, row.name), !row.is_default && [" ", h("span", { class: "tag" }, "set")]]],
      ["Value", (row) => h("span", { class: "mono wrap" }, typeof row.value === "string" ? row.value || "–" : JSON.stringify(row.value))],
      ["Unit", (row) => row.unit],
      ["Means", (row) => h("div", { class: "wrap soft" }, row.means)],
    ], rows, "No setting has that in its name or meaning."));
  }
  draw();
}
