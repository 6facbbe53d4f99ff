// Pictures in lists: a few KB each, where the gateway can make them small; else a drawn frame that says what there is.

import { h } from "./dom.js";
import { bytes, moment } from "./format.js";

const WIDTHS = [320, 640];
const DENSE = 1.5;
const AGAIN_MS = 4000;
/** Of the six connections that a browser grants a server; the stream takes one, and pages ask for what they show. */
const AT_ONCE = 3;
const AHEAD = "300px";
const TRIES = 3;
const offered = new Set(document.querySelector('meta[name="holdfast-offers"]').content.split(" "));

/** Whether images are made small here. */
export const hasThumbnails = () => offered.has("thumbnails");

/** Where an image is, whole. */
export const wholeAt = (id, index) => `/admin/v1/generations/${id}/images/${index}`;

/** `2048 × 2048`. */
export const measures = ({ width, height }) => `${width} × ${height}`;

/** `PNG, 3.1 MB`. */
export const weight = ({ mime, bytes: size }) => `${String(mime).replace(/^image\//, "").toUpperCase()}, ${bytes(size)}`;

// What is near the screen is loaded, a few at once and in order: else pictures that take a while would hold every
// connection, and whatever else somebody opens would wait behind them.

const waiting = [];
const loading = new Set();
const near = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    near.unobserve(target);
    waiting.push(target);
  }
  pump();
}, { rootMargin: AHEAD });

function pump() {
  while (loading.size < AT_ONCE && waiting.length) {
    const next = waiting.shift();
    if (!next.isConnected) continue;
    loading.add(next);
    next.src = next.dataset.source;
  }
}

/** It came, it failed, or nobody wants it any more. */
function over(picture) {
  if (loading.delete(picture)) pump();
}

/**
 * A frame with an image made small; where there is none, with what is known of it. Nothing is loaded whole.
 *
 * @param {string} id Of the generation.
 * @param {{index: number, mime: string, bytes: number, width: number, height: number}} file
 * @param {string} alt What it is, in words.
 * @param {AbortSignal} signal Whoever looked has gone on.
 */
export function thumbnail(id, file, alt, signal) {
  const frame = h("div", { class: "frame" });
  if (!hasThumbnails()) {
    frame.append(drawn(file));
    return frame;
  }
  const source = `${wholeAt(id, file.index)}/thumbnail?width=${devicePixelRatio > DENSE ? WIDTHS[1] : WIDTHS[0]}`;
  let tries = 0;
  const picture = h("img", { alt, decoding: "async", width: file.width, height: file.height, data: { source }, onload: () => over(picture), onerror: fail });
  function fail() {
    over(picture);
    if (signal.aborted) return;
    tries += 1;
    const place = drawn(file);
    (picture.isConnected ? picture : frame.firstChild).replaceWith(place);
    // Many may be wanted at this moment: it is asked for again, and less and less often.
    if (tries < TRIES) setTimeout(() => place.isConnected && again(place), AGAIN_MS * tries);
  }
  function again(place) {
    place.replaceWith(picture);
    near.observe(picture);
  }
  signal.addEventListener("abort", () => {
    near.unobserve(picture);
    if (loading.has(picture)) picture.removeAttribute("src");
    over(picture);
  });
  frame.append(picture);
  near.observe(picture);
  return frame;
}

/** The shape of an image and its format, in place of it. */
function drawn(file) {
  const wide = file.width / file.height;
  return h("div", { class: "sketch", vars: { wide: Number.isFinite(wide) ? wide : 1 } }, h("span", {}), h("b", {}, measures(file)), h("small", {}, weight(file)));
}

/** A frame whose image has been deleted. */
export function gone(at) {
  return h("div", { class: "frame" }, h("div", { class: "sketch" }, h("b", {}, "deleted"), h("small", {}, at ? moment(at) : "")));
}

/** The whole of an image, over the page: loaded only now that somebody wants to see it. `opener` is its small one. */
export function lookAt(opener, id, file, alt, href) {
  const picture = h("img", { src: wholeAt(id, file.index), alt, width: file.width, height: file.height, onerror: () => picture.replaceWith(h("p", { class: "problem", role: "alert" }, "The image could not be loaded. It may have been deleted just now.")) });
  const made = h("dialog", { class: "light", "aria-label": alt, onclose: () => made.remove(), onclick: ({ target }) => target === made && made.close() },
    picture,
    h("div", { class: "row" }, h("span", { class: "soft small" }, `${measures(file)}, ${weight(file)}`),
      href && h("a", { class: "button", href, onclick: () => made.close() }, "Its story"),
      h("a", { class: "button", href: wholeAt(id, file.index), target: "_blank", rel: "noopener" }, "Open the file"),
      h("button", { type: "button", class: "main", onclick: () => made.close() }, "Close")));
  // The arrows lead along the page's pictures.
  made.addEventListener("keydown", ({ key }) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[key];
    if (!by) return;
    const looks = [...document.querySelectorAll(".look")];
    const next = looks[looks.indexOf(opener) + by];
    if (!next) return;
    made.close();
    next.focus();
    next.click();
  });
  document.body.append(made);
  made.showModal();
}
