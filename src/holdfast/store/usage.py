"""What was used, rolled up by day: written in the transactions that write ends and move money, never worked out later.

A row counts what one key had of one model and size through one upstream on one day (UTC), by how it ended. Generations
and images stand on the day of their end; each amount stands on the day of its ledger transaction, so that every day's
sums are those of the ledger. What has been booked of a generation without an end stands under `open` until it ends.

Plain functions; the caller's transaction is theirs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from holdfast.generation import State
from holdfast.ledger.postings import (
    COMPENSATION,
    EXTRA_IMAGES,
    PROVIDER_COST,
    REVENUE,
    UNKNOWN_EXPOSURE,
    Transaction,
)
from holdfast.store.bookkeeping import Booking
from holdfast.store.locking import Hot, add_late
from holdfast.store.port import Conn
from holdfast.store.queries import queries
from holdfast.store.records import AttemptRow, BlobRow, GenerationRow

OPEN = "open"
"""The outcome under which stands what was booked of generations that have not ended."""
FAILED_OTHERWISE = "failed"
"""The outcome of a failure of which no code is on record."""
ACCOUNTS: Mapping[str, tuple[str, int]] = MappingProxyType(
    {
        REVENUE: ("charged_micros", -1),
        COMPENSATION: ("compensated_micros", 1),
        PROVIDER_COST: ("cost_micros", 1),
        EXTRA_IMAGES: ("extra_micros", 1),
        UNKNOWN_EXPOSURE: ("unknown_micros", 1),
    }
)
"""Which measure an account is counted as, and with which sign."""
MEASURES = ("generations", "images", *(measure for measure, _ in ACCOUNTS.values()))

_Q = queries("usage")
_Slot = tuple[str, str, str]
"""Day, upstream and outcome."""


def outcome_of(row: GenerationRow) -> str:
    """Name how a generation ended: its state, or, where it failed, the code that its caller was told."""
    state = State(row.state)
    if not state.is_final:
        return OPEN
    if state is not State.FAILED:
        return state.value
    told = row.told
    return FAILED_OTHERWISE if told is None else told.code


def upstream_of(attempts: Sequence[AttemptRow], blobs: Sequence[BlobRow], drive: int) -> str:
    """Name the upstream that a generation is counted under: whose image comes first, else the one that was tried last.

    Empty: it was sent nowhere.
    """
    results = [blob.attempt_id for blob in blobs if blob.kind == "result"]
    if results:
        return next(each.upstream for each in attempts if each.id == results[0])
    of_drive = [each.upstream for each in attempts if each.drive == drive]
    return of_drive[-1] if of_drive else ""


def count_booking(conn: Conn, row: GenerationRow, booking: Booking, at: str) -> None:
    """Count what is booked of an attempt that does not end its generation."""
    if booking.transactions:
        _Sums(row).take(booking.transactions, (at[:10], booking.upstream, outcome_of(row))).write(conn)


def count_end(
    conn: Conn,
    ended: GenerationRow,
    transactions: Iterable[Transaction],
    booking: Booking | None,
    *,
    images: int,
) -> None:
    """Count an end, with the money that moves along with it.

    Args:
        conn: In the writing transaction.
        ended: The generation as it now stands.
        transactions: Its customer's side.
        booking: What is booked with it of the attempt that ended it.
        images: Delivered.
    """
    assert ended.finished_at is not None
    outcome = outcome_of(ended)
    slot = (ended.finished_at[:10], ended.served_by or "", outcome)
    sums = _Sums(ended)
    sums.add(slot, "generations", 1)
    sums.add(slot, "images", images)
    sums.take(transactions, slot)
    if booking is not None:
        sums.take(booking.transactions, (slot[0], booking.upstream, outcome))
    sums.write(conn)


def move(conn: Conn, before: GenerationRow, after: GenerationRow, *, images: int = 0) -> None:
    """Count all that was booked of a generation under another outcome: it has ended, goes on again, or turned out late.

    To be called when nothing is posted that is not counted yet. An end that was counted is taken back, and one that
    stands is counted anew; the first end of a generation is `count_end`'s.

    Args:
        conn: In the writing transaction.
        before: The generation as it was counted.
        after: As it is to be counted.
        images: Delivered, where it has turned into a success.
    """
    was, becomes = outcome_of(before), outcome_of(after)
    sums = _Sums(after)
    for line in conn.execute(_Q["booked"], {"id": before.id}):
        measure, sign = ACCOUNTS[line["account"]]
        micros = sign * line["micros"]
        sums.add((line["day"], _upstream(line["upstream"], before), was), measure, -micros)
        sums.add((line["day"], _upstream(line["upstream"], after), becomes), measure, micros)
    if was != OPEN:
        assert before.finished_at is not None
        sums.add((before.finished_at[:10], before.served_by or "", was), "generations", -1)
        if becomes != OPEN:
            assert after.finished_at is not None
            slot = (after.finished_at[:10], after.served_by or "", becomes)
            sums.add(slot, "generations", 1)
            sums.add(slot, "images", images)
    sums.write(conn)


def _upstream(of_attempt: str | None, row: GenerationRow) -> str:
    """Where a line is counted: the customer's side goes with its generation."""
    return (row.served_by or "") if of_attempt is None else of_attempt


class _Sums:
    """What one transaction adds to the days, in as few rows as it can be."""

    def __init__(self, row: GenerationRow) -> None:
        self._row = row
        self._by_slot: dict[_Slot, dict[str, int]] = defaultdict(lambda: dict.fromkeys(MEASURES, 0))

    def add(self, slot: _Slot, measure: str, much: int) -> None:
        """Add to one measure; nothing is no reason for a row."""
        if much:
            self._by_slot[slot][measure] += much

    def take(self, transactions: Iterable[Transaction], slot: _Slot) -> _Sums:
        """Add what transactions move on the accounts that are counted."""
        for transaction in transactions:
            for posting in transaction.postings:
                if posting.account in ACCOUNTS:
                    measure, sign = ACCOUNTS[posting.account]
                    self.add(slot, measure, sign * posting.micros)
        return self

    def write(self, conn: Conn) -> None:
        """Add it to the rows."""
        row = self._row
        lines = []
        for (day, upstream, outcome), sums in self._by_slot.items():
            of = {"day": day, "key_id": row.key_id, "model": row.model, "tier": row.tier, "currency": row.currency}
            lines.append({**of, "upstream": upstream, "outcome": outcome, **sums})
        add_late(conn, Hot.USAGE, _Q["count"], lines)
