"""Who keeps its place through a pause: a body that flows does, one that trickles does not.

`small` makes the buffers 16 bytes long.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast.transport.pump import FLUSH_S, PAUSE_S

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
FLOWING = 16
pytestmark = pytest.mark.usefixtures("small")


def length(bytes_: int) -> bytes:
    """A head that announces a body."""
    return OK + b"Content-Length: %d\r\n\r\n" % bytes_


def text(bytes_: int) -> bytes:
    """A body no two pieces of which are alike."""
    return b"".join(b"%06d," % at for at in range(bytes_ // 7 + 1))[:bytes_]


async def works_off(made: Any) -> None:
    """Let the thread do whatever there is."""
    while made.threads.jobs:
        await made.work()


@pytest.fixture
def flows(monkeypatch: pytest.MonkeyPatch) -> None:
    """One buffer is enough to pass for a body that flows."""
    monkeypatch.setattr("holdfast.transport.pump.FLOW_BYTES", FLOWING)


async def test_a_body_that_trickles_gives_its_place_back_between_two_drops(rig: Any) -> None:
    """A byte every 0.4 s is no pause of 0.5 s; it would hold 2 MB for as long as slow bodies are given."""
    made, sink = rig(), rig.Kept()
    made.deliver(length(5))
    task = await made.start(sink)
    for count, drop in enumerate((b"a", b"b", b"c", b"d")):
        made.deliver(drop)
        await made.turn()
        assert not made.is_empty
        made.flush()
        await works_off(made)
        made.flush(silent_s=FLUSH_S if count > 1 else 0.4)
        await made.turn()
        assert made.is_empty is (count > 0), "the first pause is anybody's"
        assert not made.connection.is_paused
    assert sink.rests == 3
    made.deliver(b"e")
    await made.turn()
    await works_off(made)
    await task
    assert sink.body == b"abcde"
    assert made.is_empty


async def test_drops_that_leave_no_pause_hold_no_place_either(rig: Any) -> None:
    """One every 40 ms: there is always something to hand over, and never anything worth 2 MB."""
    made, sink = rig(), rig.Kept()
    made.deliver(length(40))
    task = await made.start(sink)
    for _ in range(13):
        made.deliver(b"x")
        await made.turn()
        made.flush(silent_s=0.04)
        await works_off(made)
    assert made.deliver(b"y") == 1, "left to the kernel, so that there is a pause"
    assert not made.is_empty
    made.flush(silent_s=FLUSH_S)
    assert made.is_empty
    await made.turn()
    assert made.deliver() == 0
    await made.turn()
    assert not made.is_empty
    made.deliver(b"z" * 26)
    await made.turn()
    await works_off(made)
    await task
    assert sink.body == b"x" * 13 + b"y" + b"z" * 26
    assert made.is_empty


@pytest.mark.parametrize("bytes_", [FLOWING, FLOWING // 2 - 1])
async def test_a_pause_is_waited_out_again_once_enough_has_come(rig: Any, flows: None, bytes_: int) -> None:
    """A busy upstream stutters all the way through a body; its place is kept each time that it has moved on."""
    made, sink, body = rig(), rig.Kept(), text(3 * bytes_)
    made.deliver(length(1000))
    task = await made.start(sink)
    for at in range(0, len(body), bytes_):
        made.deliver(body[at : at + bytes_])
        await made.turn()
        made.flush(silent_s=0.1)
        await works_off(made)
        made.flush(silent_s=PAUSE_S - 0.15)
        await made.turn()
        assert made.is_empty is (bytes_ < FLOWING and at == bytes_)
    assert sink.body == body
    task.cancel()
    await made.turn()
    assert made.is_empty


async def test_a_body_that_flowed_is_waited_for_again_when_it_comes_back(rig: Any, flows: None) -> None:
    """A long pause took its place from it; what it brings then need not be much at once."""
    made, sink = rig(), rig.Kept()
    made.deliver(length(1000))
    task = await made.start(sink)
    made.deliver(text(FLOWING))
    await made.turn()
    await works_off(made)
    made.flush(silent_s=PAUSE_S)
    await made.turn()
    assert made.is_empty
    for waits in ((PAUSE_S - 0.1, FLUSH_S), (FLUSH_S,)):
        made.deliver(b"x")
        await made.turn()
        made.flush()
        await works_off(made)
        for silent_s in waits:
            assert not made.is_empty
            made.flush(silent_s=silent_s)
            await made.turn()
        assert made.is_empty, "once in vain, and it is a trickle"
    task.cancel()
    await made.turn()


async def test_whoever_waits_gets_the_place_of_a_body_that_trickles(rig: Any) -> None:
    """And the trickle goes on in between, before all that have not begun."""
    made, sink = rig(budget_bytes=32), rig.Kept()
    made.deliver(CHUNKED)
    task = await made.start(sink)
    made.deliver(b"1\r\na\r\n")
    await made.turn()
    first, second = [asyncio.create_task(made.budget.acquire(32)) for _ in range(2)]
    made.flush(silent_s=0.1)
    await works_off(made)
    made.flush(silent_s=0.4)
    await made.turn()
    assert first.done()
    made.deliver(b"1\r\nb\r\n")
    await made.turn()
    made.budget.release(32)
    await made.turn()
    assert not second.done(), "who has begun goes first"
    made.flush()
    await works_off(made)
    made.flush()
    await made.turn()
    assert second.done(), "and not for long"
    made.budget.release(32)
    made.deliver(b"0\r\n\r\n")
    await task
    assert sink.body == b"ab"


async def test_a_slow_disk_of_ours_takes_nobodys_place(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both buffers stood full for longer than a pause is waited out: what did not come meanwhile, we did not read."""
    monkeypatch.setattr("holdfast.transport.pump.FLOW_BYTES", 1000)
    made, sink, body = rig(), rig.Kept(), text(33)
    made.deliver(length(100))
    task = await made.start(sink)
    made.deliver(body[:1])
    await made.turn()
    made.deliver(body[1:])
    assert made.connection.is_paused
    made.flush(silent_s=2 * PAUSE_S)
    await works_off(made)
    made.deliver()
    await made.turn()
    made.flush(silent_s=FLUSH_S)
    await works_off(made)
    assert sink.body == body
    made.flush(silent_s=PAUSE_S - 0.1)
    await made.turn()
    assert not made.is_empty
    task.cancel()
    await made.turn()
    assert made.is_empty
