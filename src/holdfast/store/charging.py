"""What a customer is charged at the end of a generation, and what of it is given back, decided in one place.

Called in the transaction that writes the end; what it gives is posted there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from holdfast.clock import from_rfc3339
from holdfast.config import CompensationReason
from holdfast.generation import Effect, Transition, images_of_part
from holdfast.ledger import postings
from holdfast.ledger.postings import Transaction
from holdfast.money import times
from holdfast.policy.compensation import Rules, Subject, given_back, reason_of
from holdfast.store.bookkeeping import give_on, given_on, held_at
from holdfast.store.locking import lock
from holdfast.store.port import Conn
from holdfast.store.records import AttemptRow, BlobRow, GenerationRow
from holdfast.types import Charge


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """The customer's side of an end."""

    charged_micros: int
    compensated_micros: int
    transactions: tuple[Transaction, ...]


def bill_of(
    conn: Conn,
    row: GenerationRow,
    transition: Transition,
    *,
    delivered: int,
    made: Callable[[], tuple[Sequence[AttemptRow], Sequence[BlobRow]]],
    at: str,
    rules: Rules,
) -> Bill:
    """Resolve the hold as the lifecycle says, compensate by rule, and count what was given against the day's caps.

    Args:
        conn: Of the transaction that writes the end.
        row: The generation before its end.
        transition: Its effects say which of the moves it is.
        delivered: Images on hand.
        made: Reads the generation's attempts and images; asked only if something is charged.
        at: The end, RFC 3339.
        rules: What is given back, by reason.
    """
    charged = _charged(row, transition, delivered=delivered, made=made)
    if charged is None:
        return Bill(charged_micros=0, compensated_micros=0, transactions=(postings.void(row.key_id, row.held_micros),))
    total = sum(charged.values())
    capture = postings.capture(row.key_id, held_micros=row.held_micros, micros=total)
    given = _give(conn, row, charged, at=at, rules=rules) if Effect.COMPENSATE in transition.effects and total else 0
    if not given:
        return Bill(charged_micros=total, compensated_micros=0, transactions=(capture,))
    back = postings.compensate(row.key_id, captured_micros=total, micros=given)
    return Bill(charged_micros=total, compensated_micros=given, transactions=(capture, back))


def _charged(
    row: GenerationRow,
    transition: Transition,
    *,
    delivered: int,
    made: Callable[[], tuple[Sequence[AttemptRow], Sequence[BlobRow]]],
) -> Mapping[CompensationReason, int] | None:
    """What is charged, by the reason for which it may be given back; None: the hold is voided."""
    if Effect.CAPTURE_DELIVERED in transition.effects:
        return {CompensationReason.SLOW: delivered_micros(row, *made(), delivered=delivered)}
    if Effect.CAPTURE_PAID in transition.effects:
        return paid_for(row, made()[0])
    assert Effect.VOID in transition.effects
    return None


def delivered_micros(
    row: GenerationRow, attempts: Sequence[AttemptRow], blobs: Sequence[BlobRow], *, delivered: int
) -> int:
    """Price what is delivered: by what was asked for, or by what served it, whichever is lower."""
    units = {attempt.id: attempt.unit_micros for attempt in attempts if attempt.unit_micros is not None}
    if not units:
        return times(row.unit_micros, min(delivered, row.n))
    results = [blob for blob in blobs if blob.kind == "result"][: row.n]
    prices = Counter(min(row.unit_micros, units.get(blob.attempt_id, row.unit_micros)) for blob in results)
    return sum(times(unit, count) for unit, count in prices.items())


def paid_for(row: GenerationRow, attempts: Sequence[AttemptRow]) -> Counter[CompensationReason]:
    """Say what the upstream was certainly paid for without bringing it: the price of each such part, by reason."""
    reasons: dict[int, tuple[CompensationReason, int]] = {}
    for attempt in attempts:
        failure = attempt.failed
        if attempt.drive == row.drive and failure is not None and failure.charge is Charge.YES:
            unit = row.unit_micros if attempt.unit_micros is None else min(row.unit_micros, attempt.unit_micros)
            reasons[attempt.part] = reason_of(failure.kind), unit
    charged: Counter[CompensationReason] = Counter()
    for part, (reason, unit) in reasons.items():
        charged[reason] += times(unit, images_of_part(part, n=row.n, parts=row.parts))
    return charged


def _give(conn: Conn, row: GenerationRow, charged: Mapping[CompensationReason, int], *, at: str, rules: Rules) -> int:
    # One that is driven again was not waited for in between: a repeat may come days after the failure.
    began_at = held_at(conn, row.id, row.drive) if row.drive else row.created_at
    took_s = (from_rfc3339(at) - from_rfc3339(began_at)).total_seconds()
    day, total = at[:10], 0

    def given_today(rule: str) -> int:
        lock(conn, "compensation", day)
        return given_on(conn, day, rule)

    subject = Subject(key_id=row.key_id, group_id=row.group_id, model=row.model, tier=row.tier)
    given = given_back(rules, subject, charged, took_s=took_s, given_today=given_today)
    for each in given:
        if each.micros:
            # Hardly anything is given back: all who end something would wait for one another.
            lock(conn, "compensation", day)
            give_on(conn, day, each.rule, each.micros)
            total += each.micros
    return total
