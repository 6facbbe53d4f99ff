"""What a key may be told of its own usage: what it asked for and what that cost it; never what upstreams took.

Pure: no I/O, clock or randomness. Money is integer micro-units, days are UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date

import msgspec

from holdfast.errors import RequestError
from holdfast.wire.admin_request import check_query
from holdfast.wire.csv_cells import csv_text
from holdfast.wire.nearest import nearest
from holdfast.wire.usage import By, UsageQuery, UsageReport, decode_usage_query, units

OWN_BY = (By.DAY, By.MODEL, By.SIZE, By.OUTCOME)
"""What a key's own usage can be broken down by."""
OWN_PARAMETERS = ("by", "since", "until", "days", "model", "size", "outcome")
_WORD = f" *(?:{'|'.join(OWN_BY)}) *"
OWN_BY_PATTERN = f"^{_WORD}(?:,{_WORD})*$"


class OwnUsageRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line: what was asked for by, and what it comes to."""

    day: str | None = None
    model: str | None = None
    size: str | None = None
    outcome: str | None = None
    """`succeeded`, `cancelled`, the code of a failure, or `open`: of what has not ended."""
    currency: str
    generations: int
    images: int
    charged_micros: int
    compensated_micros: int
    """Given back of what was charged."""


class Spending(msgspec.Struct, frozen=True, kw_only=True):
    """What stands against a limit of the key: charged, and held for what is open."""

    spent_micros: int
    limit_micros: int | None
    """None: the key has no such limit; its group may."""


class OwnUsage(msgspec.Struct, frozen=True, kw_only=True):
    """A key's own usage, and how its budget stands."""

    since: str
    until: str
    by: tuple[By, ...]
    rows: tuple[OwnUsageRow, ...]
    is_whole: bool
    """Whether these are all lines."""
    today: Spending
    this_month: Spending


def decode_own_query(asked: Mapping[str, str], *, key_id: str, today: date) -> UsageQuery:
    """Read what a key asks of its own usage.

    Args:
        asked: Query parameters; `key` is a credential there, and none of them.
        key_id: Whose it is.
        today: In UTC.

    Raises:
        RequestError: A parameter, a word or a day is none; it is named, with what may be written.
    """
    named = {name: value for name, value in asked.items() if name != "key"}
    check_query(named, OWN_PARAMETERS)
    query = decode_usage_query(named, today=today)
    for each in query.by:
        if each not in OWN_BY:
            hint = nearest(each.value, [by.value for by in OWN_BY])
            raise RequestError(f"Your own usage cannot be broken down by {each.value!r}. {hint}", param="by")
    return replace(query, key_id=key_id)


def own_usage(report: UsageReport, *, today: Spending, this_month: Spending) -> OwnUsage:
    """Leave out of a report what is not its key's to know."""
    return OwnUsage(
        since=report.since,
        until=report.until,
        by=tuple(report.by),
        rows=tuple(
            OwnUsageRow(
                day=row.day,
                model=row.model,
                size=row.size,
                outcome=row.outcome,
                currency=row.currency,
                generations=row.generations,
                images=row.images,
                charged_micros=row.charged_micros,
                compensated_micros=row.compensated_micros,
            )
            for row in report.rows
            # What an upstream took for an image that nobody pays for is a line of its own, and nobody's here.
            if row.generations or row.images or row.charged_micros or row.compensated_micros
        ),
        is_whole=report.is_whole,
        today=today,
        this_month=this_month,
    )


def own_usage_csv(usage: OwnUsage) -> str:
    """Spell it for spreadsheets, without formulas; amounts in units of their currency, exactly."""
    named = [each.value for each in usage.by]
    lines = [[*named, "currency", "generations", "images", "charged", "compensated"]]
    return csv_text(
        [
            *lines,
            *(
                [
                    *(getattr(row, name) for name in named),
                    row.currency,
                    row.generations,
                    row.images,
                    units(row.charged_micros),
                    units(row.compensated_micros),
                ]
                for row in usage.rows
            ),
        ]
    )
