"""Rows of what was learnt of upstreams' latencies, by hour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from holdfast import faults
from holdfast.policy.sketch import FORMAT, Sketch
from holdfast.store.locking import has_one_writer, lock
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
    """Write hours as they stand, in place of what was known of them, and delete those before `oldest_hour`.

    Where others learn as well, nothing that they have written is lost.
    """
    faults.point_sync("latency.before_rows")
    if not has_one_writer(conn):
        lock(conn, "latency")
        known = {_place(row): row for row in get_sketches(conn, oldest_hour)}
        rows = [_with_more(row, known.get(_place(row))) for row in rows]
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


def _place(row: SketchRow) -> tuple[str, str, str, int]:
    return row.upstream, row.model, row.tier, row.hour


def _with_more(ours: SketchRow, theirs: SketchRow | None) -> SketchRow:
    """Of each bucket keep the larger count: both began with what was written before, which is not counted twice."""
    if theirs is None:
        return ours
    try:
        kept = Sketch.decoded(theirs.buckets, timed_out=theirs.timed_out)
    except ValueError:
        return ours
    own = Sketch.decoded(ours.buckets, timed_out=ours.timed_out)
    counts = {bucket: max(own.counts.get(bucket, 0), kept.counts.get(bucket, 0)) for bucket in own.counts | kept.counts}
    both = Sketch(counts, sum(counts.values()), max(own.timed_out, kept.timed_out))
    return replace(
        ours, buckets=both.encoded(), timed_out=both.timed_out, updated_at=max(ours.updated_at, theirs.updated_at)
    )


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
