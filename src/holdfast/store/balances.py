"""Balances of the ledger's own accounts, for metrics."""

from __future__ import annotations

from holdfast.store.port import Conn
from holdfast.store.queries import queries

_Q = queries("balances")


def balances_of_the_house(conn: Conn) -> dict[str, int]:
    """Give what stands in each account that belongs to nobody, micro-units; one that was never used is left out."""
    return {row["id"]: int(row["balance"]) for row in conn.execute(_Q["balances_of_the_house"])}
