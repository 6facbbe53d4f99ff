"""The log of changes: who changed what, when. Written in the change's own transaction, so there is none without it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from holdfast.store.locking import lock
from holdfast.store.port import Conn
from holdfast.store.queries import queries

LOOKED_AT_MAX = 10_000
"""Entries that one page looks at, whatever its filter leaves out."""
_NEWEST = 1 << 62
SWEEPER = "sweeper"
"""Who deletes what nobody has asked to be deleted."""

_Q = queries("audit_log")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """One change."""

    id: int
    at: str
    actor: str
    actor_label: str | None
    action: str
    target: str
    details: Mapping[str, Any] | None


def note(
    conn: Conn,
    *,
    actor: str,
    action: str,
    target: str,
    at: str,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Write down a change, in its own transaction.

    Args:
        conn: The writing transaction that changes it.
        actor: Id of the key that asked for it; `operator` for a command on the gateway's own machine, `sweeper` for
            what retention has ended for.
        action: `generation.cancelled`: what was changed, a point, what was done.
        target: Id of what was changed.
        at: Now, RFC 3339.
        details: More of it, as JSON takes it; no secret, no prompt.
    """
    told = None if details is None else json.dumps(details, separators=(",", ":"), ensure_ascii=False)
    conn.execute(_Q["note"], {"at": at, "actor": actor, "action": action, "target": target, "details": told})


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPage:
    """Some changes, newest first."""

    rows: tuple[AuditRow, ...]
    has_more: bool
    last_id: int | None
    """Where the next page goes on; with a filter it may be one that was passed over."""


def changes(
    conn: Conn,
    *,
    limit: int,
    before: int | None = None,
    actor: str | None = None,
    action: str | None = None,
    target: str | None = None,
    looks_at_max: int = LOOKED_AT_MAX,
) -> AuditPage:
    """Read one page of changes, below the id `before`.

    With a filter it looks at so many entries and no more: then it may hold fewer, or none, and more lies behind it.
    """
    wanted = {"actor": actor, "action": action, "target": target}
    found = entries(conn, limit=limit + 1, before=before, looks_at_max=looks_at_max, **wanted)
    rows, has_more = found[:limit], len(found) > limit
    last_id = rows[-1].id if rows else None
    if not has_more:
        values = {"before": _NEWEST if before is None else before, "looked_at_max": looks_at_max}
        seen = conn.execute(_Q["last_looked_at"], values).fetchone()
        if seen is not None:
            has_more, last_id = True, int(seen["id"])
    return AuditPage(rows=rows, has_more=has_more, last_id=last_id)


def expired(conn: Conn, before: str, most: int) -> int:
    """Count the entries from before a moment among the oldest."""
    return len(conn.execute(_Q["oldest"], {"before": before, "most": most}).fetchall())


def expire(conn: Conn, before: str, most: int, at: str) -> int:
    """Delete the oldest entries from before a moment, `most` at a time, and note that in the same transaction.

    Args:
        conn: In the writing transaction.
        before: RFC 3339.
        most: In one commit.
        at: Now, RFC 3339.

    Returns:
        How many went.
    """
    lock(conn, "audit")
    found = conn.execute(_Q["oldest"], {"before": before, "most": most}).fetchall()
    if found:
        # Before they go: the number of an entry that was the newest would be used again.
        span = {"entries": len(found), "first_at": found[0]["at"], "last_at": found[-1]["at"]}
        note(conn, actor=SWEEPER, action="audit.expired", target="audit", at=at, details=span)
    conn.executemany(_Q["delete"], [{"id": row["id"]} for row in found])
    return len(found)


def entries(
    conn: Conn,
    *,
    limit: int,
    before: int | None = None,
    actor: str | None = None,
    action: str | None = None,
    target: str | None = None,
    looks_at_max: int = LOOKED_AT_MAX,
) -> tuple[AuditRow, ...]:
    """Read changes, newest first, below the id `before`; None in a filter: whatever it is."""
    values = {
        "before": _NEWEST if before is None else before,
        "actor": actor,
        "action": action,
        "target": target,
        "looked_at_max": looks_at_max,
        "limit": limit,
    }
    return tuple(
        AuditRow(
            id=row["id"],
            at=row["at"],
            actor=row["actor"],
            actor_label=row["actor_label"],
            action=row["action"],
            target=row["target"],
            details=None if row["details"] is None else json.loads(row["details"]),
        )
        for row in conn.execute(_Q["entries"], values)
    )
