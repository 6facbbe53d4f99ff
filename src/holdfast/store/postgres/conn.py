"""A connection as the store's functions know one, over asyncpg.

The functions are plain and await nothing. Each runs in a greenlet of its own: where it executes a statement, it
switches to the coroutine that started it, which awaits the database and switches back with the answer.

What writes is kept until somebody asks for its result, or reads what it changes, or commits; then all that is kept goes
as one statement (`together.py`). The transaction begins along with the first of its locks.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextvars import copy_context
from functools import cache
from typing import Any, TypeVar, cast

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement
from greenlet import getcurrent, greenlet

from holdfast.store.later import Asked
from holdfast.store.locking import Hot
from holdfast.store.postgres.together import (
    ROWS_MAX,
    Part,
    Want,
    Write,
    composed,
    is_apart,
    may_be_spelled,
    read_together,
    spelled,
    words_of,
    write_of,
)
from holdfast.store.postgres.translate import Statement, statement

T = TypeVar("T")

PREPARED_MAX = 500
"""Of one connection. There are as many as queries, and as many again of those that go together."""


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


class Answer(tuple[Any, ...]):
    """A row of one column."""

    __slots__ = ()

    def __getitem__(self, name_or_place: Any) -> Any:
        return super().__getitem__(0 if isinstance(name_or_place, str) else name_or_place)


class Named(tuple[Any, ...]):
    """A row that was read together with those of other queries, which has lost its names on the way."""

    __slots__ = ()
    places: Mapping[str, int]

    def __getitem__(self, name_or_place: Any) -> Any:
        return super().__getitem__(self.places[name_or_place] if isinstance(name_or_place, str) else name_or_place)

    def keys(self) -> Iterable[str]:
        """The names of the columns."""
        return tuple(self.places)


class Kept:
    """A statement that has not been asked yet, as what it will have given; asked for that, it is."""

    __slots__ = ("_conn", "_rowcount", "_value", "given", "is_asked", "rows", "want", "why", "write")

    def __init__(self, conn: PostgresConn, write: Write, values: list[Any], rows: int = 1) -> None:
        self._conn = conn
        self.write = write
        self.given = values
        self.rows = rows
        self.want = Want.NOTHING if write.returning is None else Want.VALUE
        self.why: str | None = None
        """One row is to be changed, since this holds."""
        self.is_asked = False
        self._rowcount: int | None = None
        self._value: Any = None

    def answered(self, answer: Any) -> None:
        """Take in what it gave: a number of rows, or a value.

        Raises:
            AssertionError: It has changed no row, and was to change one.
        """
        self.is_asked = True
        if self.want is Want.COUNT:
            self._rowcount = answer
            assert self.why is None or answer == 1, self.why
        elif self.want is Want.VALUE:
            self._value, self._rowcount = answer, int(answer is not None)

    def _ask(self) -> None:
        if not self.is_asked:
            if self.want is Want.NOTHING:
                self.want = Want.COUNT
            waits_for(self._conn.ask())

    @property
    def rowcount(self) -> int:
        """Rows that were inserted, changed or deleted."""
        self._ask()
        assert self._rowcount is not None, "whoever wants to know asks before anything else is asked"
        return self._rowcount

    @property
    def value(self) -> Any:
        """The one value that it gave; None: it gave none."""
        self._ask()
        return self._value

    def fetchone(self) -> Any:
        """The one row, once; None: there is none."""
        value, self._value = self.value, None
        return None if value is None else Answer((value,))

    def fetchall(self) -> list[Any]:
        """The row, if there is one."""
        row = self.fetchone()
        return [] if row is None else [row]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.fetchall())


class Link:
    """One connection to the server, with the statements that were prepared on it."""

    __slots__ = ("_names", "_prepared", "_rows", "raw")

    def __init__(self, raw: asyncpg.Connection) -> None:
        self.raw = raw
        self._names = 0
        self._rows: dict[str, type[Named]] = {}
        self._prepared: dict[str, PreparedStatement] = {}

    async def prepared(self, text: str) -> PreparedStatement:
        """Prepare a statement, once."""
        found = self._prepared.get(text)
        if found is None:
            if len(self._prepared) >= PREPARED_MAX:
                self._prepared.clear()
            # Without a name it would be parsed and planned again each time that it is asked.
            self._names += 1
            found = self._prepared[text] = await self.raw.prepare(text, name=f"holdfast_{self._names}")
        return found

    async def row_of(self, text: str) -> type[Named]:
        """Give what a query's rows are, by name: found once."""
        found = self._rows.get(text)
        if found is None:
            attributes = (await self.raw.prepare(text)).get_attributes()
            # Where two have one name, the first one counts, as everywhere.
            places = {each.name: place for place, each in reversed(tuple(enumerate(attributes)))}
            ordered = dict(sorted(places.items(), key=lambda each: each[1]))
            found = self._rows[text] = type("Named", (Named,), {"__slots__": (), "places": ordered})
            assert len(ordered) == len(attributes), "each column has a name of its own"
        return found


