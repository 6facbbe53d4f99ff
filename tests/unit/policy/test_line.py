"""A line's credentials, its clocks, and what it tells those who wait."""

from __future__ import annotations

import pytest

from holdfast.policy.line import Limits, Line
from holdfast.policy.rates import MINUTE_S

MIDNIGHT = 50_000.0


def a_line(waiting: int = 0, now: float = 100.0, **limits: int) -> Line:
    """A line of one credential, unless said otherwise, where so many have asked already; numbered from 1."""
    line = Line(Limits(**{"keys": 1} | limits))
    line.begin_day(MIDNIGHT, is_new=True)
    for number in range(1, waiting + 1):
        ask(line, number, now)
    return line


def ask(line: Line, number: int, now: float = 100.0, *, flow: str = "key_a", expected_s: float = 40.0) -> list[int]:
    """Let one more ask; give those that got places."""
    line.enter(number, flow=flow, weight=3, expected_s=expected_s)
    return list(line.advance(now))


def test_calls_are_spread_over_the_credentials() -> None:
    """The least busy one; of equals the one that has sent less, then the first."""
    line = a_line(keys=3)
    for number in range(4):
        ask(line, number)
    assert [line.key_of(number) for number in range(4)] == [0, 1, 2, 0]
    for number in range(4):
        line.leave(number)
    ask(line, 4)
    assert line.key_of(4) == 1


def test_a_resting_credential_takes_nothing_and_keeps_what_it_has() -> None:
    """The others do its work; the last word on a rest counts."""
    line = a_line(2, keys=2, concurrency=2)
    line.rest(0, 130.0)
    assert (line.free(100.0), line.ready_at(100.0), line.key_of(1)) == (1, 100.0, 0)
    assert (ask(line, 3), ask(line, 4)) == ([3], [])
    assert (line.key_of(3), line.wakes_at(100.0), line.position_of(4)) == (1, 130.0, 1)
    line.rest(1, 120.0)
    assert (line.ready_at(100.0), line.free(100.0)) == (120.0, 0)
    line.rest(0, 90.0)
    assert (list(line.advance(100.0)), line.ready_at(100.0)) == ([4], 100.0)


def test_a_minute_is_kept_of_each_credential() -> None:
    """Two of six a minute: two at once, then two each tenth of it."""
    line = a_line(6, keys=2, per_minute=6)
    assert [line.key_of(number) for number in range(1, 7)] == [0, 1, None, None, None, None]
    assert line.wakes_at(100.0) == pytest.approx(110.2)
    assert list(line.advance(110.0)) == []
    assert list(line.advance(110.21)) == [3, 4]
    assert line.free(110.21) == 0
    # The pace of a minute is no rest.
    assert line.ready_at(110.21) == 110.21


def test_a_place_that_is_given_up_gives_no_call_back() -> None:
    """The upstream has counted it."""
    line = a_line(2, per_minute=6, concurrency=1)
    line.leave(1)
    assert list(line.advance(101.0)) == []
    assert list(line.advance(110.3)) == [2]


def test_a_place_that_is_given_back_unsent_takes_none_of_the_day() -> None:
    """The upstream has not seen it; whoever only waits gives nothing back, and a new day owes nothing."""
    line = a_line(3, keys=1, per_day=2)
    assert line.give_back(1)
    assert list(line.advance(100.0)) == [3]
    assert not line.give_back(1)
    line.begin_day(MIDNIGHT + 86_400.0, is_new=True)
    assert line.give_back(2)
    assert line.free(MIDNIGHT) == 2


def test_a_day_is_kept_of_each_credential() -> None:
    """Spent, it waits for midnight, UTC; then there is a new one."""
    line = a_line(5, keys=2, per_day=2)
    assert [line.position_of(number) for number in range(1, 6)] == [None] * 4 + [1]
    assert (line.free(100.0), line.ready_at(100.0), line.wakes_at(100.0)) == (0, MIDNIGHT, MIDNIGHT)
    assert line.estimate_s(1, now=100.0, expected_s=40.0) == MIDNIGHT - 100.0
    line.begin_day(MIDNIGHT + 86_400.0, is_new=False)
    assert list(line.advance(MIDNIGHT)) == []
    line.begin_day(MIDNIGHT + 86_400.0, is_new=True)
    assert (list(line.advance(MIDNIGHT)), line.free(MIDNIGHT)) == ([5], 3)


