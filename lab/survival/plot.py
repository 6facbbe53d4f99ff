"""Draw docs/images/survival.svg from the results: what became of each order, and what it cost."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

HERE = Path(__file__).resolve().parent
OUT = HERE.parent.parent / "docs/images/survival.svg"
ENDS = (
    ("images", "image in the caller's hands", "#1a7f37"),
    ("fetched", "image fetched afterwards", "#7bc58f"),
    ("told_only", "told that there is none", "#bf8700"),
    ("silent", "left without a word", "#cf222e"),
)
CHARGES = (
    ("images", "in hand", "#1a7f37"),
    ("kept", "fetched afterwards", "#7bc58f"),
    ("unknown_images", "outcome on record as unknown", "#bf8700"),
    ("broken", "broken off upstream, on record as paid", "#d4a72c"),
    ("unseen", "nobody knows of it", "#cf222e"),
)


def ends_of(turn: dict[str, Any]) -> dict[str, float]:
    """Divide the orders by their ends; who gave up and whose image was fetched is counted where the image is."""
    total = turn["total"]
    without = total["told"] + total["nothing"] + total["wrong"]
    told_only = max(0, total["told"] - max(0, total["fetched"] - total["nothing"]))
    silent = without - total["fetched"] - told_only
    return {"images": total["images"], "fetched": total["fetched"], "told_only": told_only, "silent": silent}


def charges_of(turn: dict[str, Any]) -> dict[str, float]:
    """Divide the images that were charged by where they are."""
    total = turn["total"]
    kept = total["fetched"] + total["extra"]
    known = total["images"] + kept + total["unknown_images"] + total["broken"]
    shares = {name: total[name] for name in ("images", "unknown_images", "broken")}
    return {**shares, "kept": kept, "unseen": max(0, total["charges_images"] - known)}


def draw(record: dict[str, Any], out: Path) -> None:
    """Draw both charts into one picture."""
    plt.rcParams.update({"font.size": 9, "svg.hashsalt": "holdfast", "font.family": "sans-serif"})
    turns = [
        record["subjects"][name]
        for name in ("direct", "litellm", "holdfast", "holdfast-buys")
        if name in record["subjects"]
    ]
    names = [turn["title"] for turn in turns]
    figure, (above, below) = plt.subplots(2, 1, figsize=(10, 5.2))
    for axes, title, parts, split in (
        (above, f"What became of {turns[0]['total']['asked']:,} orders", ENDS, ends_of),
        (below, "Where the images are that the upstream charged", CHARGES, charges_of),
    ):
        left = [0.0] * len(turns)
        for name, label, colour in parts:
            values = [split(turn)[name] for turn in turns]
            drawn = axes.barh(names, values, left=left, color=colour, label=label)
            texts = [
                f"{value:,.0f}" if value > 0.02 * max(1, sum(split(turns[0]).values())) else "" for value in values
            ]
            axes.bar_label(drawn, labels=texts, label_type="center", color="white", fontsize=8)
            left = [before + value for before, value in zip(left, values, strict=True)]
        axes.set_title(title, fontsize=10, loc="left")
        axes.set_xticks([])
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=len(parts), frameon=False, fontsize=8)
        for side in ("top", "right", "bottom"):
            axes.spines[side].set_visible(False)
    machine = record["machine"]
    figure.text(
        0.01,
        0.01,
        f"{record['at'][:10]}, commit {machine['commit']}; the same seed for each: 30 % of the callers' connections "
        f"killed, {record['options']['kills']} kills -9 of the gateway, one upstream call in five failing",
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
    parser.add_argument("--results", type=Path, default=HERE / "results/survival.json")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    draw(json.loads(args.results.read_text()), args.out)


if __name__ == "__main__":
    main()
