"""Second attempts are off unless they are asked for, and are refused where something else forbids every one of them."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.config import HedgeAfter, Settings, parse
from holdfast.errors import ConfigError


def a_mapping(**changes: Any) -> dict[str, Any]:
    """One model at two upstreams, with second attempts."""
    usual: dict[str, Any] = {
        "upstreams": [
            {"name": "a", "provider": "gemini", "base_url": "https://a.example", "keys": ["env:A"]},
            {"name": "b", "provider": "gemini", "base_url": "https://b.example", "keys": ["env:B"]},
        ],
        "routes": [a_route()],
        "hedge": {"enabled": True, "budget_share": 0.05},
    }
    return usual | changes


def a_route(**changes: Any) -> dict[str, Any]:
    """Its route."""
    both = [{"upstream": "a", "model": "m"}, {"upstream": "b", "model": "m"}]
    return {"model": "nano-banana-pro", "upstreams": both, **changes}


def complaint(**changes: Any) -> ConfigError:
    """What is wrong with it."""
    with pytest.raises(ConfigError) as told:
        parse(a_mapping(**changes))
    return told.value


def test_they_are_off_by_default() -> None:
    """They buy some images twice."""
    hedge = Settings().hedge
    assert (hedge.enabled, hedge.budget_share, hedge.after) == (False, 0.0, HedgeAfter.P95)


def test_what_is_written_is_taken() -> None:
    """All three settings."""
    hedge = parse(a_mapping(hedge={"enabled": True, "budget_share": 0.1, "after": "p99"})).hedge
    assert (hedge.enabled, hedge.budget_share, hedge.after) == (True, 0.1, HedgeAfter.P99)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"hedge": {"enabled": True}}, "hedge.budget_share"),
        ({"hedge": {"enabled": True, "budget_share": 0}}, "hedge.budget_share"),
        ({"hedge": {"enabled": True, "budget_share": -0.1}}, "hedge.budget_share"),
        ({"hedge": {"enabled": True, "budget_share": 1.1}}, "hedge.budget_share"),
        ({"hedge": {"enabled": True, "budget_share": 0.05, "after": "p50"}}, "hedge.after"),
        ({"hedge": {"enabled": "yes", "budget_share": 0.05}}, "hedge.enabled"),
        ({"retry": {"purchases_max": 1}}, "retry.purchases_max"),
        ({"retry": {"on_unknown": "fail"}}, "hedge.enabled"),
        ({"routes": [a_route(on_unknown="fail")]}, "hedge.enabled"),
    ],
)
def test_a_setting_that_could_have_no_effect_is_refused_with_its_key(changes: dict[str, Any], key: str) -> None:
    """And says what to write instead."""
    assert complaint(**changes).key == key


def test_one_route_that_buys_twice_is_enough() -> None:
    """The others have no second attempts."""
    assert parse(a_mapping(retry={"on_unknown": "fail"}, routes=[a_route(on_unknown="buy_once_more")])).hedge.enabled


def test_where_they_are_off_nothing_is_asked_of_the_rest() -> None:
    """A share may stand there for later."""
    off = {"enabled": False, "budget_share": 0.05}
    assert not parse(a_mapping(hedge=off, retry={"on_unknown": "fail"})).hedge.enabled
