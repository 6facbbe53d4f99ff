"""Rows of attempts: the sending commit and the settling commit."""

from __future__ import annotations

from collections import Counter
from typing import Any

from holdfast import faults, generation
from holdfast.generation import AttemptState, Effect, PartEnd, State
from holdfast.ledger import postings
from holdfast.policy.compensation import STANDARD, Rules
from holdfast.policy.failures import Verdict, verdict_of
from holdfast.policy.retry import GiveUpReason
from holdfast.store.bookkeeping import Booking, post
from holdfast.store.cancelling import cancelled_told
from holdfast.store.exposure import Cap, expose
from holdfast.store.generations import (
    attempts_of,
    blobs_of,
    end_generation,
    get_generation,
    get_record,
    insert_event,
    record_event,
)
from holdfast.store.later import Asked, change_one, read_ahead
from holdfast.store.locking import lock, lock_generation_of
from holdfast.store.places import Full, Grant, take_place
from holdfast.store.port import Conn, Row
from holdfast.store.queries import queries
from holdfast.store.records import (
    AttemptEnd,
    AttemptRow,
    BlobRow,
    Ended,
    GenerationRow,
    NewAttempt,
    Record,
    Told,
    to_json,
    values_of,
    withheld,
)
from holdfast.store.retention import prolong
from holdfast.store.usage import count_booking, move, upstream_of
from holdfast.store.webhooks import tell_end, told_asked
from holdfast.types import Charge

_Q = queries("attempts")
_G = queries("generations")

_Made = tuple[tuple[AttemptRow, ...], tuple[BlobRow, ...]]
"""What was tried, and what it brought."""

NEVER_SENT = Told(
    code="deadline_exceeded",
    message="The time given was over before its turn came. Nothing was bought.",
    charge=Charge.NO,
)
"""Told of a part that waited in line until its deadline."""


def begin_attempt(conn: Conn, new: NewAttempt, cap: Cap | None = None, grant: Grant | None = None) -> int | Full | None:
    """Write the second of the three commits, after which the first byte may leave; return the epoch.

    None: the generation has ended, is to be cancelled or was driven again since; or this part was given up, or another
    attempt of it is in flight. Then nothing was written, and nothing may be sent.

    A second attempt beside one that is slow (`new.hedge`) needs that one in flight, and room under `cap`: it is bought
    for nothing, or the first one is.

    Where several processes send with the same credential, `grant` says what it takes of them together; `Full`: no more
    than it has. Nothing was written.
    """
    faults.point_sync("send.before_rows")
    lock(conn, "generation", new.generation_id)
    part = {"generation_id": new.generation_id, "part": new.part}
    row = conn.execute(_Q["before_sending"], part).fetchone()
    if row is None or State(row["state"]).is_final or row["drive"] != new.drive:
        return None
    may_begin = row["in_flight"] == 1 and not row["outrun"] if new.hedge else not row["in_flight"] and row["is_open"]
    # What somebody else works on was taken over by him.
    if not may_begin or row["cancel_requested"] or row["owner"] not in (None, new.owner):
        return None
    transition = generation.apply(State(row["state"]), generation.AttemptSent())
    assert bool(new.hedge) is (cap is not None), "whoever buys a second time says within which cap"
    full = None if grant is None else take_place(conn, grant)
    if full is not None:
        return full
    if cap is not None and not expose(conn, cap, at=new.sent_at, micros=new.estimated_micros):
        return None
    assert Effect.BUMP_EPOCH in transition.effects
    epoch, number = row["epoch"] + 1, row["sequence_number"] + 1
    claim = {
        "id": new.generation_id,
        "owner": new.owner,
        "state": transition.state.value,
        "at": new.sent_at,
        "epoch": epoch,
        "sequence_number": number,
    }
    change_one(conn, _G["claim_generation"], claim, "what was read stays true as long as it is locked")
    faults.point_sync("send.after_claim_row")
    conn.execute(_Q["insert_attempt"], {**values_of(new), "epoch": epoch, "state": AttemptState.SENT.value})
    faults.point_sync("send.after_attempt_row")
    sent_to: dict[str, Any] = {"upstream": new.upstream, "part": new.part}
    if new.because is not None:
        sent_to["because"] = new.because
    insert_event(conn, new.generation_id, number, "running", at=new.sent_at, data=sent_to)
    faults.point_sync("send.after_rows")
    return int(epoch)


