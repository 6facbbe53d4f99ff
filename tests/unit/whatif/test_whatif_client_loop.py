"""The published loop repeats whatever fails, waits as it was told, and buys again what it gave up on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType

import pytest

from holdfast.types import FailureKind, Tier
from holdfast.whatif.book import Figures
from holdfast.whatif.client_loop import ClientLoop
from holdfast.whatif.files import load_policy
from holdfast.whatif.play import play
from holdfast.whatif.scenario import Incident
from holdfast.whatif.world import quantiles


def a_loop() -> ClientLoop:
    """The published one."""
    policy = load_policy("published-retries")
    assert isinstance(policy, ClientLoop)
    return policy


def one(incident: Incident, policy: ClientLoop) -> Figures:
    """Let one order come."""
    return play(incident, policy, count=1, seed=0)


def test_the_published_practice_is_what_was_published() -> None:
    """300, 300 and 600 s a call; again after 5, 10 and 15 s; not with a key that is wrong."""
    policy = a_loop()
    assert dict(policy.timeout_s) == {Tier.K1: 300.0, Tier.K2: 300.0, Tier.K4: 600.0}
    assert policy.pauses_s == (5.0, 10.0, 15.0)
    assert FailureKind.CREDENTIAL in policy.stops_at
    assert FailureKind.OVERLOADED not in policy.stops_at


def test_an_overloaded_upstream_is_asked_four_times(incident: Callable[..., Incident]) -> None:
    """With its pauses between, and nothing bought."""
    figures = one(incident(errors={503: 1.0}), a_loop())
    assert (figures.delivered, figures.sends, figures.purchases) == (0, 4, 0)
    assert figures.told == {"status 503": 1}
    assert figures.to_failure.p50_s == pytest.approx(4 * 1.0 + 5.0 + 10.0 + 15.0)
    assert figures.at_risk_micros == 0


def test_a_call_that_it_gives_up_on_is_bought_again(incident: Callable[..., Incident]) -> None:
    """It is made all the same, four times, and nobody gets it."""
    slow = incident(latency_factor=100.0)
    figures = one(slow, a_loop())
    assert (figures.delivered, figures.sends, figures.purchases) == (0, 4, 4)
    assert figures.told == {"timed_out": 1}
    assert figures.at_risk_micros == figures.lost_micros == 4 * 134_000
    assert figures.to_failure.p50_s == pytest.approx(4 * 300.0 + 30.0)


def test_a_refusal_is_repeated_blindly(incident: Callable[..., Incident]) -> None:
    """No status says anything to it: no picture is no picture."""
    figures = one(incident(refused=1.0), a_loop())
    assert figures.sends == 4
    assert figures.told == {"content_refused": 1}


def test_a_cut_answer_is_paid_for_each_time(incident: Callable[..., Incident]) -> None:
    """Until one arrives, or it gives up."""
    figures = one(incident(cut=1.0), a_loop())
    assert (figures.sends, figures.purchases, figures.told) == (4, 4, {"connection_lost": 1})


def test_a_wrong_key_ends_it(incident: Callable[..., Incident]) -> None:
    """At once."""
    figures = one(incident(errors={401: 1.0}), a_loop())
    assert (figures.sends, figures.told) == (1, {"status 401": 1})


def test_an_image_ends_it(incident: Callable[..., Incident]) -> None:
    """After the first call, as long as the upstream took."""
    figures = one(incident(), a_loop())
    assert (figures.delivered, figures.sends, figures.purchases) == (1, 1, 1)
    assert figures.to_image.p50_s in [pytest.approx(each) for each in quantiles(Tier.K1)]


def test_pauses_and_timeouts_are_those_of_the_policy(incident: Callable[..., Incident]) -> None:
    """No pauses, no repeats."""
    impatient = replace(a_loop(), pauses_s=(), timeout_s=MappingProxyType(dict.fromkeys(Tier, 2.0)))
    figures = one(incident(), impatient)
    assert (figures.sends, figures.told) == (1, {"timed_out": 1})
    assert figures.to_failure.p50_s == pytest.approx(2.0)


def test_it_makes_waves_of_its_own(incident: Callable[..., Incident]) -> None:
    """At 45 % of 503, four tries leave 4 % without an image, and most need more than one call."""
    figures = play(incident(errors={503: 0.45}), a_loop(), count=4000, seed=1)
    assert figures.success == pytest.approx(1 - 0.45**4, abs=0.01)
    assert figures.sends / 4000 == pytest.approx(1 + 0.45 + 0.45**2 + 0.45**3, abs=0.05)
    # A 1K image in 700 takes longer than the 300 s that a call is given, and is bought again.
    assert figures.purchases_per_image == pytest.approx(1.0015, abs=0.001)
