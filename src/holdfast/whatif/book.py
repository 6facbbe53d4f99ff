"""What became of a load under one policy: counted while it is played, summed up in the end."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from holdfast.types import Charge, Failure, Tier

LEVELS = (0.50, 0.95, 0.99)


@dataclass(frozen=True, slots=True)
class Order:
    """One image that somebody wants. Equal in all policies of a run."""

    number: int
    tier: Tier
    at: float
    """Seconds since the start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentiles:
    """Three points of a time, seconds; 0 where nothing was measured."""

    p50_s: float
    p95_s: float
    p99_s: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Percentiles:
        """Take the nearest ranks."""
        ordered = sorted(seconds)
        p50_s, p95_s, p99_s = (ordered[ceil(level * len(ordered)) - 1] if ordered else 0.0 for level in LEVELS)
        return cls(p50_s=p50_s, p95_s=p95_s, p99_s=p99_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What is printed, plotted and given as JSON."""

    policy: str
    generations: int
    delivered: int
    """Orders that have their image, however late."""
    in_time: int
    """Of these, within the patience of the load."""
    to_image: Percentiles
    """From the order to its image, of those delivered."""
    to_failure: Percentiles
    """From the order to the word that there is none, of the others."""
    sends: int
    """Calls at upstreams, whatever came of them."""
    purchases: int
    """Calls that the upstreams charged, as only they know it."""
    told: Mapping[str, int]
    """What callers without an image were told, most frequent first."""
    at_risk_micros: int
    """List price of the calls that brought no image and were, or may have been, charged, as the policy sees it."""
    lost_micros: int
    """List price of what was charged beyond the images delivered."""
    spent_micros: int
    """List price of all that was charged."""
    queued: int
    """Orders that waited for a place at an upstream."""
    in_queue: Percentiles
    """How long these waited, seconds, all their waits together."""
    queue_max: int
    """Most that waited at once."""
    seconds: float
    """Virtual seconds until the last caller was told."""
    curve: tuple[tuple[float, float], ...]
    """Seconds, and the share of all orders that had their image by then; ends with the last image."""

    @property
    def success(self) -> float:
        """Share of orders that have their image."""
        return self.delivered / self.generations

    @property
    def success_in_time(self) -> float:
        """Share of orders that have their image within their patience."""
        return self.in_time / self.generations

    @property
    def purchases_per_image(self) -> float | None:
        """What is paid for an image that somebody has; None: nobody has one."""
        return self.purchases / self.delivered if self.delivered else None

    @property
    def sends_per_image(self) -> float | None:
        """What an image takes in calls; None: nobody has one."""
        return self.sends / self.delivered if self.delivered else None


CURVE_POINTS = 200


class Book:
    """Counts."""

    def __init__(self, patience_s: Mapping[Tier, float]) -> None:
        """Open it.

        Args:
            patience_s: Until when an image counts as in time, by size.
        """
        self._patience_s = patience_s
        self._to_image = array("d")
        self._to_failure = array("d")
        self._waits = array("d")
        self._in_time = 0
        self._sends = 0
        self._purchases = 0
        self._spent = 0
        self._delivered_micros = 0
        self._at_risk = 0
        self._told: Counter[str] = Counter()
        self._queue_max = 0
        self._last = 0.0

    def sent(self, micros: int, *, is_charged: bool) -> None:
        """Count a call for an image of this list price."""
        self._sends += 1
        if is_charged:
            self._purchases += 1
            self._spent += micros

    def failed(self, failure: Failure, micros: int) -> None:
        """Count what a call without an image may have cost, as whoever called sees it."""
        if failure.charge is not Charge.NO:
            self._at_risk += micros

    def delivered(self, order: Order, micros: int, now: float) -> None:
        """Count an image of this list price that has arrived."""
        took_s = now - order.at
        self._to_image.append(took_s)
        self._delivered_micros += micros
        self._last = now
        if took_s <= self._patience_s[order.tier]:
            self._in_time += 1

    def told(self, order: Order, code: str, now: float) -> None:
        """Count a caller who was told that there is none."""
        self._to_failure.append(now - order.at)
        self._told[code] += 1
        self._last = now

    def queue_of(self, length: int) -> None:
        """Note how many wait at this moment."""
        self._queue_max = max(self._queue_max, length)

    def waited(self, seconds: float) -> None:
        """Count an order that had to wait for a place."""
        self._waits.append(seconds)

    def figures(self, policy: str) -> Figures:
        """Sum up."""
        total = len(self._to_image) + len(self._to_failure)
        return Figures(
            policy=policy,
            generations=total,
            delivered=len(self._to_image),
            in_time=self._in_time,
            to_image=Percentiles.of(self._to_image),
            to_failure=Percentiles.of(self._to_failure),
            sends=self._sends,
            purchases=self._purchases,
            told=dict(self._told.most_common()),
            at_risk_micros=self._at_risk,
            lost_micros=self._spent - self._delivered_micros,
            spent_micros=self._spent,
            queued=len(self._waits),
            in_queue=Percentiles.of(self._waits),
            queue_max=self._queue_max,
            seconds=self._last,
            curve=_curve(sorted(self._to_image), total),
        )


def _curve(ordered: Sequence[float], total: int) -> tuple[tuple[float, float], ...]:
    """Thin the distribution out to what a picture can show."""
    if not ordered:
        return ()
    ranks = sorted({max(1, ceil(len(ordered) * at / CURVE_POINTS)) for at in range(1, CURVE_POINTS + 1)})
    return tuple((ordered[rank - 1], rank / total) for rank in ranks)
