"""The distribution is one: monotone, and its two directions undo each other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.policy.latency import prior
from holdfast.types import Tier

tiers = st.sampled_from(Tier)
fractions = st.floats(0.0005, 0.9995)
scales = st.floats(0.01, 10.0)


@given(tiers, fractions, scales)
def test_fraction_done_undoes_quantile(tier: Tier, fraction: float, scale: float) -> None:
    """A sample drawn at u has a progress of u when it arrives."""
    latency = prior(tier, scale=scale)
    assert latency.fraction_done(latency.quantile(fraction)) == pytest.approx(fraction, abs=1e-9)


@given(tiers, fractions, fractions)
def test_later_is_never_less_done(tier: Tier, one: float, other: float) -> None:
    """A progress bar never runs backwards."""
    latency = prior(tier)
    low, high = sorted((one, other))
    assert latency.quantile(low) <= latency.quantile(high)
    assert latency.fraction_done(low * 300) <= latency.fraction_done(high * 300)


@given(st.floats(0.01, 0.99))
def test_a_larger_picture_takes_longer_at_every_quantile(fraction: float) -> None:
    """The order of the size classes is the order of their waits."""
    k1, k2, k4 = (prior(tier).quantile(fraction) for tier in Tier)
    assert k1 < k2 < k4
