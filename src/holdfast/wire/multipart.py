"""`multipart/form-data`, read as it comes: parts cut anywhere, files of any size, in bounded memory.

Pure: no I/O, clock or randomness. What is held between two pieces is less than a boundary's line, or the headers of one
part. Order and number of parts are the caller's affair; what a part means is not decided here.

Written here rather than taken from a library: what matters is every bound and every complaint, and the rest is one
search for the boundary.

Source: RFC 2046 §5.1.1, RFC 7578; openai-python 3.54 and openai-node 7.57 as recorded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from holdfast.errors import RequestError
from holdfast.wire.errors import WireError

HEADERS_BYTES_MAX = 8 * 1024
"""Of one part; the SDKs send 130."""
PARTS_MAX = 64
"""Sixteen images, a mask, and every field there is."""
NAME_CHARS_MAX = 128
_PREAMBLE_BYTES_MAX = 1024
_PADDING_BYTES_MAX = 128
"""White space behind a boundary; nobody sends any."""
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")
# A parameter: a quoted text whose escapes are kept, or a token.
_PARAMETER = re.compile(r';[ \t]*([!#$%&\'*+\-.^_`|~0-9A-Za-z]+)=(?:"((?:[^"\\]|\\.)*)"|([^;"\s]*))[ \t]*')
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_ESCAPED = re.compile(r"\\([\"\\])")
_PERCENT = (("%22", '"'), ("%0D", "\r"), ("%0A", "\n"))
"""How browsers and httpx write what a quoted text cannot hold (WHATWG HTML, multipart/form-data encoding)."""


@dataclass(frozen=True, slots=True)
class PartBegan:
    """The headers of a part have been read."""

    name: str
    """As it stands there: `image[]`. Whether it calls itself a file says little: curl's `-F image=<x` does not."""


@dataclass(frozen=True, slots=True)
class PartBytes:
    """The next bytes of its body."""

    data: bytes


@dataclass(frozen=True, slots=True)
class PartEnded:
    """It is whole."""


FormEvent = PartBegan | PartBytes | PartEnded

_PREAMBLE, _BORDER, _HEADERS, _FIRST, _BODY, _EPILOGUE = range(6)
_STATE_NAMES = ("preamble", "border", "headers", "first", "body", "epilogue")


def boundary_of(content_type: str) -> bytes:
    """Read the boundary out of a `Content-Type`.

    Raises:
        RequestError: There is none, or it is no boundary.
    """
    _, _, parameters = content_type.partition(";")
    stated = _parameters(";" + parameters)[0].get("boundary")
    if not stated:
        raise RequestError("The form's Content-Type names no boundary: multipart/form-data; boundary=…")
    if not _BOUNDARY.fullmatch(stated):
        raise RequestError("The form's boundary must be 1 to 70 of the characters that RFC 2046 allows.")
    return stated.encode("ascii")


