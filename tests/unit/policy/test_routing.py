"""Which upstream is asked next: order, weights, rests, and other models only where patience ends."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from holdfast.policy.routing import NEVER, Choice, Entry, Later, Nowhere, Pick, choose


def a_route(*names: str, **weights: int) -> tuple[Entry, ...]:
    """Entries by name; a leading `~` marks a fallback model's."""
    return tuple(
        Entry(upstream=name.lstrip("~"), weight=weights.get(name.lstrip("~"), 0), is_lesser=name.startswith("~"))
        for name in names
    )


def chosen(route: tuple[Entry, ...], ready: dict[str, float] | None = None, **options: Any) -> Choice:
    """Choose at second 100; whoever is not named in `ready` can be asked."""
    known = {entry.upstream: 0.0 for entry in route} | (ready or {})
    return choose(route, known, **{"now": 100.0, "sample": 0.0, **options})


def test_the_first_that_can_be_asked_is_asked() -> None:
    """The order of the settings is the order of preference."""
    route = a_route("a", "b", "c")
    assert chosen(route) == Pick(at=0)
    assert chosen(route, {"a": 130.0}) == Pick(at=1)
    assert chosen(route, {"a": 130.0, "b": 101.0}) == Pick(at=2)
    assert chosen(route, {"a": 100.0}) == Pick(at=0)


def test_what_failed_for_a_part_is_passed_over_until_it_has_rested_or_for_good() -> None:
    """By this part alone: others still ask it."""
    route = a_route("a", "b")
    assert chosen(route, avoided={0: 101.0}) == Pick(at=1)
    assert chosen(route, avoided={0: 100.0}) == Pick(at=0)
    assert chosen(route, avoided={0: NEVER, 1: NEVER}) == Nowhere()
    assert chosen(route, avoided={0: NEVER, 1: 104.0}) == Later(at=1, ready_at=104.0)


def test_where_nobody_can_be_asked_the_soonest_is_waited_for() -> None:
    """By whatever keeps it longest: its own rest, or what this part knows of it."""
    route = a_route("a", "b", "c")
    assert chosen(route, {"a": 130.0, "b": 110.0, "c": 120.0}) == Later(at=1, ready_at=110.0)
    assert chosen(route, {"a": 130.0, "b": 110.0, "c": 120.0}, avoided={1: 125.0}) == Later(at=2, ready_at=120.0)


def test_neighbours_with_a_weight_share_by_it() -> None:
    """Three to one, whatever the sample; the entry behind them waits for both to be out."""
    route = a_route("a", "b", "c", a=3, b=1)
    shares = Counter(chosen(route, sample=step / 1000).at for step in range(1000))  # type: ignore[union-attr]
    assert shares == {0: 750, 1: 250}
    assert chosen(route, {"a": 130.0}, sample=0.1) == Pick(at=1)
    assert chosen(route, {"b": 130.0}, sample=0.999) == Pick(at=0)
    assert chosen(route, {"a": 130.0, "b": 130.0}) == Pick(at=2)


def test_weights_are_shared_among_neighbours_only() -> None:
    """An entry without a weight between two with one makes them two steps."""
    route = a_route("a", "b", "c", a=1, c=1)
    assert {chosen(route, sample=step / 100) for step in range(100)} == {Pick(at=0)}
    assert {chosen(route, {"a": 130.0}, sample=step / 100) for step in range(100)} == {Pick(at=1)}
    assert {chosen(route, {"a": 130.0, "b": 130.0}, sample=step / 100) for step in range(100)} == {Pick(at=2)}


def test_an_entry_before_weighted_ones_comes_first() -> None:
    """Order between steps, weights within one."""
    route = a_route("a", "b", "c", b=1, c=1)
    assert {chosen(route, sample=step / 100) for step in range(100)} == {Pick(at=0)}
    assert {chosen(route, {"a": 130.0}, sample=step / 100) for step in range(100)} == {Pick(at=1), Pick(at=2)}


def test_a_place_elsewhere_is_better_than_a_place_in_line() -> None:
    """A limit of one upstream is what the next one in the route is for; if all are full it is the first one's line."""
    route = a_route("a", "b", "c")
    assert chosen(route, full={"a"}) == Pick(at=1)
    assert chosen(route, full={"a", "b", "c"}) == Pick(at=0)
    assert chosen(route, {"b": 130.0, "c": 130.0}, full={"a"}) == Pick(at=0)


def test_weighted_neighbours_that_are_full_leave_their_share_to_the_others() -> None:
    """Whoever has room takes it."""
    route = a_route("a", "b", a=9, b=1)
    assert {chosen(route, sample=step / 100, full={"a"}) for step in range(100)} == {Pick(at=1)}


def test_another_model_is_taken_when_the_one_asked_for_cannot_be_asked() -> None:
    """Own entries first, whatever their order; then those of the fallback."""
    route = a_route("a", "b", "~c")
    assert chosen(route, {"a": 130.0}) == Pick(at=1)
    assert chosen(route, {"a": 130.0, "b": 130.0}) == Pick(at=2)
    assert chosen(route, avoided={0: NEVER, 1: NEVER}) == Pick(at=2)
    assert chosen(route, {"a": 130.0, "b": 130.0, "c": 110.0}) == Later(at=2, ready_at=110.0)
    assert chosen(route, {"a": 105.0, "b": 130.0, "c": 110.0}) == Later(at=0, ready_at=105.0)


@pytest.mark.parametrize(("patience_s", "expected"), [(5.0, Later(at=0, ready_at=105.0)), (4.0, Pick(at=1))])
def test_the_model_that_was_asked_for_is_waited_for_with_patience(patience_s: float, expected: Choice) -> None:
    """A rest of seconds changes no model; one that nobody would wait for does."""
    assert chosen(a_route("a", "~b"), {"a": 105.0}, patience_s=patience_s) == expected


def test_a_line_changes_the_model_only_for_whoever_has_no_patience_left() -> None:
    """Being in line is not being down."""
    route = a_route("a", "~b")
    assert chosen(route, full={"a"}, patience_s=5.0) == Pick(at=0)
    assert chosen(route, full={"a"}) == Pick(at=1)
    assert chosen(route, full={"a", "b"}) == Pick(at=0)


def test_a_fallback_stands_beside_its_own_kind_only() -> None:
    """Weights of two models are not added up."""
    route = a_route("a", "~b", "~c", a=1, b=1, c=1)
    assert {chosen(route, sample=step / 100) for step in range(100)} == {Pick(at=0)}
    assert {chosen(route, {"a": 130.0}, sample=step / 100) for step in range(100)} == {Pick(at=1), Pick(at=2)}


def test_the_same_upstream_may_stand_in_a_route_twice() -> None:
    """By another model's name; they fail for a part one by one, and rest together."""
    route = (Entry(upstream="a"), Entry(upstream="a"))
    assert chosen(route, avoided={0: NEVER}) == Pick(at=1)
    assert chosen(route, {"a": 130.0}) == Later(at=0, ready_at=130.0)
