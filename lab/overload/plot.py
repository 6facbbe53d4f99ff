"""Draw docs/images/overload.svg from the results: who has an image in time, what it cost, how long it took."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from reckoning import PURCHASES_BAR, SUCCESS_BAR

HERE = Path(__file__).resolve().parent
OUT = HERE.parent.parent / "docs/images/overload.svg"
COLOURS = {"holdfast": "#1a7f37", "litellm": "#bf8700", "published": "#cf222e"}
NAMES = {"holdfast": "holdfast", "litellm": "LiteLLM", "published": "published loop"}


def draw(record: dict[str, Any], out: Path) -> None:
    """Draw a row of charts for each arena."""
    plt.rcParams.update({"font.size": 9, "svg.hashsalt": "holdfast", "font.family": "sans-serif"})
    arenas = {arena: turns for arena, turns in record["turns"].items() if turns}
    figure, grid = plt.subplots(len(arenas), 3, figsize=(10, 2.6 * len(arenas)), squeeze=False)
    for row, (arena, turns) in zip(grid, arenas.items(), strict=True):
        names = [name for name in NAMES if name in turns]
        colours = [COLOURS[name] for name in names]
        labels = [NAMES[name] for name in names]
        success = [100 * turns[name]["success"] for name in names]
        paid = [turns[name]["purchases_per_image"] or 0.0 for name in names]
        for axes, title, values, bar in (
            (row[0], f"{arena}: image in time, % of orders", success, 100 * SUCCESS_BAR),
            (row[1], "images charged per image delivered", paid, PURCHASES_BAR),
        ):
            drawn = axes.bar(labels, values, color=colours)
            axes.bar_label(drawn, fmt="%.4g", padding=2)
            axes.axhline(bar, color="#59636e", linewidth=0.8, linestyle="--")
            axes.set_title(title, fontsize=9)
            axes.margins(y=0.2)
            axes.set_yticks([])
        for at, name in enumerate(names):
            points = [turns[name]["seconds"][point] for point in ("p50", "p95", "p99")]
            row[2].plot(("p50", "p95", "p99"), points, marker="o", color=colours[at], label=labels[at])
        row[2].set_title("seconds of life to the image", fontsize=9)
        row[2].set_ylim(bottom=0)
        row[2].legend(frameon=False, fontsize=8)
        for axes in row:
            for side in ("top", "right"):
                axes.spines[side].set_visible(False)
    machine, options = record["machine"], record["options"]
    figure.text(
        0.01,
        0.01,
        f"{record['at'][:10]}, commit {machine['commit']}; {options['per_s']:g} orders of 4K a second for "
        f"{options['seconds']:g} s at speed {options['speed']:g}; A answers 503 to 45 % of calls; dashed: the bar",
        fontsize=7,
        color="#59636e",
    )
    figure.tight_layout(rect=(0, 0.04, 1, 1))
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, metadata={"Date": None})
    print(f"wrote {out.name}")


def main() -> None:
    """Read the results and draw them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=HERE / "results/overload.json")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    draw(json.loads(args.results.read_text()), args.out)


if __name__ == "__main__":
    main()
