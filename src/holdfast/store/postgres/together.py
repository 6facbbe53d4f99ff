"""Several statements that write, made one: PostgreSQL is asked once, and answers once. Pure.

A trip to the server costs a gateway more than what is asked there. What nobody waits for the result of is kept until
something does, and goes as one statement, each part a `WITH` of its own: they see the same rows, those of before, so
only what touches different tables may go together (`is_apart`). An id that one part makes is named in another
(`(SELECT id FROM w0)`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import NamedTuple

from holdfast.store.postgres.translate import Statement

ROWS_MAX = 16
"""Of one part: each number of rows is another statement, that each connection prepares."""

_ASIDE = re.compile(r"'(?:[^']|'')*'|--[^\n]*")
_TARGET = re.compile(r"(?:INSERT INTO|UPDATE|DELETE FROM)\s+(\w+)\b", re.IGNORECASE)
_RETURNING = re.compile(r"\bRETURNING\s+(.+)$", re.IGNORECASE | re.DOTALL)
_WORD = re.compile(r"[a-z_]\w*", re.IGNORECASE)
_PLACE = re.compile(r"'(?:[^']|'')*'|--[^\n]*|\$(\d+)")
_VALUES = re.compile(r"\bVALUES\s*\(", re.IGNORECASE)


class Want(Enum):
    """What is to be known of a part."""

    NOTHING = "nothing"
    COUNT = "count"
    """Rows inserted, changed or deleted."""
    VALUE = "value"
    """The one column that it returns, of its one row."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Write:
    """A statement that writes, taken apart; there is one of each text."""

    text: str
    """Without comments."""
    target: str
    """The table that it changes."""
    words: frozenset[str]
    """All that it might read is among them."""
    returning: str | None
    """The one column that it returns."""
    only_adds: bool
    """Inserts what it is given, and looks at no other row."""
    row: tuple[int, int] | None
    """Where in the text one row of values stands, if it may be given several; else None."""


class Part(NamedTuple):
    """A `Write` as it is asked for once."""

    write: Write
    rows: int
    want: Want
    made: tuple[tuple[int, int], ...] = ()
    """Places among its values that hold what another part makes: place (from 0, through all rows), number of the part.
    """


@cache
def words_of(text: str) -> frozenset[str]:
    """Name everything in a statement that might be a table."""
    return frozenset(_WORD.findall(_ASIDE.sub(" ", text).lower()))


@cache
def write_of(statement: Statement) -> Write | None:
    """Take a statement apart; None: it does not write, or it must be asked by itself."""
    text = _without_comments(statement.text)
    target = _TARGET.match(text)
    if target is None:
        return None
    found = _RETURNING.search(text)
    column = None if found is None else found[1].strip()
    if column is not None and not column.isidentifier():
        return None
    is_plain = text.upper().startswith("INSERT") and "SELECT" not in text.upper()
    has_conflict = "ON CONFLICT" in text.upper()
    return Write(
        text=text,
        target=target[1].lower(),
        words=words_of(text),
        returning=column,
        only_adds=is_plain and not has_conflict,
        row=_row_of(text) if is_plain and column is None else None,
    )


def _without_comments(text: str) -> str:
    return _ASIDE.sub(lambda found: found[0] if found[0].startswith("'") else "", text).strip()


def _row_of(text: str) -> tuple[int, int] | None:
    """Find the values of an `INSERT`; None: others stand elsewhere, which would have to be the same for all rows."""
    found = _VALUES.search(text)
    if found is None:
        return None
    depth, start = 0, found.end() - 1
    for at in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        if not depth:
            outside = text[:start] + text[at + 1 :]
            return None if any(each[1] for each in _PLACE.finditer(outside)) else (start, at + 1)
    return None


def is_apart(waiting: Write, words: frozenset[str], other: Write | None = None) -> bool:
    """Say whether a statement may be asked before one that waits, or together with it.

    Args:
        waiting: Comes first, and has not been asked yet.
        words: Of the other statement.
        other: That one taken apart; None: it only reads.
    """
    if waiting.target not in words:
        return True
    # Two that only add to a table do not see each other's rows, and need not.
    return other is not None and other.target == waiting.target and other.only_adds and waiting.only_adds


@cache
def read_together(statements: tuple[Statement, ...]) -> str:
    """Make one statement of several that read: one row, with the rows of each in an array, in their order."""
    arrays, given = [], 0
    for each in statements:
        text = _without_comments(each.text)
        shifted = _PLACE.sub(lambda found, by=given: f"${int(found[1]) + by}" if found[1] else found[0], text)  # type: ignore[misc]  # this turn's
        arrays.append(f"ARRAY(SELECT one FROM ({shifted}) AS one)")
        given += len(each.names)
    return f"SELECT {', '.join(arrays)}"


@cache
def composed(parts: tuple[Part, ...]) -> str:
    """Make one statement of several.

    It gives one row: `txid`, the transaction's number, and for each part of which something is wanted `w0`, `w1`, … by
    its place: the number of rows, or the value. Values are numbered through all parts, without those that are made by
    other parts.
    """
    withs, wanted, given = [], ["txid_current() AS txid"], 0
    for place, part in enumerate(parts):
        text, given = _numbered(part, given)
        if part.want is Want.COUNT and part.write.returning is None:
            text += " RETURNING 1"
        withs.append(f"w{place} AS ({text})")
        if part.want is Want.COUNT:
            wanted.append(f"(SELECT count(*) FROM w{place}) AS w{place}")
        elif part.want is Want.VALUE:
            # In this order they are made, too: who asks for ids gets them ascending.
            wanted.append(f"(SELECT {part.write.returning} FROM w{place}) AS w{place}")
    return f"WITH {', '.join(withs)} SELECT {', '.join(wanted)}"


def _numbered(part: Part, given: int) -> tuple[str, int]:
    """Give a part's text with its values numbered from `given` on, and how many have been numbered by its end."""
    write, made = part.write, dict(part.made)
    numbers: dict[int, str] = {}
    in_row = max((int(each[1]) for each in _PLACE.finditer(write.text) if each[1]), default=0)
    for place in range(in_row * part.rows):
        if place in made:
            numbers[place] = f"(SELECT id FROM w{made[place]})"
        else:
            given += 1
            numbers[place] = f"${given}"

    def of_row(text: str, row: int) -> str:
        return _PLACE.sub(
            lambda found: numbers[row * in_row + int(found[1]) - 1] if found[1] else found[0],
            text,
        )

    if part.rows == 1:
        return of_row(write.text, 0), given
    assert write.row is not None, "one row is all that it takes"
    start, end = write.row
    rows = ", ".join(of_row(write.text[start:end], row) for row in range(part.rows))
    return write.text[:start] + rows + write.text[end:], given


@cache
def may_be_spelled(statement: Statement) -> bool:
    """Say whether a statement changes rows that are found by what is given, and nothing else."""
    write = write_of(statement)
    return write is not None and write.returning is None and write.text.upper().startswith("UPDATE")


def spelled(statement: Statement, values: Sequence[object]) -> str:
    """Write text, or lists of it, into a statement, where none can be given beside it.

    In hexadecimal digits: whatever the text is, none of it is read as a statement.
    """

    def word(value: object) -> str:
        if isinstance(value, str):
            return f"convert_from(decode('{value.encode().hex()}', 'hex'), 'UTF8')"
        assert isinstance(value, list), "text alone is spelled"
        return f"CAST(ARRAY[{', '.join(map(word, value))}] AS text[])"

    text = _without_comments(statement.text)
    return _PLACE.sub(lambda found: word(values[int(found[1]) - 1]) if found[1] else found[0], text)
