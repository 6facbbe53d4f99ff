"""Let the doctor examine ten drawn paths with limits as people have them, and write down what it found.

    lab/doctor/run.py [--seed 11] [--low 20] [--high 125] [--count 10]

Needs nginx, haproxy, apache2, caddy, varnish and squid (scripts/test installs them). Takes up to five minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from ground import Found, all_examined
from hops import SEARCHED
from paths import draw

from holdfast import __version__
from holdfast.doctor.examine import Plan
from holdfast.doctor.schedule import SILENCE_S
from holdfast.doctor.told import document_of

RESULTS = Path(__file__).resolve().parent / "results"
_VERSIONS = {
    "nginx": "-v",
    "haproxy": "-v",
    "apache2": "-v",
    "caddy": "version",
    "varnishd": "-V",
    "squid": "-v",
}


def main() -> int:
    """Run it; 1 where a hop was not named, or a limit is off by more than 10 %."""
    parser = argparse.ArgumentParser(description="the doctor on ten drawn paths")
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--low", type=float, default=20.0, help="shortest limit, seconds")
    parser.add_argument("--high", type=float, default=125.0, help="longest limit, seconds")
    args = parser.parse_args()
    drawn = draw(args.seed, args.count, low_s=args.low, high_s=args.high)
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(all_examined(drawn, Path(folder), Plan(until_s=SILENCE_S)))
    for each in found:
        print(line(each))
    faults = [fault for each in found for fault in each.faults()]
    print(*faults, sep="\n")
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"seed-{args.seed}-{args.low:g}-{args.high:g}.json"
    document = {
        "holdfast": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "versions": versions(),
        "seed": args.seed,
        "low_s": args.low,
        "high_s": args.high,
        "paths": [row(each) for each in found],
        "faults": faults,
    }
    file.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    return 1 if faults else 0


def line(found: Found) -> str:
    """One path for people."""
    culprit, drawn = found.verdict.culprit, found.drawn
    said = "nobody" if culprit is None else f"{culprit.name}, {culprit.place.value}, {culprit.limit_s:.2f} s"
    off = float("nan") if culprit is None else culprit.limit_s - drawn.limit_s
    return f"| {drawn.title} | {drawn.limit_s:.2f} s | {said} | {off:+.2f} s | {found.took_s:.0f} s |"


def row(found: Found) -> dict[str, object]:
    """One path for programs, with everything that was measured."""
    drawn = found.drawn
    return {
        "path": drawn.title,
        "true": {"name": drawn.name, "place": drawn.place, "limit_s": drawn.limit_s},
        "took_s": round(found.took_s, 1),
        "found": document_of(found.findings, found.verdict),
    }


def versions() -> dict[str, str]:
    """Ask each server who it is."""
    known: dict[str, str] = {}
    for program, option in _VERSIONS.items():
        path = shutil.which(program, path=SEARCHED)
        if path is None:
            continue
        done = subprocess.run([path, option], capture_output=True, text=True, check=False)
        numbers = re.search(r"\d+\.\d+(?:\.\d+)*", done.stdout + done.stderr)
        known[program] = numbers.group() if numbers else "unknown"
    return known


if __name__ == "__main__":
    sys.exit(main())
