// Keys: who may ask, for what, how much. A key is shown once, when it is made or rotated.

import { admin } from "../api.js";
import { card, dialog, fill, h, head, select, state, table } from "../dom.js";
import { ago, count, moment, money, tone } from "../format.js";
import { doing, notice } from "../notice.js";

export const title = "Keys";
const MICROS = 1e6;
const OVERLAPS = [["0", "at once"], ["3600", "in an hour"], ["86400", "in a day"], ["604800", "in a week"]];
const JOINS = [["", "as is usual"], ["all", "any repeat"], ["retries", "retries only"], ["keyed", "by idempotency key only"], ["off", "never"]];

export async function show(main, { signal }) {
  const list = h("div");
  const groups = h("div");
  const read = async () => {
    const [keys, known] = await Promise.all([admin("keys?limit=1000", { signal }), admin("key-groups", { signal })]);
    const labels = new Map(known.data.map((each) => [each.id, each.label]));
    fill(list, keysTable(keys.data, labels, read));
    fill(groups, groupsTable(known.data));
    make.onclick = () => ask(known.data, read);
  };
  const make = h("button", { type: "button", class: "main" }, "New key");
  fill(main, head("Keys", h("button", { type: "button", onclick: () => askGroup(read) }, "New group"), make), h("div", { class: "stack" }, card("", list), card("Groups", groups)));
  await read();
}

function keysTable(keys, labels, reread) {
  return table([
    ["Label", (key) => [key.label, key.is_admin && [" ", h("span", { class: "tag" }, "admin")], h("div", { class: "mono soft" }, key.id)]],
    ["State", (key) => state(key.state, tone(key.state))],
    ["Group", (key) => (key.group_id ? labels.get(key.group_id) ?? key.group_id : "–")],
    ["May ask for", (key) => h("div", { class: "wrap" }, scope(key))],
    ["Limits", (key) => h("div", { class: "wrap" }, limits(key))],
    ["Made", (key) => ago(key.created_at)],
    ["Expires", (key) => (key.expires_at ? moment(key.expires_at) : "never")],
    ["", (key) => key.state === "valid" && h("div", { class: "row" },
      h("button", { type: "button", onclick: () => askRotate(key, reread) }, "Rotate"),
      h("button", { type: "button", class: "danger", onclick: () => askRevoke(key, reread) }, "Revoke"))],
  ], keys);
}

function scope(key) {
  const parts = [key.models, key.sizes, key.surfaces].filter((each) => each?.length).map((each) => each.join(", "));
  return parts.length ? parts.join("; ") : "everything";
}

function limits(key) {
  const set = [
    key.rate_per_min && `${count(key.rate_per_min)} a minute`, key.concurrency && `${count(key.concurrency)} at once`,
    key.spend_micros_per_day !== null && `${money(key.spend_micros_per_day)} a day`, key.spend_micros_per_month !== null && `${money(key.spend_micros_per_month)} a month`,
    key.purchases_max && `${key.purchases_max} purchases an image`, key.tls_required && "TLS only",
  ].filter(Boolean);
  return set.length ? set.join(", ") : "none";
}

function groupsTable(groups) {
  return table([
    ["Label", (row) => [row.label, h("div", { class: "mono soft" }, row.id)]],
    ["Margin", (row) => (row.margin_share === null ? "as is usual" : `${(row.margin_share * 100).toFixed(0)} %`), true],
    ["A day", (row) => (row.spend_micros_per_day === null ? "no limit" : money(row.spend_micros_per_day)), true],
    ["A month", (row) => (row.spend_micros_per_month === null ? "no limit" : money(row.spend_micros_per_month)), true],
  ], groups, "No group yet. A group shares limits and a margin among keys.");
}

/** A dialog with a form; `work` gets its data and what it gives closes it. */
function formDialog(name, verb, fields, work, tone_ = "main") {
  const form = h("form", {}, h("h2", {}, name), fields, h("div", { class: "row" }, h("button", { type: "button", onclick: () => made.close() }, "Leave it"), h("button", { type: "submit", class: tone_ }, verb)));
  form.addEventListener("submit", doing(async () => {
    await work(new FormData(form));
    made.close();
  }));
  const made = dialog(form);
}

