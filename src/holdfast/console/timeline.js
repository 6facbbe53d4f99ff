// One generation as lanes over one axis of time: in line, each attempt, stored, sent, collected.

import { h } from "./dom.js";
import { epoch, seconds, time, tone, words } from "./format.js";

const TICKS = 4;
const BEATS_MAX = 120;

/**
 * Work out the lanes of a story. Pure: `now` is epoch seconds.
 *
 * @returns {{from: number, to: number, lanes: {name: string, note: string, pieces: object[], marks: object[]}[]}}
 */
export function lanesOf(story, now) {
  const { generation: it, attempts, events, images, deliveries = [] } = story;
  const from = epoch(it.created_at);
  const isOpen = !it.finished_at;
  const ends = [it.finished_at, it.answered_at, it.collected_at, ...attempts.map((each) => each.ended_at), ...deliveries.map((each) => each.ended_at)];
  const seen = ends.filter(Boolean).map(epoch);
  const last = isOpen ? Math.max(now, ...seen) : Math.max(...seen);
  const finished = it.finished_at ? epoch(it.finished_at) : last;
  // Who collects an hour later would press all else into a corner: that is told in words, at the edge.
  const to = Math.max(from + 0.05, Math.min(last, Math.max(finished, from + 0.05) + (finished - from) * 0.5 + 2));
  const piece = (a, b, ink, text, open = false) => ({ a, b: Math.min(b, to), tone: ink, text, open });
  const started = it.started_at ? epoch(it.started_at) : finished;
  const lanes = [{ name: "In line", note: seconds(started - from), pieces: [piece(from, started, "idle", `in line ${seconds(started - from)}`, isOpen && !it.started_at)], marks: [] }];
  for (const each of attempts) {
    const a = epoch(each.started_at);
    const b = each.ended_at ? epoch(each.ended_at) : last;
    const note = [seconds(b - a), words(each.failure_kind ?? each.status)].join(", ");
    const received = each.received_at ? epoch(each.received_at) : null;
    const pieces = received && received < b
      ? [piece(a, received, tone(each.status), `upstream ${seconds(received - a)}`), piece(received, b, "busy", `stored in ${seconds(b - received)}`)]
      : [piece(a, b, tone(each.status), note, !each.ended_at)];
    lanes.push({ name: `${each.number}. ${each.upstream}`, note, pieces, marks: [] });
  }
  const stored = events.filter((each) => each.type === "stored").map((each) => mark(epoch(each.at), "good", `stored ${time(each.at)}`));
  if (stored.length || images.length) lanes.push({ name: "Stored", note: images.length ? `${images.length} kept` : "", pieces: [], marks: stored.length ? stored : [mark(finished, "good", "stored")] });
  const answered = it.answered_at ? epoch(it.answered_at) : null;
  // Who was told 202 at once has had an answer before there was an image.
  if (answered && answered < finished) lanes.push({ name: "Answered", note: `at once, ${seconds(answered - from)}`, pieces: [], marks: [mark(answered, "good", "told that it is accepted")] });
  else if (it.finished_at) lanes.push({ name: "Sent", note: answered ? `whole after ${seconds(answered - finished)}` : "no answer arrived whole", pieces: answered ? [piece(finished, answered, "good", `sent in ${seconds(answered - finished)}`)] : [], marks: [] });
  if (it.status === "succeeded") {
    const taken = it.collected_at ? epoch(it.collected_at) : null;
    lanes.push({ name: "Collected", note: taken ? `${seconds(taken - finished)} after its end` : "never", pieces: [], marks: taken ? [mark(taken, "good", `collected ${time(it.collected_at)}`)] : [] });
  }
  for (const each of deliveries) lanes.push({ name: "Webhook", note: `${words(each.state)}, ${each.tries} tries`, pieces: [piece(epoch(each.created_at), each.ended_at ? epoch(each.ended_at) : last, tone(each.state === "delivered" ? "settled" : "rejected"), words(each.state))], marks: [] });
  return { from, to, lanes };
}

function mark(at, ink, text) {
  return { at, tone: ink, text };
}

/**
 * The beats that a caller who waited was sent: they are not on record one by one, but follow from the settings.
 *
 * @returns {number[]} Epoch seconds.
 */
export function beatsOf(story, { first, every }) {
  const { generation: it } = story;
  const isWaitedFor = it.finished_at && !(it.answered_at && it.answered_at < it.finished_at);
  if (it.surface === "generations" || !isWaitedFor || !(every > 0)) return [];
  const from = epoch(it.created_at);
  const count = Math.floor((epoch(it.finished_at) - from - first) / every) + 1;
  return Array.from({ length: Math.min(BEATS_MAX, Math.max(0, count)) }, (_, index) => from + first + index * every);
}

/** Draw it. */
export function timeline(story, beats = [], now = Date.now() / 1000) {
  const { from, to, lanes } = lanesOf(story, now);
  const share = (at) => Math.min(1, Math.max(0, (at - from) / (to - from)));
  if (beats.length) lanes.splice(1, 0, { name: "Beats", note: `about ${beats.length}`, pieces: [], marks: [], beats });
  const drawn = lanes.map((lane) => [
    h("span", {}, lane.name),
    h("div", { class: "track" },
      lane.pieces.filter((each) => each.a < to).map((each) => h("span", { class: "piece", title: each.text, data: { tone: each.tone, ...(each.open && { open: "" }) }, vars: { from: share(each.a), share: share(each.b) - share(each.a) } })),
      (lane.beats ?? []).map((at) => h("span", { class: "beat", vars: { from: share(at) } })),
      lane.marks.map((each) => h("span", { class: "mark", title: each.text, data: { tone: each.tone }, vars: { from: share(each.at) } }))),
    h("span", { class: "soft" }, lane.note),
  ]);
  const ticks = Array.from({ length: TICKS + 1 }, (_, index) => h("span", {}, seconds(((to - from) * index) / TICKS)));
  const told = lanes.map((lane) => `${lane.name}: ${lane.note}`).join("; ");
  return h("div", { class: "lanes", role: "img", "aria-label": told }, drawn, h("div", { class: "axis" }, ticks));
}
