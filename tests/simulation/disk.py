"""A disk that fails when it is told to, the threads that work on it, and the database on it.

The functions are the product's own: the store's transactions, with its group commit and savepoints, run on one
connection in memory; files are real files in a folder of their own. What stands in for threads runs a job at once,
after a drawn pause, in the life that asked for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import random
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from holdfast.errors import StorageError
from holdfast.store.queries import migrations
from holdfast.store.spool import ANSWER_ATTRIBUTE
from holdfast.store.sqlite import BATCH_MAX, SqliteStore, _Write, read_failure
from holdfast.threads import Threads
from simulation.loop import Killed

MISHAPS = (OSError, StorageError, sqlite3.OperationalError)
"""What a disk does to whoever uses it; every other exception is a mistake of ours."""
FREE_BYTES = 10**11
YEARS_S = 2 * 365 * 86400.0
"""Further ahead than any clock of this world is set: a time of the real disk's."""
Observer = Callable[[Callable[..., Any], tuple[Any, ...], Any], None]
"""Told of each write that was committed: its function, what it was given, what it gave."""


class CommitFault(StrEnum):
    """What a commit can meet."""

    BUSY = "D9 busy"
    FULL = "D9 full"
    BROKEN = "D9 I/O error"
    READ_ONLY = "D9 read-only"
    READS = "D9 reads fail"
    """Nothing is wrong with commits; what is read cannot be."""
    LOST = "D3 answer lost"
    """It was made, and nobody hears of it."""


_CODES = {
    CommitFault.BUSY: sqlite3.SQLITE_BUSY,
    CommitFault.FULL: sqlite3.SQLITE_FULL,
    CommitFault.BROKEN: sqlite3.SQLITE_IOERR,
    CommitFault.READ_ONLY: sqlite3.SQLITE_READONLY,
    CommitFault.READS: sqlite3.SQLITE_IOERR,
    CommitFault.LOST: sqlite3.SQLITE_IOERR,
}


class Disk:
    """One folder, one database, and what is the matter with them."""

    def __init__(self, root: Path, rng: random.Random, on_fault: Callable[[str, str], None]) -> None:
        self.root = root
        self.rng = rng
        self.on_fault = on_fault
        self.conn: Any = self.connect()
        self.commit_fault: CommitFault | None = None
        self.commit_fault_share = 1.0
        self.is_full = False
        """No room for files."""
        self.fsync_fails = False
        self.is_slow = False
        self._durable: dict[int, frozenset[str]] = {}
        """The names in each folder that was synced."""
        self.committed = False
        """Whether the last COMMIT that was asked for was made."""
        for name in ("spool", "blobs", "inputs"):
            (root / name).mkdir(parents=True, exist_ok=True)

    def connect(self) -> Any:
        """Make an empty database, and connect to it."""
        return _fresh(self)

    def store(self, owner: str, observe: Observer) -> SimStore:
        """What a process that begins has its rows in."""
        return SimStore(self, owner, observe)

    def free_bytes(self) -> int:
        """What the disk still takes."""
        return 0 if self.is_full else FREE_BYTES

    def heal(self) -> None:
        """From now on nothing is the matter."""
        self.commit_fault = None
        self.is_full = self.fsync_fails = self.is_slow = False

    def pause_s(self, usual_s: float = 0.002) -> float:
        """How long a job takes, drawn."""
        rng = self.rng
        if self.is_slow and rng.random() < 0.5:
            self.on_fault("D4 slow commit", "")
            return rng.uniform(1.0, 5.0)
        return usual_s * 2.0 * rng.random()

    def commit_meets(self) -> CommitFault | None:
        """What the commit that is asked for now meets."""
        fault = self.commit_fault
        if fault is None or fault is CommitFault.READS or self.rng.random() >= self.commit_fault_share:
            return None
        self.on_fault(fault.value, "")
        return fault

    def file_fault(self, point: str) -> OSError | None:
        """What a step of work on files meets."""
        if self.is_full and point in _TAKES_ROOM and self.rng.random() < 0.8:
            self.on_fault("B1 no room", point)
            return OSError(errno.ENOSPC, "No space left on device")
        return None

    def crash(self) -> None:
        """Lose what was not synced: half of a file, what was noted on it, a name whose folder nobody synced."""
        if self.conn.in_transaction:
            self.conn.rollback()
        self._lose_names(self.root / "blobs")
        for path in sorted((self.root / "spool").iterdir()):
            if path.suffix in (".part", ".answer", ".preview") and self.rng.random() < 0.5:
                self.on_fault("B3 torn file", path.suffix)
                size = path.stat().st_size
                os.truncate(path, self.rng.randrange(size + 1))
            elif path.suffix == ".done" and self.rng.random() < 0.3:
                # Not synced either: what the answer said besides. The image itself was.
                with contextlib.suppress(OSError):
                    os.removexattr(path, ANSWER_ATTRIBUTE)
                    self.on_fault("B3 torn file", path.suffix)

    def stamp(self, wall_s: float) -> None:
        """Give files that were written since the last time the hour of this world: a real disk has its own."""
        folders = [str(self.root)]
        while folders:
            for entry in os.scandir(folders.pop()):
                if entry.is_dir():
                    folders.append(entry.path)
                elif entry.stat().st_mtime > wall_s + YEARS_S:
                    os.utime(entry, (wall_s, wall_s))

    def _lose_names(self, folder: Path) -> None:
        kept = self._durable.get(folder.stat().st_ino, frozenset())
        for path in sorted(folder.iterdir()):
            if path.is_dir():
                self._lose_names(path)
            elif path.name not in kept and self.rng.random() < 0.5:
                self.on_fault("B3 torn file", "name")
                path.unlink()

    def leave(self, key: str, wall_s: float) -> None:
        """Put a file that somebody left behind long ago."""
        path = self.root / key
        path.write_bytes(b"left behind")
        os.utime(path, (wall_s, wall_s))

    @contextmanager
    def fsync(self) -> Iterator[None]:
        """Answer for `os.fsync`: these files need none, and it can fail."""
        real = os.fsync

        def fsync(fd: int) -> None:
            if self.fsync_fails:
                self.on_fault("B2 fsync", "")
                raise OSError(errno.EIO, "Input/output error")
            status = os.fstat(fd)
            if stat.S_ISDIR(status.st_mode):
                self._durable[status.st_ino] = frozenset(os.listdir(fd))

        os.fsync = fsync
        try:
            yield
        finally:
            os.fsync = real


