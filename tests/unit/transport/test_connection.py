"""One connection without a socket: who is woken by what, what is read when, and how each end is told."""

from __future__ import annotations

import asyncio
import errno
import gc
import ssl
import weakref
from typing import Any

import pytest

from holdfast.transport.buffers import CHUNKS_BYTES, SCRATCH_BYTES, BufferPool
from holdfast.transport.connection import Broken, Connection
from holdfast.transport.reply import Garbage

OK = b"HTTP/1.1 200 OK\r\n"
HEADS = {
    "nothing": b"",
    "half a head": b"HTTP/1.1 200",
    "length": OK + b"Content-Length: 4\r\n\r\n",
    "chunked": OK + b"Transfer-Encoding: chunked\r\n\r\n",
    "close": OK + b"\r\n",
}


class Bowl:
    """A taker with room for so many bytes at a time."""

    def __init__(self, size: int = 1 << 16) -> None:
        self._buffer = bytearray(size)
        self.body = b""
        self.ends = 0

    def room(self) -> memoryview:
        """All of it."""
        return memoryview(self._buffer)

    def filled(self, count: int) -> None:
        """Keep."""
        self.body += self._buffer[:count]
        self._buffer[:count] = bytes(count)

    def ended(self) -> None:
        """Count."""
        self.ends += 1


