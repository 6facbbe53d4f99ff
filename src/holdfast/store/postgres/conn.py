"""A connection as the store's functions know one, over asyncpg.

The functions are plain and await nothing. Each runs in a greenlet of its own: where it executes a statement, it
switches to the coroutine that started it, which awaits the database and switches back with the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextvars import copy_context
from typing import Any, TypeVar, cast

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement
from greenlet import getcurrent, greenlet

from holdfast.store.locking import Hot
from holdfast.store.postgres.translate import Statement, statement

T = TypeVar("T")


class Result:
    """What a statement gave; all of it has been read."""

    __slots__ = ("_rows", "rowcount")

    def __init__(self, rows: Iterable[Any], rowcount: int) -> None:
        self._rows = iter(rows)
        self.rowcount = rowcount

    def __iter__(self) -> Iterator[Any]:
        return self._rows

    def fetchone(self) -> Any:
        """The next row; None after the last."""
        return next(self._rows, None)

    def fetchall(self) -> list[Any]:
        """All rows that are left."""
        return list(self._rows)


class Link:
    """One connection to the server, with the statements that were prepared on it."""

    __slots__ = ("_prepared", "raw")

    def __init__(self, raw: asyncpg.Connection) -> None:
        self.raw = raw
        self._prepared: dict[str, PreparedStatement] = {}

    async def prepared(self, text: str) -> PreparedStatement:
        """Prepare a statement, once: there are as many as queries."""
        found = self._prepared.get(text)
        if found is None:
            found = self._prepared[text] = await self.raw.prepare(text)
        return found


class PostgresConn:
    """A `port.Conn` within one transaction; to be used by the function that was given it, and not after it."""

    __slots__ = ("_late", "_link", "txid")

    def __init__(self, link: Link) -> None:
        self._link = link
        self._late: dict[tuple[Hot, str], dict[tuple[Any, ...], dict[str, Any]]] = {}
        self.txid: int | None = None
        """The transaction's number, once a lock was taken."""

    def execute(self, sql: str, values: Mapping[str, Any] = {}, /) -> Result:
        """Run one statement."""
        return waits_for(self.run(statement(sql), values))

    def executemany(self, sql: str, values: Iterable[Mapping[str, Any]], /) -> None:
        """Run one statement for each set of values, with one trip to the server for all of them."""
        rows = list(values)
        if len(rows) == 1:
            self.execute(sql, rows[0])
        elif rows:
            waits_for(self._executemany(statement(sql), rows))

    def raw(self, work: Callable[[asyncpg.Connection], Coroutine[Any, Any, T]]) -> T:
        """Let something that knows asyncpg work in this transaction, such as a queue that lies in the same database."""
        return waits_for(work(self._link.raw))

    def lock(self, sql: str, values: Mapping[str, Any]) -> None:
        """See `locking.ManyWriters`."""
        row = self.execute(sql, values).fetchone()
        if row is not None:
            self.txid = row["txid"]

    def add_late(self, hot: Hot, sql: str, values: Sequence[Mapping[str, Any]]) -> None:
        """See `locking.ManyWriters`; what is added to one row twice is written once."""
        measures = [name for name in statement(sql).names if name not in hot.value]
        rows = self._late.setdefault((hot, sql), {})
        for each in values:
            key = tuple(each[name] for name in hot.value)
            sums = rows.get(key)
            if sums is None:
                rows[key] = dict(each)
            else:
                for name in measures:
                    sums[name] += each[name]

    async def finish(self) -> None:
        """Write what was kept back, in the order that all transactions keep."""
        for hot in Hot:
            for (its, sql), rows in self._late.items():
                if its is hot:
                    await self._executemany(statement(sql), [rows[key] for key in sorted(rows, key=_order)])
        self._late.clear()

    async def run(self, wanted: Statement, values: Mapping[str, Any]) -> Result:
        """Run one statement, on the loop."""
        prepared = await self._link.prepared(wanted.text)
        rows = await prepared.fetch(*wanted.values(values))
        return Result(rows, _count(prepared.get_statusmsg()))

    async def _executemany(self, wanted: Statement, values: Sequence[Mapping[str, Any]]) -> None:
        prepared = await self._link.prepared(wanted.text)
        await prepared.executemany([wanted.values(each) for each in values])


def _order(key: tuple[Any, ...]) -> tuple[bool, tuple[Any, ...]]:
    # A hold is counted against its key before its group (`budgets.spend`): so is what is given back.
    return str(key[0]).startswith("group:"), key


def _count(status: str) -> int:
    """`UPDATE 3`, `INSERT 0 1`: the last word, if it is a number."""
    word = status.rpartition(" ")[2]
    return int(word) if word.isdecimal() else -1


def waits_for(work: Coroutine[Any, Any, T]) -> T:
    """Called in a function that `in_greenlet` runs: let its coroutine await this."""
    caller = getcurrent().parent
    assert caller is not None, "a store's function runs in its own greenlet"
    return cast(T, caller.switch(work))


async def in_greenlet(function: Callable[[], T]) -> T:
    """Run a plain function in which `waits_for` may be called."""
    child = greenlet(function, getcurrent())
    child.gr_context = copy_context()
    given = child.switch()
    while not child.dead:
        try:
            answer = await given
        except BaseException as exc:  # noqa: BLE001 - it is raised again, in the function
            # Whatever the statement raised is raised where it was executed.
            given = child.throw(exc)
        else:
            given = child.switch(answer)
    return cast(T, given)