def keep_handle(conn: Conn, attempt_id: str, handle: str) -> bool:
    """Note under which handle the upstream has taken an attempt: from here on any process can go on with it.

    False: it stands there already, or the attempt has ended.
    """
    faults.point_sync("handle.before_rows")
    state = generation.move_attempt(AttemptState.SENT, AttemptState.POLLING)
    written = conn.execute(_Q["keep_handle"], {"id": attempt_id, "handle": handle, "state": state.value}).rowcount
    faults.point_sync("handle.after_rows")
    return written == 1


def get_attempt(conn: Conn, attempt_id: str) -> AttemptRow | None:
    """Read one attempt."""
    row = conn.execute(_Q["get_attempt"], {"id": attempt_id}).fetchone()
    return None if row is None else AttemptRow.of(row)


def end_attempt(conn: Conn, end: AttemptEnd, rules: Rules = STANDARD) -> Ended:
    """Write the third of the three commits: images, money and, when every part has ended, the final state.

    What the attempt cost is booked here, whatever its end, and nowhere else; `rules` say what the customer gets back.
    An attempt that was given up on may still end with images: they are kept, and a failure that nobody could know the
    outcome of becomes a late success. What has ended otherwise stays as it is.

    Where another attempt is to follow (`end.retry_at`), the part goes on, unless its generation does not, or what may
    have been paid twice would exceed its cap (`end.cap`).

    Where two attempts of a part are in flight, one that fails ends nothing, and one that brings images ends the part:
    the other is outrun, and what it still brings is an extra that nobody is charged for.
    """
    faults.point_sync("settle.before_rows")
    _lock_and_read(conn, end)
    found = conn.execute(_Q["before_settling"], {"id": end.attempt_id}).fetchone()
    assert found is not None, "an attempt is committed before it is sent"
    before = AttemptState(found["attempt_state"])
    if before not in generation.SETTLEABLE_ATTEMPT_STATES:
        return Ended(was_open=False)
    charge = end.failure.charge if end.failure is not None else Charge.YES
    after = generation.end_of_attempt(has_images=end.failure is None, charge=charge)
    if before is AttemptState.UNKNOWN and end.failure is not None:
        # Only an image changes what was told of it.
        return Ended(was_open=False)
    generation.move_attempt(before, after)
    row, part = GenerationRow.of(found), int(found["attempt_part"])
    # One that was kept back comes when the one beside it has brought the image: no mark of it, and outrun all the same.
    is_outrun = bool(found["attempt_outrun"] or found["has_image"])
    is_accompanied = bool(found["is_accompanied"])
    # One that was given up on ends its part after all where the next one is due, or it or one beside it is in flight.
    is_open = before is not AttemptState.UNKNOWN or is_accompanied or bool(found["is_paused"])
    is_due = not State(row.state).is_final and not is_outrun and is_open
    if is_outrun:
        why_not: GiveUpReason | None = GiveUpReason.OUTRUN
    elif not is_due:
        why_not = GiveUpReason.CANCELLED
    elif is_accompanied:
        why_not = GiveUpReason.OTHER_IN_FLIGHT
    else:
        why_not = _why_not(conn, row, end, charge, micros=int(found["attempt_micros"]))
    goes_on = end.retry_at is not None and why_not is None
    # Read before anything is written, where this may be the end of all: what is written then is known.
    may_end = is_due and not goes_on and not is_accompanied and row.parts_open == 1
    made = _made_before(conn, row, end) if may_end else None
    written = _write_end(conn, end, after, charge, why_not=why_not)
    faults.point_sync("settle.after_attempt_row")
    is_late = State(row.state).is_final or is_outrun
    booking = _booking(found, end, charge, was_exposed=before is AttemptState.UNKNOWN, is_late=is_late)
    if not is_due:
        # The customer's side stands already, or is not due yet.
        _book(conn, row, booking, drive=found["attempt_drive"], at=end.at)
    if State(row.state).is_final:
        finished = _late(conn, row, part, end)
    elif is_outrun:
        _take_in_extra(conn, row, part, end)
        finished = None
    elif not is_due:
        # Its part was counted as ended when it was given up on; others of its generation are still in flight.
        _insert_blobs(conn, row, part, end, late=False)
        record_event(conn, row.id, "stored", at=end.at, data={"late": True})
        finished = None
    elif goes_on:
        assert found["attempt_drive"] == row.drive, "a generation is driven again when nothing of it is in flight"
        _insert_blobs(conn, row, part, end, late=False)
        _go_on(conn, row, part, end, booking)
        finished = None
    elif is_accompanied and end.failure is not None:
        _insert_blobs(conn, row, part, end, late=False)
        _leave_to_other(conn, row, part, end, booking)
        finished = None
    else:
        blobs = _insert_blobs(conn, row, part, end, late=False)
        if is_accompanied:
            conn.execute(_Q["outrun"], {"generation_id": row.id, "part": part, "id": end.attempt_id})
            faults.point_sync("second.after_outrun_row")
        faults.point_sync("settle.after_image_rows")
        finished = _end_part(conn, row, end, rules, booking, made=_made_by(made, end, written, blobs))
    faults.point_sync("settle.after_rows")
    return Ended(was_open=True, finished=finished, goes_on=goes_on)


