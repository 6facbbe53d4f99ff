// Try a prompt: what it will take and cost is said before it is sent, how far it is while it is made.

import { admin, call } from "../api.js";
import { card, choice, fill, h, head, select, state } from "../dom.js";
import { bytes, money, seconds, tone } from "../format.js";
import { bar, expectation, outcome } from "../generations.js";
import { live } from "../live.js";
import { doing, notice } from "../notice.js";
import { priceOf } from "../prices.js";

export const title = "Playground";
const REFERENCES_MAX = 14;
const REFERENCE_BYTES_MAX = 20_000_000;
const RATIOS = ["1:1", "3:2", "2:3", "4:3", "3:4", "16:9", "9:16", "21:9"];
const FOLLOW_MS = 2000;
/** What was asked for in this page, newest first: it outlives a look at another page. */
const made = [];

export async function show(main, { signal }) {
  const [models, latency, settings] = await Promise.all([
    call("/v1/models", { signal }), call("/v1/latency", { signal }).catch(() => ({ data: [] })), admin("settings", { signal }).catch(() => ({ data: [] })),
  ]);
  const priced = new Set(latency.data.map((row) => row.model));
  const names = models.data.map((each) => each.id).filter((name) => !priced.size || priced.has(name));
  const references = [];
  const results = h("div", { class: "stack" });
  const before = h("p", { class: "soft", role: "status" });
  const tray = h("div", { class: "drop", tabindex: -1 });

  const form = h("form", { class: "stack", onchange: tell },
    h("label", {}, "Prompt", h("textarea", { name: "prompt", required: true, maxlength: 32_000, placeholder: "A lighthouse in the fog, long exposure" })),
    h("div", { class: "row" },
      h("label", {}, "Model", select("model", names, names[0])),
      h("label", {}, "Shape", select("ratio", [["", "as the model likes"], ...RATIOS], "")),
      h("label", {}, "Images", select("n", ["1", "2", "3", "4"], "1")),
      choice("size", ["1K", "2K", "4K"], "1K", null, "Size")),
    tray,
    h("div", { class: "row" }, h("button", { class: "main", type: "submit" }, "Make it"), before));
  form.addEventListener("submit", doing(() => send(form, references)));
  form.elements.prompt.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  fill(main, head("Playground"), h("div", { class: "columns" }, card("", form), h("section", { class: "card" }, h("h2", {}, "What came"), results)));

  function tell() {
    const { model, size, n } = asked(form);
    const row = latency.data.find((each) => each.model === model && each.size === size && each.upstream === null && each.is_used) ?? latency.data.find((each) => each.model === model && each.size === size);
    const price = priceOf(settings.data, model, size);
    fill(before, row ? `Usually ${seconds(row.p50_s)}, 95 of 100 within ${seconds(row.p95_s)}. ` : "", price === null ? "" : `Costs ${money(price * n)}${n > 1 ? `, ${money(price)} an image` : ""}.`);
  }

  takeReferences(tray, references, signal);
  tell();
  const draw = () => fill(results, made.length ? made.map(drawn) : h("p", { class: "nothing" }, "Images appear here. They are paid for by the key you signed in with."));
  async function send(from, images) {
    const { ratio, ...rest } = asked(from);
    const body = { ...rest, ...(ratio && { aspect_ratio: ratio }), ...(images.length && { images: images.map(({ b64 }) => ({ b64 })) }) };
    const accepted = await call("/v1/generations", { method: "POST", body, headers: { "Idempotency-Key": crypto.randomUUID(), Prefer: "respond-async" } });
    made.unshift({ ...accepted, prompt: rest.prompt });
    draw();
  }
  const follow = () => refresh(signal).then(draw, (problem) => signal.aborted || notice(problem.message, "bad"));
  live.addEventListener("change", ({ detail }) => {
    if (detail.some((each) => made.some(({ id }) => id === each.id))) follow();
    else if (made.some(isOpen)) draw();
  }, { signal });
  // The stream may be cut: what is open is asked after, too.
  const timer = setInterval(() => made.some(isOpen) && follow(), FOLLOW_MS);
  signal.addEventListener("abort", () => clearInterval(timer));
  draw();
}

