"""Rows of generations: accepting, ending, reading. Plain functions; the caller's transaction is theirs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from holdfast import faults, generation
from holdfast.generation import Effect, State, Transition
from holdfast.ledger import postings
from holdfast.policy.budgets import Exhausted
from holdfast.policy.compensation import STANDARD, Rules
from holdfast.policy.retention import Retention
from holdfast.store.bookkeeping import Booking, post
from holdfast.store.budgets import budgets_of, give_back, group_in, spend
from holdfast.store.charging import bill_of
from holdfast.store.later import change_one
from holdfast.store.locking import lock, lock_all
from holdfast.store.port import Conn
from holdfast.store.queries import queries
from holdfast.store.records import (
    AttemptRow,
    BlobRow,
    EventRow,
    GenerationRow,
    NewGeneration,
    Record,
    Told,
    parts_in_flight,
    to_json,
    values_of,
)
from holdfast.store.retention import Receipt, collect, insert_input_refs
from holdfast.store.usage import count_end, move, upstream_of
from holdfast.store.webhooks import tell_end, tell_inline
from holdfast.types import worst_charge

_Q = queries("generations")
_A = queries("attempts")


def accept(conn: Conn, new: NewGeneration) -> Exhausted | None:
    """Write the first of the three commits: the generation, the hold on its price, its first event.

    Where the hold does not fit into a budget nothing is written, and the budget is told.
    """
    faults.point_sync("accept.before_rows")
    transition = generation.apply(None, generation.Accepted())
    assert Effect.HOLD in transition.effects
    budgets, day = budgets_of(conn, new.key_id), new.created_at[:10]
    exhausted = spend(conn, budgets, day=day, micros=new.held_micros, currency=new.currency)
    if exhausted is not None:
        return exhausted
    values = {**values_of(new), "state": transition.state.value, "sequence_number": 1}
    values |= {"held_on": day, "group_id": group_in(budgets)}
    conn.execute(_Q["insert_generation"], values)
    insert_input_refs(conn, new.id, new.inputs)
    faults.point_sync("accept.after_generation_row")
    post(conn, postings.hold(new.key_id, new.held_micros), generation_id=new.id, drive=0, at=new.created_at)
    insert_event(conn, new.id, 1, "queued", at=new.created_at)
    if new.webhook is not None and new.default_webhook_id is not None:
        tell_inline(
            conn,
            generation_id=new.id,
            key_id=new.key_id,
            url=new.webhook,
            default_id=new.default_webhook_id,
            created_at=new.created_at,
        )
    faults.point_sync("accept.after_rows")
    return None


def record_event(conn: Conn, generation_id: str, type_: str, *, at: str, data: dict[str, Any] | None = None) -> None:
    """Append to a generation's log."""
    (number,) = conn.execute(_Q["next_sequence"], {"id": generation_id}).fetchone()
    insert_event(conn, generation_id, number, type_, at=at, data=data)


def insert_event(
    conn: Conn,
    generation_id: str,
    sequence_number: int,
    type_: str,
    *,
    at: str,
    data: dict[str, Any] | None = None,
) -> None:
    """Write an event whose number stands in its generation's row already; the same number twice is refused."""
    conn.execute(
        _Q["insert_event"],
        {
            "id": generation_id,
            "sequence_number": sequence_number,
            "at": at,
            "type": type_,
            "data": None if data is None else to_json(data),
        },
    )


def get_generation(conn: Conn, generation_id: str) -> GenerationRow | None:
    """Read one generation."""
    row = conn.execute(_Q["get_generation"], {"id": generation_id}).fetchone()
    return None if row is None else GenerationRow.of(row)


def get_record(conn: Conn, generation_id: str) -> Record | None:
    """Read a generation with its attempts and images, all of one moment."""
    row = get_generation(conn, generation_id)
    if row is None:
        return None
    return Record(generation=row, attempts=attempts_of(conn, generation_id), blobs=blobs_of(conn, generation_id))


def attempts_of(conn: Conn, generation_id: str) -> tuple[AttemptRow, ...]:
    """Read its attempts, oldest first."""
    return tuple(AttemptRow.of(row) for row in conn.execute(_A["attempts_of"], {"id": generation_id}))


def blobs_of(conn: Conn, generation_id: str) -> tuple[BlobRow, ...]:
    """Read its images, by part and position."""
    return tuple(BlobRow.of(row) for row in conn.execute(_A["blobs_of"], {"id": generation_id}))


def events_of(conn: Conn, generation_id: str) -> tuple[EventRow, ...]:
    """Read its log."""
    return tuple(EventRow.of(row) for row in conn.execute(_Q["events_of"], {"id": generation_id}))


def get_records(conn: Conn, ids: Sequence[str]) -> tuple[Record, ...]:
    """Read several generations, in the order named; those that do not exist are left out."""
    return tuple(record for id_ in ids if (record := get_record(conn, id_)) is not None)


def get_owned(conn: Conn, ids: Sequence[str], owner: str) -> tuple[Record, ...]:
    """Read several generations, but those that another worker has taken over, or nobody has sent for."""
    owned = [id_ for id_ in ids if conn.execute(_Q["is_owned"], {"id": id_, "owner": owner}).fetchone() is not None]
    return get_records(conn, owned)


