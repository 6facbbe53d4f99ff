"""The queue wakes who waits: when somebody leaves, and when time has passed."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from holdfast.clock import SystemClock
from holdfast.engine.queue import Queue, Ticket
from holdfast.policy.line import Limits

MIDNIGHT = datetime(2026, 11, 28, tzinfo=UTC)


class Time(SystemClock):
    """Stands still until it is moved, half an hour before midnight; the loop's timers go by it."""

    def __init__(self) -> None:
        self.at = 100.0
        self.wall_s = 0.0
        """By how much the wall clock was put forward."""

    def monotonic(self) -> float:
        """Tell it."""
        return self.at

    def now(self) -> datetime:
        """The wall clock."""
        return MIDNIGHT + timedelta(seconds=self.at - 100.0 - 1800.0 + self.wall_s)

    async def jump(self, seconds: float) -> None:
        """Let it pass, and let ring what is due."""
        self.at += seconds
        for _ in range(3):
            await asyncio.sleep(0)


@pytest.fixture
async def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    """The running loop's time, in the test's hand."""
    made = Time()
    monkeypatch.setattr(asyncio.get_running_loop(), "time", made.monotonic)
    return made


def a_queue(time: Time, flow_places: int = 0, **limits: int) -> Queue:
    """Two upstreams: one as narrow as said, and one without limits."""
    narrow = Limits(**{"keys": 1, "concurrency": 1} | limits)
    return Queue({"narrow": narrow, "wide": Limits(keys=1)}, time, flow_places=flow_places)


def a_ticket(queue: Queue, upstream: str = "narrow", flow: str = "key_a", weight: int = 3) -> Ticket:
    """A number that has asked for a place."""
    ticket = queue.ticket(upstream, flow=flow, weight=weight, expected_s=45.0)
    queue.enter(ticket)
    return ticket


def sleeping(ticket: Ticket) -> asyncio.Future[None]:
    """Somebody who waits for a ticket's place."""
    ticket.sleeper = asyncio.get_running_loop().create_future()
    return ticket.sleeper


async def test_whoever_leaves_wakes_the_next(time: Time) -> None:
    """First come, first served; a ticket knows its key once it has a place."""
    queue = a_queue(time)
    first, second, third = (a_ticket(queue) for _ in range(3))
    assert [(each.key, each.position, each.is_waiting) for each in (first, second, third)] == [
        (0, None, False),
        (None, 1, True),
        (None, 2, True),
    ]
    sleeper = sleeping(second)
    assert repr(queue) == "<Queue 2 waiting at 1 upstreams>"
    first.leave()
    first.leave()
    assert sleeper.done()
    assert (second.key, third.position, first.key, queue.waiting) == (0, 1, None, 1)


async def test_one_who_leaves_the_middle_is_forgotten(time: Time) -> None:
    """Its sleeper is nobody's business any more."""
    queue = a_queue(time)
    first, second, third = (a_ticket(queue) for _ in range(3))
    sleeper = sleeping(second)
    second.leave()
    assert (third.position, queue.waiting, sleeper.done()) == (1, 1, False)
    first.leave()
    assert (third.key, second.key, sleeper.done()) == (0, None, False)


async def test_the_line_goes_on_by_itself_when_its_only_key_has_rested(time: Time) -> None:
    """And not before; nobody has to ask."""
    queue = a_queue(time)
    queue.rest("narrow", 0, time.at + 30.0)
    ticket = a_ticket(queue)
    sleeper = sleeping(ticket)
    assert (queue.ready_at("narrow"), queue.free("narrow"), ticket.position) == (130.0, 0, 1)
    await time.jump(29.0)
    assert not sleeper.done()
    await time.jump(1.0)
    assert sleeper.done()
    assert (ticket.key, queue.ready_at("narrow")) == (0, 130.0)


async def test_a_longer_rest_moves_the_timer_and_a_shorter_one_too(time: Time) -> None:
    """What was said last counts."""
    queue = a_queue(time)
    queue.rest("narrow", 0, time.at + 5.0)
    ticket = a_ticket(queue)
    queue.rest("narrow", 0, time.at + 50.0)
    await time.jump(20.0)
    assert ticket.position == 1
    queue.rest("narrow", 0, time.at)
    assert ticket.key == 0


