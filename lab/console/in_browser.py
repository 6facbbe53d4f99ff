"""How long the console takes from navigation to its first meaningful view, in Chromium, over many generations.

    python lab/console/in_browser.py [--generations 100000] [--all-day] [--rounds 15] [--out results/browser.json]

The data folder is that of `first_view.py`; the gateway is a process of its own, the browser signed in. A view is
meaningful once figures and lists stand there as they were read, and have been painted: a script in the page looks for
both, and takes the time of the frame after. `cold`: a browser that has never been there, in a context of its own, and
nothing in its cache. `again`: the same page once more. `chart_ms`: the chart, which comes after what is needed at once.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import first_view
import tomli_w
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

PROGRAM = shutil.which("chromium") or "/usr/bin/chromium"
# Somebody looks at it: without these a browser without a screen takes it for a page in the background, which may wait.
ARGS = ["--no-sandbox", "--disable-renderer-backgrounding", "--disable-backgrounding-occluded-windows"]
SIZES = {"desktop": {"width": 1280, "height": 800}, "phone": {"width": 390, "height": 844}}
# Painted is what stood there when a frame ended: the second callback comes after the first one's frame.
WATCH = """
const marks = window.marks = {};
const look = () => {
  const main = document.getElementById("main");
  const isThere = main?.querySelector(".figures dd")?.textContent && main.querySelector(".gen .state");
  if (isThere && !marks.view) {
    marks.view = -1;
    requestAnimationFrame(() => requestAnimationFrame(() => { marks.view = performance.now(); }));
  }
  if (main?.querySelector(".chart canvas") && !marks.chart) marks.chart = performance.now();
};
new MutationObserver(look).observe(document, { childList: true, subtree: true, characterData: true });
new PerformanceObserver((list) => { for (const each of list.getEntries()) marks[each.name] = each.startTime; })
  .observe({ type: "paint", buffered: true });
"""
TOLD = """() => ({ ...window.marks,
  requests: performance.getEntriesByType("resource").length + 1,
  bytes: [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
    .reduce((sum, each) => sum + each.transferSize, 0) })"""
THERE = """() => window.marks.view > 0 && window.marks.chart > 0 && window.marks["first-contentful-paint"] > 0"""


@contextmanager
def a_gateway(data: Path) -> Iterator[str]:
    """Serve the folder, in a process of its own."""
    file = data.parent / "holdfast.toml"
    file.write_text(tomli_w.dumps(first_view.settings_of(data)), "utf-8")
    words = [sys.executable, "-m", "holdfast.cli.main", "serve", "--config", str(file), "--port", "0", "--json"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        told = next(json.loads(line) for line in process.stdout if "base_url" in line)
        yield str(told["base_url"]).removesuffix("/v1")
    finally:
        process.terminate()
        process.wait(20)


def signed_in(browser: Browser, base: str, key: str) -> Any:
    """Sign in; the cookies are the others'."""
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{base}/console")
        page.get_by_label("Admin key").fill(key)
        page.get_by_role("button", name="Sign in").click()
        page.locator("#main .figures").wait_for()
        return context.storage_state()


def once(page: Page, base: str) -> dict[str, float]:
    """Go there, and wait until it stands there."""
    page.goto(f"{base}/console", wait_until="commit")
    page.wait_for_function(THERE)
    told: dict[str, float] = page.evaluate(TOLD)
    return told


def a_context(browser: Browser, size: str, session: Any) -> BrowserContext:
    """Open a browser that has never been anywhere, and looks at itself."""
    # Functions that wait in the page are evaluated text, which the console's policy refuses to everybody else.
    context = browser.new_context(viewport=SIZES[size], storage_state=session, bypass_csp=True)
    context.add_init_script(WATCH)
    return context


def measure(browser: Browser, base: str, session: Any, rounds: int) -> dict[str, Any]:
    """Look some times, at each size; milliseconds."""
    found: dict[str, Any] = {}
    for size in SIZES:
        cold, again = [], []
        for _ in range(rounds):
            with a_context(browser, size, session) as context:
                page = context.new_page()
                cold.append(once(page, base))
                page.goto("about:blank")
                again.append(once(page, base))
        found[size] = {"cold": summed(cold), "again": summed(again)}
    return found


def summed(told: list[dict[str, float]]) -> dict[str, Any]:
    """Median and worst of each."""
    view = sorted(each["view"] for each in told)
    return {
        "view_ms": round(statistics.median(view), 1),
        "view_max_ms": round(view[-1], 1),
        "views_ms": [round(each, 1) for each in view],
        "first_paint_ms": round(statistics.median(each["first-contentful-paint"] for each in told), 1),
        "chart_ms": round(statistics.median(each["chart"] for each in told), 1),
        "requests": int(statistics.median(each["requests"] for each in told)),
        "bytes": int(statistics.median(each["bytes"] for each in told)),
    }


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--generations", type=int, default=100_000)
    parser.add_argument("--all-day", action="store_true", help="all of them within the last 24 hours")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    span = timedelta(hours=23.9) if asked.all_day else timedelta(days=30)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        data = Path(folder) / "data"
        key = asyncio.run(first_view.first_key(data))
        first_view.fill(data / "holdfast.sqlite3", asked.generations, span, asked.seed)
        # Afterwards: it runs a loop of its own in this thread.
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=PROGRAM, args=ARGS)
        with a_gateway(data) as base:
            sizes = measure(browser, base, signed_in(browser, base, key), asked.rounds)
        told = {
            "generations": asked.generations,
            "span_hours": span / timedelta(hours=1),
            "rounds": asked.rounds,
            "browser": browser.version,
            "cores": os.cpu_count(),
            "load_1min": os.getloadavg()[0],
            "sizes": sizes,
        }
        browser.close()
    text = json.dumps(told, indent=2)
    print(text)
    if asked.out is not None:
        asked.out.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
