"""One caller waiting: silence, then 200 and beats, until its generation ends or it leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from holdfast.gateway.beats import Ticket
from holdfast.gateway.hold import Hold
from holdfast.policy.heartbeats import Schedule

HEAD = [(b"generation-id", b"gen_1")]


class FakeWheel:
    """Keeps who waits, and ticks when told."""

    def __init__(self) -> None:
        self.added: list[tuple[float, Ticket]] = []

    def add(self, after_s: float, tick: Callable[[], float | None]) -> Ticket:
        """Keep."""
        ticket = Ticket(tick)
        self.added.append((after_s, ticket))
        return ticket

    def turn(self) -> list[float | None]:
        """Tick everybody once; give what they say."""
        return [ticket.tick() for _, ticket in self.added if ticket.tick is not None]


class FakeCall:
    """A connection that takes what it is given, unless it is full."""

    def __init__(self, http_version: str = "1.1") -> None:
        self.http_version = http_version
        self.protocol = SimpleNamespace(on_lost=None)
        self.has_left = False
        self.is_full = False
        self.received_at = asyncio.get_running_loop().time()
        self.written: list[Any] = []

    def start_now(self, headers: Any, first: bytes) -> bool:
        """Take head and first bytes."""
        if self.is_full:
            return False
        self.written.append((list(headers), first))
        return True

    def write_now(self, data: bytes) -> bool:
        """Take bytes."""
        if self.is_full:
            return False
        self.written.append(data)
        return True

    def leave(self) -> None:
        """Be gone, as the connection tells it."""
        self.has_left = True
        self.protocol.on_lost()


def a_hold(call: FakeCall, wheel: FakeWheel, *, first_beat_s: float | None = 20.0, **more: Any) -> Hold:
    """Make a hold with the usual schedule."""
    schedule = Schedule(first_beat_s=first_beat_s, beat_s=10.0)
    return Hold(call, wheel, schedule, head=lambda: list(HEAD), **more)  # type: ignore[arg-type]


async def test_nothing_is_sent_before_the_first_beat() -> None:
    """The true status stays free as long as the silence lasts."""
    call, wheel = FakeCall(), FakeWheel()
    with a_hold(call, wheel) as hold:
        assert call.written == []
        assert not hold.committed
        assert [after_s for after_s, _ in wheel.added] == [pytest.approx(20.0, abs=0.1)]


async def test_the_first_beat_commits_and_the_next_ones_are_line_feeds() -> None:
    """Head and first byte travel together, since nginx forwards no head before a body byte."""
    call, wheel = FakeCall(), FakeWheel()
    with a_hold(call, wheel) as hold:
        assert wheel.turn() == [10.0]
        assert hold.committed
        assert wheel.turn() == [10.0]
        assert call.written == [(HEAD, b"\n"), b"\n"]


async def test_to_http_1_0_each_beat_fills_a_buffer_of_a_hop_behind() -> None:
    """Which holds back what does not; white space it is all the same."""
    call, wheel = FakeCall("1.0"), FakeWheel()
    with a_hold(call, wheel):
        wheel.turn()
        wheel.turn()
        assert call.written == [(HEAD, b"\n" * 4_096), b"\n" * 4_096]


async def test_the_silence_counts_from_the_head_of_the_request() -> None:
    """The caller's idle timers began then: seconds spent on reading its body are gone."""
    call, wheel = FakeCall(), FakeWheel()
    call.received_at -= 15.0
    with a_hold(call, wheel):
        assert wheel.added[0][0] == pytest.approx(5.0, abs=0.1)


async def test_a_body_read_slower_than_the_silence_is_beaten_for_at_once() -> None:
    """The first beat is overdue, never due in the past."""
    call, wheel = FakeCall(), FakeWheel()
    call.received_at -= 60.0
    with a_hold(call, wheel):
        assert wheel.added[0][0] == 0.0


async def test_a_caller_who_wants_no_beats_gets_none() -> None:
    """`Prefer: heartbeat=0` waits for the true status, however long."""
    call, wheel = FakeCall(), FakeWheel()
    with a_hold(call, wheel, first_beat_s=None):
        assert wheel.added == []