def _lock_and_read(conn: Conn, end: AttemptEnd) -> None:
    """Have the generation to ourselves, and what is to be known of it."""
    if end.generation_id is None:
        lock_generation_of(conn, end.attempt_id)
        return
    lock(conn, "generation", end.generation_id)
    asked: list[Asked] = [(_Q["before_settling"], {"id": end.attempt_id})]
    asked += [(_Q[name], {"id": end.generation_id}) for name in ("attempts_of", "blobs_of")]
    if end.key_id is not None:
        asked.append(told_asked(end.key_id, end.generation_id))
    read_ahead(conn, *asked)


def _made_before(conn: Conn, row: GenerationRow, end: AttemptEnd) -> _Made | None:
    """Read what was tried, and what it brought; None: an image of this attempt is there, and will be written anew."""
    attempts, blobs = attempts_of(conn, row.id), blobs_of(conn, row.id)
    return None if any(blob.attempt_id == end.attempt_id for blob in blobs) else (attempts, blobs)


def _made_by(before: _Made | None, end: AttemptEnd, written: dict[str, Any], blobs: list[BlobRow]) -> _Made | None:
    """Say what is on record once this end is, as reading it would."""
    if before is None:
        return None
    attempts = tuple(each.but(**written) if each.id == end.attempt_id else each for each in before[0])
    return attempts, tuple(sorted((*before[1], *blobs), key=lambda blob: (blob.part, blob.position)))


def give_up_pause(conn: Conn, attempt_id: str, at: str, purge_after: str, rules: Rules = STANDARD) -> Record | None:
    """End a part that was to be tried again, since what its attempt brought is in the spool: bought again it would be
    paid twice. Give the generation with all of it if this ends it; None: other parts go on, or nothing was to follow.

    What the attempt may have cost is booked; its image, once the disk takes it, is a late one.
    """
    lock_generation_of(conn, attempt_id)
    attempt = get_attempt(conn, attempt_id)
    row = None if attempt is None or attempt.retry_at is None else get_generation(conn, attempt.generation_id)
    if attempt is None or row is None or State(row.state).is_final or row.drive != attempt.drive:
        return None
    conn.execute(_Q["end_pause"], {"id": attempt_id})
    end = AttemptEnd(attempt_id=attempt_id, at=at, purge_after=purge_after, failure=attempt.failed)
    return _end_part(conn, row, end, rules, None)


def _why_not(conn: Conn, row: GenerationRow, end: AttemptEnd, charge: Charge, *, micros: int) -> GiveUpReason | None:
    """Say why a part does not go on that was to; None: it may.

    What may have been charged is counted against the day's cap here, in the commit that decides to buy again, and not
    when that is sent: then 300 calls that are lost at once know of one another before any of them pauses, and a part
    that may not go on ends with the same commit.
    """
    if row.cancel_requested:
        return GiveUpReason.CANCELLED
    if end.retry_at is None or charge is not Charge.UNKNOWN:
        return None
    assert end.cap is not None
    return None if expose(conn, end.cap, at=end.at, micros=micros) else GiveUpReason.EXPOSURE_SPENT


