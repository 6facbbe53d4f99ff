"""What a restored database says of what is not here: images that did not come along, and calls that were in flight.

The gateway that was copied may still run, or have run on for hours. Whatever it had begun it may have bought, and
collected, since: to go on with it here would pay twice, and two gateways would ask for one image under one handle. So
what was open is ended: its outcome is unknown to these books, which is what they say.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from holdfast.generation import OPEN_ATTEMPT_STATES, AttemptState
from holdfast.policy.compensation import Rules
from holdfast.store.attempts import end_attempt
from holdfast.store.audit_log import note
from holdfast.store.generations import attempts_of, left_open, pass_deadline, take_over
from holdfast.store.lock import Paths
from holdfast.store.queries import queries
from holdfast.store.reading import snapshot_of_folder
from holdfast.store.records import AttemptEnd, Told
from holdfast.store.retention import bury
from holdfast.store.sqlite import SqliteStore
from holdfast.types import Charge, Failure, FailureKind, Phase

BATCH = 200
"""Generations, or images, in one commit."""
OPERATOR = "operator"
IN_FLIGHT = Failure(
    kind=FailureKind.LOST_REPLY,
    phase=Phase.WAIT,
    charge=Charge.UNKNOWN,
    detail="this gateway was restored from a backup that was made while this call was in flight; what came of it, "
    "only the gateway that was backed up knows",
)
LEFT_OPEN = Told(
    code="outcome_unknown",
    message="This gateway was restored from a backup that was made before this had ended. What came of it, only the "
    "gateway that was backed up knows.",
    charge=Charge.UNKNOWN,
)
_Q = queries("backup")


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """When, and by which rules."""

    at: str
    """Now, RFC 3339."""
    purge_after: str
    """When what belongs to what ends now may be deleted."""
    rules: Rules


@dataclass(slots=True, kw_only=True)
class PutRight:
    """What the books say now that they did not say in the backup."""

    ended: int = 0
    """Generations that were open, or had a call in flight."""
    images_lost: int = 0
    never_collected: int = 0
    """Generations among whose lost images is one that nobody has."""
    inputs_lost: int = 0


@contextmanager
def brought_up(place: Path) -> Iterator[sqlite3.Connection]:
    """Bring the database of a backup to this version's schema, and open it to read.

    Raises:
        StorageError: It is none, or a newer holdfast wrote it.
    """
    SqliteStore(Paths(root=place).database, OPERATOR).close()
    with snapshot_of_folder(place) as conn:
        yield conn


def put_right(store: SqliteStore, place: Path, moment: Moment, *, backup_id: str, is_only_one: bool) -> PutRight:
    """Make a restored database agree with what is here.

    Args:
        store: It.
        place: Where its files are.
        moment: When, and by which rules.
        backup_id: What it was restored from, for the log of changes.
        is_only_one: The gateway that was backed up is gone: what was in flight is left to the next start, as after a
            crash.
    """
    found = PutRight()
    if not is_only_one:
        found.ended = _end_all(store, moment)
    _lose_images(store, place, moment, found)
    found.inputs_lost = store.write_sync(_lose_inputs, place)
    store.write_sync(_finish, moment, backup_id, found, is_only_one)
    return found


def _end_all(store: SqliteStore, moment: Moment) -> int:
    told, without_end = store.write_sync(left_open)
    ids = (*told, *without_end)
    for first in range(0, len(ids), BATCH):
        store.write_sync(_end_some, ids[first : first + BATCH], moment)
    return len(ids)


def _end_some(conn: sqlite3.Connection, ids: tuple[str, ...], moment: Moment) -> None:
    for id_ in ids:
        for attempt in attempts_of(conn, id_):
            if AttemptState(attempt.state) in OPEN_ATTEMPT_STATES:
                end = AttemptEnd(attempt_id=attempt.id, at=moment.at, purge_after=moment.purge_after, failure=IN_FLIGHT)
                end_attempt(conn, end, moment.rules)
        # Parts that wait for their turn, or for another try: the other gateway may have sent them since.
        pass_deadline(conn, id_, LEFT_OPEN, moment.at, moment.purge_after, False, moment.rules)


def _lose_images(store: SqliteStore, place: Path, moment: Moment, found: PutRight) -> None:
    after: int | None = 0
    while after is not None:
        after, lost, uncollected = store.write_sync(_lose_some, place, moment.at, after)
        found.images_lost += lost
        found.never_collected += uncollected


def _lose_some(conn: sqlite3.Connection, place: Path, at: str, after: int) -> tuple[int | None, int, int]:
    rows = conn.execute(_Q["images_after"], {"after": after, "count": BATCH}).fetchall()
    lost = [row for row in rows if not _is_there(place, row["store_key"])]
    conn.executemany(_Q["lose_image"], [{"key": row["store_key"]} for row in lost])
    ids = tuple(dict.fromkeys(row["generation_id"] for row in lost))
    uncollected = sum(conn.execute(_Q["is_uncollected"], {"id": id_}).fetchone()[0] for id_ in ids)
    for id_ in ids:
        conn.execute(_Q["let_go"], {"id": id_, "now": at})
    bury(conn, ids, at)
    return (rows[-1]["rowid"] if rows else None), len(lost), uncollected


def _lose_inputs(conn: sqlite3.Connection, place: Path) -> int:
    lost = [row["store_key"] for row in conn.execute(_Q["inputs"]) if not _is_there(place, row["store_key"])]
    for key in lost:
        conn.execute(_Q["forget_request"], {"key": key})
        conn.execute(_Q["lose_input"], {"key": key})
    return len(lost)


def _is_there(place: Path, key: str) -> bool:
    return (place / key).exists()


def _finish(conn: sqlite3.Connection, moment: Moment, backup_id: str, found: PutRight, is_only_one: bool) -> None:
    # Whoever is signed in at the other gateway is not at this one.
    conn.execute(_Q["end_sessions"])
    take_over(conn, backup_id)
    details = {
        "ended": found.ended,
        "images_lost": found.images_lost,
        "never_collected": found.never_collected,
        "is_only_one": is_only_one,
    }
    note(conn, actor=OPERATOR, action="gateway.restored", target=backup_id, at=moment.at, details=details)
