"""One caller's connection: uvicorn's httptools protocol, made strict, timed and observable.

What stock uvicorn lacks and a holding gateway needs (each measured, see docs/discussions/server.md):

1. Timers: a connection that asks nothing, a head that never ends, a body that stalls. One handle serves all.
2. Limits: header block, chunk overhead, bytes discarded after an early answer.
3. `Upgrade: h2c`, which Java's HttpClient sends by default: stock drops the body or, worse, lets it be parsed as a
   second request. Here the upgrade is ignored (RFC 9110 §7.8 allows it) and the body is read.
4. Framing: exactly one Host, no unknown transfer coding, no request parsed behind a running answer.
5. Half-closed callers still get their answer; a caller that has gone is reported at once, through `on_lost`.
6. Head and first body byte in one segment, since nginx forwards no head before the first body byte.
"""

from __future__ import annotations

import asyncio
import fcntl
import re
import socket
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from holdfast.wire.failures import content_type_of, error_headers, render_error, surface_of_path

# asm-generic/ioctls.h: bytes in the send queue, unsent and unacknowledged together. Linux.
_SIOCOUTQ = 0x5411
_UPGRADE_HEADERS = frozenset({b"connection", b"upgrade", b"http2-settings"})
_WITHOUT_BODY = {204, 304}
_PLAIN = bytes({*range(256)} - {*range(0x20)} - {0x7F} | {0x09})
"""What a header may hold."""
# RFC 9110 §7.2: uri-host [ ":" port ], after RFC 3986 §3.2.2: an address in brackets or a name, either of which may be
# empty. A user, a path or a query would end up in the links that are made of it.
_HOST_LIKE = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._~!$&'()*+,;=%]*)(?::[0-9]{0,5})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """What one connection may cost; from `server.*` of the settings."""

    header_bytes_max: int
    header_timeout_s: float
    body_gap_s: float
    idle_timeout_s: float
    caller_dead_s: float
    """How long what is sent to a caller may stay unacknowledged, unless it is an answer's body."""
    discard_bytes_max: int = 256 * 1024 * 1024
    """Read and thrown away after an early answer, so that a caller in mid-upload sees the answer and not a reset."""
    chunk_overhead_bytes_max: int = 64 * 1024
    chunk_overhead_per_byte: int = 8
    """A chunk of one byte costs five of framing; more than this is chunk extensions, which nobody needs."""


class _Refused(Exception):
    """Raised inside parser callbacks to stop parsing."""