class FormReader:
    """Reads one form that arrives in pieces cut anywhere."""

    def __init__(self, boundary: bytes, *, parts_max: int = PARTS_MAX) -> None:
        self._delimiter = b"\r\n--" + boundary
        self._parts_max = parts_max
        self._parts = 0
        self._state = _PREAMBLE
        # The first boundary may stand at the very beginning, where no line end goes before it.
        self._held = b"\r\n"
        self._steps = (self._preamble, self._border, self._headers, self._first, self._body, self._epilogue)

    def __repr__(self) -> str:
        return f"<FormReader {_STATE_NAMES[self._state]} parts={self._parts}>"

    @property
    def complete(self) -> bool:
        """The closing boundary has come; what follows means nothing."""
        return self._state == _EPILOGUE

    def feed(self, chunk: bytes) -> list[FormEvent]:
        """Take the next bytes of the body; return what became known.

        Raises:
            WireError: It is no form, or exceeds a bound. The reader is of no further use.
        """
        data = self._held + chunk
        events: list[FormEvent] = []
        at = 0
        while (after := self._steps[self._state](data, at, events)) is not None:
            at = after
        self._held = data[at:]
        return events

    def finish(self) -> None:
        """Say that the body has ended.

        Raises:
            WireError: The form has not.
        """
        if self._state == _PREAMBLE:
            empty = self._held == b"\r\n"
            raise WireError("form", "the form is empty" if empty else "the form lacks the boundary it announces")
        if self._state != _EPILOGUE:
            raise WireError("form", "the form ends early: its closing boundary is missing")

    # Each step reads on from a place, and gives the place behind what it read; None where more must come first.

    def _preamble(self, data: bytes, at: int, _: list[FormEvent]) -> int | None:
        found = data.find(self._delimiter, at)
        # Wherever the body was cut, the same is too much: what may begin a boundary is not counted.
        if (found if found >= 0 else len(data) - len(self._delimiter)) - at > _PREAMBLE_BYTES_MAX:
            raise WireError("form", "the form does not begin with the boundary it announces")
        if found < 0:
            return None
        self._state = _BORDER
        return found + len(self._delimiter)

    def _border(self, data: bytes, at: int, _: list[FormEvent]) -> int | None:
        """Read what follows a boundary: two hyphens end the form, a line end begins a part."""
        if data[at : at + 2] == b"--":
            self._state = _EPILOGUE
            return at + 2
        end = data.find(b"\r\n", at)
        stop = len(data) if end < 0 else end
        rest = data[at:stop].lstrip(b" \t")
        # One hyphen may become two, a carriage return a line end.
        if rest and not (end < 0 and (rest == b"\r" or data[at:] == b"-")):
            raise WireError("form", "a boundary is followed by something else than the end of its line")
        if stop - at - len(rest) > _PADDING_BYTES_MAX:
            raise WireError("form", "a boundary is followed by too much white space")
        if end < 0:
            return None
        self._parts += 1
        if self._parts > self._parts_max:
            raise WireError("too_large", f"the form has more than {self._parts_max} parts")
        self._state = _HEADERS
        # The line end stays: behind it, a part without headers has its empty line at once.
        return end

    def _headers(self, data: bytes, at: int, events: list[FormEvent]) -> int | None:
        end = data.find(b"\r\n\r\n", at)
        if (len(data) - 3 if end < 0 else end) - at > HEADERS_BYTES_MAX:
            raise WireError("too_large", f"a part of the form has more than {HEADERS_BYTES_MAX} bytes of headers")
        if end < 0:
            return None
        events.append(_part_of(data[at + 2 : end]))
        self._state = _FIRST
        # The line end stays: it is also that of the boundary behind an empty body.
        return end + 2

    def _first(self, data: bytes, at: int, events: list[FormEvent]) -> int | None:
        """Read the first bytes of a body: the boundary, or anything else."""
        first = data[at : at + len(self._delimiter)]
        if first == self._delimiter:
            events.append(PartEnded())
            self._state = _BORDER
            return at + len(first)
        if self._delimiter.startswith(first):
            return None
        self._state = _BODY
        return at + 2

    def _body(self, data: bytes, at: int, events: list[FormEvent]) -> int | None:
        found = data.find(self._delimiter, at)
        # Without a boundary, as much as may be the beginning of one is held back.
        stop = found if found >= 0 else len(data) - len(self._delimiter) + 1
        if stop > at:
            events.append(PartBytes(data[at:stop]))
        if found < 0:
            return stop if stop > at else None
        events.append(PartEnded())
        self._state = _BORDER
        return found + len(self._delimiter)

    def _epilogue(self, data: bytes, at: int, _: list[FormEvent]) -> int | None:
        return len(data) if at < len(data) else None


def _part_of(block: bytes) -> PartBegan:
    """Read the headers of a part."""
    try:
        text = block.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise WireError("form", "the headers of a part are not UTF-8") from exc
    disposition: str | None = None
    for line in text.split("\r\n") if text else ():
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip() or _CONTROL.search(line):
            raise WireError("form", "a part has a malformed header")
        match name.lower():
            case "content-disposition" if disposition is None:
                disposition = value.strip()
            case "content-disposition":
                raise WireError("form", "a part has two Content-Disposition headers")
            case "content-transfer-encoding" if value.strip().lower() not in ("binary", "8bit", "7bit"):
                # RFC 7578 §4.7: not to be used. An image in base64 would be taken for the image itself.
                raise WireError("form", "a part is encoded (Content-Transfer-Encoding); send its bytes as they are")
    if disposition is None:
        raise WireError("form", "a part has no Content-Disposition")
    kind, semicolon, rest = disposition.partition(";")
    stated, is_whole = _parameters(semicolon + rest)
    if kind.strip().lower() != "form-data" or not is_whole:
        raise WireError("form", 'a part\'s Content-Disposition is malformed; it is form-data; name="…"')
    field = stated.get("name")
    if not field or len(field) > NAME_CHARS_MAX:
        raise WireError("form", f"a part's name must have 1 to {NAME_CHARS_MAX} characters")
    return PartBegan(field)


def _parameters(text: str) -> tuple[dict[str, str], bool]:
    """Read the parameters behind a header's value; say also whether that was all of it. Of two, the first counts."""
    stated: dict[str, str] = {}
    at = 0
    while match := _PARAMETER.match(text, at):
        name, quoted, token = match.groups()
        stated.setdefault(name.lower(), token if quoted is None else _unquoted(quoted))
        at = match.end()
    return stated, not text[at:].strip("; \t")


def _unquoted(text: str) -> str:
    text = _ESCAPED.sub(r"\1", text)
    for written, meant in _PERCENT:
        text = text.replace(written, meant)
    return text
