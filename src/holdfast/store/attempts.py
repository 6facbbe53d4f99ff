"""Rows of attempts: the sending commit and the settling commit."""

from __future__ import annotations

import sqlite3
from dataclasses import asdict

from holdfast import faults, generation
from holdfast.generation import AttemptState, Effect, PartEnd, State
from holdfast.policy.failures import Verdict, verdict_of
from holdfast.store.generations import attempts_of, blobs_of, end_generation, get_generation, record_event
from holdfast.store.queries import queries
from holdfast.store.records import AttemptEnd, AttemptRow, Ended, GenerationRow, NewAttempt, Record, Told, to_json
from holdfast.types import Charge

_Q = queries("attempts")
_G = queries("generations")


def begin_attempt(conn: sqlite3.Connection, new: NewAttempt) -> int | None:
    """Write the second of the three commits, after which the first byte may leave; return the epoch.

    None: the generation has ended or is to be cancelled, or another attempt of this part is in flight. Then nothing
    was written, and nothing may be sent.
    """
    faults.point_sync("send.before_rows")
    part = {"generation_id": new.generation_id, "part": new.part}
    if conn.execute(_Q["open_attempt_of_part"], part).fetchone() is not None:
        return None
    row = get_generation(conn, new.generation_id)
    if row is None or State(row.state).is_final:
        return None
    transition = generation.apply(State(row.state), generation.AttemptSent())
    assert Effect.BUMP_EPOCH in transition.effects
    claim = {"id": row.id, "owner": new.owner, "state": transition.state.value, "at": new.sent_at}
    claimed = conn.execute(_G["claim_generation"], claim).fetchone()
    if claimed is None:
        return None
    values = {**asdict(new), "epoch": claimed[0], "state": AttemptState.SENT.value}
    conn.execute(_Q["insert_attempt"], values)
    record_event(conn, row.id, "running", at=new.sent_at, data={"upstream": new.upstream, "part": new.part})
    faults.point_sync("send.after_rows")
    return int(claimed[0])


def get_attempt(conn: sqlite3.Connection, attempt_id: str) -> AttemptRow | None:
    """Read one attempt."""
    row = conn.execute(_Q["get_attempt"], {"id": attempt_id}).fetchone()
    return None if row is None else AttemptRow.of(row)


def end_attempt(conn: sqlite3.Connection, end: AttemptEnd) -> Ended:
    """Write the third of the three commits: images, money and, when every part has ended, the final state.

    An attempt that was given up on may still end with images: they are kept, and a failure that nobody could know the
    outcome of becomes a late success. What has ended otherwise stays as it is.
    """
    faults.point_sync("settle.before_rows")
    attempt = get_attempt(conn, end.attempt_id)
    assert attempt is not None, "an attempt is committed before it is sent"
    before = AttemptState(attempt.state)
    if before not in generation.SETTLEABLE_ATTEMPT_STATES:
        return Ended(was_open=False)
    charge = end.failure.charge if end.failure is not None else Charge.YES
    after = generation.end_of_attempt(has_images=end.failure is None, charge=charge)
    if before is AttemptState.UNKNOWN and end.failure is not None:
        # Only an image changes what was told of it.
        return Ended(was_open=False)
    generation.move_attempt(before, after)
    _write_end(conn, end, after, charge)
    row = get_generation(conn, attempt.generation_id)
    assert row is not None
    if State(row.state).is_final:
        finished = _late(conn, row, attempt, end)
    elif before is AttemptState.UNKNOWN:
        # Its part was counted as ended when it was given up on; others of its generation are still in flight.
        _insert_blobs(conn, attempt, end, late=False)
        record_event(conn, row.id, "stored", at=end.at, data={"late": True})
        finished = None
    else:
        _insert_blobs(conn, attempt, end, late=False)
        finished = _end_part(conn, row, end)
    faults.point_sync("settle.after_rows")
    if finished is None:
        return Ended(was_open=True)
    # Whoever waits is told all of it: a reading of its own would be another transaction, and another thread.
    attempts, images = attempts_of(conn, finished.id), blobs_of(conn, finished.id)
    return Ended(was_open=True, finished=Record(generation=finished, attempts=attempts, blobs=images))