async def test_the_other_key_serves_while_one_rests(time: Time) -> None:
    """Places are counted of each key; calls are spread over them."""
    queue = a_queue(time, keys=2)
    assert [a_ticket(queue).key for _ in range(3)] == [0, 1, None]
    queue = a_queue(time, keys=2)
    queue.rest("narrow", 0, time.at + 10.0)
    assert queue.free("narrow") == 1
    assert [a_ticket(queue).key for _ in range(2)] == [1, None]
    assert queue.ready_at("narrow") == time.at


async def test_what_is_in_flight_already_is_counted_with_its_key(time: Time) -> None:
    """Also beyond the limit."""
    queue = a_queue(time, keys=2)
    held = [queue.ticket("narrow", flow="key_a", weight=3, expected_s=45.0) for _ in range(2)]
    for ticket in held:
        queue.hold(ticket, 1)
    later = [a_ticket(queue) for _ in range(2)]
    assert [each.key for each in (*held, *later)] == [1, 1, 0, None]
    held[0].leave()
    assert later[1].key is None
    held[1].leave()
    assert later[1].key == 1


async def test_a_closed_queue_has_no_timers(time: Time) -> None:
    """Nothing rings after the end."""
    queue = a_queue(time)
    queue.rest("narrow", 0, time.at + 30.0)
    ticket = a_ticket(queue)
    queue.close()
    await time.jump(31.0)
    assert ticket.position == 1


async def test_who_arrives_is_counted_where_it_arrives(time: Time) -> None:
    """A crowd at one upstream takes nothing from the other but what it will take of the common room to wait."""
    limits = {"a": Limits(keys=1, concurrency=2), "b": Limits(keys=1, concurrency=1), "c": Limits(keys=1)}
    queue = Queue(limits, time)
    assert [queue.room(name, "key_a", 3) for name in "abc"] == [5, 4, None]
    with queue.arriving("a", "key_a", 2):
        assert [queue.room(name, "key_b", 3) for name in "abc"] == [3, 4, None]
        with queue.arriving("a", "key_b", 1), queue.arriving("c", "key_b", 100):
            assert [queue.room(name, "key_a", 3) for name in "abc"] == [2, 3, None]
    for _ in range(4):
        a_ticket(queue, "a")
    assert [queue.room(name, "key_a", 3) for name in "abc"] == [1, 2, None]
    assert not queue._arriving
    assert not queue._arriving_of


# What an API key may have in flight


async def test_an_api_key_waits_for_its_own_calls(time: Time) -> None:
    """At all upstreams together; others go by."""
    queue = a_queue(time, flow_places=2, concurrency=5)
    first, second = a_ticket(queue), a_ticket(queue, "wide")
    third, fourth = a_ticket(queue), a_ticket(queue, "wide")
    other = a_ticket(queue, flow="key_b")
    assert [each.key for each in (first, second, third, fourth, other)] == [0, 0, None, None, 0]
    assert [each.position for each in (third, fourth)] == [1, 1]
    # Its own two calls take 45 s; there are two of them.
    assert [each.estimate_s for each in (third, fourth, other)] == [22.5, 22.5, None]
    sleepers = [sleeping(third), sleeping(fourth)]
    first.leave()
    assert [each.done() for each in sleepers] == [True, False]
    second.leave()
    assert fourth.key == 0
    for each in (third, fourth, other):
        each.leave()
    assert not queue._in_flight


async def test_a_place_that_is_given_up_may_let_a_call_in_at_another_upstream(time: Time) -> None:
    """The API key's next call is wherever it is."""
    queue = a_queue(time, flow_places=1)
    first, second = a_ticket(queue), a_ticket(queue, "wide")
    sleeper = sleeping(second)
    first.leave()
    assert (sleeper.done(), second.key) == (True, 0)


async def test_more_may_go_on_than_an_api_key_may_have_now(time: Time) -> None:
    """Settings were narrowed: it waits until there is room again."""
    queue = a_queue(time, flow_places=1, concurrency=9)
    held = [queue.ticket("narrow", flow="key_a", weight=3, expected_s=45.0) for _ in range(3)]
    for ticket in held:
        queue.hold(ticket, 0)
    later = a_ticket(queue)
    for ticket in held:
        assert later.is_waiting
        ticket.leave()
    assert later.key == 0


