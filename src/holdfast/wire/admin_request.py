"""What callers of `/admin/v1` may say: small JSON documents, and words in the query.

Pure: no I/O, clock or randomness.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from holdfast.errors import RequestError
from holdfast.wire.errors import WireError
from holdfast.wire.fields import document_of, request_error_of
from holdfast.wire.misfit import misfit
from holdfast.wire.nearest import nearest

T = TypeVar("T", bound=msgspec.Struct)

_QUOTED_CHARS_MAX = 40
_DIGITS_MAX = 15


def decode_body(body: bytes, expected: type[T]) -> T:
    """Read a document; an empty body is an empty one.

    Raises:
        RequestError: Not JSON, a field is unknown, missing or of the wrong type; `param` names it.
    """
    document: Any = None
    try:
        document = document_of(body or b"{}")
        value = msgspec.convert(document, type=expected)
    except WireError as exc:
        raise request_error_of(exc) from exc
    except msgspec.ValidationError as exc:
        _refuse_unknown(document, expected.__struct_fields__)
        raise misfit(exc, document, expected) from exc
    _refuse_unknown(document, expected.__struct_fields__)
    return value


def _refuse_unknown(document: Any, known: Iterable[str]) -> None:
    """Name a field that means nothing, before a missing one: it is the same one, misspelled."""
    unknown = sorted(set(document).difference(known)) if isinstance(document, dict) else []
    if unknown:
        name = unknown[0][:64]
        raise RequestError(f"Unknown field {name!r}. {nearest(name, known)}", param=name)


def check_query(query: Mapping[str, str], known: Iterable[str]) -> None:
    """See that every parameter means something, and says something.

    Raises:
        RequestError: `param` names it, the message the near one.
    """
    known = tuple(known)
    for name, value in query.items():
        if name not in known:
            hint = nearest(name, known) if known else "There is none here."
            if name == "key":
                hint = "Send the key in a header: addresses are written into logs and histories."
            raise RequestError(f"There is no parameter {_quoted(name)}. {hint}", param=name[:64])
        if not value:
            raise RequestError(f"{name} is empty: give it a value, or leave it out.", param=name)


def one_of(name: str, value: str | None, known: tuple[str, ...]) -> str | None:
    """Give a word back that is one of a few, or none.

    Raises:
        RequestError: It is another one.
    """
    if value is not None and value not in known:
        words = ", ".join(known)
        raise RequestError(f"{name} must be one of {words}, not {_quoted(value)}. {nearest(value, known)}", param=name)
    return value


def whole_number(name: str, value: str | None, *, usual: int, least: int, most: int) -> int:
    """Read a whole number; left out, it is `usual`.

    Raises:
        RequestError: It is none, or out of bounds.
    """
    if value is None:
        return usual
    is_number = value.isascii() and value.isdigit() and len(value) <= _DIGITS_MAX
    if not is_number or not least <= int(value) <= most:
        raise RequestError(f"{name} must be a whole number from {least} to {most}.", param=name)
    return int(value)


def moment(name: str, value: str | None) -> datetime | None:
    """Read a moment, RFC 3339, or a day, which begins at midnight UTC.

    Raises:
        RequestError: It is neither, or has no zone.
    """
    if value is None:
        return None
    try:
        # A plus in a query is a space, unless it was spelled %2B: the zone is meant.
        found = datetime.fromisoformat(value.replace(" ", "+"))
    except ValueError as exc:
        raise _no_moment(name) from exc
    if found.tzinfo is None:
        if len(value) != len("2026-11-28"):
            raise _no_moment(name)
        return found.replace(tzinfo=UTC)
    try:
        return found.astimezone(UTC)
    except OverflowError as exc:
        raise _no_moment(name) from exc


def _no_moment(name: str) -> RequestError:
    return RequestError(f"{name} must be a moment such as 2026-11-28T12:00:00Z, or a day, 2026-11-28.", param=name)


def _quoted(word: str) -> str:
    return repr(word[:_QUOTED_CHARS_MAX])
