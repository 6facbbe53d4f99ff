"""Balances of the ledger's own accounts, for metrics."""

from __future__ import annotations

import sqlite3

from holdfast.store.queries import queries

_Q = queries("balances")


def balances_of_the_house(conn: sqlite3.Connection) -> dict[str, int]:
    """Give what stands in each account that belongs to nobody, micro-units; one that was never used is left out."""
    return {row["id"]: int(row["balance"]) for row in conn.execute(_Q["balances_of_the_house"])}
