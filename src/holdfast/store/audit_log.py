"""The log of changes: who changed what, when. Written in the change's own transaction, so there is none without it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from holdfast.store.queries import queries

LOOKED_AT_MAX = 10_000
"""Entries that one page looks at, whatever its filter leaves out."""
_NEWEST = 1 << 62

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
    conn: sqlite3.Connection,
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
        actor: Id of the key that asked for it; `operator` for a command on the gateway's own machine.
        action: `generation.cancelled`: what was changed, a point, what was done.
        target: Id of what was changed.
        at: Now, RFC 3339.
        details: More of it, as JSON takes it; no secret, no prompt.
    """
    told = None if details is None else json.dumps(details, separators=(",", ":"), ensure_ascii=False)
    conn.execute(_Q["note"], {"at": at, "actor": actor, "action": action, "target": target, "details": told})


def entries(
    conn: sqlite3.Connection,
    *,
    limit: int,
    before: int | None = None,
    actor: str | None = None,
    action: str | None = None,
    target: str | None = None,
) -> tuple[AuditRow, ...]:
    """Read changes, newest first, below the id `before`; None in a filter: whatever it is."""
    values = {
        "before": _NEWEST if before is None else before,
        "actor": actor,
        "action": action,
        "target": target,
        "looked_at_max": LOOKED_AT_MAX,
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
