"""The embedded store: SQLite in WAL mode, one writing thread with group commit, readers of their own.

Whoever writes hands a plain function to the writer and awaits its commit. The writer takes all that waits, runs one
after another, and makes one commit of them: `synchronous=FULL` then costs nearly nothing (52,700 generations a second
with 64 at once, measured). One that fails, fails alone. One connection writes and checkpoints; all others are
read-only, since SQLite up to 3.51.2 can corrupt a WAL that two connections reset.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Concatenate, ParamSpec, TypeVar

from holdfast.errors import StorageError, is_disk_full
from holdfast.log import emit
from holdfast.store.commit_points import after_commit, before_commit
from holdfast.store.queries import migrations
from holdfast.threads import Threads, let_others_first

P = ParamSpec("P")
T = TypeVar("T")

BATCH_MAX = 512
QUEUE_MAX = 50_000
READERS = 2
CHECKPOINT_PAGES = 4000
"""16 MB of WAL between checkpoints."""
_DISK: Mapping[int, str] = MappingProxyType(
    {
        sqlite3.SQLITE_FULL: "full",
        sqlite3.SQLITE_READONLY: "read_only",
        sqlite3.SQLITE_IOERR: "broken",
        sqlite3.SQLITE_CORRUPT: "broken",
        sqlite3.SQLITE_NOTADB: "broken",
        sqlite3.SQLITE_CANTOPEN: "broken",
    }
)
"""Primary result codes that blame the disk and not the statement, with the reason they are told as."""


@dataclass(slots=True)
class _Write:
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    resolve: Callable[[Any, BaseException | None], object]
    loop: asyncio.AbstractEventLoop | None
    """Where the result is told; None: in the writing thread itself."""


_Result = tuple[_Write, Any, BaseException | None]


class SqliteStore:
    """See the module's docstring. `close` is its end, and may be called twice."""

    def __init__(self, path: Path, owner: str) -> None:
        """Open the database, bring its schema to this version, and take it over.

        Raises:
            StorageError: A newer holdfast wrote it, it is no database, or the disk does not let us.
        """
        self._path = path
        self._owner = owner
        self._queue: queue.Queue[_Write | None] = queue.Queue(QUEUE_MAX)
        self._gate = threading.Lock()
        self._closed = False
        self._commits = 0
        self._writes = 0
        self._conn = _open(path, owner)
        self._readers = Threads(READERS, "read")
        self._local = threading.local()
        self._reading: list[sqlite3.Connection] = []
        self._thread = threading.Thread(target=self._run, name="holdfast-write", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"<SqliteStore {self._path.name}: {self._writes} writes in {self._commits} commits>"

    async def write(
        self, function: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a function in the writing transaction; return its value once it is committed.

        It may be run twice, the first time for nothing: where a neighbour failed, all is rolled back. So it changes
        rows and nothing else.

        Raises:
            StorageError: The store is closed, or the commit failed: nothing of this batch is written.
            Exception: Whatever the function raised; then nothing of it is written, and others are not disturbed.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def resolve(value: T, error: BaseException | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)

        self._put(_Write(function, args, kwargs, resolve, loop))
        return await future

    def write_sync(
        self, function: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Do the same from a thread that has no loop; waits."""
        box: list[tuple[Any, BaseException | None]] = []
        ready = threading.Event()

        def resolve(value: T, error: BaseException | None) -> None:
            box.append((value, error))
            ready.set()

        self._put(_Write(function, args, kwargs, resolve, None))
        ready.wait()
        value, error = box[0]
        if error is not None:
            raise error
        return value  # type: ignore[no-any-return]

    async def read(
        self, function: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a function on a read-only connection, in one snapshot.

        Raises:
            StorageError: The store is closed, or the disk does not let it be read.
            Exception: Whatever else the function raised.
        """
        if self._closed:
            raise _closed()
        return await self._readers.run(self._read, lambda conn: function(conn, *args, **kwargs))

    def _read(self, function: Callable[[sqlite3.Connection], T]) -> T:
        conn: sqlite3.Connection | None = getattr(self._local, "conn", None)
        try:
            if conn is None:
                conn = self._local.conn = _connect(self._path, read_only=True)
                self._reading.append(conn)
            conn.execute("BEGIN")
            try:
                return function(conn)
            finally:
                # SQLite answers some failures of the disk by rolling back itself.
                if conn.in_transaction:
                    conn.execute("COMMIT")
        except sqlite3.Error as exc:
            raise read_failure(exc) from exc

    def _put(self, write: _Write) -> None:
        # Under the gate, so that no write can come after the mark that ends the queue, and wait for ever.
        with self._gate:
            if self._closed:
                raise _closed()
            try:
                self._queue.put_nowait(write)
            except queue.Full as exc:
                raise StorageError("More writes wait than the disk can take.", reason="overloaded") from exc

    def close(self) -> None:
        """Write what waits, checkpoint, and close."""
        with self._gate:
            if self._closed:
                return
            self._closed = True
        # The readers first: the last connection to close is then the writing one, which leaves one file behind.
        self._readers.close(wait=True)
        for conn in self._reading:
            conn.close()
        self._queue.put(None)
        self._thread.join()

    # The writing thread

    def _run(self) -> None:
        let_others_first()
        ended = False
        while not ended:
            batch, ended = self._next_batch()
            if batch:
                self._commit(batch)
        self._checkpoint()
        self._conn.close()

    def _checkpoint(self) -> None:
        """Bring all that is committed into one file. A disk that does not take it loses nothing: the WAL stays, and
        the next start reads it.
        """
        try:
            self._conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as exc:
            emit("storage.failed", level="error", message=f"the last checkpoint was not made: {exc}")

    def _next_batch(self) -> tuple[list[_Write], bool]:
        """Wait for one write, then take what else is there."""
        first = self._queue.get()
        if first is None:
            return [], True
        batch = [first]
        while len(batch) < BATCH_MAX:
            try:
                another = self._queue.get_nowait()
            except queue.Empty:
                break
            if another is None:
                return batch, True
            batch.append(another)
        return batch, False

    def _commit(self, batch: list[_Write]) -> None:
        results: list[_Result] = []
        try:
            self._begin()
            results = self._apply_all(batch)
            before_commit()
            self._conn.execute("COMMIT")
            after_commit()
        except (sqlite3.Error, StorageError, OSError) as exc:
            if self._conn.in_transaction:
                self._conn.execute("ROLLBACK")
            error = exc if isinstance(exc, StorageError) else _told(exc, _reason_of(exc) or "broken")
            results = [(write, None, error) for write in batch]
        self._commits += 1
        self._writes += len(batch)
        _tell(results)

    def _begin(self) -> None:
        self._conn.execute("BEGIN IMMEDIATE")
        self._check_owner()

    def _apply_all(self, batch: list[_Write]) -> list[_Result]:
        """Run each; after a failure, all of them but that one again, each in a savepoint of its own.

        A savepoint copies each page before it is written: a sixth of the settling commit, for what hardly ever comes.
        """
        results: list[_Result] = []
        for write in batch:
            value, failed = self._apply(write)
            if failed is not None:
                self._conn.execute("ROLLBACK")
                self._begin()
                return [(each, None, failed) if each is write else (each, *self._apply_alone(each)) for each in batch]
            results.append((write, value, None))
        return results

    def _apply_alone(self, write: _Write) -> tuple[Any, Exception | None]:
        self._conn.execute("SAVEPOINT one")
        value, failed = self._apply(write)
        if failed is not None:
            self._conn.execute("ROLLBACK TO one")
        self._conn.execute("RELEASE one")
        return value, failed

    def _apply(self, write: _Write) -> tuple[Any, Exception | None]:
        try:
            return write.function(self._conn, *write.args, **write.kwargs), None
        except Exception as exc:
            # Handed to whoever asked for this write; the others go on.
            reason = _reason_of(exc)
            if not self._conn.in_transaction:
                # SQLite answers some failures of the disk by rolling everything back: nobody's write is left.
                raise _told(exc, reason or "broken") from exc
            return None, exc if reason is None else _told(exc, reason)

    def _check_owner(self) -> None:
        row = self._conn.execute("SELECT value FROM meta WHERE name = 'owner'").fetchone()
        if row is None or row[0] != self._owner:
            raise StorageError("Another process has taken this data folder over.", reason="owner_changed")


def _tell(results: list[_Result]) -> None:
    """Tell each its result; a loop is woken once for all that it asked in a batch."""
    by_loop: dict[asyncio.AbstractEventLoop | None, list[_Result]] = {}
    for result in results:
        by_loop.setdefault(result[0].loop, []).append(result)
    for loop, its in by_loop.items():
        if loop is None:
            _resolve(its)
        else:
            # Whoever asked may be gone with its loop; the writes stand or fell all the same.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_resolve, its)


def _resolve(results: list[_Result]) -> None:
    for write, value, error in results:
        write.resolve(value, error)


def _connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    # Transactions are written out by hand: the module's own begin them at odd moments.
    conn = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=5.0,
    )
    conn.row_factory = sqlite3.Row
    conn.execute("PRAGMA foreign_keys = ON")
    return conn


def _open(path: Path, owner: str) -> sqlite3.Connection:
    """Make the writing connection; see `SqliteStore`."""
    conn = None
    try:
        conn = _connect(path)
        (mode,) = conn.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise StorageError(
                f"{path.parent} is on a file system that takes no WAL. Use a local disk.", reason="broken"
            )
        conn.execute("PRAGMA synchronous = FULL")
        # A savepoint, or a statement that may fail half way, keeps what its pages were: not in a file.
        conn.execute("PRAGMA temp_store = MEMORY")
        conn.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        _migrate(conn)
        conn.execute("INSERT OR REPLACE INTO meta (name, value) VALUES ('owner', ?)", (owner,))
    except (sqlite3.Error, StorageError) as exc:
        if conn is not None:
            conn.close()
        if isinstance(exc, StorageError):
            raise
        raise _told(exc, _reason_of(exc) or "broken") from exc
    return conn


def _migrate(conn: sqlite3.Connection) -> None:
    """Bring the schema to this version.

    Raises:
        StorageError: A newer holdfast wrote this folder.
    """
    (version,) = conn.execute("PRAGMA user_version").fetchone()
    steps = migrations()
    if version > len(steps):
        raise StorageError(
            f"This data folder has schema {version}; this holdfast knows {len(steps)}. Run the newer version.",
            reason="newer_schema",
        )
    for number, step in enumerate(steps[version:], start=version + 1):
        conn.executescript(f"BEGIN IMMEDIATE;\n{step}\nPRAGMA user_version = {number};\nCOMMIT;")


def _reason_of(error: Exception) -> str | None:
    """Name the reason if the disk is to blame; None if the statement is, or whoever wrote it."""
    if isinstance(error, sqlite3.Error):
        # The low byte is the primary code; errors of the Python module itself have none.
        return _DISK.get(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF)
    if isinstance(error, OSError) and is_disk_full(error):
        return "full"
    return None


def read_failure(error: sqlite3.Error) -> Exception:
    """Say what a read that failed means: the disk's doing, or the statement's."""
    reason = _reason_of(error)
    return error if reason is None else _told(error, reason)


def _told(error: Exception, reason: str) -> StorageError:
    return StorageError(f"The database could not be used: {error}.", reason=reason)


def _closed() -> StorageError:
    return StorageError("The store is closed.", reason="closed")
