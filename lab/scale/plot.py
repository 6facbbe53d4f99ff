"""Write the tables of docs/scale.md, and draw docs/images/scale.svg, from the results.

python lab/scale/plot.py [--results lab/scale/results/scale.json]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from scale_tables import database_ms, filled, gateway_ms, loads, read

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent.parent / "docs/scale.md"
OUT = HERE.parent.parent / "docs/images/scale.svg"
SHORT = {"sqlite": "SQLite"}


def draw(record: dict[str, Any], out: Path) -> None:
    """Draw rates and CPU by arrangement."""
    plt.rcParams.update({"font.size": 9, "svg.hashsalt": "holdfast", "font.family": "sans-serif"})
    cells = record["cells"]
    names = loads(cells)
    labels = [SHORT.get(name, name.replace("-", " × ").replace("split", "pair")) for name in names]
    figure, (rates, costs) = plt.subplots(1, 2, figsize=(10, 3.2))
    drawn = rates.bar(labels, [cells[name]["per_s"] for name in names], color="#1a7f37")
    rates.bar_label(drawn, fmt="%.0f", padding=2)
    rates.set_title("generations finished a second, two cores for everything", fontsize=9)
    rates.set_yticks([])
    gateways = [gateway_ms(cells[name]) for name in names]
    databases = [database_ms(cells[name]) for name in names]
    costs.bar(labels, gateways, color="#0969da", label="gateways")
    over = costs.bar(labels, databases, bottom=gateways, color="#bf8700", label="PostgreSQL")
    costs.bar_label(over, labels=[f"{a + b:.1f}" for a, b in zip(gateways, databases, strict=True)], padding=2)
    costs.set_title("CPU-ms of a generation", fontsize=9)
    costs.legend(frameon=False, fontsize=8)
    for axes in (rates, costs):
        axes.margins(y=0.15)
        axes.tick_params(axis="x", labelrotation=30)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    machine = record["machine"]
    figure.text(
        0.01,
        0.01,
        f"{record['at'][:10]}, commit {machine['commit']}; PostgreSQL {record['postgresql']}, simulator, callers and "
        f"gateways share {machine['cores']} cores; pair: one serve and one work",
        fontsize=7,
        color="#59636e",
    )
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    figure.savefig(out, metadata={"Date": None})
    text = out.read_text("utf-8")
    out.write_text("\n".join(line.rstrip() for line in text.splitlines()) + "\n", "utf-8")


def main() -> None:
    """Write both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=HERE / "results", help="what run.py wrote")
    args = parser.parse_args()
    record = read(args.results)
    PAGE.write_text(filled(PAGE.read_text("utf-8"), record), "utf-8")
    draw(record, OUT)


if __name__ == "__main__":
    main()
