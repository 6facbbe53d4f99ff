// How long images take: percentiles over the last week by hour, and what estimates and deadlines are made from now.

import { admin, withQuery } from "../api.js";
import { card, fill, h, head, select, table } from "../dom.js";
import { count, epoch, percent, seconds } from "../format.js";
import { chart } from "../charts.js";

export const title = "Latency";
const SIZES = ["1K", "2K", "4K"];
const HOUR_S = 3600;
const LINES = [["p50", "p50_s"], ["p95", "p95_s"], ["p99", "p99_s"]];

export async function show(main, { query, signal }) {
  const model = query.get("model") ?? "";
  const size = query.get("size") ?? "";
  const told = await admin(withQuery("latency", { model, size }), { signal });
  const pick = (event) => (location.hash = withQuery("#/latency", Object.fromEntries(new FormData(event.currentTarget.form ?? event.target.form))));
  const form = h("form", { class: "row" },
    h("label", {}, "Model", select("model", [["", "all"], ...told.models], model, pick)),
    h("label", {}, "Size", select("size", [["", "all"], ...SIZES], size, pick)));
  const charts = groups(told.hours).map(([name, hours]) => card(name, drawn(name, hours, signal)));
  fill(main, head("Latency", form), h("div", { class: "stack" },
    charts.length ? charts : card("By hour", h("p", { class: "nothing" }, "Nothing was measured within a week. Until then estimates come from published figures, below.")),
    card("What estimates are made from", rows(told.data))));
}

function groups(hours) {
  const found = new Map();
  for (const each of hours) {
    const name = `${each.model} ${each.size}`;
    found.set(name, [...(found.get(name) ?? []), each]);
  }
  return [...found].sort(([a], [b]) => a.localeCompare(b));
}

/** An hour without a sample breaks the line: nothing is drawn that was not measured. */
function drawn(name, hours, signal) {
  const known = new Map(hours.map((each) => [epoch(each.hour), each]));
  const first = Math.min(...known.keys());
  const last = Math.max(...known.keys());
  // A lone hour still needs an axis to stand on.
  const slots = Array.from({ length: (last - first) / HOUR_S + 3 }, (_, index) => first + (index - 1) * HOUR_S);
  const data = [slots, ...LINES.map(([, key]) => slots.map((at) => known.get(at)?.[key] ?? null))];
  const series = LINES.map(([label]) => ({ label, ink: label, width: 2, points: { show: true, size: 5 } }));
  return chart(`Percentiles of ${name} by hour`, data, series, seconds, signal);
}

function rows(data) {
  return table([
    ["Model", (row) => `${row.model} ${row.size}`],
    ["Upstream", (row) => row.upstream ?? h("span", { class: "soft" }, "all together")],
    ["Window", (row) => [row.window, row.is_used && [" ", h("span", { class: "tag" }, "in use")]]],
    ["Calls", (row) => count(row.count), true],
    ["Timed out", (row) => count(row.timed_out), true],
    ["p50", (row) => seconds(row.p50_s), true],
    ["p95", (row) => seconds(row.p95_s), true],
    ["p99", (row) => seconds(row.p99_s), true],
    ["Published share", (row) => percent(row.prior_share), true],
  ], data.filter((row) => row.is_used || row.count), "No model is served.");
}
