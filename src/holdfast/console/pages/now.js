// What happens at this moment, and how the last day went: one answer of the gateway, then its stream of events.

import { admin, earlyAnswer } from "../api.js";
import { card, figures, fill, h, head, state, table } from "../dom.js";
import { count, money, percent, tone, useCurrency, words } from "../format.js";
import { GenerationList } from "../generations.js";
import { live } from "../live.js";

export const title = "Now";
const RECENT_MAX = 20;
const REREAD_MS = 15_000;

export async function show(main, { signal }) {
  let overview = (await earlyAnswer("overview")) ?? (await admin("overview", { signal }));
  useCurrency(overview.currency);
  let recent = overview.recent.toSorted(byEnd);
  const open = new GenerationList("Nothing is being made. What is asked for appears here by itself.");
  const ended = new GenerationList(["Nothing has ended yet. ", h("a", { href: "#/playground" }, "Make the first image"), "."]);
  const top = h("div");
  const health = h("div");
  const kinds = h("div");
  const openTitle = h("h2", {}, "Being made");
  const day = h("section", { class: "card" }, h("h2", {}, "The last 24 hours"));
  fill(main, head("Now", h("p", { class: "small" }, `holdfast ${overview.version}`)), h("div", { class: "stack" }, top,
    h("section", { class: "card" }, openTitle, open.element), card("Just ended", ended.element, h("p", { class: "small" }, h("a", { href: "#/generations" }, "See all"))),
    h("div", { class: "columns" }, day, h("div", { class: "stack" }, health, kinds))));

  const draw = () => {
    fill(top, tops(overview));
    const list = [...live.open.values()];
    openTitle.textContent = list.length ? `Being made: ${count(list.length)}` : "Being made";
    open.draw(list.slice(0, 50));
    ended.draw(recent.slice(0, RECENT_MAX));
  };
  const drawRest = () => {
    fill(health, card("Upstreams", upstreams(overview.upstreams)));
    fill(kinds, card("What failed", failures(overview.failures)));
  };
  const reread = async () => {
    overview = await admin("overview", { signal });
    recent = overview.recent.toSorted(byEnd);
    live.adopt(overview.live, overview.load);
    drawRest();
  };
  live.addEventListener("change", ({ detail }) => {
    const over = detail.filter((each) => !live.open.has(each.id));
    if (over.length) recent = [...over, ...recent.filter((each) => over.every(({ id }) => id !== each.id))].sort(byEnd).slice(0, RECENT_MAX);
    draw();
  }, { signal });
  const again = () => reread().catch((problem) => console.warn("overview", problem.message));
  live.addEventListener("reread", again, { signal });
  const timer = setInterval(() => !document.hidden && again(), REREAD_MS);
  signal.addEventListener("abort", () => clearInterval(timer));
  live.adopt(overview.live, overview.load);
  drawRest();
  // The library of charts comes after what is needed at once.
  await drawHours(day, overview, signal);
}

/** What ended last comes first. */
const byEnd = (a, b) => String(b.finished_at).localeCompare(String(a.finished_at));

function tops(overview) {
  const { day } = overview;
  const load = live.load ?? overview.load;
  const all = day.succeeded + day.failed;
  const stops = { draining: "ending: nothing new is taken", storage_low: "the disk is full: nothing new is taken" };
  return figures(
    ["In flight", count(load.open), load.obstacle ? stops[load.obstacle] ?? words(load.obstacle) : `${count(load.waiting)} held, ${count(load.queued)} in line`],
    ["Succeeded, 24 h", count(day.succeeded), all ? `${percent(day.succeeded / all)} of what ended` : "nothing ended"],
    ["Charged, 24 h", money(day.charged_micros), `${money(day.compensated_micros)} given back`, "#/spend"],
    ["Unknown exposure", money(overview.exposure_micros), "may have been charged to you", "#/spend"],
    ["Never collected", overview.uncollected >= 1000 ? "1,000+" : count(overview.uncollected), "images nobody has fetched", "#/gallery?collected=false"],
  );
}

function upstreams(rows) {
  return table([
    ["Name", (row) => h("a", { href: "#/upstreams" }, row.name)],
    ["State", (row) => state(words(row.state), tone(row.state))],
    ["Keys ready", (row) => `${row.keys.filter((key) => key.state === "ready").length} of ${row.keys.length}`, true],
    ["In line", (row) => count(row.waiting), true],
  ], rows, "No upstream is set.");
}

function failures(rows) {
  return table([["Kind", (row) => h("a", { href: "#/failures" }, words(row.kind))], ["How often", (row) => count(row.count), true]], rows.slice(0, 8), "Nothing failed.");
}

async function drawHours(day, overview, signal) {
  const { hoursOf, stacked } = await import("../charts.js");
  if (signal.aborted) return;
  const slots = hoursOf(overview.hours, "hour", Date.parse(overview.at) / 1000);
  const of = (name) => slots.map(([, row]) => row?.[name] ?? 0);
  day.append(stacked("Generations by hour and outcome", slots.map(([at]) => at), [
    { name: "succeeded", ink: "good", values: of("succeeded") },
    { name: "failed", ink: "bad", values: of("failed") },
    { name: "cancelled", ink: "idle", values: of("cancelled") },
  ], count, signal));
}
