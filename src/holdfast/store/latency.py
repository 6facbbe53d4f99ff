"""Rows of what was learnt of upstreams' latencies, by hour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from holdfast import faults
from holdfast.policy.sketch import FORMAT
from holdfast.store.port import Conn
from holdfast.store.queries import queries

_Q = queries("latency")


@dataclass(frozen=True, slots=True, kw_only=True)
class SketchRow:
    """The calls of one hour to one upstream, for one model and size."""

    upstream: str
    model: str
    """The public name."""
    tier: str
    hour: int
    """Whole hours since 1970-01-01T00:00Z."""
    timed_out: int
    buckets: str
    """As `Sketch.encoded` wrote them."""
    updated_at: str


def put_sketches(conn: Conn, rows: Sequence[SketchRow], oldest_hour: int) -> None:
    """Write hours as they stand, in place of what was known of them, and delete those before `oldest_hour`."""
    faults.point_sync("latency.before_rows")
    for row in rows:
        conn.execute(
            _Q["put_sketch"],
            {
                "upstream": row.upstream,
                "model": row.model,
                "tier": row.tier,
                "hour": row.hour,
                "format": FORMAT,
                "timed_out": row.timed_out,
                "buckets": row.buckets,
                "updated_at": row.updated_at,
            },
        )
    conn.execute(_Q["delete_old_sketches"], {"oldest_hour": oldest_hour})
    faults.point_sync("latency.after_rows")


def get_sketches(conn: Conn, oldest_hour: int) -> tuple[SketchRow, ...]:
    """Read the hours from `oldest_hour` on; those that another version wrote in a form of its own are passed over."""
    found = conn.execute(_Q["get_sketches"], {"oldest_hour": oldest_hour, "format": FORMAT})
    return tuple(
        SketchRow(
            upstream=row["upstream"],
            model=row["model"],
            tier=row["tier"],
            hour=row["hour"],
            timed_out=row["timed_out"],
            buckets=row["buckets"],
            updated_at=row["updated_at"],
        )
        for row in found
    )