async def test_what_comes_before_a_taker_stops_at_one_buffer(rig: Any) -> None:
    """An answer that waits for admission holds a few kilobytes, whatever the kernel has."""
    made = rig()
    body = bytes(range(256)) * 400
    left = made.deliver(OK + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    assert not made.wire.is_read
    assert made.connection.has_early
    early = made.connection.take_early()
    assert len(early) + left == len(body)
    assert len(early) <= SCRATCH_BYTES
    assert not made.connection.has_early
    bowl = Bowl()
    made.connection.give_to(bowl)
    made.connection.resume()
    made.deliver()
    assert early + bowl.body == body
    assert (made.connection.is_over, made.connection.error, bowl.ends) == (True, None, 1)


async def test_a_head_alone_does_not_stop_the_reading(rig: Any) -> None:
    """Two changes to the poll for each answer would be for nothing."""
    made = rig()
    made.deliver(HEADS["length"])
    assert made.connection.has_answered
    assert made.wire.is_read
    made.deliver(b"{")
    assert not made.wire.is_read


@pytest.mark.parametrize("step", [1, 3, 1 << 16])
async def test_chunks_come_out_without_their_framing(rig: Any, step: int) -> None:
    """Chunks smaller and larger than the room, cut anywhere."""
    made = rig()
    made.deliver(HEADS["chunked"])
    bowl = Bowl(10)
    made.connection.give_to(bowl)
    made.deliver(b"1\r\na\r\n19\r\n" + b"b" * 25 + b"\r\n3;x=1\r\nccc\r\n0\r\n\r\nbehind", step=step)
    assert bowl.body == b"a" + b"b" * 25 + b"ccc"
    assert (made.connection.is_over, made.connection.error) == (True, None)


async def test_nothing_is_read_behind_a_length_that_was_announced(rig: Any) -> None:
    """The room for the next bytes is never larger than what is still to come."""
    made = rig()
    made.deliver(OK + b"Content-Length: 10\r\n\r\n")
    bowl = Bowl()
    made.connection.give_to(bowl)
    made.deliver(b"01234")
    assert len(made.connection.get_buffer(-1)) == 5
    made.deliver(b"56789GARBAGE")
    assert bowl.body == b"0123456789"
    assert made.connection.is_over
    assert len(made.connection.get_buffer(-1)) == SCRATCH_BYTES, "what floods behind the end is thrown away"


async def test_a_body_that_is_taken_in_parts_counts_them_all(rig: Any) -> None:
    """A taker that steps back for a while, as a silent stream's does, loses and repeats nothing."""
    made = rig()
    made.deliver(OK + b"Content-Length: 12\r\n\r\nab")
    body = made.connection.take_early()
    for at, part in enumerate((b"cdef", b"ghij")):
        bowl = Bowl()
        made.connection.give_to(bowl)
        made.connection.resume()
        made.deliver(part[:2])
        made.connection.give_to(None)
        assert made.deliver(part[2:]) == 0, at
        body += bowl.body + made.connection.take_early()
        assert not made.wire.is_read
    bowl = Bowl()
    made.connection.give_to(bowl)
    made.connection.resume()
    made.deliver(b"kl")
    assert body + bowl.body == b"abcdefghijkl"
    assert made.connection.is_over


async def test_early_bytes_that_are_all_there_is_end_the_body(rig: Any) -> None:
    """The buffer that would ask for the rest would be empty, which is an error to both loops."""
    made = rig()
    made.deliver(OK + b"Content-Length: 6\r\n\r\nab")
    bowl = Bowl()
    made.connection.give_to(bowl)
    made.connection.give_to(None)
    made.connection.resume()
    made.deliver(b"cdef")
    assert made.connection.is_over
    assert made.connection.take_early() == b"abcdef"
    assert len(made.connection.get_buffer(-1)) > 0


@pytest.mark.parametrize(
    ("before", "eof", "lost"),
    [
        ("nothing", "without an answer", "without an answer"),
        ("half a head", "without an answer", "without an answer"),
        ("length", "fewer bytes", "fewer bytes"),
        ("chunked", "fewer bytes", "fewer bytes"),
        ("close", None, None),
    ],
)
@pytest.mark.parametrize("is_taken", [False, True])
async def test_each_end_of_the_stream_is_told_by_what_had_come(
    rig: Any, before: str, eof: str | None, lost: str | None, is_taken: bool
) -> None:
    """Only where nothing else tells the end of a body is the end of the stream one; TLS without a farewell included."""
    for how, words in (("eof", eof), ("lost", lost)):
        made = rig()
        made.deliver(HEADS[before])
        bowl = Bowl()
        if is_taken and made.connection.has_answered:
            made.connection.give_to(bowl)
        if how == "eof":
            # At once, though the transport may have megabytes to write before it closes.
            assert not made.connection.eof_received()
        else:
            made.connection.connection_lost(None)
        assert made.connection.is_over
        assert made.connection.has_answered
        error = made.connection.error
        assert (error is None) if words is None else (isinstance(error, Broken) and words in str(error))
        assert bowl.ends == (is_taken and before in ("length", "chunked", "close"))
        made.connection.connection_lost(ConnectionResetError(errno.ECONNRESET, "reset"))
        assert made.connection.error is error, "the first word counts"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionResetError(errno.ECONNRESET, "reset"), "ECONNRESET"),
        (ssl.SSLError(1, "[SSL] bad record mac"), "SSLError"),
        (OSError("no number"), "OSError"),
        (RuntimeError("odd"), "RuntimeError"),
    ],
)
async def test_a_broken_connection_names_its_error(rig: Any, error: Exception, words: str) -> None:
    """As people look it up; OpenSSL's number 1 is not EPERM."""
    made = rig()
    made.deliver(HEADS["close"])
    made.connection.connection_lost(error)
    assert str(made.connection.error) == f"the connection broke ({words})"
    assert made.connection.is_closing


async def test_garbage_ends_the_exchange_and_keeps_what_came_before(rig: Any) -> None:
    """Whoever has the whole document may not care about a broken last chunk."""
    made = rig()
    made.deliver(HEADS["chunked"] + b"2\r\n{}\r\nzz\r\n")
    assert isinstance(made.connection.error, Garbage)
    assert made.connection.take_early() == b"{}"
    made.deliver(b"2\r\nno\r\n")
    assert not made.connection.has_early


