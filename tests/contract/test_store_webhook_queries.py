"""What runs with each end of a generation, and each look for what is due, costs the same as tables grow."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from holdfast.store.queries import queries, schema
from holdfast.store.webhooks import due_deliveries

NOW = "2026-11-27T01:00:00.000Z"
EARLY = "2026-11-27T00:00:00.000Z"
LATE = "2026-11-27T00:30:00.000Z"


def plan_of(conn: sqlite3.Connection, name: str) -> str:
    """How a query is run, once it fits the schema."""
    query = queries("webhooks")[name]
    values = dict.fromkeys(re.findall(r":(\w+)", re.sub(r"--.*", "", query)), 0)
    return " ".join(row[3] for row in conn.execute(f"EXPLAIN QUERY PLAN {query}", values))


@pytest.mark.parametrize("name", [name for name in queries("webhooks") if name != "has_endpoints"])
def test_every_query_fits_the_schema_and_reads_no_whole_table(name: str) -> None:
    """Each is answered by an index; what is sorted is a key's few endpoints, or a few deliveries of each endpoint."""
    with closing(sqlite3.connect(":memory:")) as conn:
        conn.executescript(schema())
        plan = plan_of(conn, name).replace("SCAN json_each", "").replace("SCAN CONSTANT ROW", "")
        plan = plan.replace("SCAN waiting", "")
    assert "SCAN" not in plan or "INDEX" in plan, plan
    assert "USE TEMP B-TREE FOR ORDER BY" not in plan or name in ("endpoints_of", "due"), plan


def test_what_is_due_is_found_endpoint_by_endpoint() -> None:
    """By steps in an index that begins with the endpoint, each with its time: no other row is touched."""
    with closing(sqlite3.connect(":memory:")) as conn:
        conn.executescript(schema())
        plan = plan_of(conn, "due")
    assert "SEARCH webhook_delivery USING INDEX webhook_delivery_due (endpoint_id>?)" in plan
    assert "SEARCH webhook_delivery USING INDEX webhook_delivery_due (endpoint_id=? AND next_at<?)" in plan
    assert "webhook_delivery_pending" not in plan


@contextmanager
def waiting(counts: dict[str, int]) -> Iterator[sqlite3.Connection]:
    """A database in which so much waits for each endpoint; that of the first is due longest."""
    with closing(sqlite3.connect(":memory:")) as conn:
        conn.row_factory = sqlite3.Row
        conn.executescript(schema())
        for place, (endpoint, count) in enumerate(counts.items()):
            columns = "id, key_id, url, secret_number, created_at"
            values = (endpoint, f"key_{endpoint}", "https://hooks.example.com", 1, EARLY)
            conn.execute(f"INSERT INTO webhook_endpoint ({columns}) VALUES (?, ?, ?, ?, ?)", values)
            columns = "id, endpoint_id, key_id, generation_id, drive, type, state, next_at, created_at"
            row = (endpoint, f"key_{endpoint}", 0, "generation.succeeded", "pending", LATE if place else EARLY, EARLY)
            conn.executemany(
                f"INSERT INTO webhook_delivery ({columns}) VALUES ('msg_' || ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                ((f"{endpoint}_{at}", *row[:2], f"gen_{at}", *row[2:]) for at in range(count)),
            )
        yield conn


def steps_of(conn: sqlite3.Connection, **lists: list[str]) -> tuple[set[str], int]:
    """Whose deliveries are found due, and how many hundreds of steps of SQLite's machine that took."""
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    conn.set_progress_handler(count, 100)
    due = due_deliveries(conn, now=NOW, most=12, **lists)
    conn.set_progress_handler(None, 0)
    return {row.endpoint_id for row in due.rows}, steps


@pytest.mark.parametrize("lists", [{"busy": ["whk_a"]}, {"busy_keys": ["key_whk_a"]}])
def test_what_waits_for_one_that_hangs_is_not_walked_through(lists: dict[str, list[str]]) -> None:
    """Twenty thousand rows of it cost what twenty do, and the others' are found behind them."""
    took = []
    for many in (20, 20_000):
        with waiting({"whk_a": many, "whk_b": 3, "whk_c": 1}) as conn:
            found, steps = steps_of(conn, **lists)
        assert found == {"whk_b", "whk_c"}
        took.append(steps)
    assert took[1] <= took[0] + 2, took


def test_longest_due_first_whosever_it_is() -> None:
    """A receiver with much to be told does not stand before one that has waited longer."""
    with waiting({"whk_z": 5, "whk_a": 30}) as conn:
        due = due_deliveries(conn, now=NOW, most=8)
    assert [row.endpoint_id for row in due.rows] == ["whk_z"] * 5 + ["whk_a"] * 3
