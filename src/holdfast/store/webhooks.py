"""Rows of webhooks: who is told of ends, what is still to be told, and how the telling went.

A delivery is written in the transaction of the final state it tells of, so there is none without the other. Its id is
made from what it tells, not from chance: a commit that is made twice makes one delivery.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Self

from holdfast import faults
from holdfast.clock import from_rfc3339, ulid
from holdfast.policy.webhooks import ENDPOINTS_MAX
from holdfast.store.later import Asked
from holdfast.store.locking import lock
from holdfast.store.port import Conn, Row
from holdfast.store.queries import queries
from holdfast.store.records import GenerationRow

_Q = queries("webhooks")

LOG_ENTRIES_MAX = 16
"""Tries that a delivery remembers: twice the schedule, for what was redelivered."""
SWEEP_ROWS = 500
"""Deleted in one transaction: others wait for it."""
KILLED_WITH_ITS_ENDPOINT = "the endpoint takes nothing any more"
_AFTER_ALL_IDS = "~"


class _FromRow:
    """Reads a row whose columns are the dataclass's fields."""

    __slots__ = ()

    @classmethod
    def of(cls, row: Row) -> Self:
        """Make the value of one row."""
        return cls(**{field.name: row[field.name] for field in fields(cls)})  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointRow(_FromRow):
    """Where a key wants to be told; or its default, which only signs."""

    id: str
    key_id: str
    url: str | None
    """None: the default, whose secret signs for URLs that requests bring along."""
    secret_number: int
    previous_until: str | None
    created_at: str
    disabled_at: str | None
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DueRow(_FromRow):
    """A delivery that is to be tried now, with what signing it takes."""

    id: str
    endpoint_id: str
    key_id: str
    url: str
    generation_id: str
    drive: int
    type: str
    tries: int
    created_at: str
    secret_number: int
    previous_until: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRow(_FromRow):
    """A delivery as it stands."""

    id: str
    endpoint_id: str
    key_id: str
    url: str | None
    generation_id: str
    drive: int
    type: str
    state: str
    """`pending`, `delivered`, `failed` (given up on) or `dead` (its endpoint takes nothing any more)."""
    tries: int
    next_at: str | None
    last_status: int | None
    last_error: str | None
    created_at: str
    ended_at: str | None
    log: str

    @property
    def logged(self) -> list[dict[str, Any]]:
        """The latest tries, oldest first: `at`, `status`, `error`, `took_ms`."""
        return list(json.loads(self.log))


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What is to be done now, and when to look again."""

    rows: tuple[DueRow, ...]
    next_at: str | None
    """When the next one falls due that is not yet; None: nothing waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TryEnd:
    """How one try ended, and what follows."""

    delivery_id: str
    number: int
    """Of this try, from 1."""
    at: str
    took_ms: int
    state: str
    """`pending`: it is tried again, at `next_at`."""
    next_at: str | None = None
    status: int | None = None
    error: str | None = None
    disables: str | None = None
    """Why the endpoint takes nothing any more."""


# Ends


def tell_end(conn: Conn, row: GenerationRow, at: str) -> int:
    """Write a delivery to everyone who wants to know of a final state, in its transaction; return how many.

    One lookup by index where nobody does.
    """
    told = conn.execute(*told_asked(row.key_id, row.id)).fetchall()
    if not told:
        return 0
    faults.point_sync("webhook.before_delivery")
    type_ = f"generation.{row.state}"
    for endpoint_id, url in told:
        delivery = {
            "id": message_id(endpoint_id, row.id, row.drive, type_, from_rfc3339(at)),
            "endpoint_id": endpoint_id,
            "key_id": row.key_id,
            "url": url,
            "generation_id": row.id,
            "drive": row.drive,
            "type": type_,
            "at": at,
        }
        conn.execute(_Q["insert_delivery"], delivery)
    faults.point_sync("webhook.after_delivery")
    return len(told)


def told_asked(key_id: str, generation_id: str) -> Asked:
    """What `tell_end` reads, for whoever reads several things at once."""
    return _Q["told_of"], {"key_id": key_id, "generation_id": generation_id}


