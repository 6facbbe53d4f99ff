"""What runs with each end of a generation, and each look for what is due, costs the same as tables grow."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing

import pytest

from holdfast.store.queries import queries, schema


def plan_of(conn: sqlite3.Connection, name: str) -> str:
    """How a query is run, once it fits the schema."""
    query = queries("webhooks")[name]
    values = dict.fromkeys(re.findall(r":(\w+)", re.sub(r"--.*", "", query)), 0)
    return " ".join(row[3] for row in conn.execute(f"EXPLAIN QUERY PLAN {query}", values))


@pytest.mark.parametrize("name", [name for name in queries("webhooks") if name != "has_endpoints"])
def test_every_query_fits_the_schema_and_reads_no_whole_table(name: str) -> None:
    """Each is answered by an index; only a key's few endpoints are sorted."""
    with closing(sqlite3.connect(":memory:")) as conn:
        conn.executescript(schema())
        plan = plan_of(conn, name).replace("SCAN json_each", "").replace("SCAN CONSTANT ROW", "")
    assert "SCAN" not in plan or "INDEX" in plan, plan
    assert "USE TEMP B-TREE FOR ORDER BY" not in plan or name == "endpoints_of", plan