def _write_end(conn: sqlite3.Connection, end: AttemptEnd, state: AttemptState, charge: Charge) -> None:
    conn.execute(
        _Q["end_attempt"],
        {
            "id": end.attempt_id,
            "state": state.value,
            "charge": charge.value,
            "received_at": end.received_at,
            "at": end.at,
            "http_status": end.http_status,
            "failure": None if end.failure is None else to_json(end.failure),
            "usage": None if end.usage is None else to_json(end.usage),
            "answer": end.answer,
        },
    )


def _insert_blobs(conn: sqlite3.Connection, attempt: AttemptRow, end: AttemptEnd, *, late: bool) -> None:
    for blob in end.blobs:
        conn.execute(
            _Q["insert_blob"],
            {
                "id": blob.id,
                "generation_id": attempt.generation_id,
                "attempt_id": attempt.id,
                "part": attempt.part,
                "position": blob.position,
                "kind": "late" if late and blob.kind == "result" else blob.kind,
                "store_key": blob.store_key,
                "sha256": blob.info.sha256,
                "bytes": blob.info.bytes,
                "mime": blob.info.mime,
                "width_px": blob.info.width_px,
                "height_px": blob.info.height_px,
                "delete_after": end.purge_after,
            },
        )


def _end_part(conn: sqlite3.Connection, row: GenerationRow, end: AttemptEnd) -> GenerationRow | None:
    """Count the part as ended; after the last one, conclude."""
    (left,) = conn.execute(_G["end_part"], {"id": row.id}).fetchone()
    if left > 0:
        record_event(conn, row.id, "stored" if end.failure is None else "progress", at=end.at)
        return None
    images = {each["part"]: each["images"] for each in conn.execute(_Q["delivered_images"], {"id": row.id})}
    attempts = [each for each in attempts_of(conn, row.id) if each.drive == row.drive]
    ends = [_part_end(part, images.get(part, 0), attempts) for part in range(row.parts)]
    event = generation.conclude(ends, wanted=row.n, cancel_asked=bool(row.cancel_requested))
    transition = generation.apply(State(row.state), event)
    told = _told(attempts, generation.told_part(ends)) if isinstance(event, generation.GaveUp) else None
    return end_generation(
        conn,
        row,
        transition,
        at=end.at,
        purge_after=end.purge_after,
        delivered=sum(images.values()),
        told=told,
    )


def _part_end(part: int, images: int, attempts: list[AttemptRow]) -> PartEnd:
    if images:
        return PartEnd(part=part, images=images)
    verdict = _verdict(part, attempts)
    return PartEnd(part=part, code=verdict.code, charge=verdict.charge)


def _verdict(part: int, attempts: list[AttemptRow]) -> Verdict:
    failures = [each.failed for each in attempts if each.part == part]
    return verdict_of([failure for failure in failures if failure is not None])


def _told(attempts: list[AttemptRow], end: PartEnd) -> Told:
    """Tell the caller the story of one part, which stands for all."""
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


def _late(conn: sqlite3.Connection, row: GenerationRow, attempt: AttemptRow, end: AttemptEnd) -> GenerationRow | None:
    """Take in what came after the end; nothing paid for is thrown away, and the customer pays nothing for it."""
    if end.failure is not None:
        _insert_blobs(conn, attempt, end, late=True)
        return None
    code = row.told.code if row.told is not None else None
    transition = generation.apply(State(row.state), generation.LateImageStored(code=code))
    turned = Effect.MARK_LATE in transition.effects
    _insert_blobs(conn, attempt, end, late=not turned)
    record_event(conn, row.id, "stored", at=end.at, data={"late": True})
    if not turned:
        return None
    delivered = sum(blob.kind == "result" for blob in blobs_of(conn, row.id))
    values = {
        "id": row.id,
        "state": transition.state.value,
        "purge_after": end.purge_after,
        "partial_result": int(delivered < row.n),
    }
    conn.execute(_G["mark_late"], values)
    record_event(conn, row.id, transition.state.value, at=end.at, data={"late": True})
    return get_generation(conn, row.id)
