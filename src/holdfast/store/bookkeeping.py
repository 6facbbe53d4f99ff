"""Writing ledger transactions, and proving that they balance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from holdfast.ledger.postings import Transaction, Verb
from holdfast.store.later import insert_for_id
from holdfast.store.locking import Hot, add_late
from holdfast.store.port import Conn
from holdfast.store.queries import queries

_Q = queries("ledger")


@dataclass(frozen=True, slots=True, kw_only=True)
class Booking:
    """What is posted of one attempt: the provider's side."""

    attempt_id: str
    transactions: tuple[Transaction, ...]
    upstream: str

    @property
    def resolves(self) -> bool:
        """Whether an exposure of its attempt was booked before."""
        return any(each.verb is Verb.RESOLVE for each in self.transactions)


def post(
    conn: Conn,
    *transactions: Transaction,
    generation_id: str,
    drive: int,
    at: str,
    booking: Booking | None = None,
) -> None:
    """Write transactions and their accounts' balances.

    A second one of the same verb is refused by the index: of a generation's drive, or, where `booking` brings the
    provider's side along, of its attempt.
    """
    key: dict[str, Any] = {"generation_id": generation_id, "drive": drive, "attempt_id": "", "at": at}
    lines: list[dict[str, Any]] = []
    for transaction in transactions:
        lines += _lines(conn, transaction, key)
    if booking is not None:
        key["attempt_id"] = booking.attempt_id
        for transaction in booking.transactions:
            lines += _lines(conn, transaction, key)
    conn.executemany(_Q["insert_entry"], lines)
    add_late(conn, Hot.ACCOUNT, _Q["add_to_account"], lines)


def _lines(conn: Conn, transaction: Transaction, key: dict[str, Any]) -> list[dict[str, Any]]:
    key["kind"] = transaction.verb.value
    txn_id = insert_for_id(conn, _Q["insert_txn"], key)
    return [{"txn_id": txn_id, "account": line.account, "micros": line.micros} for line in transaction.postings]


def held_at(conn: Conn, generation_id: str, drive: int) -> str:
    """Read when the hold of a drive was taken, RFC 3339."""
    at: str = conn.execute(_Q["held_at"], {"id": generation_id, "drive": drive}).fetchone()["at"]
    return at


def given_on(conn: Conn, day: str, rule: str) -> int:
    """Read what a rule of compensation has given back on a day, micro-units."""
    row = conn.execute(_Q["given_on_day"], {"day": day, "reason": rule}).fetchone()
    return 0 if row is None else int(row[0])


def give_on(conn: Conn, day: str, rule: str, micros: int) -> None:
    """Count what a rule of compensation gives back."""
    conn.execute(_Q["give_on_day"], {"day": day, "reason": rule, "micros": micros})


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerSums:
    """What must hold of a ledger."""

    total_micros: int
    """Zero."""
    unbalanced: tuple[int, ...]
    """Transactions that do not sum to zero: none."""
    accounts: dict[str, int]
    drifted: tuple[str, ...]
    """Accounts whose cached balance differs from the sum of their entries: none."""

    @property
    def hold(self) -> bool:
        """Whether all of it holds."""
        return self.total_micros == 0 and not self.unbalanced and not self.drifted


def ledger_sums(conn: Conn) -> LedgerSums:
    """Add everything up again."""
    cached = {row["id"]: row["balance"] for row in conn.execute(_Q["accounts"])}
    entries = {row["id"]: row["balance"] for row in conn.execute(_Q["accounts_recomputed"])}
    return LedgerSums(
        total_micros=conn.execute(_Q["sum_of_all"]).fetchone()[0],
        unbalanced=tuple(row[0] for row in conn.execute(_Q["unbalanced"])),
        accounts=cached,
        drifted=tuple(sorted(name for name in cached | entries if cached.get(name, 0) != entries.get(name, 0))),
    )


def ledger_of(conn: Conn, generation_id: str) -> list[tuple[str, str, int]]:
    """Give the lines of one generation: verb, account, micro-units."""
    return [(row["kind"], row["account"], row["micros"]) for row in conn.execute(_Q["txns_of"], {"id": generation_id})]
