"""Balances that metrics show: the house's own accounts, as the ledger has them.

Run on every engine (`database`, in `tests/conftest.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from holdfast.store.balances import balances_of_the_house


@pytest.fixture(name="store")
def store_fixture(database: Any) -> Iterator[Any]:
    """An empty database."""
    with closing(database.open()) as store:
        yield store


def put(conn: Any, balances: dict[str, int]) -> None:
    """Let accounts stand at these balances."""
    rows = [{"id": id_, "balance": balance} for id_, balance in balances.items()]
    conn.executemany("INSERT INTO account (id, balance) VALUES (:id, :balance)", rows)


def test_accounts_that_were_never_used_are_left_out(store: Any) -> None:
    """A zero would be said of what nobody has seen."""
    assert store.write_sync(balances_of_the_house) == {}


def test_the_house_s_accounts_are_told_and_nobody_else_s(store: Any) -> None:
    """What a customer owes is no number for a dashboard, and there are as many as keys."""
    house = {
        "held": -240_000,
        "revenue": -500_000,
        "compensation": 100_000,
        "provider_cost": 300_000,
        "unknown_exposure": 240_000,
        "extra_images": 134_000,
    }
    store.write_sync(put, {**house, "customer:key_1": 400_000, "provider:google": -674_000})
    assert store.write_sync(balances_of_the_house) == house


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_no_table_is_read_through(store: Any) -> None:
    """A scrape costs the same with a million customers."""

    def plan(conn: Any) -> str:
        seen: list[str] = []
        conn.set_trace_callback(seen.append)
        balances_of_the_house(conn)
        conn.set_trace_callback(None)
        (statement,) = [each for each in seen if "account" in each]
        return " ".join(row[3] for row in conn.execute(f"EXPLAIN QUERY PLAN {statement}"))

    told = store.write_sync(plan)
    assert "SEARCH account" in told
    assert "SCAN" not in told
