"""What is expected of an upstream: what was published, and what was measured there, as one distribution.

The published distribution counts as `latency.prior_weight` samples. With w for that weight, n samples and F for a
distribution's share of images that are there by a time t, what is expected is the mixture

    F(t) = (w * F_published(t) + samples that took at most t) / (w + n)

and its percentiles are where F reaches them. With no sample it is the published distribution itself, with many it is
the samples; one sample moves no quantile by more than 1 / (w + n) of the images, so one wild one leaves the median
where it is. The samples of a bucket (`policy.sketch`) are spread over it evenly on the logarithm, as far as 1 % goes:
that makes F continuous.

Samples are kept by hour, and looked at through a window: the shortest of 1 h, 24 h and 7 d that holds `ENOUGH` of them,
else the longest. A window slides: the hour at its far end counts for the part of it that is still inside, so nothing
jumps at the full hour. Under 100 samples the slowest of a hundred is not among them.

An attempt that was given up because its own time was over took longer than that, and nobody knows how much. It counts
as one of twice the time that it had: left out, an upstream that has become too slow would look as fast as its fastest
answers, and every further attempt would be cut as well. Doubled, a new level is found within a few.

Pure: no I/O, clock or randomness.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import accumulate
from math import floor, log
from types import MappingProxyType
from typing import Protocol

from holdfast.policy.latency import PUBLISHED, SLOWEST_FACTOR, Latency, poll_pause_s
from holdfast.policy.sketch import LN_GAMMA, Sketch, upper_s, weighed
from holdfast.types import Tier

ENOUGH = 100
"""Samples that make a window worth looking through: of fewer, none is the slowest of a hundred."""
TIMED_OUT_FACTOR = 2.0
"""What an attempt counts as that was given up, in times of what it was given."""


class Window(StrEnum):
    """How far back is looked."""

    HOUR = "1h"
    DAY = "24h"
    WEEK = "7d"


HOURS: Mapping[Window, int] = MappingProxyType({Window.HOUR: 1, Window.DAY: 24, Window.WEEK: 168})
"""Lengths, shortest first."""
KEPT_HOURS = HOURS[Window.WEEK]
"""Whole hours before the present one that are of use; older ones are deleted."""


class Expectation(Protocol):
    """A distribution of times to an image: the published one, or one that has learnt."""

    def quantile(self, fraction: float) -> float:
        """Give the time, seconds, by which this fraction of images is there."""

    def fraction_done(self, elapsed_s: float) -> float:
        """Give the fraction of images that are there by this time."""

    @property
    def expected_s(self) -> float:
        """The median."""

    @property
    def poll_after_s(self) -> int:
        """Whole seconds between two looks of a caller who polls."""

    @property
    def p95_s(self) -> float:
        """By then 95 of 100 images are there."""

    @property
    def p99_s(self) -> float:
        """By then 99 of 100 images are there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What was measured within a window."""

    window: Window
    counts: Mapping[int, float]
    """Samples by bucket; those of the hour at the window's far end in part."""
    timed_out: float = 0.0

    @property
    def total(self) -> float:
        """All samples."""
        return sum(self.counts.values())


def weight_of(hour: int, *, now_h: float, window: Window) -> float:
    """Say how much an hour's samples count in a window that ends now, 0 to 1.

    Args:
        hour: Whole hours since 1970, as `now_h`.
        now_h: The present, with its fraction of an hour.
        window: Which one.
    """
    present = floor(now_h)
    age, length = present - hour, HOURS[window]
    if age < 0 or age > length:
        return 0.0
    return 1.0 - (now_h - present) if age == length else 1.0


def heard(series: Sequence[Mapping[int, Sketch]], *, now_h: float, window: Window) -> Heard:
    """Look at hours of samples, of one upstream or several, through a window."""
    parts = list(_parts(series, now_h=now_h, window=window))
    timed_out = sum(weight * sketch.timed_out for sketch, weight in parts)
    return Heard(window=window, counts=weighed(parts), timed_out=timed_out)


def choose_window(series: Sequence[Mapping[int, Sketch]], *, now_h: float) -> Window:
    """Choose the shortest window with enough samples; the longest, where none has them."""
    for window in Window:
        if sum(weight * sketch.total for sketch, weight in _parts(series, now_h=now_h, window=window)) >= ENOUGH:
            return window
    return Window.WEEK


