"""The accepting commit, seen from a repeat: in one transaction it finds what it repeats, or buys.

All of it happens in the writing thread, one POST after the other: of a hundred repeats that come at one instant each
sees what those before it have taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from holdfast import faults, generation
from holdfast.clock import from_rfc3339
from holdfast.errors import RequestError
from holdfast.generation import Effect, State
from holdfast.ledger import postings
from holdfast.policy.access import NO_LIMITS, Limits, Window, too_many
from holdfast.policy.budgets import Exhausted
from holdfast.policy.fingerprint import VERSION
from holdfast.policy.joining import REFUSALS, Answer, Claim, Found, answer_to
from holdfast.store.bookkeeping import post
from holdfast.store.budgets import budgets_of, group_in, limits_asked, spend
from holdfast.store.generations import accept, get_generation, insert_event
from holdfast.store.jobs import Job
from holdfast.store.later import Asked, change_one, read_ahead
from holdfast.store.locking import has_one_writer, lock
from holdfast.store.port import Conn
from holdfast.store.queries import queries
from holdfast.store.records import GenerationRow, NewGeneration
from holdfast.store.usage import move
from holdfast.types import Charge, worst_charge

_Q = queries("joining")
_T = queries("postgres/twins")

Enqueue = Callable[[Conn, Job], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entering:
    """A POST at the door."""

    new: NewGeneration
    """What it buys if it repeats nothing."""
    claim: Claim
    may_buy: bool = True
    """Whether it may: a gateway that drains, or is full, still serves repeats."""
    asks_twins: bool = True
    """Whether somebody who seems to wait for the same is named, instead of buying."""
    oldest: str = ""
    """What was accepted before this is not looked at: the same words may have been asked a thousand times."""
    success_since: str = ""
    """Successes that ended before this are no longer joined."""
    failure_since: str = ""
    twin_before: str = ""
    """Callers who came after this are taken for other people."""
    limits: Limits = NO_LIMITS
    """Of its key, where several processes accept for it: else whoever accepts has counted."""
    minute_ago: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entered:
    """What became of it."""

    generation_id: str | None = None
    """None: it repeats nothing, and may not buy."""
    answer: Answer | None = None
    """What a repeat is given; None where it is none."""
    row: GenerationRow | None = None
    """Of a generation that is driven again."""
    twin_ids: tuple[str, ...] = ()
    """Whose callers are to be asked for before this one buys; nothing was written."""
    exhausted: Exhausted | None = None
    """It would have to buy, and its budget does not cover that; nothing was written."""
    over: RequestError | None = None
    """It would have to buy, and all processes together have taken what its key may have; nothing was written."""


def enter(conn: Conn, entering: Entering, departed: Sequence[str] = (), enqueue: Enqueue | None = None) -> Entered:
    """Join, replay, drive again or accept; a refusal is told and writes nothing of the kind.

    Args:
        conn: In the writing transaction.
        entering: Who asks.
        departed: Generations whose callers have left and are not noted yet: a repeat may follow on their heels.
        enqueue: Writes the job of what is to be worked on, in the same transaction.
    """
    entered = _enter(conn, entering, departed)
    if enqueue is not None and entered.row is not None and entered.answer is Answer.DRIVE_AGAIN:
        enqueue(conn, Job(generation_id=entered.row.id, drive=entered.row.drive, lane=entered.row.model))
    elif enqueue is not None and entered.answer is None and entered.generation_id is not None:
        enqueue(conn, Job(generation_id=entered.generation_id, lane=entering.new.model))
    return entered


def _enter(conn: Conn, entering: Entering, departed: Sequence[str]) -> Entered:
    faults.point_sync("enter.before_rows")
    if departed and entering.new.watched_by is not None:
        leave(conn, departed, entering.new.watched_by)
    found = _find_alone(conn, entering)
    if found is not None:
        entered = _give(conn, entering, found)
        # Nobody named it: what is gone by now is nothing that could be repeated.
        if entered.answer is not Answer.EXPIRED or entering.claim.idempotency_key is not None:
            return entered
    if not entering.may_buy:
        return Entered()
    if entering.asks_twins and entering.claim.by_fingerprint:
        twins = tuple(row["id"] for row in conn.execute(_Q["twins"], _values(entering)))
        if twins:
            return Entered(twin_ids=twins)
    over = _over(conn, entering)
    if over is not None:
        return Entered(over=over)
    exhausted = accept(conn, entering.new)
    return Entered(generation_id=entering.new.id) if exhausted is None else Entered(exhausted=exhausted)


def _find_alone(conn: Conn, entering: Entering) -> GenerationRow | None:
    """Find what a POST repeats, with nobody else at it: neither another repeat, nor whoever ends it."""
    new, claim = entering.new, entering.claim
    if claim.idempotency_key is not None:
        lock(conn, "identity", new.key_id, "key", claim.idempotency_key)
    elif claim.by_fingerprint:
        lock(conn, "identity", new.key_id, "fingerprint", new.fingerprint)
    read_ahead(conn, *_asked(entering))
    found, locked = _found(conn, entering), None
    while found is not None and found.id != locked:
        # It may have ended, and another one be the one to join, while somebody else had it.
        locked = found.id
        lock(conn, "generation", locked)
        found = found if has_one_writer(conn) else _found(conn, entering)
    return found


def _asked(entering: Entering) -> list[Asked]:
    """What is going to be read of a POST that repeats nothing."""
    claim, values = entering.claim, _values(entering)
    asked: list[Asked] = []
    if claim.idempotency_key is not None:
        asked.append((_Q["by_idempotency_key"], values))
    elif claim.by_fingerprint:
        asked.append((_Q["orphan"], values))
    if entering.may_buy:
        if entering.asks_twins and claim.by_fingerprint:
            asked.append((_Q["twins"], values))
        asked.append(limits_asked(entering.new.key_id))
    return asked


def _found(conn: Conn, entering: Entering) -> GenerationRow | None:
    claim, values = entering.claim, _values(entering)
    row = None
    if claim.idempotency_key is not None:
        row = conn.execute(_Q["by_idempotency_key"], values).fetchone()
    elif claim.by_fingerprint:
        row = conn.execute(_Q["orphan"], values).fetchone()
        if row is None and claim.says_retry:
            row = conn.execute(_Q["kin"], values).fetchone()
    return None if row is None else GenerationRow.of(row)


def _over(conn: Conn, entering: Entering) -> RequestError | None:
    """Count what is open, and was accepted in the last minute, of a key that has limits."""
    limits, new = entering.limits, entering.new
    if limits == NO_LIMITS:
        return None
    lock(conn, "quota", new.key_id)
    now, window = from_rfc3339(new.created_at), Window()
    if limits.rate_per_min is not None:
        asked = {"key_id": new.key_id, "since": entering.minute_ago, "most": limits.rate_per_min}
        latest = [from_rfc3339(row["created_at"]) for row in conn.execute(_Q["accepted_since"], asked)]
        for at in reversed(latest):
            # A process whose clock is ahead of ours has accepted it just now.
            window.take(min(0.0, (at - now).total_seconds()))
    (open_,) = conn.execute(_Q["open_of_key"], {"key_id": new.key_id, "oldest": entering.oldest}).fetchone()
    return too_many(limits, window, open_=open_, arriving=0, now_s=0.0)


def _values(entering: Entering) -> dict[str, object]:
    new = entering.new
    return {
        "key_id": new.key_id,
        "fingerprint": new.fingerprint,
        "version": new.fingerprint_version,
        "idempotency_key": new.idempotency_key,
        "owner": new.watched_by,
        "oldest": entering.oldest,
        "success_since": entering.success_since,
        "failure_since": entering.failure_since,
        "twin_before": entering.twin_before,
    }


def _give(conn: Conn, entering: Entering, row: GenerationRow) -> Entered:
    new = entering.new
    attempts = conn.execute(_Q["charges"], {"id": row.id, "drive": row.drive}).fetchall()
    (deleted,) = conn.execute(_Q["deleted_images"], {"id": row.id}).fetchone()
    state = State(row.state)
    found = Found(
        is_open=not state.is_final,
        is_failed=state is State.FAILED,
        is_same=row.fingerprint_version != VERSION or row.fingerprint == new.fingerprint,
        code=row.told.code if row.told is not None else None,
        charge=worst_charge(Charge(each["charge"]) for each in attempts),
        open_attempts=sum(each["state"] in generation.OPEN_ATTEMPT_STATES for each in attempts),
        is_gone=row.request is None or deleted > 0 or row.deleted_at is not None,
    )
    answer = answer_to(found, is_strict=entering.claim.is_strict)
    if answer is Answer.DRIVE_AGAIN:
        if not entering.may_buy:
            return Entered()
        over = _over(conn, entering)
        if over is not None:
            return Entered(over=over)
        driven = _drive_again(conn, row, found, new)
        if isinstance(driven, Exhausted):
            return Entered(exhausted=driven)
        row = driven
    if answer not in REFUSALS:
        conn.execute(_Q["join"], {"id": row.id, "owner": new.watched_by, "only_awaited": new.only_awaited})
        faults.point_sync("enter.after_join")
    return Entered(generation_id=row.id, answer=answer, row=row)


def _drive_again(conn: Conn, row: GenerationRow, found: Found, new: NewGeneration) -> GenerationRow | Exhausted:
    event = generation.Redriven(charge=found.charge, is_definite=False)
    transition = generation.apply(State.FAILED, event)
    assert Effect.BUMP_DRIVE in transition.effects
    budgets, day = budgets_of(conn, row.key_id), new.created_at[:10]
    exhausted = spend(conn, budgets, day=day, micros=row.held_micros, currency=row.currency)
    if exhausted is not None:
        return exhausted
    drive, number = row.drive + 1, row.sequence_number + 1
    values = {
        "id": row.id,
        "state": transition.state.value,
        "drive": drive,
        "deadline_at": new.deadline_at,
        "hard_deadline": new.hard_deadline,
        "sequence_number": number,
        "held_on": day,
        "group_id": group_in(budgets),
    }
    change_one(conn, _Q["drive_again"], values, "a failure is driven again once")
    faults.point_sync("enter.after_driven_row")
    post(conn, postings.hold(row.key_id, row.held_micros), generation_id=row.id, drive=drive, at=new.created_at)
    insert_event(conn, row.id, number, "queued", at=new.created_at)
    driven = get_generation(conn, row.id)
    assert driven is not None
    move(conn, row, driven)
    return driven


def count_waiting(conn: Conn, generation_ids: Sequence[str]) -> int:
    """Count who waits for these, by the record; where several processes share it."""
    (waiting,) = conn.execute(_T["waiting"], {"ids": list(generation_ids)}).fetchone()
    return int(waiting)


def ask_after(conn: Conn, generation_ids: Sequence[str]) -> None:
    """Ask other processes whether those who wait for these are still there."""
    for each in generation_ids:
        conn.execute(_T["ask_after"], {"id": each})


def leave(conn: Conn, generation_ids: Sequence[str], owner: str) -> None:
    """Note that callers no longer wait, each for one of these."""
    conn.executemany(_Q["leave"], [{"id": each, "owner": owner} for each in sorted(generation_ids)])


def come_back(conn: Conn, generation_id: str, owner: str) -> None:
    """Note that a caller waits again who had been noted as gone; he repeats nothing."""
    conn.execute(_Q["come_back"], {"id": generation_id, "owner": owner})
