"""The head of an answer: status, headers and how its body is framed. llhttp parses, this remembers and bounds."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from types import MappingProxyType

import httptools

from holdfast.providers.http import Head

HEAD_LINE_BYTES_MAX = 16_384
HEADERS_MAX = 200
HEAD_BYTES_MAX = 131_072
"""Interim answers included: an upstream that sends nothing else ends here."""


class Garbage(Exception):
    """What came is not HTTP, or its head is beyond a bound."""


class Framing(Enum):
    """How the end of a body is told."""

    NONE = auto()
    LENGTH = auto()
    CHUNKED = auto()
    CLOSE = auto()


class ReplyParser:
    """Parses one answer; interim ones (1xx) are passed over. Bodies go to `on_body`, unframed."""

    __slots__ = ("_headers", "_line_bytes", "_on_body", "_parser", "content_length", "framing", "head", "is_complete")

    def __init__(self, on_body: Callable[[bytes], None]) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._on_body = on_body
        self._headers: dict[str, tuple[str, ...]] = {}
        self._line_bytes = 0
        self.head: Head | None = None
        """The final head, once it is whole."""
        self.framing = Framing.NONE
        self.content_length = 0
        self.is_complete = False
        """The message has ended, as its framing tells."""

    def feed(self, data: bytes | memoryview) -> None:
        """Take the next bytes.

        Raises:
            Garbage: The reason, for people.
        """
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # 101: nobody asked for another protocol.
            return
        except httptools.HttpParserError as exc:
            raise Garbage("not HTTP") from exc
        if self.head is None:
            # A line that never ends reaches no callback: it is counted here.
            self._line_bytes += len(data)
            if self._line_bytes > HEAD_BYTES_MAX:
                raise Garbage("a head without end")

    # Callbacks of the parser

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep one header; names in lower case, repeated ones in order."""
        if len(name) + len(value) > HEAD_LINE_BYTES_MAX or len(self._headers) >= HEADERS_MAX:
            raise Garbage("a head beyond all bounds")
        key = name.decode("latin-1").lower()
        self._headers[key] = (*self._headers.get(key, ()), value.decode("latin-1").strip())

    def on_headers_complete(self) -> None:
        """Note the head, unless it is an interim one."""
        status = int(self._parser.get_status_code())
        headers, self._headers = self._headers, {}
        if 100 <= status < 200 and status != 101:
            return
        self.head = Head(status=status, headers=MappingProxyType(headers))
        codings = ",".join(headers.get("transfer-encoding", ())).lower()
        length = headers.get("content-length", ("",))[0]
        if status in (101, 204, 304):
            self.framing = Framing.NONE
        elif "chunked" in codings:
            self.framing = Framing.CHUNKED
        elif length.isascii() and length.isdigit():
            self.framing, self.content_length = Framing.LENGTH, int(length)
        else:
            self.framing = Framing.CLOSE
        if self.framing is Framing.NONE or (self.framing is Framing.LENGTH and self.content_length == 0):
            self.is_complete = True

    def on_body(self, body: bytes) -> None:
        """Hand a piece of the body on."""
        self._on_body(body)

    def on_message_complete(self) -> None:
        """Note the end, unless it is that of an interim answer."""
        if self.head is not None:
            self.is_complete = True
