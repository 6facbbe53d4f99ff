"""From the connection to the sink: two buffers, a thread that works when the test says so, and every race between them.

`small` makes the buffers 16 bytes long.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import weakref
from typing import Any

import pytest

from holdfast.transport.connection import Broken
from holdfast.transport.pump import OWED_S, PAUSE_S, BodyTooLarge, OwnTime
from holdfast.transport.reply import Garbage

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
CLOSE = OK + b"\r\n"
pytestmark = pytest.mark.usefixtures("small")


def length(bytes_: int) -> bytes:
    """A head that announces a body."""
    return OK + b"Content-Length: %d\r\n\r\n" % bytes_


def text(bytes_: int) -> bytes:
    """A body no two pieces of which are alike."""
    return b"".join(b"%06d," % at for at in range(bytes_ // 7 + 1))[:bytes_]


async def works_off(made: Any) -> None:
    """Let the thread do whatever there is, and the socket bring whatever is read."""
    while made.threads.jobs or made.wire.unread:
        if made.threads.jobs:
            await made.work()
        before = len(made.wire.unread)
        made.deliver()
        await made.turn()
        assert made.threads.jobs or len(made.wire.unread) < before or not made.wire.unread, "nobody reads on"


@pytest.mark.parametrize("bytes_", [1, 2, 15, 16, 17, 31, 32, 33, 48, 64, 1000])
@pytest.mark.parametrize("early", [0, 1, 16, 1000])
async def test_a_body_of_any_length_arrives(rig: Any, bytes_: int, early: int) -> None:
    """Exactly one buffer, exactly two, one byte off either; the first of it with the head, or all of it."""
    made, sink, body = rig(), rig.Kept(), text(bytes_)
    made.deliver(length(bytes_) + body[:early])
    task = await made.start(sink)
    made.deliver(body[early:])
    await made.turn()
    await works_off(made)
    pump = await task
    assert sink.body == body
    assert pump.body_bytes == bytes_
    assert made.is_empty


@pytest.mark.parametrize("step", [1, 5, 1000])
async def test_chunks_of_any_size_arrive(rig: Any, step: int) -> None:
    """Smaller than a buffer, larger, and across two of them."""
    made, sink = rig(), rig.Kept()
    parts = [text(3), text(16), text(50), text(1), text(7)]
    wire = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    made.deliver(CHUNKED + wire, step=step)
    task = await made.start(sink)
    await works_off(made)
    await task
    assert sink.body == b"".join(parts)
    assert made.is_empty


async def test_both_buffers_full_means_that_nothing_is_read(rig: Any) -> None:
    """One with the thread, one waiting: the third stays with the kernel until the thread comes back."""
    made, sink, body = rig(), rig.Kept(), text(60)
    made.deliver(length(60))
    task = await made.start(sink)
    made.deliver(body[:1])
    await made.turn()
    assert made.deliver(body[1:]) == 28
    assert len(made.threads.jobs) == 1
    assert made.pool.out == 2
    await made.work()
    assert made.deliver() == 12
    assert made.connection.is_paused
    await works_off(made)
    await task
    assert sink.batches == [body[:16], body[16:32], body[32:48], body[48:]]


async def test_the_end_may_come_while_the_thread_works(rig: Any) -> None:
    """The last piece waits for its turn: two threads inside one sink would write an image in the wrong order."""
    made, sink, body = rig(), rig.Kept(), text(20)
    made.deliver(CLOSE)
    task = await made.start(sink)
    made.deliver(body[:1])
    await made.turn()
    made.deliver(body[1:])
    made.connection.eof_received()
    await made.turn()
    assert len(made.threads.jobs) == 1
    assert not task.done()
    await made.work()
    assert len(made.threads.jobs) == 1
    await made.work()
    await task
    assert sink.batches == [body[:16], body[16:]]
    assert made.is_empty


@pytest.mark.parametrize("how", ["eof", "lost", "idle"])
async def test_an_end_while_both_buffers_are_full_loses_neither(rig: Any, how: str) -> None:
    """What had come is fed before anybody says that the rest is missing."""
    made, sink, body = rig(), rig.Kept(), text(32)
    made.deliver(length(99))
    task = await made.start(sink)
    made.deliver(body[:1])
    await made.turn()
    made.deliver(body[1:])
    assert made.connection.is_paused
    match how:
        case "eof":
            made.connection.eof_received()
        case "lost":
            made.connection.connection_lost(ConnectionResetError(errno.ECONNRESET, "reset"))
        case _:
            made.connection.fail(Broken("silent"))
    await made.turn()
    await works_off(made)
    with pytest.raises(Broken):
        await task
    assert sink.body == body
    assert made.is_empty


async def test_a_loss_behind_the_document_is_none(rig: Any) -> None:
    """The sink has all it needs; a reset or a missing last chunk is the upstream's untidiness."""
    for end in (b"zz\r\n", b""):
        made, sink = rig(), rig.Kept(complete_at=20)
        made.deliver(CHUNKED + b"14\r\n" + text(20) + b"\r\n" + end)
        task = await made.start(sink)
        made.deliver()
        made.connection.connection_lost(ConnectionResetError(errno.ECONNRESET, "reset"))
        await works_off(made)
        assert (await task).is_complete
        assert sink.body == text(20)
        assert made.is_empty


