"""The gateway on virtual time does what its rules say: nothing here decides by itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from holdfast.types import Tier
from holdfast.whatif.book import Figures
from holdfast.whatif.play import play
from holdfast.whatif.policies import GatewayPolicy
from holdfast.whatif.scenario import Incident, Temper
from holdfast.whatif.world import quantiles

PRICE = 134_000
TWO = {"first": {}, "second": {}}


def one(incident: Incident, policy: GatewayPolicy, *, seed: int = 0) -> Figures:
    """Let one order come."""
    return play(incident, policy, count=1, seed=seed)


def test_an_image_is_delivered_when_it_is_made(
    incident: Callable[..., Incident], policy: Callable[..., GatewayPolicy]
) -> None:
    """One call, one purchase, no wait."""
    figures = one(incident(), policy())
    assert (figures.delivered, figures.sends, figures.purchases, figures.queued) == (1, 1, 1, 0)
    assert figures.to_image.p50_s in [pytest.approx(each) for each in quantiles(Tier.K1)]


def test_overload_is_waited_out(incident: Callable[..., Incident], policy: Callable[..., GatewayPolicy]) -> None:
    """At 45 % of 503, nearly everybody has an image, and being turned away is never bought again."""
    patient = policy(deadlines={"attempt_s": 600})
    figures = play(incident(errors={503: 0.45}), patient, count=3000, seed=1)
    assert figures.success > 0.99
    assert figures.purchases_per_image == 1.0
    assert figures.at_risk_micros == 0


def test_an_upstream_that_is_always_overloaded_ends_in_overloaded(
    incident: Callable[..., Incident], policy: Callable[..., GatewayPolicy]
) -> None:
    """Before the deadline, and for nothing."""
    figures = one(incident(errors={503: 1.0}), policy())
    assert (figures.delivered, figures.purchases) == (0, 0)
    assert set(figures.told) <= {"overloaded", "deadline_exceeded"}
    assert 1 < figures.sends <= 12
    assert figures.to_failure.p50_s <= 300.0


def test_an_overloaded_upstream_is_left_for_the_next(
    incident: Callable[..., Incident], policy: Callable[..., GatewayPolicy], temper: Callable[..., Temper]
) -> None:
    """At once: the caller waits a second longer, not a minute."""
    made = incident(tempers=[temper("first", errors={503: 1.0})])
    figures = one(made, policy(TWO))
    assert (figures.delivered, figures.sends, figures.purchases) == (1, 2, 1)
    assert figures.to_image.p50_s < 1.1 + quantiles(Tier.K1)[-1]


def test_a_dead_key_gives_way_to_the_next_upstream(
    incident: Callable[..., Incident], policy: Callable[..., GatewayPolicy], temper: Callable[..., Temper]
) -> None:
    """Nobody gets an error that a healthy route could have avoided."""
    made = incident(tempers=[temper("first", errors={401: 1.0})])
    figures = play(made, policy(TWO), count=300, seed=2)
    assert figures.success == 1.0
    # Taken out again and again, it is asked ever more seldom.
    assert figures.sends < 300 * 1.2


def test_what_may_have_been_charged_is_bought_once_more_and_no_oftener(
    incident: Callable[..., Incident], policy: Callable[..., GatewayPolicy]
) -> None:
    """Both are at risk; the customer is told that nobody knows."""
    figures = one(incident(errors={504: 1.0}), policy())
    assert (figures.sends, figures.purchases, figures.delivered) == (2, 2, 0)
    assert figures.at_risk_micros == 2 * PRICE
    assert figures.told == {"outcome_unknown": 1}


def test_what_may_have_been_charged_is_not_bought_again_where_that_is_not_wanted(
    incident: Callable[..., Incident], policy: Callable[..., GatewayPolicy]
) -> None:
    """`on_unknown = "fail"`."""
    figures = one(incident(errors={504: 1.0}), policy(retry={"on_unknown": "fail"}))
    assert (figures.sends, figures.told) == (1, {"outcome_unknown": 1})


def test_second_purchases_end_at_the_exposure(
    incident: Callable[..., Incident], policy: Callable[..., GatewayPolicy]
) -> None:
    """An outage of 300 calls is not paid for twice: five images' worth a day, and a share of what was sold."""
    outage = incident(errors={504: 1.0}, per_s=50.0)
    figures = play(outage, policy(retry={"budget_share": 1.0, "budget_burst": 1000}), count=300, seed=0)
    # Those that were decided before the first of them was sent again do not know of one another.
    assert 300 < figures.sends < 330


