"""One function in one transaction, told truthfully: tried again where that is right, and asked for where it is unknown.

Before COMMIT anything may be tried again: nothing was written. A COMMIT whose answer is lost was either done or not:
its transaction's number is asked for on another connection (`txid_status`), and only where it was not done is the
function run again. So no write is made twice, and none is told as made that was not.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import asyncpg

from holdfast.errors import StorageError, is_disk_full
from holdfast.store.commit_points import after_commit, before_commit
from holdfast.store.port import Conn
from holdfast.store.postgres.conn import Link, PostgresConn, in_greenlet
from holdfast.store.postgres.pool import Pool
from holdfast.store.postgres.troubles import Trouble, told, trouble_of

T = TypeVar("T")

PAUSE_S_FIRST = 0.02
PAUSE_S_MAX = 1.0
_WRITING = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL plan_cache_mode = force_generic_plan"
"""What is written is found by keys, whatever they are: a plan for each set of values would cost the server more than
carrying it out (3.7 ms of a generation, measured). Reports may have theirs."""
_READING = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_TXID = "SELECT txid_current_if_assigned()"
_STATUS = "SELECT txid_status($1)"


class _Unknown(Exception):
    """The answer to a COMMIT was lost."""

    def __init__(self, txid: int, cause: BaseException, value: Any) -> None:
        super().__init__(str(cause))
        self.txid, self.cause, self.value = txid, cause, value


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long and how one waits for a database that is away."""

    wait_s: float
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    chance: Callable[[], float] = random.random
    """From 0 to 1: many that wait do not come back at one instant."""

    def pause_s(self, tries: int) -> float:
        """How long before the next try, after so many."""
        longest: float = min(PAUSE_S_MAX, PAUSE_S_FIRST * 2.0 ** min(tries - 1, 16))
        return longest * (0.5 + 0.5 * self.chance())


class Transactions:
    """Runs functions over a pool; on its loop."""

    def __init__(self, pool: Pool, patience: Patience) -> None:
        self._pool = pool
        self._patience = patience
        self.commits = 0
        self.repeats = 0

    async def write(self, function: Callable[[Conn], T]) -> T:
        """Run a function in a writing transaction, and give its value once that is committed.

        Raises:
            StorageError: The database is away, or cannot write; `unknown`: nobody could be asked what became of the
                commit.
            Exception: Whatever the function raised.
        """
        until = self._until()
        tries = 0
        while True:
            try:
                value = await self._again(partial(self._write_once, function), until)
                break
            except _Unknown as exc:
                if await self._was_committed(exc):
                    value = exc.value
                    break
                lost = exc
            # It was not made: the same once more, in the time that is left.
            tries += 1
            pause_s = self._patience.pause_s(tries)
            if asyncio.get_running_loop().time() + pause_s > until:
                raise told(lost.cause) from lost.cause
            self.repeats += 1
            await self._patience.sleep(pause_s)
        self.commits += 1
        return value

    async def read(self, function: Callable[[Conn], T]) -> T:
        """Run a function that only reads, in one snapshot.

        Raises:
            StorageError: The database is away, or cannot read.
            Exception: Whatever the function raised.
        """
        return await self._again(partial(self._read_once, function), self._until())

    def _until(self) -> float:
        return asyncio.get_running_loop().time() + self._patience.wait_s

    async def _again(self, once: Callable[[], Awaitable[T]], until: float) -> T:
        tries = 0
        while True:
            tries += 1
            try:
                return await once()
            except _Retry as retry:
                error = retry.cause
            pause_s = self._patience.pause_s(tries)
            if asyncio.get_running_loop().time() + pause_s > until:
                raise told(error) from error
            self.repeats += 1
            await self._patience.sleep(pause_s)

    async def _write_once(self, function: Callable[[Conn], T]) -> T:
        async with self._lent() as link:
            conn = PostgresConn(link, _WRITING)
            value = await in_greenlet(partial(function, conn))
            await conn.finish()
            _pass(before_commit)
            if not conn.has_begun:
                return value
            txid = conn.txid
            if txid is None and conn.has_written:
                txid = await link.raw.fetchval(_TXID)
            try:
                status = await link.raw.execute("COMMIT")
            except BaseException as exc:
                if txid is not None and trouble_of(exc, is_closed=link.raw.is_closed()) is Trouble.LOST:
                    raise _Unknown(txid, exc, value) from exc
                raise
            assert status == "COMMIT", "no function goes on after a statement has failed"
            _pass(after_commit)
            return value

    async def _read_once(self, function: Callable[[Conn], T]) -> T:
        async with self._lent(reads=True) as link:
            conn = PostgresConn(link, _READING)
            value = await in_greenlet(partial(function, conn))
            # A function that only reads and writes all the same is told so.
            await conn.finish()
            if conn.has_begun:
                await link.raw.execute("COMMIT")
            return value

    def _lent(self, *, reads: bool = False) -> _Lent:
        return _Lent(self._pool, reads=reads)

    async def _was_committed(self, lost: _Unknown) -> bool:
        """Ask what became of a transaction until somebody knows."""

        async def ask() -> str:
            async with self._lent() as link:
                return str(await link.raw.fetchval(_STATUS, lost.txid))

        until = self._until()
        tries = 0
        while True:
            tries += 1
            try:
                status = await self._again(ask, until)
            except asyncpg.InvalidParameterValueError:
                # A server that took over without it: it never was.
                return False
            except StorageError as exc:
                raise told(lost.cause, "unknown") from exc
            if status != "in progress":
                return status == "committed"
            if asyncio.get_running_loop().time() > until:
                raise told(lost.cause, "unknown") from lost.cause
            # The server has not noticed yet that nobody is there.
            await self._patience.sleep(self._patience.pause_s(tries))


