"""Writing ledger transactions, and proving that they balance."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from holdfast.ledger.postings import Transaction
from holdfast.store.queries import queries

_Q = queries("ledger")


def post(conn: sqlite3.Connection, transaction: Transaction, *, generation_id: str, drive: int, at: str) -> None:
    """Write a transaction and its accounts' balances; a second one of the same verb is refused by the index."""
    key = {"kind": transaction.verb.value, "generation_id": generation_id, "drive": drive, "at": at}
    txn_id = conn.execute(_Q["insert_txn"], key).lastrowid
    lines = [
        {"txn_id": txn_id, "account": posting.account, "micros": posting.micros} for posting in transaction.postings
    ]
    conn.executemany(_Q["insert_entry"], lines)
    conn.executemany(_Q["add_to_account"], lines)


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


def ledger_sums(conn: sqlite3.Connection) -> LedgerSums:
    """Add everything up again."""
    cached = {row["id"]: row["balance"] for row in conn.execute(_Q["accounts"])}
    entries = {row["id"]: row["balance"] for row in conn.execute(_Q["accounts_recomputed"])}
    return LedgerSums(
        total_micros=conn.execute(_Q["sum_of_all"]).fetchone()[0],
        unbalanced=tuple(row[0] for row in conn.execute(_Q["unbalanced"])),
        accounts=cached,
        drifted=tuple(sorted(name for name in cached | entries if cached.get(name, 0) != entries.get(name, 0))),
    )


def ledger_of(conn: sqlite3.Connection, generation_id: str) -> list[tuple[str, str, int]]:
    """Give the lines of one generation: verb, account, micro-units."""
    return [(row["kind"], row["account"], row["micros"]) for row in conn.execute(_Q["txns_of"], {"id": generation_id})]