class PostgresConn:
    """A `port.Conn` within one transaction; to be used by the function that was given it, and not after it."""

    __slots__ = ("_ahead", "_begin", "_kept", "_late", "_link", "_names_ids", "_targets", "has_written", "txid")

    def __init__(self, link: Link, begin: str | None = None) -> None:
        """Use a connection.

        Args:
            link: The connection.
            begin: Begins the transaction, before the first statement; None: it has begun, if there is to be one.
        """
        self._link = link
        self._begin = begin
        self._kept: list[Kept] = []
        self._targets: set[str] = set()
        """The tables that it changes."""
        self._names_ids = False
        self._ahead: dict[tuple[Any, ...], list[Any]] = {}
        """What was read before it is asked for, by query and values."""
        self._late: dict[tuple[Hot, str], dict[tuple[Any, ...], dict[str, Any]]] = {}
        self.txid: int | None = None
        """The transaction's number, where an answer has told it."""
        self.has_written = False
        """Whether anything was asked that may have written."""

    @property
    def has_begun(self) -> bool:
        """Whether there is a transaction."""
        return self._begin is None

    def execute(self, sql: str, values: Mapping[str, Any] = {}, /) -> Result | Kept:
        """Run one statement, now or as soon as somebody must know what came of it."""
        wanted, write = _taken(sql)
        if write is None:
            if self._ahead:
                rows = self._ahead.pop((wanted.text, *wanted.values(values)), None)
                if rows is not None:
                    return Result(rows, len(rows))
            return waits_for(self._after_kept(words_of(wanted.text), self.run(wanted, values)))
        return self._keep(Kept(self, write, wanted.values(values)))

    def _keep(self, new: Kept) -> Kept:
        write = new.write
        if not write.words.isdisjoint(self._targets) and not all(
            is_apart(each.write, write.words, write) for each in self._kept
        ):
            waits_for(self.ask())
        self._kept.append(new)
        self._targets.add(write.target)
        if self._ahead:
            self._read_anew(write.target)
        return new

    def _read_anew(self, table: str) -> None:
        """Forget what was read ahead of a table that is written now."""
        for key in [key for key in self._ahead if table in words_of(key[0])]:
            del self._ahead[key]

    def read_ahead(self, asked: Sequence[Asked]) -> None:
        """See `later.AnswersLater`."""
        waits_for(self._read_ahead([(statement(sql), values) for sql, values in asked]))

    async def _read_ahead(self, asked: Sequence[tuple[Statement, Mapping[str, Any]]]) -> None:
        statements = tuple(wanted for wanted, _ in asked)
        if any(not is_apart(each.write, words_of(one.text)) for one in statements for each in self._kept):
            await self.ask()
        await self._start()
        kinds = [await self._link.row_of(one.text) for one in statements]
        prepared = await self._link.prepared(read_together(statements))
        given = [wanted.values(values) for wanted, values in asked]
        (row,) = await prepared.fetch(*[value for each in given for value in each])
        for wanted, values, kind, found in zip(statements, given, kinds, row, strict=True):
            if found and len(found[0]) != len(kind.places):
                # The table has another column by now: the names are those of before.
                raise asyncpg.InvalidCachedStatementError("the columns have changed")
            self._ahead[(wanted.text, *values)] = [kind(each) for each in found]

    def executemany(self, sql: str, values: Iterable[Mapping[str, Any]], /) -> None:
        """Run one statement for each set of values, with one trip to the server for all of them."""
        rows = list(values)
        if self._goes_with_begin(statement(sql), rows):
            return
        if len(rows) == 1:
            self.execute(sql, rows[0])
        elif rows and not self._keep_rows(statement(sql), rows, are_distinct=False):
            wanted = statement(sql)
            for word in words_of(wanted.text):
                self._read_anew(word)
            waits_for(self._after_kept(words_of(wanted.text), self._executemany(wanted, rows)))

    def _goes_with_begin(self, wanted: Statement, rows: Sequence[Mapping[str, Any]]) -> bool:
        """Write what comes first in a transaction along with its begin, where it is text and nothing is asked of it."""
        if self._begin is None or self._kept or not 0 < len(rows) <= ROWS_MAX or not may_be_spelled(wanted):
            return False
        given = [wanted.values(row) for row in rows]
        if not all(isinstance(value, str) for values in given for value in values):
            return False
        self._begin = "; ".join((self._begin, *(spelled(wanted, values) for values in given)))
        self.has_written = True
        return True

    def _keep_rows(self, wanted: Statement, rows: Sequence[Mapping[str, Any]], *, are_distinct: bool) -> bool:
        write = write_of(wanted)
        if write is None or write.row is None or len(rows) > ROWS_MAX:
            return False
        if not write.only_adds and not are_distinct:
            # One statement changes a row once.
            return False
        self._keep(Kept(self, write, [value for row in rows for value in wanted.values(row)], len(rows)))
        return True

    def insert_for_id(self, sql: str, values: Mapping[str, Any]) -> Any:
        """See `later.AnswersLater`."""
        kept = self.execute(sql, values)
        assert isinstance(kept, Kept), "an INSERT that returns its id"
        self._names_ids = True
        return kept

    def change_one(self, sql: str, values: Mapping[str, Any], why: str) -> None:
        """See `later.AnswersLater`."""
        kept = self.execute(sql, values)
        assert isinstance(kept, Kept), "one statement that writes"
        kept.want, kept.why = Want.COUNT, why

    def raw(self, work: Callable[[asyncpg.Connection], Coroutine[Any, Any, T]]) -> T:
        """Let something that knows asyncpg work in this transaction, such as a queue that lies in the same database."""

        async def in_turn() -> T:
            await self.ask()
            await self._start()
            self.has_written = True
            self._ahead.clear()
            return await work(self._link.raw)

        return waits_for(in_turn())

    def lock(self, sql: str, values: Mapping[str, Any]) -> None:
        """See `locking.ManyWriters`."""
        waits_for(self._lock(statement(sql), values))

    async def _lock(self, wanted: Statement, values: Mapping[str, Any]) -> None:
        # What is read after a lock was committed by whoever had it before.
        self._ahead.clear()
        if any(not is_apart(each.write, words_of(wanted.text)) for each in self._kept):
            await self.ask()
        if self._begin is not None:
            begin, self._begin = self._begin, None
            await self._link.raw.execute(f"{begin}; {spelled(wanted, wanted.values(values))}")
            return
        row = (await self.run(wanted, values)).fetchone()
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

    def _bring_late(self) -> None:
        """Keep what was kept back, in the order that all transactions keep."""
        for hot in Hot:
            for (its, sql), rows in self._late.items():
                if its is hot:
                    wanted, ordered = statement(sql), [rows[key] for key in sorted(rows, key=_order)]
                    for first in range(0, len(ordered), ROWS_MAX):
                        is_kept = self._keep_rows(wanted, ordered[first : first + ROWS_MAX], are_distinct=True)
                        assert is_kept, "hot rows are added to by an INSERT"
        self._late.clear()

    async def finish(self) -> None:
        """Ask all that is left."""
        if self._late:
            await in_greenlet(self._bring_late)
        await self.ask()
        if self.has_written:
            # What goes with the begin alone.
            await self._start()

    async def ask(self) -> None:
        """Ask all that was kept, in one statement."""
        kept, self._kept = self._kept, []
        self._targets.clear()
        if not kept:
            return
        await self._start()
        self.has_written = True
        parts, values = [], list[Any]()
        places = {id(each): place for place, each in enumerate(kept)}
        for each in kept:
            made = self._named_in(each, places) if self._names_ids else ()
            values += each.given
            parts.append(Part(each.write, each.rows, each.want, made))
        prepared = await self._link.prepared(composed(tuple(parts)))
        (row,) = await prepared.fetch(*values)
        self.txid = row["txid"]
        answers = iter(row)
        next(answers)
        for each in kept:
            each.answered(None if each.want is Want.NOTHING else next(answers))

    @staticmethod
    def _named_in(kept: Kept, places: Mapping[int, int]) -> tuple[tuple[int, int], ...]:
        """Say where among its values stands what another part makes; what has been made by now is a value."""
        given, made = [], []
        for place, value in enumerate(kept.given):
            if not isinstance(value, Kept):
                given.append(value)
            elif value.is_asked:
                given.append(value.value)
            else:
                made.append((place, places[id(value)]))
        kept.given = given
        return tuple(made)

    async def _start(self) -> None:
        if self._begin is not None:
            begin, self._begin = self._begin, None
            await self._link.raw.execute(begin)

    async def _after_kept(self, words: frozenset[str], work: Coroutine[Any, Any, T]) -> T:
        """Do something that may see what was kept, or not; what it may see is asked first."""
        try:
            if any(not is_apart(each.write, words) for each in self._kept):
                await self.ask()
            await self._start()
        except BaseException:
            work.close()
            raise
        return await work

    async def run(self, wanted: Statement, values: Mapping[str, Any]) -> Result:
        """Run one statement, on the loop."""
        prepared = await self._link.prepared(wanted.text)
        rows = await prepared.fetch(*wanted.values(values))
        status = prepared.get_statusmsg()
        if not status.startswith("SELECT"):
            self.has_written = True
        return Result(rows, _count(status))

    async def _executemany(self, wanted: Statement, values: Sequence[Mapping[str, Any]]) -> None:
        self.has_written = True
        prepared = await self._link.prepared(wanted.text)
        await prepared.executemany([wanted.values(each) for each in values])


@cache
def _taken(sql: str) -> tuple[Statement, Write | None]:
    wanted = statement(sql)
    return wanted, write_of(wanted)


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