def test_a_refusal_is_not_repeated(incident: Callable[..., Incident], policy: Callable[..., GatewayPolicy]) -> None:
    """It would end the same way."""
    figures = one(incident(refused=1.0), policy())
    assert (figures.sends, figures.told) == (1, {"content_refused": 1})


def test_an_attempt_ends_at_its_timeout(
    incident: Callable[..., Incident], policy: Callable[..., GatewayPolicy]
) -> None:
    """And the upstream goes on, and charges."""
    figures = one(incident(latency_factor=100.0), policy(retry={"on_unknown": "fail"}))
    assert figures.to_failure.p50_s == pytest.approx(180.0)
    assert (figures.purchases, figures.lost_micros, figures.told) == (1, PRICE, {"outcome_unknown": 1})
    patient = policy(deadlines={"attempt_s": {"1K": 6000, "2K": 6000, "4K": 6000}, "network": "peak"})
    assert one(incident(latency_factor=100.0), patient).delivered == 1


def test_a_limit_of_its_own_makes_a_line(
    incident: Callable[..., Incident], policy: Callable[..., GatewayPolicy]
) -> None:
    """Two places a key: the others wait, in their order, and time is told."""
    crowd = incident(per_s=1000.0)
    narrow = {"google": {"concurrency": 2, "keys": ["a", "b"]}}
    figures = play(crowd, policy(narrow), count=12, seed=0)
    assert figures.delivered == 12
    assert (figures.queued, figures.queue_max) == (8, 8)
    assert figures.in_queue.p50_s > 20.0


def test_a_line_has_an_end(incident: Callable[..., Incident], policy: Callable[..., GatewayPolicy]) -> None:
    """Who comes when it is full is told so at once; who stands in it past his deadline, then."""
    crowd = incident(per_s=1000.0)
    narrow = policy({"google": {"concurrency": 1}}, queue={"waiting_max": 10})
    figures = play(crowd, narrow, count=100, seed=0)
    assert figures.told["queue_full"] == 89
    assert figures.told["deadline_exceeded"] == 11 - figures.delivered
    assert figures.queue_max == 10
    assert 2 <= figures.delivered <= 9


def test_several_keys_carry_more_than_one(
    incident: Callable[..., Incident], policy: Callable[..., GatewayPolicy], temper: Callable[..., Temper]
) -> None:
    """Where each key is allowed six calls a minute."""
    tight = incident(tempers=[temper("google", per_minute=6)], per_s=0.25)
    alone = play(tight, policy(), count=200, seed=3)
    four = play(tight, policy({"google": {"keys": ["a", "b", "c", "d"]}}), count=200, seed=3)
    assert four.success > alone.success
    assert four.success > 0.99


def test_a_fallback_model_is_asked_last(
    incident: Callable[..., Incident], policy: Callable[..., GatewayPolicy], temper: Callable[..., Temper]
) -> None:
    """And is paid for at its own price."""
    base = policy({"first": {}, "second": {}})
    routes = [
        {"model": "nano-banana-pro", "upstreams": [{"upstream": "first", "model": "m"}], "fallback": ["seedream-4.5"]},
        {"model": "seedream-4.5", "upstreams": [{"upstream": "second", "model": "s"}]},
    ]
    chain = policy(TWO, routes=routes)
    assert len(base.route.upstreams) == 2
    well = one(incident(), chain)
    assert (well.sends, well.spent_micros) == (1, PRICE)
    made = incident(tempers=[temper("first", errors={401: 1.0})])
    served = one(made, chain)
    assert (served.delivered, served.sends, served.spent_micros) == (1, 2, 40_000)
