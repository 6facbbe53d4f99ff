"""Reading the days of usage back, broken down as somebody asks. Plain functions; the snapshot is the caller's."""

from __future__ import annotations

import sqlite3

from holdfast.store.queries import queries
from holdfast.wire.usage import ROWS_MAX, By, UsageQuery, UsageReport, UsageRow

_Q = queries("usage")


def usage_report(conn: sqlite3.Connection, query: UsageQuery, *, rows_max: int = ROWS_MAX) -> UsageReport:
    """Add the days up; nothing but roll-ups is read, however many generations there were."""
    values = {f"by_{by.value}": by in query.by for by in By} | {
        "since": query.since.isoformat(),
        "until": query.until.isoformat(),
        "key_id": query.key_id,
        "model": query.model,
        "tier": query.size,
        "upstream": query.upstream,
        "outcome": query.outcome,
        "most": rows_max + 1,
    }
    found = conn.execute(_Q["report"], values).fetchall()
    return UsageReport(
        since=query.since.isoformat(),
        until=query.until.isoformat(),
        by=list(query.by),
        rows=[_row(each) for each in found[:rows_max]],
        is_whole=len(found) <= rows_max,
    )


def _row(row: sqlite3.Row) -> UsageRow:
    # By place: a name is looked for among the columns each time, and there may be two hundred thousand rows.
    day, key_id, label, model, tier, upstream, outcome, currency, generations, images, *amounts = row
    charged, compensated, cost, extra, unknown = amounts
    return UsageRow(
        day=day,
        key_id=key_id,
        label=label,
        model=model,
        size=tier,
        upstream=upstream,
        outcome=outcome,
        currency=currency,
        generations=generations,
        images=images,
        charged_micros=charged,
        compensated_micros=compensated,
        cost_micros=cost,
        extra_micros=extra,
        unknown_micros=unknown,
    )
