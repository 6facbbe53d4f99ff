"""The store on PostgreSQL: one thread with a loop of its own, a bounded pool, one transaction for each write.

A thread of its own, as the embedded store has one: whoever asks hands a function over and awaits the commit, from any
loop or from none, and the database's work does not hold up the loop that answers callers.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any, Concatenate, ParamSpec, TypeVar

import asyncpg
import uvloop

from holdfast.errors import StorageError
from holdfast.store.port import Conn
from holdfast.store.postgres.alive import KEEPALIVE
from holdfast.store.postgres.ownership import Ownership
from holdfast.store.postgres.pool import Pool
from holdfast.store.postgres.schema import bring_up, connected
from holdfast.store.postgres.transactions import Patience, Transactions
from holdfast.threads import let_others_first

P = ParamSpec("P")
T = TypeVar("T")

WAITING_MAX = 50_000
CONNECT_S = 5.0
COMMAND_S = 30.0
"""For one statement; a server that has gone without a word is given up then."""
CLOSE_S = 30.0
"""For what was handed over before the close."""
SERVER_SETTINGS = {
    "application_name": "holdfast",
    "timezone": "UTC",
    # One that freezes in the midst of a transaction holds locks that others wait for.
    "idle_in_transaction_session_timeout": "15s",
    "lock_timeout": "10s",
    **KEEPALIVE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a PostgreSQL is used."""

    connections: int = 10
    wait_s: float = 20.0
    """How long a write or a read waits for a database that is away."""
    is_exclusive: bool = True
    """One process owns the data: its start puts right what the one before left open."""


class PostgresStore:
    """See the module's docstring. `close` is its end, and may be called twice."""

    def __init__(self, dsn: str, owner: str, options: Options | None = None) -> None:
        """Connect, bring the schema to this version, and take the data over.

        Raises:
            StorageError: The database cannot be reached or used, a newer holdfast has changed it, or another process
                owns its data.
        """
        options = options or Options()
        self._dsn = dsn
        self._options = options
        self._gate = threading.Lock()
        self._closed = False
        self._waiting = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="holdfast-database", daemon=True)
        self._thread.start()
        self._pool = Pool(partial(connect, dsn), options.connections)
        self._transactions = Transactions(self._pool, Patience(wait_s=options.wait_s))
        self._ownership = Ownership(partial(connect, dsn), owner) if options.is_exclusive else None
        try:
            self._call(self._open())
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"<PostgresStore: {self._transactions.commits} commits, {self._transactions.repeats} repeats>"

    async def write(self, function: Callable[Concatenate[Conn, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """See `Store.write`."""
        return await self._ask(self._transactions.write, lambda conn: function(conn, *args, **kwargs))

    def write_sync(self, function: Callable[Concatenate[Conn, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """See `Store.write_sync`."""
        box: Future[T] = Future()

        def resolve(value: Any, error: BaseException | None) -> None:
            if error is None:
                box.set_result(value)
            else:
                box.set_exception(error)

        self._hand_over(self._transactions.write, lambda conn: function(conn, *args, **kwargs), None, resolve)
        return box.result()

    async def read(self, function: Callable[Concatenate[Conn, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """See `Store.read`."""
        return await self._ask(self._transactions.read, lambda conn: function(conn, *args, **kwargs))

    def is_ours(self, pid: int) -> bool:
        """Whether a connection is this store's, by the database's number of it. From any thread."""
        return pid in self._pool.pids

    async def _ask(self, how: Callable[..., Coroutine[Any, Any, T]], function: Callable[[Conn], T]) -> T:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def resolve(value: Any, error: BaseException | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)

        self._hand_over(how, function, loop, resolve)
        return await future

    def _hand_over(
        self,
        how: Callable[..., Coroutine[Any, Any, Any]],
        function: Callable[[Conn], Any],
        loop: asyncio.AbstractEventLoop | None,
        resolve: Callable[[Any, BaseException | None], None],
    ) -> None:
        # Under the gate, so that nothing comes after the end, and waits for ever.
        with self._gate:
            if self._closed:
                raise _closed()
            if self._waiting >= WAITING_MAX:
                raise StorageError("More work waits than the database can take.", reason="overloaded")
            self._waiting += 1
            self._loop.call_soon_threadsafe(self._begin, how, function, loop, resolve)

    def _begin(self, how: Any, function: Any, loop: asyncio.AbstractEventLoop | None, resolve: Any) -> None:
        task = self._loop.create_task(self._do(how, function, loop, resolve))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _do(
        self,
        how: Callable[..., Coroutine[Any, Any, Any]],
        function: Callable[[Conn], Any],
        loop: asyncio.AbstractEventLoop | None,
        resolve: Callable[[Any, BaseException | None], None],
    ) -> None:
        value: Any = None
        error: BaseException | None = None
        try:
            if self._ownership is not None:
                self._ownership.check()
            value = await how(function)
        except asyncio.CancelledError:
            error = _closed()
        except Exception as exc:  # noqa: BLE001 - it is handed to whoever asked
            error = exc
        with self._gate:
            self._waiting -= 1
        if loop is None:
            resolve(value, error)
        else:
            # Whoever asked may be gone with its loop; what was written stands all the same.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(resolve, value, error)

    def close(self) -> None:
        """Finish what was handed over, and close."""
        with self._gate:
            if self._closed:
                return
            self._closed = True
        self._call(self._end())
        self._stop()

    # On the thread's loop

    def _run(self) -> None:
        let_others_first()
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    async def _open(self) -> None:
        await connected(partial(connect, self._dsn), bring_up)
        if self._ownership is not None:
            await self._ownership.take()

    async def _end(self) -> None:
        if self._tasks:
            _, left = await asyncio.wait(self._tasks, timeout=CLOSE_S)
            for task in left:
                task.cancel()
            if left:
                await asyncio.wait(left)
        await self._pool.close(CONNECT_S)
        if self._ownership is not None:
            await self._ownership.give_back()
        # What was broken off is closed by the loop, in its next round.
        await asyncio.sleep(0.01)


async def connect(dsn: str) -> asyncpg.Connection:
    """Make a connection as all of ours are.

    Raises:
        OSError: The server cannot be reached.
        PostgresError: It takes no connection.
    """
    raw: asyncpg.Connection = await asyncpg.connect(
        dsn,
        timeout=CONNECT_S,
        command_timeout=COMMAND_S,
        # Each connection keeps the statements that it has prepared.
        statement_cache_size=0,
        server_settings=SERVER_SETTINGS,
    )
    # All sums here are of integers, which the server widens.
    await raw.set_type_codec("numeric", schema="pg_catalog", encoder=str, decoder=_whole, format="text")
    return raw


def _whole(text: str) -> int:
    return int(text)


def _closed() -> StorageError:
    return StorageError("The store is closed.", reason="closed")
