"""One HTTP call of a caller, in the few verbs that handlers need; the only file that speaks ASGI messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, MutableMapping
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any
from urllib.parse import parse_qs

from holdfast.errors import RequestError
from holdfast.gateway.protocol import HoldProtocol

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Coroutine[Any, Any, None]]
Headers = list[tuple[bytes, bytes]]


class CallerLeft(Exception):
    """The caller's connection ended before its request was read whole."""


class Call:
    """A request being answered."""

    __slots__ = (
        "_receive",
        "_send",
        "body_bytes_max",
        "client",
        "complete",
        "headers",
        "http_version",
        "method",
        "path",
        "protocol",
        "query",
        "received_at",
        "request_id",
        "scheme",
        "shared",
        "started",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send, *, request_id: str, body_bytes_max: int) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.http_version: str = scope["http_version"]
        self.scheme: str = scope["scheme"]
        self.client: str = scope["client"][0] if scope.get("client") else ""
        query = scope.get("query_string") or b""
        self.query: dict[str, str] = (
            {name: values[-1] for name, values in parse_qs(query.decode("latin-1"), keep_blank_values=True).items()}
            if query
            else {}
        )
        self.headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            key = name.decode("latin-1")
            text = value.decode("latin-1").strip()
            self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text
        # The scope lives as long as the request; its raw headers need not.
        scope["headers"] = []
        self.protocol: HoldProtocol = scope["extensions"]["holdfast"]
        self.request_id = request_id
        self.body_bytes_max = body_bytes_max
        self.received_at = asyncio.get_running_loop().time()
        """Loop time, seconds, at which the head was read."""
        self.started = False
        """Whether the head of the answer is out."""
        self.complete = False
        """Whether its last byte is."""
        self.shared: tuple[tuple[bytes, bytes], ...] = ()
        """What its answer tells a browser whose page is another origin's."""
        self._receive = receive
        self._send = send

    @property
    def has_left(self) -> bool:
        """Whether the connection is gone."""
        return self.protocol.transport.is_closing()

    def content_type(self) -> str:
        """The media type without its parameters, lower case."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    async def body(self) -> AsyncIterator[bytes]:
        """Give the request body piece by piece, up to 256 KB each, with backpressure.

        Raises:
            RequestError: 413 `input_too_large`, before the first byte where Content-Length tells.
            CallerLeft: The connection ended first.
        """
        announced = self.headers.get("content-length")
        if announced is not None and int(announced) > self.body_bytes_max:
            raise self._too_large()
        seen = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise CallerLeft
            piece: bytes = message.get("body", b"")
            seen += len(piece)
            if seen > self.body_bytes_max:
                raise self._too_large()
            if piece:
                yield piece
            if not message.get("more_body", False):
                return

    def _too_large(self) -> RequestError:
        return RequestError(
            f"The request body exceeds {self.body_bytes_max:,} bytes (server.request_bytes_max).",
            code="input_too_large",
            status=413,
        )

    async def start(self, status: int, headers: Headers) -> None:
        """Send the head; it leaves together with the first piece of the body."""
        assert not self.started
        self.started = True
        if self.http_version == "1.0" and not any(name == b"content-length" for name, _ in headers):
            self.protocol.close_delimited()
        headers.append((b"x-request-id", self.request_id.encode()))
        headers.extend(self.shared)
        if not self.protocol.write_head(status, headers):
            await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, data: bytes) -> None:
        """Send a piece of the body, waiting while the caller's connection is full."""
        if self.protocol.flow.write_paused and not self.protocol.cycle.disconnected:
            await self.protocol.flow.drain()
        if not self.protocol.write_piece(data):
            await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def finish(self, data: bytes = b"") -> None:
        """Send the last piece."""
        assert not self.complete
        self.protocol.end_close_delimited()
        await self._send({"type": "http.response.body", "body": data, "more_body": False})
        self.complete = True

    def break_off(self) -> None:
        """Cut the answer, so that nobody takes it for whole; one that is complete stays as it is.

        Behind it the connection is the next request's.
        """
        if not self.complete:
            self.protocol.break_off()

    def start_now(self, headers: Headers, first: bytes) -> bool:
        """Send a 200 and its first bytes from a timer, without a task; False if the connection cannot take it."""
        if self.protocol.flow.write_paused or self.has_left:
            return False
        return _step(self.start(200, headers)) and _step(self.write(first))

    def write_now(self, data: bytes) -> bool:
        """Send a few bytes from a timer, without a task.

        While the connection is full they are not needed: unsent bytes are already waiting, the caller is not idle for
        want of ours.
        """
        if self.protocol.flow.write_paused or self.has_left:
            return False
        return _step(self.write(data))

    async def respond(
        self, status: int, body: bytes, content_type: bytes, headers: Iterable[tuple[bytes, bytes]]
    ) -> None:
        """Send a whole, small answer."""
        head: Headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
        head.extend(headers)
        await self.start(status, head)
        await self.finish(b"" if self.method == "HEAD" else body)

    async def json(self, status: int, body: bytes, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        """Send a JSON document that nobody may store or transform."""
        await self.respond(status, body, b"application/json", (*headers, (b"cache-control", b"no-store, no-transform")))


def _step(coroutine: Coroutine[Any, Any, None]) -> bool:
    """Run a coroutine that does not wait; False if it wanted to."""
    try:
        coroutine.send(None)
    except StopIteration:
        return True
    coroutine.close()
    return False


def effective_scheme(call: Call, trusted: tuple[IPv4Network | IPv6Network, ...]) -> str:
    """`https` on the TLS listener, or where a trusted proxy says so."""
    if call.scheme == "https":
        return "https"
    forwarded = call.headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower()
    if forwarded == "https" and is_trusted(call.client, trusted):
        return "https"
    return "http"


def is_trusted(address: str, trusted: tuple[IPv4Network | IPv6Network, ...]) -> bool:
    """Whether an address belongs to a proxy whose X-Forwarded-* are believed."""
    if not trusted or not address:
        return False
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in trusted)
