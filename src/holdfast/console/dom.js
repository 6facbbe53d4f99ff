// Elements are made here and nowhere else. Text becomes text nodes: no string is ever parsed as HTML, so nothing that a
// caller, an upstream or an operator wrote can be more than letters.

/** A backslash counts as a slash in an address, and blanks within it count for nothing: neither may come second. */
const LINK = /^(?:#|\/(?![/\\\s])|blob:)/;
/** Letters that turn the direction of all that follows: a prompt must not rewrite the line that it stands in. */
const TURNS = /[\u202a-\u202e\u2066-\u2069]/g;
const NEVER = new Set(["style", "srcdoc", "innerHTML", "outerHTML"]);

/**
 * Make an element.
 *
 * @param {string} tag
 * @param {Record<string, unknown>} [props] Attributes; `on*` functions are listeners, `vars` are CSS custom properties,
 *   `data` is a dataset; null, undefined and false leave an attribute out, true states it.
 * @param {...unknown} children Nodes, text, numbers, arrays of them; null, undefined and false are nothing.
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) set(element, name, value);
  element.append(...nodes(children));
  return element;
}

function set(element, name, value) {
  if (value === null || value === undefined || value === false) return;
  if (NEVER.has(name)) throw new TypeError(`${name} is not an attribute that may be set`);
  if (typeof value === "function" && name.startsWith("on")) element.addEventListener(name.slice(2), value);
  else if (name === "data") Object.assign(element.dataset, value);
  else if (name === "vars") for (const [key, each] of Object.entries(value)) element.style.setProperty(`--${key}`, each);
  else if (["href", "src", "srcset"].includes(name) && !LINK.test(String(value))) throw new TypeError(`${name} must lead to this gateway`);
  else element.setAttribute(name, value === true ? "" : String(value));
}

function nodes(children) {
  return children.flat(Infinity).filter((each) => each !== null && each !== undefined && each !== false)
    .map((each) => (each instanceof Node ? each : document.createTextNode(String(each).replace(TURNS, "\ufffd"))));
}

/** Put children in the place of what is there. */
export function fill(element, ...children) {
  element.replaceChildren(...nodes(children));
  return element;
}

/** A table of rows; each column is `[title, cell(row), isNumber]`. */
export function table(columns, rows, empty = "Nothing here yet.") {
  if (rows.length === 0) return h("p", { class: "nothing" }, empty);
  const head = columns.map(([title, , isNumber]) => h("th", { scope: "col", class: isNumber && "num" }, title));
  const body = rows.map((row) => h("tr", {}, columns.map(([, cell, isNumber]) => h("td", { class: isNumber && "num" }, cell(row)))));
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Table" }, h("table", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, body)));
}

/** A state, as a dot and a word. */
export function state(word, tone) {
  return h("span", { class: "state", data: { tone } }, word);
}

/** A titled box. */
export function card(title, ...children) {
  return h("section", { class: "card" }, title && h("h2", {}, title), ...children);
}

/** The head of a page: its title and what can be chosen. */
export function head(title, ...rest) {
  return h("div", { class: "head" }, h("h1", {}, title), ...rest);
}

/** Numbers with what they count: `[name, value, remark, href]`. */
export function figures(...rows) {
  return h("div", { class: "figures" }, rows.map(([name, value, remark, href]) =>
    h(href ? "a" : "div", { href }, h("dl", {}, h("dt", {}, name), h("dd", {}, value, remark && h("small", {}, remark))))));
}

/** A select; options are texts or `[value, text]`. */
export function select(name, options, value, onchange) {
  const made = options.map((each) => (Array.isArray(each) ? each : [each, each]))
    .map(([key, text]) => h("option", { value: key, selected: String(key) === String(value ?? "") }, text));
  return h("select", { name, onchange }, made);
}

/** Choices side by side, of which one is taken. */
export function choice(name, options, value, onchange, label = name) {
  return h("fieldset", { class: "choice" }, h("legend", { class: "unseen" }, label), options.map((each) => {
    const [key, text] = Array.isArray(each) ? each : [each, each];
    return h("label", {}, h("input", { type: "radio", name, value: key, checked: key === value, onchange }), text);
  }));
}

/** Show a dialog until it is closed, and take it away then. */
export function dialog(...children) {
  const made = h("dialog", { onclose: () => made.remove() }, ...children);
  document.body.append(made);
  made.showModal();
  return made;
}
