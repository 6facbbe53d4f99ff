"""What is kept until when, and its end: rows first, then files, then the tombstones.

An image that is to go is marked `deleting`, its file is removed, then it is marked `deleted`; a crash in between leaves
what the next run finishes. Plain functions; the caller's transaction is theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from holdfast import faults
from holdfast.clock import from_rfc3339, rfc3339
from holdfast.policy.retention import Retention, all_collected_at, delete_after
from holdfast.store.locking import has_one_writer, lock_all
from holdfast.store.port import Conn
from holdfast.store.queries import queries

_Q = queries("retention")


class Receipt(NamedTuple):
    """An answer whose last byte arrived."""

    generation_id: str
    with_image: bool
    image_id: str | None = None
    """The one image that it was; None where all results were in it."""


class Place(NamedTuple):
    """Where a run stands among what is due, in the order of its end."""

    purge_after: str = ""
    generation_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A generation whose time is over, with the files that are to go."""

    place: Place
    store_keys: tuple[str, ...]
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Buried:
    """What a commit of tombstones did."""

    generations: int
    images: int
    inputs: tuple[str, ...]
    """Keys of reference images that no generation names any more."""


def insert_input_refs(conn: Conn, generation_id: str, store_keys: Iterable[str]) -> None:
    """Name the reference images of a generation, each once."""
    refs = [{"generation_id": generation_id, "store_key": key} for key in dict.fromkeys(store_keys)]
    if refs:
        conn.executemany(_Q["insert_input_ref"], refs)


def collect(conn: Conn, receipt: Receipt, at: str, retention: Retention) -> None:
    """Note which images were collected; once all of them are, the generation may go earlier."""
    generation_id, _, image_id = receipt
    values = {"id": generation_id, "at": at}
    if image_id is None:
        conn.execute(_Q["collect_results"], values)
    else:
        conn.execute(_Q["collect_image"], {**values, "image_id": image_id})
    row = conn.execute(_Q["kept_since"], {"id": generation_id}).fetchone()
    if row is None or row["finished_at"] is None or row["purged_at"] is not None:
        return
    collected_at = all_collected_at(conn.execute(_Q["collected_of"], {"id": generation_id}))
    if collected_at is None:
        return
    ended_at = max(row["finished_at"], row["last_image_at"] or "")
    end = delete_after(retention, ended_at=from_rfc3339(ended_at), collected_at=from_rfc3339(collected_at))
    moved = {"id": generation_id, "purge_after": rfc3339(end)}
    if moved["purge_after"] != row["purge_after"]:
        conn.execute(_Q["move_purge"], moved)
        conn.execute(_Q["move_deletion"], moved)


def prolong(conn: Conn, generation_id: str, purge_after: str) -> None:
    """Keep a generation to which an image came after its end; one that its owner had deleted goes at once."""
    conn.execute(_Q["prolong"], {"id": generation_id, "purge_after": purge_after})


def due_after(conn: Conn, now: str, after: Place, count: int) -> tuple[Due, ...]:
    """Read the next generations whose time is over, with the files of theirs that may still be there."""
    values = {"now": now, "purge_after": after.purge_after, "id": after.generation_id, "count": count}
    return tuple(due_of(conn, row["id"], row["purge_after"]) for row in conn.execute(_Q["due"], values).fetchall())


def due_of(conn: Conn, generation_id: str, over_at: str) -> Due:
    """Give the files that a generation may still have, as one whose time is over at this moment."""
    files = conn.execute(_Q["files_of"], {"id": generation_id}).fetchall()
    keys, sizes = tuple(file["store_key"] for file in files), sum(file["bytes"] for file in files)
    return Due(place=Place(over_at, generation_id), store_keys=keys, bytes=sizes)


def mark_deleting(conn: Conn, generation_id: str) -> None:
    """Let nobody have the images of a generation any more; their files go next."""
    conn.execute(_Q["mark_deleting"], {"id": generation_id})


def forget_answers(conn: Conn, generation_id: str) -> None:
    """Delete the model's words."""
    conn.execute(_Q["purge_answers"], {"id": generation_id})


def mark_due(conn: Conn, now: str, after: Place, count: int) -> tuple[Due, ...]:
    """Mark the images of the next generations whose time is over, and give their files."""
    due = due_after(conn, now, after, count)
    if not has_one_writer(conn):
        # Read again: one that an image came for meanwhile is no longer due.
        ids = {each.place.generation_id for each in due}
        lock_all(conn, "generation", ids)
        due = tuple(each for each in due_after(conn, now, after, count) if each.place.generation_id in ids)
    conn.executemany(_Q["mark_deleting"], [{"id": each.place.generation_id} for each in due])
    faults.point_sync("sweeper.after_marking_rows")
    return due


def bury(conn: Conn, generation_ids: Sequence[str], now: str) -> Buried:
    """Set the tombstones of generations whose files are gone: prompt and model's words go in the same commit."""
    lock_all(conn, "generation", generation_ids)
    generations = images = 0
    inputs: dict[str, None] = {}
    for generation_id in generation_ids:
        values = {"id": generation_id, "now": now}
        images += conn.execute(_Q["mark_deleted"], values).rowcount
        if conn.execute(_Q["purge_generation"], values).rowcount == 0:
            continue
        generations += 1
        forget_answers(conn, generation_id)
        inputs.update(dict.fromkeys(row["store_key"] for row in conn.execute(_Q["inputs_of"], values)))
        conn.execute(_Q["drop_input_refs"], values)
    faults.point_sync("sweeper.after_burying_rows")
    free = tuple(key for key in inputs if not has_input_ref(conn, key))
    return Buried(generations=generations, images=images, inputs=free)


def has_input_ref(conn: Conn, store_key: str) -> bool:
    """Tell whether any generation that is kept was asked with this reference image."""
    return conn.execute(_Q["has_input_ref"], {"store_key": store_key}).fetchone() is not None


def is_kept(conn: Conn, store_key: str) -> bool:
    """Tell whether a row names this file as an image that has not been deleted."""
    return conn.execute(_Q["is_kept"], {"store_key": store_key}).fetchone() is not None


def attempt_state(conn: Conn, attempt_id: str) -> str | None:
    """Tell how an attempt stands; None if there never was one of this name."""
    row = conn.execute(_Q["attempt_state"], {"id": attempt_id}).fetchone()
    return None if row is None else str(row["state"])
