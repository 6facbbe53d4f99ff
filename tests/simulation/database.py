"""The same machine with its rows in a real PostgreSQL: time stands still while that works.

The store's functions, its transactions and what it does about errors are the product's own, on a server of the tests.
A write is handed over as ever, and runs to its end at once, on a loop of the database's that takes the place of the
seed's meanwhile: so the same seed gives the same history. What a commit can meet are a server's mishaps: two
transactions in each other's way, a full disk, one that breaks, a standby, an answer that is lost.
"""

from __future__ import annotations

import asyncio
import asyncio.events
import random
from collections.abc import Callable, Coroutine, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import asyncpg

from holdfast.store.postgres.conn import Link, PostgresConn, Result
from holdfast.store.postgres.pool import Pool
from holdfast.store.postgres.store import connect
from holdfast.store.postgres.transactions import Patience, Transactions
from holdfast.store.postgres.translate import statement
from holdfast.store.postgres.troubles import told
from holdfast.store.sqlite import _tell, _Write
from postgres_server import EMPTY, by_name
from simulation.disk import CommitFault, Disk, Observer, SimStore

T = TypeVar("T")

CONNECTIONS = 4
WAIT_S = 2.0
"""For so long a write is tried again: some seven times."""
SHARE_OF_SILENCE = 0.3
"""Of answers that are lost, those after which nobody can be asked either."""
_ERRORS: Mapping[CommitFault, type[Exception]] = {
    CommitFault.BUSY: asyncpg.SerializationError,
    CommitFault.FULL: asyncpg.DiskFullError,
    CommitFault.BROKEN: asyncpg.PostgresIOError,
    CommitFault.READ_ONLY: asyncpg.ReadOnlySQLTransactionError,
    CommitFault.READS: asyncpg.PostgresIOError,
    CommitFault.LOST: asyncpg.ConnectionDoesNotExistError,
}


class _DatabaseLoop(asyncio.SelectorEventLoop):
    """Runs in between: what waits between two tries has waited at once."""

    def __init__(self) -> None:
        super().__init__()
        self._ahead_s = 0.0

    def time(self) -> float:
        """Seconds that were waited: how long the server takes changes nothing."""
        return self._ahead_s

    async def pass_by(self, seconds: float) -> None:
        """Wait, without waiting."""
        self._ahead_s += seconds

    def at_once(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something to its end, whichever loop runs around it."""
        around = asyncio.events._get_running_loop()
        asyncio.events._set_running_loop(None)
        try:
            return self.run_until_complete(work)
        finally:
            asyncio.events._set_running_loop(around)


class DatabaseDisk(Disk):
    """A disk whose rows are elsewhere."""

    conn: Rows

    def __init__(self, root: Path, rng: random.Random, on_fault: Callable[[str, str], None], *, dsn: str) -> None:
        self.loop = _DatabaseLoop()
        self._dsn = dsn
        self.is_silent = False
        """Nobody can be asked what became of a commit."""
        super().__init__(root, rng, on_fault)

    def connect(self) -> Rows:
        """Empty the database, and connect."""
        return Rows(self)

    def store(self, owner: str, observe: Observer) -> DatabaseStore:
        """What a process has."""
        return DatabaseStore(self, owner, observe)

    @cached_property
    def pool(self) -> Pool:
        """What the store borrows from; connections outlive a process here, and are as new to the next one."""
        return Pool(self._link, CONNECTIONS)

    async def _link(self) -> Any:
        return _Raw(await connect(self._dsn), self)

    async def plain(self) -> asyncpg.Connection:
        """Connect without any mishap."""
        return await connect(self._dsn)


class Rows:
    """For those who look: each statement for itself, as a connection of the embedded database would run it."""

    in_transaction = False

    def __init__(self, disk: DatabaseDisk) -> None:
        self._disk = disk
        self._raw = disk.loop.at_once(disk.plain())
        disk.loop.at_once(self._raw.execute(EMPTY))
        disk.loop.at_once(self._raw.execute("RESET session_replication_role"))
        self._conn = PostgresConn(Link(self._raw))

    def execute(self, sql: str, values: Any = ()) -> Result:
        """Run a statement; values by name, or in their order."""
        sql, named = by_name(sql, values)
        return self._disk.loop.at_once(self._conn.run(statement(sql), named))

    def close(self) -> None:
        """Let go of the database."""
        loop = self._disk.loop
        loop.at_once(self._disk.pool.close(5.0))
        loop.at_once(self._raw.close())
        loop.close()


class _Raw:
    """A connection of the store, whose COMMIT can meet what a server has in store."""

    def __init__(self, raw: asyncpg.Connection, disk: DatabaseDisk) -> None:
        self._raw = raw
        self._disk = disk
        self._writes = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    async def execute(self, sql: str, *values: Any) -> str:
        """Run a statement."""
        if sql.startswith("BEGIN"):
            self._writes = "READ ONLY" not in sql
        if sql != "COMMIT" or not self._writes:
            return str(await self._raw.execute(sql, *values))
        fault = self._disk.commit_meets()
        if fault not in (None, CommitFault.LOST):
            await self._raw.execute("ROLLBACK")
            raise _ERRORS[fault](f"simulated: {fault.value}")
        status = str(await self._raw.execute(sql))
        self._disk.committed = True
        if fault is CommitFault.LOST:
            self._disk.is_silent = self._disk.rng.random() < SHARE_OF_SILENCE
            self._raw.terminate()
            raise _ERRORS[fault](f"simulated: {fault.value}")
        return status

    async def fetchval(self, sql: str, *values: Any) -> Any:
        """Ask for one value."""
        if self._disk.is_silent and "txid_status" in sql:
            raise asyncpg.ConnectionDoesNotExistError("simulated: nobody can be asked")
        return await self._raw.fetchval(sql, *values)


class DatabaseStore(SimStore):
    """The store on PostgreSQL without its thread: each write a transaction, one after the other."""

    def _open(self, owner: str) -> None:
        disk = self._disk
        assert isinstance(disk, DatabaseDisk)
        self._database = disk
        patience = Patience(wait_s=WAIT_S, sleep=disk.loop.pass_by, chance=disk.rng.random)
        self._transactions = Transactions(disk.pool, patience)

    def _look(self, function: Callable[[Any], Any]) -> Any:
        return self._database.loop.at_once(self._transactions.read(function))

    def _broken(self) -> Exception:
        return told(_ERRORS[CommitFault.READS]("simulated: the server cannot read"))

    def _commit(self, batch: list[_Write]) -> None:
        for write in batch:
            value, error = self._one(write)
            _tell([(write, value, error)])

    def _one(self, write: _Write) -> tuple[Any, Exception | None]:
        values: list[Any] = []

        def noted(conn: Any) -> Any:
            values.append(write.function(conn, *write.args, **write.kwargs))
            return values[-1]

        disk = self._database
        disk.committed = disk.is_silent = False
        try:
            return disk.loop.at_once(self._transactions.write(noted)), None
        except Exception as exc:  # noqa: BLE001 - handed to whoever asked; a process that died here hears nothing
            return None, exc
        finally:
            if disk.committed:
                self._observe(write.function, write.args, values[-1])
