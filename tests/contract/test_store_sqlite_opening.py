"""What SQLite's store does with a file that it finds: a newer one, an older one, one that is no database, none."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import StorageError
from holdfast.store import sqlite
from holdfast.store.keys import insert_key
from holdfast.store.queries import migrations
from holdfast.store.sqlite import SqliteStore


def add(conn: sqlite3.Connection, name: str) -> str:
    """Write one row; its digest is its name, so that a second one of a name is refused."""
    insert_key(conn, f"key_{name}", name.encode(), "label", "2026-01-01T00:00:00.000Z")
    return name


def pragma(conn: sqlite3.Connection, name: str) -> Any:
    """Ask a connection how it is set."""
    return conn.execute(f"PRAGMA {name}").fetchone()[0]


def test_a_newer_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    """An older holdfast would not know what it breaks."""
    path = tmp_path / "holdfast.sqlite3"
    SqliteStore(path, "new").close()
    with closing(sqlite3.connect(path)) as conn:
        conn.execute(f"PRAGMA user_version = {len(migrations()) + 1}")
    with pytest.raises(StorageError, match="newer version") as told:
        SqliteStore(path, "old")
    assert told.value.reason == "newer_schema"
    with closing(sqlite3.connect(path)) as conn:
        assert conn.execute("SELECT value FROM meta WHERE name = 'owner'").fetchone() == ("new",)


def test_migrations_are_applied_once_and_from_where_the_folder_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second start runs none; a later version runs the new ones only, each whole or not at all."""
    path = tmp_path / "holdfast.sqlite3"
    SqliteStore(path, "one").close()
    SqliteStore(path, "two").close()
    steps = migrations()
    added = "CREATE TABLE added (id TEXT);"
    monkeypatch.setattr(sqlite, "migrations", lambda: (*steps, added, "CREATE TABLE half (id TEXT); broken;"))
    with pytest.raises(StorageError, match="syntax error"):
        SqliteStore(path, "three")
    with closing(sqlite3.connect(path)) as conn:
        assert pragma(conn, "user_version") == len(steps) + 1
        tables = {row[0] for row in conn.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert "added" in tables
    assert "half" not in tables


@pytest.mark.parametrize("content", [b"this is no database" * 500, b"SQLite format 3\x00" + b"\xff" * 5000])
def test_what_is_no_database_is_told_and_not_overwritten(tmp_path: Path, content: bytes) -> None:
    """A file of another kind at our place is somebody's: it is named, never replaced."""
    path = tmp_path / "holdfast.sqlite3"
    path.write_bytes(content)
    with pytest.raises(StorageError) as told:
        SqliteStore(path, "me")
    assert told.value.reason == "broken"
    assert path.read_bytes() == content


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    """As what the operator can put right, not as a traceback of the database."""
    with pytest.raises(StorageError) as told:
        SqliteStore(tmp_path / "missing" / "holdfast.sqlite3", "me")
    assert told.value.reason == "broken"


def test_odd_folder_names_are_no_options(tmp_path: Path) -> None:
    """A question mark or a percent sign in a path is part of the name."""
    folder = tmp_path / "a?mode=memory&b%20c#d"
    folder.mkdir()
    with closing(SqliteStore(folder / "holdfast.sqlite3", "me")) as store:
        store.write_sync(add, "a")
    assert (folder / "holdfast.sqlite3").stat().st_size > 0
