"""Rows of what was learnt: written in place of what was known, read for a week, deleted after it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from holdfast.store.latency import SketchRow, get_sketches, put_sketches
from holdfast.store.port import Store
from holdfast.store.queries import queries, schema

A_ROW = SketchRow(
    upstream="google",
    model="nano-banana-pro",
    tier="4K",
    hour=490_000,
    timed_out=1,
    buckets='{"481":3}',
    updated_at="2026-11-27T12:00:00.000Z",
)


@pytest.fixture
def store(database: Any) -> Any:
    """A store of its own, of each engine."""
    return database.open()


async def test_what_is_written_is_read(store: Store) -> None:
    """Upstreams, models, sizes and hours have a row each."""
    rows = [
        A_ROW,
        replace(A_ROW, hour=490_001),
        replace(A_ROW, tier="1K"),
        replace(A_ROW, model="seedream-4.5"),
        replace(A_ROW, upstream="relay"),
    ]
    await store.write(put_sketches, rows, 489_832)
    found = await store.read(get_sketches, 489_832)
    assert set(found) == set(rows)
    assert len(found) == len(rows)


async def test_an_hour_is_written_over(store: Store) -> None:
    """It grows from minute to minute; twice the same commit is as once."""
    later = replace(A_ROW, buckets='{"481":9}', timed_out=4, updated_at="2026-11-27T12:01:00.000Z")
    for row in (A_ROW, later, later):
        await store.write(put_sketches, [row], 0)
    assert await store.read(get_sketches, 0) == (later,)


async def test_what_is_older_than_asked_for_is_deleted_with_the_next_commit(store: Store) -> None:
    """The table stays as small as a week is."""
    old = replace(A_ROW, hour=A_ROW.hour - 168)
    older = replace(A_ROW, hour=A_ROW.hour - 169)
    await store.write(put_sketches, [older, old], 0)
    assert await store.read(get_sketches, old.hour) == (old,)
    await store.write(put_sketches, [A_ROW], old.hour)
    assert [row.hour for row in await store.read(get_sketches, 0)] == [old.hour, A_ROW.hour]


async def test_buckets_of_another_version_are_passed_over(store: Store) -> None:
    """They are as wide as that one has them; nothing can be said of them here."""
    await store.write(put_sketches, [A_ROW], 0)
    await store.write(lambda conn: conn.execute("UPDATE latency_sketch SET format = 2"))
    assert await store.read(get_sketches, 0) == ()


async def test_a_failed_commit_leaves_what_was_there(store: Store, database: Any) -> None:
    """All of a minute or nothing of it."""
    await store.write(put_sketches, [A_ROW], 0)
    broken = replace(A_ROW, upstream="relay", buckets=None)  # type: ignore[arg-type]
    with pytest.raises(database.IntegrityError):
        await store.write(put_sketches, [replace(A_ROW, hour=A_ROW.hour + 1), broken], 0)
    assert await store.read(get_sketches, 0) == (A_ROW,)


def test_old_rows_are_found_by_index() -> None:
    """Each minute looks for them."""
    with closing(sqlite3.connect(":memory:")) as conn:
        conn.executescript(schema())
        query = queries("latency")["delete_old_sketches"]
        plan = " ".join(row[3] for row in conn.execute(f"EXPLAIN QUERY PLAN {query}", {"oldest_hour": 1}))
    assert "latency_sketch_by_hour" in plan


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
async def test_what_one_has_learnt_is_not_written_over_what_another_has(database: Any) -> None:
    """Two workers began with the same hour, and each writes what it has seen since: both is read by the next start."""
    store = database.open()
    await store.write(put_sketches, [A_ROW], 0)
    one = replace(A_ROW, buckets='{"481":5}', updated_at="2026-11-27T12:02:00.000Z")
    other = replace(A_ROW, buckets='{"470":2,"481":4}', timed_out=2, updated_at="2026-11-27T12:01:00.000Z")
    for row in (one, other, one):
        await store.write(put_sketches, [row], 0)
    (found,) = await store.read(get_sketches, 0)
    assert found == replace(one, buckets='{"470":2,"481":5}', timed_out=2)


async def test_an_hour_that_cannot_be_read_is_written_over(database: Any) -> None:
    """Somebody has damaged it: what is learnt now counts."""
    store = database.open()
    await store.write(put_sketches, [replace(A_ROW, buckets="damaged")], 0)
    await store.write(put_sketches, [A_ROW], 0)
    assert await store.read(get_sketches, 0) == (A_ROW,)
