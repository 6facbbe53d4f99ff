// A provider's list of charges against our attempts; what nobody knew is written down where the list makes it known.

import { admin, withQuery } from "../api.js";
import { card, figures, fill, h, head, select, table } from "../dom.js";
import { bookedTable, reasonField, tellBooked, unknownTable } from "../exposure.js";
import { bytes, count, moment, money, useCurrency, words } from "../format.js";
import { field, formDialog, input, onSubmit } from "../forms.js";
import { notice } from "../notice.js";

export const title = "Reconcile";
const BYTES_MAX = 2 << 20;
const SHOWN_FIRST = 100;
const MEANS = {
  amount_differs: "both have it, at different amounts", not_listed: "we count it as charged, and it is not listed", not_ours: "it is listed, and no attempt of ours belongs to it",
  charged_after_all: "it is listed, and we took it for free", unknown_charged: "nobody knew, and it is listed", unknown_free: "nobody knew, and it is not listed",
};
/** What somebody should look at comes first. */
const ORDER = ["not_ours", "charged_after_all", "amount_differs", "unknown_charged", "unknown_free", "not_listed"];
const TONES = { amount_differs: "warn", not_listed: "good", not_ours: "bad", charged_after_all: "bad", unknown_charged: "warn", unknown_free: "good" };

export async function show(main, { signal }) {
  const [upstreams, exposure] = await Promise.all([admin("upstreams", { signal }), admin("exposure", { signal })]);
  useCurrency(exposure.currency);
  const told = h("div", { class: "stack" });
  const [unknown, booked] = [h("div"), h("div")];
  const drawUnknown = (found) => fill(unknown, h("p", { class: "soft small" }, `${money(found.balance_micros)} may have been charged in all. Where a provider lists nothing, what you find out by hand is booked here, one by one.`), unknownTable(found.unknown, reread));
  async function reread() {
    drawUnknown(await admin("exposure", { signal }));
    await tellBooked(booked, signal);
  }
  fill(main, head("Reconcile"), h("div", { class: "stack" }, card("A provider's export", form(upstreams.data.map((each) => each.name), told, reread, signal)), told, card("Outcomes nobody knows", unknown), card("Resolved of late", booked)));
  drawUnknown(exposure);
  await tellBooked(booked, signal);
}

function form(names, told, reread, signal) {
  const file = input("export", { type: "file", accept: ".csv,.tsv,.json,.jsonl,.ndjson,.txt,text/csv,application/json", required: true });
  const made = h("form", {}, h("p", { class: "soft small" }, "CSV, JSON or JSON lines, as the provider lets you download it. It is compared with our attempts; nothing is changed by that."),
    h("div", { class: "fields" },
      field("Upstream", select("upstream", names, names[0])), field("File", file, `At most ${bytes(BYTES_MAX)}: export fewer days at once where it is more.`),
      field("First day", input("since", { type: "date" }), "Empty: that of its first line."), field("Last day", input("until", { type: "date" }), "Empty: that of its last line.")),
    h("details", {}, h("summary", {}, "Unusual columns or amounts"), h("div", { class: "fields" },
      field("Columns", input("columns", { placeholder: "time=Created,amount=Total", spellcheck: "false" }), "What is what, where the names are not the usual ones."),
      field("Amounts a unit", input("per_unit", { type: "number", min: 0, step: "any", placeholder: "1" }), "500000 for the quota of new-api."))),
    h("div", { class: "row" }, h("button", { type: "submit", class: "main" }, "Compare")));
  onSubmit(made, async (given) => {
    const { name, size } = given.get("export");
    if (size > BYTES_MAX) throw Object.assign(new Error(`${name} has ${bytes(size)}; at most ${bytes(BYTES_MAX)} are taken.`), { param: "export" });
    const asked = Object.fromEntries(["upstream", "since", "until", "columns", "per_unit"].map((each) => [each, given.get(each)]));
    // Read once: a second look must be at the same bytes, whatever becomes of the file.
    const body = new Blob([await given.get("export").arrayBuffer()]);
    const found = await admin(withQuery("reconcile", asked), { method: "POST", body, signal });
    fill(told, report(found, () => ask(found, asked, body, told, reread)));
    told.scrollIntoView({ block: "start" });
  });
  return made;
}

