"""Draw docs/images/bench.svg from the results: the figures that people ask about, a small chart each.

Scenarios may stand in several files, if they were run one after the other; each is compared only within its own run.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
import bars
import matplotlib.pyplot as plt

HERE = Path(__file__).resolve().parent
OUT = HERE.parent.parent / "docs/images/bench.svg"
COLOURS = {"holdfast": "#1a7f37", "nginx-unbuffered": "#54aeff", "nginx-buffered": "#8ec7f5", "litellm": "#bf8700"}
NAMES = {
    "holdfast": "holdfast",
    "nginx-unbuffered": "nginx\nunbuffered",
    "nginx-buffered": "nginx",
    "litellm": "LiteLLM",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One figure of one scenario, for every subject that has it."""

    title: str
    scenario: str
    name: str
    scale: float = 1.0


CHARTS = (
    Chart(title="4K images a second, 8 callers", scenario="4k-8", name="images_per_s"),
    Chart(title="4K images a second, 1 caller", scenario="4k-1", name="images_per_s"),
    Chart(title="CPU-ms per 4K image, 8 callers", scenario="4k-8", name="cpu_ms_per_image"),
    Chart(title="KB of RSS per held request", scenario="storm", name="rss_per_held_bytes", scale=1e-3),
    Chart(title="2,000 answers due at once: p99 late, s", scenario="storm", name="late_p99_s"),
    Chart(title="The same: peak MB above held", scenario="storm", name="peak_above_held_bytes", scale=1e-6),
)


def draw(record: dict[str, Any], out: Path) -> None:
    """Draw all charts into one picture."""
    plt.rcParams.update({"font.size": 9, "svg.hashsalt": "holdfast", "font.family": "sans-serif"})
    figure, grid = plt.subplots(2, 3, figsize=(10, 5.4))
    for axes, chart in zip(grid.flat, CHARTS, strict=True):
        subjects = [
            subject
            for subject in NAMES
            if bars.median(record["results"], chart.scenario, subject, chart.name) is not None
        ]
        values = [
            chart.scale * (bars.median(record["results"], chart.scenario, subject, chart.name) or 0.0)
            for subject in subjects
        ]
        drawn = axes.bar([NAMES[each] for each in subjects], values, color=[COLOURS[each] for each in subjects])
        axes.bar_label(drawn, fmt="%.3g", padding=2)
        axes.set_title(chart.title, fontsize=10)
        axes.margins(y=0.18)
        axes.set_yticks([])
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
    machine = record["machine"]
    figure.text(
        0.01,
        0.01,
        f"{record['at'][:10]}, commit {machine['commit']}, {machine['cores']} cores of {machine['cpu']}, the subject "
        "on one of them; medians of interleaved rounds; nginx and LiteLLM store nothing",
        fontsize=7,
        color="#59636e",
    )
    figure.tight_layout(rect=(0, 0.03, 1, 1))
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, metadata={"Date": None})
    print(f"wrote {out.name}")


def main() -> None:
    """Read the results and draw them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, nargs="+", default=sorted((HERE / "results").glob("*.json")))
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    records = [json.loads(file.read_text()) for file in args.results]
    results = {scenario: rows for record in records for scenario, rows in record["results"].items()}
    draw({**records[0], "results": results}, args.out)


if __name__ == "__main__":
    main()
