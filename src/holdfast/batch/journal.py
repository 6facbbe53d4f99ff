"""What a batch writes down while it runs: lines of JSON, only ever appended, and what they say when read again.

The first line says which batch it is. Then a line `asked` before a prompt is sent, and `done` or `failed` after it. A
process may end at any byte: a last line without its line feed is one that was being written, and counts as not
written. For `asked` that is right because nothing is sent before it is on disk; for the others because asking again
with the same key gives the same answer.

No prompt, no API key and no message of anyone stands in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from holdfast.errors import RequestError

VERSION = 1
RECORD_BYTES_MAX = 1 << 16
"""A longer line is none of ours."""


class Began(msgspec.Struct, frozen=True, kw_only=True, tag_field="is", tag="batch"):
    """The head: which batch this is, and where its images are paid and kept."""

    id: str
    base_url: str
    account: str = ""
    """Public part of the API key, where it has one: another key's generations are not given to this one."""
    version: int = VERSION


class AskedOf(msgspec.Struct, frozen=True, kw_only=True, tag_field="is", tag="asked"):
    """A line is about to be sent under this key."""

    line: int
    key: str
    fingerprint: str
    """Of the wish, as `Line.fingerprint` gives it."""
    purchase: int = 1
    """How often this wish was bought on purpose, 1-based; it is part of the key."""


class Done(msgspec.Struct, frozen=True, kw_only=True, tag_field="is", tag="done"):
    """A line's images are on disk."""

    line: int
    key: str
    files: tuple[str, ...]
    """Names in the output folder."""
    generation_id: str | None = None


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag_field="is", tag="failed"):
    """A line ended without an image."""

    line: int
    key: str
    code: str
    """Name of the exit code that the command would have ended with."""
    paid: str
    """`no`, `yes` or `unknown`: what the upstream may have charged."""
    generation_id: str | None = None


Record = Began | AskedOf | Done | Failed
_DECODER: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)


def spell(record: Record) -> bytes:
    """Write a record as its line."""
    return msgspec.json.encode(record) + b"\n"


@dataclass(slots=True)
class Entry:
    """What is known of one line."""

    asked: AskedOf
    end: Done | Failed | None = None
    """None: it was sent, and nobody knows what came of it."""


@dataclass(slots=True)
class Told:
    """A journal, read."""

    head: Began | None = None
    """None: it is empty, or broke off within its first line."""
    entries: dict[int, Entry] = field(default_factory=dict)
    """By line number; of several purchases the last."""
    whole_bytes: int = 0
    """Where the whole lines end; whoever goes on writing cuts off the rest first."""


def read(rows: Iterable[bytes], name: str) -> Told:
    """Read a journal.

    Args:
        rows: Its lines, each with its line feed, but perhaps the last.
        name: What it is called in messages.

    Raises:
        RequestError: It is no journal, or a later version's, or it was damaged: what was paid cannot be known then.
    """
    told = Told()
    for number, row in enumerate(rows, 1):
        if len(row) > RECORD_BYTES_MAX:
            raise _damaged(name, number)
        if not row.endswith(b"\n"):
            break
        record = _decoded(row, number, name)
        if isinstance(record, Began) is not (told.head is None):
            raise _damaged(name, number)
        _take(told, record, number, name)
        told.whole_bytes += len(row)
    return told


def _decoded(row: bytes, number: int, name: str) -> Record:
    try:
        return _DECODER.decode(row)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _damaged(name, number) from error


def _take(told: Told, record: Record, number: int, name: str) -> None:
    match record:
        case Began():
            if record.version != VERSION:
                raise RequestError(
                    f"{name} is a journal of version {record.version}, and this holdfast reads {VERSION}. "
                    "Go on with the holdfast that began the batch."
                )
            told.head = record
        case AskedOf():
            told.entries[record.line] = Entry(record)
        case Done() | Failed():
            entry = told.entries.get(record.line)
            if entry is None or entry.asked.key != record.key:
                raise _damaged(name, number)
            entry.end = record


def _damaged(name: str, number: int) -> RequestError:
    return RequestError(
        f"{name}, line {number}: this is no line of a batch's journal. It says what was paid: restore it from a copy, "
        "or begin again in another folder (-o), which pays for every line."
    )