function report(found, resolve) {
  const { counts } = found;
  const kinds = ORDER.filter((kind) => counts[kind]);
  const sorted = found.findings.toSorted((a, b) => ORDER.indexOf(a.found) - ORDER.indexOf(b.found));
  const body = h("div");
  const more = h("button", { type: "button", onclick: () => draw(found.findings.length) }, "All of them");
  const kind = select("kind", [["", "all"], ...kinds.map((each) => [each, `${words(each)} (${count(counts[each])})`])], "", () => draw(SHOWN_FIRST));
  const draw = (most) => {
    const rows = sorted.filter((each) => !kind.value || each.found === kind.value);
    more.hidden = rows.length <= most;
    fill(body, findings(rows.slice(0, most)));
  };
  draw(SHOWN_FIRST);
  const unknown = counts.unknown_charged + counts.unknown_free;
  return [
    figures(["Lines", count(found.lines), `of ${found.upstream}`], ["Attempts", count(found.attempts), `${moment(found.since)} to ${moment(found.until)}`], ["Agree", count(counts.agrees ?? 0)], ["Differ", count(kinds.reduce((sum, each) => sum + counts[each], 0)), found.is_whole ? "" : `${count(found.findings.length)} are listed`]),
    card("Differences", kinds.length > 0 && h("dl", { class: "pairs small" }, kinds.map((each) => [h("dt", {}, h("span", { class: "state", data: { tone: TONES[each] } }, `${words(each)}: ${count(counts[each])}`)), h("dd", {}, MEANS[each])])),
      h("div", { class: "row" }, kinds.length > 1 && h("label", {}, "Show", kind), unknown > 0 && h("button", { type: "button", class: "main", onclick: resolve }, `Resolve what was unknown: ${count(unknown)}`)), body, h("div", { class: "row" }, more)),
  ];
}

function findings(rows) {
  return table([
    ["Found", (row) => h("span", { class: "state", data: { tone: TONES[row.found] } }, words(row.found))],
    ["Ours", (row) => (row.attempt_id ? [h("a", { class: "mono small", href: `#/generations/${row.generation_id}` }, row.attempt_id), h("div", { class: "soft small" }, moment(row.ended_at))] : "–")],
    ["Booked", (row) => (typeof row.booked_micros === "number" ? money(row.booked_micros) : "–"), true],
    ["Theirs", (row) => (row.line ? [`line ${row.line}`, row.by_reference && [" ", h("span", { class: "tag" }, "names it")], h("div", { class: "soft small wrap" }, [row.reference, row.listed_at && moment(row.listed_at)].filter(Boolean).join(", "))] : "–")],
    ["Listed", (row) => (typeof row.listed_micros === "number" ? money(row.listed_micros) : "–"), true],
  ], rows, "Both sides agree in everything.");
}

function ask(found, asked, body, told, reread) {
  const of = (by) => found.findings.filter((each) => each.found.startsWith("unknown_") && (!by || each.by_reference)).length;
  const fate = (value, text, hint, checked) => h("label", { class: "inline" }, h("input", { type: "radio", name: "resolve", value, checked }), h("span", {}, text, h("span", { class: "hint block" }, hint)));
  formDialog("Resolve what was unknown", "Book it", [
    h("p", { class: "small" }, "Each becomes a transaction of the ledger, and cannot be taken back; no customer is charged by it."),
    h("fieldset", { class: "boxes tall" }, h("legend", {}, "Which"),
      fate("named", `What the list names: ${count(of(true))}`, "A line carries the id of our call. The safe choice.", true),
      fate("all", `All that it makes known: ${count(of(false))}`, "Also what was paired by model and time, and what is not listed, which is then taken as not charged. The list must be of the whole time.", false)),
    reasonField(),
  ], async (given) => {
    const done = await admin(withQuery("reconcile", { ...asked, resolve: given.get("resolve"), reason: given.get("reason").trim() }), { method: "POST", body });
    notice(`${count(done.resolved)} resolved.`);
    fill(told, report(done, () => ask(done, asked, body, told, reread)));
    if (done.resolved) {
      const { data } = await admin(withQuery("audit", { action: "exposure.resolved", limit: Math.min(100, done.resolved) }));
      told.prepend(card("What was booked", bookedTable(data)));
    }
    await reread();
  });
}
