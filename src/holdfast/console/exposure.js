// Attempts of unknown outcome: what they may have cost, and the words with which somebody who has found out ends that.

import { admin } from "./api.js";
import { fill, h, table } from "./dom.js";
import { moment, money, words } from "./format.js";
import { field, formDialog, input } from "./forms.js";
import { notice } from "./notice.js";

const MICROS = 1e6;
export const REASON_CHARS_MAX = 500;

/** Why it is known: it goes into the log of changes. */
export const reasonField = () => field("How do you know?", h("textarea", { name: "reason", required: true, maxlength: REASON_CHARS_MAX, rows: 2, class: "short", placeholder: "Invoice of November, line 118" }), "It is kept in the log of changes, with your key.");

/** The list of them, each to be resolved. `reread` is called after. */
export function unknownTable(rows, reread) {
  return table([
    ["When", (row) => moment(row.at)],
    ["Generation", (row) => h("a", { class: "mono", href: `#/generations/${row.generation_id}` }, row.generation_id)],
    ["Upstream", (row) => `${row.upstream}, attempt ${row.number}`],
    ["Model", (row) => row.model],
    ["What happened", (row) => words(row.failure_kind ?? "unknown")],
    ["May have cost", (row) => money(row.estimated_micros), true],
    ["", (row) => h("button", { type: "button", "aria-label": `Resolve attempt ${row.number} of ${row.generation_id}`, onclick: () => resolve(row, reread) }, "Resolve")],
  ], rows, "None: every call's outcome is known.");
}

function resolve(row, reread) {
  const cost = input("micros", { type: "number", min: 0, step: "any", inputmode: "decimal", value: row.estimated_micros / MICROS });
  const fate = (value, text, checked) => h("label", { class: "inline" }, h("input", { type: "radio", name: "fate", value, checked, onchange: () => (cost.disabled = value === "free") }), text);
  formDialog("What came of this call?", "Book it", [
    h("p", { class: "soft small" }, `${row.upstream}, ${row.model}, ${moment(row.at)}. What you write is booked in the ledger and cannot be taken back; your customer's side stays as it is.`),
    h("fieldset", { class: "boxes" }, h("legend", {}, "The upstream"), fate("charged", "charged it", true), fate("free", "charged nothing", false)),
    h("div", { class: "fields" }, field("Charged", cost, "In the currency of the books.")), reasonField(),
  ], async (given) => {
    const micros = given.get("fate") === "free" ? null : Math.round(Number(given.get("micros") || 0) * MICROS);
    const done = await admin(`attempts/${encodeURIComponent(row.attempt_id)}/resolve`, { method: "POST", body: { micros, reason: given.get("reason").trim() } });
    notice(`Booked: ${money(done.exposed_micros)} leave the exposure, ${money(done.cost_micros)} are cost of ${done.upstream}.`);
    await reread();
  });
}

/** What was booked of late, read off the log of changes. */
export function bookedTable(entries) {
  return table([
    ["When", (row) => moment(row.at)], ["By", (row) => row.actor_label ?? row.actor],
    ["Attempt", (row) => [h("span", { class: "mono wrap" }, row.target), row.details?.generation_id && h("div", {}, h("a", { class: "mono small", href: `#/generations/${row.details.generation_id}` }, row.details.generation_id))]],
    ["Left the exposure", (row) => amountOf(row.details?.exposed_micros), true], ["Booked as cost", (row) => amountOf(row.details?.cost_micros ?? row.details?.micros), true],
    ["Why", (row) => h("span", { class: "wrap soft small" }, row.details?.reason ?? "")],
  ], entries, "Nothing was resolved yet.");
}

const amountOf = (micros) => (typeof micros === "number" ? money(micros) : "–");

/** Fill a box with the newest of them. */
export async function tellBooked(box, signal) {
  const { data } = await admin("audit?action=exposure.resolved&limit=20", { signal });
  fill(box, bookedTable(data));
}
