"""Times counted in buckets whose width is a share of the time itself: DDSketch, as far as it is needed here.

Bucket k holds the times in (GAMMA^(k-1), GAMMA^k] seconds, so whatever stands for a time within its bucket is at most
1 % from it, however long it took and however the times are spread. Sketches of the same GAMMA are added bucket by
bucket, and nothing is lost by it: hours make days, and upstreams make a model.

Times are held to between a millisecond and a day. That bounds a sketch to 1,838 buckets, and spares the collapsing of
buckets that the paper has for values without bounds. Why this is ours and no library: docs/discussions/latency.md.

Pure: no I/O, clock or randomness.

Source: C. Masson, J. E. Rim, H. K. Lee, "DDSketch: A Fast and Fully-Mergeable Quantile Sketch with Relative-Error
Guarantees", PVLDB 12(12), 2019.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import ceil, exp, log
from typing import Self

import msgspec

GAMMA = 1.01
"""Upper end of a bucket over its lower end; the relative error is at most GAMMA - 1."""
SECONDS_MIN = 0.001
SECONDS_MAX = 86_400.0
LN_GAMMA = log(GAMMA)
FORMAT = 1
"""Of what `encoded` writes; another GAMMA or other bounds would be another one."""
_FIRST, _LAST = ceil(log(SECONDS_MIN) / LN_GAMMA), ceil(log(SECONDS_MAX) / LN_GAMMA)


def bucket_of(seconds: float) -> int:
    """Give the bucket of a time; one outside the bounds counts as the bound."""
    if seconds <= SECONDS_MIN:
        return _FIRST
    return _LAST if seconds >= SECONDS_MAX else ceil(log(seconds) / LN_GAMMA)


def upper_s(bucket: float) -> float:
    """Give the upper end of a bucket, seconds; of a fraction of one, the end of that part."""
    return exp(bucket * LN_GAMMA)


@dataclass(slots=True)
class Sketch:
    """Times of calls, counted; grows by `add` alone."""

    counts: dict[int, int] = field(default_factory=dict)
    """Samples by bucket."""
    total: int = 0
    """Samples in all buckets."""
    timed_out: int = 0
    """Those of them that were not awaited to their end."""

    def add(self, seconds: float, *, timed_out: bool = False) -> None:
        """Count one time."""
        bucket = bucket_of(seconds)
        self.counts[bucket] = self.counts.get(bucket, 0) + 1
        self.total += 1
        self.timed_out += timed_out

    def merged(self, other: Sketch) -> Sketch:
        """Give what both have counted together; neither is changed."""
        counts = dict(self.counts)
        for bucket, count in other.counts.items():
            counts[bucket] = counts.get(bucket, 0) + count
        return Sketch(counts, self.total + other.total, self.timed_out + other.timed_out)

    def encoded(self) -> str:
        """Write the buckets as a document: `{"412": 3, …}`, lowest first."""
        return msgspec.json.encode(dict(sorted(self.counts.items()))).decode()

    @classmethod
    def decoded(cls, document: str, *, timed_out: int = 0) -> Self:
        """Read what `encoded` wrote.

        Raises:
            ValueError: It is something else.
        """
        try:
            counts = msgspec.json.decode(document, type=dict[int, int])
        except msgspec.MsgspecError as exc:
            raise ValueError(f"no buckets: {exc}") from exc
        total = sum(counts.values())
        if not all(_FIRST <= bucket <= _LAST and count > 0 for bucket, count in counts.items()):
            raise ValueError("buckets or counts that cannot be")
        if not 0 <= timed_out <= total:
            raise ValueError("more calls timed out than were counted")
        return cls(counts, total, timed_out)


def weighed(parts: Iterable[tuple[Sketch, float]]) -> dict[int, float]:
    """Add sketches up, each sample of one counting as much as the number beside it; an hour that is half over its
    window's edge counts half.
    """
    sums: dict[int, float] = {}
    for sketch, weight in parts:
        for bucket, count in sketch.counts.items():
            sums[bucket] = sums.get(bucket, 0.0) + weight * count
    return sums
