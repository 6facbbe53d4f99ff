"""What is expected is a distribution, whatever was measured: monotone, continuous, and between its two sources."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.policy.latency import prior
from holdfast.policy.learning import HOURS, Learned, Window, choose_window, heard, weight_of
from holdfast.policy.sketch import GAMMA, SECONDS_MAX, SECONDS_MIN, Sketch, bucket_of
from holdfast.types import Tier

tiers = st.sampled_from(Tier)
scales = st.floats(0.01, 10.0)
weights = st.floats(0.5, 1000.0)
levels = st.floats(0.0005, 0.9995)
counts = st.dictionaries(
    st.floats(SECONDS_MIN, SECONDS_MAX).map(bucket_of), st.floats(0.01, 500.0), min_size=1, max_size=60
)
mixtures = st.builds(
    lambda tier, scale, weight, counted: Learned(prior=prior(tier, scale=scale), prior_weight=weight, counts=counted),
    tiers,
    scales,
    weights,
    counts,
)


@given(mixtures, levels, levels)
def test_a_larger_share_never_takes_less_time(mixture: Learned, one: float, other: float) -> None:
    """Percentiles are in order, also where samples and published figures lie far apart."""
    low, high = sorted((one, other))
    assert mixture.quantile(low) <= mixture.quantile(high) * (1 + 1e-9)
    assert mixture.expected_s <= mixture.p95_s * (1 + 1e-9) <= mixture.p99_s * (1 + 1e-8)


@given(mixtures, st.floats(0.0001, 100_000.0), st.floats(0.0001, 100_000.0))
def test_later_is_never_less_done(mixture: Learned, one: float, other: float) -> None:
    """A progress bar never runs backwards, and shows a share."""
    low, high = sorted((one, other))
    assert 0.0 <= mixture.fraction_done(low) <= mixture.fraction_done(high) + 1e-12 <= 1.0 + 1e-9


@given(mixtures, levels)
def test_a_quantile_is_where_that_share_is_there(mixture: Learned, level: float) -> None:
    """The two directions undo each other, as far as a line goes for the published curve inside a bucket."""
    assert mixture.fraction_done(mixture.quantile(level)) == pytest.approx(level, abs=2e-3)


@given(mixtures, levels)
def test_what_is_expected_lies_between_what_was_published_and_what_was_measured(mixture: Learned, level: float) -> None:
    """A mixture goes beyond neither."""
    alone = Learned(prior=mixture.prior, prior_weight=0.0, counts=mixture.counts)
    low, high = sorted((mixture.prior.quantile(level), alone.quantile(level)))
    assert low / GAMMA <= mixture.quantile(level) <= high * GAMMA


@given(mixtures, st.floats(SECONDS_MIN, SECONDS_MAX), levels)
def test_one_sample_more_moves_no_share_by_more_than_its_own(mixture: Learned, seconds: float, level: float) -> None:
    """At most by 1 / (w + n + 1)."""
    counted = dict(mixture.counts)
    counted[bucket_of(seconds)] = counted.get(bucket_of(seconds), 0.0) + 1.0
    after = Learned(prior=mixture.prior, prior_weight=mixture.prior_weight, counts=counted)
    at_s = mixture.quantile(level)
    most = 1.0 / (mixture.prior_weight + mixture.samples + 1.0)
    assert abs(after.fraction_done(at_s) - mixture.fraction_done(at_s)) <= most + 1e-9


hours = st.dictionaries(st.integers(0, 200), st.integers(1, 150), max_size=20)


def series_of(ages: dict[int, int], present: int) -> dict[int, Sketch]:
    """Hours by their age, with so many calls each."""
    return {present - age: Sketch({0: count}, count) for age, count in ages.items()}


@given(hours, st.floats(0.0, 0.999))
def test_longer_windows_hold_at_least_as_much(ages: dict[int, int], fraction: float) -> None:
    """Each contains the shorter ones; so the first with enough is the freshest."""
    now_h = 490_000 + fraction
    series = [series_of(ages, 490_000)]
    totals = [heard(series, now_h=now_h, window=window).total for window in Window]
    assert totals == sorted(totals)
    chosen = choose_window(series, now_h=now_h)
    shorter = [window for window in Window if HOURS[window] < HOURS[chosen]]
    assert all(heard(series, now_h=now_h, window=window).total < 100 for window in shorter)


@given(st.integers(0, 200), st.floats(0.0, 0.999), st.floats(0.0, 0.5), st.sampled_from(Window))
def test_an_hour_only_ever_loses_weight(age: int, fraction: float, later: float, window: Window) -> None:
    """Time passes, and nothing comes back; a moment takes away a moment's worth."""
    before = weight_of(490_000 - age, now_h=490_000 + fraction, window=window)
    after = weight_of(490_000 - age, now_h=490_000 + fraction + later, window=window)
    assert before - later - 1e-6 <= after <= before
