"""Routes that lead nowhere, in a circle, or to something that is not there, are told at start with their key."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.config import OnUnknown, RouteOnUnknown, Settings, parse, upstream_keys
from holdfast.errors import ConfigError


def a_mapping(**changes: Any) -> dict[str, Any]:
    """Two upstreams, and three models that may stand in for one another."""
    usual: dict[str, Any] = {
        "upstreams": [
            {"name": "a", "provider": "gemini", "base_url": "https://a.example", "keys": ["env:A_1", "env:A_2"]},
            {"name": "b", "provider": "openai", "base_url": "https://b.example/v1", "keys": ["env:B"]},
        ],
        "routes": [a_route("nano-banana-pro"), a_route("nano-banana"), a_route("seedream-4.5")],
    }
    return usual | changes


def a_route(model: str, **changes: Any) -> dict[str, Any]:
    """One entry."""
    return {"model": model, "upstreams": [{"upstream": "a", "model": model}], **changes}


def complaint(**changes: Any) -> ConfigError:
    """What is said of these settings."""
    with pytest.raises(ConfigError) as caught:
        parse(a_mapping(**changes))
    return caught.value


def test_a_whole_route_is_read() -> None:
    """Entries with weights, fallback models, and its own word on what nobody knows the outcome of."""
    entries = [{"upstream": "a", "model": "m", "weight": 3}, {"upstream": "b", "model": "n", "weight": 1}]
    first = a_route("nano-banana-pro", upstreams=entries, fallback=["nano-banana", "seedream-4.5"], on_unknown="fail")
    settings = parse(a_mapping(routes=[first, a_route("nano-banana"), a_route("seedream-4.5")]))
    route = settings.routes[0]
    assert [(each.upstream, each.weight) for each in route.upstreams] == [("a", 3), ("b", 1)]
    assert route.fallback == ("nano-banana", "seedream-4.5")
    assert route.on_unknown is RouteOnUnknown.FAIL
    assert settings.routes[1].on_unknown is RouteOnUnknown.GATEWAY


def test_the_defaults_are_those_that_are_documented() -> None:
    """One more purchase, two in all, two per cent a day, five failures, thirty seconds."""
    retry = Settings().retry
    assert retry.on_unknown is OnUnknown.BUY_ONCE_MORE
    assert (retry.purchases_max, retry.exposure_share, retry.exposure_images_min) == (2, 0.02, 5)
    assert (retry.eject_after, retry.eject_s, retry.eject_s_max) == (5, 30.0, 300.0)


@pytest.mark.parametrize(
    ("fallbacks", "key", "says"),
    [
        ((["nano-banana-pro"], [], []), "routes[0].fallback", "nano-banana-pro -> nano-banana-pro"),
        ((["nano-banana"], ["nano-banana-pro"], []), "routes[0].fallback", "in a circle"),
        (([], ["seedream-4.5"], ["nano-banana"]), "routes[1].fallback", "nano-banana -> seedream-4.5 -> nano-banana"),
        (
            (["nano-banana"], ["seedream-4.5"], ["nano-banana-pro"]),
            "routes[0].fallback",
            "nano-banana-pro -> nano-banana -> seedream-4.5 -> nano-banana-pro",
        ),
        ((["nano-banna"], [], []), "routes[0].fallback[0]", "no route serves 'nano-banna'"),
        ((["nano-banna"], [], []), "routes[0].fallback[0]", "Did you mean 'nano-banana'?"),
        ((["nano-banana", "nano-banana"], [], []), "routes[0].fallback[1]", "stands in this list already"),
    ],
)
def test_fallbacks_that_lead_nowhere_or_in_a_circle_are_refused(
    fallbacks: tuple[list[str], ...], key: str, says: str
) -> None:
    """Before the first caller meets them, with the whole circle spelt out."""
    models = ("nano-banana-pro", "nano-banana", "seedream-4.5")
    routes = [a_route(model, fallback=fallback) for model, fallback in zip(models, fallbacks, strict=True)]
    told = complaint(routes=routes)
    assert told.key == key
    assert says in str(told)


def test_two_ways_to_one_fallback_are_no_circle() -> None:
    """A model may stand in for several, and be reached twice."""
    routes = [
        a_route("nano-banana-pro", fallback=["nano-banana", "seedream-4.5"]),
        a_route("nano-banana", fallback=["seedream-4.5"]),
        a_route("seedream-4.5"),
    ]
    assert parse(a_mapping(routes=routes)).routes[0].fallback == ("nano-banana", "seedream-4.5")


def test_a_fallback_is_named_by_its_model() -> None:
    """An alias would say twice what is meant once."""
    routes = [a_route("nano-banana-pro", fallback=["banana"]), a_route("nano-banana", aliases=["banana"])]
    told = complaint(routes=routes)
    assert (told.key, "another name of 'nano-banana'" in str(told)) == ("routes[0].fallback[0]", True)


def test_a_fallback_without_a_price_is_refused_with_its_model() -> None:
    """Nothing is bought without a price, whoever asks for it."""
    told = complaint(routes=[a_route("nano-banana-pro", fallback=["own"]), a_route("own")])
    assert told.key == "prices"
    assert "'own' has no price" in str(told)


def test_an_entry_stands_in_a_route_once() -> None:
    """Twice the same upstream under the same name is a slip; under two names it is two models."""
    twice = {"upstream": "a", "model": "m"}
    told = complaint(routes=[a_route("nano-banana-pro", upstreams=[twice, twice])])
    assert (told.key, "stands in this route already" in str(told)) == ("routes[0].upstreams[1]", True)
    parse(a_mapping(routes=[a_route("nano-banana-pro", upstreams=[twice, twice | {"model": "n"}])]))


@pytest.mark.parametrize(
    ("retry", "key"),
    [
        ({"attempts_max": 0}, "retry.attempts_max"),
        ({"sends_max": 0}, "retry.sends_max"),
        ({"purchases_max": 0}, "retry.purchases_max"),
        ({"eject_after": 0}, "retry.eject_after"),
        ({"eject_s": 0}, "retry.eject_s"),
        ({"eject_s_max": 0}, "retry.eject_s_max"),
        ({"eject_s": 301}, "retry.eject_s"),
        ({"exposure_share": 1.5}, "retry.exposure_share"),
        ({"exposure_images_min": -1}, "retry.exposure_images_min"),
        ({"exposure_share": 0, "exposure_images_min": 0}, "retry.exposure_images_min"),
        ({"on_unknown": "buy"}, "retry.on_unknown"),
    ],
)
def test_a_limit_that_means_nothing_is_refused(retry: dict[str, Any], key: str) -> None:
    """A zero where nothing could ever be tried, and limits that cancel one another."""
    assert complaint(retry=retry).key == key


def test_no_exposure_is_fine_where_nothing_is_bought_twice() -> None:
    """Then it is what it says."""
    none = {"exposure_share": 0, "exposure_images_min": 0}
    assert parse(a_mapping(retry=none | {"on_unknown": "fail"})).retry.exposure_images_min == 0
    assert parse(a_mapping(retry=none | {"purchases_max": 1})).retry.purchases_max == 1


@pytest.mark.parametrize("weight", [-1, 0.5, "half"])
def test_a_weight_is_a_whole_number(weight: Any) -> None:
    """Three to one needs no fractions."""
    entry = {"upstream": "a", "model": "m", "weight": weight}
    assert complaint(routes=[a_route("nano-banana-pro", upstreams=[entry])]).key == "routes[0].upstreams[0].weight"


def test_a_key_that_is_not_set_is_named_by_its_place() -> None:
    """The second key of the first upstream, and the variable to export."""
    with pytest.raises(ConfigError, match="A_2 is not set") as caught:
        upstream_keys(parse(a_mapping()), {"A_1": "x", "B": "y"})
    assert caught.value.key == "upstreams[0].keys[1]"