def test_what_an_earlier_process_has_sent_is_counted() -> None:
    """Of the minute and of the day; each credential has its own past."""
    line = a_line(keys=2, per_minute=6, per_day=10)
    line.remember(0, now=100.0, sent_at=[85.0, 95.2], sent_today=10)
    line.remember(1, now=100.0, sent_at=[95.0], sent_today=3)
    assert ask(line, 1) == []
    assert line.wakes_at(100.0) == pytest.approx(105.2)
    assert list(line.advance(105.3)) == [1]
    assert (line.key_of(1), line.free(200.0)) == (1, 1)
    line = a_line(keys=1)
    line.remember(0, now=100.0, sent_at=[99.0], sent_today=10)
    assert ask(line, 1) == [1]


def test_free_is_what_the_narrowest_limit_leaves() -> None:
    """Of slots, minute and day."""
    assert a_line(keys=2).free(100.0) is None
    assert a_line(keys=2, concurrency=3).free(100.0) == 6
    assert a_line(keys=2, concurrency=3, per_minute=60).free(100.0) == 2
    assert a_line(1, keys=2, per_day=2).free(100.0) == 3


@pytest.mark.parametrize(
    ("position", "expected_s"),
    [(1, 30.0), (2, 40.0), (3, 30.0 + 40.0), (4, 40.0 + 40.0), (5, 30.0 + 80.0)],
)
def test_an_estimate_counts_the_calls_in_flight(position: int, expected_s: float) -> None:
    """Two places, calls of 40 s, one of them ten seconds old: as its place, and the other, come round."""
    line = a_line(keys=1, concurrency=2)
    ask(line, 1, 90.0)
    ask(line, 2, 100.0)
    assert line.estimate_s(position, now=100.0, expected_s=1.0) == pytest.approx(expected_s)


def test_an_estimate_of_an_idle_upstream_is_nothing() -> None:
    """Free places first; then it is as long as a call takes."""
    line = a_line(concurrency=2)
    assert [line.estimate_s(at, now=100.0, expected_s=40.0) for at in (1, 2, 3, 5)] == [0.0, 0.0, 40.0, 80.0]
    assert a_line().estimate_s(1000, now=100.0, expected_s=40.0) == 0.0


def test_an_overdue_call_may_end_any_moment() -> None:
    """Its place is expected now, not in the past."""
    line = a_line(1, concurrency=1)
    assert [line.estimate_s(at, now=500.0, expected_s=40.0) for at in (1, 2)] == [0.0, 40.0]


def test_more_in_flight_than_there_are_places_end_first() -> None:
    """Settings were narrowed: three go on, one place; the first to have it is whoever is left after two have ended."""
    line = a_line(concurrency=1)
    for number, since in enumerate((70.0, 80.0, 90.0)):
        line.hold(number, 0, now=since, expected_s=40.0)
    assert [line.estimate_s(at, now=100.0, expected_s=40.0) for at in (1, 2)] == [30.0, 70.0]


def test_an_estimate_counts_the_minute_and_the_rests() -> None:
    """Two credentials, one of which rests: half the pace until then."""
    line = a_line(keys=2, per_minute=6)
    line.rest(1, 150.0)
    assert [line.estimate_s(at, now=100.0, expected_s=40.0) for at in (1, 2)] == pytest.approx([0.0, 10.2])
    ask(line, 1)
    estimates = [line.estimate_s(at, now=100.0, expected_s=40.0) for at in (1, 2, 3)]
    assert estimates == pytest.approx([10.2, 20.4, 30.6])
    far = [line.estimate_s(at, now=100.0, expected_s=40.0) for at in (6, 8)]
    assert far[1] - far[0] == pytest.approx(10.2)
    line.rest(0, 400.0)
    line.rest(1, 400.0)
    both = [line.estimate_s(at, now=100.0, expected_s=40.0) for at in (1, 2, 3)]
    assert both == pytest.approx([300.0, 300.0, 310.2])


def test_a_free_place_of_a_resting_credential_is_free_when_it_has_rested() -> None:
    """The other one is busy: whichever comes first."""
    line = a_line(1, keys=2, concurrency=1)
    line.rest(1, 120.0)
    assert [line.estimate_s(at, now=100.0, expected_s=40.0) for at in (1, 2, 3)] == [20.0, 40.0, 60.0]


