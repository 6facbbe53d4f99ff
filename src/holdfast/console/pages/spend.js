// What came in, what was given back, and what upstreams may have charged without anybody knowing.

import { admin } from "../api.js";
import { hoursOf, stacked } from "../charts.js";
import { card, figures, fill, h, head, table } from "../dom.js";
import { unknownTable } from "../exposure.js";
import { money, percent, useCurrency } from "../format.js";

export const title = "Spend";

export async function show(main, { signal }) {
  const [overview, exposure] = await Promise.all([admin("overview", { signal }), admin("exposure", { signal })]);
  useCurrency(overview.currency);
  const { day } = overview;
  const slots = hoursOf(overview.hours, "hour", Date.parse(overview.at) / 1000);
  const kept = slots.map(([, row]) => (row ? (row.charged_micros - row.compensated_micros) / 1e6 : 0));
  const back = slots.map(([, row]) => (row ? row.compensated_micros / 1e6 : 0));
  const write = (value) => money(Math.round(value * 1e6));
  const again = () => show(main, { signal });
  fill(main, head("Spend"), h("div", { class: "stack" },
    figures(["Charged, 24 h", money(day.charged_micros)], ["Given back, 24 h", money(day.compensated_micros), day.charged_micros ? percent(day.compensated_micros / day.charged_micros) : ""],
      ["Unknown exposure", money(exposure.balance_micros), "upstreams may have charged it"]),
    card("The last 24 hours", stacked("Charged by hour", slots.map(([at]) => at), [{ name: "kept", ink: "accent", values: kept }, { name: "given back", ink: "warn", values: back }], write, signal)),
    card("Outcomes nobody knows", h("p", { class: "soft small" }, "The connection broke after the call was sent. ", h("a", { href: "#/reconcile" }, "Compare them with the provider's bill"), "."), unknownTable(exposure.unknown, again)),
    card("Bought a second time, by day", table([["Day", (row) => row.day], ["Model", (row) => row.model], ["Exposure", (row) => money(row.micros), true]], exposure.days, "Nothing was bought twice within a month."))));
}
