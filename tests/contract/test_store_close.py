"""The end of a store on a disk that takes nothing any more."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from holdfast.store.keys import count_keys, insert_key
from holdfast.store.sqlite import SqliteStore


def test_a_last_checkpoint_that_the_disk_refuses_is_logged_and_loses_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """All that is committed stays in the WAL, where the next start reads it; the close is a close."""

    def refuse(action: int, argument: str | None, *_: object) -> int:
        is_checkpoint = action == sqlite3.SQLITE_PRAGMA and argument == "wal_checkpoint"
        return sqlite3.SQLITE_DENY if is_checkpoint else sqlite3.SQLITE_OK

    file = tmp_path / "holdfast.sqlite3"
    store = SqliteStore(file, "first")
    store.write_sync(insert_key, "key_1", b"digest", "label", "2026-01-01T00:00:00.000Z")
    store.write_sync(lambda conn: conn.set_authorizer(refuse))
    store.close()
    assert [record.message for record in caplog.records] == ["storage.failed"]
    assert not store._thread.is_alive()
    again = SqliteStore(file, "second")
    assert again.write_sync(count_keys) == 1
    again.close()
