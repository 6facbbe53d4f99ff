"""The head of an answer: status, headers and how its body is framed. llhttp parses, this remembers and bounds.

It is read as leniently as it can be: the answer is paid for, and on a connection that serves one exchange nothing can
be smuggled behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum, auto
from types import MappingProxyType

import httptools

from holdfast.providers.http import Head

HEAD_LINE_BYTES_MAX = 16_384
HEADERS_MAX = 200
HEAD_BYTES_MAX = 131_072
"""Without a byte of body among them, interim answers and trailers included: an upstream that sends nothing else ends
here."""


class Garbage(Exception):
    """What came is not HTTP, or is beyond a bound; the text says which, for people."""


class Framing(Enum):
    """How the end of a body is told."""

    NONE = auto()
    LENGTH = auto()
    CHUNKED = auto()
    CLOSE = auto()


class ReplyParser:
    """Parses one answer; interim ones (1xx) are passed over. Bodies go to `on_body`, unframed."""

    __slots__ = (
        "_headers",
        "_headers_seen",
        "_on_body",
        "_parser",
        "_quiet_bytes",
        "content_length",
        "framing",
        "head",
        "is_complete",
    )

    def __init__(self, on_body: Callable[[bytes], None]) -> None:
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._parser.set_dangerous_leniencies(
            # Folded lines and odd characters in values.
            lenient_headers=True,
            # RFC 9112 §2.2: a bare LF may end a line.
            lenient_optional_cr_before_lf=True,
            # RFC 9112 §6.3: chunks win over a length beside them.
            lenient_chunked_length=True,
            lenient_spaces_after_chunk_size=True,
            # An interim answer that says `Connection: close`, or HTTP/1.0, is followed by the answer all the same.
            lenient_keep_alive=True,
        )
        self._on_body: Callable[[bytes], None] | None = on_body
        self._headers: dict[str, tuple[str, ...]] = {}
        self._headers_seen = 0
        self._quiet_bytes = 0
        """Since the last byte of a body."""
        self.head: Head | None = None
        """The final head, once it is whole."""
        self.framing = Framing.NONE
        self.content_length = 0
        self.is_complete = False
        """The message has ended, as its framing tells."""

    def feed(self, data: bytes | memoryview) -> None:
        """Take the next bytes; those behind the end of the message are dropped.

        Raises:
            Garbage: The reason, for people.
        """
        parser = self._parser
        assert parser is not None, "nothing is parsed behind the end of the exchange"
        self._quiet_bytes += len(data)
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # 101: nobody asked for another protocol.
            return
        except httptools.HttpParserCallbackError as exc:
            # What a callback of ours raised: a bound that is passed, or a mistake, which must not pass for garbage.
            assert exc.__context__ is not None
            raise exc.__context__ from None
        except httptools.HttpParserError as exc:
            if not self.is_complete:
                raise Garbage("not HTTP" if self.head is None else "a chunk is broken") from exc
        if self._quiet_bytes > HEAD_BYTES_MAX and not self.is_complete:
            # A line that never ends reaches no callback: it is counted here.
            raise Garbage("a head without end")

    def release(self) -> None:
        """Let go of the parser, which holds this object and is held by it; what was learnt stays."""
        self._parser = self._on_body = None

    # Callbacks of the parser

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep one header; names in lower case, repeated ones in order."""
        self._headers_seen += 1
        if len(name) + len(value) > HEAD_LINE_BYTES_MAX or self._headers_seen > HEADERS_MAX:
            raise Garbage("a head beyond all bounds")
        key = name.decode("latin-1").lower()
        self._headers[key] = (*self._headers.get(key, ()), value.decode("latin-1").strip())

    def on_headers_complete(self) -> None:
        """Note the head, unless it is an interim one, or of a second message that nobody asked for."""
        assert self._parser is not None
        status = int(self._parser.get_status_code())
        headers, self._headers, self._headers_seen = self._headers, {}, 0
        if self.is_complete or (100 <= status < 200 and status != 101):
            return
        self.head = Head(status=status, headers=MappingProxyType(headers))
        self.framing, self.content_length = _framing(status, headers)
        if self.framing is Framing.NONE:
            self.is_complete = True

    def on_body(self, body: bytes) -> None:
        """Hand a piece of the body on."""
        if not self.is_complete:
            self._quiet_bytes = 0
            assert self._on_body is not None
            self._on_body(body)

    def on_message_complete(self) -> None:
        """Note the end, unless it is that of an interim answer."""
        if self.head is not None:
            self.is_complete = True


def _framing(status: int, headers: Mapping[str, tuple[str, ...]]) -> tuple[Framing, int]:
    """Say how the body ends, as llhttp does (RFC 9112 §6.3): behind the head the two must count alike."""
    if status in (101, 204, 304):
        return Framing.NONE, 0
    codings = ",".join(headers.get("transfer-encoding", ()))
    if codings:
        is_chunked = codings.rpartition(",")[2].strip().lower() == "chunked"
        return (Framing.CHUNKED if is_chunked else Framing.CLOSE), 0
    lengths = headers.get("content-length")
    if lengths is None:
        return Framing.CLOSE, 0
    # llhttp has refused whatever is no number, and a second one.
    length = int(lengths[0])
    return (Framing.LENGTH, length) if length else (Framing.NONE, 0)