def _go_on(conn: Conn, row: GenerationRow, part: int, end: AttemptEnd, booking: Booking) -> None:
    """Note that the part is tried again; it stays open, and so does the hold. What it may have cost is booked."""
    if booking.transactions:
        _book(conn, row, booking, drive=row.drive, at=end.at)
    transition = generation.apply(State(row.state), generation.AttemptFailed())
    assert Effect.SET_TIMER in transition.effects
    number = row.sequence_number + 1
    conn.execute(_G["end_part"], {"id": row.id, "parts_open": row.parts_open, "sequence_number": number})
    assert end.failure is not None
    data = {"part": part, "failed": end.failure.kind.value, "retry_at": end.retry_at}
    insert_event(conn, row.id, number, "progress", at=end.at, data=data)
    faults.point_sync("retry.after_rows")


def _leave_to_other(conn: Conn, row: GenerationRow, part: int, end: AttemptEnd, booking: Booking) -> None:
    """Note that one of two attempts has failed: the part is the other's. What it may have cost is booked."""
    if booking.transactions:
        _book(conn, row, booking, drive=row.drive, at=end.at)
    assert end.failure is not None
    data = {"part": part, "failed": end.failure.kind.value, "other_in_flight": True}
    record_event(conn, row.id, "progress", at=end.at, data=data)
    faults.point_sync("second.after_failure_rows")


def _take_in_extra(conn: Conn, row: GenerationRow, part: int, end: AttemptEnd) -> None:
    """Keep what an attempt brings whose part has its image already, while other parts go on."""
    _insert_blobs(conn, row, part, end, late=True)
    if end.failure is None:
        record_event(conn, row.id, "stored", at=end.at, data={"late": True})
    faults.point_sync("second.after_extra_rows")


def _write_end(
    conn: Conn, end: AttemptEnd, state: AttemptState, charge: Charge, *, why_not: GiveUpReason | None
) -> dict[str, Any]:
    """Write how it ended; give what stands in its row now."""
    decision = end.decision
    is_withheld = end.retry_at is not None or why_not is GiveUpReason.OUTRUN
    if decision is not None and is_withheld and why_not is not None:
        decision = withheld(decision, why_not)
    written = {
        "state": state.value,
        "charge": charge.value,
        "received_at": end.received_at,
        "ended_at": end.at,
        "http_status": end.http_status,
        "failure": None if end.failure is None else to_json(end.failure),
        "usage": None if end.usage is None else to_json(end.usage),
        "answer": end.answer,
        "retry_at": end.retry_at if why_not is None else None,
        "decision": decision,
    }
    conn.execute(_Q["end_attempt"], {"id": end.attempt_id, **written})
    return written


def _booking(found: Row, end: AttemptEnd, charge: Charge, *, was_exposed: bool, is_late: bool) -> Booking:
    """What the upstream took, or may have taken."""
    estimated = int(found["attempt_micros"])
    moves = postings.of_attempt(
        found["attempt_upstream"],
        charge,
        was_exposed=was_exposed,
        is_late=is_late,
        estimated_micros=estimated,
        cost_micros=estimated if end.cost_micros is None else end.cost_micros,
    )
    return Booking(attempt_id=end.attempt_id, transactions=moves, upstream=found["attempt_upstream"])


def _book(conn: Conn, row: GenerationRow, booking: Booking, *, drive: int, at: str) -> None:
    """Post and count what an attempt took that does not end its generation."""
    post(conn, generation_id=row.id, drive=drive, at=at, booking=booking)
    count_booking(conn, row, booking, at)


def _insert_blobs(conn: Conn, row: GenerationRow, part: int, end: AttemptEnd, *, late: bool) -> list[BlobRow]:
    """Write its images; give them as they stand, if none of them was there before."""
    rows = [
        BlobRow(
            id=blob.id,
            generation_id=row.id,
            attempt_id=end.attempt_id,
            part=part,
            position=blob.position,
            kind="late" if late and blob.kind == "result" else blob.kind,
            store_key=blob.store_key,
            sha256=blob.info.sha256,
            bytes=blob.info.bytes,
            mime=blob.info.mime,
            width_px=blob.info.width_px,
            height_px=blob.info.height_px,
            state="stored",
            delete_after=end.purge_after,
        )
        for blob in end.blobs
    ]
    for each in rows:
        conn.execute(_Q["insert_blob"], values_of(each))
    return rows


