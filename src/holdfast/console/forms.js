// Fields and forms: what is wrong with a field is told beside it, to screen readers too, and nothing is lost by it.

import { dialog, h } from "./dom.js";

let made = 0;

/**
 * A field with its name, a hint and a place for what is wrong with it.
 *
 * @param {string} text Its name.
 * @param {HTMLElement} control An input, select or textarea; or a fieldset of boxes, named by `data-param`.
 * @param {string} [hint] What it takes, or what nothing means.
 */
export function field(text, control, hint = "") {
  const id = `field-${(made += 1)}`;
  const fault = h("p", { class: "fault", id: `${id}-fault`, hidden: true });
  const help = hint && h("p", { class: "hint", id: `${id}-hint` }, hint);
  control.id = id;
  control.setAttribute("aria-describedby", [help && `${id}-hint`, `${id}-fault`].filter(Boolean).join(" "));
  const isGroup = control.matches("fieldset");
  return h("div", { class: "field" }, isGroup ? null : h("label", { for: id }, text), control, help, fault);
}

export const input = (name, props = {}) => h("input", { name, autocomplete: "off", ...props });
/** A number; empty is no limit. */
export const number = (name, value, props = {}) => input(name, { type: "number", min: 1, step: 1, inputmode: "numeric", value, placeholder: "no limit", ...props });
/** An amount in the books' currency; empty is no limit. */
export const amount = (name, micros) => input(name, { type: "number", min: 0, step: "any", inputmode: "decimal", value: micros === null || micros === undefined ? null : micros / 1e6, placeholder: "no limit" });

/** Boxes of which any number may be ticked; `param` is what the gateway calls them together. */
export function boxes(text, param, options, ticked) {
  const known = new Set(ticked ?? []);
  return h("fieldset", { class: "boxes", data: { param } }, h("legend", {}, text), options.map((each) => {
    const [value, words] = Array.isArray(each) ? each : [each, each];
    return h("label", { class: "inline" }, h("input", { type: "checkbox", name: param, value, checked: known.has(value) }), words);
  }));
}

/** One box. */
export const box = (name, text, ticked) => h("label", { class: "inline" }, h("input", { type: "checkbox", name, checked: Boolean(ticked) }), text);

/** RFC 3339 in UTC as a `datetime-local` field has it, in the reader's zone. */
export function localInput(text) {
  if (!text || Number.isNaN(Date.parse(text))) return "";
  const at = new Date(text);
  return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

/** What a `datetime-local` field says, as RFC 3339 in UTC; empty: nothing. */
export const utcOf = (text) => (text ? new Date(text).toISOString() : "");

/** Tell what is wrong with a field; give whether there is such a field. */
function tell(form, name, message) {
  const bare = String(name).replace(/[[.].*$/, "");
  const control = form.querySelector(`[data-param="${CSS.escape(bare)}"]`) ?? form.elements.namedItem(bare);
  const fault = control instanceof Element && document.getElementById(`${control.id}-fault`);
  if (!fault) return false;
  fault.textContent = message;
  fault.hidden = false;
  control.setAttribute("aria-invalid", "true");
  return true;
}

function forgive(form) {
  for (const each of form.querySelectorAll("[aria-invalid]")) each.removeAttribute("aria-invalid");
  for (const each of form.querySelectorAll(".fault")) each.hidden = true;
  form.querySelector(":scope > .problem")?.remove();
}

/** Look at every field as the browser does; give whether all are in order. */
function isInOrder(form) {
  const wrong = [...form.elements].filter((each) => each.willValidate && !each.validity.valid);
  for (const each of wrong) tell(form, each.name, each.validationMessage);
  wrong[0]?.focus();
  return wrong.length === 0;
}

/**
 * Have a form do its work: its button is held meanwhile, and what refuses it is told beside the field to blame.
 *
 * @param {HTMLFormElement} form
 * @param {(given: FormData) => Promise<void>} work
 */
export function onSubmit(form, work) {
  form.noValidate = true;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    forgive(form);
    if (!isInOrder(form)) return;
    const button = event.submitter ?? form.querySelector("[type=submit]");
    button.disabled = true;
    try {
      await work(new FormData(form));
    } catch (problem) {
      if (problem.name === "AbortError") return;
      if (problem.param && tell(form, problem.param, problem.message)) form.querySelector("[aria-invalid] input, [aria-invalid]")?.focus();
      else {
        const refusal = h("p", { class: "problem", role: "alert" }, problem.message);
        form.prepend(refusal);
        refusal.scrollIntoView({ block: "nearest" });
      }
    } finally {
      button.disabled = false;
    }
  });
}

/** A dialog with a form; `work` gets its data, and its end closes it. */
export function formDialog(title, verb, fields, work, tone = "main") {
  const form = h("form", {}, h("h2", {}, title), fields, h("div", { class: "row" }, h("button", { type: "button", onclick: () => shown.close() }, "Cancel"), h("button", { type: "submit", class: tone }, verb)));
  onSubmit(form, async (given) => {
    await work(given, form);
    shown.close();
  });
  const shown = dialog(form);
  shown.setAttribute("aria-label", title);
  form.querySelector("input:not([type=checkbox]), select, textarea")?.focus();
  return form;
}
