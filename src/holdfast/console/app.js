// The frame: who is signed in, which page is shown, the keyboard. A page is a module with
//   title, and show(main, {id, query, signal}): it fills `main` and lets go of everything when `signal` aborts.
// Which pages there are the gateway says, in a meta element: those whose endpoints it serves.

import { earlyAnswer, enter, leave, session } from "./api.js";
import { dialog, fill, h } from "./dom.js";
import { ago } from "./format.js";
import { live } from "./live.js";

const served = new Set(document.querySelector('meta[name="holdfast-pages"]').content.split(" "));
const GROUPS = [
  ["", [["now", "Now", "n"], ["generations", "Generations", "g"], ["gallery", "Gallery", "i"], ["playground", "Playground", "p"]]],
  ["Measured", [["latency", "Latency", "l"], ["failures", "Failures", "f"], ["upstreams", "Upstreams", "u"]]],
  ["Money", [["spend", "Spend", "s"], ["usage", "Usage", "a"], ["prices", "Prices", "m"], ["reconcile", "Reconcile", "r"], ["compensation", "Compensation", "c"]]],
  ["Gateway", [["keys", "Keys", "k"], ["doctor", "Doctor", "d"], ["audit", "Audit", "t"], ["settings", "Settings", "e"]]],
];
const PAGES = GROUPS.flatMap(([, pages]) => pages).filter(([name]) => served.has(name));
const CHORD_MS = 1200;
const AGO_MS = 5000;

const [app, door, main, nav] = ["app", "door", "main", "nav"].map((id) => document.getElementById(id));
const menu = document.querySelector(".menu");
let shown = new AbortController();

/** Read `#/generations/gen_…?model=x` into its parts. */
function place() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, id] = path.split("/");
  return { name: name || PAGES[0]?.[0], id: id && decoded(id), query: new URLSearchParams(query) };
}

/** Somebody may have typed it: what is not spelled as addresses are is taken as it stands. */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

