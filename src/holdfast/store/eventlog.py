"""A generation with its log of events, as of one moment. A plain function."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.store.generations import events_of, get_generation
from holdfast.store.port import Conn
from holdfast.store.records import EventRow, GenerationRow


@dataclass(frozen=True, slots=True, kw_only=True)
class EventLog:
    """What has happened to a generation so far."""

    generation: GenerationRow
    """Without what was asked: whoever follows it may do so for minutes."""
    events: tuple[EventRow, ...]
    """Oldest first; a generation has a handful for each of its parts."""


def get_event_log(conn: Conn, generation_id: str) -> EventLog | None:
    """Read how a generation stands together with the events that led there; None: there is no such one."""
    row = get_generation(conn, generation_id)
    if row is None:
        return None
    return EventLog(generation=row.but(request=None), events=events_of(conn, generation_id))