class _OneSegmentTransport:
    """A stand-in for the transport that holds a response head until the first body byte, or the end of the loop turn.

    Two `send()` calls would be two segments, and a proxy that waits for a body byte would sit on the head.
    """

    __slots__ = ("_head", "_loop", "_transport", "is_closing")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        # Asked before every piece of an answer: both a method and `__getattr__` would be a detour.
        self.is_closing = transport.is_closing
        self._loop = loop
        self._head: bytes | None = None

    def write(self, data: bytes) -> None:
        if self._head is not None:
            head, self._head = self._head, None
            # A large piece is not copied for the sake of one segment: it fills segments by itself.
            if len(data) <= 65536:
                self._transport.write(head + data)
            else:
                self._transport.write(head)
                self._transport.write(data)
        elif data[:7] == b"HTTP/1." and data[:13] != b"HTTP/1.1 100 ":
            self._head = data
            self._loop.call_soon(self._flush)
        else:
            self._transport.write(data)

    def writelines(self, parts: Iterable[bytes]) -> None:
        if self._head is not None:
            self.write(b"".join(parts))
        else:
            self._transport.writelines(parts)

    def _flush(self) -> None:
        if self._head is not None:
            head, self._head = self._head, None
            if not self._transport.is_closing():
                self._transport.write(head)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class HoldProtocol(HttpToolsProtocol):
    """See the module's docstring. `limits` is set by `bound_to`."""

    limits: ConnectionLimits
    is_leaving = False
    """Set on the class while callers are to go elsewhere with their next request."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # uvicorn writes it as soon as anybody configures logging; its lines hold query strings, and keys stand in them.
        self.access_log = False
        self.on_lost: Callable[[], None] | None = None
        """Called once when the caller's connection is gone while a response is in progress."""
        self.on_half_closed: Callable[[], None] | None = None
        """Called when the caller has closed its side in plain HTTP; it is still owed an answer."""
        self.lost_to: Exception | None = None
        """What ended the connection; None while it is there, and after an orderly end."""
        self.url = b""
        """The target; uvicorn sets it with a request's first byte, and empty lines before one are none."""
        self.half_closed = False
        self._had_all = False
        self.stays_open = False
        """Set while whoever answers closes by itself, once it has seen the last byte acknowledged."""
        self._is_user_timeout_set = False
        self.is_awaited = False
        """Set while somebody waits for the last byte to be acknowledged."""
        self._timer: asyncio.TimerHandle | None = None
        self._in_head = False
        self._head_bytes = 0
        self._counted = 0
        self._raw_bytes = 0
        self._body_bytes = 0
        self._refusal: tuple[int, str, str] | None = None
        self._upgrading = False
        self._discarding = False

    @classmethod
    def bound_to(cls, limits: ConnectionLimits) -> type[HoldProtocol]:
        """Give the class that uvicorn instantiates for each connection."""
        return type("BoundHoldProtocol", (cls,), {"limits": limits})

    # Connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin: the connection has `idle_timeout_s` to ask something."""
        super().connection_made(cast(asyncio.Transport, _OneSegmentTransport(transport, self.loop)))
        self._arm(self.limits.idle_timeout_s, self._on_idle)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever holds this caller, then let uvicorn clean up."""
        self._disarm()
        self.lost_to = exc
        on_lost, self.on_lost = self.on_lost, None
        super().connection_lost(exc)
        if on_lost is not None:
            on_lost()

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """Keep the write side for a caller that only closed its own: it is still owed the answer."""
        self.half_closed = True
        cycle = self.cycle
        if cycle is not None and cycle.response_complete and self.scheme == "http":
            # Many hang up as soon as they have the last byte. The descriptor is gone before whoever waits for its
            # acknowledgement could ask.
            self._had_all = self.is_awaited and self.unacknowledged_bytes() == 0
        if cycle is None or cycle.response_complete or cycle.more_body or self.scheme == "https":
            return None
        cycle.keep_alive = False
        if self.on_half_closed is not None:
            self.on_half_closed()
        return True

    def data_received(self, data: bytes) -> None:
        """Parse, unless an answer is still running: then the bytes are a pipelined request, which is not served."""
        if self._discarding:
            return
        if self.is_answering():
            self._discard_the_rest()
            return
        cycle = self.cycle
        self._raw_bytes += len(data)
        if not self._in_head and (cycle is None or not cycle.more_body):
            self._begin_head()
        self._parse(data)
        if self._in_head:
            # The callbacks count whole headers; one that never ends is counted here.
            self._head_bytes += len(data)
            if self._head_bytes > self.limits.header_bytes_max + 65536:
                self._refuse(431, "headers_too_large", "The header block is too large.")

    def _parse(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError:
            if self._discarding or self.is_answering():
                self._discard_the_rest()
                return
            status, code, message = self._refusal or (400, "invalid_request", "The request is not valid HTTP/1.1.")
            self._refuse(status, code, message)
            return
        cycle = self.cycle
        if cycle is not None and cycle.more_body and not self._in_head:
            self._arm(self.limits.body_gap_s, self._on_body_stall)

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Parse the same request again without its upgrade: llhttp believes that an upgrade has no body."""
        self._upgrading = False
        method = self.parser.get_method()
        lines = [method, b" ", self.url, b" HTTP/1.1\r\n"]
        for name, value in self.headers:
            if name not in _UPGRADE_HEADERS:
                lines += [name, b": ", value, b"\r\n"]
        lines.append(b"\r\n")
        self.parser = httptools.HttpRequestParser(self)
        self._head_bytes = 0
        self._parse(b"".join(lines))
        if rest and not self.transport.is_closing():
            self._parse(rest)

    # Parser callbacks

    def on_message_begin(self) -> None:
        """Start a request; the protocol itself travels in the scope's extensions."""
        if self.is_answering():
            # A second request in the same read as the first: not served while the first is held.
            self._discard_the_rest()
        super().on_message_begin()
        if self._discarding:
            return
        if not self._in_head:
            self._begin_head()
        extensions = cast(dict[str, Any], self.scope.setdefault("extensions", {}))
        extensions["holdfast"] = self

    def on_url(self, url: bytes) -> None:
        """Bound the target as the headers are bounded."""
        super().on_url(url)
        if len(self.url) > self.limits.header_bytes_max:
            self._stop(414, "invalid_request", "The request target is too long.")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count: a head that arrives in one read passes every check by reads."""
        self._counted += len(name) + len(value) + 4
        if self._counted > self.limits.header_bytes_max:
            self._stop(431, "headers_too_large", "The header block is too large.")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Apply the framing rules, then start the application."""
        if self._discarding:
            return
        self._in_head = False
        self._disarm()
        self._check_framing()
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                self._stop(405, "method_not_allowed", "CONNECT is not served here.")
            self._upgrading = True
            return
        self._body_bytes = 0
        self._raw_bytes = 0
        if self._is_user_timeout_set:
            # The connection is held by another request now: silence means again that its caller is gone.
            self.set_user_timeout(self.limits.caller_dead_s)
        super().on_headers_complete()
        if self.is_leaving:
            self.cycle.keep_alive = False
        # Trailers would be appended to the headers that the application already reads.
        self.headers = []

    def on_body(self, body: bytes) -> None:
        """Deliver a piece of the body, or throw it away once the answer is out."""
        if self._discarding or self._upgrading:
            return
        self._body_bytes += len(body)
        limits = self.limits
        allowed = limits.chunk_overhead_bytes_max + self._body_bytes * limits.chunk_overhead_per_byte
        if self._raw_bytes - self._body_bytes > allowed:
            self._stop(400, "invalid_request", "The chunk framing outweighs the body.")
        if self.cycle.response_complete and self._body_bytes > limits.discard_bytes_max:
            self.transport.close()
            return
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Finish reading the request; from here on only the answer has timers."""
        if self._discarding or self._upgrading:
            return
        self._disarm()
        super().on_message_complete()
        # uvicorn does not note the end of a body that outlived its answer; the next head must be recognised as one.
        self.cycle.more_body = False
        if self.cycle.response_complete:
            self._arm(self.limits.idle_timeout_s, self._on_idle)

    def on_response_complete(self) -> None:
        """Arm the idle timer, or the body timer if the caller is still uploading."""
        super().on_response_complete()
        if self._discarding or self.half_closed:
            if not self.stays_open:
                self.transport.close()
        elif self.cycle.more_body:
            self._arm(self.limits.body_gap_s, self._on_body_stall)

    # Rules and timers

    def is_answering(self) -> bool:
        """Whether a request has been read whole and its answer is not."""
        cycle = self.cycle
        return cycle is not None and not cycle.response_complete and not cycle.more_body

    def _discard_the_rest(self) -> None:
        """Serve nothing more on this connection, but go on reading: only a reader learns that its peer left."""
        self.cycle.keep_alive = False
        self._discarding = True

    def _check_framing(self) -> None:
        version = self.parser.get_http_version()
        if version not in ("1.0", "1.1"):
            self._stop(400, "invalid_request", f"HTTP/{version} is not served on this listener.")
        hosts = [value for name, value in self.headers if name == b"host"]
        if len(hosts) > 1 or (version == "1.1" and not hosts):
            self._stop(400, "invalid_request", "A request needs exactly one Host header.")
        if hosts and not _HOST_LIKE.fullmatch(hosts[0]):
            self._stop(400, "invalid_request", "The Host header is not valid.")
        codings = [value.strip().lower() for name, value in self.headers if name == b"transfer-encoding"]
        if codings:
            if version == "1.0":
                self._stop(400, "invalid_request", "HTTP/1.0 knows no Transfer-Encoding.")
            if codings != [b"chunked"]:
                self._stop(501, "invalid_request", "Only `Transfer-Encoding: chunked` is served.")

    def _begin_head(self) -> None:
        self._in_head = True
        self._head_bytes = 0
        self._counted = 0
        self._arm(self.limits.header_timeout_s, self._on_head_timeout)

    def _stop(self, status: int, code: str, message: str) -> None:
        self._refusal = (status, code, message)
        raise _Refused

    def _arm(self, after_s: float, handler: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(after_s, handler)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_idle(self) -> None:
        if not self.transport.is_closing() and (self.cycle is None or self.cycle.response_complete):
            self.transport.close()

    def _on_head_timeout(self) -> None:
        self._refuse(408, "request_timeout", "The request head did not arrive in time.")

    def _on_body_stall(self) -> None:
        if self.flow.read_paused:
            # We are the slow side: the caller may not send.
            self._arm(self.limits.body_gap_s, self._on_body_stall)
            return
        self._refuse(408, "request_timeout", "The request body stalled.")

    def _refuse(self, status: int, code: str, message: str) -> None:
        """Answer a request that never became one, and close.

        If an answer is already running, a second head in the middle of it would corrupt it: the connection is cut.
        """
        self._disarm()
        if self.transport.is_closing():
            return
        cycle = self.cycle
        running = cycle is not None and not cycle.response_complete
        if running and cycle.response_started:
            cycle.disconnected = True
            self.transport.abort()
            return
        if running:
            cycle.disconnected = True
            cycle.response_started = True
            cycle.message_event.set()
        # The target as far as it has come: nothing else is known of the request yet.
        surface = surface_of_path(self.url.partition(b"?")[0].decode("latin-1"))
        body = render_error(surface, code=code, message=message)
        headers = [
            (b"content-type", content_type_of(surface)),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
            (b"cache-control", b"no-store"),
            *error_headers(code=code),
        ]
        lines = [STATUS_LINE[status], *(b"%s: %s\r\n" % header for header in headers), b"\r\n"]
        self.transport.write(b"".join(lines) + body)
        self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Uvicorn's own door to the same refusal."""
        self._refuse(400, "invalid_request", msg)

    # For the application

    def close_delimited(self) -> None:
        """End the body by closing, as HTTP/1.0 callers need it; call before the head is sent."""
        self.cycle.keep_alive = False
        self.cycle.chunked_encoding = False
        self.cycle.expected_content_length = 1 << 62

    def end_close_delimited(self) -> None:
        """Call before the last piece of a close-delimited body."""
        if self.cycle.expected_content_length > 1 << 61:
            self.cycle.expected_content_length = 0

    def write_head(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> bool:
        """Write the head of an answer; False where uvicorn's `send` is to do it, for a connection that is full or gone.

        It gives what `send` gives for the same headers, names in lower case. `send` looks at each by itself: 40
        function calls, of the 1,120 that an answer took.

        Raises:
            RuntimeError: A header holds a control character.
        """
        cycle = self.cycle
        if cycle.disconnected or self.flow.write_paused:
            return False
        lines = [STATUS_LINE[status]]
        lines += [b"%b: %b\r\n" % header for header in cycle.default_headers]
        lines += [b"%b: %b\r\n" % header for header in headers]
        head = b"".join(lines)
        if head.translate(None, _PLAIN) != b"\r\n" * len(lines):
            raise RuntimeError("A header of the answer holds a control character.")
        named = dict(headers)
        length = named.get(b"content-length")
        if named.get(b"connection") == b"close":
            cycle.keep_alive = False
        elif not cycle.keep_alive:
            head += b"connection: close\r\n"
        if cycle.chunked_encoding is None and length is not None:
            cycle.expected_content_length = int(length)
            cycle.chunked_encoding = False
        elif cycle.chunked_encoding is None and cycle.scope["method"] != "HEAD" and status not in _WITHOUT_BODY:
            cycle.chunked_encoding = True
            head += b"transfer-encoding: chunked\r\n"
        cycle.response_started = True
        cycle.waiting_for_100_continue = False
        self.transport.write(head + b"\r\n")
        return True

    def write_piece(self, data: bytes) -> bool:
        """Write a piece of a body that has begun and goes on; False where uvicorn's `send` is to do it.

        An image is many pieces, and of what `send` looks after only the framing is left to do for them. A chunk's is
        written beside the piece, not around a copy of it.
        """
        cycle = self.cycle
        size = len(data)
        if not cycle.response_started or cycle.disconnected or not size or cycle.scope["method"] == "HEAD":
            return False
        if cycle.chunked_encoding:
            self.transport.writelines((b"%x\r\n" % size, data, b"\r\n"))
        elif size <= cycle.expected_content_length:
            cycle.expected_content_length -= size
            self.transport.write(data)
        else:
            return False
        return True

    def break_off(self) -> None:
        """Cut the answer without its last chunk, so that the caller sees a truncated body; logs nothing."""
        self.cycle.disconnected = True
        self.transport.close()

    def set_user_timeout(self, seconds: float) -> None:
        """Bound how long sent bytes may stay unacknowledged; a closed window counts as unacknowledged too.

        The next request's begins as every connection's does, with `caller_dead_s`.
        """
        self._is_user_timeout_set = seconds != self.limits.caller_dead_s
        sock = self.transport.get_extra_info("socket")
        if sock is not None and hasattr(socket, "TCP_USER_TIMEOUT") and not self.transport.is_closing():
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))

    def unacknowledged_bytes(self) -> int | None:
        """Bytes written that the caller's kernel has not acknowledged; None once the connection is gone.

        A caller that hung up in good order, after it had acknowledged a whole answer, leaves 0.
        """
        if self.transport.is_closing():
            return 0 if self._had_all else None
        sock = self.transport.get_extra_info("socket")
        if sock is None or sock.fileno() < 0:
            return None
        if self.half_closed and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            # Nobody reads a half-closed connection any more, so nobody else notices that it was reset.
            return None
        queued = array("i", [0])
        try:
            fcntl.ioctl(sock.fileno(), _SIOCOUTQ, queued)
        except OSError:
            return None
        return queued[0] + int(self.transport.get_write_buffer_size())
