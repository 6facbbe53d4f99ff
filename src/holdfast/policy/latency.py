"""How long an image takes: the published percentiles as a distribution, until something better is measured.

The distribution is a split lognormal: the logarithm of the time is linear in the normal quantile between the published
points, so each published figure is met exactly, quantile and fraction are closed forms, and a sample is one quantile.
One lognormal through P50 and P95 was tried first: it puts the P99 of 4K at 196 s where 250 s was published, so its
timeouts would cut one call in fifty. The lower end of the published "typical range" stands as P5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil, exp, log
from statistics import NormalDist
from types import MappingProxyType

from holdfast.types import Tier

_NORMAL = NormalDist()
_LEVELS = (0.05, 0.50, 0.95, 0.99)
_Z = tuple(_NORMAL.inv_cdf(level) for level in _LEVELS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentiles:
    """Four points of a latency, seconds."""

    p5_s: float
    p50_s: float
    p95_s: float
    p99_s: float

    logarithms: tuple[float, float, float, float] = field(init=False, repr=False, compare=False)
    """Of the four, taken once: a percentile of a mixture asks for them some ten times."""

    def __post_init__(self) -> None:
        assert 0.0 < self.p5_s < self.p50_s < self.p95_s < self.p99_s
        logarithms = log(self.p5_s), log(self.p50_s), log(self.p95_s), log(self.p99_s)
        object.__setattr__(self, "logarithms", logarithms)

    @property
    def points_s(self) -> tuple[float, float, float, float]:
        """The four, in the order of `_LEVELS`."""
        return self.p5_s, self.p50_s, self.p95_s, self.p99_s


PUBLISHED: Mapping[Tier, Percentiles] = MappingProxyType(
    {
        Tier.K1: Percentiles(p5_s=30.0, p50_s=45.0, p95_s=90.0, p99_s=150.0),
        Tier.K2: Percentiles(p5_s=50.0, p50_s=65.0, p95_s=120.0, p99_s=180.0),
        Tier.K4: Percentiles(p5_s=100.0, p50_s=120.0, p95_s=170.0, p99_s=250.0),
    }
)
"""Nano Banana Pro, by size. Source: figures published by a relay platform, January 2026; a prior, not a promise."""
SLOWEST_FACTOR = 4.5
"""How much longer images took in the slowest hours that were published: 180 s in place of 40 s, on 17 January 2026."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """A distribution of times to an image."""

    percentiles: Percentiles
    scale: float = 1.0
    """Multiplies every time: 0.125 for a simulation eight times as fast, 4.5 for a peak."""

    def __post_init__(self) -> None:
        assert self.scale > 0.0

    def quantile(self, fraction: float) -> float:
        """Give the time, seconds, by which this fraction of images is there; of a uniform sample, a latency.

        Args:
            fraction: In (0, 1).
        """
        assert 0.0 < fraction < 1.0
        z = _NORMAL.inv_cdf(fraction)
        points = self.percentiles.logarithms
        at = _segment(z, _Z)
        slope = (points[at + 1] - points[at]) / (_Z[at + 1] - _Z[at])
        return self.scale * exp(points[at] + slope * (z - _Z[at]))

    def fraction_done(self, elapsed_s: float) -> float:
        """Give the fraction of images that are there by this time; what a progress bar may honestly show."""
        unscaled_s = elapsed_s / self.scale
        # The smallest of all numbers is nothing, too, once it is divided.
        if unscaled_s <= 0.0:
            return 0.0
        points = self.percentiles.logarithms
        x = log(unscaled_s)
        at = _segment(x, points)
        z = _Z[at] + (x - points[at]) * (_Z[at + 1] - _Z[at]) / (points[at + 1] - points[at])
        return _NORMAL.cdf(z)

    @property
    def expected_s(self) -> float:
        """The median: half of all images are there by then."""
        return self.scale * self.percentiles.p50_s

    @property
    def poll_after_s(self) -> int:
        """Whole seconds between two looks of a caller who polls: four until the median, 1 to 60."""
        return poll_pause_s(self.expected_s)

    @property
    def p95_s(self) -> float:
        """By then 95 of 100 images are there."""
        return self.scale * self.percentiles.p95_s

    @property
    def p99_s(self) -> float:
        """By then 99 of 100 images are there."""
        return self.scale * self.percentiles.p99_s


def _segment(value: float, points: tuple[float, ...]) -> int:
    """Find the stretch between two points that covers a value; the outer ones reach to infinity."""
    _, second, third, _ = points
    return (value >= second) + (value >= third)


def poll_pause_s(expected_s: float) -> int:
    """Give the whole seconds between two looks of a caller who polls: four until the median, 1 to 60."""
    return min(60, max(1, ceil(expected_s / 4)))


def prior(tier: Tier, *, scale: float = 1.0) -> Latency:
    """Give what is expected of any model at this size before it was measured."""
    return Latency(percentiles=PUBLISHED[tier], scale=scale)
