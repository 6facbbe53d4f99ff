// The path from this browser to the gateway, measured: what it looks like from the other end, whether beats arrive one
// by one, and whether silence is cut. `holdfast doctor URL` measures more, from a terminal.

import { call } from "../api.js";
import { card, choice, fill, h, head, state, table } from "../dom.js";
import { bytes, seconds } from "../format.js";
import { doing } from "../notice.js";

export const title = "Doctor";
const LENGTHS = [["5", "5 s"], ["35", "35 s"], ["70", "70 s"], ["130", "130 s"]];
const BEATS_S = 4;
const BEAT_S = 0.5;
const SKEW_S_MAX = 5;

export async function show(main, { signal }) {
  const rows = h("div");
  let length = "5";
  const start = h("button", { type: "button", class: "main", onclick: doing(() => examine(rows, Number(length), signal)) }, "Examine the path");
  fill(main, head("Doctor", choice("silence", LENGTHS, length, (event) => (length = event.target.value), "How long to stay silent"), start), card("", h("p", { class: "soft small" }, "From this browser to the gateway, proxies between them included. Two calls are held at once: one with beats, one in silence for as long as chosen. Nothing is bought. A terminal knows more: ", h("code", {}, `holdfast doctor ${location.origin}`)), rows));
}

async function examine(rows, length, signal) {
  const found = [];
  const tell = (what, verdict, tone, more = "") => {
    found.push([what, verdict, tone, more]);
    fill(rows, table([["What", ([name]) => name], ["Found", ([, said, ink]) => state(said, ink)], ["", ([, , , rest]) => h("span", { class: "soft small wrap" }, rest)]], found));
  };
  fill(rows, h("p", { class: "soft", role: "status" }, `Looking; it takes ${seconds(Math.max(length, BEATS_S))} at most.`));
  await tellEcho(tell, signal);
  await Promise.all([tellBeats(tell, signal), tellSilence(tell, length, signal)]);
}

async function tellEcho(tell, signal) {
  const asked = performance.now();
  const echo = await call("/v1/probe/echo", { signal });
  const took = (performance.now() - asked) / 1000;
  const [entry] = performance.getEntriesByType("resource").filter((each) => each.name.endsWith("/v1/probe/echo")).slice(-1);
  tell("There and back", `${(took * 1000).toFixed(0)} ms`, "good", `gateway ${echo.version}`);
  tell("HTTP", `${entry?.nextHopProtocol || "?"} here, ${echo.http_version} there`, "good", `${echo.scheme} from ${echo.peer}, ${echo.congestion ?? "unknown"} congestion control`);
  const hops = echo.headers.filter((each) => /^(via|forwarded|x-forwarded-for|cf-ray|x-amzn.*)$/.test(each.name));
  tell("On the way", hops.length ? hops.map((each) => each.name).join(", ") : "no proxy shows itself", hops.length ? "warn" : "good", hops.map((each) => `${each.name}: ${each.value ?? "…"}`).join("; "));
  const skew = Math.abs(Date.parse(echo.at) - Date.now()) / 1000;
  tell("Clocks", skew > SKEW_S_MAX ? `${seconds(skew)} apart` : "agree", skew > SKEW_S_MAX ? "warn" : "good", skew > SKEW_S_MAX ? "Signed links may seem to have expired." : "");
  tell("Beats of calls", `first after ${seconds(echo.heartbeat.first_beat_s)}, then every ${seconds(echo.heartbeat.beat_s)}`, "good", `requests up to ${bytes(echo.request_bytes_max)}`);
}

async function tellBeats(tell, signal) {
  try {
    const answer = await fetch(`/v1/probe/hold?seconds=${BEATS_S}&beat=${BEAT_S}`, { signal, cache: "no-store" });
    const reader = answer.body.getReader();
    const arrivals = [];
    for (let piece = await reader.read(); !piece.done; piece = await reader.read()) arrivals.push(performance.now());
    const spread = (arrivals.at(-1) - arrivals[0]) / 1000;
    // Beats that come together have waited for one another in somebody's buffer.
    const isSpread = arrivals.length > 2 && spread > BEATS_S / 2;
    tell("Beats", isSpread ? `${arrivals.length} pieces over ${seconds(spread)}` : "held back on the way", isSpread ? "good" : "bad", isSpread ? "They arrive as they are sent." : "A proxy buffers answers: set proxy_buffering off, or what it calls that.");
  } catch (problem) {
    if (signal.aborted) throw problem;
    tell("Beats", "cut", "bad", problem.message);
  }
}

async function tellSilence(tell, length, signal) {
  const began = performance.now();
  try {
    const answer = await fetch(`/v1/probe/hold?seconds=${length}`, { signal, cache: "no-store" });
    const isOurs = (await answer.json().catch(() => ({}))).object === "probe.held";
    const took = (performance.now() - began) / 1000;
    tell("Silence", isOurs ? `${seconds(took)} passed` : `${answer.status} after ${seconds(took)}`, isOurs ? "good" : "bad", isOurs ? "No idle timer on the way is shorter." : "Somebody between here and the gateway answered in its place.");
  } catch (problem) {
    if (signal.aborted) throw problem;
    tell("Silence", `cut after ${seconds((performance.now() - began) / 1000)}`, "bad", "An idle timer on the way fires before that. Beats must come more often.");
  }
}
