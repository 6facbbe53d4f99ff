"""A line whose upstream is set otherwise while calls are in flight and others wait."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.policy.line import Limits, Line

MIDNIGHT = 50_000.0


def a_line(waiting: int = 0, now: float = 100.0, **limits: int) -> Line:
    """A line of one credential, unless said otherwise, where so many have asked already; numbered from 1."""
    line = Line(Limits(**{"keys": 1} | limits))
    line.begin_day(MIDNIGHT, is_new=True)
    for number in range(1, waiting + 1):
        ask(line, number, now)
    return line


def ask(line: Line, number: int, now: float = 100.0) -> list[int]:
    """Let one more ask; give those that got places."""
    line.enter(number, flow="key_a", weight=3, expected_s=40.0)
    return list(line.advance(now))


def test_a_retired_credential_takes_nothing_and_keeps_what_it_has() -> None:
    """What is in flight with it takes no place of the others, and its end frees none."""
    line = a_line(2, concurrency=1)
    line.follow(Limits(keys=2, concurrency=1), {0})
    assert (line.is_retired(0), line.is_retired(1), line.key_of(1)) == (True, False, 0)
    assert line.free(100.0) == 1
    assert list(line.advance(100.0)) == [2]
    assert (line.key_of(2), line.free(100.0)) == (1, 0)
    assert ask(line, 3) == []
    line.leave(1)
    assert (list(line.advance(100.0)), line.position_of(3)) == ([], 1)
    line.leave(2)
    assert list(line.advance(100.0)) == [3]
    assert repr(line) == "<Line 1 of 1 in flight, 0 waiting>"


def test_nothing_of_a_retired_credential_delays_an_estimate() -> None:
    """Neither its rest nor what it has in flight: with the other one there is a place at once."""
    line = a_line(1, keys=2, concurrency=1)
    line.rest(0, 900.0)
    line.follow(Limits(keys=2, concurrency=1), {0})
    assert line.ready_at(100.0) == 100.0
    assert line.estimate_s(1, now=100.0, expected_s=40.0) == 0.0
    assert math.isfinite(line.estimate_s(50, now=100.0, expected_s=40.0))


def test_a_retired_credential_that_comes_back_has_its_past() -> None:
    """What it has sent today, and its rest, are its vendor's to count, not ours to forget."""
    line = a_line(2, keys=2, per_day=1)
    line.rest(0, 300.0)
    line.follow(Limits(keys=2, per_day=1), {0})
    line.follow(Limits(keys=2, per_day=1), ())
    assert not line.is_retired(0)
    assert ask(line, 3) == []
    assert line.ready_at(100.0) == MIDNIGHT


def test_a_day_that_is_narrowed_below_what_was_sent_is_spent() -> None:
    """Nobody is sent more, and what is wider again is open again."""
    line = a_line(5, per_day=9)
    line.follow(Limits(keys=1, per_day=3), ())
    assert (line.free(100.0), line.ready_at(100.0)) == (0, MIDNIGHT)
    assert line.estimate_s(1, now=100.0, expected_s=40.0) == MIDNIGHT - 100.0
    line.follow(Limits(keys=1, per_day=6), ())
    assert line.free(100.0) == 1
    line.follow(Limits(keys=1), ())
    assert line.free(100.0) is None


@pytest.mark.parametrize(("before", "after", "due_s"), [(60, 6, 10.2), (6, 60, 1.02), (6, 0, 0.0), (0, 6, 0.0)])
def test_the_next_call_is_due_as_if_the_pace_had_been_this_one(before: int, after: int, due_s: float) -> None:
    """A slower pace counts from the last call, a faster one too; without one before, nothing is known of it."""
    line = a_line(1, per_minute=before)
    line.follow(Limits(keys=1, per_minute=after), ())
    assert ask(line, 2) == ([] if due_s else [2])
    if due_s:
        assert line.wakes_at(100.0) == pytest.approx(100.0 + due_s)


@given(
    steps=st.lists(
        st.tuples(st.integers(1, 3), st.sets(st.integers(0, 5)), st.integers(0, 3), st.integers(0, 9)), max_size=8
    )
)
def test_no_credential_has_more_in_flight_than_it_may_and_a_retired_one_nothing_new(
    steps: list[tuple[int, set[int], int, int]],
) -> None:
    """Whatever the settings become, in whatever order."""
    line, keys, number = a_line(), 1, 0
    for more, retired, concurrency, calls in steps:
        keys += more
        out = {key for key in retired if key < keys - 1}
        line.follow(Limits(keys=keys, concurrency=concurrency), out)
        list(line.advance(100.0))
        before = {each: line.key_of(each) for each in range(number)}
        for _ in range(calls):
            for given_place in ask(line, number):
                key = line.key_of(given_place)
                assert key not in out
                held = [each for each in range(number + 1) if line.key_of(each) == key]
                assert not concurrency or len(held) <= concurrency
            number += 1
        assert all(line.key_of(each) == key for each, key in before.items() if key is not None)
        assert line.ready_at(100.0) == 100.0
