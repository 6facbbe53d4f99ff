"""Reads that fail: the disk's doing is told as such, and a mistake of whoever reads stays what it is."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import StorageError
from holdfast.store.sqlite import SqliteStore, read_failure


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """An empty one."""
    made = SqliteStore(tmp_path / "holdfast.sqlite3", "own_1")
    yield made
    made.close()


async def test_what_the_disk_refuses_is_a_storage_error(store: SqliteStore) -> None:
    """A connection that only reads is as good as a disk that takes nothing."""

    def write(conn: sqlite3.Connection) -> None:
        conn.execute("DELETE FROM meta")

    with pytest.raises(StorageError) as caught:
        await store.read(write)
    assert caught.value.reason == "read_only"
    assert await store.read(lambda conn: conn.execute("SELECT count(*) FROM meta").fetchone()[0]) > 0


async def test_a_mistake_in_a_query_stays_one(store: SqliteStore) -> None:
    """It is no reason to wait for the disk."""
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        await store.read(lambda conn: conn.execute("SELECT * FROM nowhere"))


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (sqlite3.SQLITE_IOERR, "broken"),
        (sqlite3.SQLITE_IOERR | 1 << 8, "broken"),
        (sqlite3.SQLITE_CORRUPT, "broken"),
        (sqlite3.SQLITE_READONLY, "read_only"),
        (sqlite3.SQLITE_ERROR, None),
        (sqlite3.SQLITE_CONSTRAINT, None),
    ],
)
def test_a_failure_is_blamed_by_its_primary_code(code: int, reason: str | None) -> None:
    """Extended codes have it in their low byte."""
    error: Any = sqlite3.OperationalError("it failed")
    error.sqlite_errorcode = code
    told = read_failure(error)
    assert getattr(told, "reason", None) == reason
    assert isinstance(told, StorageError) is (reason is not None)
