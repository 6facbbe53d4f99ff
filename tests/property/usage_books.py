"""The days of usage, worked out anew from rows and ledger by SQL that shares nothing with what keeps them."""

from __future__ import annotations

import sqlite3

MEASURES = (
    "generations",
    "images",
    "charged_micros",
    "compensated_micros",
    "cost_micros",
    "extra_micros",
    "unknown_micros",
)
_ROWS = f"SELECT day, key_id, model, tier, upstream, outcome, currency, {', '.join(MEASURES)} FROM usage_day"
_ENDS = """
SELECT substr(finished_at, 1, 10) AS day, key_id, model, tier, served_by AS upstream,
  CASE state WHEN 'failed' THEN json_extract(failure, '$.code') ELSE state END AS outcome, currency,
  count(*) AS generations, sum(CASE WHEN state = 'succeeded' THEN min(n, (
    SELECT count(*) FROM blob WHERE generation_id = generation.id AND kind = 'result'
  )) ELSE 0 END) AS images
FROM generation WHERE state NOT IN ('queued', 'running') GROUP BY 1, 2, 3, 4, 5, 6, 7
"""
_LINES = """
SELECT substr(t.at, 1, 10) AS day, key_id, g.model, g.tier, coalesce(a.upstream, g.served_by) AS upstream,
  CASE WHEN g.state IN ('queued', 'running') THEN 'open' WHEN g.state = 'failed'
    THEN json_extract(g.failure, '$.code') ELSE g.state END AS outcome,
  currency, account, sum(micros) AS micros
FROM ledger_entry JOIN ledger_txn AS t ON txn_id = t.id JOIN generation AS g ON g.id = t.generation_id
LEFT JOIN attempt AS a ON a.id = t.attempt_id GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
"""
_AS = {
    "revenue": ("charged_micros", -1),
    "compensation": ("compensated_micros", 1),
    "provider_cost": ("cost_micros", 1),
    "extra_images": ("extra_micros", 1),
    "unknown_exposure": ("unknown_micros", 1),
}
Day = dict[tuple[str, ...], dict[str, int]]


def kept(conn: sqlite3.Connection) -> Day:
    """What the roll-ups say; rows in which nothing stands any more are left out."""
    found = {tuple(row)[:7]: dict(zip(MEASURES, tuple(row)[7:], strict=True)) for row in conn.execute(_ROWS)}
    return {slot: sums for slot, sums in found.items() if any(sums.values())}


def expected(conn: sqlite3.Connection) -> Day:
    """What they must say."""
    days: Day = {}
    for row in conn.execute(_ENDS):
        sums = days.setdefault(tuple(row)[:7], dict.fromkeys(MEASURES, 0))
        sums["generations"], sums["images"] = row["generations"], row["images"]
    for row in conn.execute(_LINES):
        measure, sign = _AS.get(row["account"], (None, 0))
        if measure is not None and row["micros"]:
            days.setdefault(tuple(row)[:7], dict.fromkeys(MEASURES, 0))[measure] += sign * row["micros"]
    return days
