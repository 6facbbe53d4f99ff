"""What a process knows of latencies: counted at once, asked for cheaply, looked at through windows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from holdfast.config import LatencySettings
from holdfast.engine.latencies import AGES_S, HOUR_S, RENEW_S, Latencies, Place
from holdfast.engine.learning import fill, oldest_hour, row_of
from holdfast.policy.latency import prior
from holdfast.policy.learning import ENOUGH, KEPT_HOURS, Learned, Window
from holdfast.policy.sketch import Sketch
from holdfast.types import Tier

BEGAN_AT = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
GOOGLE: dict[str, Any] = {"upstream": "google", "model": "nano-banana-pro", "tier": Tier.K4}
RELAY = GOOGLE | {"upstream": "relay"}
MODEL = {"model": "nano-banana-pro", "tier": Tier.K4}
PRIOR = prior(Tier.K4)


class Clock:
    """Stands still until it is moved; the wall clock can be set by itself."""

    def __init__(self) -> None:
        self.passed_s = 0.0
        self.set_by_s = 0.0
        self.readings = 0

    def monotonic(self) -> float:
        """Seconds since long ago."""
        self.readings += 1
        return 5_000.0 + self.passed_s

    def now(self) -> datetime:
        """The wall clock."""
        return BEGAN_AT + timedelta(seconds=self.passed_s + self.set_by_s)

    def random(self) -> float:
        """Nothing here is left to chance."""
        raise AssertionError

    def token(self, bytes_: int) -> bytes:
        """Nothing here is secret."""
        raise AssertionError

    def new_id(self, prefix: str) -> str:
        """Nothing here has an id."""
        raise AssertionError


@pytest.fixture
def clock() -> Clock:
    """Noon."""
    return Clock()


@pytest.fixture
def latencies(clock: Clock) -> Latencies:
    """Nothing learnt."""
    return Latencies(LatencySettings(), clock)


def teach(latencies: Latencies, seconds: float, times: int = 1, **about: Any) -> None:
    """Let so many calls have taken so long."""
    for _ in range(times):
        latencies.learn(**(GOOGLE | about), seconds=seconds)


def again(clock: Clock) -> None:
    """Let what was mixed become old enough to be mixed anew."""
    clock.passed_s += RENEW_S


# Asking


def test_at_first_it_is_what_was_published(latencies: Latencies) -> None:
    """For every model, upstream and size."""
    assert latencies.expect(**GOOGLE) == PRIOR
    assert latencies.expect(model="never-heard-of", tier=Tier.K1) == prior(Tier.K1)
    assert latencies.attempt_p99_s(**GOOGLE) is None
    assert latencies.attempt_p99_s(**MODEL) is None


def test_published_figures_are_scaled(clock: Clock) -> None:
    """`latency.scale` is for simulations, whose upstreams are so much faster; what is measured is as it is."""
    scaled = Latencies(LatencySettings(scale=0.125), clock)
    assert scaled.expect(**GOOGLE).expected_s == 15.0
    teach(scaled, 15.0, 10_000)
    again(clock)
    assert scaled.expect(**GOOGLE).expected_s == pytest.approx(15.0, rel=0.01)


def test_what_was_measured_counts_more_and_more(latencies: Latencies, clock: Clock) -> None:
    """A tenth of the weight, as much, twenty times as much."""
    medians = [latencies.expect(**GOOGLE).expected_s]
    for times in (5, 45, 950):
        teach(latencies, 30.0, times)
        again(clock)
        medians.append(latencies.expect(**GOOGLE).expected_s)
    assert medians == sorted(medians, reverse=True)
    assert medians[0] == 120.0
    assert medians[-1] == pytest.approx(30.0, rel=0.01)


def test_the_weight_of_what_was_published_is_a_setting(clock: Clock) -> None:
    """With none, the first call counts alone."""
    eager = Latencies(LatencySettings(prior_weight=0.0), clock)
    teach(eager, 30.0)
    assert eager.expect(**GOOGLE).p99_s == pytest.approx(30.0, rel=0.01)


def test_upstreams_models_and_sizes_are_kept_apart(latencies: Latencies, clock: Clock) -> None:
    """A slow one says nothing of the others."""
    teach(latencies, 500.0, 1000)
    teach(latencies, 20.0, 1000, upstream="relay")
    again(clock)
    assert latencies.expect(**GOOGLE).expected_s == pytest.approx(500.0, rel=0.01)
    assert latencies.expect(**RELAY).expected_s == pytest.approx(20.0, rel=0.01)
    assert latencies.expect(**GOOGLE | {"tier": Tier.K1}) == prior(Tier.K1)
    assert latencies.expect(**GOOGLE | {"model": "seedream-4.5"}) == PRIOR


def test_of_a_model_all_its_upstreams_are_expected_together(latencies: Latencies, clock: Clock) -> None:
    """Whoever waits in line does not know yet which it will be."""
    teach(latencies, 500.0, 1000)
    teach(latencies, 20.0, 3000, upstream="relay")
    again(clock)
    together = latencies.expect(**MODEL)
    assert together.fraction_done(50.0) == pytest.approx(3000 / 4050, abs=0.01)


def test_a_deadline_for_a_model_is_that_of_its_slowest_upstream(latencies: Latencies, clock: Clock) -> None:
    """Whichever is asked, its attempt is awaited so long."""
    teach(latencies, 500.0, 1000)
    teach(latencies, 20.0, 100_000, upstream="relay")
    again(clock)
    assert latencies.attempt_p99_s(**MODEL) == pytest.approx(500.0, rel=0.01)
    assert latencies.attempt_p99_s(**RELAY) is None


def test_slowness_is_what_all_upstreams_of_a_model_take_beside_what_is_usual(
    latencies: Latencies, clock: Clock
) -> None:
    """1 while nothing is known; of another size nothing is said."""
    assert latencies.slowness(**MODEL) == pytest.approx(1.0)
    teach(latencies, 360.0, 5000, upstream="relay")
    again(clock)
    assert latencies.slowness(**MODEL) == pytest.approx(3.0, rel=0.05)
    assert latencies.slowness(**MODEL | {"tier": Tier.K1}) == pytest.approx(1.0)


def test_a_call_that_was_given_up_counts_as_twice_as_long(latencies: Latencies, clock: Clock) -> None:
    """One in fifty is enough: the next attempts are given the time that these lacked."""
    teach(latencies, 120.0, 98)
    for _ in range(2):
        latencies.gave_up(**GOOGLE, seconds=300.0)
    again(clock)
    assert latencies.expect(**GOOGLE).p99_s == pytest.approx(600.0, rel=0.01)
    assert latencies.expect(**GOOGLE).expected_s == pytest.approx(120.0, rel=0.01)
    assert latencies.attempt_p99_s(**GOOGLE) == pytest.approx(600.0, rel=0.01)


# Cheaply


def test_what_was_mixed_is_given_again_for_a_while(latencies: Latencies, clock: Clock) -> None:
    """The same object, after one look at the clock."""
    teach(latencies, 30.0)
    first = latencies.expect(**GOOGLE)
    teach(latencies, 500.0, 100)
    clock.readings = 0
    assert latencies.expect(**GOOGLE) is first
    assert clock.readings == 1
    again(clock)
    assert latencies.expect(**GOOGLE) is not first


def test_it_is_not_mixed_anew_where_nothing_was_learnt(latencies: Latencies, clock: Clock) -> None:
    """Until the window has moved on."""
    teach(latencies, 30.0)
    first = latencies.expect(**GOOGLE)
    again(clock)
    assert latencies.expect(**GOOGLE) is first
    clock.passed_s += AGES_S
    assert latencies.expect(**GOOGLE) is not first


# Windows


def test_what_is_recent_counts_once_there_is_enough(latencies: Latencies, clock: Clock) -> None:
    """An upstream that became slow is known as slow within the hour."""
    teach(latencies, 60.0, 1000)
    clock.passed_s += HOUR_S
    for _ in range(60):
        teach(latencies, 240.0, 17)
        clock.passed_s += 60.0
    assert latencies.expect(**GOOGLE).expected_s == pytest.approx(240.0, rel=0.02)


def test_a_quiet_night_is_bridged_by_the_day(latencies: Latencies, clock: Clock) -> None:
    """With nothing in the last hour, the last day counts; then the week; then what was published."""
    teach(latencies, 30.0, 1000)
    for hours, window in ((12, Window.DAY), (60, Window.WEEK)):
        clock.passed_s += hours * HOUR_S
        (used,) = [view for view in latencies.views(**MODEL) if view.upstream == "google" and view.is_used]
        assert used.heard.window is window
        assert latencies.expect(**GOOGLE).expected_s == pytest.approx(30.0, rel=0.01)
    clock.passed_s += 200 * HOUR_S
    assert latencies.expect(**GOOGLE) == PRIOR


def test_a_wall_clock_that_is_set_makes_nothing_old(latencies: Latencies, clock: Clock) -> None:
    """Neither a year ahead nor a year back."""
    teach(latencies, 30.0, 1000)
    for set_by_s in (3e7, -3e7):
        clock.set_by_s = set_by_s
        teach(latencies, 30.0)
        clock.passed_s += AGES_S
        assert latencies.expect(**GOOGLE).expected_s == pytest.approx(30.0, rel=0.01)


def test_no_more_than_a_week_is_kept(latencies: Latencies, clock: Clock) -> None:
    """However long it runs: an hour that comes pushes out the one that has left every window."""
    for _ in range(KEPT_HOURS + 30):
        teach(latencies, 30.0)
        clock.passed_s += HOUR_S
    series = latencies._series["nano-banana-pro", Tier.K4]["google"]
    assert len(series.hours) == KEPT_HOURS + 1


# Looking


def test_views_tell_of_all_together_and_of_each(latencies: Latencies) -> None:
    """Through each window, with what is used marked."""
    teach(latencies, 30.0, ENOUGH)
    teach(latencies, 60.0, 3, upstream="relay")
    latencies.gave_up(**RELAY, seconds=300.0)
    views = list(latencies.views(**MODEL))
    assert [(view.upstream, view.heard.window.value) for view in views] == [
        (name, window) for name in (None, "google", "relay") for window in ("1h", "24h", "7d")
    ]
    assert [view.heard.window.value for view in views if view.is_used] == ["1h", "1h", "7d"]
    assert [round(view.heard.total) for view in views[::3]] == [ENOUGH + 4, ENOUGH, 4]
    assert [round(view.heard.timed_out) for view in views[::3]] == [1, 0, 1]
    assert all(view.updated_s == BEGAN_AT.timestamp() for view in views)


def test_of_what_was_never_measured_there_is_what_was_published(latencies: Latencies) -> None:
    """Three windows, all of them empty."""
    views = list(latencies.views(**MODEL))
    assert [(view.upstream, view.expected, view.updated_s) for view in views] == [(None, PRIOR, None)] * 3


def test_hours_are_told_one_by_one(latencies: Latencies, clock: Clock) -> None:
    """Upstreams together; an hour without calls is none."""
    teach(latencies, 30.0, 2)
    teach(latencies, 60.0, 1, upstream="relay")
    clock.passed_s += 2 * HOUR_S
    teach(latencies, 30.0, 5)
    first = int(BEGAN_AT.timestamp() // HOUR_S)
    assert [(hour - first, sketch.total) for hour, sketch in latencies.hours(**MODEL)] == [(0, 3), (2, 5)]
    assert latencies.models() == ["nano-banana-pro"]


# Keeping


def test_what_has_changed_is_given_once(latencies: Latencies, clock: Clock) -> None:
    """And again, if it was not written."""
    teach(latencies, 30.0, 3)
    clock.passed_s += HOUR_S
    teach(latencies, 40.0)
    changed = latencies.take_changed()
    assert sorted(sketch.total for sketch in changed.values()) == [1, 3]
    assert latencies.take_changed() == {}
    latencies.give_back(changed)
    teach(latencies, 40.0)
    assert sorted(sketch.total for sketch in latencies.take_changed().values()) == [2, 3]
    assert repr(latencies) == "<Latencies: 5 samples, 0 hours not written>"


def test_rows_bring_it_all_back(latencies: Latencies, clock: Clock) -> None:
    """What is expected after a restart is what was expected before."""
    teach(latencies, 30.0, 500)
    latencies.gave_up(**GOOGLE, seconds=300.0)
    again(clock)
    rows = tuple(
        row_of(place, sketch, latencies.updated_s(place)) for place, sketch in latencies.take_changed().items()
    )
    (row,) = rows
    assert (row.upstream, row.model, row.tier, row.timed_out) == ("google", "nano-banana-pro", "4K", 1)
    assert row.updated_at == "2026-11-27T12:00:00.000Z"
    fresh = Latencies(LatencySettings(), clock)
    fill(fresh, rows)
    assert fresh.expect(**GOOGLE) == latencies.expect(**GOOGLE)
    assert isinstance(fresh.expect(**GOOGLE), Learned)
    assert fresh.take_changed() == {}
    assert next(view.updated_s for view in fresh.views(**MODEL)) == BEGAN_AT.timestamp()


def test_a_row_that_cannot_be_read_keeps_nobody_from_starting(latencies: Latencies) -> None:
    """It is passed over; the others count."""
    hour = int(BEGAN_AT.timestamp() // HOUR_S)
    good = row_of(Place(**GOOGLE, hour=hour), Sketch({100: 7}, 7), BEGAN_AT.timestamp())
    bad = [
        {"buckets": "nonsense"},
        {"tier": "8K"},
        {"timed_out": 99},
    ]
    from dataclasses import replace

    fill(latencies, (*(replace(good, upstream="relay", **each) for each in bad), good))
    assert [(view.upstream, round(view.heard.total)) for view in latencies.views(**MODEL)][::3] == [
        (None, 7),
        ("google", 7),
    ]


def test_a_week_back_is_as_far_as_rows_are_of_use(latencies: Latencies) -> None:
    """What is older is neither read nor kept."""
    assert oldest_hour(latencies) == int(BEGAN_AT.timestamp() // HOUR_S) - 168
