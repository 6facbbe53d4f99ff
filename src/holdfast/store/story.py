"""Everything that is on record of one generation, as of one moment, for whoever wants to know how it came about."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from holdfast.store.audit import Line, lines_of
from holdfast.store.generations import blobs_of, events_of, get_generation
from holdfast.store.port import Conn, Row
from holdfast.store.queries import queries
from holdfast.store.records import AttemptRow, BlobRow, EventRow, GenerationRow
from holdfast.store.webhooks import DeliveryRow

_Q = queries("story")


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptStory:
    """An attempt, and what was decided after it."""

    row: AttemptRow
    decision: Mapping[str, Any] | None
    """As it was written down: `follows`, `reason`, `after_s`, `to`, `remaining_s`, `expected_s`, `budget_left`, and
    `skipped`; None: nothing was decided, or decisions were not written down yet."""
    key_number: int | None
    """Place of its credential in the upstream's `keys`, from 1; None where it was not noted."""
    estimated_micros: int = 0
    """List price of the images that it was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """The whole of it."""

    generation: GenerationRow
    attempts: tuple[AttemptStory, ...]
    blobs: tuple[BlobRow, ...]
    events: tuple[EventRow, ...]
    deliveries: tuple[DeliveryRow, ...]
    lines: tuple[Line, ...]
    joins: int
    """Repeats that were given this generation."""
    callers: int
    """Connections that waited for its answer when that was last noted: who leaves is noted with the next request."""


def get_story(conn: Conn, generation_id: str) -> Story | None:
    """Read all of it in the caller's transaction; None: there is no such generation.

    The prompt and the upstreams' answers are left out: a story is shown to whoever asks how it came about.
    """
    row = get_generation(conn, generation_id)
    if row is None:
        return None
    wanted = {"id": generation_id}
    counted = conn.execute(_Q["joins_of"], wanted).fetchone()
    return Story(
        generation=row.but(request=None),
        attempts=tuple(_attempt(each) for each in conn.execute(_Q["attempts_of"], wanted)),
        blobs=blobs_of(conn, generation_id),
        events=events_of(conn, generation_id),
        deliveries=tuple(DeliveryRow.of(each) for each in conn.execute(_Q["deliveries_of"], wanted)),
        lines=lines_of(conn, generation_id),
        joins=int(counted["joins"]),
        callers=int(counted["callers"]),
    )


def _attempt(row: Row) -> AttemptStory:
    decision, number = row["decision"], row["key_number"]
    return AttemptStory(
        row=AttemptRow.of(row).but(answer=None),
        decision=None if decision is None else json.loads(decision),
        key_number=number,
        estimated_micros=row["estimated_micros"],
    )
