"""From the socket to the sink: two buffers, admission, and an end that need not be the transfer's own.

The kernel fills one buffer while a worker thread decodes the other. Memory for both is granted by a `ByteBudget` while
bytes flow, and given back when they pause: an event stream that says nothing for two minutes, or an upstream that
stalls, holds neither memory nor an open file that another answer could use. White space before the document, the
heartbeat of gateways like this one, needs no memory at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from functools import partial

from holdfast.threads import Threads
from holdfast.transport.budget import ByteBudget
from holdfast.transport.buffers import BUFFER_BYTES, BufferPool, cut
from holdfast.transport.connection import Connection
from holdfast.transport.exchange import Piece, Sink
from holdfast.transport.reply import Framing
from holdfast.transport.sockets import widen

GRANT_BYTES = 2 * BUFFER_BYTES
FLUSH_S = 0.05
"""A buffer that is not full is handed over after this long: an event of a stream should not wait for the next one."""
PAUSE_S = 0.5
"""A body in one piece that pauses keeps its place for this long. A busy upstream and a lost segment (200 ms and more)
come on in less; given back at once, its place begins another body: with 9,800 due at once, hundreds were half read."""
FLOW_BYTES = 64 * 1024
"""So much must come before another pause is waited out. A body that trickles would hold its place for two minutes, and
sixteen of them would keep everybody else waiting: it gives its place back as an event stream does."""
OWED_S = 0.5


class BodyTooLarge(Exception):
    """The body, as decoded, exceeds the bound."""


class OwnTime:
    """Adds up the time for which it is us who keep the upstream waiting, and moves the exchange's deadline by it."""

    __slots__ = ("_loop", "_owed_s", "_scope", "total_s")

    def __init__(self, loop: asyncio.AbstractEventLoop, scope: asyncio.Timeout) -> None:
        self._loop = loop
        self._scope = scope
        self._owed_s = 0.0
        self.total_s = 0.0

    async def suspend(self, waiting: Awaitable[None]) -> None:
        """Wait without a deadline: for other bodies to end, or our own work, for as long as that takes."""
        began_at, due_at = self._loop.time(), self._scope.when()
        self._scope.reschedule(None)
        try:
            await waiting
        finally:
            spent_s = self._loop.time() - began_at
            self.total_s += spent_s
            if due_at is not None:
                self._scope.reschedule(due_at + spent_s)

    def add(self, spent_s: float) -> None:
        """Note a short wait. A hundred a second would be a hundred timers: the deadline follows in steps."""
        self.total_s += spent_s
        self._owed_s += spent_s
        due_at = self._scope.when()
        # A deadline that has just passed is not moved: the cancellation is on its way.
        if self._owed_s >= OWED_S and due_at is not None and not self._scope.expired():
            self._scope.reschedule(due_at + self._owed_s)
            self._owed_s = 0.0


