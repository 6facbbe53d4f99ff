"""A POST to an address that a caller has named: resolved once, every address looked at, and connected to one of those.

So a name whose answer changes between the check and the connection gains nothing. No redirect is followed, no proxy of
the environment is used, no credential goes along, and of the answer only the head is kept.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from holdfast import __version__
from holdfast.policy.addresses import AddressRules, Destination, Refused, destination_of, obstacle
from holdfast.providers.http import Head
from holdfast.threads import Threads
from holdfast.transport.buffers import BufferPool
from holdfast.transport.connect import NotConnected, connect
from holdfast.transport.connection import Connection
from holdfast.transport.names import Names
from holdfast.transport.sockets import AddrInfo

Resolve = Callable[[str, int], Awaitable[list[AddrInfo]]]

BODY_BYTES_MAX = 4096
"""Of an answer, read and dropped: a small one is taken whole, so that its sender sees no broken connection."""
BODY_S = 1.0
RESOLVING = 16
"""Threads that ask for names, one for each try. Not the loop's own: a name server that lets us wait must not stop
upstreams' names."""
_SETTING = " (connect_s)", " (set ca_file for a private authority)"
"""Hints to settings that are not about these connections."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotAnswered:
    """No head of an answer came, or nothing was sent at all."""

    reason: str
    """Without host, path and address."""


class GuardedNames(Names):
    """Gives the addresses of a host only if every one of them is allowed."""

    __slots__ = ("_resolve", "_rules")

    def __init__(self, rules: AddressRules, resolve: Resolve) -> None:
        super().__init__()
        self._rules = rules
        self._resolve = resolve

    async def addresses(self, host: str, port: int) -> list[AddrInfo]:
        """Ask, and look at what comes: it is what the connection is made to.

        Raises:
            NotConnected: An address is not allowed.
            OSError: There is none, or nobody can say.
        """
        found = await self._resolve(host, port)
        refused = obstacle((str(each[4][0]) for each in found), self._rules)
        if refused is not None:
            raise NotConnected(f"the host {refused.reason}")
        return found


class GuardedTransport:
    """Makes such POSTs; `close` is its end."""

    def __init__(
        self, rules: AddressRules, *, resolve: Resolve | None = None, context: ssl.SSLContext | None = None
    ) -> None:
        """Prepare.

        Args:
            rules: Where a request may go.
            resolve: Asks for addresses; the system's resolver by default.
            context: For TLS; the system's authorities by default.
        """
        self._rules = rules
        self._threads = Threads(RESOLVING, "resolve")
        self._names = GuardedNames(rules, resolve or self._ask)
        self._pool = BufferPool()
        self._context = context

    def close(self) -> None:
        """Let the threads go."""
        self._threads.close()

    async def post(
        self, url: str, *, headers: Iterable[tuple[str, str]], body: bytes, timeout_s: float
    ) -> Head | NotAnswered:
        """Send a small body and wait for the head of the answer, whatever its status.

        Args:
            url: As it was named; looked at anew each time, since the rules may have changed.
            headers: Ours, besides those of every request.
            body: JSON.
            timeout_s: For all of it, from the name to the head.
        """
        destination = destination_of(url, self._rules)
        if isinstance(destination, Refused):
            return NotAnswered(reason=f"the URL {destination.reason}")
        connection: Connection | None = None
        try:
            async with asyncio.timeout(timeout_s):
                context = await self._tls() if destination.is_tls else None
                connection = await connect(
                    self._pool,
                    self._names,
                    host=destination.host,
                    port=destination.port,
                    context=context,
                    connect_s=timeout_s,
                )
                connection.write(_request(destination, headers, body))
                await connection.drain()
                while not connection.has_answered:
                    await connection.something()
            return await _head_of(connection)
        except NotConnected as exc:
            return NotAnswered(reason=_without_settings(str(exc)))
        except TimeoutError:
            return NotAnswered(reason="no answer in time")
        finally:
            if connection is not None:
                connection.abort()

    async def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            # Reads and parses a few hundred certificates: 10-20 ms that the loop need not lose.
            self._context = await self._threads.run(ssl.create_default_context)
            self._context.set_alpn_protocols(["http/1.1"])
        return self._context

    async def _ask(self, host: str, port: int) -> list[AddrInfo]:
        found = await self._threads.run(
            lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
        )
        return [(family, kind, protocol, name, address) for family, kind, protocol, name, address in found]


def _request(destination: Destination, headers: Iterable[tuple[str, str]], body: bytes) -> bytes:
    lines = [
        f"POST {destination.target} HTTP/1.1",
        f"Host: {destination.authority}",
        f"User-Agent: holdfast/{__version__}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Accept-Encoding: identity",
        "Connection: close",
        *(f"{name}: {value}" for name, value in headers),
    ]
    return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + body


async def _head_of(connection: Connection) -> Head | NotAnswered:
    parser = connection.parser
    if parser is None or parser.head is None:
        return NotAnswered(reason=str(connection.error))
    left = BODY_BYTES_MAX
    try:
        async with asyncio.timeout(BODY_S):
            while left > 0 and not connection.is_over:
                left -= len(connection.take_early())
                connection.resume()
                await connection.something()
    except TimeoutError:
        # The status is known; whoever does not end its answer is hung up on.
        return parser.head
    return parser.head


def _without_settings(reason: str) -> str:
    for hint in _SETTING:
        reason = reason.removesuffix(hint)
    return reason
