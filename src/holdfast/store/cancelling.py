"""Rows of generations whose owner wants them no longer. Plain functions; the caller's transaction is theirs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from holdfast import faults, generation
from holdfast.generation import Effect, State, Transition
from holdfast.policy.compensation import STANDARD, Rules
from holdfast.store.generations import attempts_of, blobs_of, end_generation, get_generation, insert_event
from holdfast.store.joining import leave
from holdfast.store.locking import lock
from holdfast.store.port import Conn
from holdfast.store.queries import queries
from holdfast.store.records import AttemptRow, GenerationRow, Told, parts_in_flight
from holdfast.types import Charge, worst_charge

CANCELLED_CODE = "generation_cancelled"

_Q = queries("cancelling")
_MESSAGES = {
    Charge.NO: "The generation was cancelled. Nothing was bought.",
    Charge.UNKNOWN: "The generation was cancelled; an upstream may have charged for it, and brought no image.",
    Charge.YES: "The generation was cancelled; an upstream charged for it, and brought no image.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelDone:
    """What asking to cancel did."""

    row: GenerationRow
    """As it stands now."""
    has_ended: bool = False
    """This ended it."""


Asking = Callable[[Conn, str, str, str, Rules], CancelDone | None]
"""`ask_cancel`, or what does more in the same transaction."""


def cancelled_told(charge: Charge) -> Told:
    """What the callers of a cancelled generation are told."""
    return Told(code=CANCELLED_CODE, message=_MESSAGES[charge], charge=charge)


def ask_cancel(conn: Conn, generation_id: str, at: str, purge_after: str, rules: Rules = STANDARD) -> CancelDone | None:
    """Cancel a generation, or let it buy nothing more while an attempt is in flight; None: there is no such one.

    Asked again, or of one that has ended, it changes nothing.
    """
    faults.point_sync("cancel.before_rows")
    lock(conn, "generation", generation_id)
    row = get_generation(conn, generation_id)
    if row is None:
        return None
    attempts = [each for each in attempts_of(conn, generation_id) if each.drive == row.drive]
    in_flight = parts_in_flight(attempts)
    delivered = sum(blob.kind == "result" for blob in blobs_of(conn, generation_id))
    charge = worst_charge(failure.charge for each in attempts if (failure := each.failed) is not None)
    event = generation.CancelAsked(delivered=delivered, open_attempts=len(in_flight), charge=charge)
    transition = generation.apply(State(row.state), event)
    if State(row.state).is_final or row.cancel_requested:
        return CancelDone(row=row)
    if transition.state.is_final:
        done = _end(conn, row, transition, attempts, delivered, at=at, purge_after=purge_after, rules=rules)
    else:
        done = _stop_buying(conn, row, transition, in_flight=len(in_flight), at=at)
    faults.point_sync("cancel.after_rows")
    return done


def cancel_unwatched(
    conn: Conn, generation_id: str, owner: str, departed: Sequence[str], at: str, purge_after: str
) -> GenerationRow | None:
    """Cancel a generation that is still queued and that nobody waits for; None: it stays as it is.

    Args:
        conn: In the writing transaction.
        generation_id: Which.
        owner: This process: callers of another one are gone.
        departed: Generations whose callers have left and are not noted yet.
        at: Now, RFC 3339.
        purge_after: When what belongs to it may be deleted.
    """
    faults.point_sync("unwatched.before_rows")
    lock(conn, "generation", generation_id)
    leave(conn, departed, owner)
    row = get_generation(conn, generation_id)
    if row is None or State(row.state) is not State.QUEUED or not row.only_awaited:
        return None
    (callers,) = conn.execute(_Q["callers_of"], {"id": generation_id, "owner": owner}).fetchone()
    if callers:
        # A repeat joined at this very instant.
        return None
    transition = generation.apply(State.QUEUED, generation.LeftUnwatched())
    done = _end(conn, row, transition, (), 0, at=at, purge_after=purge_after, rules=STANDARD)
    faults.point_sync("unwatched.after_rows")
    return done.row


def is_unwanted(conn: Conn, generation_id: str, attempt_id: str) -> bool:
    """Whether nobody wants what an attempt may bring: its generation is cancelled, or its part has its image."""
    return bool(conn.execute(_Q["is_unwanted"], {"id": generation_id, "attempt_id": attempt_id}).fetchone()[0])


def _end(
    conn: Conn,
    row: GenerationRow,
    transition: Transition,
    attempts: Sequence[AttemptRow],
    delivered: int,
    *,
    at: str,
    purge_after: str,
    rules: Rules,
) -> CancelDone:
    """Nothing is in flight: it ends here, with what it has."""
    charge = worst_charge(Charge(each.charge) for each in attempts)
    ended = end_generation(
        conn,
        row,
        transition,
        at=at,
        purge_after=purge_after,
        delivered=delivered,
        told=cancelled_told(charge) if transition.state is State.CANCELLED else None,
        parts_ended=row.parts_open,
        rules=rules,
    )
    return CancelDone(row=ended, has_ended=True)


def _stop_buying(conn: Conn, row: GenerationRow, transition: Transition, *, in_flight: int, at: str) -> CancelDone:
    """Parts that have no attempt in flight will have none: the last of those in flight concludes."""
    assert Effect.STOP_BUYING in transition.effects
    number = row.sequence_number + 1
    stopped = {"cancel_requested": 1, "parts_open": in_flight, "sequence_number": number}
    written = conn.execute(_Q["stop_buying"], {"id": row.id, **stopped}).rowcount
    assert written == 1, "it was read in the same transaction"
    insert_event(conn, row.id, number, "progress", at=at, data={"cancel_requested": True})
    return CancelDone(row=row.but(**stopped))
