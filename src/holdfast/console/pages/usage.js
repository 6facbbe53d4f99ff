// Usage, broken down as asked: by day it is drawn, by anything it is a table and a CSV file.

import { admin, withQuery } from "../api.js";
import { stacked } from "../charts.js";
import { card, fill, h, head, select, table } from "../dom.js";
import { count, money, words } from "../format.js";

export const title = "Usage";
const BY = [["day", "day"], ["key", "key"], ["model", "model"], ["size", "size"], ["upstream", "upstream"], ["outcome", "outcome"]];
const DAYS = [["1", "today"], ["7", "7 days"], ["30", "30 days"], ["90", "90 days"]];
const DAY_S = 86_400;
const SUMS = [["Generations", "generations", count], ["Images", "images", count], ["Charged", "charged_micros", money], ["Given back", "compensated_micros", money], ["Upstream cost", "cost_micros", money], ["Extra images", "extra_micros", money], ["Unknown", "unknown_micros", money]];

export async function show(main, { query, signal }) {
  const asked = { by: query.get("by") ?? "day", days: query.get("days") ?? "30" };
  const report = await admin(withQuery("usage", asked), { signal });
  const pick = (event) => (location.hash = withQuery("#/usage", Object.fromEntries(new FormData(event.target.form))));
  const form = h("form", { class: "row" }, h("label", {}, "By", select("by", BY, asked.by, pick)), h("label", {}, "Span", select("days", DAYS, asked.days, pick)));
  const lead = [["day", "Day"], ["label", "Key"], ["model", "Model"], ["size", "Size"], ["upstream", "Upstream"], ["outcome", "Outcome"]].filter(([name]) => report.rows.some((row) => row[name] !== undefined));
  const columns = [...lead.map(([name, text]) => [text, (row) => (name === "outcome" ? words(row.outcome) : row[name] || "–")]), ...SUMS.map(([text, name, write]) => [text, (row) => (write === money ? money(row[name], row.currency) : write(row[name])), true])];
  const total = SUMS.map(([text, name, write]) => [text, write(report.rows.reduce((sum, row) => sum + row[name], 0))]);
  fill(main, head("Usage", form, h("a", { class: "button", href: withQuery("/admin/v1/usage.csv", asked), download: `usage-${report.since}-${report.until}.csv` }, "Save as CSV")), h("div", { class: "stack" },
    asked.by === "day" && report.rows.length > 0 && card("Charged by day", byDay(report, signal)),
    card(`From ${report.since} to ${report.until}`, h("p", { class: "soft small" }, total.map(([text, value]) => `${text} ${value}`).join(" · ")), table(columns, report.rows, "Nothing was used in these days."))));
}

function byDay(report, signal) {
  const first = Date.parse(report.since) / 1000;
  const slots = Array.from({ length: Math.round((Date.parse(report.until) / 1000 - first) / DAY_S) + 1 }, (_, index) => first + index * DAY_S);
  const sums = new Map();
  for (const row of report.rows) {
    const at = Date.parse(row.day) / 1000;
    const before = sums.get(at) ?? [0, 0];
    sums.set(at, [before[0] + row.charged_micros - row.compensated_micros, before[1] + row.compensated_micros]);
  }
  const of = (index) => slots.map((at) => (sums.get(at)?.[index] ?? 0) / 1e6);
  return stacked("Charged by day", slots, [{ name: "kept", ink: "accent", values: of(0) }, { name: "given back", ink: "warn", values: of(1) }], (value) => money(Math.round(value * 1e6)), signal, DAY_S);
}
