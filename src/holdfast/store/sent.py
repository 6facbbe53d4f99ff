"""What has been sent to each upstream lately, from the attempts that were written before they were sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from holdfast.clock import ulid
from holdfast.store.port import Conn
from holdfast.store.queries import queries

_Q = queries("sent")

Credential = tuple[str, int | None]
"""Upstream, and the place of the key in its list, from 1; None: an earlier version did not write it down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What was sent with one credential."""

    lately: tuple[str, ...] = ()
    """When, RFC 3339, oldest first."""
    today: int = 0


def sent_by(conn: Conn, lately_since: datetime, today_since: datetime) -> Mapping[Credential, Sent]:
    """Read by credential what was sent since these two moments."""
    lately: dict[Credential, list[str]] = {}
    for row in conn.execute(_Q["sent_since"], {"since": _first_id(lately_since)}):
        lately.setdefault((row["upstream"], row["key_number"]), []).append(row["sent_at"])
    rows = conn.execute(_Q["sent_count"], {"since": _first_id(today_since)})
    today = {(row["upstream"], row["key_number"]): int(row["sent"]) for row in rows}
    # A minute that began yesterday is longer than today.
    names = lately.keys() | today.keys()
    return {name: Sent(lately=tuple(lately.get(name, ())), today=today.get(name, 0)) for name in names}


def _first_id(since: datetime) -> str:
    """The id before which every attempt is older."""
    return f"att_{ulid(int(since.timestamp() * 1000), bytes(10))}"
