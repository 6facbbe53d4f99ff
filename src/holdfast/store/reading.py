"""Looking into a database that another process may be using: one read-only connection, one snapshot."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from holdfast.errors import StorageError
from holdfast.store.lock import Paths
from holdfast.store.port import Conn
from holdfast.store.queries import migrations


@contextmanager
def snapshot(root: Path, dsn: str | None = None) -> Iterator[Conn]:
    """Open a database to read, as it stands at this moment; nothing is locked, and nothing is written.

    Args:
        root: The data folder whose database it is, …
        dsn: … unless its rows are in this PostgreSQL.

    Raises:
        StorageError: There is none, another version wrote it, or the disk does not let us.
    """
    if dsn is not None:
        from holdfast.store.postgres.looking import snapshot_of

        with snapshot_of(dsn) as looking:
            yield looking
        return
    with snapshot_of_folder(root) as conn:
        yield conn


@contextmanager
def snapshot_of_folder(root: Path) -> Iterator[sqlite3.Connection]:
    """Do so for the embedded one.

    Raises:
        StorageError: As `snapshot`.
    """
    path = Paths(root=root).database
    if not path.is_file():
        raise StorageError(f"There is no database in {root}. Name a data folder with --data.", reason="missing")
    try:
        with closing(_connect(path)) as conn:
            conn.execute("BEGIN")
            _check_schema(conn, root)
            yield conn
    except sqlite3.Error as exc:
        raise StorageError(f"The database in {root} could not be read: {exc}.", reason="broken") from exc


def schema_version(root: Path) -> int:
    """Read which schema a folder's database has; 0: there is no database yet.

    Raises:
        StorageError: The disk does not let us, or it is no database.
    """
    path = Paths(root=root).database
    if not path.is_file():
        return 0
    try:
        with closing(_connect(path)) as conn:
            (version,) = conn.execute("PRAGMA user_version").fetchone()
    except sqlite3.Error as exc:
        raise StorageError(f"The database in {root} could not be read: {exc}.", reason="broken") from exc
    return int(version)


def _connect(path: Path) -> sqlite3.Connection:
    conn = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=5.0)
    conn.row_factory = sqlite3.Row
    return conn


def _check_schema(conn: sqlite3.Connection, root: Path) -> None:
    (version,) = conn.execute("PRAGMA user_version").fetchone()
    known = len(migrations())
    if version == known:
        return
    remedy = "Run the newer version." if version > known else "Start `holdfast serve` on it once."
    raise StorageError(f"{root} has schema {version}; this holdfast knows {known}. {remedy}", reason="other_schema")
