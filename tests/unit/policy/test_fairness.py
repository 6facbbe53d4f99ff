"""Whose turn it is: a few lines with what they look like."""

from __future__ import annotations

import pytest

from holdfast.policy.fairness import WEIGHTS, FairOrder, weight_of
from holdfast.policy.latency import PUBLISHED
from holdfast.types import Tier


def a_line(**flows: list[int]) -> FairOrder:
    """These flows, each with calls of these weights, entered in this order and numbered from 1."""
    order = FairOrder()
    number = 0
    for flow, weights in flows.items():
        for weight in weights:
            number += 1
            order.enter(number, flow=flow, weight=weight)
    return order


def drained(order: FairOrder) -> list[int]:
    """All that wait, in the order in which they go."""
    found: list[int] = []
    while (number := order.pop()) is not None:
        found.append(number)
    return found


def test_one_flow_is_first_come_first_served() -> None:
    """Whatever its calls weigh."""
    order = a_line(a=[8, 3, 4, 3])
    assert [order.position_of(number) for number in (1, 2, 3, 4)] == [1, 2, 3, 4]
    assert drained(order) == [1, 2, 3, 4]


def test_two_flows_take_turns() -> None:
    """However many calls the first has waiting, and however early they came."""
    order = a_line(a=[3] * 5, b=[3] * 2)
    assert repr(order) == "<FairOrder 7 of 2 flows, 0 barred>"
    assert [order.position_of(number) for number in range(1, 8)] == [1, 3, 5, 6, 7, 2, 4]
    assert drained(order) == [1, 6, 2, 7, 3, 4, 5]


def test_a_4k_counts_as_the_time_it_takes() -> None:
    """After one of 8, two and more of 3 are due."""
    assert drained(a_line(a=[8] * 2, b=[3] * 4)) == [1, 3, 4, 5, 2, 6]
    for tier, percentiles in PUBLISHED.items():
        assert WEIGHTS[tier] == round(percentiles.p50_s / 15.0)
    assert (weight_of(Tier.K4, 1), weight_of(Tier.K1, 4)) == (8, 12)


def test_a_thousand_calls_of_one_key_do_not_delay_another() -> None:
    """Whoever comes now is next but one."""
    order = a_line(heavy=[8] * 1000)
    assert [order.pop() for _ in range(5)] == [1, 2, 3, 4, 5]
    order.enter(2000, flow="light", weight=3)
    assert order.position_of(2000) == 1
    order.enter(2001, flow="light", weight=3)
    assert order.position_of(2001) == 2
    assert [order.pop() for _ in range(4)] == [2000, 2001, 6, 7]


def test_who_asked_for_nothing_has_saved_nothing_up() -> None:
    """A flow that comes late shares from now on; it is not given what it did not ask for."""
    order = a_line(a=[3] * 10)
    for _ in range(6):
        order.pop()
    for number in range(20, 26):
        order.enter(number, flow="b", weight=3)
    assert drained(order) == [20, 7, 21, 8, 22, 9, 23, 10, 24, 25]


def test_who_comes_back_at_once_is_not_new() -> None:
    """Leaving the line empty-handed for a moment makes nobody first again."""
    order = a_line(a=[8], b=[3] * 4)
    assert order.pop() == 1
    order.enter(9, flow="a", weight=8)
    assert order.position_of(9) == 4
    assert drained(order) == [2, 3, 4, 9, 5]


def test_who_has_a_place_without_waiting_owes_nothing() -> None:
    """Where nobody waits nothing is shared."""
    order = FairOrder()
    for number in range(1, 6):
        order.enter(number, flow="a", weight=8)
        assert order.pop() == number
    order.enter(6, flow="a", weight=8)
    order.enter(7, flow="b", weight=8)
    assert drained(order) == [6, 7]


def test_who_had_a_place_and_comes_again_stands_where_it_stood() -> None:
    """Before all that had none, the earlier of two first; and its flow is not charged twice."""
    order = a_line(a=[3] * 3, b=[3] * 3)
    assert [order.pop() for _ in range(3)] == [1, 4, 2]
    order.enter(4, flow="b", weight=3, again=True)
    order.enter(1, flow="a", weight=3, again=True)
    assert [order.position_of(number) for number in (1, 4, 5, 3, 6)] == [1, 2, 3, 4, 5]
    assert drained(order) == [1, 4, 5, 3, 6]


def test_a_call_that_leaves_the_middle_was_never_counted() -> None:
    """Those behind it move up by all of its weight."""
    order = a_line(a=[3, 8, 3], b=[3, 3, 3, 3])
    assert order.position_of(3) == 7
    assert order.leave(2)
    assert not order.leave(2)
    assert (order.position_of(2), order.position_of(3), 2 in order, len(order)) == (None, 3, False, 6)
    assert drained(order) == [1, 4, 3, 5, 6, 7]


def test_a_call_may_stand_before_later_ones_of_its_flow() -> None:
    """By its number, like one that is entered again before it ever had a place."""
    order = a_line(a=[3, 3])
    order.enter(9, flow="a", weight=3)
    order.leave(1)
    order.enter(1, flow="a", weight=8)
    assert order.place_in_flow(9) == 2
    assert drained(order) == [1, 2, 9]


def test_a_barred_flow_waits_however_its_turn_comes() -> None:
    """The others do not notice; let in, it shares from then on."""
    order = a_line(a=[3] * 3, b=[3] * 3)
    order.bar("a")
    order.bar("nobody")
    assert repr(order) == "<FairOrder 6 of 2 flows, 1 barred>"
    assert [order.position_of(number) for number in (4, 5, 6)] == [1, 2, 3]
    assert [order.pop() for _ in range(2)] == [4, 5]
    order.enter(9, flow="b", weight=3)
    order.let_in("a")
    order.let_in("nobody")
    assert drained(order) == [1, 2, 6, 3, 9]


def test_nobody_goes_where_all_are_barred() -> None:
    """Also one that comes while its flow is."""
    order = FairOrder()
    order.bar("a")
    order.enter(1, flow="a", weight=3)
    assert (order.pop(), len(order), order.position_of(1)) == (None, 1, 1)
    order.let_in("a")
    assert order.pop() == 1


@pytest.mark.parametrize("flows", [1, 50])
def test_what_is_remembered_of_flows_is_bounded(flows: int) -> None:
    """One figure for a flow that has just gone; nothing once nobody waits."""
    order = FairOrder()
    order.enter(0, flow="waits", weight=8)
    for number in range(1, 2000):
        order.enter(number, flow=f"key_{number % flows}", weight=1 + number % 8)
        order.pop()
    assert len(order._owing) <= flows + 1
    assert len(order._owing_until) <= 2 * (flows + 1)
    drained(order)
    assert (order._owing, order._owing_until, order._flows) == ({}, [], {})