def _end_part(
    conn: Conn,
    row: GenerationRow,
    end: AttemptEnd,
    rules: Rules,
    booking: Booking | None,
    made: _Made | None = None,
) -> Record | None:
    """Count the part as ended; after the last one, conclude, and give all of it. `booking` is None where it was booked
    before; `made` is what was tried and what it brought, where that is known.

    Whoever waits is told all of it: a reading of its own would be another transaction, and another thread.
    """
    left = row.parts_open - 1
    assert left >= 0, "a part ends once"
    if left > 0:
        number = row.sequence_number + 1
        conn.execute(_G["end_part"], {"id": row.id, "parts_open": left, "sequence_number": number})
        if booking is not None:
            _book(conn, row, booking, drive=row.drive, at=end.at)
        insert_event(conn, row.id, number, "stored" if end.failure is None else "progress", at=end.at)
        return None
    attempts, blobs = made or (attempts_of(conn, row.id), blobs_of(conn, row.id))
    images = Counter(blob.part for blob in blobs if blob.kind == "result")
    of_drive = [each for each in attempts if each.drive == row.drive]
    ends = [_part_end(part, images[part], of_drive) for part in range(row.parts)]
    event = generation.conclude(ends, wanted=row.n, cancel_asked=bool(row.cancel_requested))
    transition = generation.apply(State(row.state), event)
    told = None
    if isinstance(event, generation.GaveUp):
        told = cancelled_told(event.charge) if event.cancel_asked else _told(of_drive, generation.told_part(ends))
    ended = end_generation(
        conn,
        row,
        transition,
        at=end.at,
        purge_after=end.purge_after,
        delivered=images.total(),
        told=told,
        parts_ended=1,
        rules=rules,
        booking=booking,
        made=(attempts, blobs),
    )
    return Record(generation=ended, attempts=attempts, blobs=blobs)


def _part_end(part: int, images: int, attempts: list[AttemptRow]) -> PartEnd:
    if images:
        return PartEnd(part=part, images=images)
    if not any(each.part == part for each in attempts):
        # It never had its turn: a cancel, which is told as such whatever stands here, or the deadline.
        return PartEnd(part=part, code=NEVER_SENT.code)
    verdict = _verdict(part, attempts)
    return PartEnd(part=part, code=verdict.code, charge=verdict.charge)


def _verdict(part: int, attempts: list[AttemptRow]) -> Verdict:
    failures = [each.failed for each in attempts if each.part == part]
    return verdict_of([failure for failure in failures if failure is not None])


def _told(attempts: list[AttemptRow], end: PartEnd) -> Told:
    """Tell the caller the story of one part, which stands for all."""
    if not any(each.part == end.part for each in attempts):
        return NEVER_SENT
    verdict = _verdict(end.part, attempts)
    failure = verdict.failure
    return Told(
        code=verdict.code,
        message=failure.detail,
        charge=verdict.charge,
        kind=failure.kind.value,
        reason=failure.reason,
        status=failure.status,
        retry_after_s=failure.retry_after_s,
    )


def _late(conn: Conn, row: GenerationRow, part: int, end: AttemptEnd) -> Record | None:
    """Take in what came after the end; nothing paid for is thrown away, and the customer pays nothing for it."""
    if end.blobs:
        prolong(conn, row.id, end.purge_after)
    if end.failure is not None:
        _insert_blobs(conn, row, part, end, late=True)
        return None
    code = row.told.code if row.told is not None else None
    transition = generation.apply(State(row.state), generation.LateImageStored(code=code))
    turned = Effect.MARK_LATE in transition.effects
    _insert_blobs(conn, row, part, end, late=not turned)
    record_event(conn, row.id, "stored", at=end.at, data={"late": True})
    if not turned:
        return None
    blobs = blobs_of(conn, row.id)
    delivered = sum(blob.kind == "result" for blob in blobs)
    values = {
        "id": row.id,
        "state": transition.state.value,
        "purge_after": end.purge_after,
        "partial_result": int(delivered < row.n),
        "served_by": upstream_of(attempts_of(conn, row.id), blobs, row.drive),
    }
    conn.execute(_G["mark_late"], values)
    turned_row = row.but(state=values["state"], served_by=values["served_by"])
    move(conn, row, turned_row, images=min(delivered, row.n))
    record_event(conn, row.id, transition.state.value, at=end.at, data={"late": True})
    record = get_record(conn, row.id)
    assert record is not None
    # Whoever was told that it failed is told of this too.
    tell_end(conn, record.generation, end.at)
    return record