def left_open(conn: Conn) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Name what an earlier process left, oldest first: what was told before its attempts ended, and what has no end."""
    told = conn.execute(_Q["ended_with_attempts_in_flight"])
    without_end = conn.execute(_Q["open_generations"])
    return tuple(row["id"] for row in told), tuple(row["id"] for row in without_end)


def take_over(conn: Conn, owner: str) -> int:
    """Bump the epoch of everything open, so that no earlier owner can send; return how many."""
    return conn.execute(_Q["bump_open_epochs"], {"owner": owner}).rowcount


def take_over_one(conn: Conn, generation_id: str, owner: str) -> bool:
    """Bump the epoch of one that is open, so that whoever worked on it cannot send any more; False: it has ended."""
    lock(conn, "generation", generation_id)
    return bool(conn.execute(_Q["bump_epoch"], {"id": generation_id, "owner": owner}).rowcount)


def end_generation(
    conn: Conn,
    row: GenerationRow,
    transition: Transition,
    *,
    at: str,
    purge_after: str,
    delivered: int = 0,
    told: Told | None = None,
    parts_ended: int = 0,
    rules: Rules = STANDARD,
    booking: Booking | None = None,
    made: tuple[Sequence[AttemptRow], Sequence[BlobRow]] | None = None,
) -> GenerationRow:
    """Write a final state and its money, in one transaction; `row` is what the same transaction has read.

    `booking` is the provider's side of the attempt that ended it, posted along with the customer's. `made` is what was
    tried and what it brought, where that was read before.
    """
    assert transition.state.is_final
    tried = made or (attempts_of(conn, row.id), blobs_of(conn, row.id))
    bill = bill_of(conn, row, transition, delivered=delivered, made=lambda: tried, at=at, rules=rules)
    is_success = transition.state is State.SUCCEEDED
    end = {
        "state": transition.state.value,
        "finished_at": at,
        "purge_after": purge_after,
        "charged_micros": bill.charged_micros,
        "compensated_micros": bill.compensated_micros,
        "partial_result": int(is_success and delivered < row.n),
        "failure": None if told is None else to_json(told),
        "parts_open": row.parts_open - parts_ended,
        "sequence_number": row.sequence_number + 1,
        "served_by": upstream_of(*tried, row.drive),
    }
    change_one(conn, _Q["finish_generation"], {"id": row.id, **end}, "a generation ends once")
    faults.point_sync("ending.after_state_row")
    kept = bill.charged_micros - bill.compensated_micros
    unspent = row.held_micros - kept
    give_back(conn, key_id=row.key_id, group_id=row.group_id, day=row.held_on, micros=unspent, currency=row.currency)
    ended = row.but(**end)
    if len(tried[0]) > (booking is not None) or (booking is not None and booking.resolves):
        # Most generations have one attempt, which ends them and was not given up on: then nothing was booked before.
        move(conn, row, ended)
    post(conn, *bill.transactions, generation_id=row.id, drive=row.drive, at=at, booking=booking)
    faults.point_sync("ending.after_postings")
    count_end(conn, ended, bill.transactions, booking, images=min(delivered, row.n) if is_success else 0)
    insert_event(conn, row.id, ended.sequence_number, ended.state, at=at)
    tell_end(conn, ended, at)
    return ended


def pass_deadline(
    conn: Conn,
    generation_id: str,
    told: Told,
    at: str,
    purge_after: str,
    caller_waits: bool,
    rules: Rules = STANDARD,
    drive: int | None = None,
) -> GenerationRow | None:
    """End a generation whose time is over; None where an attempt in flight is awaited, or it had ended before.

    Where one is awaited, the parts that were not sent count as ended.

    Args:
        conn: In the writing transaction.
        generation_id: Which.
        told: What its callers are told, if it fails.
        at: Now, RFC 3339.
        purge_after: When images that are never collected may be deleted.
        caller_waits: An attempt in flight is awaited.
        rules: What is given back, by reason.
        drive: The one whose time is over; None: whichever it is in.
    """
    lock(conn, "generation", generation_id)
    row = get_generation(conn, generation_id)
    if row is None or (drive is not None and row.drive != drive):
        return None
    attempts = attempts_of(conn, generation_id)
    blobs = blobs_of(conn, generation_id)
    delivered = sum(blob.kind == "result" for blob in blobs)
    event = generation.DeadlinePassed(
        delivered=delivered,
        open_attempts=len(parts_in_flight(attempts)),
        caller_waits=caller_waits,
        charge=worst_charge(failure.charge for attempt in attempts if (failure := attempt.failed) is not None),
    )
    transition = generation.apply(State(row.state), event)
    if State(row.state).is_final:
        return None
    if not transition.state.is_final:
        assert Effect.STOP_BUYING in transition.effects
        # Only the parts in flight are still open: the last of them concludes, and no other one can begin.
        conn.execute(_Q["stop_parts"], {"id": row.id, "parts_open": event.open_attempts})
        return None
    failed = transition.state is State.FAILED
    return end_generation(
        conn,
        row,
        transition,
        at=at,
        purge_after=purge_after,
        delivered=delivered,
        told=told if failed else None,
        rules=rules,
        made=(attempts, blobs),
    )


def mark_received(conn: Conn, notes: Sequence[Receipt], at: str, retention: Retention) -> None:
    """Note several answers whose last byte arrived; what was collected whole may be deleted earlier."""
    lock_all(conn, "generation", (note.generation_id for note in notes))
    lines: dict[bool, list[dict[str, str]]] = {True: [], False: []}
    for note in notes:
        lines[note.with_image].append({"id": note.generation_id, "at": at})
    conn.executemany(_Q["mark_collected"], lines[True])
    conn.executemany(_Q["mark_answered"], lines[False])
    for note in notes:
        if note.with_image:
            collect(conn, note, at, retention)