def message_id(endpoint_id: str, generation_id: str, drive: int, type_: str, moment: datetime) -> str:
    """Make a delivery's id: its time, and a digest of what it tells to whom."""
    told = "\0".join((endpoint_id, generation_id, str(drive), type_))
    return f"msg_{ulid(round(moment.timestamp() * 1000), hashlib.sha256(told.encode()).digest()[:10])}"


def tell_inline(conn: Conn, *, generation_id: str, key_id: str, url: str, default_id: str, created_at: str) -> None:
    """Note the URL that a request brought along, in the accepting commit; its deliveries hang on the key's default."""
    lock(conn, "webhooks", key_id)
    conn.execute(_Q["insert_default"], {"id": default_id, "key_id": key_id, "created_at": created_at})
    conn.execute(_Q["insert_inline"], {"generation_id": generation_id, "url": url})


# Endpoints


def insert_endpoint(conn: Conn, *, endpoint_id: str, key_id: str, url: str, created_at: str) -> bool:
    """Write an endpoint; False if the key has `ENDPOINTS_MAX` of them."""
    lock(conn, "webhooks", key_id)
    values = {"id": endpoint_id, "key_id": key_id, "url": url, "created_at": created_at, "most": ENDPOINTS_MAX}
    return conn.execute(_Q["insert_endpoint"], values).rowcount == 1


def endpoints_of(conn: Conn, key_id: str) -> tuple[EndpointRow, ...]:
    """Read a key's endpoints, oldest first, without its default."""
    return tuple(EndpointRow.of(row) for row in conn.execute(_Q["endpoints_of"], {"key_id": key_id}))


def get_endpoint(conn: Conn, key_id: str, endpoint_id: str | None) -> EndpointRow | None:
    """Read one of a key's endpoints; None names its default."""
    query = _Q["get_default"] if endpoint_id is None else _Q["get_endpoint"]
    row = conn.execute(query, {"key_id": key_id, "id": endpoint_id}).fetchone()
    return None if row is None else EndpointRow.of(row)


def rotate_endpoint(
    conn: Conn, key_id: str, endpoint_id: str | None, *, new_id: str, at: str, previous_until: str
) -> EndpointRow | None:
    """Give an endpoint its next secret; the one before signs too until `previous_until`, older ones no more.

    Args:
        conn: The writing connection.
        key_id: Whose endpoint it is.
        endpoint_id: None: the key's default, which is made if it is not there, with its first secret.
        new_id: For a default that is made.
        at: Now.
        previous_until: The end of the old secret.
    """
    lock(conn, "webhooks", key_id)
    if endpoint_id is None:
        made = conn.execute(_Q["insert_default"], {"id": new_id, "key_id": key_id, "created_at": at}).rowcount
        if made:
            return get_endpoint(conn, key_id, None)
    row = get_endpoint(conn, key_id, endpoint_id)
    if row is not None:
        conn.execute(_Q["rotate_endpoint"], {"id": row.id, "previous_until": previous_until})
        row = get_endpoint(conn, key_id, endpoint_id)
    return row


def delete_endpoint(conn: Conn, key_id: str, endpoint_id: str, at: str) -> bool:
    """Take an endpoint away, with all that is still to be told to it; False if the key has no such one.

    Its log goes later, by `sweep`.
    """
    lock(conn, "webhooks", key_id)
    if conn.execute(_Q["delete_endpoint"], {"id": endpoint_id, "key_id": key_id, "at": at}).rowcount == 0:
        return False
    _kill_deliveries(conn, endpoint_id, at)
    return True


def _kill_deliveries(conn: Conn, endpoint_id: str, at: str) -> None:
    values = {"endpoint_id": endpoint_id, "at": at, "reason": KILLED_WITH_ITS_ENDPOINT}
    conn.execute(_Q["kill_deliveries"], values)


def has_endpoints(conn: Conn) -> bool:
    """Whether anybody ever asked to be told and was not deleted whole: else nothing has to be looked for."""
    return bool(conn.execute(_Q["has_endpoints"]).fetchone()[0])


# Deliveries