@pytest.mark.parametrize(
    "change",
    [
        lambda made: made.deliver(HEADS["length"]),
        lambda made: made.deliver(b"nonsense"),
        lambda made: made.connection.eof_received(),
        lambda made: made.connection.connection_lost(None),
        lambda made: made.connection.fail(Broken("silent")),
        lambda made: made.connection.abort(),
    ],
    ids=["head", "garbage", "eof", "lost", "fail", "abort"],
)
@pytest.mark.parametrize("waits_for", ["something", "drain"])
async def test_whoever_waits_is_woken_by_any_change(rig: Any, change: Any, waits_for: str) -> None:
    """A wait that nothing ends would last until the deadline, minutes away."""
    made = rig()
    made.connection.pause_writing()
    task = asyncio.create_task(getattr(made.connection, waits_for)())
    await made.turn()
    assert not task.done()
    change(made)
    await made.turn()
    assert task.done()


async def test_writing_goes_on_when_there_is_room(rig: Any) -> None:
    """And only then: the transport's buffer is memory, too."""
    made = rig()
    await made.connection.drain()
    made.connection.pause_writing()
    task = asyncio.create_task(made.connection.drain())
    await made.turn()
    made.deliver(b"HTTP/1.1 102 Processing\r\n\r\n")
    await made.turn()
    assert not task.done(), "an interim answer is none"
    made.connection.resume_writing()
    await made.turn()
    assert task.done()


async def test_a_wait_that_is_cancelled_leaves_room_for_the_next(rig: Any) -> None:
    """The future of the one must not be taken for that of the other."""
    made = rig()
    first = asyncio.create_task(made.connection.something())
    await made.turn()
    first.cancel()
    await made.turn()
    second = asyncio.create_task(made.connection.something())
    await made.turn()
    made.deliver(HEADS["close"])
    await made.turn()
    assert second.done()
    assert not second.cancelled()


async def test_a_write_to_what_is_gone_is_dropped(rig: Any) -> None:
    """Between two pieces of a file the peer may leave; uvloop raises at a write to a handle that is closed."""
    made = rig()
    made.connection.write(b"a")
    made.wire.is_shut = True
    made.connection.write(b"b")
    made.connection.connection_lost(None)
    made.connection.write(b"c")
    assert made.wire.written == b"a"


async def test_pausing_knows_no_order(rig: Any) -> None:
    """Whoever pauses or resumes twice, or after the end, changes nothing."""
    made = rig()
    made.connection.resume()
    made.connection.pause()
    made.connection.pause()
    assert made.connection.is_paused
    assert not made.wire.is_read
    made.connection.resume()
    made.connection.resume()
    assert made.wire.is_read
    made.wire.is_shut = True
    made.connection.pause()
    made.connection.resume()
    made.connection.connection_lost(None)
    made.connection.pause()
    made.connection.resume()
    made.connection.abort()
    assert made.wire.is_read, "a transport that closes is left alone"


async def test_abort_is_the_end_whatever_comes_after(rig: Any) -> None:
    """What the socket still brings is nobody's any more."""
    made = rig()
    made.deliver(HEADS["chunked"])
    made.connection.abort()
    assert made.wire.is_shut
    assert made.connection.is_over
    made.wire.is_shut = False
    made.deliver(b"2\r\n{}\r\n")
    assert not made.connection.has_early


async def test_the_buffers_that_all_share_are_those_of_one_loop() -> None:
    """Two loops in two threads would write one another's images into them."""
    one, other = BufferPool(), BufferPool()
    assert one.scratch.obj is not other.scratch.obj
    assert one.chunks.obj is not other.chunks.obj
    assert (len(one.scratch), len(one.chunks)) == (SCRATCH_BYTES, CHUNKS_BYTES)
    assert Connection(one).get_buffer(-1).obj is one.scratch.obj


async def test_a_connection_that_is_over_is_gone_at_once(rig: Any) -> None:
    """Held by nobody but the collector, 2,000 of them would keep their heads and their transports for minutes."""

    class Watched(Connection):
        pass

    gc.disable()
    try:
        made = rig()
        made.connection = Watched(made.pool)
        made.connection.connection_made(made.wire)
        made.deliver(HEADS["chunked"] + b"zz\r\n")
        gone = weakref.ref(made.connection)
        made.connection.abort()
        made.connection.connection_lost(None)
        made.connection = None
        assert gone() is None
    finally:
        gc.enable()
