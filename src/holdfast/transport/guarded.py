"""A request to an address that a caller has named: resolved once, each address looked at, connected to one of those.

So a name whose answer changes between the check and the connection gains nothing. No proxy of the environment is used
and no credential goes along. Of the answer to a POST only the head is kept, and no redirect is followed; a GET follows
a few, each looked at like the first. `GuardedNames` also stands before files that an upstream names
(`aio.AioTransport.fetch`).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from urllib.parse import urldefrag, urljoin

from holdfast import __version__
from holdfast.policy.addresses import AddressRules, Destination, Refused, destination_of, obstacle
from holdfast.providers.http import Head
from holdfast.threads import Threads
from holdfast.transport.buffers import BufferPool
from holdfast.transport.connect import NotConnected, connect
from holdfast.transport.connection import Connection
from holdfast.transport.names import Names
from holdfast.transport.reply import Framing
from holdfast.transport.sockets import AddrInfo

Resolve = Callable[[str, int], Awaitable[list[AddrInfo]]]
Take = Callable[[bytes], Awaitable[None]]

BODY_BYTES_MAX = 4096
"""Of an answer, read and dropped: a small one is taken whole, so that its sender sees no broken connection."""
BODY_S = 1.0
REDIRECTS_MAX = 3
"""Of a GET: stores of images send on to the place where the bytes lie, seldom twice."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
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
    is_too_long: bool = False
    """It would have been answered with more than is taken."""


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
    """Makes such requests; `close` is its end."""

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
        try:
            async with contextlib.AsyncExitStack() as stack:
                async with asyncio.timeout(timeout_s):
                    request = _post_request(destination, headers, body)
                    connection = await self._answered(stack, destination, request, timeout_s)
                return await _head_of(connection)
        except NotConnected as exc:
            return NotAnswered(reason=_without_settings(str(exc)))
        except TimeoutError:
            return NotAnswered(reason="no answer in time")

    async def get(self, url: str, *, take: Take, bytes_max: int, timeout_s: float) -> Head | NotAnswered:
        """Fetch a body, piece by piece; the head of a 200 says that all of it was taken.

        Args:
            url: As it was named.
            take: Given each piece of the body in turn; what it raises ends the fetching.
            bytes_max: The longest body taken.
            timeout_s: For all of it, redirects included.
        """
        try:
            async with asyncio.timeout(timeout_s):
                for _ in range(REDIRECTS_MAX + 1):
                    destination = destination_of(url, self._rules)
                    if isinstance(destination, Refused):
                        return NotAnswered(reason=f"the URL {destination.reason}")
                    async with contextlib.AsyncExitStack() as stack:
                        connection = await self._answered(stack, destination, _get_request(destination), timeout_s)
                        location = _location_of(connection)
                        if location is None:
                            return await _taken(connection, take, bytes_max)
                    # A fragment is the client's own.
                    url = urldefrag(urljoin(url, location)).url
                return NotAnswered(reason=f"it redirects more than {REDIRECTS_MAX} times")
        except NotConnected as exc:
            return NotAnswered(reason=_without_settings(str(exc)))
        except TimeoutError:
            return NotAnswered(reason="no answer in time")
        except ValueError:
            # `urljoin` of what is no URL.
            return NotAnswered(reason="it redirects to what is no URL")

    async def _answered(
        self, stack: contextlib.AsyncExitStack, destination: Destination, request: bytes, timeout_s: float
    ) -> Connection:
        """Send a request and wait for the head; the connection is cut when the stack is left."""
        context = await self._tls() if destination.is_tls else None
        connection = await connect(
            self._pool,
            self._names,
            host=destination.host,
            port=destination.port,
            context=context,
            connect_s=timeout_s,
        )
        stack.callback(connection.abort)
        connection.write(request)
        await connection.drain()
        while not connection.has_answered:
            await connection.something()
        return connection

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


def _get_request(destination: Destination) -> bytes:
    lines = [
        f"GET {destination.target} HTTP/1.1",
        f"Host: {destination.authority}",
        f"User-Agent: holdfast/{__version__}",
        "Accept: image/*",
        "Accept-Encoding: identity",
        "Connection: close",
    ]
    return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n"


def _location_of(connection: Connection) -> str | None:
    """Where an answer sends on to; None if it does not."""
    head = None if connection.parser is None else connection.parser.head
    if head is None or head.status not in _REDIRECTS:
        return None
    return head.headers.get("location", ("",))[0]


async def _taken(connection: Connection, take: Take, bytes_max: int) -> Head | NotAnswered:
    """Take the body of a 200, never more of it than is wanted."""
    parser = connection.parser
    if parser is None or parser.head is None:
        return NotAnswered(reason=str(connection.error))
    head = parser.head
    if head.status != 200:
        return NotAnswered(reason=f"the answer was {head.status}")
    if head.headers.get("content-encoding", ("identity",))[0].lower() not in ("", "identity"):
        return NotAnswered(reason="the answer was encoded, which was not asked for")
    too_long = NotAnswered(reason=f"it is longer than {bytes_max:,} bytes", is_too_long=True)
    if parser.framing is Framing.LENGTH and parser.content_length > bytes_max:
        return too_long
    seen = 0
    while True:
        while connection.has_early:
            piece = connection.take_early()
            seen += len(piece)
            if seen > bytes_max:
                return too_long
            await take(piece)
        if connection.is_over:
            return head if connection.error is None else NotAnswered(reason=str(connection.error))
        connection.resume()
        await connection.something()


def _post_request(destination: Destination, headers: Iterable[tuple[str, str]], body: bytes) -> bytes:
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
