"""A run is its seed: the same orders and the same luck for every policy, and every order ends once."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from types import MappingProxyType

import pytest

from holdfast.config import RouteOnUnknown, Settings, parse
from holdfast.engine import course, deciding, parts, upstreams
from holdfast.types import Tier
from holdfast.whatif import rules
from holdfast.whatif.files import load_policy, load_scenario, policy_names, scenario_names
from holdfast.whatif.play import orders, play, served_by
from holdfast.whatif.policies import GatewayPolicy
from holdfast.whatif.rules import limits_of, retry_policy_of, standings_of
from holdfast.whatif.scenario import Incident, Load


def test_orders_come_at_their_rate_and_in_their_sizes() -> None:
    """At random moments, the same for each seed."""
    load = Load(per_s=4.0, sizes=MappingProxyType({Tier.K1: 0.75, Tier.K4: 0.25}))
    drawn = list(orders(load, count=20_000, seed=1))
    assert drawn == list(orders(load, count=20_000, seed=1))
    assert drawn != list(orders(load, count=20_000, seed=2))
    assert [order.number for order in drawn] == list(range(20_000))
    assert drawn[-1].at == pytest.approx(5000.0, rel=0.03)
    assert all(before.at < after.at for before, after in pairwise(drawn))
    assert sum(order.tier is Tier.K4 for order in drawn) / 20_000 == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("scenario", scenario_names())
@pytest.mark.parametrize("policy", policy_names())
def test_every_order_ends_once(scenario: str, policy: str) -> None:
    """Under every policy in every scenario that is shipped, and the same again from the same seed."""
    incident, ours = load_scenario(scenario), load_policy(policy)
    figures = play(incident, ours, count=400, seed=5)
    assert figures.delivered + sum(figures.told.values()) == figures.generations == 400
    assert figures.in_time <= figures.delivered <= figures.purchases <= figures.sends
    assert figures.lost_micros >= 0
    assert figures == play(incident, ours, count=400, seed=5)


def test_another_seed_is_another_day() -> None:
    """So that nobody takes one day for all."""
    incident, ours = load_scenario("overloaded"), load_policy("holdfast")
    assert play(incident, ours, count=300, seed=1) != play(incident, ours, count=300, seed=2)


def test_policies_meet_the_same_luck(incident: Callable[..., Incident], policy: Callable[..., GatewayPolicy]) -> None:
    """Without errors two policies that send at once tell the same times to the last digit."""
    gateway = play(incident(), policy(deadlines={"attempt_s": 300}), count=500, seed=9)
    loop = play(incident(), load_policy("published-retries"), count=500, seed=9)
    assert gateway.to_image == loop.to_image
    assert gateway.curve == loop.curve


SETTINGS = [
    {},
    {
        "retry": {
            "attempts_max": 2,
            "backoff_s_first": 1.0,
            "backoff_s_max": 9.0,
            "budget_share": 0.3,
            "budget_burst": 7,
            "sends_max": 5,
            "on_unknown": "fail",
            "purchases_max": 3,
            "eject_after": 4,
            "eject_s": 11.0,
            "eject_s_max": 99.0,
        }
    },
]


def settings_with(sections: dict[str, object]) -> Settings:
    """A gateway's, with two upstreams."""
    base = {"provider": "gemini", "base_url": "https://up.example"}
    return parse(
        {
            "upstreams": [
                {**base, "name": "first", "keys": ["a", "b"], "concurrency": 3, "per_minute": 9},
                {**base, "name": "second", "keys": ["c"]},
            ],
            "routes": [
                {
                    "model": "nano-banana-pro",
                    "upstreams": [{"upstream": "first", "model": "m"}, {"upstream": "second", "model": "m"}],
                }
            ],
            **sections,
        }
    )


@pytest.mark.parametrize("sections", SETTINGS)
def test_rules_are_made_of_settings_as_the_engine_makes_them(sections: dict[str, object]) -> None:
    """One gateway, in earnest and on virtual time."""
    settings = settings_with(sections)
    route = settings.routes[0]
    assert retry_policy_of(settings.retry, route) == deciding.policies_of(settings)[route.model]
    targets = course.targets_of(settings, {each.name: each.keys for each in settings.upstreams})
    ours, theirs = standings_of(settings), upstreams.standings_of(targets, settings.retry)
    for name in ("first", "second"):
        assert ours.of(name) == theirs.of(name)
    assert (ours._keys, ours._health) == (theirs._keys, theirs._health)
    assert limits_of(settings) == parts.limits_of(targets)
    assert (rules.PATIENCE_SHARE, rules.LOOK_S) == (deciding.PATIENCE_SHARE, parts.LOOK_S)


def test_a_route_may_be_stricter_than_the_gateway() -> None:
    """`routes.on_unknown`."""
    settings = settings_with({})
    for word, accepts in (("fail", False), ("buy_once_more", True), ("gateway", True)):
        strict = replace(settings.routes[0], on_unknown=RouteOnUnknown(word))
        made = replace(settings, routes=(strict,))
        assert retry_policy_of(made.retry, strict).accepts_double_charge is accepts
        assert retry_policy_of(made.retry, strict) == deciding.policies_of(made)[strict.model]


def test_upstreams_are_served_as_they_are_set() -> None:
    """Their keys are counted, their vendor decides what a refusal costs."""
    listed = served_by(
        parse(
            {
                "upstreams": [
                    {"name": "g", "provider": "gemini", "base_url": "https://g.example", "keys": ["a", "b"]},
                    {
                        "name": "r",
                        "provider": "openai",
                        "flavor": "relay",
                        "base_url": "https://r.example",
                        "keys": ["a"],
                    },
                ]
            }
        )
    )
    assert [(each.name, each.keys, each.is_gemini, each.is_relay) for each in listed] == [
        ("g", 2, True, False),
        ("r", 1, False, True),
    ]


@pytest.mark.parametrize("policy", policy_names())
def test_an_order_that_has_ended_is_let_go_at_once(policy: str) -> None:
    """While a load is played nobody looks for cycles, so each order that left one would stay to the end."""
    incident, ours = load_scenario("overloaded"), load_policy(policy)
    left = []
    for count in (100, 400):
        gc.collect()
        play(incident, ours, count=count, seed=5)
        left.append(gc.collect())
    assert left[1] < left[0] + 100, left


@pytest.mark.parametrize("is_enabled", [True, False])
def test_the_collector_is_left_as_it_was(is_enabled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a run breaks off."""

    def broken(*_: object, **__: object) -> None:
        assert not gc.isenabled()
        raise RuntimeError("broken")

    monkeypatch.setattr("holdfast.whatif.play.orders", broken)
    (gc.enable if is_enabled else gc.disable)()
    try:
        with pytest.raises(RuntimeError):
            play(load_scenario("steady"), load_policy("holdfast"), count=1, seed=0)
        assert gc.isenabled() == is_enabled
    finally:
        gc.enable()
