"""Claims about slow image calls, each put to the test.

    python lab/claims/run.py [--only c1,c7] [--wait 330]

Runs the experiments side by side (they mostly wait), keeps what each found in cN/results/result.json, and writes
docs/discussions/claims.md. See README.md.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent.parent
sys.path[:0] = [str(HERE), str(HERE.parent / "bench")]

import machine  # noqa: E402 - the bench's
import page  # noqa: E402
from clients import Missing  # noqa: E402

NAMES = ("c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "c9", "c10", "c11", "c12", "c13")
WAIT_S = 330.0
"""Longest silence: beyond the 300 s that undici and aiohttp wait by default."""
ALONE = frozenset({"c4", "c6"})
"""What would be changed by others that run beside it."""


def experiment(name: str) -> ModuleType:
    """Load one; each is a folder with a `run.py`."""
    spec = importlib.util.spec_from_file_location(f"claim_{name}", HERE / name / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def _run(name: str, wait_s: float, described: dict[str, Any]) -> bool:
    """Run one; False: it could not be, which is said, and keeps no other from being run."""
    module = experiment(name)
    begun_at = time.monotonic()
    try:
        figures = await module.measure(wait_s)
    except (Missing, ImportError, OSError, subprocess.SubprocessError, AssertionError) as exc:
        print(f"{name}: NOT RUN: {type(exc).__name__}: {exc}", file=sys.stderr, flush=True)
        return False
    judgement = module.judge(figures)
    record = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": described,
        "seconds": round(time.monotonic() - begun_at, 1),
        "figures": figures,
    }
    out = HERE / name / "results" / "result.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    print(f"{name}: {judgement.word}. {judgement.why}", flush=True)
    return True


async def _run_all(names: list[str], wait_s: float) -> bool:
    described = machine.describe(PROJECT)
    ran = [await _run(name, wait_s, described) for name in names if name in ALONE]
    ran += await asyncio.gather(*(_run(name, wait_s, described) for name in names if name not in ALONE))
    return all(ran)


def main() -> int:
    """Run what is asked for, then write the page of all that there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(NAMES), help="claims, comma-separated")
    parser.add_argument("--wait", type=float, default=WAIT_S, help=f"longest silence, seconds ({WAIT_S:g})")
    parser.add_argument(
        "--page", action="store_true", help="write the page from the results that are kept; run nothing"
    )
    args = parser.parse_args()
    names = args.only.split(",")
    if unknown := set(names) - set(NAMES):
        parser.error(f"no such claim: {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    is_whole = args.page or asyncio.run(_run_all(names, args.wait))
    page.write(PROJECT, {name: experiment(name) for name in NAMES})
    return 0 if is_whole else 1


if __name__ == "__main__":
    raise SystemExit(main())
