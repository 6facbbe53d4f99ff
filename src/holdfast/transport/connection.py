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

from holdfast.transport.connect import errno_name
from holdfast.transport.reply import Framing, Garbage, ReplyParser

SCRATCH = memoryview(bytearray(8192))
CHUNKS = memoryview(bytearray(262_144))
"""Where chunked bodies are read before their framing is taken off; shared, since reading and parsing do not wait."""


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
    """Made by `connect`; serves one exchange."""

    __slots__ = (
        "_drained",
        "_early",
        "_early_bytes",
        "_is_paused",
        "_loop",
        "_parser",
        "_remaining",
        "_taker",
        "_woken",
        "error",
        "is_over",
        "read_at",
        "transport",
    )

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport | None = None
        self._parser: ReplyParser | None = None
        self._drained: asyncio.Future[None] | None = None
        self._woken: asyncio.Future[None] | None = None
        self._taker: Taker | None = None
        self._early: list[bytes] = []
        self._early_bytes = 0
        """Of the body, passed by the parser before anybody took it."""
        self._remaining: int | None = None
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
        if self._taker is None or self.is_over:
            return SCRATCH if self._remaining is None or self.is_over else SCRATCH[: self._remaining]
        if self._remaining is None:
            # The framing only takes bytes away, so what comes out fits where the taker has room.
            return CHUNKS[: len(self._taker.room())]
        return self._taker.room()[: self._remaining]

    def buffer_updated(self, nbytes: int) -> None:
        """Take what came."""
        if self.is_over:
            return
        self.read_at = self._loop.time()
        taker = self._taker
        if self._remaining is None:
            self._parse(SCRATCH[:nbytes] if taker is None else CHUNKS[:nbytes])
            return
        self._remaining -= nbytes
        if taker is None:
            self._early.append(bytes(SCRATCH[:nbytes]))
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
            self._end(exc)
            return
        if parser.head is None:
            return
        if parser.is_complete:
            self._end(None)
        elif self._taker is None:
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

    def eof_received(self) -> bool | None:
        """Take the end of the stream for the end of the body where nothing else tells it."""
        if self._parser is not None and self._parser.head is not None and self._parser.framing is Framing.CLOSE:
            self._end(None)
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits."""
        if exc is None:
            is_body = self._parser is not None and self._parser.head is not None
            why = "fewer bytes came than were announced" if is_body else "the connection was closed without an answer"
        else:
            why = f"the connection broke ({errno_name(exc) if isinstance(exc, OSError) else type(exc).__name__})"
        self._end(Broken(why))
        self._drain()

    def pause_writing(self) -> None:
        """Let writers wait."""
        if self._drained is None:
            self._drained = self._loop.create_future()

    def resume_writing(self) -> None:
        """Let them go on."""
        self._drain()

    def _drain(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

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
        """Hand bytes to the kernel, or to the transport's buffer."""
        assert self.transport is not None
        self.transport.write(data)

    async def drain(self) -> None:
        """Wait until the kernel has taken what was written, an answer is there, or the connection is gone."""
        while (drained := self._drained) is not None and not self.has_answered:
            await self._either(drained)

    async def _either(self, drained: asyncio.Future[None]) -> None:
        """Wait for the drain or a word from the upstream, whichever comes first."""
        self._woken = woken = self._loop.create_future()
        drained.add_done_callback(lambda _: self._wake())
        try:
            await woken
        finally:
            self._woken = None

    async def something(self) -> None:
        """Wait until the head is there, more of an untaken body is, or nothing more comes."""
        self._woken = woken = self._loop.create_future()
        try:
            await woken
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
        if not self._is_paused and not self.is_closing:
            self._is_paused = True
            assert self.transport is not None
            self.transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._is_paused:
            self._is_paused = False
            self.read_at = self._loop.time()
            if not self.is_closing:
                assert self.transport is not None
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
        if self.transport is not None and not self.transport.is_closing():
            self.transport.abort()

    def _end(self, error: Broken | Garbage | None) -> None:
        if self.is_over:
            return
        self.is_over = True
        self.error = error
        if self._taker is not None:
            self._taker.ended()
        self._wake()
