"""Second calls beside slow ones on virtual time: what they gain and cost, within their share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from holdfast.whatif.play import play
from holdfast.whatif.policies import GatewayPolicy
from holdfast.whatif.scenario import Incident, Temper

TWO: dict[str, dict[str, Any]] = {"first": {}, "second": {}}
ALL = {"enabled": True, "budget_share": 1.0}
SLOW = {"latency": {"prior_weight": 1000}, "deadlines": {"attempt_s": 6000, "network": "peak"}}
"""What is expected is what was published, for a while, and nothing is cut."""


@pytest.fixture
def slow_first(incident: Callable[..., Incident], temper: Callable[..., Temper]) -> Incident:
    """The first upstream takes three times as long as the second."""
    return incident(tempers=[temper("first", latency_factor=3.0)])


def test_a_slow_call_is_overtaken_and_its_image_is_an_extra(
    slow_first: Incident, policy: Callable[..., GatewayPolicy]
) -> None:
    """The tail is shorter, more is bought, and what is bought beyond the images delivered is counted as lost."""
    alone = play(slow_first, policy(TWO, **SLOW), count=400, seed=3)
    pairs = play(slow_first, policy(TWO, **SLOW, hedge=ALL, retry={"exposure_share": 1.0}), count=400, seed=3)
    assert (alone.success, pairs.success) == (1.0, 1.0)
    assert pairs.to_image.p95_s < alone.to_image.p95_s
    assert pairs.to_image.p99_s < 0.9 * alone.to_image.p99_s
    assert alone.purchases == 400
    assert 400 < pairs.purchases <= 800
    assert (alone.lost_micros, pairs.lost_micros > 0) == (0, True)
    assert pairs.purchases == pairs.sends


def test_the_share_is_kept(slow_first: Incident, policy: Callable[..., GatewayPolicy]) -> None:
    """A twentieth of the calls, however many are slow."""
    hedge = {"enabled": True, "budget_share": 0.05}
    pairs = play(slow_first, policy(TWO, **SLOW, hedge=hedge, retry={"exposure_share": 1.0}), count=400, seed=3)
    assert 10 <= pairs.sends - 400 <= 20


def test_the_days_exposure_is_kept(slow_first: Incident, policy: Callable[..., GatewayPolicy]) -> None:
    """Two images' worth, and no share of what was sold."""
    retry = {"exposure_share": 0.0, "exposure_images_min": 2}
    pairs = play(slow_first, policy(TWO, **SLOW, hedge=ALL, retry=retry), count=200, seed=3)
    assert pairs.sends == 202


@pytest.mark.parametrize(
    "changes",
    [
        {"hedge": {"enabled": False, "budget_share": 1.0}},
        {"retry": {"sends_max": 1}},
    ],
)
def test_where_they_may_not_be_made_there_are_none(
    slow_first: Incident, policy: Callable[..., GatewayPolicy], changes: dict[str, Any]
) -> None:
    """And whoever makes none has the same figures as before."""
    assert play(slow_first, policy(TWO, **{**SLOW, "hedge": ALL, **changes}), count=60, seed=3).sends == 60


def test_one_upstream_has_nobody_beside_it(
    incident: Callable[..., Incident], policy: Callable[..., GatewayPolicy]
) -> None:
    """Another upstream is what a second call needs."""
    figures = play(incident(latency_factor=3.0), policy(**SLOW, hedge=ALL), count=60, seed=3)
    assert figures.sends == 60


def test_a_full_upstream_is_nobody_who_is_free(
    incident: Callable[..., Incident], policy: Callable[..., GatewayPolicy], temper: Callable[..., Temper]
) -> None:
    """Second calls stand in no line: no more of them are in flight than fit."""
    made = incident(tempers=[temper("first", latency_factor=3.0)], per_s=5.0)
    narrow = {"first": {}, "second": {"concurrency": 1}}
    figures = play(made, policy(narrow, **SLOW, hedge=ALL, retry={"exposure_share": 1.0}), count=200, seed=3)
    assert (figures.success, figures.queued) == (1.0, 0)
    assert 200 < figures.sends < 215


def test_one_that_fails_beside_another_ends_nothing(
    incident: Callable[..., Incident], policy: Callable[..., GatewayPolicy], temper: Callable[..., Temper]
) -> None:
    """The second upstream is overloaded throughout: everybody has the first one's image, bought once."""
    made = incident(tempers=[temper("first", latency_factor=3.0), temper("second", errors={503: 1.0})])
    figures = play(made, policy(TWO, **SLOW, hedge=ALL, retry={"exposure_share": 1.0}), count=100, seed=3)
    assert (figures.success, figures.purchases) == (1.0, 100)
    assert figures.sends > 100


def test_both_lost_end_once(
    incident: Callable[..., Incident], policy: Callable[..., GatewayPolicy], temper: Callable[..., Temper]
) -> None:
    """Two purchases, and no third."""
    made = incident(errors={504: 1.0}, latency_factor=3.0)
    figures = play(made, policy(TWO, **SLOW, hedge=ALL), count=1, seed=3)
    assert (figures.generations, figures.delivered, figures.purchases) == (1, 0, 2)
    assert figures.told == {"outcome_unknown": 1}


def test_a_run_is_the_same_again(slow_first: Incident, policy: Callable[..., GatewayPolicy]) -> None:
    """By its seed."""
    runs = [play(slow_first, policy(TWO, **SLOW, hedge=ALL), count=100, seed=9) for _ in range(2)]
    assert runs[0] == runs[1]
