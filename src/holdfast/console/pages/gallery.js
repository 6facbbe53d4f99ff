// Images that were made; first of all those that nobody ever fetched.

import { admin, withQuery } from "../api.js";
import { choice, fill, h, head } from "../dom.js";
import { ago, moment } from "../format.js";
import { live } from "../live.js";
import { doing } from "../notice.js";

export const title = "Gallery";
const PAGE = 24;

export async function show(main, { query, signal }) {
  const collected = query.get("collected") ?? "";
  const grid = h("div", { class: "gallery" });
  const more = h("button", { type: "button", hidden: true }, "Older ones");
  const newer = h("button", { type: "button", hidden: true, onclick: () => window.dispatchEvent(new Event("hashchange")) }, "There are new ones");
  const pick = (event) => (location.hash = withQuery("#/gallery", { collected: event.target.value }));
  fill(main, head("Gallery", newer, choice("collected", [["", "All"], ["false", "Never collected"], ["true", "Collected"]], collected, pick, "Which images")),
    h("p", { class: "soft small" }, "Looking at an image here does not count as collecting it."), h("div", { class: "stack" }, grid, h("div", { class: "row" }, more)));
  let after = "";
  async function read() {
    const page = await admin(withQuery("generations", { status: "succeeded", collected, after, limit: PAGE }), { signal });
    after = page.last_id ?? "";
    more.hidden = !page.has_more;
    grid.append(...page.data.flatMap(shots));
    if (!grid.children.length && more.hidden) fill(grid, h("p", { class: "nothing" }, collected === "false" ? "Every image has reached somebody." : "No image has been made yet."));
  }
  more.addEventListener("click", doing(read));
  live.addEventListener("change", ({ detail }) => {
    if (detail.some((each) => each.status === "succeeded")) newer.hidden = false;
  }, { signal });
  await read();
}

function shots(it) {
  const indices = Array.from({ length: Math.max(1, it.images) }, (_, index) => index);
  return (it.purged_at ? [0] : indices).map((index) => {
    const gone = it.purged_at || !it.images;
    const picture = gone ? `deleted ${moment(it.purged_at)}` : h("img", { src: `/admin/v1/generations/${it.id}/images/${index}`, alt: `${it.model} ${it.size}, made ${moment(it.created_at)}`, loading: "lazy", decoding: "async", onerror: ({ target }) => target.replaceWith("no longer there") });
    return h("a", { class: "shot", href: `#/generations/${it.id}`, data: { row: it.id } }, h("div", { class: "frame" }, picture),
      h("p", {}, `${it.model} ${it.size}`), h("p", { class: "soft" }, `${ago(it.finished_at ?? it.created_at)}${it.collected_at ? "" : ", never collected"}`));
  });
}
