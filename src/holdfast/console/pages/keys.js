// Keys: who may ask, for what, how much. A key is shown once, when it is made or rotated.

import { admin, call, ownKey } from "../api.js";
import { card, dialog, fill, h, head, select, state, table } from "../dom.js";
import { ago, count, moment, money, percent, tone } from "../format.js";
import { amount, box, boxes, field, formDialog, input, localInput, number, utcOf } from "../forms.js";
import { doing, notice } from "../notice.js";

export const title = "Keys";
const MICROS = 1e6;
const LABEL_CHARS_MAX = 100;
const OVERLAPS = [["0", "at once"], ["3600", "in an hour"], ["86400", "in a day"], ["604800", "in a week"], ["2592000", "in 30 days"]];
const JOINS = [["all", "any repeat"], ["retries", "retries only"], ["keyed", "by idempotency key only"], ["off", "never"]];
const SIZES = ["1K", "2K", "4K"];
const SURFACES = [["openai", "OpenAI"], ["gemini", "Gemini"], ["chat", "chat"], ["generations", "/v1/generations"]];

export async function show(main, { signal }) {
  const list = h("div", { class: "stack" });
  const groups = h("div");
  const models = h("datalist", { id: "known-models" });
  const search = h("input", { type: "search", placeholder: "Find a key", "aria-label": "Find a key", spellcheck: "false", oninput: () => draw() });
  const make = h("button", { type: "button", class: "main" }, "New key");
  let known = { keys: [], groups: [], spent: new Map() };
  const draw = () => {
    const labels = new Map(known.groups.map((each) => [each.id, each.label]));
    const sought = search.value.trim().toLowerCase();
    const fitting = known.keys.filter((key) => `${key.label} ${key.id} ${labels.get(key.group_id) ?? ""}`.toLowerCase().includes(sought));
    const row = (key) => drawn(key, labels.get(key.group_id), known, reread);
    const [valid, over] = [fitting.filter((key) => key.state === "valid"), fitting.filter((key) => key.state !== "valid")];
    fill(list, valid.length ? h("ul", { class: "keys" }, valid.map(row)) : h("p", { class: "nothing" }, sought ? "No key fits." : "No key is valid."),
      over.length > 0 && h("details", { class: "over", open: Boolean(sought) }, h("summary", {}, `Revoked or expired: ${count(over.length)}`), h("ul", { class: "keys" }, over.map(row))));
    fill(groups, groupsTable(known, reread));
  };
  async function reread() {
    const [keys, found, usage] = await Promise.all([admin("keys?limit=1000", { signal }), admin("key-groups", { signal }), admin("usage?by=key&days=1", { signal }).catch(() => ({ rows: [] }))]);
    known = { keys: keys.data, groups: found.data, spent: new Map(usage.rows.map((each) => [each.key_id, each.charged_micros - each.compensated_micros])) };
    make.onclick = () => ask(known.groups, reread);
    const wasOpen = list.querySelector("details")?.open;
    draw();
    if (wasOpen) list.querySelector("details")?.setAttribute("open", "");
  }
  fill(main, head("Keys", search, h("button", { type: "button", onclick: () => askGroup(null, reread) }, "New group"), make), models,
    h("div", { class: "stack" }, card("", list), card("Groups", h("p", { class: "soft small" }, "Keys of a group share its limits, and pay its prices."), groups)));
  await reread();
  call("/v1/models", { signal }).then(({ data }) => fill(models, data.map(({ id }) => h("option", { value: id }))), (problem) => signal.aborted || console.warn("models", problem.message));
}