def test_a_day_that_is_nearly_spent_is_told_to_those_behind() -> None:
    """Two calls are left today: the third is told midnight."""
    line = a_line(keys=1, per_day=2)
    assert [line.estimate_s(at, now=100.0, expected_s=40.0) for at in (2, 3)] == [0.0, MIDNIGHT - 100.0]


def test_a_barred_flow_gets_no_place() -> None:
    """However many are free; let in, it goes on."""
    line = a_line()
    line.bar("key_a")
    assert (ask(line, 1), ask(line, 2, flow="key_b")) == ([], [2])
    line.let_in("key_a")
    assert list(line.advance(100.0)) == [1]


def test_a_repeat_stands_where_it_stood() -> None:
    """Before all that had no place, and its minute is counted anew."""
    line = a_line(3, concurrency=1)
    line.leave(1)
    assert list(line.advance(100.0)) == [2]
    line.enter(1, flow="key_a", weight=3, expected_s=40.0, again=True)
    assert [line.position_of(number) for number in (1, 3)] == [1, 2]
    assert line.place_in_flow(3) == 1


def test_limits_that_make_no_sense_are_our_mistake() -> None:
    """Settings are checked before."""
    for wrong in ({"keys": 0}, {"keys": 1, "concurrency": -1}, {"keys": 1, "per_day": -1}):
        with pytest.raises(AssertionError):
            Limits(**wrong)
    pace = Limits(keys=1, per_minute=60).pace
    assert pace is not None
    assert pace.interval_s == MINUTE_S / 60


def test_credentials_an_interval_apart_are_counted_in_all_the_same() -> None:
    """Where a sum of seconds is rounded, nobody is kept waiting for ever."""
    line = a_line(keys=3, per_minute=3)
    line.rest(1, 100.0 + 20.4)
    line.rest(2, 100.0 + 20.4 + 20.4)
    told = [line.estimate_s(at, now=100.0, expected_s=40.0) for at in range(1, 8)]
    assert told == pytest.approx([0.0, 20.4, 20.4, 40.8, 40.8, 40.8, 61.2])


# A place at once


@pytest.mark.parametrize("limits", [Limits(keys=2), Limits(keys=2, concurrency=2, per_minute=60, per_day=5)])
def test_a_place_at_once_is_the_one_that_standing_in_line_would_have_given(limits: Limits) -> None:
    """The same credential, and the same is free afterwards."""
    taken, stood = Line(limits), Line(limits)
    for number in range(4):
        now = 10.0 * number
        key = taken.take(number, now=now, expected_s=9.0)
        stood.enter(number, flow="a", weight=1, expected_s=9.0)
        assert list(stood.advance(now)) == [number]
        assert key == stood.key_of(number) == taken.key_of(number)
        assert taken.free(now) == stood.free(now)
        assert taken.wakes_at(now) == stood.wakes_at(now)
        assert repr(taken) == repr(stood)


def test_nobody_is_passed_over_by_a_place_at_once() -> None:
    """While somebody waits, or nothing is free, there is none, and nothing has changed."""
    line = Line(Limits(keys=1, concurrency=1))
    assert line.take(1, now=0.0, expected_s=9.0) == 0
    assert line.take(2, now=0.0, expected_s=9.0) is None
    line.enter(3, flow="a", weight=1, expected_s=9.0)
    assert line.leave(1)
    assert line.take(4, now=0.0, expected_s=9.0) is None
    assert list(line.advance(0.0)) == [3]
    assert line.key_of(2) is None
    assert line.waiting == 0


def test_a_credential_that_rests_gives_no_place_at_once() -> None:
    """Until it has rested."""
    line = Line(Limits(keys=1))
    line.rest(0, 5.0)
    assert line.take(1, now=4.9, expected_s=9.0) is None
    assert line.take(1, now=5.0, expected_s=9.0) == 0


def test_a_line_is_closed_while_the_day_of_every_credential_is_spent() -> None:
    """Until midnight; the pace of a minute and a rest close nothing."""
    line = a_line(1, keys=2, per_day=1, per_minute=6)
    line.rest(1, 400.0)
    assert (line.counts_days, line.closed_until) == (True, 0.0)
    line.rest(1, 0.0)
    ask(line, 2)
    assert line.closed_until == MIDNIGHT
    line.begin_day(MIDNIGHT + 86_400.0, is_new=True)
    assert line.closed_until == 0.0
    assert not a_line(1, concurrency=1).counts_days
