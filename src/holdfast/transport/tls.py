"""TLS between a socket and a `Connection`, reading no further than somebody takes.

The loops' own layers read ahead of a protocol that has paused, up to half a megabyte a connection, and when the peer
hangs up meanwhile they drop what they hold: uvloop 0.23 all of it, asyncio all that does not fit the next buffer.
Upstreams hang up right behind their answer, since one exchange is all that was asked for. So an image that waited for
admission, or whose last bytes came while both its buffers were full, was lost. Plain asyncio's layer keeps a buffer of
256 KB for each held request besides.

Here pausing pauses the socket, and what was decrypted already is handed over before the socket is read again.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, cast

from holdfast.transport.buffers import BufferPool
from holdfast.transport.connection import Connection

RECORD_BYTES = 16_640
"""A whole record and more (RFC 8446 §5.2): less than that at a time would be many reads without a byte of text."""
WRITE_BYTES = 262_144
"""Encrypted at a time: all of 20 MB at once would be there twice."""


class TlsLayer(asyncio.Transport, asyncio.BufferedProtocol):
    """Protocol of the socket's transport, and transport of the connection above it."""

    __slots__ = (
        "_above",
        "_chunks",
        "_error",
        "_incoming",
        "_is_ended",
        "_is_open",
        "_is_paused",
        "_loop",
        "_outgoing",
        "_shaken",
        "_tls",
        "_unsent",
        "_wire",
    )

    def __init__(self, above: Connection, pool: BufferPool, context: ssl.SSLContext, *, server_hostname: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._above = above
        self._chunks = pool.chunks
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_hostname)
        self._wire: asyncio.Transport | None = None
        self._shaken: asyncio.Future[None] = self._loop.create_future()
        self._is_open = False
        self._is_paused = False
        self._is_ended = False
        """The peer has said that nothing more comes."""
        self._error: Exception | None = None
        self._unsent: list[memoryview] = []

    async def handshake(self) -> None:
        """Wait until the connection above is made; to be called once.

        Raises:
            ssl.SSLError: The peer is not who it should be, or speaks something else.
            OSError: The connection was lost.
        """
        await self._shaken
        if not self._is_open:
            raise self._failure()

    def _failure(self) -> Exception:
        # Not kept: what it is raised through holds this object.
        error, self._error = self._error, None
        return error or ConnectionResetError("closed during the handshake")

    # The socket's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say hello."""
        assert hasattr(transport, "pause_reading")
        self._wire = transport  # type: ignore[assignment]  # uvloop's is no subclass of asyncio's
        self._shake()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Give room for as much as can be handed on, and for a record at least."""
        bytes_ = len(self._above.get_buffer(-1)) if self._is_open else 0
        return self._chunks[: max(bytes_, RECORD_BYTES)]

    def buffer_updated(self, nbytes: int) -> None:
        """Decrypt what came and hand it on."""
        self._incoming.write(self._chunks[:nbytes])
        if self._is_open:
            self._read()
        else:
            self._shake()

    def eof_received(self) -> None:
        """Tell of the end. Everything before it has been handed on: nothing is read from a socket that is paused."""
        if self._is_open and not self._is_ended:
            self._is_ended = True
            self._above.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell of the loss."""
        self._wire = None
        self._unsent.clear()
        self._error = self._error or exc
        if self._is_open:
            self._above.connection_lost(self._error)
        elif not self._shaken.done():
            self._shaken.set_result(None)

    def pause_writing(self) -> None:
        """Let writers wait."""
        self._above.pause_writing()

    def resume_writing(self) -> None:
        """Let them go on."""
        self._above.resume_writing()

    # Between the two

    def _shake(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._send()
        except ssl.SSLError as exc:
            self._error = exc
            self._hang_up()
        else:
            self._send()
            self._is_open = True
            self._above.connection_made(self)
            if not self._shaken.done():
                self._shaken.set_result(None)
            self._read()

    def _read(self) -> None:
        """Hand on what can be decrypted, until the connection above has had enough."""
        is_end = self._is_ended
        while not (is_end or self._is_paused) and self._has_more:
            count, is_end = self._decrypt(self._above.get_buffer(-1))
            if count:
                self._above.buffer_updated(count)
            elif not is_end:
                # A record that is not whole yet.
                break
        if is_end and not self._is_ended:
            self._is_ended = True
            if self._error is None:
                self._above.eof_received()
            else:
                self._hang_up()
        # Keys may have been renewed, and a write may have waited for it.
        self._encrypt()

    @property
    def _has_more(self) -> bool:
        return bool(self._incoming.pending or self._tls.pending())

    def _decrypt(self, room: memoryview) -> tuple[int, bool]:
        """Fill `room` as far as there is something; say how far, and whether nothing follows."""
        filled = 0
        try:
            while filled < len(room) and self._has_more:
                count = cast(int, self._tls.read(len(room) - filled, room[filled:]))
                if not count:
                    return filled, True
                filled += count
        except ssl.SSLWantReadError:
            return filled, False
        except ssl.SSLZeroReturnError:
            return filled, True
        except ssl.SSLError as exc:
            self._error = exc
            return filled, True
        return filled, False

    def _encrypt(self) -> None:
        try:
            while self._unsent:
                piece = self._unsent[0]
                count = self._tls.write(piece)
                if count < len(piece):
                    self._unsent[0] = piece[count:]
                else:
                    del self._unsent[0]
                self._send()
        except ssl.SSLWantReadError:
            # Tried again with the next bytes that come.
            self._send()
        except ssl.SSLError as exc:
            self._error = exc
            self._hang_up()
        else:
            self._send()

    def _send(self) -> None:
        if self._outgoing.pending and self._wire is not None and not self._wire.is_closing():
            self._wire.write(self._outgoing.read())

    def _hang_up(self) -> None:
        """Give up; the alert that says why goes out first."""
        self._send()
        if self._wire is not None:
            self._wire.close()

    # The side of the connection above

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Ask the socket's transport."""
        return self._wire.get_extra_info(name, default) if self._wire is not None else default

    def is_closing(self) -> bool:
        """Whether nothing can be written any more."""
        return self._wire is None or self._wire.is_closing()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send."""
        view = memoryview(data)
        self._unsent += [view[at : at + WRITE_BYTES] for at in range(0, len(view), WRITE_BYTES)]
        self._encrypt()

    def pause_reading(self) -> None:
        """Read nothing more from the socket."""
        self._is_paused = True
        if self._wire is not None:
            self._wire.pause_reading()

    def resume_reading(self) -> None:
        """Go on, with what had been read before."""
        self._is_paused = False
        # Later, as a socket would: whoever resumes is not yet ready for an end that comes at once.
        self._loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        if self._wire is None or self._is_paused:
            return
        self._read()
        if self._wire is not None and not self._is_paused and not self._wire.is_closing():
            self._wire.resume_reading()

    def abort(self) -> None:
        """Close, whatever is in flight."""
        if self._wire is not None:
            self._wire.abort()