async def test_a_full_connection_is_not_committed_and_is_tried_again() -> None:
    """A head that was not taken is no head: the status is still free."""
    call, wheel = FakeCall(), FakeWheel()
    call.is_full = True
    with a_hold(call, wheel) as hold:
        assert wheel.turn() == [10.0]
        assert not hold.committed
        call.is_full = False
        wheel.turn()
        assert hold.committed
        assert call.written == [(HEAD, b"\n")]


async def test_commit_is_spent_once() -> None:
    """A preview and a beat may both want it; two heads in one answer would corrupt it."""
    call, wheel = FakeCall(), FakeWheel()
    commits: list[int] = []
    with a_hold(call, wheel, on_commit=lambda: commits.append(1)) as hold:
        hold.commit()
        hold.commit()
        wheel.turn()
    assert [written for written in call.written if isinstance(written, tuple)] == [(HEAD, b"\n")]
    assert commits == [1]


async def test_quiet_means_no_more_beats() -> None:
    """The image is about to flow, and a line feed inside base64 is refused by SDKs."""
    call, wheel = FakeCall(), FakeWheel()
    with a_hold(call, wheel) as hold:
        wheel.turn()
        hold.quiet()
        assert wheel.turn() == []
    assert len(call.written) == 1


async def test_no_beat_falls_into_something_else_that_is_written() -> None:
    """A preview goes out in pieces; afterwards, also when it broke, the caller is beaten for again."""
    call, wheel = FakeCall(), FakeWheel()
    with a_hold(call, wheel) as hold:
        hold.commit()
        with pytest.raises(OSError, match="gone"), hold.paused():
            assert wheel.turn() == [10.0]
            raise OSError("the preview's file is gone")
        assert call.written == [(HEAD, b"\n")]
        wheel.turn()
        assert call.written == [(HEAD, b"\n"), b"\n"]


async def test_an_end_wakes_the_sleeper() -> None:
    """The generation ended: its caller is told now, not at the next beat."""
    call, wheel = FakeCall(), FakeWheel()
    with a_hold(call, wheel) as hold:
        sleeping = asyncio.create_task(hold.sleep())
        await asyncio.sleep(0)
        assert not sleeping.done()
        hold.wake()
        await sleeping
        assert not hold.left


async def test_a_wake_before_the_sleep_is_not_lost() -> None:
    """A generation may end between its acceptance and the first wait."""
    call, wheel = FakeCall(), FakeWheel()
    with a_hold(call, wheel) as hold:
        hold.wake()
        hold.wake()
        await hold.sleep()
        again = asyncio.create_task(hold.sleep())
        await asyncio.sleep(0)
        assert not again.done()
        again.cancel()
        await asyncio.gather(again, return_exceptions=True)


async def test_a_caller_that_leaves_wakes_the_sleeper_and_is_beaten_for_no_more() -> None:
    """Told at once, by the connection: nothing polls."""
    call, wheel = FakeCall(), FakeWheel()
    with a_hold(call, wheel) as hold:
        sleeping = asyncio.create_task(hold.sleep())
        await asyncio.sleep(0)
        call.leave()
        await sleeping
        assert hold.left
        assert wheel.turn() == []
        await hold.sleep()


async def test_a_caller_that_left_before_it_was_held_is_not_waited_for() -> None:
    """Its connection will tell nothing more."""
    call, wheel = FakeCall(), FakeWheel()
    call.has_left = True
    with a_hold(call, wheel) as hold:
        await hold.sleep()
        assert hold.left


async def test_a_cancelled_sleep_can_be_slept_again() -> None:
    """A shutdown that cancels the wait leaves no future behind that a late wake would trip over."""
    call, wheel = FakeCall(), FakeWheel()
    with a_hold(call, wheel) as hold:
        sleeping = asyncio.create_task(hold.sleep())
        await asyncio.sleep(0)
        sleeping.cancel()
        await asyncio.gather(sleeping, return_exceptions=True)
        hold.wake()
        await hold.sleep()


async def test_afterwards_the_connection_knows_nobody() -> None:
    """A kept connection outlives the call: its loss must not wake what is over."""
    call, wheel = FakeCall(), FakeWheel()
    with a_hold(call, wheel):
        assert call.protocol.on_lost is not None
    assert call.protocol.on_lost is None
    assert wheel.turn() == []
