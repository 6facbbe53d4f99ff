"""HTTP/1.1 as the doctor needs it: requests as bytes, and answers with the moment at which each piece of them came.

Pure: no I/O, clock or randomness. A client library would join pieces, repeat requests, pass over interim answers and
hide how a connection ended, all of which are what is looked for here. At most `HEAD_BYTES_MAX` and `BODY_BYTES_MAX` of
an answer are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

HEAD_BYTES_MAX = 65_536
BODY_BYTES_MAX = 65_536
PIECES_MAX = 2_000
INTERIMS_MAX = 100
_LINE_BYTES_MAX = 1024


class End(StrEnum):
    """How an exchange ended, as seen from here."""

    WHOLE = "whole"
    """With the last byte of the answer."""
    FIN = "fin"
    """The peer closed before that."""
    RST = "rst"
    """The connection was reset."""
    SILENT = "silent"
    """Nothing was said for as long as was waited."""
    GARBLED = "garbled"
    """What came is no HTTP/1 answer."""
    UNCONNECTED = "unconnected"
    """There was no connection to ask on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Status and headers of an answer."""

    status: int
    version: str
    """`1.0` or `1.1`."""
    headers: tuple[tuple[str, str], ...]
    """Names in lower case, in their order."""

    def get(self, name: str) -> str | None:
        """Give the values of a header, joined."""
        values = [value for key, value in self.headers if key == name]
        return ", ".join(values) if values else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Some bytes of a body that came together; framing not counted."""

    at_s: float
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Interim:
    """An interim answer."""

    at_s: float
    status: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One request and what came of it; seconds since the request was written."""

    end: End
    end_s: float
    head: Head | None = None
    head_s: float | None = None
    interims: tuple[Interim, ...] = ()
    pieces: tuple[Piece, ...] = ()
    body: bytes = b""
    """The beginning of it."""
    body_bytes: int = 0
    raw: bytes = b""
    """The first bytes that came, of what is no answer."""

    @property
    def status(self) -> int | None:
        """The final status."""
        return None if self.head is None else self.head.status


def request_bytes(
    method: str, target: str, *, host: str, headers: Sequence[tuple[str, str]] = (), content_bytes: int | None = None
) -> bytes:
    """Write the head of a request.

    Args:
        method: `GET`, `POST`.
        target: Path and query.
        host: For the Host header.
        headers: More of them.
        content_bytes: Length of the body that follows, or that is announced.
    """
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers]
    if content_bytes is not None:
        lines.append(f"Content-Length: {content_bytes}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


class _Garbled(Exception):
    """What came is no HTTP/1 answer."""


class Reading:
    """An answer as it comes."""

    def __init__(self) -> None:
        self._unread = b""
        self._head: Head | None = None
        self._head_s: float | None = None
        self._interims: list[Interim] = []
        self._pieces: list[Piece] = []
        self._body = b""
        self._body_bytes = 0
        self._raw = b""
        self._left: int | None = None
        """Of the body or of the chunk; None: until the end of the connection."""
        self._in_chunks = False
        self._skip = 0
        self._is_last = False
        self.end: End | None = None
        """Set once nothing more is wanted."""

    def feed(self, data: bytes, at_s: float) -> None:
        """Take what came; `data` empty: the peer closed."""
        if self.end is not None:
            return
        if not data:
            is_whole = self._head is not None and self._left is None and not self._in_chunks
            self.end = End.WHOLE if is_whole else End.FIN
            return
        if len(self._raw) < 512:
            self._raw = (self._raw + data)[:512]
        self._unread += data
        before = self._body_bytes
        try:
            self._go_on(at_s)
        except _Garbled:
            self.end = End.GARBLED
        if self._body_bytes > before and len(self._pieces) < PIECES_MAX:
            self._pieces.append(Piece(at_s=at_s, bytes=self._body_bytes - before))

    def result(self, end: End, end_s: float) -> Exchange:
        """Put together what came; `end` counts unless the answer ended by itself."""
        return Exchange(
            end=self.end or end,
            end_s=end_s,
            head=self._head,
            head_s=self._head_s,
            interims=tuple(self._interims),
            pieces=tuple(self._pieces),
            body=self._body,
            body_bytes=self._body_bytes,
            raw=self._raw,
        )

    def _go_on(self, at_s: float) -> None:
        while self._head is None:
            block, found, rest = self._unread.partition(b"\r\n\r\n")
            if not found:
                is_http = b"HTTP/1."[: len(block)] == block[:7]
                if not is_http or len(block) > HEAD_BYTES_MAX:
                    raise _Garbled
                return
            self._unread = rest
            head = head_of(block)
            if head is None:
                raise _Garbled
            if head.status < 200:
                if len(self._interims) < INTERIMS_MAX:
                    self._interims.append(Interim(at_s=at_s, status=head.status))
                continue
            self._head, self._head_s = head, at_s
            self._frame(head)
        if self._in_chunks:
            self._chunks()
        else:
            self._take(len(self._unread) if self._left is None else self._left)
        if self._left == 0 and not self._in_chunks:
            self.end = End.WHOLE

    def _frame(self, head: Head) -> None:
        length = head.get("content-length")
        if head.status in (204, 304):
            self._left = 0
        elif (head.get("transfer-encoding") or "").lower().endswith("chunked"):
            self._in_chunks, self._left = True, 0
        elif length is not None:
            if not length.isdecimal():
                raise _Garbled
            self._left = int(length)

    def _chunks(self) -> None:
        while self._unread:
            if self._left:
                self._take(self._left)
                if not self._left:
                    self._skip = 2
                continue
            if self._skip:
                cut = min(self._skip, len(self._unread))
                self._unread, self._skip = self._unread[cut:], self._skip - cut
                continue
            line, found, rest = self._unread.partition(b"\r\n")
            if not found:
                if len(line) > _LINE_BYTES_MAX:
                    raise _Garbled
                return
            self._unread = rest
            if self._is_last:
                # A trailer, or the empty line that ends it all.
                if not line:
                    self.end = End.WHOLE
                    return
                continue
            try:
                self._left = int(line.partition(b";")[0], 16)
            except ValueError as exc:
                raise _Garbled from exc
            self._is_last = self._left == 0

    def _take(self, most: int) -> None:
        data, self._unread = self._unread[:most], self._unread[most:]
        self._body_bytes += len(data)
        self._body += data[: max(0, BODY_BYTES_MAX - len(self._body))]
        if self._left is not None:
            self._left -= len(data)


def head_of(block: bytes) -> Head | None:
    """Read the head of an answer, without the empty line; None: it is none."""
    first, *lines = block.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    status = rest[:3]
    if version not in ("HTTP/1.0", "HTTP/1.1") or not (len(status) == 3 and status.isascii() and status.isdecimal()):
        return None
    headers = []
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name:
            return None
        headers.append((name.lower(), value.strip()))
    return Head(status=int(status), version=version[5:], headers=tuple(headers))
