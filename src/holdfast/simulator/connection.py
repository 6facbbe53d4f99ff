"""One connection of a caller: requests are parsed strictly, answers written in pieces, and it can misbehave on demand.

What an ordinary HTTP server would not do and an upstream that fails must: reset in mid-body, fall silent, promise more
than comes, leave out the last chunk. So this is a protocol on the bare transport.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Protocol, cast

import httptools

from holdfast.errors import RequestError
from holdfast.simulator.asked import Head
from holdfast.simulator.replies import Headers

HEAD_BYTES_MAX = 65_536
PIPELINED_BYTES_MAX = 65_536
WRITE_BUFFER_BYTES = 262_144
LINGER_S = 2.0
"""How long a caller that is still sending may read the answer to a request that was too large."""

_REASONS = {200: "OK", 302: "Found", 400: "Bad Request", 404: "Not Found", 429: "Too Many Requests"}
_RST = struct.pack("ii", 1, 0)


class CallerGone(Exception):
    """The other side has left; there is nobody to write to."""


class Intake(Protocol):
    """Takes the body of one request."""

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""


class Serving(Protocol):
    """What a connection asks of its server."""

    request_bytes_max: int

    def connected(self, connection: Connection) -> bool:
        """Take note of a connection; False: it is to be reset."""

    def disconnected(self, connection: Connection) -> None:
        """Forget it."""

    def intake(self, head: Head) -> Intake:
        """Choose what reads the body of a request."""

    def received(self, connection: Connection, head: Head, intake: Intake) -> None:
        """Answer a request that has been read; `connection.answered` ends it."""

    def rejected(self, connection: Connection, problem: RequestError) -> None:
        """Answer something that is no request."""


class Connection(asyncio.Protocol):
    """See the module's docstring."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._target = b""
        self._headers: dict[str, str] = {}
        self._head: Head | None = None
        self._head_bytes = 0
        self._body_bytes = 0
        self._intake: Intake | None = None
        self._problem: RequestError | None = None
        self._is_complete = False
        self._is_discarding = False
        self._pipelined = bytearray()
        self._can_write: asyncio.Future[None] | None = None
        self._gone: asyncio.Future[None] | None = None
        self._framing = ""
        self.is_gone = False
        """The connection has ended."""
        self.is_answering = False
        """A request has been read and its answer is not over."""
        self.keeps_alive = True
        """Another request may follow the answer."""

    def __repr__(self) -> str:
        state = "gone" if self.is_gone else "answering" if self.is_answering else "idle"
        return f"<Connection {state} {self._framing}>"

    # Reading

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, unless the server wants it reset."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        if not self._serving.connected(self):
            self.reset()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake whoever writes or waits."""
        self.is_gone = True
        for waiting in (self._can_write, self._gone):
            if waiting is not None and not waiting.done():
                waiting.set_result(None)
        self._serving.disconnected(self)

    def eof_received(self) -> bool | None:
        """A caller that ends its side has left: front ends take it so."""
        return None

    def data_received(self, data: bytes) -> None:
        """Parse; what comes behind a request that is being answered waits, within bounds."""
        if self._is_discarding or self.is_gone:
            return
        if self.is_answering:
            self._pipelined += data
            if len(self._pipelined) > PIPELINED_BYTES_MAX:
                self.reset()
            return
        self._parse(data)

    def _parse(self, data: bytes) -> None:
        if self._head is None:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._problem = RequestError("No other protocol is spoken here.")
        except httptools.HttpParserError:
            self._problem = self._problem or RequestError("The request is not valid HTTP/1.1.")
        if self._head is None and self._head_bytes > HEAD_BYTES_MAX:
            self._problem = RequestError("The header block is too large.", status=431)
        if self._problem is not None and not self.is_answering:
            self._reject(self._problem)
        elif self._is_complete and not self.is_answering:
            self._hand_over()

    def on_url(self, url: bytes) -> None:
        """Take a piece of the target."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1").strip()

    def on_headers_complete(self) -> None:
        """Choose what reads the body."""
        self._head = Head(
            method=self._parser.get_method().decode("ascii"),
            target=self._target.decode("latin-1"),
            headers=self._headers,
        )
        self.keeps_alive = self._parser.should_keep_alive()
        stated = self._headers.get("content-length", "0")
        if stated.isdigit() and int(stated) > self._serving.request_bytes_max:
            self._problem = _too_large(self._serving.request_bytes_max)
            return
        self._intake = self._serving.intake(self._head)
        if self._headers.get("expect", "").lower() == "100-continue":
            self._send(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Pass the body on."""
        self._body_bytes += len(body)
        if self._body_bytes > self._serving.request_bytes_max:
            self._problem = self._problem or _too_large(self._serving.request_bytes_max)
        elif self._intake is not None:
            self._intake.feed(body)

    def on_message_complete(self) -> None:
        """Note that the request is whole; it is handed over when the parser has returned."""
        # A second request in the same read would overwrite the first: nobody who calls us pipelines.
        if self._is_complete:
            self._problem = RequestError("One request at a time, please.")
        self._is_complete = True

    def _hand_over(self) -> None:
        assert self._head is not None
        assert self._intake is not None
        self.is_answering = True
        self._serving.received(self, self._head, self._intake)

    def _reject(self, problem: RequestError) -> None:
        self.is_answering = True
        self.keeps_alive = False
        self._is_discarding = True
        self._serving.rejected(self, problem)

    # Writing

    @property
    def head(self) -> Head | None:
        """The request that is being read or answered."""
        return self._head

    def begin(
        self, status: int, content_type: str, *, headers: Headers = (), length: int | None, is_chunked: bool = False
    ) -> None:
        """Write the head of an answer.

        Args:
            status: Its status.
            content_type: Of the body.
            headers: Further ones.
            length: Of the body; None: in chunks, or until the end of the connection for a caller of HTTP/1.0.
            is_chunked: In chunks although the length is known.
        """
        is_old = self._parser.get_http_version() == "1.0" if self._head is not None else True
        lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Status')}", f"content-type: {content_type}"]
        lines += [f"{name}: {value}" for name, value in headers]
        if length is not None and not (is_chunked and not is_old):
            self._framing = "length"
            lines.append(f"content-length: {length}")
        elif is_old:
            self._framing = "close"
            self.keeps_alive = False
        else:
            self._framing = "chunked"
            lines.append("transfer-encoding: chunked")
        if not self.keeps_alive:
            lines.append("connection: close")
        self._send("\r\n".join([*lines, "", ""]).encode("latin-1"))

    async def write(self, piece: bytes | memoryview) -> None:
        """Write a piece of the body; return when there is room for another.

        Raises:
            CallerGone: There is nobody left.
        """
        if len(piece):
            if self._framing == "chunked":
                self._send(b"%x\r\n" % len(piece))
                self._send(piece)
                self._send(b"\r\n")
            else:
                self._send(piece)
        if self._can_write is not None:
            await self._can_write
        if self.is_gone:
            raise CallerGone

    def end(self) -> None:
        """Say that the body is over."""
        if self._framing == "chunked":
            self._send(b"0\r\n\r\n")

    def answered(self) -> None:
        """Go on to the next request, or close."""
        if self.is_gone:
            return
        if self._is_discarding:
            assert self._transport is not None
            self._transport.write_eof()
            asyncio.get_running_loop().call_later(LINGER_S, self._transport.abort)
            return
        if not self.keeps_alive:
            self.close()
            return
        self._parser = httptools.HttpRequestParser(self)
        self._target, self._headers, self._head, self._intake = b"", {}, None, None
        self._head_bytes = self._body_bytes = 0
        self._is_complete = self.is_answering = False
        waiting, self._pipelined = bytes(self._pipelined), bytearray()
        if waiting:
            self._parse(waiting)

    async def flushed(self) -> None:
        """Wait until the kernel has taken all that was written.

        Raises:
            CallerGone: There is nobody left.
        """
        assert self._transport is not None
        while self._transport.get_write_buffer_size():
            if self.is_gone:
                raise CallerGone
            await asyncio.sleep(0.005)

    async def wait_gone(self) -> None:
        """Wait until the connection has ended."""
        if not self.is_gone:
            self._gone = self._gone or asyncio.get_running_loop().create_future()
            await self._gone

    def close(self) -> None:
        """End the connection when all is written: FIN."""
        if self._transport is not None:
            self._transport.close()

    def reset(self) -> None:
        """End it at once: RST."""
        assert self._transport is not None
        sock = self._transport.get_extra_info("socket")
        if sock is not None and not self.is_gone:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
        self._transport.abort()

    def _send(self, data: bytes | memoryview) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def pause_writing(self) -> None:
        """Let writers wait."""
        if self._can_write is None:
            self._can_write = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        """Let them go on."""
        waiting, self._can_write = self._can_write, None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)


def _too_large(bytes_max: int) -> RequestError:
    return RequestError(f"The request is larger than {bytes_max} bytes.", code="request_too_large", status=413)
