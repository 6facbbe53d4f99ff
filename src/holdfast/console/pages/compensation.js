// What other rules of compensation would have given back: tried on what has happened, before they are written down.

import { admin } from "../api.js";
import { card, figures, fill, h, head, select, table } from "../dom.js";
import { count, money, percent } from "../format.js";
import { doing } from "../notice.js";

export const title = "Compensation";
const WHEN = [["slow", "slow"], ["refused", "refused"], ["empty", "empty"], ["failed", "failed"]];
const DAYS = [["1", "today"], ["7", "7 days"], ["31", "31 days"]];
const SLOW_S = 180;
const MICROS = 1e6;

export async function show(main, { signal }) {
  const { data } = await admin("settings", { signal });
  const rules = h("div", { class: "stack" });
  const told = h("div");
  const form = h("form", { class: "stack" }, rules, h("div", { class: "row" },
    h("button", { type: "button", onclick: () => rules.append(rule({})) }, "Another rule"),
    h("label", {}, "Tried on", select("days", DAYS, "7")),
    h("button", { type: "submit", class: "main" }, "See what it gives back")));
  form.addEventListener("submit", doing(async () => {
    const wanted = [...rules.children].map(read);
    fill(told, report(await admin("compensation/preview", { method: "POST", body: { compensation: wanted, days: Number(form.elements.days.value) }, signal })));
  }));
  const inForce = rulesOf(data);
  rules.append(...(inForce.length ? inForce : [{}]).map(rule));
  fill(main, head("Compensation"), h("div", { class: "stack" }, card("Rules to try", h("p", { class: "soft small" }, "They begin as they are in force. Nothing changes here: rules are written in [[compensation]] of the settings."), form), told));
}

/** The rules in force, read off the settings. Pure. */
export function rulesOf(settings) {
  const found = new Map();
  for (const { name, value } of settings) {
    const [, index, field] = /^compensation\[(\d+)\]\.(\w+)$/.exec(name) ?? [];
    if (field) found.set(index, { ...found.get(index), [field]: value });
  }
  return [...found.values()];
}

function rule({ when = "slow", slower_than_s: slow = SLOW_S, share = 1, cap_micros_per_day: cap = 0, models = [], sizes = [], keys = [], groups = [] }) {
  const made = h("fieldset", { class: "fields" }, h("legend", { class: "unseen" }, "Rule"),
    h("label", {}, "When", select("when", WHEN, when)),
    h("label", {}, "Slower than, s", h("input", { name: "slow", type: "number", min: 1, value: slow || SLOW_S })),
    h("label", {}, "Given back, %", h("input", { name: "share", type: "number", min: 0, max: 100, step: "0.1", value: share * 100 })),
    h("label", {}, "At most a day", h("input", { name: "cap", type: "number", min: 0, step: "0.01", value: cap ? cap / MICROS : "", placeholder: "no limit" })),
    h("label", {}, "Models", h("input", { name: "models", value: models.join(", "), placeholder: "all" })),
    h("label", {}, "Sizes", h("input", { name: "sizes", value: sizes.join(", "), placeholder: "all" })),
    h("label", {}, "Keys", h("input", { name: "keys", value: keys.join(", "), placeholder: "everybody's", spellcheck: "false" })),
    h("label", {}, "Groups", h("input", { name: "groups", value: groups.join(", "), placeholder: "everybody's", spellcheck: "false" })),
    h("button", { type: "button", class: "quiet", onclick: () => made.remove() }, "Take it away"));
  return made;
}

function read(fields) {
  const value = (name) => fields.querySelector(`[name=${name}]`).value;
  const several = (name) => value(name).split(",").map((each) => each.trim()).filter(Boolean);
  const wish = { when: value("when"), share: Number(value("share")) / 100, cap_micros_per_day: Math.round(Number(value("cap")) * MICROS) };
  if (wish.when === "slow") wish.slower_than_s = Number(value("slow"));
  for (const name of ["models", "sizes", "keys", "groups"]) if (several(name).length) wish[name] = several(name);
  return wish;
}

function report(told) {
  const share = (micros) => (told.charged_micros ? `${percent(micros / told.charged_micros)} of what was charged` : "");
  const amount = (micros) => money(micros, told.currency);
  return h("div", { class: "stack" },
    figures(["Generations", count(told.generations)], ["Charged", amount(told.charged_micros)], ["Given back", amount(told.given_micros), share(told.given_micros)], ["Would give back", amount(told.would_give_micros), share(told.would_give_micros)]),
    card("By rule", table([["Rule", (row) => row.rule], ["Generations", (row) => count(row.generations), true], ["Would give", (row) => amount(row.given_micros), true], ["Held back by the cap", (row) => amount(row.withheld_micros), true]], told.rules, "No rule gives anything back.")),
    card("By day", table([["Day", (row) => row.day], ["Charged", (row) => amount(row.charged_micros), true], ["Given back", (row) => amount(row.given_micros), true], ["Would give back", (row) => amount(row.would_give_micros), true]], told.days, "Nothing happened in these days.")));
}