const amount = (given, name) => (given.get(name) ? Math.round(Number(given.get(name)) * MICROS) : null);
const whole = (given, name) => (given.get(name) ? Number(given.get(name)) : null);
const several = (given, name) => {
  const found = String(given.get(name) ?? "").split(",").map((each) => each.trim()).filter(Boolean);
  return found.length ? found : null;
};
const field = (text, name, props = {}) => h("label", {}, text, h("input", { name, ...props }));
const numberField = (text, name, step = "1") => field(text, name, { type: "number", min: 0, step, placeholder: "no limit" });

function ask(groups, reread) {
  formDialog("New key", "Make it", [h("div", { class: "fields" },
    field("Label", "label", { required: true, maxlength: 100 }),
    h("label", {}, "Group", select("group_id", [["", "none"], ...groups.map((each) => [each.id, each.label])], "")),
    field("Models", "models", { placeholder: "all, or nano-*, gpt-image-2" }), field("Sizes", "sizes", { placeholder: "all, or 1K, 2K" }),
    numberField("Calls a minute", "rate_per_min"), numberField("At once", "concurrency"), numberField("Spend a day", "spend_micros_per_day", "0.01"), numberField("Spend a month", "spend_micros_per_month", "0.01"),
    field("Expires", "expires_at", { type: "datetime-local" }), h("label", {}, "Repeats join", select("join", JOINS, ""))),
  h("div", { class: "row" }, h("label", { class: "inline" }, h("input", { type: "checkbox", name: "tls_required" }), "over TLS only"), h("label", { class: "inline" }, h("input", { type: "checkbox", name: "is_admin" }), "an admin"))],
  async (given) => {
    const wish = {
      label: given.get("label"), group_id: given.get("group_id") || null, models: several(given, "models"), sizes: several(given, "sizes"),
      rate_per_min: whole(given, "rate_per_min"), concurrency: whole(given, "concurrency"), spend_micros_per_day: amount(given, "spend_micros_per_day"), spend_micros_per_month: amount(given, "spend_micros_per_month"),
      expires_at: given.get("expires_at") ? new Date(given.get("expires_at")).toISOString() : null, tls_required: given.has("tls_required"), is_admin: given.has("is_admin"),
      ...(given.get("join") && { join: given.get("join") }),
    };
    // What is not limited is left out: null would say the same.
    const stated = Object.fromEntries(Object.entries(wish).filter(([, value]) => value !== null));
    const key = await admin("keys", { method: "POST", body: stated });
    await reread();
    reveal(key);
  });
}

function askGroup(reread) {
  formDialog("New group", "Make it", h("div", { class: "fields" }, field("Label", "label", { required: true, maxlength: 100 }), numberField("Margin on list prices, %", "margin", "0.1"), numberField("Spend a day", "spend_micros_per_day", "0.01"), numberField("Spend a month", "spend_micros_per_month", "0.01")), async (given) => {
    const wish = { label: given.get("label"), margin_share: given.get("margin") ? Number(given.get("margin")) / 100 : null, spend_micros_per_day: amount(given, "spend_micros_per_day"), spend_micros_per_month: amount(given, "spend_micros_per_month") };
    await admin("key-groups", { method: "POST", body: Object.fromEntries(Object.entries(wish).filter(([, value]) => value !== null)) });
    await reread();
  });
}

function askRotate(key, reread) {
  formDialog(`Rotate ${key.label}`, "Rotate", h("label", {}, "The secret in use now ends", select("overlap_s", OVERLAPS, "86400")), async (given) => {
    const made = await admin(`keys/${encodeURIComponent(key.id)}/rotate`, { method: "POST", body: { overlap_s: Number(given.get("overlap_s")) } });
    await reread();
    reveal(made);
  });
}

function askRevoke(key, reread) {
  formDialog(`Revoke ${key.label}?`, "Revoke", h("p", {}, "It is refused from now on, its sessions end, and it cannot be taken back. What it has made stays."), async () => {
    await admin(`keys/${encodeURIComponent(key.id)}/revoke`, { method: "POST" });
    notice(`${key.label} is revoked.`);
    await reread();
  }, "danger");
}

function reveal(key) {
  const made = dialog(h("h2", {}, `The key of ${key.label}`), h("p", {}, "It is shown this once: only its hash is kept."), h("code", { class: "secret" }, key.key),
    h("div", { class: "row" }, h("button", { type: "button", onclick: doing(async () => {
      await navigator.clipboard.writeText(key.key);
      notice("Copied.");
    }) }, "Copy"), h("button", { type: "button", class: "main", onclick: () => made.close() }, "I have it")));
}
