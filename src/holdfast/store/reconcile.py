"""Attempts for the comparison with a provider's list, and the end of exposures that it makes known.

Plain functions; the caller's transaction is theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from holdfast import generation
from holdfast.clock import from_rfc3339, rfc3339, ulid
from holdfast.errors import RequestError
from holdfast.generation import AttemptState, State
from holdfast.ledger import postings
from holdfast.policy.reconcile import Ours, Resolution
from holdfast.store.audit_log import note
from holdfast.store.bookkeeping import Booking, post
from holdfast.store.generations import record_event
from holdfast.store.locking import lock_generation_of
from holdfast.store.port import Conn, Row
from holdfast.store.queries import queries
from holdfast.store.records import GenerationRow
from holdfast.store.usage import count_booking
from holdfast.types import Charge
from holdfast.wire.nearest import nearest
from holdfast.wire.reconcile import Unresolved

ATTEMPTS_MAX = 200_000
RESOLVABLE_AFTER = timedelta(hours=1)
"""How old an unknown end must be: until then its image may still come, which then says more than any list."""

_Q = queries("usage")


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """What was written."""

    attempt_id: str
    generation_id: str
    upstream: str
    exposed_micros: int
    cost_micros: int


def attempts_between(conn: Conn, upstream: str, since: datetime, until: datetime) -> tuple[Ours, ...]:
    """Read the attempts of one upstream that ended within a time, in that order.

    Raises:
        RequestError: Nothing was ever sent to an upstream of this name, or there are too many attempts.
    """
    known = [row["upstream"] for row in conn.execute(_Q["upstreams_tried"])]
    if upstream not in known and conn.execute(_Q["was_tried"], {"upstream": upstream}).fetchone() is None:
        told = nearest(upstream, known) if known else "Nothing was sent to any yet."
        raise _wrong(f"Nothing was ever sent to an upstream {upstream!r}. {told}")
    wanted = {
        # Ids sort by the time at which they were made.
        "first_id": f"att_{ulid(int((since - timedelta(days=1)).timestamp() * 1000), bytes(10))}",
        "upstream": upstream,
        "account": postings.provider(upstream),
        "since": rfc3339(since),
        "until": rfc3339(until),
        "most": ATTEMPTS_MAX + 1,
    }
    found = tuple(_ours(row) for row in conn.execute(_Q["attempts_between"], wanted))
    if len(found) > ATTEMPTS_MAX:
        raise _wrong(f"There are more than {ATTEMPTS_MAX:,} attempts in that time; choose fewer days.")
    return found


def _ours(row: Row) -> Ours:
    names = (row["id"], row["generation_id"], row["idempotency_key"], row["upstream_handle"])
    return Ours(
        attempt_id=row["id"],
        generation_id=row["generation_id"],
        charge=Charge(row["charge"]),
        model=row["model"],
        sent_at=from_rfc3339(row["sent_at"]),
        ended_at=from_rfc3339(row["ended_at"]),
        booked_micros=row["booked_micros"],
        names=frozenset(name for name in names if name),
    )


def resolve_exposures(conn: Conn, resolutions: Sequence[Resolution], at: str) -> tuple[Resolved, ...]:
    """Move exposures to where they belong, now that somebody knows; all of them, or none.

    The customer's side stays as it is: the hold was resolved when the generation ended, and nobody is charged later.

    Args:
        conn: In the writing transaction.
        resolutions: Each attempt once.
        at: Now, RFC 3339.

    Raises:
        RequestError: An attempt does not exist, is not of unknown outcome, or may still bring its image.
    """
    # In one order, as of two who do the same at once each may have begun with the other's last.
    for id_ in sorted(each.attempt_id for each in resolutions):
        lock_generation_of(conn, id_)
    return tuple(_resolve(conn, each, at) for each in resolutions)


def resolve_noted(
    conn: Conn, resolutions: Sequence[Resolution], *, actor: str, at: str, reason: str | None = None
) -> tuple[tuple[Resolved, ...], tuple[Unresolved, ...]]:
    """Resolve those exposures that can be, with a line for each in the log of changes; give the others with the reason.

    One that is too young keeps nobody else: what a list says of yesterday is written down today. `reason` says how the
    ends of all of them are known.
    """
    for id_ in sorted(each.attempt_id for each in resolutions):
        lock_generation_of(conn, id_)
    resolved: list[Resolved] = []
    left: list[Unresolved] = []
    for resolution in resolutions:
        try:
            # It is refused before anything of it is written.
            each = _resolve(conn, resolution, at)
        except RequestError as error:
            left.append(Unresolved(attempt_id=resolution.attempt_id, why=error.message))
            continue
        resolved.append(each)
        details = {
            "generation_id": each.generation_id,
            "upstream": each.upstream,
            "exposed_micros": each.exposed_micros,
            "cost_micros": each.cost_micros,
            **({"reason": reason} if reason else {}),
        }
        note(conn, actor=actor, action="exposure.resolved", target=each.attempt_id, at=at, details=details)
    return tuple(resolved), tuple(left)


def _resolve(conn: Conn, resolution: Resolution, at: str) -> Resolved:
    id_, micros = resolution.attempt_id, resolution.micros
    found = conn.execute(_Q["before_resolving"], {"id": id_}).fetchone()
    if found is None:
        raise _wrong(f"There is no attempt {id_[:64]!r}.")
    before = AttemptState(found["attempt_state"])
    if before is not AttemptState.UNKNOWN:
        raise _wrong(f"The attempt {id_} is {before.value}: only one of unknown outcome can be resolved, once.")
    row = GenerationRow.of(found)
    if not State(row.state).is_final:
        raise _wrong(f"The generation of {id_}, {row.id}, has not ended; wait for its end.")
    if from_rfc3339(found["attempt_ended_at"]) > from_rfc3339(at) - RESOLVABLE_AFTER:
        raise _wrong(f"The outcome of {id_} is unknown for less than an hour; its image may still come. Wait a while.")
    assert micros is None or micros >= 0
    charge = Charge.NO if micros is None else Charge.YES
    after = generation.move_attempt(before, generation.end_of_attempt(has_images=False, charge=charge))
    conn.execute(_Q["resolve_attempt"], {"id": id_, "state": after.value, "charge": charge.value})
    exposed, took = int(found["attempt_micros"]), micros or 0
    moved = postings.resolve(
        found["attempt_upstream"],
        exposed_micros=exposed,
        cost_micros=min(took, exposed),
        extra_micros=max(0, took - exposed),
    )
    booking = Booking(attempt_id=id_, transactions=(moved,), upstream=found["attempt_upstream"])
    post(conn, generation_id=row.id, drive=found["attempt_drive"], at=at, booking=booking)
    count_booking(conn, row, booking, at)
    data = {"part": found["attempt_part"], "resolved": charge.value, "micros": took}
    record_event(conn, row.id, "progress", at=at, data=data)
    return Resolved(
        attempt_id=id_, generation_id=row.id, upstream=booking.upstream, exposed_micros=exposed, cost_micros=took
    )


def _wrong(message: str) -> RequestError:
    return RequestError(message, code="invalid_request", status=400)