_TAKES_ROOM = frozenset({"spool.image_began", "receive.after_pieces", "spool.before_answer", "blob.before_link"})


class SimConnection(sqlite3.Connection):
    """A connection whose COMMIT can meet what a disk has in store."""

    disk: Disk

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        """Run a statement."""
        if sql != "COMMIT":
            return super().execute(sql, *values)
        fault = self.disk.commit_meets()
        if fault is None or fault is CommitFault.LOST:
            cursor = super().execute(sql)
            self.disk.committed = True
        if fault is None:
            return cursor
        if fault is CommitFault.FULL and self.disk.rng.random() < 0.5:
            # SQLite may have rolled back by itself.
            super().execute("ROLLBACK")
        raise _error(fault)


def _error(fault: CommitFault) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(f"simulated: {fault.value}")
    error.sqlite_errorcode = _CODES[fault]
    return error


@cache
def _template() -> bytes:
    """An empty database with the whole schema."""
    conn = sqlite3.connect(":memory:", isolation_level=None)
    for step in migrations():
        conn.executescript(step)
    image = conn.serialize()
    conn.close()
    return image


def _fresh(disk: Disk) -> SimConnection:
    conn: SimConnection = sqlite3.connect(
        ":memory:", isolation_level=None, factory=SimConnection, cached_statements=512
    )
    conn.disk = disk
    conn.deserialize(_template())
    conn.row_factory = sqlite3.Row
    conn.execute("PRAGMA foreign_keys = ON")
    return conn


class SimStore(SqliteStore):
    """The embedded store without its threads: the same batches and savepoints, one after the other on the loop."""

    def __init__(self, disk: Disk, owner: str, observe: Observer) -> None:
        self._path = Path("memory")
        self._disk = disk
        self._conn = disk.conn
        self._owner = owner
        self._observe = observe
        self._queue_: list[_Write] = []
        self._is_due = False
        self._closed = False
        self._commits = self._writes = 0
        self._values: dict[int, Any] = {}
        self._open(owner)

    def _open(self, owner: str) -> None:
        self._conn.execute("INSERT OR REPLACE INTO meta (name, value) VALUES ('owner', ?)", (owner,))

    async def read(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run a function on what is committed."""
        if self._closed:
            raise StorageError("The store is closed.", reason="closed")
        await asyncio.sleep(self._disk.pause_s(0.001))
        disk = self._disk
        if disk.commit_fault is CommitFault.READS and disk.rng.random() < disk.commit_fault_share:
            disk.on_fault(CommitFault.READS.value, function.__name__)
            raise self._broken()
        return self._look(lambda conn: function(conn, *args, **kwargs))

    def _look(self, function: Callable[[Any], Any]) -> Any:
        return function(self._conn)

    def _broken(self) -> Exception:
        return read_failure(_error(CommitFault.READS))

    def _put(self, write: _Write) -> None:
        if self._closed:
            raise StorageError("The store is closed.", reason="closed")
        self._queue_.append(write)
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_later(self._disk.pause_s(), self._turn)

    def _turn(self) -> None:
        batch, self._queue_ = self._queue_[:BATCH_MAX], self._queue_[BATCH_MAX:]
        self._is_due = bool(self._queue_)
        if self._is_due:
            asyncio.get_running_loop().call_later(self._disk.pause_s(), self._turn)
        if batch:
            # The process is gone; what it had begun is rolled back by whoever looks for it.
            with contextlib.suppress(Killed):
                self._commit(batch)

    def _commit(self, batch: list[_Write]) -> None:
        self._values.clear()
        self._disk.committed = False
        try:
            super()._commit(batch)
        finally:
            if self._disk.committed:
                for write in batch:
                    if id(write) in self._values:
                        self._observe(write.function, write.args, self._values[id(write)])

    def _apply(self, write: _Write) -> tuple[Any, Exception | None]:
        value, failed = super()._apply(write)
        if failed is None:
            self._values[id(write)] = value
        else:
            self._values.pop(id(write), None)
        return value, failed

    def close(self) -> None:
        """Write what waits, and close."""
        if not self._closed:
            self._closed = True
            if self._queue_:
                batch, self._queue_ = self._queue_, []
                self._commit(batch)


class SimThreads(Threads):
    """Runs each job on the loop, after a drawn pause. Jobs of one moment may change places, as threads let them."""

    def __init__(self, disk: Disk) -> None:
        super().__init__(1, "simulated")
        self._disk = disk

    def submit(self, work: Callable[[], Any], done: Callable[[Any, BaseException | None], None]) -> None:
        """Run `work` later, then tell `done`."""
        assert not self._is_closed
        asyncio.get_running_loop().call_later(self._disk.pause_s(), self._do, work, done)

    def _do(self, work: Callable[[], Any], done: Callable[[Any, BaseException | None], None]) -> None:
        result, error = None, None
        try:
            result = work()
        except Killed:
            return
        except BaseException as caught:  # noqa: BLE001 - a thread's border, as the real one
            error = caught
        done(result, error)
