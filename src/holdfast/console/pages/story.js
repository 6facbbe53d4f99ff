// One generation: what happened to it, in time, in words and in money.

import { admin } from "../api.js";
import { card, fill, h, head, state, table } from "../dom.js";
import { ago, moment, money, seconds, time, tone, words } from "../format.js";
import { bar, expectation, outcome } from "../generations.js";
import { live } from "../live.js";
import { doing, notice } from "../notice.js";
import { gone, lookAt, measures, thumbnail, weight } from "../pictures.js";
import { beatsOf, timeline } from "../timeline.js";

export const title = "Generation";
/** Two notes of the same moment. */
const SAME_MS = 250;

export async function show(main, { id, signal }) {
  const path = `generations/${encodeURIComponent(id)}`;
  let story = await admin(path, { signal });
  const pace = await paceOf(signal);
  const progress = h("div");
  const body = h("div", { class: "stack" });
  fill(main, body);

  const draw = () => fill(body, top(story, path, reread), progress, card("In time", timeline(story, pace ? beatsOf(story, pace) : [])), wording(story), pictures(story, signal),
    card("Attempts", attempts(story)), h("div", { class: "columns" }, card("Money", ledger(story)), card("Events", events(story))));
  const drawProgress = () => {
    const it = live.open.get(id) ?? story.generation;
    if (it.progress && !it.finished_at) fill(progress, card("", bar(it), h("p", {}, expectation(it))));
    else fill(progress);
  };
  async function reread() {
    story = await admin(path, { signal });
    draw();
    drawProgress();
  }
  live.addEventListener("change", ({ detail }) => {
    if (detail.some((each) => each.id === id)) reread().catch((problem) => signal.aborted || notice(problem.message, "bad"));
    else drawProgress();
  }, { signal });
  draw();
  drawProgress();
}

/** Who collected it, as far as that is on record: with the answer that was waited for, or by its own request. */
export function collectedBy({ answered_at: answered, collected_at: collected, finished_at: finished }) {
  const isWithAnswer = answered && answered >= finished && Math.abs(Date.parse(answered) - Date.parse(collected)) < SAME_MS;
  return isWithAnswer ? "by whoever waited for it" : "fetched afterwards, by its link or with its key";
}

/** How often callers are sent a beat; null where settings are not served. */
async function paceOf(signal) {
  const { data } = await admin("settings", { signal });
  const value = (name) => data.find((each) => each.name === name)?.value;
  const [first, every] = [Number(value("heartbeat.first_beat_s")), Number(value("heartbeat.beat_s"))];
  return first > 0 && every > 0 ? { first, every } : null;
}

function top({ generation: it, error, callers, inputs, deadline_at: deadline }, path, reread) {
  const isOpen = !it.finished_at;
  const cancel = h("button", { type: "button", class: "danger", hidden: !isOpen || it.cancel_requested, onclick: doing(async () => {
    await admin(`${path}/cancel`, { method: "POST" });
    notice("Cancelling: nothing more is bought for it.");
    await reread();
  }) }, "Cancel it");
  const facts = [
    ["State", [state(it.cancel_requested && isOpen ? "cancelling" : it.status, tone(it.status)), " ", h("span", { class: "soft" }, outcome(it))]],
    ["Asked for", `${it.model}, ${it.asked_size}${it.n > 1 ? `, ${it.n} images` : ""}${inputs ? `, from ${inputs} reference images` : ""}`],
    ["Through", `${it.surface} by ${it.key_label || it.key_id}`],
    ["Served by", it.served_by ?? "nobody yet"],
    ["Accepted", `${moment(it.created_at)}, ${ago(it.created_at)}`],
    ["Took", seconds(it.elapsed_s)],
    isOpen ? ["Ends by", moment(deadline)] : ["Collected", it.collected_at ? `${moment(it.collected_at)}, ${collectedBy(it)}` : it.status === "succeeded" ? "never" : "–"],
    ["Callers", isOpen ? `${callers} wait, ${it.joins} joined` : `${it.joins} joined`],
  ];
  return h("div", {},
    head([h("a", { href: "#/generations", class: "small" }, "Generations"), h("div", { class: "mono" }, it.id)], cancel),
    error && h("p", { class: "problem" }, `${words(error.code)}: ${error.message} (paid: ${error.paid})`),
    card("", h("dl", { class: "pairs two" }, facts.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]))));
}

function wording({ prompt, metadata }) {
  const kept = Object.entries(metadata ?? {});
  return card("Prompt", prompt === null ? h("p", { class: "soft" }, "Deleted together with its images.") : h("p", { class: "prompt" }, prompt),
    kept.length > 0 && h("dl", { class: "pairs small" }, kept.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])));
}

function pictures({ images, generation }, signal) {
  if (!images.length) return null;
  return card("Images", h("ul", { class: "gallery" }, images.map((each) => {
    const alt = `Image ${each.index}, ${measures(each)}`;
    const told = [h("p", {}, `${measures(each)}, ${weight(each)}`), h("p", { class: "soft" }, [each.kind === "result" ? "" : each.kind, each.collected_at && `collected ${ago(each.collected_at)}`].filter(Boolean).join(", "))];
    if (!each.url) return h("li", { class: "shot" }, gone(each.delete_after), told);
    return h("li", { class: "shot" }, h("button", { type: "button", class: "look", "aria-label": `Look at image ${each.index}`, onclick: ({ currentTarget }) => lookAt(currentTarget, generation.id, each, alt) }, thumbnail(generation.id, each, alt, signal)), told);
  })));
}

function attempts(story) {
  return table([
    ["No.", (row) => `${row.number}${row.hedge ? " (beside)" : ""}`],
    ["Upstream", (row) => [`${row.upstream} `, h("span", { class: "soft" }, row.model)]],
    ["Key", (row) => row.key_number ?? "–", true],
    ["State", (row) => state(words(row.status), tone(row.status))],
    ["Charged to you", (row) => row.charge],
    ["Began", (row) => time(row.started_at)],
    ["Took", (row) => (row.ended_at ? seconds((Date.parse(row.ended_at) - Date.parse(row.started_at)) / 1000) : "still open"), true],
    ["Cost", (row) => money(row.estimated_micros), true],
    ["What it said", (row) => h("div", { class: "wrap" }, [row.http_status, row.failure_kind && words(row.failure_kind), row.failure_detail].filter(Boolean).join(" · "), decision(row.decision))],
  ], story.attempts, "Nothing was sent yet.");
}

function decision(made) {
  if (!made) return null;
  const rest = ["reason", "to"].filter((name) => made[name]).map((name) => words(typeof made[name] === "string" ? made[name] : JSON.stringify(made[name])));
  return h("p", { class: "soft small" }, `Then: ${[words(made.follows ?? ""), ...rest].filter(Boolean).join(", ")}${made.after_s ? ` after ${seconds(made.after_s)}` : ""}`);
}

function ledger(story) {
  return table([["When", (row) => time(row.at)], ["What", (row) => words(row.kind)], ["Account", (row) => h("span", { class: "wrap" }, row.account.replace(story.generation.key_id, story.generation.key_label || story.generation.key_id))], ["Amount", (row) => money(row.micros), true]], story.ledger, "Nothing was booked.");
}

function events(story) {
  return table([["After", (row) => seconds(row.after_s), true], ["What", (row) => words(row.type)], ["Details", (row) => h("span", { class: "soft small wrap" }, row.data ? JSON.stringify(row.data) : "")]], story.events);
}