def due_deliveries(
    conn: Conn,
    *,
    now: str,
    most: int,
    busy: Sequence[str] = (),
    busy_keys: Sequence[str] = (),
    taken: Sequence[str] = (),
) -> Due:
    """Read what is to be tried now.

    Args:
        conn: Any connection.
        now: The wall clock.
        most: Deliveries wanted; 0: only when to look again.
        busy: Endpoints that get no more for the moment.
        busy_keys: Keys whose endpoints get no more.
        taken: Deliveries that are being tried.
    """
    lists = {"busy": busy, "busy_keys": busy_keys, "taken": taken}
    values = {"now": now, "most": most, **{name: json.dumps(list(ids)) for name, ids in lists.items()}}
    rows = tuple(DueRow.of(row) for row in conn.execute(_Q["due"], values))
    (next_at,) = conn.execute(_Q["next_due"], {"now": now}).fetchone()
    return Due(rows=rows, next_at=next_at)


def end_try(conn: Conn, end: TryEnd) -> bool:
    """Write how a try ended; False if that was written before, or the delivery is no longer pending, or is gone.

    Then nothing is written.
    """
    faults.point_sync("webhook.before_rows")
    lock(conn, "delivery", end.delivery_id)
    row = get_delivery(conn, end.delivery_id)
    if row is None or row.state != "pending" or row.tries + 1 != end.number:
        return False
    entry = {"at": end.at, "status": end.status, "error": end.error, "took_ms": end.took_ms}
    values = {
        "id": end.delivery_id,
        "state": end.state,
        "tries": end.number,
        "next_at": end.next_at,
        "status": end.status,
        "error": end.error,
        "ended_at": None if end.state == "pending" else end.at,
        "log": json.dumps([*row.logged, entry][-LOG_ENTRIES_MAX:]),
    }
    conn.execute(_Q["end_try"], values)
    if end.disables is not None and row.url is None:
        # A URL that a request brought along is no endpoint: its 410 ends this one delivery.
        conn.execute(_Q["disable_endpoint"], {"id": row.endpoint_id, "at": end.at, "reason": end.disables})
        _kill_deliveries(conn, row.endpoint_id, end.at)
    faults.point_sync("webhook.after_rows")
    return True


def get_delivery(conn: Conn, delivery_id: str) -> DeliveryRow | None:
    """Read one delivery."""
    row = conn.execute(_Q["get_delivery"], {"id": delivery_id}).fetchone()
    return None if row is None else DeliveryRow.of(row)


def deliveries_of(conn: Conn, endpoint_id: str, *, before: str | None, most: int) -> tuple[DeliveryRow, ...]:
    """Read an endpoint's deliveries, newest first, from behind `before` on."""
    values = {"endpoint_id": endpoint_id, "before": before or _AFTER_ALL_IDS, "most": most}
    return tuple(DeliveryRow.of(row) for row in conn.execute(_Q["deliveries_of"], values))


def redeliver(conn: Conn, key_id: str, delivery_id: str, at: str) -> DeliveryRow | None:
    """Make a delivery due now, whatever became of it before; its id stays, so that a receiver knows it again.

    None: the key has no such one, or its endpoint is deleted. One whose endpoint is disabled stays as it is.
    """
    lock(conn, "webhooks", key_id)
    lock(conn, "delivery", delivery_id)
    row = get_delivery(conn, delivery_id)
    if row is None or row.key_id != key_id:
        return None
    endpoint = get_endpoint(conn, key_id, row.endpoint_id)
    if endpoint is None:
        return None
    if endpoint.disabled_at is not None:
        return row
    conn.execute(_Q["redeliver"], {"id": delivery_id, "at": at})
    return get_delivery(conn, delivery_id)


def sweep(conn: Conn, before: datetime, before_at: str) -> bool:
    """Delete some of what nobody asks for any more; True if there may be more of it.

    That is: deliveries that ended before a moment, all of deleted endpoints, and URLs of requests made before it.

    Args:
        conn: The writing connection.
        before: The moment.
        before_at: The same as text.
    """
    most = {"most": SWEEP_ROWS}
    id_ = f"gen_{ulid(round(before.timestamp() * 1000), bytes(10))}"
    counts = (
        conn.execute(_Q["sweep_ended"], {"before": before_at, **most}).rowcount,
        conn.execute(_Q["sweep_deliveries"], most).rowcount,
        conn.execute(_Q["sweep_inline"], {"before": id_, **most}).rowcount,
    )
    conn.execute(_Q["sweep_endpoints"])
    return SWEEP_ROWS in counts
