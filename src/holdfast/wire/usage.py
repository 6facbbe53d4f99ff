"""Usage as JSON, as CSV, and what may be asked of it. Pure: no I/O, clock or randomness."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from enum import StrEnum
from operator import attrgetter
from types import MappingProxyType
from typing import Any

import msgspec

from holdfast.errors import RequestError
from holdfast.money import MICROS_PER_UNIT
from holdfast.types import Tier
from holdfast.wire.csv_cells import spelled_cell
from holdfast.wire.nearest import nearest

PARAMETERS = ("by", "since", "until", "days", "key_id", "model", "size", "upstream", "outcome")
DAYS_DEFAULT = 30
ROWS_MAX = 200_000
"""Of one report; what is cut off is said."""


class By(StrEnum):
    """What usage can be broken down by."""

    KEY = "key"
    MODEL = "model"
    SIZE = "size"
    DAY = "day"
    UPSTREAM = "upstream"
    OUTCOME = "outcome"


_WORD = f" *(?:{'|'.join(By)}) *"
BY_PATTERN = f"^{_WORD}(?:,{_WORD})*$"
"""How `by` is written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageQuery:
    """Which usage, and how it is broken down."""

    since: date
    until: date
    """The last day (UTC), which is still in."""
    by: tuple[By, ...] = ()
    key_id: str | None = None
    model: str | None = None
    size: Tier | None = None
    upstream: str | None = None
    outcome: str | None = None


# Text and numbers make no cycle: the collector need not look through two hundred thousand of them.
class UsageRow(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """One line: the dimensions that were asked for, and what it comes to."""

    day: str | None = None
    key_id: str | None = None
    label: str | None = None
    """The key's, where it is broken down by key."""
    model: str | None = None
    size: str | None = None
    upstream: str | None = None
    """Empty: what was sent nowhere."""
    outcome: str | None = None
    """`succeeded`, `cancelled`, the code of a failure, or `open`: booked of what has not ended."""
    currency: str
    generations: int
    images: int
    charged_micros: int
    compensated_micros: int
    cost_micros: int
    """What upstreams took for what was asked for, at list price."""
    extra_micros: int
    """What they took for images that nobody pays for."""
    unknown_micros: int
    """What they may have taken."""


class UsageReport(msgspec.Struct, kw_only=True):
    """What was asked for, and its lines."""

    since: str
    until: str
    by: list[By]
    rows: list[UsageRow]
    is_whole: bool
    """Whether these are all lines."""


_FIELDS: Mapping[By, tuple[str, ...]] = MappingProxyType(
    {
        By.DAY: ("day",),
        By.KEY: ("key_id", "label"),
        By.MODEL: ("model",),
        By.SIZE: ("size",),
        By.UPSTREAM: ("upstream",),
        By.OUTCOME: ("outcome",),
    }
)
_YEARS = (2000, 9000)
_COUNTS = ("generations", "images")
_AMOUNTS = ("charged", "compensated", "cost", "extra", "unknown")
_AMOUNTS_MICROS = tuple(f"{name}_micros" for name in _AMOUNTS)


def decode_usage_query(asked: Mapping[str, str], *, today: date) -> UsageQuery:
    """Read what is asked for: `by` (comma-separated), `since`, `until`, `days`, and filters.

    Args:
        asked: Query parameters, or options of a command; empty text counts as not given.
        today: In UTC.

    Raises:
        RequestError: A word or a day is none; it is named, with what may be written.
    """
    for name in asked:
        if name not in PARAMETERS:
            raise _wrong(f"There is no parameter {name!r}. {nearest(name, PARAMETERS)}", name)
    given = {name: text for name, text in asked.items() if text}
    until = _day(given, "until") or today
    since = _day(given, "since") or until - timedelta(days=_days(given) - 1)
    if since > until:
        raise _wrong(f"since ({since}) is after until ({until}): swap them.", "since")
    size = given.get("size")
    if size is not None and size not in tuple(Tier):
        raise _wrong(f"There is no size {size!r}. Write one of {', '.join(Tier)}.", "size")
    return UsageQuery(
        since=since,
        until=until,
        by=tuple(dict.fromkeys(_by(word) for word in given.get("by", "").split(",") if "by" in given)),
        key_id=given.get("key_id"),
        model=given.get("model"),
        size=None if size is None else Tier(size),
        upstream=given.get("upstream"),
        outcome=given.get("outcome"),
    )


def _by(word: str) -> By:
    word = word.strip()
    if word not in tuple(By):
        raise _wrong(f"Usage cannot be broken down by {word!r}. {nearest(word, [each.value for each in By])}", "by")
    return By(word)


def _day(given: Mapping[str, str], name: str) -> date | None:
    if name not in given:
        return None
    told = f"{name} is {given[name][:40]!r}; write a day (UTC) such as 2026-11-28."
    try:
        day = date.fromisoformat(given[name])
    except ValueError as exc:
        raise _wrong(told, name) from exc
    if not _YEARS[0] <= day.year <= _YEARS[1]:
        raise _wrong(told, name)
    return day


def _days(given: Mapping[str, str]) -> int:
    text = given.get("days", str(DAYS_DEFAULT))
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= 3660):
        raise _wrong(f"days is {text[:40]!r}; write a whole number from 1 to 3660.", "days")
    return int(text)


def _wrong(message: str, param: str) -> RequestError:
    return RequestError(message, code="invalid_request", status=400, param=param)


def render_usage(report: UsageReport) -> bytes:
    """Spell a report as JSON."""
    return msgspec.json.encode(report)


def usage_csv(report: UsageReport) -> str:
    """Spell a report as CSV; amounts in units of their currency, exactly."""
    return "\r\n".join([*_lines(report), ""])


class _Spelled(dict[Hashable, str]):
    """Cells of one report that were spelled before: names and amounts of a month are a few, over and over."""

    def __init__(self, spell: Callable[[Any], str]) -> None:
        self._spell = spell

    def __missing__(self, cell: Hashable) -> str:
        spelled = self[cell] = self._spell(cell)
        return spelled


def units(micros: int) -> Decimal:
    """Give the amount in units of its currency."""
    return Decimal(micros) / MICROS_PER_UNIT


def _units(micros: int) -> str:
    return spelled_cell(units(micros))


def _lines(report: UsageReport) -> Iterator[str]:
    texts = [*(field for by in report.by for field in _FIELDS[by]), "currency"]
    yield ",".join(map(spelled_cell, (*texts, *_COUNTS, *_AMOUNTS)))
    text, units = _Spelled(spelled_cell), _Spelled(_units)
    spellings: list[tuple[str, Callable[[Any], str]]] = [(name, text.__getitem__) for name in texts]
    spellings += [(name, str) for name in _COUNTS] + [(name, units.__getitem__) for name in _AMOUNTS_MICROS]
    # By column, so that each step of two hundred thousand lines is one of the interpreter's own, and none is kept.
    columns = [map(spell, map(attrgetter(name), report.rows)) for name, spell in spellings]
    for cells in zip(*columns, strict=True):
        yield ",".join(cells)
