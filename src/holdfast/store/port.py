"""What a store is, whichever database is behind it: plain functions over a connection, run in a transaction.

A function takes a `Conn` and values, and gives values: it knows no engine, awaits nothing, and changes rows and nothing
else, so that it may be run again. SQL in it comes from `store/sql/*.sql`, written once for all engines, with named
parameters (`:name`). SQLite's own connection is a `Conn` as it stands; `store/postgres/` makes one over asyncpg.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Row(Protocol):
    """A row: by name or by place. Iterating gives its values; `dict(row)` gives them by name."""

    def __getitem__(self, name_or_place: Any, /) -> Any:
        """One value."""

    def __iter__(self) -> Iterator[Any]:
        """All values, in the order of the columns."""

    def __len__(self) -> int:
        """How many columns there are."""

    def keys(self) -> Iterable[str]:
        """The names of the columns."""


class Cursor(Protocol):
    """What a statement gave."""

    @property
    def rowcount(self) -> int:
        """Rows that were inserted, changed or deleted."""

    def fetchone(self) -> Any:
        """The next row; None after the last."""

    def fetchall(self) -> list[Any]:
        """All rows that are left."""

    def __iter__(self) -> Iterator[Any]:
        """The rows that are left."""


class Conn(Protocol):
    """A connection in a transaction, which is its caller's."""

    def execute(self, sql: str, values: Mapping[str, Any] = ..., /) -> Cursor:
        """Run one statement; values by the names of its parameters, of which there may be more than it has."""

    def executemany(self, sql: str, values: Iterable[Mapping[str, Any]], /) -> object:
        """Run one statement for each set of values."""


class Store(Protocol):
    """A database that functions are handed to. All of it may be called from any thread; the result comes to the loop
    that asked.
    """

    async def write(self, function: Callable[Concatenate[Conn, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function in a writing transaction; return its value once it is committed.

        It may be run several times, all but the last time for nothing.

        Raises:
            StorageError: The store is closed, the database is away for longer than one waits for it, or it refused the
                commit: nothing is written, unless the reason is `unknown`.
            Exception: Whatever the function raised; then nothing of it is written.
        """

    def write_sync(self, function: Callable[Concatenate[Conn, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do the same from a thread that has no loop; waits."""

    async def read(self, function: Callable[Concatenate[Conn, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function that only reads, in one snapshot.

        Raises:
            StorageError: The store is closed, or the database is away.
            Exception: Whatever else the function raised.
        """

    def close(self) -> None:
        """Finish what was handed over, and close. May be called twice."""
