// Images that were made; first of all those that nobody ever fetched.

import { admin, withQuery } from "../api.js";
import { choice, fill, h, head } from "../dom.js";
import { ago, moment } from "../format.js";
import { live } from "../live.js";
import { doing } from "../notice.js";
import { gone, hasThumbnails, lookAt, thumbnail } from "../pictures.js";

export const title = "Gallery";
const PAGE = 24;

export async function show(main, { query, signal }) {
  const collected = query.get("collected") ?? "";
  const grid = h("ul", { class: "gallery" });
  const more = h("button", { type: "button", hidden: true }, "Older ones");
  const newer = h("button", { type: "button", hidden: true, onclick: () => window.dispatchEvent(new Event("hashchange")) }, "There are new ones");
  const pick = (event) => (location.hash = withQuery("#/gallery", { collected: event.target.value }));
  fill(main, head("Gallery", newer, choice("collected", [["", "All"], ["false", "Never collected"], ["true", "Collected"]], collected, pick, "Which images")),
    h("div", { class: "stack" }, h("p", { class: "soft small" }, "Looking at an image here does not count as collecting it.", !hasThumbnails() && [" Small pictures need Pillow (", h("code", {}, "pip install 'holdfast[convert]'"), "): without it an image is loaded, whole, when you open it."]), grid, h("div", { class: "row" }, more)));
  let after = "";
  async function read() {
    const page = await admin(withQuery("generations", { status: "succeeded", collected, after, limit: PAGE }), { signal });
    after = page.last_id ?? "";
    more.hidden = !page.has_more;
    grid.append(...page.data.flatMap((each) => shots(each, signal)));
    if (!grid.children.length && more.hidden) fill(grid, h("li", { class: "nothing" }, collected === "false" ? "Every image has reached somebody." : "No image has been made yet."));
  }
  more.addEventListener("click", doing(read));
  live.addEventListener("change", ({ detail }) => {
    if (detail.some((each) => each.status === "succeeded")) newer.hidden = false;
  }, { signal });
  await read();
}

function shots(it, signal) {
  const story = `#/generations/${it.id}`;
  const words = [h("p", {}, `${it.model} ${it.size}`), h("p", { class: "soft" }, `${ago(it.finished_at ?? it.created_at)}${it.collected_at ? "" : ", never collected"}`)];
  if (!it.files.length) return [h("li", {}, h("a", { class: "shot", href: story, data: { row: it.id } }, gone(it.purged_at), words))];
  return it.files.map((file) => {
    const alt = `${it.model} ${it.size}, made ${moment(it.created_at)}`;
    const open = h("button", { type: "button", class: "look", "aria-label": `Look at ${alt}`, data: { row: it.id }, onclick: ({ currentTarget }) => lookAt(currentTarget, it.id, file, alt, story) }, thumbnail(it.id, file, alt, signal));
    return h("li", { class: "shot" }, open, h("a", { class: "plain", href: story }, words.map((each) => each.cloneNode(true))));
  });
}
