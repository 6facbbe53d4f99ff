// What goes wrong while somebody works is told where they look, and never only to the developer's console.

import { h } from "./dom.js";

const STAYS_MS = 8000;

/** Say something at the foot of the page, to screen readers too. */
export function notice(text, tone = "good") {
  const made = h("p", { class: `notice ${tone}`, role: tone === "bad" ? "alert" : "status" }, text);
  document.querySelector(".notice")?.remove();
  document.body.append(made);
  setTimeout(() => made.remove(), STAYS_MS);
}

/** A listener that holds its button while it works, and tells what refused it. */
export function doing(work) {
  return async (event) => {
    event?.preventDefault?.();
    const button = event?.submitter ?? event?.currentTarget;
    if (button instanceof HTMLButtonElement) button.disabled = true;
    try {
      await work(event);
    } catch (problem) {
      if (problem.name !== "AbortError") notice(problem.message, "bad");
    } finally {
      if (button instanceof HTMLButtonElement) button.disabled = false;
    }
  };
}
