"""What this process knows of how long images take: counted as they come, asked for many times a second.

Everything is on the loop, and nothing waits: `learn` counts into the present hour, `expect` gives what was mixed a
moment ago, for a second at least. What is mixed and how is `policy.learning`'s; what is written down and read again,
`engine.learning`'s.

Hours go by the monotonic clock from the wall clock's time at the start on, so that a wall clock that is set makes
nothing old. How many models, upstreams and hours there are is bounded by the settings, and by a week.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from holdfast.clock import Clock
from holdfast.config import LatencySettings
from holdfast.policy.latency import Latency, prior
from holdfast.policy.learning import (
    KEPT_HOURS,
    TIMED_OUT_FACTOR,
    Heard,
    Learned,
    Window,
    choose_window,
    deadline_p99_s,
    expectation,
    heard,
)
from holdfast.policy.sketch import Sketch
from holdfast.types import Tier

HOUR_S = 3600.0
RENEW_S = 1.0
"""For so long what was mixed is given again: a thousandth of a percentile is not worth mixing at each call."""
AGES_S = 60.0
"""After so long it is mixed anew though nothing was learnt: the window has moved on."""


class LearntAs(TypedDict):
    """Under what a call's time is known."""

    upstream: str
    model: str
    """The public name."""
    tier: Tier


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An hour of one upstream, for one model and size."""

    upstream: str
    model: str
    tier: Tier
    hour: int


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What is known through one window."""

    upstream: str | None
    """None: all upstreams of the model together."""
    heard: Heard
    expected: Latency | Learned
    updated_s: float | None
    """When the last sample came, unix seconds; None: there is none."""
    is_used: bool
    """Whether estimates are made from this window now."""


@dataclass(slots=True)
class _Series:
    """The samples of one upstream, for one model and size."""

    hours: dict[int, Sketch] = field(default_factory=dict)
    changed: set[int] = field(default_factory=set)
    """Hours that are not written as they stand."""
    version: int = 0
    updated_s: float = float("-inf")


@dataclass(slots=True)
class _Kept:
    """What was mixed, and for how long it is good."""

    expected: Latency | Learned
    version: int
    mixed_at: float
    good_until: float


