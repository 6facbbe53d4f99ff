"""Exchanges whose answers are passed on while they come: text of models that are no images.

Nothing is kept, nothing is repeated: an answer that breaks off breaks off for its caller. What is read waits until the
caller has taken it, so memory is one piece; silence has a bound, length and duration do not need one of their own.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

from holdfast.transport.body import request_head
from holdfast.transport.buffers import BufferPool
from holdfast.transport.connect import NotConnected, connect
from holdfast.transport.connection import Connection
from holdfast.transport.exchange import Head, HttpRequest
from holdfast.transport.names import Names

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class NoAnswer:
    """Why there is none."""

    reason: str
    """For people, without the host."""
    was_sent: bool
    """Whether the other side may have acted on it."""


class Through:
    """Makes such exchanges with one upstream; `close` is its end."""

    def __init__(self, *, ca_file: str = "", connect_s: float, silence_s: float) -> None:
        """Prepare.

        Args:
            ca_file: PEM file of the authorities to trust; the system's if empty.
            connect_s: Seconds for name, TCP and TLS together.
            silence_s: Seconds without a byte, in either direction, that end an exchange.
        """
        self._names = Names()
        self._pool = BufferPool()
        self._ca_file = ca_file
        self._connect_s = connect_s
        self._silence_s = silence_s
        self._context: ssl.SSLContext | None = None

    def close(self) -> None:
        """Let the threads go."""
        self._names.close()

    async def open(self, url: str) -> Passing | NoAnswer:
        """Connect; what comes back must be closed.

        Raises:
            OSError: The file of authorities cannot be read.
        """
        parts = urlsplit(url)
        context = await self._tls() if parts.scheme == "https" else None
        try:
            connection = await connect(
                self._pool,
                self._names,
                host=parts.hostname or "",
                port=parts.port or _PORTS[parts.scheme],
                context=context,
                connect_s=self._connect_s,
            )
        except NotConnected as exc:
            return NoAnswer(reason=str(exc), was_sent=False)
        return Passing(connection, self._silence_s)

    async def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            loop = asyncio.get_running_loop()
            made = await loop.run_in_executor(None, partial(ssl.create_default_context, cafile=self._ca_file or None))
            made.set_alpn_protocols(["http/1.1"])
            self._context = made
        return self._context


class Passing:
    """One exchange."""

    def __init__(self, connection: Connection, silence_s: float) -> None:
        self._connection = connection
        self._silence_s = silence_s

    def close(self) -> None:
        """Hang up; whoever waits in here is woken."""
        self._connection.abort()

    async def ask(
        self, url: str, *, headers: Sequence[tuple[str, str]], size: int, body: AsyncIterator[bytes]
    ) -> Head | NoAnswer:
        """Send a POST, piece by piece, and wait for the head of the answer.

        Args:
            url: Where.
            headers: Besides `Host`, `Content-Length` and `Connection`.
            size: Of the body, bytes.
            body: Its pieces.
        """
        connection = self._connection
        lengths = [*headers, ("Content-Length", str(size)), ("Content-Type", "application/json")]
        request = HttpRequest(method="POST", url=url, headers=tuple(lengths), body=())
        try:
            connection.write(request_head(request, body=None))
            async for piece in body:
                connection.write(piece)
                async with asyncio.timeout(self._silence_s):
                    await connection.drain()
                if connection.has_answered:
                    break
            while not connection.has_answered:
                await self._something()
        except TimeoutError:
            return NoAnswer(reason="it is silent", was_sent=True)
        parser = connection.parser
        if parser is None or parser.head is None:
            return NoAnswer(reason=str(connection.error), was_sent=True)
        return parser.head

    async def pieces(self) -> AsyncIterator[bytes]:
        """Give the body as it comes, never more than has been taken.

        Raises:
            ConnectionError: It broke off, or fell silent.
        """
        connection = self._connection
        while True:
            while connection.has_early:
                yield connection.take_early()
            if connection.is_over:
                break
            connection.resume()
            try:
                await self._something()
            except TimeoutError as exc:
                raise ConnectionError("silent for too long") from exc
        if connection.error is not None:
            raise ConnectionError(str(connection.error))

    async def _something(self) -> None:
        async with asyncio.timeout(self._silence_s):
            await self._connection.something()