class Pump:
    """Moves one body. Make it, `await run()`, then read what it learnt. A `connection.Taker`."""

    __slots__ = (
        "_awaits_thread",
        "_budget",
        "_bytes_max",
        "_connection",
        "_error",
        "_filled",
        "_filling",
        "_flow_bytes",
        "_flush",
        "_grant_bytes",
        "_granted",
        "_has_flowed",
        "_is_feeding",
        "_is_stream",
        "_loop",
        "_own",
        "_patient_until",
        "_paused_at",
        "_pool",
        "_sink",
        "_skips_blanks",
        "_threads",
        "_waiter",
        "body_bytes",
        "ended_at",
        "first_byte_at",
        "is_complete",
    )

    def __init__(
        self,
        connection: Connection,
        sink: Sink,
        *,
        budget: ByteBudget,
        pool: BufferPool,
        threads: Threads,
        own: OwnTime,
        bytes_max: int,
        is_stream: bool = False,
        skips_blanks: bool = False,
    ) -> None:
        """Prepare to move the body of `connection`, whose head is there.

        Args:
            connection: Where it comes from.
            sink: Where it goes.
            budget: Grants the memory.
            pool: Gives it.
            threads: Run the sink.
            own: Is told how long the upstream waited for us.
            bytes_max: The longest body taken.
            is_stream: It is an event stream: it pauses by nature, often and for long.
            skips_blanks: It is text in which white space at the beginning means nothing.
        """
        parser = connection.parser
        assert parser is not None
        self._connection = connection
        self._sink = sink
        self._budget = budget
        self._pool = pool
        self._threads = threads
        self._own = own
        self._bytes_max = bytes_max
        self._is_stream = is_stream
        self._skips_blanks = skips_blanks
        self._loop = asyncio.get_running_loop()
        is_small = parser.framing is Framing.LENGTH and 0 < parser.content_length <= BUFFER_BYTES
        self._grant_bytes = budget.clamp(parser.content_length if is_small else GRANT_BYTES)
        self._granted = False
        self._flow_bytes = 0
        self._has_flowed = True
        self._patient_until = 0.0
        self._filling: bytearray | None = None
        self._filled = 0
        self._is_feeding = False
        self._awaits_thread = False
        self._paused_at = 0.0
        self._waiter: asyncio.Future[None] | None = None
        self._flush: asyncio.TimerHandle | None = None
        self._error: BaseException | None = None
        self.body_bytes = 0
        self.first_byte_at: float | None = None
        self.ended_at = self._loop.time()
        self.is_complete = False
        """The sink has all it needs."""

    @property
    def own_s(self) -> float:
        """Seconds for which we, not the upstream, held the body up."""
        return self._own.total_s

    async def run(self) -> None:
        """Move the body to its end, or to the point where the sink has enough.

        Raises:
            Broken: The transfer broke, and what had come was not enough.
            Garbage: Its framing did, likewise.
            BodyTooLarge: It is longer than `bytes_max`.
            Exception: Whatever the sink raised.
        """
        connection = self._connection
        try:
            while not self._is_done:
                if connection.has_early:
                    early = connection.take_early()
                    if self._skips_blanks and self.first_byte_at is None and not self._granted and early.isspace():
                        self._skip(early)
                    else:
                        await self._admit()
                        self._take(early)
                elif connection.is_over:
                    break
                elif self._granted:
                    connection.give_to(self)
                    self._read_on()
                    await self._wait()
                else:
                    connection.resume()
                    await connection.something()
            await self._finish()
        finally:
            await self._settle()

    @property
    def _is_done(self) -> bool:
        return self.is_complete or self._error is not None

    async def _finish(self) -> None:
        """Hand over what is left. What the sink makes of it counts, whatever became of the transfer.

        Once the document has closed, a missing last chunk or a reset is the upstream's untidiness and no loss.
        """
        # Nothing more is expected of the upstream, so its deadline must not take away what it has sent in time.
        await self._own.suspend(self._feed_rest())
        error = self._error or (None if self.is_complete else self._connection.error)
        if error is not None:
            # What it was raised through holds this object, and a buffer; neither may hold it in turn.
            self._error = self._connection.error = None
            try:
                raise error
            finally:
                del error

    async def _feed_rest(self) -> None:
        await self._fed()
        if self._filled and not self._is_done:
            self._dispatch()
            await self._fed()

    # Taking

    def _skip(self, blanks: bytes) -> None:
        """Count white space before the document; the sink need not see it."""
        self.body_bytes += len(blanks)
        if self.body_bytes > self._bytes_max:
            self._stop(BodyTooLarge())

    def _take(self, early: bytes) -> None:
        """Copy what came before there was a buffer; a few kilobytes."""
        at = 0
        while at < len(early):
            room = self.room()
            assert room, "a buffer that was just taken holds more than a scratch buffer"
            count = min(len(room), len(early) - at)
            room[:count] = early[at : at + count]
            at += count
            self.filled(count)

    def room(self) -> memoryview:
        """Give the free part of the buffer that is being filled."""
        if self._filling is None:
            self._filling = self._pool.take(self._grant_bytes)
        return memoryview(self._filling)[self._filled :]

    def filled(self, count: int) -> None:
        """Note that so many bytes are there; hand the buffer over when it is full."""
        assert self._filling is not None
        self.body_bytes += count
        if self.first_byte_at is None and not self._filling[self._filled : self._filled + count].isspace():
            self.first_byte_at = self._loop.time()
        self._filled += count
        self._flow_bytes += count
        if self._flow_bytes >= FLOW_BYTES:
            self._has_flowed = True
            self._be_patient()
        if self.body_bytes > self._bytes_max:
            self._stop(BodyTooLarge())
        elif self._filled == len(self._filling):
            if self._is_feeding:
                self._paused_at = self._loop.time()
                self._connection.pause()
            else:
                self._dispatch()
        elif self._flush is None:
            self._flush = self._loop.call_later(FLUSH_S, self._on_flush)

    def ended(self) -> None:
        """Go and see what there is."""
        self._wake()

    def _stop(self, error: BaseException | None) -> None:
        if self._error is None:
            self._error = error
        self._connection.pause()
        self._wake()

    def _read_on(self) -> None:
        """Read unless the buffer is full and its predecessor still being decoded."""
        if not (self._is_feeding and self._filling is not None and self._filled == len(self._filling)):
            self._connection.resume()

    # Feeding

    def _dispatch(self) -> None:
        buffer, filled = self._filling, self._filled
        assert buffer is not None
        self._filling, self._filled = None, 0
        self._is_feeding = True
        piece: Piece = buffer if filled == len(buffer) else cut(buffer, filled)
        self._threads.submit(partial(self._sink.feed, [piece]), partial(self._on_fed, buffer))

    def _on_fed(self, buffer: bytearray, is_complete: bool, error: BaseException | None) -> None:
        self._is_feeding = False
        self._pool.give_back(buffer)
        self.is_complete = is_complete
        if error is not None or is_complete:
            self._paused_at = 0.0
            self._stop(error)
            return
        if self._paused_at:
            self._own.add(self._loop.time() - self._paused_at)
            self._paused_at = 0.0
            # That nothing came meanwhile was our doing.
            self._be_patient()
            self._dispatch()
            if not self._connection.is_over:
                self._connection.resume()
        elif self._awaits_thread:
            self._wake()

    def _on_flush(self) -> None:
        self._flush = None
        if self._is_done:
            return
        if not self._is_feeding:
            now = self._loop.time()
            is_patient = now < self._patient_until
            if self._filled:
                self._dispatch()
                if not is_patient:
                    # A trickle need not make a pause of its own: what comes next waits in the kernel.
                    self._connection.pause()
            elif now - self._connection.read_at >= FLUSH_S and (self._is_stream or not is_patient):
                # Nothing flows: what comes next is admitted anew.
                try:
                    self._sink.rest()
                except OSError as exc:
                    self._stop(exc)
                    return
                self._connection.give_to(None)
                self._give_back()
                self._wake()
                return
        self._flush = self._loop.call_later(FLUSH_S, self._on_flush)

    async def _fed(self) -> None:
        """Wait until no thread is inside the sink."""
        self._awaits_thread = True
        while self._is_feeding:
            await self._wait()

    async def _wait(self) -> None:
        """Wait for an end, a pause, an error, or a thread that comes back."""
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # Memory

    async def _admit(self) -> None:
        """Hold a grant; without one, the rest of the body stays with the kernel and its small window."""
        if self._granted:
            return
        has_begun = self.first_byte_at is not None
        acquiring = self._budget.acquire(self._grant_bytes, has_begun=has_begun)
        if self._budget.has_room(self._grant_bytes, has_begun=has_begun):
            await acquiring
        else:
            await self._own.suspend(acquiring)
        self._granted = True
        if self._has_flowed:
            # Everyone is taken for a flowing body once, and again whenever it was one the last time.
            self._has_flowed = False
            self._be_patient()
        if self._connection.transport is not None and not self._connection.is_closing:
            widen(self._connection.transport)
        if self._flush is None:
            self._flush = self._loop.call_later(FLUSH_S, self._on_flush)

    def _be_patient(self) -> None:
        self._flow_bytes = 0
        self._patient_until = self._loop.time() + PAUSE_S

    def _give_back(self) -> None:
        if self._filling is not None:
            self._pool.give_back(self._filling)
            self._filling, self._filled = None, 0
        if self._granted:
            self._granted = False
            self._budget.release(self._grant_bytes)

    async def _settle(self) -> None:
        """Leave nothing behind: no timer, no thread inside the sink, no grant, no reader."""
        if self._flush is not None:
            self._flush.cancel()
        self._connection.give_to(None)
        self._connection.abort()
        # What is still unread stays so: nobody dispatches from here on.
        self._paused_at = 0.0
        is_cancelled = False
        while self._is_feeding:
            # A second cancellation must not leave the thread alone with a sink that is about to be closed.
            try:
                await self._fed()
            except asyncio.CancelledError:
                is_cancelled = True
        self.ended_at = self._loop.time()
        self._give_back()
        if is_cancelled:
            raise asyncio.CancelledError