def _pass(point: Callable[[], None]) -> None:
    try:
        point()
    except OSError as exc:
        raise told(exc, "broken") from exc


class _Retry(Exception):
    """Nothing was written, and it may be tried again."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause


class _Lent:
    """A connection for one transaction; what fails in it is judged, and undone."""

    __slots__ = ("_context", "_link", "_pool", "_reads")

    def __init__(self, pool: Pool, *, reads: bool) -> None:
        self._pool = pool
        self._reads = reads
        self._context = pool.link(reads=reads)
        self._link: Link | None = None

    async def __aenter__(self) -> Link:
        try:
            self._link = await self._context.__aenter__()
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as exc:
            if isinstance(exc, asyncpg.InvalidAuthorizationSpecificationError | asyncpg.InvalidCatalogNameError):
                raise told(exc, "refused") from exc
            raise _Retry(exc) from exc
        return self._link

    async def __aexit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        assert self._link is not None
        raw = self._link.raw
        trouble = Trouble.NONE if error is None else trouble_of(error, is_closed=raw.is_closed())
        try:
            if error is not None:
                await self._undo(raw, trouble)
        finally:
            await self._context.__aexit__(None, None, None)
        if error is None or isinstance(error, _Unknown):
            return
        if self._reads and isinstance(error, asyncpg.ReadOnlySQLTransactionError):
            # Not a standby: whoever reads has tried to write.
            raise told(error) from error
        if trouble is Trouble.LOST:
            self._pool.forget()
        if trouble in (Trouble.LOST, Trouble.AGAIN):
            raise _Retry(error) from error
        if trouble is Trouble.BROKEN:
            raise told(error) from error
        if isinstance(error, OSError) and is_disk_full(error):
            raise told(error, "full") from error

    @staticmethod
    async def _undo(raw: asyncpg.Connection, trouble: Trouble) -> None:
        if trouble in (Trouble.LOST, Trouble.AGAIN) or raw.is_closed():
            # What was prepared for older tables goes with it.
            raw.terminate()
            return
        try:
            await raw.execute("ROLLBACK")
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            raw.terminate()
