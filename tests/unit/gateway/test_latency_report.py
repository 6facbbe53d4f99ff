"""What is told of latencies: rows, distributions, hours."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from holdfast.config import LatencySettings
from holdfast.engine.latencies import HOUR_S, Latencies
from holdfast.gateway.latency import STEPS_PER_DECADE, places, shares_of, whole_report
from holdfast.policy.latency import prior
from holdfast.types import Tier
from holdfast.wire.latency import LatencyQuery, decode_latency, render_latency

MODEL = "nano-banana-pro"


@pytest.fixture
def latencies(a_clock: Any) -> Latencies:
    """A hundred calls at google, a few at a relay, of 4K."""
    made = Latencies(LatencySettings(), a_clock)
    for each in range(100):
        made.learn(upstream="google", model=MODEL, tier=Tier.K4, seconds=100.0 + each)
    for _ in range(4):
        made.learn(upstream="relay", model=MODEL, tier=Tier.K4, seconds=30.0)
    made.gave_up(upstream="relay", model=MODEL, tier=Tier.K4, seconds=300.0)
    return made


def test_a_report_has_a_row_for_each_size_upstream_and_window(latencies: Latencies, a_clock: Any) -> None:
    """Of sizes that nobody asked for there is what was published."""
    report = whole_report(latencies, a_clock.now(), [MODEL], LatencyQuery())
    assert [(row.size, row.upstream, row.window) for row in report.data if row.window == "1h"] == [
        ("1K", None, "1h"),
        ("2K", None, "1h"),
        ("4K", None, "1h"),
        ("4K", "google", "1h"),
        ("4K", "relay", "1h"),
    ]
    assert len(report.data) == 15
    first = report.data[0]
    assert (first.count, first.prior_share, first.updated_at) == (0, 1.0, None)
    assert (first.p50_s, first.p95_s, first.p99_s) == (45.0, 90.0, 150.0)
    assert (report.hours, first.distribution, report.prior_weight) == ((), (), 50.0)
    assert decode_latency(render_latency(report)) == report


def test_a_row_tells_what_was_measured_and_how_much_it_counts(latencies: Latencies, a_clock: Any) -> None:
    """Share of what was published, calls given up, when the last one came."""
    report = whole_report(latencies, a_clock.now(), [MODEL], LatencyQuery(size=Tier.K4, window="1h"))
    both, google, relay = report.data
    assert (both.count, google.count, relay.count) == (105, 100, 5)
    assert (both.timed_out, google.timed_out, relay.timed_out) == (1, 0, 1)
    assert google.prior_share == pytest.approx(50 / 150, abs=1e-4)
    assert relay.prior_share == pytest.approx(50 / 55, abs=1e-4)
    assert google.p50_s <= google.p95_s <= google.p99_s
    assert google.updated_at == "2026-11-24T12:00:30.000Z"
    assert (google.is_used, relay.is_used) == (True, False)


def test_a_distribution_is_cut_into_steps_that_make_a_whole() -> None:
    """All of it but the utmost ends, in steps of the same width."""
    steps = list(shares_of(prior(Tier.K4)))
    assert 0.98 < sum(step.share for step in steps) <= 1.0
    ratios = {round(b.until_s / a.until_s, 3) for a, b in pairwise(steps)}
    assert ratios == {round(10 ** (1 / STEPS_PER_DECADE), 3)}
    highest = max(steps, key=lambda step: step.share)
    assert 100.0 < highest.until_s < 150.0


def test_details_are_distributions_and_hours(latencies: Latencies, a_clock: Any) -> None:
    """Hours from samples alone: what was published has no hour."""
    report = whole_report(latencies, a_clock.now(), [MODEL], LatencyQuery(size=Tier.K4, detail=True))
    assert all(row.distribution for row in report.data)
    (hour,) = report.hours
    assert (hour.hour, hour.count, hour.timed_out) == ("2026-11-24T12:00:00.000Z", 105, 1)
    assert hour.p50_s == pytest.approx(147.0, rel=0.02)
    assert hour.p99_s == pytest.approx(199.0, rel=0.02)


def test_an_hour_later_it_is_another_hour(latencies: Latencies, a_clock: Any) -> None:
    """Oldest first."""
    from datetime import timedelta

    a_clock.at += timedelta(seconds=HOUR_S)
    latencies.learn(upstream="google", model=MODEL, tier=Tier.K4, seconds=10.0)
    report = whole_report(latencies, a_clock.now(), [MODEL], LatencyQuery(size=Tier.K4, detail=True))
    assert [hour.count for hour in report.hours] == [105, 1]


def test_places_are_what_is_asked_for() -> None:
    """Model by model, each size."""
    assert list(places(["a", "b"], LatencyQuery(size=Tier.K2))) == [("a", Tier.K2), ("b", Tier.K2)]
    assert len(list(places(["a", "b"], LatencyQuery()))) == 6
    assert list(places([], LatencyQuery())) == []
