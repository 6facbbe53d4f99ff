"""Whether an answer is whole: a JSON document and an event stream, looked at as they come.

A body that breaks off does not always say so. Behind an HTTP/1.0 hop, or one that ends a chunked body properly although
its own upstream broke off, what came in time looks like a complete 200. So the end is read from the document itself.
What only keeps the line open (line feeds before a document, blank lines between events) is left out.

Pure: no I/O, clock or randomness. Memory is a few hundred bytes, whatever an answer weighs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_BLANK = b" \t\r\n"
_STRUCTURE = re.compile(rb'["{}\[\]]')
_ERROR = re.compile(rb'\{\s*"error"\s*:')
_ERROR_EVENT = re.compile(rb"(?:event:[^\n]*\n)?data: ?" + _ERROR.pattern)
HEAD_BYTES = 256
"""So much of a beginning is kept: it tells what a document or an event is."""


class Document:
    """One JSON object or array, in pieces."""

    def __init__(self) -> None:
        self._depth = 0
        self._is_text = False
        self._is_escaped = False
        self.head = b""
        """How it begins."""
        self.is_whole = False
        """Whether its last bracket has come."""
        self.has_more = False
        """Whether something that is not blank came behind that."""

    def feed(self, data: bytes) -> bytes:
        """Take the next piece; give what of it is to be kept: everything from the first byte that is not blank."""
        if not self.head:
            data = data.lstrip(_BLANK)
        if len(self.head) < HEAD_BYTES:
            self.head += data[: HEAD_BYTES - len(self.head)]
        self._scan(data)
        return data

    @property
    def is_late_failure(self) -> bool:
        """Whether a failure is told in place of what was asked for: a line of text, or an `error` alone.

        Inside a 200 that a heartbeat had committed; the status of a repeat tells the same properly.
        """
        return bool(self.head) and (self.head[:1] not in (b"{", b"[") or _ERROR.match(self.head) is not None)

    def _scan(self, data: bytes) -> None:
        at, end = 0, len(data)
        while at < end:
            if self._is_text:
                at = self._skip_text(data, at)
                continue
            if self.is_whole:
                self.has_more = self.has_more or bool(data[at:].strip(_BLANK))
                return
            found = _STRUCTURE.search(data, at)
            if found is None:
                return
            at = found.end()
            match found[0]:
                case b'"':
                    self._is_text = True
                case b"{" | b"[":
                    self._depth += 1
                case _:
                    self._depth -= 1
                    self.is_whole = self._depth <= 0

    def _skip_text(self, data: bytes, at: int) -> int:
        """Go to the end of a string: the one with the image has 27 MB, and is passed over at the speed of memchr."""
        if self._is_escaped:
            self._is_escaped = False
            return at + 1
        quote = data.find(b'"', at)
        stop = len(data) if quote < 0 else quote
        escape = data.find(b"\\", at, stop)
        if escape >= 0:
            self._is_escaped = True
            return escape + 1
        self._is_text = quote < 0
        return stop + 1


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of the event that is coming."""

    data: bytes


@dataclass(frozen=True, slots=True)
class EventEnd:
    """The event whose pieces came before it is whole."""

    is_partial: bool
    """Whether it is a preview, which is sent once and not repeated."""
    is_error: bool
    """Whether it tells of a failure."""


class Events:
    """A stream of server-sent events, in pieces; what belongs to one comes between two ends."""

    def __init__(self) -> None:
        self._head = b""
        self._line_bytes = 0
        """Bytes of the line that is coming, its end left out."""

    @property
    def is_between(self) -> bool:
        """Whether no event has begun that has not ended."""
        return not self._head

    def feed(self, data: bytes) -> Iterator[Piece | EventEnd]:
        """Take the next piece of the stream.

        Source: WHATWG, server-sent events: a line ends with CRLF, LF or CR, an event with an empty line. What ends a
        line with CR alone is known of no image API, and is not told apart from a CR inside of one.
        """
        at = 0
        while at < len(data):
            feed = data.find(b"\n", at)
            stop = len(data) if feed < 0 else feed + 1
            line = data[at:stop]
            at = stop
            has_ended = feed >= 0
            text_bytes = self._line_bytes + len(line.rstrip(b"\r\n"))
            if text_bytes or self._head:
                self._head += line[: HEAD_BYTES - len(self._head)]
                yield Piece(line)
            self._line_bytes = 0 if has_ended else text_bytes
            if has_ended and not text_bytes and self._head:
                yield self._end()

    def _end(self) -> EventEnd:
        first = self._head.split(b"\n", 1)[0].strip()
        is_partial = first.startswith(b"event:") and first.endswith(b".partial_image")
        is_error = _ERROR_EVENT.match(self._head) is not None
        self._head = b""
        return EventEnd(is_partial, is_error)
