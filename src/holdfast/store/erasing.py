"""A generation whose owner wants its images and its prompt gone. Plain functions; the caller's transaction is theirs.

The row first: from its commit on the images are gone for everybody, and the prompt is no more on record. Files and
tombstone follow; whatever a crash leaves, the sweeper finishes, for whom the generation is one whose time is over.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from holdfast import faults
from holdfast.errors import RequestError
from holdfast.generation import State
from holdfast.store.generations import get_generation
from holdfast.store.locking import lock
from holdfast.store.port import Conn
from holdfast.store.queries import queries
from holdfast.store.records import GenerationRow
from holdfast.store.retention import Due, due_of, forget_answers, mark_deleting

_Q = queries("erasing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """What asking for it did."""

    row: GenerationRow
    """As it stood before."""
    is_new: bool
    """It had not been asked for before, and something was there to delete."""
    due: Due | None
    """Whose files go now; None: they are gone, or an attempt is in flight and they go when that has ended."""


Erasing = Callable[[Conn, str, str], Erased | None]
"""`ask_erase`, or what does more in the same transaction."""


def ask_erase(conn: Conn, generation_id: str, at: str) -> Erased | None:
    """Have the images and the prompt of a generation deleted; None: there is no such one.

    Asked again, it is as asked once; of one whose files were left where they were, it gives them again. What is in
    flight for one that was cancelled is awaited: it is paid for. What it brings goes too, within a minute of its end.

    Raises:
        RequestError: 409 `generation_open`: it has not ended, nor been cancelled.
    """
    faults.point_sync("erase.before_rows")
    lock(conn, "generation", generation_id)
    row = get_generation(conn, generation_id)
    if row is None:
        return None
    if not State(row.state).is_final and not row.cancel_requested:
        raise RequestError(
            f"The generation {generation_id} is {row.state}: cancel it first, "
            f"POST /v1/generations/{generation_id}/cancel, or wait for its end.",
            code="generation_open",
            status=409,
            generation_id=generation_id,
        )
    if row.purged_at is not None:
        return Erased(row=row, is_new=False, due=None)
    values = {"id": generation_id, "at": at}
    is_new = conn.execute(_Q["mark"], values).rowcount == 1
    due = None
    if State(row.state).is_final:
        mark_deleting(conn, generation_id)
        if conn.execute(_Q["has_open_attempt"], values).fetchone() is None:
            conn.execute(_Q["forget_request"], values)
            forget_answers(conn, generation_id)
            due = due_of(conn, generation_id, at)
    faults.point_sync("erase.after_rows")
    return Erased(row=row, is_new=is_new, due=due)
