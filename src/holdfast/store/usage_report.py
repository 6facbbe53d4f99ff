"""Reading the days of usage back, broken down as somebody asks. Plain functions; the snapshot is the caller's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

from holdfast.store.port import Conn
from holdfast.store.queries import queries
from holdfast.wire.usage import ROWS_MAX, By, UsageQuery, UsageReport, UsageRow

_Q = queries("usage")


def usage_report(conn: Conn, query: UsageQuery, *, rows_max: int = ROWS_MAX) -> UsageReport:
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
    rows = _each(conn, values) if set(query.by) == set(By) else _grouped(conn, values)
    is_whole = len(rows) <= rows_max
    return UsageReport(
        since=query.since.isoformat(),
        until=query.until.isoformat(),
        by=list(query.by),
        rows=rows if is_whole else rows[:rows_max],
        is_whole=is_whole,
    )


# Rows are taken apart by place: a name is looked for among the columns each time, and there may be many thousands.
def _grouped(conn: Conn, values: Mapping[str, object]) -> list[UsageRow]:
    found = conn.execute(_Q["report"], values)
    return [
        _row(day, key_id, label, model, tier, upstream, outcome, currency, measures)
        for day, key_id, label, model, tier, upstream, outcome, currency, *measures in found
    ]


def _each(conn: Conn, values: Mapping[str, object]) -> list[UsageRow]:
    @cache
    def label_of(key_id: str) -> str | None:
        # Asked for once each: keys are few, and their lines many.
        found = conn.execute(_Q["label"], {"id": key_id}).fetchone()
        return None if found is None else str(found[0])

    return [
        _row(day, key_id, label_of(key_id), model, tier, upstream, outcome, currency, measures)
        for day, key_id, model, tier, upstream, outcome, currency, *measures in conn.execute(_Q["each"], values)
    ]


def _row(
    day: str | None,
    key_id: str | None,
    label: str | None,
    model: str | None,
    tier: str | None,
    upstream: str | None,
    outcome: str | None,
    currency: str,
    measures: Sequence[int],
) -> UsageRow:
    generations, images, charged, compensated, cost, extra, unknown = measures
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