async function route() {
  shown.abort();
  shown = new AbortController();
  const { signal } = shown;
  const { name, id, query } = place();
  const known = PAGES.find(([each]) => each === name);
  unfold(false);
  for (const link of nav.querySelectorAll("a")) {
    if (link.dataset.page === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (!known) {
    fill(main, h("h1", {}, "There is no such page"), h("p", {}, h("a", { href: "#/" }, "See what happens now")));
    return;
  }
  main.setAttribute("aria-busy", "true");
  try {
    const page = await import(`./pages/${id ? "story" : name}.js`);
    if (signal.aborted) return;
    document.title = `${page.title}: holdfast`;
    fill(main);
    await page.show(main, { id, query, signal });
  } catch (problem) {
    if (!signal.aborted) fill(main, h("h1", {}, known[1]), h("p", { class: "problem", role: "alert" }, problem.message));
  } finally {
    if (!signal.aborted) main.removeAttribute("aria-busy");
  }
}

function unfold(open) {
  menu.setAttribute("aria-expanded", String(open));
}

function drawNav() {
  fill(nav, GROUPS.map(([title, pages]) => {
    const links = pages.filter(([name]) => served.has(name))
      .map(([name, text, key]) => h("li", {}, h("a", { href: name === "now" ? "#/" : `#/${name}`, data: { page: name }, "aria-keyshortcuts": `g ${key}` }, text)));
    return links.length ? [title && h("h2", {}, title), h("ul", {}, links)] : null;
  }));
}

// The keyboard: `g` and a letter lead to a page, j and k along rows, / to the first field, ? tells.

let chordUntil = 0;

function onKey(event) {
  const at = event.target;
  if (app.hidden || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (at instanceof Element && at.closest("input, textarea, select, [contenteditable]")) return;
  const isChord = event.timeStamp < chordUntil;
  chordUntil = 0;
  const page = isChord && PAGES.find(([, , key]) => key === event.key);
  if (page) location.hash = page[0] === "now" ? "#/" : `#/${page[0]}`;
  else if (event.key === "g") chordUntil = event.timeStamp + CHORD_MS;
  else if (event.key === "j" || event.key === "k") step(event.key === "j" ? 1 : -1);
  else if (event.key === "/") main.querySelector("input, select, textarea")?.focus();
  else if (event.key === "?") tellKeys();
  else return;
  event.preventDefault();
}

function step(by) {
  const rows = [...main.querySelectorAll("[data-row]")];
  const at = rows.indexOf(document.activeElement);
  rows[at === -1 ? 0 : Math.min(rows.length - 1, Math.max(0, at + by))]?.focus();
}

function tellKeys() {
  const pages = PAGES.map(([, text, key]) => [["g", key], text]);
  const rows = [...pages, [["j"], "Next row"], [["k"], "Row before"], [["/"], "First field"], [["?"], "This list"]];
  const made = dialog(h("h2", {}, "Shortcuts"), h("dl", { class: "pairs" }, rows.map(([keys, text]) => [h("dt", {}, keys.map((key) => [h("kbd", {}, key), " "])), h("dd", {}, text)])),
    h("div", { class: "row" }, h("button", { type: "button", onclick: () => made.close() }, "Close")));
}

// Light and dark: as the system has it, until somebody chooses.

function wear(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  document.getElementById("theme").textContent = { light: "Light", dark: "Dark" }[theme] ?? "Theme";
}

function changeTheme() {
  const next = { "": "dark", dark: "light", light: "" }[localStorage.getItem("theme") ?? ""] ?? "";
  localStorage.setItem("theme", next);
  wear(next);
  window.dispatchEvent(new Event("themechange"));
}

// Coming and going.

const enterForm = document.getElementById("enter");
const refusal = enterForm.querySelector(".problem");

function showDoor(reason) {
  live.stop();
  shown.abort();
  fill(main);
  app.hidden = true;
  door.hidden = false;
  document.title = "Sign in: holdfast";
  refusal.hidden = !reason;
  refusal.textContent = reason ?? "";
  enterForm.elements.key.focus();
}

function showApp(opened) {
  door.hidden = true;
  app.hidden = false;
  enterForm.reset();
  fill(document.getElementById("who"), opened.label || opened.key_id);
  drawNav();
  live.start();
  route();
}

enterForm.addEventListener("submit", async (event) => {
  event.preventDefault();
  const key = enterForm.elements.key.value.trim();
  const button = enterForm.querySelector("button");
  button.disabled = true;
  try {
    // A header takes visible ASCII only; anything else is no key.
    if (!/^[\x21-\x7e]+$/.test(key)) throw new Error("That is not a key: keys begin with hf- and hold no spaces.");
    showApp(await enter(key));
  } catch (problem) {
    showDoor(problem.message);
  } finally {
    button.disabled = false;
  }
});
session.addEventListener("over", ({ detail }) => showDoor(`Your session has ended. ${detail}`));
document.getElementById("leave").addEventListener("click", async () => {
  try {
    await leave();
    showDoor();
  } catch (problem) {
    showDoor(problem.message);
  }
});
document.getElementById("theme").addEventListener("click", changeTheme);
document.getElementById("help").addEventListener("click", tellKeys);
menu.addEventListener("click", () => unfold(menu.getAttribute("aria-expanded") !== "true"));
document.addEventListener("keydown", onKey);
window.addEventListener("hashchange", () => !app.hidden && route().then(() => main.focus({ preventScroll: true })));
const link = document.getElementById("link");
live.addEventListener("state", () => {
  link.dataset.state = live.state;
  link.textContent = { open: "Live", lost: "Connection lost, trying again", closed: "Paused" }[live.state];
});

// What is told as `5 min ago` goes on being true.
setInterval(() => {
  for (const each of document.hidden ? [] : main.querySelectorAll("time[datetime]")) each.textContent = ago(each.dateTime);
}, AGO_MS);

wear(localStorage.getItem("theme"));
enter().then(showApp, (problem) => showDoor(problem.status === 401 ? "" : problem.message));
