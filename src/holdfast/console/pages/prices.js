// What everybody pays and every upstream takes, side by side, with what is wrong with it.

import { admin, withQuery } from "../api.js";
import { card, fill, h, head, select, state, table } from "../dom.js";
import { money } from "../format.js";

export const title = "Prices";

export async function show(main, { query, signal }) {
  const asked = { on: query.get("on") ?? "", model: query.get("model") ?? "" };
  const told = await admin(withQuery("prices", { on: asked.on }), { signal });
  const models = [...new Set(told.prices.map((row) => row.model))];
  const pick = (event) => (location.hash = withQuery("#/prices", Object.fromEntries(new FormData(event.target.form))));
  const form = h("form", { class: "row", onsubmit: (event) => event.preventDefault() },
    h("label", {}, "Model", select("model", [["", "all"], ...models], asked.model, pick)),
    h("label", {}, "Prices of the day (UTC)", h("input", { name: "on", type: "date", value: told.day, required: true, onchange: pick })));
  const shown = models.filter((model) => !asked.model || model === asked.model);
  const found = told.findings.filter((each) => !asked.model || each.model === asked.model);
  fill(main, head("Prices", form), h("div", { class: "stack" }, findings(found, told.day),
    shown.length ? shown.map((model) => ofModel(model, told)) : h("p", { class: "nothing" }, "No price holds on that day."),
    h("p", { class: "soft small" }, `List prices of the providers are shipped with their source; your own stand in [[prices]] of the settings, margins of groups with the `, h("a", { href: "#/keys" }, "keys"), ". In a terminal: ", h("code", {}, "holdfast prices check"))));
}

function findings(found, day) {
  if (!found.length) return card("", h("p", {}, state(`Every model that is served has its prices on ${day}, and none is below its cost.`, "good")));
  return card(`Look at these: ${found.length}`, h("ul", { class: "lines" }, found.map((each) => h("li", {}, state(each.weight, each.weight === "error" ? "bad" : "warn"), ` ${each.message}`))));
}

function ofModel(model, { prices, groups, currency }) {
  const rows = prices.filter((row) => row.model === model);
  const upstreams = [...new Set(rows.flatMap((row) => Object.keys(row.costs)))];
  const amount = (micros) => (typeof micros === "number" ? money(micros, currency) : "–");
  const [first] = rows;
  return card(model, table([
    ["Image", (row) => h("span", { class: "mono" }, row.key)],
    ["List", (row) => amount(row.list_micros), true],
    ["Customers pay", (row) => [amount(row.unit_micros), more(row.unit_micros, row.list_micros)], true],
    ...groups.map((group) => [group, (row) => [amount(row.groups[group]), more(row.groups[group], row.list_micros)], true]),
    ...upstreams.map((upstream) => [`Costs at ${upstream}`, (row) => amount(row.costs[upstream]), true]),
    ...(upstreams.length ? [["Is left", (row) => left(row, amount), true]] : []),
    ["Valid", (row) => h("span", { class: "soft small" }, row.valid_until ? `${row.valid_from} to ${row.valid_until}` : `from ${row.valid_from}`)],
  ], rows), h("p", { class: "soft small" }, upstreams.length ? "" : "Not served by any route. ", `Source: ${first.source || "not said"}`));
}

/** By how much more, or less, than the list. */
function more(micros, list) {
  if (typeof micros !== "number" || !list || micros === list) return null;
  const share = micros / list - 1;
  return h("small", { class: "soft" }, ` ${share > 0 ? "+" : "−"}${Math.abs(share * 100).toFixed(0)} %`);
}

/** What the least of the customers' prices leaves over the dearest upstream. */
function left(row, amount) {
  const least = Math.min(row.unit_micros, ...Object.values(row.groups));
  const over = least - Math.max(...Object.values(row.costs));
  return h("span", { class: over < 0 ? "bad" : over > 0 ? "good" : "soft" }, amount(over));
}