def _parts(series: Sequence[Mapping[int, Sketch]], *, now_h: float, window: Window) -> Iterable[tuple[Sketch, float]]:
    for hours in series:
        for hour, sketch in hours.items():
            weight = weight_of(hour, now_h=now_h, window=window)
            if weight > 0.0:
                yield sketch, weight


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """A published distribution and samples, mixed; see the module's docstring. Made by `expectation`."""

    prior: Latency
    prior_weight: float
    counts: Mapping[int, float] = field(repr=False)
    """Samples by bucket, at least one."""
    expected_s: float = field(init=False)
    """The median."""
    p95_s: float = field(init=False)
    """By then 95 of 100 images are there."""
    p99_s: float = field(init=False)
    """By then 99 of 100 images are there."""
    _buckets: tuple[int, ...] = field(init=False, repr=False)
    _sums: tuple[float, ...] = field(init=False, repr=False)
    """Samples up to and in each bucket."""

    def __post_init__(self) -> None:
        assert self.counts, "without a sample there is nothing but the prior"
        assert self.prior_weight >= 0.0
        buckets = tuple(sorted(self.counts))
        object.__setattr__(self, "_buckets", buckets)
        object.__setattr__(self, "_sums", tuple(accumulate(self.counts[bucket] for bucket in buckets)))
        for name, level in (("expected_s", 0.50), ("p95_s", 0.95), ("p99_s", 0.99)):
            object.__setattr__(self, name, self.quantile(level))

    @property
    def samples(self) -> float:
        """How many there are."""
        return self._sums[-1]

    @property
    def prior_share(self) -> float:
        """What the published distribution counts for, in [0, 1]."""
        return self.prior_weight / (self.prior_weight + self.samples)

    @property
    def poll_after_s(self) -> int:
        """Whole seconds between two looks of a caller who polls: four until the median, 1 to 60."""
        return poll_pause_s(self.expected_s)

    def quantile(self, fraction: float) -> float:
        """Give the time, seconds, by which this fraction of images is there; never less for a larger fraction.

        Args:
            fraction: In (0, 1).
        """
        assert 0.0 < fraction < 1.0
        wanted = fraction * (self.prior_weight + self.samples)
        # The first bucket at whose upper end there is as much as is wanted: F grows from end to end.
        at = bisect_left(range(len(self._buckets)), wanted, key=self._mass_at)
        before = self._sums[at - 1] if at else 0.0
        if at == len(self._buckets):
            return self._of_prior(wanted - before)
        upper = self._buckets[at]
        lower_mass = self._prior_mass(upper_s(upper - 1)) + before
        if wanted <= lower_mass:
            # No sample lies between the bucket before and this one: the published distribution alone grows there.
            return self._of_prior(wanted - before)
        # A bucket is so narrow that F is a straight line in it.
        share = (wanted - lower_mass) / (self._mass_at(at) - lower_mass)
        return upper_s(upper - 1 + min(1.0, share))

    def fraction_done(self, elapsed_s: float) -> float:
        """Give the fraction of images that are there by this time; what a progress bar may honestly show."""
        if elapsed_s <= 0.0:
            return 0.0
        place = log(elapsed_s) / LN_GAMMA
        at = bisect_left(self._buckets, place)
        there = self._sums[at - 1] if at else 0.0
        if at < len(self._buckets):
            bucket = self._buckets[at]
            there += self.counts[bucket] * max(0.0, place - (bucket - 1))
        return (self._prior_mass(elapsed_s) + there) / (self.prior_weight + self.samples)

    def _mass_at(self, at: int) -> float:
        """What is there at the upper end of a bucket, in samples."""
        return self._prior_mass(upper_s(self._buckets[at])) + self._sums[at]

    def _prior_mass(self, seconds: float) -> float:
        return self.prior_weight * self.prior.fraction_done(seconds) if self.prior_weight else 0.0

    def _of_prior(self, mass: float) -> float:
        # Held inside by a hair: what is left of a sum of floats may be 0 or 1.
        return self.prior.quantile(min(max(mass / self.prior_weight, 1e-9), 1.0 - 1e-9))


def expectation(prior: Latency, counts: Mapping[int, float], *, prior_weight: float) -> Latency | Learned:
    """Mix what was published with what was measured; without a sample, that is the published distribution itself."""
    return Learned(prior=prior, prior_weight=prior_weight, counts=counts) if counts else prior


def deadline_p99_s(expected: Expectation, prior: Latency, tier: Tier) -> float | None:
    """Say what an attempt's deadline is to be reckoned from, beyond what is set; None: what is set holds.

    A P99 counts once it is above the published one, which the setting stands for: so an operator who sets less gets
    less, and a fast upstream does not have its attempts cut earlier. It is bounded by the slowest hour that was
    published, or an upstream that never answers would be given twice the time again and again.
    """
    if expected.p99_s <= prior.p99_s:
        return None
    return min(expected.p99_s, SLOWEST_FACTOR * PUBLISHED[tier].p99_s)
