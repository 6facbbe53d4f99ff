"""One connection to an upstream: writes a request under a deadline, reads one answer without copying its body.

A held request costs this object and its socket. Bytes that come unannounced (a head, the first of a body) go to one
scratch buffer that all connections share, so whoever waits for admission holds a few kilobytes, not what the kernel
happened to have; reading stops until somebody takes the body. From then on the kernel writes straight into the taker's
buffers.

A library's stream reader was tried first (aiohttp 3.14): it copied every body three times and took up to 200 KB of each
that was waiting, 300 MB when 2,000 answers fell due at once (lab/bench/README.md).
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from holdfast.transport.buffers import BufferPool
from holdfast.transport.reply import Framing, Garbage, ReplyParser
from holdfast.transport.sockets import errno_name


class Broken(Exception):
    """The exchange broke; the text says how."""


class Taker(Protocol):
    """Where a body goes."""

    def room(self) -> memoryview:
        """Where the next bytes may be written; never empty while reading goes on."""

    def filled(self, count: int) -> None:
        """So many bytes were written there."""

    def ended(self) -> None:
        """The body is over, or broke off: see `Connection.error`."""


class Connection(asyncio.BufferedProtocol):
    """Made by `connect`; serves one exchange. One task writes and waits; nothing here waits for more than one thing."""

    __slots__ = (
        "_early",
        "_early_bytes",
        "_is_full",
        "_is_paused",
        "_loop",
        "_parser",
        "_pool",
        "_remaining",
        "_taker",
        "_woken",
        "error",
        "is_over",
        "read_at",
        "transport",
    )

    def __init__(self, pool: BufferPool) -> None:
        self._loop = asyncio.get_running_loop()
        self._pool = pool
        self.transport: asyncio.Transport | None = None
        """None before it is made, and once it is lost."""
        self._parser: ReplyParser | None = None
        self._is_full = False
        self._woken: asyncio.Future[None] | None = None
        self._taker: Taker | None = None
        self._early: list[bytes] = []
        self._early_bytes = 0
        """Of the body, passed by the parser before anybody took it."""
        self._remaining: int | None = None
        """Bytes of the body still to come, once the parser is not needed to count them."""
        self._is_paused = False
        self.read_at = 0.0
        """Loop time at which bytes came last, or reading was resumed."""
        self.error: Broken | Garbage | None = None
        """Why nothing more comes, if it is not that all has come."""
        self.is_over = False
        """Nothing more comes."""

    # The transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert hasattr(transport, "pause_reading")
        self.transport = transport  # type: ignore[assignment]  # uvloop's is no subclass of asyncio's

    def get_buffer(self, sizehint: int) -> memoryview:
        """Choose where the next bytes go."""
        taker = self._taker
        if taker is None or self.is_over:
            room = self._pool.scratch
            return room if self._remaining is None or self.is_over else room[: self._remaining]
        if self._remaining is None:
            # The framing only takes bytes away, so what comes out fits where the taker has room.
            return self._pool.chunks[: len(taker.room())]
        return taker.room()[: self._remaining]

    def buffer_updated(self, nbytes: int) -> None:
        """Take what came."""
        if self.is_over:
            return
        self.read_at = self._loop.time()
        taker = self._taker
        if self._remaining is None:
            self._parse((self._pool.scratch if taker is None else self._pool.chunks)[:nbytes])
            return
        self._remaining -= nbytes
        if taker is None:
            self._early.append(bytes(self._pool.scratch[:nbytes]))
            self.pause()
            self._wake()
        else:
            taker.filled(nbytes)
        if not self._remaining:
            self._end(None)

    def _parse(self, data: memoryview) -> None:
        parser = self._parser
        if parser is None:
            parser = self._parser = ReplyParser(self._on_body)
        try:
            parser.feed(data)
        except Garbage as exc:
            # Said anew: what this one was raised through holds the connection, which would hold it.
            self._end(Garbage(str(exc)))
            return
        if parser.head is None:
            return
        if parser.is_complete:
            self._end(None)
        elif self._early:
            # Nobody takes the body yet: the rest of it stays with the kernel.
            self.pause()
        self._wake()

    def _on_body(self, body: bytes) -> None:
        taker = self._taker
        if taker is None:
            self._early.append(body)
            self._early_bytes += len(body)
            return
        taker.room()[: len(body)] = body
        taker.filled(len(body))

    def eof_received(self) -> None:
        """Take the end of the stream for the end of the body where nothing else tells it."""
        # At once: the transport itself closes only when what we still write has been taken, which may be never.
        self._end(self._how_it_closed())

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits."""
        if exc is None:
            self._end(self._how_it_closed())
        else:
            why = errno_name(exc) if isinstance(exc, OSError) else type(exc).__name__
            self._end(Broken(f"the connection broke ({why})"))
        # The two hold one another.
        self.transport = None

    def _how_it_closed(self) -> Broken | None:
        if self._parser is None or self._parser.head is None:
            return Broken("the connection was closed without an answer")
        if self._parser.framing is Framing.CLOSE:
            return None
        return Broken("fewer bytes came than were announced")

    def pause_writing(self) -> None:
        """Let writers wait."""
        self._is_full = True

    def resume_writing(self) -> None:
        """Let them go on."""
        self._is_full = False
        self._wake()

    # The exchange's side

    @property
    def parser(self) -> ReplyParser | None:
        """What is known of the answer; None before its first byte."""
        return self._parser

    @property
    def has_answered(self) -> bool:
        """Whether the final head is there, or never will be."""
        return self.is_over or (self._parser is not None and self._parser.head is not None)

    @property
    def is_closing(self) -> bool:
        """Whether nothing can be written any more."""
        return self.transport is None or self.transport.is_closing()

    def write(self, data: bytes) -> None:
        """Hand bytes to the kernel, or to the transport's buffer; drop them if the connection is gone."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    async def drain(self) -> None:
        """Wait until the kernel has taken what was written, an answer is there, or the connection is gone."""
        while self._is_full and not self.has_answered:
            await self.something()

    async def something(self) -> None:
        """Wait for a change: room to write, a head, more of an untaken body, or that nothing more comes."""
        assert self._woken is None, "one task serves an exchange"
        self._woken = self._loop.create_future()
        try:
            await self._woken
        finally:
            self._woken = None

    def _wake(self) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    def take_early(self) -> bytes:
        """Give the bytes of the body that came before anybody took it."""
        early, self._early = b"".join(self._early), []
        return early

    @property
    def has_early(self) -> bool:
        """Whether bytes of the body wait to be taken."""
        return bool(self._early)

    def give_to(self, taker: Taker | None) -> None:
        """Let the body flow to `taker`; None: nobody, until somebody takes it again."""
        parser = self._parser
        assert parser is not None
        if self._remaining is None:
            # From here on the parser is needed for chunks only.
            if parser.framing is Framing.CLOSE:
                self._remaining = 1 << 62
            elif parser.framing is Framing.LENGTH:
                self._remaining = parser.content_length - self._early_bytes
        self._taker = taker

    def pause(self) -> None:
        """Leave what comes to the kernel."""
        if not self._is_paused:
            self._is_paused = True
            if self.transport is not None and not self.transport.is_closing():
                self.transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._is_paused:
            self._is_paused = False
            self.read_at = self._loop.time()
            if self.transport is not None and not self.transport.is_closing():
                self.transport.resume_reading()

    @property
    def is_paused(self) -> bool:
        """Whether it is us who keep the upstream waiting."""
        return self._is_paused

    def fail(self, error: Broken) -> None:
        """End the exchange from our side."""
        self._end(error)

    def abort(self) -> None:
        """Close, whatever is in flight."""
        self._end(Broken("given up"))
        if self.transport is not None and not self.transport.is_closing():
            self.transport.abort()

    def _end(self, error: Broken | Garbage | None) -> None:
        if self.is_over:
            return
        self.is_over = True
        self.error = error
        if self._parser is not None:
            self._parser.release()
        if self._taker is not None:
            self._taker.ended()
        self._wake()
