"""What goes on under which place when settings are read anew: keys by slot, entries of a course by place."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.config import Settings, parse
from holdfast.engine.course import Course, Courses, Target, targets_of
from holdfast.engine.renewal import (
    LEFT_OUT,
    MAKES_FEWER,
    SLOTS_MAX,
    caught_up,
    kept_of,
    keyring_after,
    left_of,
    limits_of,
    renewed_targets,
)
from holdfast.errors import ConfigError
from holdfast.types import Geometry, Request, Surface, Tier

TODAY = date(2026, 11, 24)


def settings_with(*route: str, keys: tuple[str, ...] = ("k",), other: int = 50, **of_a: Any) -> Settings:
    """A route over these upstreams, in this order; `c` serves its fallback model."""
    url = "https://u.example"
    upstreams = [
        {"name": "a", "provider": "gemini", "base_url": url, "keys": list(keys)} | of_a,
        {"name": "b", "provider": "gemini", "base_url": url, "keys": ["k"]},
        {"name": "o", "provider": "openai", "base_url": f"{url}/v1", "keys": ["k"]},
        {"name": "c", "provider": "gemini", "base_url": url, "keys": ["k"]},
    ]
    entries = [{"upstream": name, "model": f"m-{name}"} for name in route]
    routes = [{"model": "other", "upstreams": [{"upstream": "c", "model": "m-c"}]}]
    if entries:
        routes.append({"model": "pro", "upstreams": entries, "fallback": ["other"]})
    prices = [
        {"model": model, "micros": dict.fromkeys(("1K", "2K", "4K"), micros), "source": "t", "valid_from": "2026-01-01"}
        for model, micros in (("pro", 100), ("other", other))
    ]
    return parse({"upstreams": upstreams, "routes": routes, "prices": prices})


def targets_with(*route: str, **of_a: Any) -> dict[str, tuple[Target, ...]]:
    """Its targets, as a start makes them."""
    settings = settings_with(*route, **of_a)
    return targets_of(settings, {upstream.name: upstream.keys for upstream in settings.upstreams})


def a_request(n: int = 1, tier: Tier = Tier.K1) -> Request:
    """What a caller asks for."""
    geometry = Geometry(tier=tier, aspect_ratio="1:1", width_px=1024, height_px=1024)
    return Request(surface=Surface.OPENAI, model="pro", prompt="p", geometry=geometry, n=n)


def course_with(*route: str, **of_a: Any) -> Course:
    """The course of a request."""
    return Courses(settings_with(*route, **of_a), targets_with(*route, **of_a)).of(a_request(), TODAY)


def route_with(*route: str, **of_a: Any) -> Course | None:
    """What requests of its kind are given."""
    return Courses(settings_with(*route, **of_a), targets_with(*route, **of_a)).route("pro", Tier.K1, may_degrade=False)


def names(course: Course) -> str:
    """The upstreams of its entries; one that is gone in brackets, one that is barred with an exclamation mark."""
    told = ""
    for at, entry in enumerate(course.entries):
        name = f"({entry.upstream})" if at in course.gone else entry.upstream
        told += name if at in course.gone or at not in course.barred else f"{name}!"
    return told


def test_a_key_keeps_its_slot_wherever_it_stands() -> None:
    """What is new comes behind, what is gone stays in its place, and numbers say how the settings have it."""
    (before, *_) = targets_with("a", keys=("x", "y"))["pro"]
    ring = keyring_after(before, ("z", "y"), name="a")
    assert (ring.keys, ring.numbers) == (("x", "y", "z"), (None, 2, 1))
    assert "x" not in repr(ring).replace("next", "")
    (target, *_) = renewed_targets(targets_with("a", keys=("z", "y")), {"pro": (before,)})["pro"]
    assert (target.retired, target.current) == ({0}, ("y", "z"))
    assert [target.number_of(slot) for slot in range(3)] == [None, 2, 1]
    assert [target.key_of(number) for number in (1, 2, 3)] == [2, 1, None]
    back = keyring_after(target, ("x", "z"), name="a")
    assert (back.keys, back.numbers) == (("x", "y", "z"), (1, None, 2))


def test_a_start_has_keys_in_their_order() -> None:
    """Slot and place are the same, but for one."""
    (target, *_) = targets_with("a", keys=("x", "y"))["pro"]
    assert [target.number_of(slot) for slot in range(2)] == [1, 2]
    assert [target.key_of(number) for number in (1, 2, 3)] == [0, 1, None]
    assert (target.retired, target.current) == (frozenset(), ("x", "y"))
    assert keyring_after(None, ("x", "y"), name="a").numbers == (1, 2)


def test_slots_are_bounded() -> None:
    """A process that has known a thousand keys of one upstream is restarted, and the complaint names the setting."""
    (before, *_) = targets_with("a", keys=tuple(f"k{at}" for at in range(SLOTS_MAX)))["pro"]
    with pytest.raises(ConfigError, match="restart it") as refused:
        keyring_after(before, ("new",), name="a")
    assert refused.value.key == "upstreams.a.keys"
    assert "new" not in str(refused.value)


@given(st.lists(st.lists(st.sampled_from("abcd"), min_size=1, max_size=5), max_size=6))
def test_slots_never_move_and_every_key_has_one(changes: list[list[str]]) -> None:
    """Two variables may hold one secret: then it has two slots, as at a start."""
    (target, *_) = targets_with("a", keys=("k",))["pro"]
    for keys in changes:
        ring = keyring_after(target, keys, name="a")
        assert ring.keys[: len(target.keys)] == target.keys
        placed = sorted((number, key) for key, number in zip(ring.keys, ring.numbers, strict=True) if number)
        assert placed == [(place + 1, key) for place, key in enumerate(keys)]
        target = Target(upstream=target.upstream, model=target.model, route="pro", keys=ring.keys, numbers=ring.numbers)


def test_limits_and_what_is_kept_are_read_off_the_targets() -> None:
    """One of each upstream, however many routes lead to it; an address that changes is another upstream."""
    before = targets_with("a", "b")
    after = renewed_targets(targets_with("a", keys=("l",), concurrency=3, stream="always"), before)
    assert limits_of(after)["a"].concurrency == 3
    assert limits_of(after)["a"].keys == 2
    kept = kept_of(after, before)
    assert kept.keys() == {"a", "c"}
    assert (kept["a"].keys, kept["a"].retired, kept["a"].is_another) == (2, {0}, False)
    moved = targets_with("a", base_url="https://elsewhere.example")
    assert kept_of(moved, before)["a"].is_another
    assert not kept_of(before, {})["a"].is_another


def test_entries_keep_their_places() -> None:
    """The order of the route is the one of its acceptance; what it has no more is gone, and barred."""
    course = course_with("a", "b")
    left, is_behind = left_of(course, route_with("b", "a"))
    assert (names(left), is_behind) == ("abc", False)
    left, is_behind = left_of(course, route_with("b", "o"))
    assert (names(left), is_behind) == ("(a)bc", True)
    assert left.barred == {0: LEFT_OUT}
    assert left.candidates[0].target.upstream.name == "a"
    assert names(caught_up(left, course_with("b", "o"), planned=1, stream=False)) == "(a)bco"


def test_a_route_that_is_gone_leaves_nothing_and_one_that_is_back_leads_on() -> None:
    """What was gone has its old place still."""
    course = course_with("a")
    left, is_behind = left_of(course, route_with())
    assert (names(left), is_behind, left.is_gone) == ("(a)(c)", False, True)
    assert caught_up(left, None, planned=1, stream=False) is left
    back, is_behind = left_of(left, route_with("a"))
    assert (names(back), is_behind, back.is_gone) == ("ac", False, False)
    assert back.barred == {}


def test_an_entry_is_asked_as_the_settings_say_now() -> None:
    """Its limits, its streaming, its address: the next attempt is sent by them; that is to be caught up with."""
    left, is_behind = left_of(course_with("a"), route_with("a", stream="always", concurrency=2))
    assert left.candidates[0].target.upstream.concurrency == 2
    assert is_behind


def test_what_was_offered_keeps_its_price() -> None:
    """The fallback's image was offered at half a price; a rise is for those who come later."""
    course = course_with("a")
    assert course.offers[1].unit_micros == 50
    left, _ = left_of(course, route_with("a", other=80))
    assert left.offers[1].unit_micros == 50
    after = caught_up(left, course_with("a", "b", other=80), planned=1, stream=False)
    assert (names(after), after.offers[1].unit_micros) == ("acb", 50)


def test_an_entry_that_makes_fewer_images_in_a_call_is_not_for_parts_that_ask_for_more() -> None:
    """Four in one call were planned; Gemini makes one, and the other three would be lost."""
    course = course_with("o")
    left, is_behind = left_of(course, route_with("o", "a"))
    assert is_behind
    assert names(caught_up(left, course_with("o", "a"), planned=4, stream=False)) == "oc!a!"
    after = caught_up(left, course_with("o", "a"), planned=4, stream=False)
    assert after.barred[2] == MAKES_FEWER
    assert names(caught_up(left, course_with("o", "a"), planned=1, stream=False)) == "oca"
