// Generations as lists show them: one link each, kept and updated by id, so that a list that moves keeps focus and place.

import { fill, h, state } from "./dom.js";
import { ago, moment, money, seconds, tone, words } from "./format.js";

// The bar goes on beyond what 95 % take, so that a late one is seen to be late.
const TAIL = 1.25;

/** How far along it is: measured against what 95 % of its kind take, with a tick where half of them are done. */
export function bar(generation) {
  const { progress } = generation;
  const made = h("span", { class: "bar", role: "progressbar", "aria-label": "Progress", "aria-valuemin": 0, "aria-valuemax": 100 }, h("i"), h("b"));
  if (!progress) return made;
  const whole = Math.max(progress.p95_s * TAIL, progress.elapsed_s, 0.001);
  made.style.setProperty("--at", Math.min(1, progress.elapsed_s / whole));
  made.style.setProperty("--tick", Math.min(1, progress.expected_s / whole));
  made.dataset.tone = progress.elapsed_s > progress.p95_s ? "warn" : "busy";
  made.setAttribute("aria-valuenow", Math.round(progress.fraction * 100));
  return made;
}

/** In words: `42 s, usually 58 s`. */
export function expectation(generation) {
  const { progress, queue_position: position } = generation;
  if (position) return `${position}. in line${generation.estimated_start_s ? `, starts in ${seconds(generation.estimated_start_s)}` : ""}`;
  if (!progress) return "";
  if (progress.elapsed_s > progress.p95_s) return `${seconds(progress.elapsed_s)}, longer than 95 of 100`;
  return `${seconds(progress.elapsed_s)}, usually ${seconds(progress.expected_s)}`;
}

/** How it ended, in a few words. */
export function outcome(generation) {
  if (generation.status === "failed") return words(generation.failure_code ?? generation.failure_kind ?? "failed");
  if (generation.status === "cancelled") return "";
  const notes = [generation.late && "late", generation.partial_result && "partial", generation.joins && `${generation.joins} joined`];
  if (generation.status === "succeeded") notes.push(generation.purged_at ? "images deleted" : !generation.collected_at && "never collected");
  return notes.filter(Boolean).join(", ");
}

function cells(each) {
  const isOpen = ["queued", "running"].includes(each.status);
  const spent = each.cost.charged_micros || each.cost.compensated_micros;
  return [
    state(each.cancel_requested && isOpen ? "cancelling" : each.status, tone(each.status)),
    h("span", {}, `${each.model} `, h("span", { class: "soft" }, `${each.size}${each.n > 1 ? ` × ${each.n}` : ""}`)),
    h("span", { class: "wide soft" }, each.key_label || each.key_id),
    isOpen ? h("span", { class: "mid small" }, bar(each), expectation(each)) : h("span", { class: "mid soft" }, [seconds(each.elapsed_s), spent ? money(each.cost.charged_micros) : "", outcome(each)].filter(Boolean).join(" · ")),
    h("time", { class: "when small", datetime: each.finished_at ?? each.created_at, title: moment(each.finished_at ?? each.created_at) }, ago(each.finished_at ?? each.created_at)),
  ];
}

/** A list whose rows are kept by id. */
export class GenerationList {
  element = h("ul", { class: "gens" });
  #rows = new Map();
  #empty;

  constructor(empty = "Nothing here.") {
    this.#empty = empty;
  }

  /** Show these, in this order. */
  draw(generations) {
    const rows = new Map();
    for (const each of generations) rows.set(each.id, this.#row(each));
    for (const [id, { item }] of this.#rows) if (!rows.has(id)) item.remove();
    this.#rows = rows;
    if (rows.size === 0) {
      fill(this.element, h("li", { class: "nothing" }, this.#empty));
      return;
    }
    if (this.element.firstElementChild?.classList.contains("nothing")) fill(this.element);
    let at = this.element.firstElementChild;
    for (const { item } of rows.values()) {
      if (item === at) at = at.nextElementSibling;
      else this.element.insertBefore(item, at);
    }
  }

  #row(generation) {
    const known = this.#rows.get(generation.id);
    if (known) {
      if (known.generation !== generation) this.#update(known, generation);
      return known;
    }
    const link = h("a", { class: "gen", href: `#/generations/${generation.id}`, data: { row: generation.id } }, cells(generation));
    return { generation, link, item: h("li", {}, link) };
  }

  #update(row, generation) {
    const before = row.link.querySelector(".bar");
    fill(row.link, cells(generation));
    const after = row.link.querySelector(".bar");
    if (before && after) {
      // The same element goes on, so that it moves instead of jumping.
      for (const name of ["--at", "--tick"]) before.style.setProperty(name, after.style.getPropertyValue(name));
      before.dataset.tone = after.dataset.tone ?? "busy";
      before.setAttribute("aria-valuenow", after.getAttribute("aria-valuenow") ?? 0);
      after.replaceWith(before);
    }
    row.generation = generation;
  }
}
