"""Draw lab/bench/databases.svg from databases.json: CPU time of a generation, by where its rows are."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

HERE = Path(__file__).resolve().parent


def main() -> None:
    """One group of bars for each run."""
    plt.rcParams.update({"font.size": 9, "svg.hashsalt": "holdfast", "font.family": "sans-serif"})
    record = json.loads((HERE / "databases.json").read_text())
    figure, axes = plt.subplots(figsize=(8, 3.2))
    for place, run in enumerate(record["runs"]):
        median = run["median"]
        sqlite, postgres = median["sqlite"]["cpu_ms"], median["postgres"]["cpu_ms"]
        axes.barh(3 * place, sqlite, color="#54aeff", label="gateway, SQLite" if not place else None)
        axes.barh(3 * place + 1, postgres, color="#1a7f37", label="gateway, PostgreSQL" if not place else None)
        label = "PostgreSQL itself" if not place else None
        axes.barh(3 * place + 1, median["postgres"]["database_ms"], left=postgres, color="#bf8700", label=label)
        told = f"{median['postgres_to_sqlite']:.2f} x, {run['at_once']} at once"
        axes.text(postgres / 2, 3 * place + 1, told, va="center", ha="center", color="white")
    axes.set_yticks([])
    axes.set_xlabel("CPU-ms of a generation")
    axes.legend(fontsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.tight_layout()
    figure.savefig(HERE / "databases.svg", metadata={"Date": None})
    print("wrote databases.svg")


if __name__ == "__main__":
    main()