async def test_room_is_what_is_left_to_the_api_key(time: Time) -> None:
    """Where the upstream has no limit too; those that arrive are counted."""
    queue = a_queue(time, flow_places=2)
    assert (queue.room("wide", "key_a", 3), queue.room("narrow", "key_a", 3)) == (5, 4)
    a_ticket(queue, "wide")
    with queue.arriving("narrow", "key_a", 1):
        assert (queue.room("wide", "key_a", 3), queue.room("wide", "key_b", 3)) == (3, 5)


# Minutes and days


async def test_a_minute_moves_the_line_by_itself(time: Time) -> None:
    """Six a minute: one each ten seconds and a fifth, whoever leaves."""
    queue = a_queue(time, concurrency=0, per_minute=6)
    tickets = [a_ticket(queue) for _ in range(3)]
    sleepers = [sleeping(each) for each in tickets]
    assert [each.estimate_s for each in tickets] == [None, pytest.approx(10.2), pytest.approx(20.4)]
    await time.jump(10.1)
    assert not sleepers[1].done()
    await time.jump(0.2)
    assert [each.done() for each in sleepers[1:]] == [True, False]
    await time.jump(60.0)
    assert tickets[2].key == 0


async def test_what_was_sent_before_a_start_is_counted(time: Time) -> None:
    """Of the minute, and of the day."""
    queue = a_queue(time, concurrency=0, per_minute=6, per_day=3)
    queue.remember("narrow", 0, sent_at=[95.0], sent_today=2)
    tickets = [a_ticket(queue) for _ in range(2)]
    assert tickets[0].estimate_s == pytest.approx(5.2)
    await time.jump(5.3)
    assert tickets[0].key == 0
    assert tickets[1].estimate_s == pytest.approx(1800.0 - 5.3)
    assert queue.ready_at("narrow") == pytest.approx(1900.0)


async def test_a_new_day_lets_the_line_go_on(time: Time) -> None:
    """At midnight, UTC, by itself."""
    queue = a_queue(time, concurrency=0, per_day=1)
    a_ticket(queue)
    ticket = a_ticket(queue)
    sleeper = sleeping(ticket)
    await time.jump(1799.0)
    assert not sleeper.done()
    await time.jump(1.5)
    assert sleeper.done()


async def test_a_wall_clock_that_is_put_back_gives_no_day_away(time: Time) -> None:
    """What was counted stays counted until the next midnight."""
    queue = a_queue(time, concurrency=0, per_day=1)
    await time.jump(1900.0)
    a_ticket(queue)
    time.wall_s = -3600.0
    ticket = a_ticket(queue)
    await time.jump(700.0)
    assert ticket.is_waiting
    # For the midnight that seemed to have been already.
    assert ticket.estimate_s == pytest.approx(1800.0 + 3600.0 - 1900.0 - 700.0)
    await time.jump(2801.0)
    assert ticket.key == 0


# What is told


async def test_an_estimate_is_of_those_who_wait(time: Time) -> None:
    """By the calls in flight; and when the line should have moved, for whoever is sent away."""
    queue = a_queue(time)
    tickets = [a_ticket(queue) for _ in range(3)]
    await time.jump(5.0)
    assert [each.estimate_s for each in tickets] == [None, 40.0, 85.0]
    assert queue.room_in_s("narrow", 45.0) == 40.0
    for _ in range(300):
        a_ticket(queue)
    assert queue.room_in_s("narrow", 45.0) == 40.0 + 3 * 45.0
    assert queue.room_in_s("wide", 45.0) == 0.0


async def test_a_repeat_stands_where_it_stood(time: Time) -> None:
    """Its API key has had its turn and is not charged twice; another's call that came before it waited later."""
    queue = a_queue(time)
    first, second, other = a_ticket(queue), a_ticket(queue), a_ticket(queue, flow="key_b")
    first.leave()
    assert (second.key, other.position) == (0, 1)
    queue.enter(first)
    assert (first.position, other.position) == (1, 2)
    second.leave()
    assert first.key == 0