function drawn(key, group, { groups, spent }, reread) {
  const isValid = key.state === "valid";
  const older = key.secrets.slice(1).filter((each) => each.expires_at && Date.parse(each.expires_at) > Date.now());
  const button = (text, work, props = {}) => h("button", { type: "button", "aria-label": `${text} ${key.label}`, onclick: () => work(key, reread, groups), ...props }, text);
  return h("li", { class: "key" },
    h("div", {}, h("p", {}, h("b", {}, key.label), key.is_admin && [" ", h("span", { class: "tag" }, "admin")], key.id === ownKey() && [" ", h("span", { class: "tag" }, "yours")]), h("p", { class: "mono soft" }, key.id),
      h("p", { class: "small" }, state(key.state, tone(key.state)), h("span", { class: "soft" }, ` made ${ago(key.created_at)}${isValid ? ends(key) : ""}`)),
      isValid && older.map((each) => h("p", { class: "small warn" }, `The secret before is valid until ${moment(each.expires_at)}.`))),
    h("dl", { class: "pairs small" }, [["May ask for", scope(key)], ["Limits", limits(key)], group && ["Group", group]].filter(Boolean).map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
    h("div", { class: "spent small" }, spending(key, spent.get(key.id) ?? 0)),
    isValid && h("div", { class: "row" }, button("Edit", askChange), button("Rotate", askRotate), button("Revoke", askRevoke, { class: "danger" })));
}

function ends(key) {
  return key.expires_at ? `, expires ${moment(key.expires_at)}` : "";
}

/** What it has spent today, against its limit where it has one. */
function spending(key, micros) {
  const most = key.spend_micros_per_day;
  if (most === null) return h("p", {}, money(micros), h("span", { class: "soft" }, " today"));
  const share = Math.min(1, micros / most);
  return [h("p", {}, money(micros), h("span", { class: "soft" }, ` of ${money(most)} today`)),
    h("span", { class: "bar", role: "meter", "aria-label": "Spent today", "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": Math.round(share * 100), data: { tone: share > 0.9 ? "bad" : "busy" }, vars: { at: share } }, h("i"))];
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

function groupsTable({ groups, keys }, reread) {
  const members = (row) => keys.filter((key) => key.group_id === row.id && key.state === "valid").length;
  return table([
    ["Label", (row) => [row.label, h("div", { class: "mono soft" }, row.id)]],
    ["Keys", (row) => count(members(row)), true],
    ["Margin", (row) => (row.margin_share === null ? "as is usual" : percent(row.margin_share)), true],
    ["A day", (row) => (row.spend_micros_per_day === null ? "no limit" : money(row.spend_micros_per_day)), true],
    ["A month", (row) => (row.spend_micros_per_month === null ? "no limit" : money(row.spend_micros_per_month)), true],
    ["", (row) => h("button", { type: "button", "aria-label": `Edit ${row.label}`, onclick: () => askGroup(row, reread) }, "Edit")],
  ], groups, "No group yet.");
}

// What is asked in forms, and what the gateway is sent of it.

const micros = (given, name) => (given.get(name) ? Math.round(Number(given.get(name)) * MICROS) : null);
const whole = (given, name) => (given.get(name) ? Number(given.get(name)) : null);
const several = (given, name) => {
  const found = String(given.get(name) ?? "").split(/[\s,]+/).filter(Boolean);
  return found.length ? found : null;
};
const ticked = (given, name) => (given.getAll(name).length ? given.getAll(name) : null);

function keyFields(groups, key) {
  return [
    h("div", { class: "fields" },
      field("Label", input("label", { required: true, maxlength: LABEL_CHARS_MAX, value: key?.label }), "For people: whose key it is."),
      field("Group", select("group_id", [["", "none"], ...groups.map((each) => [each.id, each.label])], key?.group_id)),
      field("Expires", input("expires_at", { type: "datetime-local", value: localInput(key?.expires_at) }), "Empty: never.")),
    h("h3", {}, "May ask for"),
    h("div", { class: "fields" },
      field("Models", input("models", { value: key?.models?.join(", "), placeholder: "all", list: "known-models", spellcheck: "false" }), "Names with commas; nano-* for all that begin so."),
      field("", boxes("Sizes", "sizes", SIZES, key?.sizes), "None ticked: all."),
      field("", boxes("Through", "surfaces", SURFACES, key?.surfaces), "None ticked: all.")),
    h("h3", {}, "Limits"),
    h("div", { class: "fields" },
      field("Calls a minute", number("rate_per_min", key?.rate_per_min)), field("At once", number("concurrency", key?.concurrency)),
      field("Spend a day", amount("spend_micros_per_day", key?.spend_micros_per_day)), field("Spend a month", amount("spend_micros_per_month", key?.spend_micros_per_month)),
      field("Purchases an image", number("purchases_max", key?.purchases_max, { max: 9, placeholder: "as is usual" }), "Most calls that may be charged for one."),
      field("Repeats join", select("join", JOINS, key?.join ?? "retries"))),
    h("div", { class: "row start" }, box("tls_required", "over TLS only", key?.tls_required), box("is_admin", "an admin: opens this console", key?.is_admin)),
    key?.id === ownKey() && h("p", { class: "warn small" }, "It is the key that you are signed in with."),
  ];
}

function keyWish(given) {
  return {
    label: given.get("label").trim(), group_id: given.get("group_id") || null, expires_at: utcOf(given.get("expires_at")) || null,
    models: several(given, "models"), sizes: ticked(given, "sizes"), surfaces: ticked(given, "surfaces"),
    rate_per_min: whole(given, "rate_per_min"), concurrency: whole(given, "concurrency"), purchases_max: whole(given, "purchases_max"),
    spend_micros_per_day: micros(given, "spend_micros_per_day"), spend_micros_per_month: micros(given, "spend_micros_per_month"),
    join: given.get("join"), tls_required: given.has("tls_required"), is_admin: given.has("is_admin"),
  };
}

/** What differs: what nobody touched is not sent, and so cannot be set back to what it was when the form was opened. */
export function changed(before, after) {
  return Object.fromEntries(Object.entries(after).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(before[name])));
}

/** What is not limited is left out of what is new: null would say the same. */
const stated = (wish) => Object.fromEntries(Object.entries(wish).filter(([, value]) => value !== null));

function ask(groups, reread) {
  formDialog("New key", "Make it", keyFields(groups, null), async (given) => {
    const key = await admin("keys", { method: "POST", body: stated(keyWish(given)) });
    await reread();
    reveal(key);
  });
}

function askChange(key, reread, groups) {
  const form = formDialog(`Edit ${key.label}`, "Save", keyFields(groups, key), async (given) => {
    const wish = changed(before, keyWish(given));
    if (!Object.keys(wish).length) return;
    const now = await admin(`keys/${encodeURIComponent(key.id)}`, { method: "PATCH", body: wish });
    notice(`${now.label} is changed; it counts from the next call on.`);
    await reread();
  });
  const before = keyWish(new FormData(form));
}

function groupWish(given) {
  return { label: given.get("label").trim(), margin_share: given.get("margin_share") === "" ? null : Number(given.get("margin_share")) / 100, spend_micros_per_day: micros(given, "spend_micros_per_day"), spend_micros_per_month: micros(given, "spend_micros_per_month") };
}

function askGroup(group, reread) {
  const margin = group?.margin_share ?? null;
  const fields = h("div", { class: "fields" },
    field("Label", input("label", { required: true, maxlength: LABEL_CHARS_MAX, value: group?.label })),
    field("Margin, %", input("margin_share", { type: "number", min: -100, max: 10_000, step: "any", inputmode: "decimal", value: margin === null ? null : Number((margin * 100).toFixed(4)), placeholder: "as is usual" }), "Added to list prices: 20 makes $0.10 to $0.12."),
    field("Spend a day", amount("spend_micros_per_day", group?.spend_micros_per_day), "All its keys together."), field("Spend a month", amount("spend_micros_per_month", group?.spend_micros_per_month)));
  const form = formDialog(group ? `Edit ${group.label}` : "New group", group ? "Save" : "Make it", fields, async (given) => {
    const wish = group ? changed(before, groupWish(given)) : stated(groupWish(given));
    if (group && !Object.keys(wish).length) return;
    await admin(group ? `key-groups/${encodeURIComponent(group.id)}` : "key-groups", { method: group ? "PATCH" : "POST", body: wish });
    await reread();
  });
  const before = groupWish(new FormData(form));
}

function askRotate(key, reread) {
  const choice = field("The secret in use now ends", select("overlap_s", OVERLAPS, "86400"), "Until then both are valid, so that nobody is cut off.");
  formDialog(`Rotate ${key.label}`, "Rotate", choice, async (given) => {
    const made = await admin(`keys/${encodeURIComponent(key.id)}/rotate`, { method: "POST", body: { overlap_s: Number(given.get("overlap_s")) } });
    await reread();
    reveal(made);
  });
}

function askRevoke(key, reread) {
  const told = [h("p", {}, "It is refused from now on, its sessions end, and it cannot be taken back. What it has made stays."), key.id === ownKey() && h("p", { class: "warn" }, "It is the key that you are signed in with: you are signed out.")];
  formDialog(`Revoke ${key.label}?`, "Revoke", told, async () => {
    await admin(`keys/${encodeURIComponent(key.id)}/revoke`, { method: "POST" });
    notice(`${key.label} is revoked.`);
    await reread();
  }, "danger");
}

function reveal(key) {
  const secret = h("code", { class: "secret", tabindex: 0 }, key.key);
  const copy = doing(async () => {
    // Browsers lend the clipboard to pages over TLS or on this machine only; elsewhere it is marked, to be copied by hand.
    if (!navigator.clipboard) {
      getSelection().selectAllChildren(secret);
      notice("It is marked: copy it with Ctrl+C.");
      return;
    }
    await navigator.clipboard.writeText(key.key);
    notice("Copied.");
  });
  const made = dialog(h("h2", {}, `The key of ${key.label}`), h("p", {}, "It is shown this once: only its hash is kept."), secret,
    h("div", { class: "row" }, h("button", { type: "button", onclick: copy }, "Copy"), h("button", { type: "button", class: "main", onclick: () => made.close() }, "I have it")));
  // A key that nobody has noted is lost: only the button closes this.
  made.addEventListener("cancel", (event) => event.preventDefault());
  // A browser lets a page refuse only the first cancel.
  made.addEventListener("keydown", (event) => event.key === "Escape" && event.preventDefault());
}
