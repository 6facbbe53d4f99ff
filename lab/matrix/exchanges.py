"""What went over a wire, as text: heads, the times of the pieces, bodies cut short, keys redacted. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from tap import Piece, Record

LINE_CHARACTERS_MAX = 110
HEAD_LINES_MAX = 9
BODY_CHARACTERS_MAX = 100
CONNECTIONS_MAX = 3
CELL_CHARACTERS_MAX = 2_048
_SECRET = re.compile(r"(?i)(authorization: bearer |x-goog-api-key: |sig=|(?<=[?&])key=)[^\s&\"\\]+")
_DULL = ("user-agent:", "accept:", "accept-encoding:", "accept-language:", "content-type:", "cache-control:", "date:")
"""Headers that a reader can do without where there are many; others come first."""


def redacted(text: str) -> str:
    """Take keys and signatures out of a text."""
    return _SECRET.sub(r"\1[redacted]", text)


def of_cell(records: Iterable[Record]) -> str:
    """Write down what went over a cell's wires, in no more characters than a cell may have."""
    lines: list[str] = []
    all_records = list(records)
    for number, record in enumerate(all_records[:CONNECTIONS_MAX], 1):
        if len(all_records) > 1:
            lines.append(f"connection {number} of {len(all_records)}")
        lines += _of_connection(record)
    text = "\n".join(lines)
    if len(text) <= CELL_CHARACTERS_MAX:
        return text
    kept = text[: CELL_CHARACTERS_MAX - 20].rpartition("\n")[0]
    return f"{kept}\n(cut short here)"


def _of_connection(record: Record) -> Iterator[str]:
    seen = {True: b"", False: b""}
    for index, piece in enumerate(record.pieces):
        if record.skipped and index == len(record.pieces) - 3:
            yield f"         … {record.skipped} more pieces"
        yield from _of_piece(piece, seen[piece.is_up])
        seen[piece.is_up] += piece.kept
    if record.ended_s is not None:
        yield f"{record.ended_s:7.3f}   {_ENDED[record.ended_by]}; {record.up_bytes} bytes up, {record.down_bytes} down"


_ENDED = {"client": "closed by the client", "server": "closed by the server", "cut": "CUT"}


def _of_piece(piece: Piece, before: bytes) -> Iterator[str]:
    sign = f"{piece.at_s:7.3f} {'→' if piece.is_up else '←'}"
    data = piece.kept
    if not data:
        yield f"{sign} {piece.size_bytes} bytes"
    elif _is_encrypted(before or data):
        yield f"{sign} {piece.size_bytes} bytes, encrypted"
    elif data.startswith((b"POST ", b"GET ", b"HTTP/")):
        head, _, body = data.partition(b"\r\n\r\n")
        first, *rest = _lines(head)
        yield f"{sign} {first}"
        rest.sort(key=lambda line: line.lower().startswith(_DULL))
        yield from (f"          {line}" for line in rest[:HEAD_LINES_MAX])
        if len(rest) > HEAD_LINES_MAX:
            yield f"          … {len(rest) - HEAD_LINES_MAX} more"
        if body:
            yield f"          {_body(body, piece.size_bytes - len(head) - 4)}"
    else:
        yield f"{sign} {_body(data, piece.size_bytes)}"


def _is_encrypted(data: bytes) -> bool:
    return data[:1] in b"\x14\x15\x16\x17" and data[1:2] == b"\x03"


def _lines(head: bytes) -> list[str]:
    text = redacted(head.decode("latin-1"))
    return [
        line if len(line) <= LINE_CHARACTERS_MAX else f"{line[:LINE_CHARACTERS_MAX]}…" for line in text.split("\r\n")
    ]


def _body(data: bytes, size_bytes: int) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return f"{size_bytes} bytes, binary"
    shown = redacted(text).replace("\r", "␍").replace("\n", "␊")
    if not shown.isprintable():
        return f"{size_bytes} bytes, binary"
    if len(shown) > BODY_CHARACTERS_MAX or size_bytes > len(data):
        shown = f"{shown[:BODY_CHARACTERS_MAX]}…"
    return f"{size_bytes} bytes: {shown}" if size_bytes > 8 else shown
