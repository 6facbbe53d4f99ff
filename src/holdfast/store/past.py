"""Reading what has been charged, for a preview of other rules. Plain functions; the snapshot is the caller's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from holdfast.clock import from_rfc3339, rfc3339, ulid
from holdfast.config import CompensationReason
from holdfast.generation import State
from holdfast.policy.compensation import Subject
from holdfast.policy.preview import Past
from holdfast.store.charging import paid_for
from holdfast.store.generations import attempts_of, get_generation
from holdfast.store.port import Conn, Row
from holdfast.store.queries import queries

_Q = queries("usage")
_OLDEST = timedelta(days=31)
"""How much older than its end a generation may be: a failure can be driven again for as long as its key is known."""


def past_charges(conn: Conn, since: datetime, until: datetime) -> Iterator[Past]:
    """Read the generations that ended within a time and were charged for, in the order of their ends.

    Ids sort by the time at which they were made: what was accepted long before is not read.
    """
    first_id = f"gen_{ulid(int((since - _OLDEST).timestamp() * 1000), bytes(10))}"
    wanted = {"first_id": first_id, "since": rfc3339(since), "until": rfc3339(until)}
    for row in conn.execute(_Q["charged_between"], wanted):
        took_s = (from_rfc3339(row["finished_at"]) - from_rfc3339(row["began_at"])).total_seconds()
        yield Past(
            at=row["finished_at"],
            subject=Subject(key_id=row["key_id"], group_id=row["group_id"], model=row["model"], tier=row["tier"]),
            took_s=took_s,
            charged=_charged(conn, row),
            given_micros=row["compensated_micros"],
        )


def _charged(conn: Conn, row: Row) -> Mapping[CompensationReason, int]:
    """Say for what it was charged: for its images, else for what an upstream was paid without bringing it."""
    if State(row["state"]) is State.SUCCEEDED and not row["late"]:
        return {CompensationReason.SLOW: row["charged_micros"]}
    found = get_generation(conn, row["id"])
    assert found is not None
    return paid_for(found, attempts_of(conn, found.id))
