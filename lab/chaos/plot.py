"""Draw docs/images/chaos.svg from the results: what was in flight and what ended, and what befell the cluster."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

HERE = Path(__file__).resolve().parent
OUT = HERE.parent.parent / "docs/images/chaos.svg"
ROWS = (
    ("kill", "kill -9", "#cf222e"),
    ("freeze", "frozen past the lease", "#8250df"),
    ("partition database", "cut off from the database", "#bf8700"),
    ("partition objects", "cut off from S3", "#9a6700"),
    ("partition upstream", "cut off from the upstream", "#d4a72c"),
    ("database restart", "database restarted", "#0969da"),
    ("database outage", "database away", "#0550ae"),
    ("objects outage", "S3 away", "#57606a"),
    ("deploy", "rolling deploy", "#1a7f37"),
)
MINUTE_S = 60.0
SHORTEST_S = 2.0
"""What is over at once is drawn so long, to be seen."""


def row_of(fault: dict[str, Any]) -> str:
    """Name the row of a fault."""
    return f"{fault['kind']} {fault['peer']}".strip()


def rate_of(samples: list[dict[str, Any]], name: str, window: int = 15) -> list[float]:
    """Give ends a second, over the samples of half a minute."""
    found = []
    for at, each in enumerate(samples):
        first = samples[max(0, at - window)]
        passed_s = each["at_s"] - first["at_s"]
        found.append((each[name] - first[name]) / passed_s if passed_s > 0 else 0.0)
    return found


def draw(record: dict[str, Any], out: Path) -> None:
    """Draw all of it over one axis of time."""
    plt.rcParams.update({"font.size": 9, "svg.hashsalt": "holdfast", "font.family": "sans-serif"})
    samples, faults = record["samples"], record["faults"]
    minutes = [each["at_s"] / MINUTE_S for each in samples]
    figure, (above, middle, below) = plt.subplots(
        3, 1, figsize=(10, 6.4), sharex=True, gridspec_kw={"height_ratios": (3, 2, 3)}
    )
    above.plot(minutes, [each["callers"] for each in samples], color="#57606a", label="callers who wait")
    seen = [(minute, each) for minute, each in zip(minutes, samples, strict=True) if each["open"] is not None]
    above.plot([at for at, _ in seen], [each["open"] for _, each in seen], color="#0969da", label="open generations")
    above.plot([at for at, _ in seen], [each["calls"] for _, each in seen], color="#1a7f37", label="calls in flight")
    above.set_ylim(bottom=0)
    above.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, frameon=False, fontsize=8)
    figures = record["figures"]
    title = f"{figures['generations']:,} generations, {figures['charged']:,} images charged, {len(faults)} faults: "
    lost, twice = record["broken_count"]["I3"], record["broken_count"]["I2"]
    figure.suptitle(f"{title}{lost} lost, {twice} paid twice without leave", fontsize=10, x=0.01, ha="left")
    middle.plot(minutes, rate_of(samples, "images"), color="#1a7f37", label="callers given their image, each second")
    middle.set_ylim(bottom=0)
    middle.legend(loc="lower right", bbox_to_anchor=(1.0, 0.95), frameon=False, fontsize=8)
    for at, (name, _, colour) in enumerate(ROWS):
        spans = [
            (each["from_s"] / MINUTE_S, max(SHORTEST_S, each["to_s"] - each["from_s"]) / MINUTE_S)
            for each in faults
            if row_of(each) == name
        ]
        below.broken_barh(spans, (at - 0.4, 0.8), color=colour)
    below.set_yticks(range(len(ROWS)), [label for _, label, _ in ROWS], fontsize=8)
    below.invert_yaxis()
    below.set_xlabel("minutes")
    for axes in (above, middle, below):
        axes.axvline(record["seconds"] / MINUTE_S, color="#d0d7de", linewidth=1)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    machine, options = record["machine"], record["options"]
    text = (
        f"{record['at'][:10]}, commit {machine['commit']}, {machine['cores']} cores; three replicas that serve, three "
    )
    text += f"that work, {options['in_flight']} callers, speed {options['speed']:g}, seed {options['seed']}"
    figure.text(0.01, 0.01, text, fontsize=7, color="#59636e")
    figure.tight_layout(rect=(0, 0.03, 1, 1.0))
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, metadata={"Date": None})
    print(f"wrote {out.name}")


def main() -> None:
    """Read the results and draw them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=HERE / "results/chaos.json")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    draw(json.loads(args.results.read_text()), args.out)


if __name__ == "__main__":
    main()