async def test_a_broken_chunk_is_told_once_the_rest_is_fed(rig: Any) -> None:
    """Garbage behind good bytes."""
    made, sink = rig(), rig.Kept()
    made.deliver(CHUNKED + b"2\r\n{}\r\nzz\r\n")
    task = await made.start(sink)
    await works_off(made)
    with pytest.raises(Garbage, match="chunk"):
        await task
    assert sink.body == b"{}"
    assert made.is_empty


async def test_a_sink_that_has_enough_is_fed_nothing_more(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by a flush that is due in the same moment either: white space and a keep-alive may follow a document."""
    made, sink = rig(), rig.Kept(complete_at=16)
    made.deliver(CLOSE)
    task = await made.start(sink)
    made.deliver(b"x")
    await made.turn()
    made.deliver(text(20)[1:])
    made.threads.work()
    made.pump._on_flush()
    await made.turn()
    assert not made.threads.jobs
    pump = await task
    assert pump.is_complete
    assert len(sink.body) == 16
    assert made.wire.is_shut
    assert made.is_empty


@pytest.mark.parametrize("is_last", [False, True])
async def test_what_the_sink_raises_comes_out_and_nothing_is_held(rig: Any, is_last: bool) -> None:
    """A full disk, in the middle of a body or with its last piece."""
    made, sink = rig(), rig.Kept(error=OSError(errno.ENOSPC, "full"))
    made.deliver(CLOSE)
    task = await made.start(sink)
    made.deliver(b"x")
    await made.turn()
    made.deliver(text(40))
    if is_last:
        made.connection.eof_received()
        await made.turn()
    await made.work()
    with pytest.raises(OSError, match="full"):
        await task
    assert made.wire.is_shut
    assert made.is_empty


async def test_a_body_beyond_its_bound_ends(rig: Any) -> None:
    """On the way, whatever the thread is doing."""
    made, sink = rig(bytes_max=20), rig.Kept()
    made.deliver(CLOSE)
    task = await made.start(sink)
    made.deliver(b"x")
    await made.turn()
    made.deliver(text(30))
    await made.turn()
    await works_off(made)
    with pytest.raises(BodyTooLarge):
        await task
    assert len(sink.body) <= 20
    assert made.is_empty


async def test_a_bound_passed_with_the_head_does_not_wait_for_more(rig: Any) -> None:
    """The first bytes were too many already, and then the upstream says nothing for minutes."""
    made = rig(bytes_max=5)
    made.deliver(CLOSE + b"123456")
    task = await made.start(rig.Kept())
    assert task.done()
    with pytest.raises(BodyTooLarge):
        await task
    assert made.is_empty


# Memory


async def test_what_flows_no_more_gives_its_memory_back(rig: Any) -> None:
    """A stream that is silent holds neither a buffer nor a grant, nor a file, and takes them anew when it goes on."""
    made, sink = rig(is_stream=True), rig.Kept()
    made.deliver(CHUNKED)
    task = await made.start(sink)
    assert made.is_empty, "not before a byte has come"
    for count, event in enumerate((b"one", b"three", b"seven"), 1):
        made.deliver(b"%x\r\n%b\r\n" % (len(event), event))
        await made.turn()
        assert not made.is_empty
        made.flush()
        await works_off(made)
        assert sink.batches[-1] == event
        made.flush()
        await made.turn()
        assert made.is_empty
        assert sink.rests == count
        assert not made.connection.is_paused
    made.deliver(b"0\r\n\r\n")
    await task


async def test_a_body_in_one_piece_keeps_its_place_through_a_short_pause(rig: Any) -> None:
    """An upstream that has much to send stutters; were its place given away each time, nothing would be finished."""
    made, sink = rig(), rig.Kept()
    made.deliver(length(6))
    task = await made.start(sink)
    made.deliver(b"abc")
    await made.turn()
    made.flush()
    await works_off(made)
    made.flush(silent_s=PAUSE_S - 0.1)
    await made.turn()
    assert not made.is_empty
    assert sink.rests == 0
    made.flush(silent_s=PAUSE_S)
    await made.turn()
    assert made.is_empty
    assert sink.rests == 1
    made.deliver(b"def")
    await made.turn()
    await works_off(made)
    await task
    assert sink.body == b"abcdef"


async def test_a_file_that_cannot_be_closed_ends_the_body(rig: Any) -> None:
    """Some file systems tell of a full disk only then; a body that nobody reads on would hold its place for minutes."""

    class Failing(rig.Kept):  # type: ignore[name-defined,misc]
        def rest(self) -> None:
            raise OSError(errno.EDQUOT, "Disk quota exceeded")

    made = rig()
    made.deliver(length(6))
    task = await made.start(Failing())
    made.deliver(b"abc")
    await made.turn()
    made.flush()
    await works_off(made)
    made.flush(silent_s=PAUSE_S)
    with pytest.raises(OSError, match="quota"):
        await task
    assert made.is_empty


async def test_who_has_begun_goes_before_who_has_not(rig: Any) -> None:
    """A body that paused comes back to a full house: it is the next, before all that wait with nothing read."""
    made, sink = rig(budget_bytes=32), rig.Kept()
    made.deliver(CHUNKED)
    task = await made.start(sink)
    made.deliver(b"3\r\nabc\r\n")
    await made.turn()
    made.flush()
    await works_off(made)
    made.flush(silent_s=PAUSE_S)
    await made.turn()
    await made.budget.acquire(32)
    other = asyncio.create_task(made.budget.acquire(32))
    await made.turn()
    made.deliver(b"3\r\ndef\r\n0\r\n\r\n")
    await made.turn()
    made.budget.release(32)
    await made.turn()
    assert not other.done()
    await works_off(made)
    await task
    await other
    made.budget.release(32)
    assert sink.body == b"abcdef"


async def test_white_space_before_the_document_needs_no_memory(rig: Any) -> None:
    """Another gateway's heartbeats, all through the wait: each would take a place, and a buffer, from an image."""
    made, sink = rig(skips_blanks=True), rig.Kept()
    made.deliver(CHUNKED)
    task = await made.start(sink)
    for _ in range(3):
        made.deliver(b"1\r\n\n\r\n")
        await made.turn()
        assert made.is_empty
        assert not made.connection.is_paused
    made.deliver(b"4\r\n\n{} \r\n0\r\n\r\n")
    await made.turn()
    await works_off(made)
    pump = await task
    assert sink.body == b"\n{} "
    assert pump.body_bytes == 7


async def test_white_space_inside_the_document_is_part_of_it(rig: Any) -> None:
    """It may stand inside a string; only before the first byte does it mean nothing."""
    made, sink = rig(skips_blanks=True), rig.Kept()
    made.deliver(CHUNKED)
    task = await made.start(sink)
    for piece in (b"{", b" ", b"}"):
        made.deliver(b"1\r\n%b\r\n" % piece)
        await made.turn()
        made.flush()
        await works_off(made)
        made.flush(silent_s=PAUSE_S)
        await made.turn()
        assert made.is_empty
    made.deliver(b"0\r\n\r\n")
    await task
    assert sink.body == b"{ }"


async def test_white_space_without_end_is_too_large(rig: Any) -> None:
    """What is skipped counts: nothing comes for ever."""
    made, sink = rig(skips_blanks=True, bytes_max=3), rig.Kept()
    made.deliver(CHUNKED)
    task = await made.start(sink)
    for _ in range(4):
        made.deliver(b"1\r\n\n\r\n")
        await made.turn()
    with pytest.raises(BodyTooLarge):
        await task
    assert made.is_empty


async def test_a_flush_while_the_thread_works_takes_nothing_away(rig: Any) -> None:
    """The second buffer is being filled, or about to be."""
    made, sink = rig(), rig.Kept()
    made.deliver(CLOSE)
    task = await made.start(sink)
    made.deliver(b"x")
    await made.turn()
    made.deliver(text(15))
    assert len(made.threads.jobs) == 1
    made.pump._on_flush()
    made.deliver(b"y")
    made.pump._on_flush()
    assert len(made.threads.jobs) == 1
    await made.work()
    made.pump._on_flush()
    await works_off(made)
    assert sink.body == b"x" + text(15) + b"y"
    made.connection.eof_received()
    await task


async def test_bytes_that_come_as_the_memory_is_given_back_are_kept(rig: Any) -> None:
    """The pump has stepped back and not yet been woken; what comes in that moment is early again."""
    made, sink = rig(), rig.Kept()
    made.deliver(length(6))
    task = await made.start(sink)
    made.deliver(b"ab")
    await made.turn()
    made.flush()
    await works_off(made)
    made.flush(silent_s=PAUSE_S)
    made.deliver(b"cd")
    assert made.pool.out == 0, "what is not granted is not taken"
    await made.turn()
    made.flush()
    await works_off(made)
    made.flush(silent_s=PAUSE_S)
    made.deliver(b"ef")
    await made.turn()
    await works_off(made)
    await task
    assert sink.body == b"abcdef"
    assert made.is_empty


async def test_waiting_for_memory_is_our_own_time(rig: Any) -> None:
    """The deadline of an upstream that has answered stands still meanwhile."""
    made, sink = rig(budget_bytes=32), rig.Kept()
    await made.budget.acquire(32)
    made.deliver(length(40) + text(40))
    task = await made.start(sink)
    assert made.pool.out == 0
    assert made.pump._own._scope.when() is None
    made.budget.release(32)
    await made.turn()
    assert made.pump._own._scope.when() is not None
    assert made.pump.own_s > 0.0
    await works_off(made)
    await task
    assert sink.body == text(40)


@pytest.mark.parametrize("how", ["announced", "closed"])
async def test_what_came_in_time_is_fed_without_a_deadline(rig: Any, how: str) -> None:
    """Nothing more is expected of the upstream: a slow disk must not take away an answer that is here."""
    made, sink = rig(), rig.Kept()
    made.deliver(length(20) if how == "announced" else CLOSE)
    task = await made.start(sink)
    made.deliver(text(20)[:1])
    await made.turn()
    scope = made.pump._own._scope
    due_at = scope.when()
    made.deliver(text(20)[1:])
    if how == "closed":
        assert scope.when() == due_at, "more may come, and then the upstream's time counts"
        made.connection.eof_received()
    await made.turn()
    for _ in range(2):
        assert scope.when() is None
        await made.work()
    await task
    assert scope.when() >= due_at
    assert made.pump.own_s > 0.0
    assert sink.body == text(20)


async def test_time_that_is_owed_moves_no_deadline_that_has_passed() -> None:
    """The cancellation is on its way; moving the scope then is an error that would be lost in a callback."""
    loop = asyncio.get_running_loop()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout_at(loop.time() - 1.0) as scope:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                OwnTime(loop, scope).add(2 * OWED_S)
                raise


async def test_time_that_is_owed_moves_the_deadline_in_steps() -> None:
    """All of it in the end, without a timer for each wait."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout_at(loop.time() + 1000.0) as scope:
        due_at = scope.when()
        assert due_at is not None
        own = OwnTime(loop, scope)
        own.add(OWED_S * 0.75)
        assert scope.when() == due_at
        own.add(OWED_S * 0.75)
        assert scope.when() == pytest.approx(due_at + 1.5 * OWED_S)
        assert own.total_s == pytest.approx(1.5 * OWED_S)
        await asyncio.sleep(0)


# Cancellation


@pytest.mark.parametrize("moment", ["untaken", "admission", "flowing", "feeding", "full", "finishing"])
async def test_a_cancellation_leaves_nothing_behind(rig: Any, moment: str) -> None:
    """Wherever it strikes: no grant, no buffer, no thread inside the sink, no reader, no timer."""
    made, sink = rig(budget_bytes=32), rig.Kept()
    if moment == "admission":
        await made.budget.acquire(32)
    made.deliver(CLOSE)
    task = await made.start(sink)
    if moment != "untaken":
        made.deliver(b"x")
        await made.turn()
    if moment in ("feeding", "full", "finishing"):
        made.deliver(text(99 if moment == "full" else 20))
    if moment == "finishing":
        made.connection.eof_received()
        await made.turn()
    task.cancel()
    await made.turn()
    assert made.wire.is_shut
    while made.threads.jobs:
        assert not task.done(), "a sink is closed only when no thread is inside it"
        task.cancel()
        await made.turn()
        await made.work()
    with pytest.raises(asyncio.CancelledError):
        await task
    if moment == "admission":
        made.budget.release(32)
    assert made.is_empty
    assert made.pump._flush is None or made.pump._flush.cancelled()


async def test_nothing_is_fed_after_a_cancellation(rig: Any) -> None:
    """The second buffer was full when it came: its bytes belong to nobody any more."""
    made, sink = rig(), rig.Kept()
    made.deliver(CLOSE)
    task = await made.start(sink)
    made.deliver(b"x")
    await made.turn()
    made.deliver(text(99))
    task.cancel()
    await made.turn()
    await made.work()
    assert not made.threads.jobs
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(sink.body) == 16


@pytest.mark.parametrize("is_sinks", [False, True])
async def test_a_failed_pump_is_gone_at_once(rig: Any, is_sinks: bool) -> None:
    """An exception holds what it was raised through: buffers and sink would wait for the collector."""

    class Watched(rig.Kept):  # type: ignore[misc]
        """A sink that can be watched."""

    made = rig()
    sink = Watched(error=OSError(errno.ENOSPC, "full") if is_sinks else None)

    async def fail(into: Watched) -> None:
        with contextlib.suppress(Broken, OSError):
            await made.run(into)

    gc.disable()
    try:
        made.deliver(length(99) + b"x")
        task = asyncio.create_task(fail(sink))
        await made.turn()
        made.connection.eof_received()
        await made.turn()
        await works_off(made)
        await task
        made.connection.connection_lost(None)
        gone = weakref.ref(sink)
        sink._error = None
        del made.pump, sink
        await asyncio.sleep(0)
        assert gone() is None
    finally:
        gc.enable()
