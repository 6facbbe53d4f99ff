"""The published percentiles as a distribution."""

from __future__ import annotations

import pytest

from holdfast.policy.latency import PUBLISHED, prior
from holdfast.types import Tier


@pytest.mark.parametrize("tier", Tier)
def test_the_published_figures_are_met_exactly(tier: Tier) -> None:
    """An estimate that a user compares with the published table agrees with it."""
    latency, published = prior(tier), PUBLISHED[tier]
    for fraction, seconds in zip((0.05, 0.5, 0.95, 0.99), published.points_s, strict=True):
        assert latency.quantile(fraction) == pytest.approx(seconds)
        assert latency.fraction_done(seconds) == pytest.approx(fraction)
    assert (latency.expected_s, latency.p95_s, latency.p99_s) == published.points_s[1:]


def test_4k_takes_two_minutes_and_its_tail_reaches_reported_extremes() -> None:
    """The tail is as heavy as the field reports: 250 s at P99, some 400 s in a thousand."""
    latency = prior(Tier.K4)
    assert latency.expected_s == 120.0
    assert 300.0 < latency.quantile(0.999) < 450.0
    assert latency.quantile(0.001) > 80.0


def test_a_scale_multiplies_every_time() -> None:
    """A demo eight times as fast shows the same progress bar, eight times as fast."""
    usual, fast = prior(Tier.K4), prior(Tier.K4, scale=0.125)
    assert fast.quantile(0.7) == pytest.approx(usual.quantile(0.7) / 8)
    assert fast.fraction_done(15.0) == pytest.approx(usual.fraction_done(120.0))
    assert fast.expected_s == 15.0


def test_nothing_is_done_at_the_start() -> None:
    """A progress bar begins at nothing."""
    assert prior(Tier.K1).fraction_done(0.0) == 0.0
    assert prior(Tier.K1).fraction_done(-1.0) == 0.0
    assert prior(Tier.K1, scale=2.0).fraction_done(5e-324) == 0.0
    assert prior(Tier.K1).fraction_done(1e9) == pytest.approx(1.0)


def test_whoever_polls_is_told_a_pause_that_fits() -> None:
    """A quarter of what is expected, in whole seconds, and never more than SDKs follow."""
    assert [prior(tier).poll_after_s for tier in Tier] == [12, 17, 30]
    assert prior(Tier.K4, scale=100.0).poll_after_s == 60
    assert prior(Tier.K1, scale=0.001).poll_after_s == 1