function asked(form) {
  const given = new FormData(form);
  return { prompt: given.get("prompt"), model: given.get("model"), size: given.get("size"), n: Number(given.get("n")), ratio: given.get("ratio") };
}

const isOpen = ({ status }) => ["queued", "running"].includes(status);

async function refresh(signal) {
  for (const [index, each] of made.entries()) {
    if (isOpen(each)) made[index] = { ...(await call(`/v1/generations/${each.id}`, { signal })), prompt: each.prompt };
  }
}

function drawn(it) {
  const now = live.open.get(it.id);
  const known = isOpen(it) && now ? { ...it, progress: now.progress ?? it.progress, queue_position: now.queue_position } : it;
  const link = h("a", { href: `#/generations/${it.id}` }, "Its story");
  const title_ = h("div", { class: "row" }, state(it.status, tone(it.status)), link, h("span", { class: "soft small" }, it.prompt.slice(0, 80)));
  if (isOpen(it)) return h("article", { class: "result" }, title_, bar(known), h("p", { class: "small soft" }, expectation(known)));
  if (it.error) return h("article", { class: "result" }, title_, h("p", { class: "problem" }, it.error.message));
  return h("article", { class: "result" }, title_, it.images.map((image) => h("a", { href: `/v1/generations/${it.id}/images/${image.index}`, target: "_blank", rel: "noopener" },
    h("img", { src: `/v1/generations/${it.id}/images/${image.index}`, alt: it.prompt.slice(0, 120), width: image.width, height: image.height, decoding: "async" }))),
  h("p", { class: "soft small" }, [`${outcome({ ...it, collected_at: "now" })}`, it.images.map((image) => `${image.width} × ${image.height}, ${bytes(image.bytes)}`).join("; "), money(it.cost.charged_micros - it.cost.compensated_micros)].filter(Boolean).join(" · ")));
}

/** Reference images: dropped, pasted, or chosen. */
function takeReferences(tray, references, signal) {
  const file = h("input", { type: "file", accept: "image/*", multiple: true, "aria-label": "Reference images", onchange: ({ target }) => take([...target.files]) });
  const take = doing(async (files) => {
    for (const each of [...files].filter(({ type }) => type.startsWith("image/"))) {
      if (references.length >= REFERENCES_MAX) throw new Error(`At most ${REFERENCES_MAX} reference images go with a prompt.`);
      if (each.size > REFERENCE_BYTES_MAX) throw new Error(`${each.name} has ${bytes(each.size)}; at most ${bytes(REFERENCE_BYTES_MAX)} are taken.`);
      references.push({ name: each.name, url: URL.createObjectURL(each), b64: await base64Of(each) });
    }
    draw();
  });
  const draw = () => {
    file.value = "";
    fill(tray, "Drop or paste reference images here, or", file, references.map((each, index) => h("button", { type: "button", class: "quiet", "aria-label": `Take ${each.name} away`, title: "Take it away", onclick: () => {
      URL.revokeObjectURL(each.url);
      references.splice(index, 1);
      draw();
    } }, h("img", { src: each.url, alt: each.name }))));
  };
  for (const [name, over] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
    tray.addEventListener(name, (event) => {
      event.preventDefault();
      if (over) tray.dataset.over = "";
      else delete tray.dataset.over;
      if (name === "drop") take([...event.dataTransfer.files]);
    });
  }
  document.addEventListener("paste", (event) => event.clipboardData?.files.length && take([...event.clipboardData.files]), { signal });
  signal.addEventListener("abort", () => references.forEach(({ url }) => URL.revokeObjectURL(url)));
  draw();
}

function base64Of(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result).split(",")[1] ?? "");
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}
