"""The named points of the source, and which of them a run kills at.

All of them take minutes, so that a run of the suite takes the core and twenty others, drawn by the commit; over the
commits every point has its turn. `scripts/crash-matrix` takes all of them, at every pass.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "holdfast"
ALL = "HOLDFAST_CRASH_ALL"
"""Set to anything: every point, at every pass."""
SEED = "HOLDFAST_CRASH_SEED"
"""Draws instead of the commit: any text."""
PASSED_BY_STARTS = frozenset({"recovery", "settle", "blob", "store"})
"""Areas whose points a start passes that puts things right."""
ELSEWHERE = frozenset({"bucket", "mover", "overflow", "adoption", "departure"})
"""Areas that only a gateway with a bucket, or one of several, passes; tests/contract breaks off at them, and
tests/acceptance kills."""
ROTATED = 20
ROTATED_ON_POSTGRES = 4
ALONE = frozenset({"recovery"})
"""Areas of a start that takes everything over: what several share is taken over one by one, by leases."""
CORE_ON_POSTGRES = ("accept.after_commit", "send.after_commit", "receive.after_spool", "settle.after_commit")
CORE = (
    "accept.after_commit",
    "send.after_commit",
    "receive.after_spool",
    "spool.renamed",
    "settle.before_commit",
    "settle.after_commit",
    "recovery.after_settling",
    "recovery.after_unknown",
)
"""Always killed at: on either side of what may not be lost and not be paid twice."""


def points(source: Path = SOURCE) -> list[str]:
    """Every point of the source that these gateways pass, by name."""
    texts = [path.read_text("utf-8") for path in sorted(source.rglob("*.py"))]
    named = {name for text in texts for name in re.findall(r'faults\.point(?:_sync)?\(\s*"([^"]+)"', text)}
    return sorted(name for name in named if area_of(name) not in ELSEWHERE)


def area_of(point: str) -> str:
    """What stands before the dot."""
    return point.partition(".")[0]


def seed_of(environ: Mapping[str, str], root: Path = ROOT) -> str:
    """What this run draws by: what was asked for, else the commit, else the source itself where there is no git."""
    if environ.get(SEED):
        return environ[SEED]
    try:
        told = subprocess.run(
            ["git", "rev-parse", "--verify", "HEAD"], cwd=root, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        told = None
    if told is not None and told.returncode == 0:
        return told.stdout.strip()
    digest = hashlib.sha256()
    for path in sorted((root / "src").rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def rotated(named: Sequence[str], seed: str, count: int = ROTATED, core: Sequence[str] = CORE) -> list[str]:
    """The core, and so many others as the seed draws them."""
    others = [name for name in named if name not in core]
    # Drawn by the text itself: `random.Random` seeds a string the same way on every machine and in every year.
    drawn = random.Random(seed).sample(others, min(count, len(others)))
    return sorted([*core, *drawn])


def chosen(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Those that this run kills at."""
    return points() if environ.get(ALL) else rotated(points(), seed_of(environ))


def shared_points() -> list[str]:
    """Those that a gateway passes whose rows are in a PostgreSQL."""
    return [name for name in points() if area_of(name) not in ALONE]


def chosen_on_postgres(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Those of them that this run kills at."""
    named = shared_points()
    if environ.get(ALL):
        return named
    return rotated(named, seed_of(environ), ROTATED_ON_POSTGRES, CORE_ON_POSTGRES)


def by_area(named: Iterable[str]) -> dict[str, list[str]]:
    """The same, by area."""
    areas: dict[str, list[str]] = {}
    for name in named:
        areas.setdefault(area_of(name), []).append(name)
    return areas
