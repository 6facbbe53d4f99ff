"""Lists of a key's own generations, newest first, page by page; and records as they are told. Plain functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from holdfast.store.generations import blobs_of
from holdfast.store.port import Conn
from holdfast.store.queries import queries
from holdfast.store.records import AttemptRow, GenerationRow, Record

LOOKED_AT_MAX = 10_000
"""Rows that one page looks at: a filter that fits nothing costs milliseconds, not a walk through all there is."""

_Q = queries("listing")
_G = queries("generations")
_A = queries("attempts")
_NEWER_THAN_ALL = ("9999", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which generations of a key are listed; None: whatever it is."""

    limit: int
    state: str | None = None
    model: str | None = None
    is_collected: bool | None = None
    idempotency_key: str | None = None
    after: str | None = None
    """The list goes on behind this generation."""

    @property
    def looks_at_max(self) -> int:
        """Rows to look at for one page; one more than is shown tells whether there are more."""
        everything = self.state is None and self.model is None and self.is_collected is None
        return self.limit + 1 if everything else LOOKED_AT_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of a list."""

    records: tuple[Record, ...]
    has_more: bool
    """Whether it is worth asking for the next page, which may turn out empty."""
    last_id: str | None
    """Where the next page goes on: the last of these, or a later one that was looked at and left out."""


def list_generations(conn: Conn, key_id: str, wanted: Wanted) -> Page | None:
    """Read one page of a key's generations, newest first; None: there is no such place to go on from."""
    before_at, before_id = _NEWER_THAN_ALL
    if wanted.after is not None:
        place = conn.execute(_Q["place_of"], {"id": wanted.after, "key_id": key_id}).fetchone()
        if place is None:
            return None
        before_at, before_id = place["created_at"], wanted.after
    values: dict[str, Any] = {
        "key_id": key_id,
        "before_at": before_at,
        "before_id": before_id,
        "state": wanted.state,
        "model": wanted.model,
        "is_collected": wanted.is_collected,
        "idempotency_key": wanted.idempotency_key,
        "looked_at_max": wanted.looks_at_max,
        "limit": wanted.limit + 1,
    }
    by_name = wanted.idempotency_key is not None
    found = conn.execute(_Q["list_of_idempotency_key"] if by_name else _Q["list_of_key"], values)
    ids = [str(row["id"]) for row in found]
    shown, has_more = ids[: wanted.limit], len(ids) > wanted.limit
    last_id = shown[-1] if shown else None
    if not has_more and not by_name and wanted.looks_at_max > wanted.limit + 1:
        last = conn.execute(_Q["last_looked_at"], values).fetchone()
        if last is not None:
            has_more, last_id = True, str(last["id"])
    return Page(records=tuple(_told(conn, each) for each in shown), has_more=has_more, last_id=last_id)


def _told(conn: Conn, generation_id: str) -> Record:
    record = get_told(conn, generation_id)
    assert record is not None, "it was found in the same snapshot"
    return record


def get_told(conn: Conn, generation_id: str) -> Record | None:
    """Read what a resource is made of: a record without what its caller asked and what its upstreams said."""
    row = conn.execute(_G["get_generation"], {"id": generation_id}).fetchone()
    if row is None:
        return None
    # Row by row: either may be megabytes, times a hundred generations on a page.
    found = conn.execute(_A["attempts_of"], {"id": generation_id})
    attempts = tuple(AttemptRow.of(each).but(answer=None) for each in found)
    generation = GenerationRow.of(row).but(request=None)
    return Record(generation=generation, attempts=attempts, blobs=blobs_of(conn, generation_id))
