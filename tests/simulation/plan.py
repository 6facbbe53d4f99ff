"""Which faults a seed has, and when: drawn before anything runs, so that over many seeds each comes often enough.

The classes are those of the list below. What cannot happen to the embedded engine without sockets stands in
`NOT_HERE`, with its reason and who tests it instead.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

from holdfast import faults

TIMED = (
    "P1 kill at any moment",
    "P2 drain",
    "P4 loop blocked",
    "P5 killed in recovery",
    "D3 answer lost",
    "D4 slow commit",
    "D9 busy",
    "D9 full",
    "D9 I/O error",
    "D9 read-only",
    "D9 reads fail",
    "B1 no room",
    "B2 fsync",
    "N2 clock set",
    "C2 a hundred with one key",
    "L1 burst",
    "L3 every key limited",
    "L4 retry storm",
    "L5 recovery of many",
)
"""Begin at an hour of the plan; the others are drawn by upstream, callers and disk as they go."""
DRAWN = (
    "B3 torn file",
    "C1 left while held",
    "C1 left in the answer",
    "C1 left at once",
    "C3 same key, other body",
    "C4 retry after timeout",
    "C7 key after expiry",
    "C8 cancel at the end",
    "C9 follower comes back",
    "P1 kill at a point",
    "error at a point",
    "U1 refused",
    "U3 stall before head",
    "U4 stall in body",
    "U5 reset after request",
    "U6 reset in body",
    "U7 truncated",
    "U8 no length",
    "U9 drip",
    "U10 error in a 200",
    "U11 HTML",
    "U14 too large",
    "U15 bad base64",
    "U16 not an image",
    "U17 rate limited",
    "U18 server error",
    "U19 key dead",
    "U20 content refused",
    "U21 charged, then failed",
    "U22 after our timeout",
    "U26 blanks ahead",
    "W receiver fails",
)
CLASSES = (*TIMED, *DRAWN)
FIRES_MIN = 50
"""Of each class over a thousand seeds."""
POINT_FIRES_MIN = 20
"""Of each point over a thousand seeds."""

NOT_HERE: Mapping[str, str] = MappingProxyType(
    {
        "P3": "SIGSTOP and SIGCONT: one process holds the folder's lock, so a pause is P4; real ones in tests/crash",
        "P6": "no image is encoded by the embedded engine",
        "P7": "two versions side by side need the shared store",
        "P8": "a container's PID 1 dies as P1 does",
        "D1 D2 D5 D6 D7 D8": "of a database server; the embedded store has none",
        "B4 B5 B6": "of an object store; the embedded one is a folder",
        "B7": "a flipped bit is found by whoever reads (sha256 in the record); nothing here flips one",
        "U2": "TLS is below the Transport port: tests/integration/transport",
        "U12 U13 U23 U24 U25": "framing, redirects, coding and 1xx are below the port: tests/integration/transport",
        "U27": "no simulated upstream gives handles: tests/contract/engine/polling and tests/crash",
        "C5 C6 C10 C11 C12": "slow, half-closed and malformed HTTP is above the engine: tests/integration/gateway",
        "N1 N3 N4 N5": "between replicas, or in front of HTTP",
        "L2": "one caller's flood and another's share are the line's: tests/property, tests/contract/engine",
    }
)
"""Faults of the list that the simulation does not make, and why."""

_BODIES = "images of a request are read by the gateway's handlers, which are stood in for"
_SOCKETS = "below the port that the simulated upstream stands at"
_HANDLES = "no simulated upstream gives handles; tests/crash kills there"
_DELETIONS = "no simulated caller deletes what was made; tests/crash kills there"
_OTHERS = "a process that is alone takes over from nobody, and leaves nothing to anybody"
_OBJECTS = "images lie in the simulated data folder; workers before a bucket die in tests/acceptance/bucket"
POINTS_NOT_HERE: Mapping[str, str] = MappingProxyType(
    {
        "accept.before_input": _BODIES,
        "accept.after_input": _BODIES,
        "send.before_connecting": _SOCKETS,
        "send.after_connecting": _SOCKETS,
        "send.after_request": _SOCKETS,
        "handle.before_commit": _HANDLES,
        "handle.before_rows": _HANDLES,
        "handle.after_rows": _HANDLES,
        "handle.after_commit": _HANDLES,
        "handle.before_resume": _HANDLES,
        "recovery.before_resuming": _HANDLES,
        "erase.before_commit": _DELETIONS,
        "erase.before_rows": _DELETIONS,
        "erase.after_rows": _DELETIONS,
        "erase.after_commit": _DELETIONS,
        "adoption.before_bringing": _OTHERS,
        "adoption.before_settling": _OTHERS,
        "departure.after_spool": _OTHERS,
        "departure.after_unknown": _OTHERS,
        "bucket.after_put": _OBJECTS,
        "bucket.after_share": _OBJECTS,
        "bucket.before_put": _OBJECTS,
        "bucket.before_share": _OBJECTS,
        "bucket.before_unlink": _OBJECTS,
        "mover.after_move": _OBJECTS,
        "mover.before_move": _OBJECTS,
        "overflow.after_whole": _OBJECTS,
        "overflow.before_pieces": _OBJECTS,
        "overflow.before_remove": _OBJECTS,
        "overflow.before_whole": _OBJECTS,
    }
)
"""Named points that no simulated life passes, and why."""

ERRORS_AT = frozenset(
    {
        "blob.after_link",
        "blob.before_link",
        "receive.after_pieces",
        "receive.before_pieces",
        "spool.before_answer",
        "spool.image_began",
        "spool.image_synced",
        "spool.renamed",
        "store.before_commit",
    }
)
"""Points beside which a disk may fail; elsewhere a process only dies."""
TURNS = 4
"""Points that a seed aims at."""
ARRIVALS_S = 2000.0
"""Callers come in this time."""
_RARE = re.compile(r"sweeper|cancel|webhook|ending|second|enter\.after|settle\.after|receive\.after_f")
SETUPS: Mapping[str, str] = MappingProxyType(
    {
        "recovery.after_deadline": "send.before_commit",
        "recovery.after_giving_up": "send.before_commit",
        "recovery.after_taking_up": "send.before_commit",
        "recovery.after_reading": "spool.finished",
        "recovery.after_settling": "spool.finished",
        "recovery.after_removing": "spool.image_began",
    }
)
"""Where a life has to end for the next one to pass a point while it puts things right."""


@cache
def points() -> tuple[str, ...]:
    """Every named point of the source."""
    texts = (path.read_text("utf-8") for path in sorted(Path(faults.__file__).parent.rglob("*.py")))
    names = {name for text in texts for name in re.findall(r'faults\.point(?:_sync)?\("([^"]+)"\)', text)}
    return tuple(sorted(names - POINTS_NOT_HERE.keys()))


@dataclass(frozen=True, slots=True, kw_only=True)
class AtPoint:
    """Kill, or fail, at a pass of a point after a time."""

    name: str
    after_s: float
    nth: int
    is_error: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """Begin a fault of a class."""

    name: str
    at_s: float
    seconds: float
    """How long it lasts, where it does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The faults of one seed."""

    at_points: tuple[AtPoint, ...]
    timed: tuple[Timed, ...]

    @property
    def wants(self) -> frozenset[str]:
        """The areas of its points: callers and settings are chosen so that they are passed."""
        return frozenset(each.name.partition(".")[0] for each in self.at_points)


def plan_for(seed: int, rng: random.Random) -> Plan:
    """Draw the plan of a seed; points take turns, so that a run of seeds kills at each of them."""
    names = points()
    targets = [names[(seed * TURNS + turn) % len(names)] for turn in range(TURNS)]
    at_points: list[AtPoint] = []
    for turn, name in enumerate(targets):
        at_points += _at_point(name, rng.uniform(30.0, 300.0) + turn * ARRIVALS_S / (TURNS + 1), rng)
    chosen = rng.sample(TIMED, 3)
    timed = [
        Timed(name=name, at_s=rng.uniform(20.0, ARRIVALS_S), seconds=rng.choice((0.5, 3.0, 20.0, 60.0, 400.0)))
        for name in chosen
    ]
    return Plan(
        # Stable: what sets a point up stays ahead of it.
        at_points=tuple(sorted(at_points, key=lambda each: each.after_s)),
        timed=tuple(sorted(timed, key=lambda each: each.at_s)),
    )


def _at_point(name: str, after_s: float, rng: random.Random) -> list[AtPoint]:
    if name.startswith("recovery"):
        setup = SETUPS.get(name, "send.before_exchange")
        return [AtPoint(name=each, after_s=after_s, nth=1, is_error=False) for each in (setup, name)]
    if name.endswith("leftover"):
        # What lay there when the seed began is found by the first walk.
        after_s = 0.0
    elif name.startswith("sweeper"):
        after_s = rng.uniform(0.35, 0.8) * ARRIVALS_S
    nth = rng.choice((1, 1, 2)) if _RARE.search(name) else rng.choice((1, 1, 2, 3, 5))
    if name.startswith("store"):
        nth = rng.randrange(1, 20)
    elif after_s == 0.0:
        nth = 1
    is_error = name in ERRORS_AT and rng.random() < 0.4
    return [AtPoint(name=name, after_s=after_s, nth=nth, is_error=is_error)]
