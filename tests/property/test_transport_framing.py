"""However a body is framed, cut, paused and fed, it arrives byte by byte as it was, and nothing is held afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle
from typing import Any
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.transport.budget import ByteBudget
from holdfast.transport.buffers import BufferPool
from holdfast.transport.connection import Connection
from holdfast.transport.exchange import Piece, Sink
from holdfast.transport.pump import OwnTime, Pump

BUFFER_BYTES = 16
TURNS_MAX = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One body and its way."""

    body: bytes
    framing: str
    chunks: list[int]
    """Sizes of chunks, over and over."""
    reads: list[int]
    """Most bytes that the kernel gives at a time, over and over."""
    steps: list[str]
    """What happens next, over and over: the socket is read, the thread works, a flush is due, tasks go on."""
    behind: bytes
    """What a server sends behind its answer."""

    @property
    def wire(self) -> bytes:
        """The answer as it is sent."""
        match self.framing:
            case "length":
                return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(self.body) + self.body + self.behind
            case "close":
                return b"HTTP/1.0 200 OK\r\n\r\n" + self.body
        sizes, at, framed = cycle(self.chunks), 0, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        while at < len(self.body):
            piece = self.body[at : at + next(sizes)]
            framed += b"%x\r\n%b\r\n" % (len(piece), piece)
            at += len(piece)
        return framed + b"0\r\n\r\n" + self.behind


PLANS = st.builds(
    Plan,
    # Numbers: what is lost, repeated or out of order shows. Drawn evenly, since short ones are all alike.
    body=st.sampled_from(range(300)).map(lambda bytes_: b"".join(b"%04d," % at for at in range(60))[:bytes_]),
    framing=st.sampled_from(["length", "chunked", "close"]),
    chunks=st.lists(st.sampled_from(range(1, 80)), min_size=1, max_size=8),
    reads=st.lists(st.sampled_from([1, 2, 5, 15, 16, 17, 40, 400]), min_size=1, max_size=8),
    steps=st.lists(st.sampled_from(["read", "work", "flush", "turn"]), min_size=2, max_size=30).map(
        lambda steps: [*steps, "read", "work", "turn"]
    ),
    behind=st.sampled_from([b"", b"\r\n", b"GARBAGE", b"HTTP/1.1 500 No\r\nContent-Length: 1\r\n\r\nx"]),
)


class Wire(asyncio.Transport):
    """A socket's transport as far as reading goes."""

    is_read = True
    is_shut = False

    def pause_reading(self) -> None:
        """Note."""
        self.is_read = False

    def resume_reading(self) -> None:
        """Note."""
        self.is_read = True

    def is_closing(self) -> bool:
        """Tell."""
        return self.is_shut

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """There is no socket."""
        return default

    def abort(self) -> None:
        """Note."""
        self.is_shut = True


class Threads:
    """Works when it is told to."""

    def __init__(self) -> None:
        self._jobs: list[tuple[Callable[[], bool], Callable[[bool, BaseException | None], None]]] = []

    def submit(self, work: Callable[[], bool], done: Callable[[bool, BaseException | None], None]) -> None:
        """Take a job."""
        assert not self._jobs, "two threads inside one sink"
        self._jobs.append((work, done))

    def work(self) -> None:
        """Do it."""
        if self._jobs:
            work, done = self._jobs.pop()
            done(work(), None)


class Kept(Sink):
    """Keeps a copy, and spoils nothing: the pool's buffers are written over at once."""

    def __init__(self) -> None:
        self.body = b""

    def feed(self, pieces: list[Piece]) -> bool:
        """Keep."""
        self.body += b"".join(pieces)
        return False

    def close(self) -> None:
        """Nothing to drop."""


@settings(max_examples=300)
@given(PLANS)
def test_a_body_arrives_as_it_was(plan: Plan) -> None:
    """By length, in chunks or up to the close; cut anywhere; with a thread that is quick, slow or late."""
    with (
        patch("holdfast.transport.buffers.BUFFER_BYTES", BUFFER_BYTES),
        patch("holdfast.transport.buffers.SCRATCH_BYTES", BUFFER_BYTES),
        patch("holdfast.transport.pump.BUFFER_BYTES", BUFFER_BYTES),
        # Rung by the plan alone, however slow the machine.
        patch("holdfast.transport.pump.FLUSH_S", 1000.0),
        patch("holdfast.transport.pump.GRANT_BYTES", 2 * BUFFER_BYTES),
    ):
        asyncio.run(_arrives(plan))


async def _arrives(plan: Plan) -> None:
    pool, budget, threads, wire, sink = BufferPool(), ByteBudget(2 * BUFFER_BYTES), Threads(), Wire(), Kept()
    connection = Connection(pool)
    connection.connection_made(wire)
    unread, reads = bytearray(plan.wire), cycle(plan.reads)
    # The head comes first; what of the body comes with it is up to the cuts.
    while not connection.has_answered:
        _read(connection, wire, unread, next(reads))
    async with asyncio.timeout(1000.0) as scope:
        pump = Pump(
            connection,
            sink,
            budget=budget,
            pool=pool,
            threads=threads,  # type: ignore[arg-type]
            own=OwnTime(asyncio.get_running_loop(), scope),
            bytes_max=1 << 20,
        )
        task = asyncio.create_task(pump.run())
        steps: Iterator[str] = cycle(plan.steps)
        for _ in range(TURNS_MAX):
            if task.done():
                break
            match next(steps):
                case "read":
                    _read(connection, wire, unread, next(reads))
                    if not unread and wire.is_read and not wire.is_shut:
                        connection.eof_received()
                case "work":
                    threads.work()
                case "flush" if pump._flush is not None:
                    pump._flush.cancel()
                    pump._on_flush()
                case _:
                    await asyncio.sleep(0)
        is_done = task.done()
        # A pump does not leave a thread alone with its sink: one that failed above would wait for ever.
        task.cancel()
        while not task.done():
            threads.work()
            await asyncio.sleep(0)
        assert is_done, "nobody goes on"
        await task
    assert sink.body == plan.body
    assert pump.body_bytes == len(plan.body)
    assert pool.out == 0
    assert "<ByteBudget 0 of" in repr(budget)


def _read(connection: Connection, wire: Wire, unread: bytearray, most: int) -> None:
    """Let the loop read once, if it may."""
    if not unread or not wire.is_read or wire.is_shut:
        return
    room = connection.get_buffer(-1)
    count = min(len(room), most, len(unread))
    assert count, "an empty buffer is an error to both loops"
    room[:count] = unread[:count]
    del unread[:count]
    connection.buffer_updated(count)
