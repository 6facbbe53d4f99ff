"""Looking into a PostgreSQL that gateways may be using: one connection, one snapshot, from where no loop runs."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

import asyncpg

from holdfast.errors import StorageError
from holdfast.store.postgres.conn import Link, PostgresConn, Result
from holdfast.store.postgres.schema import Standing, standing
from holdfast.store.postgres.store import connect
from holdfast.store.postgres.translate import statement
from holdfast.store.postgres.troubles import told
from holdfast.store.queries import steps

T = TypeVar("T")
_BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
TROUBLES = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError)


class _Looking:
    """A `port.Conn` that only reads, and waits for each answer."""

    def __init__(self, loop: asyncio.AbstractEventLoop, raw: asyncpg.Connection) -> None:
        self._loop = loop
        self._conn = PostgresConn(Link(raw))

    def execute(self, sql: str, values: Mapping[str, Any] = {}, /) -> Result:
        """Run one statement."""
        return self._loop.run_until_complete(self._conn.run(statement(sql), values))

    def executemany(self, sql: str, values: Iterable[Mapping[str, Any]], /) -> NoReturn:
        """Refused: nothing is written here."""
        raise StorageError("Nothing is written by who only looks.", reason="read_only")


@contextmanager
def snapshot_of(dsn: str) -> Iterator[_Looking]:
    """Open a database to read, as it stands at this moment; nothing is locked, and nothing is written.

    Raises:
        StorageError: It cannot be reached or read, or is of another version.
    """
    with asyncio.Runner() as runner:
        loop = runner.get_loop()

        def do(work: Coroutine[Any, Any, T]) -> T:
            return loop.run_until_complete(work)

        try:
            raw = do(connect(dsn))
            try:
                do(raw.execute(_BEGIN))
                _check(do(standing(raw)))
                yield _Looking(loop, raw)
            finally:
                do(raw.close())
        except TROUBLES as exc:
            raise told(exc) from exc


def _check(at: Standing) -> None:
    known = len(steps())
    if at.version < known:
        raise StorageError(
            f"The database has schema {at.version}; this holdfast knows {known}. Start `holdfast serve` on it once.",
            reason="other_schema",
        )
    if at.floor > known:
        raise StorageError(
            f"The database has schema {at.version}; this holdfast knows {known}. Run the newer version.",
            reason="newer_schema",
        )
