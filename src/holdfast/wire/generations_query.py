"""The query strings of `/v1/generations`: what a caller wants listed.

Pure: no I/O, clock or randomness.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from holdfast.errors import RequestError
from holdfast.wire.generations import Status
from holdfast.wire.nearest import nearest

LIMIT_DEFAULT = 20
LIMIT_MAX = 100
STATUSES: tuple[str, ...] = get_args(Status)
PARAMETERS = ("status", "model", "collected", "idempotency_key", "after", "limit")
_CREDENTIAL = "key"
"""A Google SDK's place for the key; no parameter of ours."""
STARTING_AFTER = "starting_after"
_QUOTED_CHARS_MAX = 40
_DIGITS_MAX = 18


@dataclass(frozen=True, slots=True, kw_only=True)
class ListQuery:
    """Which of its generations a key wants listed; None: whatever it is."""

    status: str | None = None
    model: str | None = None
    collected: bool | None = None
    idempotency_key: str | None = None
    after: str | None = None
    limit: int = LIMIT_DEFAULT


def decode_list_query(query: Mapping[str, str]) -> ListQuery:
    """Read the parameters of `GET /v1/generations`.

    Raises:
        RequestError: A parameter or a value that is not known; `param` names it, the message the near one.
    """
    for name in query:
        if name not in PARAMETERS and name != _CREDENTIAL:
            raise RequestError(f"There is no parameter {_quoted(name)}. {nearest(name, PARAMETERS)}", param=name[:64])
    limit = query.get("limit", str(LIMIT_DEFAULT))
    is_number = limit.isascii() and limit.isdigit() and len(limit) <= 3
    if not is_number or not 1 <= int(limit) <= LIMIT_MAX:
        raise RequestError(f"limit must be a whole number from 1 to {LIMIT_MAX}.", param="limit")
    collected = _one_of("collected", query.get("collected"), ("true", "false"))
    return ListQuery(
        status=_one_of("status", query.get("status"), STATUSES),
        model=_stated("model", query.get("model")),
        collected=None if collected is None else collected == "true",
        idempotency_key=_stated("idempotency_key", query.get("idempotency_key")),
        after=_stated("after", query.get("after")),
        limit=int(limit),
    )


def decode_events_query(query: Mapping[str, str], last_event_id: str | None) -> int:
    """Read behind which event a stream begins; 0: with the first.

    `Last-Event-ID` wins over `starting_after`: who comes back by itself sends the query of its first request again.

    Raises:
        RequestError: A parameter that is not known, or what is no number; `param` names it.
    """
    for name in query:
        if name not in (STARTING_AFTER, _CREDENTIAL):
            raise RequestError(
                f"There is no parameter {_quoted(name)}. {nearest(name, (STARTING_AFTER,))}", param=name[:64]
            )
    after = _number(STARTING_AFTER, query.get(STARTING_AFTER, "0"))
    return _number("Last-Event-ID", last_event_id) if last_event_id else after


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX):
        raise RequestError(f"{name} must be the number of an event, 0 or more.", param=name)
    return int(text)


def _one_of(name: str, value: str | None, known: tuple[str, ...]) -> str | None:
    if value is not None and value not in known:
        words = ", ".join(known)
        raise RequestError(f"{name} must be one of {words}, not {_quoted(value)}. {nearest(value, known)}", param=name)
    return value


def _stated(name: str, value: str | None) -> str | None:
    if value == "":
        raise RequestError(f"{name} is empty: give it a value, or leave it out.", param=name)
    return value


def _quoted(word: str) -> str:
    return repr(word[:_QUOTED_CHARS_MAX])