class Latencies:
    """See the module's docstring."""

    def __init__(self, settings: LatencySettings, clock: Clock) -> None:
        self.prior_weight = settings.prior_weight
        self._scale = settings.scale
        self._clock = clock
        self._epoch_s = clock.now().timestamp() - clock.monotonic()
        self._series: dict[tuple[str, Tier], dict[str, _Series]] = {}
        self._kept: dict[tuple[str | None, str, Tier], _Kept] = {}

    def __repr__(self) -> str:
        known = [series for _, series in self._all()]
        samples = sum(sketch.total for each in known for sketch in each.hours.values())
        return f"<Latencies: {samples} samples, {sum(len(each.changed) for each in known)} hours not written>"

    # Asking

    def expect(self, *, upstream: str | None = None, model: str, tier: Tier) -> Latency | Learned:
        """Give what is expected of a call.

        Args:
            upstream: The operator's name for it; None: whichever serves the model.
            model: The public name.
            tier: Size class of the image.
        """
        kept = self._kept.get((upstream, model, tier))
        if kept is not None and self._clock.monotonic() < kept.good_until:
            return kept.expected
        return self._renewed(upstream, model, tier)

    def attempt_p99_s(self, *, upstream: str | None = None, model: str, tier: Tier) -> float | None:
        """Give the P99 that an attempt's deadline is reckoned from; None: nothing was learnt that would lengthen it.

        Without an upstream it is that of the slowest of them.
        """
        published = prior(tier, scale=self._scale)
        names = self._series.get((model, tier), ()) if upstream is None else (upstream,)
        found = [deadline_p99_s(self.expect(upstream=name, model=model, tier=tier), published, tier) for name in names]
        return max((p99_s for p99_s in found if p99_s is not None), default=None)

    def slowness(self, *, model: str, tier: Tier) -> float:
        """Say how many times as long as is usual a model takes now, by its median; 1 while nothing is known."""
        usual_s = prior(tier, scale=self._scale).expected_s
        return self.expect(model=model, tier=tier).expected_s / usual_s

    def _renewed(self, upstream: str | None, model: str, tier: Tier) -> Latency | Learned:
        now, key = self._clock.monotonic(), (upstream, model, tier)
        sources = self._sources(upstream, model, tier)
        version = sum(each.version for each in sources)
        kept = self._kept.get(key)
        if kept is None or kept.version != version or now - kept.mixed_at >= AGES_S:
            kept = _Kept(self._mixed([each.hours for each in sources], tier), version, now, now)
            self._kept[key] = kept
        kept.good_until = now + RENEW_S
        return kept.expected

    def _mixed(self, series: Sequence[Mapping[int, Sketch]], tier: Tier) -> Latency | Learned:
        now_h = self.now_h
        found = heard(series, now_h=now_h, window=choose_window(series, now_h=now_h))
        return self._expectation(found, tier)

    def _expectation(self, found: Heard, tier: Tier) -> Latency | Learned:
        return expectation(prior(tier, scale=self._scale), found.counts, prior_weight=self.prior_weight)

    @property
    def now_h(self) -> float:
        """The present, in hours since 1970."""
        return self._now_s / HOUR_S

    @property
    def _now_s(self) -> float:
        return self._epoch_s + self._clock.monotonic()

    # Learning

    def learn(self, *, upstream: str, model: str, tier: Tier, seconds: float) -> None:
        """Count a call that brought its image: seconds from when it was sent until the whole answer was there."""
        self._count(upstream, model, tier, seconds, timed_out=False)

    def gave_up(self, *, upstream: str, model: str, tier: Tier, seconds: float) -> None:
        """Count a call that was given up after so many seconds, since its time was over."""
        self._count(upstream, model, tier, seconds * TIMED_OUT_FACTOR, timed_out=True)

    def _count(self, upstream: str, model: str, tier: Tier, seconds: float, *, timed_out: bool) -> None:
        now_s = self._now_s
        hour = int(now_s // HOUR_S)
        series = self._of(upstream, model, tier)
        sketch = series.hours.get(hour)
        if sketch is None:
            for old in [each for each in series.hours if not hour - KEPT_HOURS <= each <= hour]:
                del series.hours[old]
                series.changed.discard(old)
            sketch = series.hours[hour] = Sketch()
        sketch.add(seconds, timed_out=timed_out)
        series.version += 1
        series.updated_s = now_s
        series.changed.add(hour)

    # Looking

    def views(self, model: str, tier: Tier) -> Iterator[View]:
        """Show what is known of a model and size: all of its upstreams together, then each; every window, shortest
        first.
        """
        by_upstream = self._series.get((model, tier), {})
        for upstream in (None, *sorted(by_upstream)):
            sources = self._sources(upstream, model, tier)
            series, now_h = [each.hours for each in sources], self.now_h
            used = choose_window(series, now_h=now_h)
            updated_s = max((each.updated_s for each in sources), default=float("-inf"))
            for window in Window:
                found = heard(series, now_h=now_h, window=window)
                yield View(
                    upstream=upstream,
                    heard=found,
                    expected=self._expectation(found, tier),
                    updated_s=updated_s if found.counts else None,
                    is_used=window is used,
                )

    def hours(self, model: str, tier: Tier) -> Iterator[tuple[int, Sketch]]:
        """Give the samples of a model and size by hour, all upstreams together, oldest first."""
        sums: dict[int, Sketch] = {}
        present = int(self._now_s // HOUR_S)
        for series in self._series.get((model, tier), {}).values():
            for hour, sketch in series.hours.items():
                if present - KEPT_HOURS <= hour <= present:
                    sums[hour] = sums[hour].merged(sketch) if hour in sums else sketch
        yield from sorted(sums.items())

    def models(self) -> list[str]:
        """Name the models of which something is known."""
        return sorted({model for model, _ in self._series})

    # Keeping

    def take_changed(self) -> dict[Place, Sketch]:
        """Give the hours in which something was counted since this was last asked."""
        taken: dict[Place, Sketch] = {}
        for (model, tier, upstream), series in self._all():
            for hour in sorted(series.changed):
                taken[Place(upstream=upstream, model=model, tier=tier, hour=hour)] = series.hours[hour]
            series.changed.clear()
        return taken

    def give_back(self, places: Iterable[Place]) -> None:
        """Say that these were not written: they are still to be."""
        for place in places:
            series = self._of(place.upstream, place.model, place.tier)
            if place.hour in series.hours:
                series.changed.add(place.hour)

    def put(self, place: Place, sketch: Sketch, *, updated_s: float) -> None:
        """Take in an hour of an earlier process, before anything is counted."""
        series = self._of(place.upstream, place.model, place.tier)
        series.hours[place.hour] = sketch
        series.version += 1
        series.updated_s = max(series.updated_s, updated_s)

    def updated_s(self, place: Place) -> float:
        """When the last sample of an upstream came, unix seconds."""
        return self._of(place.upstream, place.model, place.tier).updated_s

    def _of(self, upstream: str, model: str, tier: Tier) -> _Series:
        by_upstream = self._series.get((model, tier))
        if by_upstream is None:
            by_upstream = self._series[model, tier] = {}
        series = by_upstream.get(upstream)
        if series is None:
            series = by_upstream[upstream] = _Series()
        return series

    def _sources(self, upstream: str | None, model: str, tier: Tier) -> list[_Series]:
        by_upstream = self._series.get((model, tier), {})
        if upstream is None:
            return list(by_upstream.values())
        return [by_upstream[upstream]] if upstream in by_upstream else []

    def _all(self) -> Iterator[tuple[tuple[str, Tier, str], _Series]]:
        for (model, tier), by_upstream in self._series.items():
            for upstream, series in by_upstream.items():
                yield (model, tier, upstream), series
