"""The transport without a socket: a wire that remembers, threads that work when they are told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from holdfast.transport.budget import ByteBudget
from holdfast.transport.buffers import BufferPool
from holdfast.transport.connection import Connection
from holdfast.transport.exchange import Piece, Sink
from holdfast.transport.pump import FLUSH_S, OwnTime, Pump

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


class Wire(asyncio.Transport):
    """A socket's transport, with the bytes that its peer has sent and nobody has read."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.is_read = True
        self.is_shut = False
        self.unread = bytearray()

    def pause_reading(self) -> None:
        """Note."""
        assert self.is_read, "paused twice"
        self.is_read = False

    def resume_reading(self) -> None:
        """Note."""
        assert not self.is_read, "resumed twice"
        self.is_read = True

    def write(self, data: Any) -> None:
        """Keep."""
        assert not self.is_shut, "uvloop raises at a write to what is closed"
        self.written += data

    def is_closing(self) -> bool:
        """Tell."""
        return self.is_shut

    def abort(self) -> None:
        """Note."""
        self.is_shut = True

    close = abort


class Threads:
    """Stands in for `SinkThreads`: each job waits to be done by the test."""

    def __init__(self) -> None:
        self.jobs: list[tuple[Callable[[], bool], Callable[[bool, BaseException | None], None]]] = []

    def submit(self, work: Callable[[], bool], done: Callable[[bool, BaseException | None], None]) -> None:
        """Take a job."""
        self.jobs.append((work, done))

    def work(self) -> None:
        """Do one job, and tell the loop of it."""
        work, done = self.jobs.pop(0)
        result, error = False, None
        try:
            result = work()
        except Exception as caught:  # noqa: BLE001 - handed on, as a thread does
            error = caught
        done(result, error)
        # What was raised holds this frame.
        del work, done, error


class Kept(Sink):
    """Keeps a copy of what it is fed."""

    def __init__(self, *, complete_at: int | None = None, error: Exception | None = None) -> None:
        self.batches: list[bytes] = []
        self.rests = 0
        self._complete_at = complete_at
        self._error = error

    @property
    def body(self) -> bytes:
        """All of it."""
        return b"".join(self.batches)

    def feed(self, pieces: list[Piece]) -> bool:
        """Keep."""
        if self._error is not None:
            raise self._error
        self.batches.append(b"".join(pieces))
        return self._complete_at is not None and len(self.body) >= self._complete_at

    def rest(self) -> None:
        """Count."""
        self.rests += 1

    def close(self) -> None:
        """Nothing to drop."""


async def turn() -> None:
    """Let every task that can go on do so."""
    for _ in range(6):
        await asyncio.sleep(0)


class Rig:
    """One connection, one pump, and all that is around them."""

    HEAD = HEAD
    Kept = Kept
    turn = staticmethod(turn)

    def __init__(
        self,
        *,
        bytes_max: int = 1 << 30,
        budget_bytes: int = 1 << 30,
        is_stream: bool = False,
        skips_blanks: bool = False,
    ) -> None:
        self.pool = BufferPool()
        self.budget = ByteBudget(budget_bytes)
        self.threads = Threads()
        self.wire = Wire()
        self.connection = Connection(self.pool)
        self.connection.connection_made(self.wire)
        self._bytes_max = bytes_max
        self._is_stream = is_stream
        self._skips_blanks = skips_blanks

    def flush(self, *, silent_s: float = FLUSH_S) -> None:
        """Let the pump's timer fire, with nothing having come for so long, which has passed."""
        self.pump._patient_until -= silent_s
        self.connection.read_at = asyncio.get_running_loop().time() - silent_s
        self.pump._on_flush()

    def deliver(self, data: bytes = b"", *, step: int = 1 << 30) -> int:
        """Send bytes, and let them be read as far as somebody reads; return how many stay unread."""
        self.wire.unread += data
        while self.wire.unread and self.wire.is_read and not self.wire.is_shut:
            room = self.connection.get_buffer(-1)
            count = min(len(room), step, len(self.wire.unread))
            assert count, "an empty buffer is an error to both loops"
            room[:count] = self.wire.unread[:count]
            del self.wire.unread[:count]
            self.connection.buffer_updated(count)
        return len(self.wire.unread)

    async def run(self, sink: Sink) -> Pump:
        """Move the body of an answer whose head is there, within a deadline far away."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(1000.0) as scope:
            self.pump = Pump(
                self.connection,
                sink,
                budget=self.budget,
                pool=self.pool,
                threads=self.threads,  # type: ignore[arg-type]
                own=OwnTime(loop, scope),
                bytes_max=self._bytes_max,
                is_stream=self._is_stream,
                skips_blanks=self._skips_blanks,
            )
            await self.pump.run()
        return self.pump

    async def start(self, sink: Sink) -> asyncio.Task[Pump]:
        """Begin to move it."""
        task = asyncio.create_task(self.run(sink))
        await turn()
        return task

    async def work(self) -> None:
        """Let the thread do one job, and whoever waited for it go on."""
        self.threads.work()
        await turn()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is held any more: no buffer, no grant, no job."""
        return self.pool.out == 0 and "<ByteBudget 0 of" in repr(self.budget) and not self.threads.jobs


@pytest.fixture
async def rig() -> AsyncIterator[type[Rig]]:
    """What the tests of connection and pump work with."""
    made: list[Rig] = []

    class Watched(Rig):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            made.append(self)

    yield Watched
    # A pump does not leave a thread alone with its sink, so one that a failed test forgot would wait for ever.
    for each in made:
        while each.threads.jobs:
            await each.work()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> int:
    """Buffers of 16 bytes, and as much room for what nobody has taken."""
    for name in ("buffers", "pump"):
        monkeypatch.setattr(f"holdfast.transport.{name}.BUFFER_BYTES", 16)
    monkeypatch.setattr("holdfast.transport.buffers.SCRATCH_BYTES", 16)
    monkeypatch.setattr("holdfast.transport.pump.GRANT_BYTES", 32)
    return 16
