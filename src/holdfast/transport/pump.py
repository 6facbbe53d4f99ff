"""From the socket to the sink: batches, admission, and an end that need not be the transfer's own.

Two batches exist at a time: one is being decoded in a worker thread, the next one fills on the loop. Memory for both is
granted by a `ByteBudget` while bytes flow, and given back when they pause: an event stream that says nothing for two
minutes, or an upstream that stalls, holds no memory that another answer could use.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from functools import partial

import aiohttp

from holdfast.transport.budget import ByteBudget
from holdfast.transport.exchange import Sink
from holdfast.transport.sockets import widen
from holdfast.transport.threads import SinkThreads

BATCH_BYTES = 262_144
"""Handed to the sink at a time: at 64 KB the hops between threads double the CPU per image (lab/bench/transport.py)."""
GRANT_BYTES = 2 * BATCH_BYTES
FLUSH_S = 0.05
"""A smaller batch is handed over after this long: an event of a stream should not wait for the next one."""
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
        """Wait without a deadline: for other bodies to end, for as long as that takes."""
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
        if self._owed_s >= OWED_S and due_at is not None:
            self._scope.reschedule(due_at + self._owed_s)
            self._owed_s = 0.0


class Pump:
    """Moves one body. Make it, `await run()`, then read what it learnt."""

    __slots__ = (
        "_budget",
        "_bytes_max",
        "_error",
        "_flush",
        "_grant_bytes",
        "_granted",
        "_is_feeding",
        "_loop",
        "_own",
        "_pending",
        "_pending_bytes",
        "_response",
        "_sink",
        "_threads",
        "_waiter",
        "body_bytes",
        "ended_at",
        "first_byte_at",
        "is_complete",
    )

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        sink: Sink,
        *,
        budget: ByteBudget,
        threads: SinkThreads,
        own: OwnTime,
        bytes_max: int,
    ) -> None:
        self._response = response
        self._sink = sink
        self._budget = budget
        self._threads = threads
        self._own = own
        self._bytes_max = bytes_max
        self._loop = asyncio.get_running_loop()
        announced_bytes = response.content_length or GRANT_BYTES
        self._grant_bytes = budget.clamp(min(announced_bytes, GRANT_BYTES))
        self._granted = False
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._is_feeding = False
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
            aiohttp.ClientError: The transfer broke, and what had come was not enough.
            BodyTooLarge: It is longer than `bytes_max`.
            WireError: The sink could not make sense of it.
            Exception: Whatever else the sink raised.
        """
        try:
            try:
                await self._read_all()
            except aiohttp.ClientError:
                # A batch may be with the sink, and bytes lie unread beside the error that followed them. Once the
                # document has closed, a missing last chunk or a reset is the upstream's untidiness and no loss.
                await self._hand_over_rest()
                if not self.is_complete:
                    raise
        finally:
            await self._settle()

    async def _read_all(self) -> None:
        content = self._response.content
        self._watch_connection()
        await self._admit()
        while data := await content.readany():
            self._note(data)
            await self._admit()
            self._pending.append(data)
            self._pending_bytes += len(data)
            if self._pending_bytes >= BATCH_BYTES:
                await self._hand_over()
            elif self._flush is None:
                self._flush = self._loop.call_later(FLUSH_S, self._on_flush)
        await self._hand_over()
        await self._wait_for_sink()

    def _watch_connection(self) -> None:
        """Let the reading end with the connection.

        aiohttp (3.14.5) closes a connection whose chunks are garbage, and forgets to tell the reader of the body, who
        would wait until the deadline.
        """
        connection = self._response.connection
        if connection is None or connection.protocol is None:
            return
        closed = connection.protocol.closed
        if closed is None:
            self._on_closed(None)
        else:
            closed.add_done_callback(self._on_closed)

    def _on_closed(self, closed: asyncio.Future[None] | None) -> None:
        content = self._response.content
        if closed is not None and not closed.cancelled():
            closed.exception()  # looked at, or asyncio complains that nobody did
        if not content.is_eof() and content.exception() is None:
            content.set_exception(aiohttp.ClientPayloadError("the connection closed inside the body"))

    def _note(self, data: bytes) -> None:
        self.body_bytes += len(data)
        if self.body_bytes > self._bytes_max:
            raise BodyTooLarge
        if self.first_byte_at is None and not data.isspace():
            self.first_byte_at = self._loop.time()

    async def _admit(self) -> None:
        """Hold a grant; without one, leave the rest of the body to the kernel and its small window."""
        if self._granted:
            return
        if self._budget.has_room(self._grant_bytes):
            await self._budget.acquire(self._grant_bytes)
        else:
            protocol = self._response.connection.protocol if self._response.connection is not None else None
            if protocol is not None and protocol.connected:
                protocol.pause_reading()
            await self._own.suspend(self._budget.acquire(self._grant_bytes))
            # If aiohttp had paused it for a full buffer, it does so again with the next bytes.
            if protocol is not None and protocol.connected:
                protocol.resume_reading()
        self._granted = True
        connection = self._response.connection
        if connection is not None and connection.transport is not None:
            widen(connection.transport)
        if self._flush is None:
            self._flush = self._loop.call_later(FLUSH_S, self._on_flush)

    def _on_flush(self) -> None:
        self._flush = None
        if not self._is_feeding:
            if not self._pending:
                self._give_back()
                return
            self._dispatch()
        self._flush = self._loop.call_later(FLUSH_S, self._on_flush)

    async def _hand_over(self) -> None:
        await self._wait_for_sink()
        if self._pending:
            self._dispatch()

    async def _wait_for_sink(self) -> None:
        began_at: float | None = None
        while self._is_feeding:
            began_at = self._loop.time() if began_at is None else began_at
            await self._fed()
        if began_at is not None:
            self._own.add(self._loop.time() - began_at)
        if self._error is not None:
            raise self._error

    async def _fed(self) -> None:
        """Wait until the thread comes back; being cancelled here does not call it back."""
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _dispatch(self) -> None:
        pieces, self._pending, self._pending_bytes = self._pending, [], 0
        if self._error is not None or self.is_complete:
            return
        self._is_feeding = True
        self._threads.submit(partial(self._sink.feed, pieces), self._on_fed)

    def _on_fed(self, is_complete: bool, error: BaseException | None) -> None:
        self._is_feeding = False
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        self._error = error
        self.is_complete = is_complete
        if is_complete or error is not None:
            # Wakes `readany` if the upstream keeps the connection open with nothing more to say.
            self._response.close()

    async def _hand_over_rest(self) -> None:
        """Give the sink what had come before the transfer broke."""
        await self._wait_for_sink()
        if self.is_complete:
            return
        if rest := _unread(self._response.content):
            self._note(rest)
            self._pending.append(rest)
        await self._hand_over()
        await self._wait_for_sink()

    async def _settle(self) -> None:
        """Leave nothing behind: no timer, no thread inside the sink, no grant."""
        if self._flush is not None:
            self._flush.cancel()
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

    def _give_back(self) -> None:
        if self._granted:
            self._granted = False
            self._budget.release(self._grant_bytes)


def _unread(content: aiohttp.StreamReader) -> bytes:
    """Take the bytes that came before an error, which aiohttp withholds once the error is there."""
    if content.is_eof():
        return b""
    content.set_exception(None)  # type: ignore[arg-type]
    return content.read_nowait()
