"""Rows of what has been bought a second time each day. Plain functions; the caller's transaction is theirs."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.store.port import Conn
from holdfast.store.queries import queries

_Q = queries("exposure")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cap:
    """How much of one model may be bought a second time today."""

    model: str
    micros: int


def expose(conn: Conn, cap: Cap, *, at: str, micros: int) -> bool:
    """Reserve a second purchase of the day, in the transaction that decides on it; False: it does not fit.

    Args:
        conn: In the writing transaction.
        cap: The day's limit.
        at: Now, RFC 3339.
        micros: What the attempt that nobody knows the outcome of may have cost.
    """
    day = {"day": at[:10], "model": cap.model}
    conn.execute(_Q["begin_day"], day)
    return conn.execute(_Q["expose"], {**day, "micros": micros, "cap": cap.micros}).rowcount == 1


def exposed_on(conn: Conn, day: str, model: str) -> int:
    """Read what has been bought a second time on a day, micro-units."""
    row = conn.execute(_Q["exposed"], {"day": day, "model": model}).fetchone()
    return 0 if row is None else int(row[0])


def spent_since(conn: Conn, model: str, first_id: str) -> int:
    """Add up what customers were charged for a model, micro-units, from the generation on that this id would have."""
    return int(conn.execute(_Q["spent_since"], {"model": model, "first_id": first_id}).fetchone()[0])
