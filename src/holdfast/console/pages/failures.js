// What failed, when, and how often: what callers were told, and what upstreams did to bring that about.

import { admin, withQuery } from "../api.js";
import { card, choice, fill, h, head } from "../dom.js";
import { count, moment, words } from "../format.js";

export const title = "Failures";
const DAYS = 14;
const STEP_S = { hour: 3600, day: 86_400 };

export async function show(main, { query, signal }) {
  const by = query.get("by") === "day" ? "day" : "hour";
  const since = by === "day" ? new Date(Date.now() - DAYS * 86_400_000).toISOString() : "";
  const told = await admin(withQuery("failures", { by, since }), { signal });
  const pick = (event) => (location.hash = withQuery("#/failures", { by: event.target.value }));
  fill(main, head("Failures", choice("by", [["hour", "24 hours"], ["day", `${DAYS} days`]], by, pick, "Span")), h("div", { class: "stack" },
    card("What callers were told", heat(told, told.generations, (row) => words(row.kind))),
    card("What upstreams did", h("p", { class: "soft small" }, "Most of it callers never hear of: it is waited out, tried again, or sent to the next upstream."), heat(told, told.attempts, (row) => `${row.upstream ?? ""} ${words(row.kind)}`))));
}

/** Kinds by time; the redder, the more of it. */
function heat({ since, until, by }, rows, nameOf) {
  if (!rows.length) return h("p", { class: "nothing" }, "Nothing failed.");
  const step = STEP_S[by];
  const first = Math.floor(Date.parse(since) / 1000 / step) * step;
  const slots = Array.from({ length: Math.ceil((Date.parse(until) / 1000 - first) / step) }, (_, index) => first + index * step);
  const kinds = new Map();
  for (const row of rows) {
    const name = nameOf(row);
    const kind = kinds.get(name) ?? { total: 0, at: new Map() };
    const at = Math.floor(Date.parse(row.at) / 1000 / step) * step;
    kind.at.set(at, (kind.at.get(at) ?? 0) + row.count);
    kind.total += row.count;
    kinds.set(name, kind);
  }
  const most = Math.max(...[...kinds.values()].flatMap(({ at }) => [...at.values()]));
  const label = (at) => (by === "hour" ? String(new Date(at * 1000).getHours()).padStart(2, "0") : String(new Date(at * 1000).getUTCDate()));
  const body = [...kinds].sort(([, a], [, b]) => b.total - a.total).map(([name, { total, at }]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", { class: "num" }, count(total)),
    slots.map((slot) => h("td", { vars: { heat: (at.get(slot) ?? 0) / most }, title: `${moment(new Date(slot * 1000).toISOString())}: ${at.get(slot) ?? 0}` }, at.get(slot) ?? ""))));
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Failures by time" }, h("table", { class: "heat" },
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Kind"), h("th", { scope: "col" }, "All"), slots.map((slot) => h("th", { scope: "col" }, label(slot))))), h("tbody", {}, body)));
}
