// Charts, over uPlot (vendored). It draws on a canvas, which knows no custom properties: colours are resolved here, and
// charts are drawn anew when light becomes dark.

import uPlot from "./vendor/uplot.js";
import { h } from "./dom.js";

const HEIGHT_PX = 240;

// Its style comes with it, so that a first view without a chart does not wait for either.
await new Promise((resolve) => {
  const { pathname } = new URL("./vendor/uplot.css", import.meta.url);
  document.head.append(h("link", { rel: "stylesheet", href: pathname, onload: resolve, onerror: resolve }));
});

/** Resolve a custom property as an element would have it, `light-dark()` included. */
export function colour(name) {
  const probe = h("span", { hidden: true });
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const date = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const DAY_S = 86_400;

/** Times as the reader's own language writes them: the day once, where it begins. */
function times(_, ticks, __, ___, step) {
  let before = "";
  return ticks.map((tick) => {
    const at = new Date(tick * 1000);
    const day = date.format(at);
    const told = step >= DAY_S ? day : day === before ? clock.format(at) : `${clock.format(at)}\n${day}`;
    before = day;
    return told;
  });
}

function axis(values) {
  const grid = { stroke: colour("line"), width: 1 };
  return { stroke: colour("soft"), grid, ticks: { show: false }, font: "12px system-ui", ...(values && { values }) };
}

/**
 * Draw one chart into a box, as wide as it is.
 *
 * @param {string} label For those who do not see it.
 * @param {(number | null)[][]} data Times in epoch seconds, then one array a series.
 * @param {object[]} series uPlot's, with `ink`: the name of a colour.
 * @param {(value: number) => string} write How a value is written.
 * @param {AbortSignal} signal Takes it down.
 */
export function chart(label, data, series, write, signal) {
  const box = h("figure", { class: "chart", role: "img", "aria-label": label });
  let plot = null;
  const draw = () => {
    const width = box.clientWidth;
    if (!width) return;
    plot?.destroy();
    const shown = series.map(({ ink, wash, ...each }) => ({ stroke: colour(ink), ...(wash && { fill: colour(ink) }), value: (_, value) => (value === null || value === undefined ? "–" : write(value)), ...each }));
    plot = new uPlot({
      width, height: HEIGHT_PX, series: [{ label: "Time" }, ...shown],
      axes: [axis(times), { ...axis((_, ticks) => ticks.map(write)), size: 64 }],
      scales: { y: { range: (_, low, high) => [0, high > 0 ? high * 1.08 : 1] } },
      cursor: { drag: { x: false, y: false }, points: { size: 7 } },
    }, data, box);
  };
  const watcher = new ResizeObserver(() => (plot ? plot.setSize({ width: box.clientWidth, height: HEIGHT_PX }) : draw()));
  const dark = matchMedia("(prefers-color-scheme: dark)");
  watcher.observe(box);
  dark.addEventListener("change", draw, { signal });
  window.addEventListener("themechange", draw, { signal });
  signal.addEventListener("abort", () => {
    watcher.disconnect();
    plot?.destroy();
  });
  return box;
}

/** Bars that stand on one another: series are added up, the tallest is drawn first, the legend tells each one's own. */
export function stacked(label, times, parts, write, signal, barSeconds = 3600) {
  const sums = times.map(() => 0);
  const layers = parts.map((part) => ({ ...part, tops: part.values.map((value, index) => (sums[index] += value)) }));
  const bars = uPlot.paths.bars({ size: [0.7, 26], align: 1 });
  const series = layers.toReversed().map(({ name, ink, values }) => ({ label: name, ink, wash: true, width: 0, paths: bars, points: { show: false }, value: (_, __, ___, index) => (index === null || index === undefined ? "–" : write(values[index])) }));
  const data = [times, ...layers.toReversed().map(({ tops }) => tops)];
  // One more slot, empty, so that the last bar has its room.
  const wide = [[...times, (times.at(-1) ?? 0) + barSeconds], ...data.slice(1).map((each) => [...each, null])];
  return chart(label, wide, series, write, signal);
}

/** Every hour between two, so that an hour without anything is seen as one. */
export function hoursOf(rows, key, until = Date.now() / 1000, count = 24, step = 3600) {
  const last = Math.floor(until / step) * step;
  const known = new Map(rows.map((row) => [Date.parse(row[key]) / 1000, row]));
  return Array.from({ length: count }, (_, index) => last - (count - 1 - index) * step).map((at) => [at, known.get(at)]);
}
