"""Whether a run of seeds was worth its time: enough generations and faults in each, every point and class hit often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from simulation.plan import CLASSES, FIRES_MIN, POINT_FIRES_MIN, points

GENERATIONS_MIN = 30
FAULTS_MIN = 3
FULL_RUN = 1000
"""Seeds for which the numbers of `plan` are asked; a shorter run is asked for its share, rounded down."""


@dataclass(slots=True)
class Tally:
    """What a run of seeds did."""

    seeds: int = 0
    seconds: float = 0.0
    """Spent in the seeds, over all processes."""
    generations: int = 0
    lives: int = 0
    virtual_s: float = 0.0
    fired: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    thin: list[int] = field(default_factory=list)
    """Seeds with too few generations or faults."""
    failed: dict[int, list[str]] = field(default_factory=dict)
    """Seed -> what did not hold."""

    def add(self, other: Tally) -> None:
        """Take another run's figures in."""
        for name in ("seeds", "seconds", "generations", "lives", "virtual_s"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.fired.update(other.fired)
        self.faults.update(other.faults)
        self.thin += other.thin
        self.failed.update(other.failed)


def gaps(tally: Tally) -> list[str]:
    """Name what the run did not do often enough."""
    found = [f"seed {seed} had too few generations or faults" for seed in tally.thin]
    share = min(1.0, tally.seeds / FULL_RUN)
    found += _short("point", tally.fired, points(), int(POINT_FIRES_MIN * share))
    return found + _short("fault class", tally.faults, CLASSES, int(FIRES_MIN * share))


def _short(what: str, counts: Mapping[str, int], names: tuple[str, ...], least: int) -> list[str]:
    return [f"{what} {name!r} fired {counts[name]} times, {least} are asked" for name in names if counts[name] < least]
