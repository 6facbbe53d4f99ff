"""What a function need not know at once: an id that is only named by further rows, and that a row was there to change;
and what it is going to read.

SQLite answers at once, and is asked at once. On PostgreSQL each answer is a trip to the server and back, which costs
more than what is done there: what is asked so goes along with what is written next, or is asked all at once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

from holdfast.store.port import Conn

Asked = tuple[str, Mapping[str, Any]]
"""A query, and its values."""


class AnswersLater(Protocol):
    """A connection whose answers take their time."""

    def insert_for_id(self, sql: str, values: Mapping[str, Any]) -> Any:
        """Insert a row, and give what stands for its id among the values of other statements."""

    def change_one(self, sql: str, values: Mapping[str, Any], why: str) -> None:
        """Change a row; if there is none, the transaction fails before its commit."""

    def read_ahead(self, asked: Sequence[Asked]) -> None:
        """Read several things at once, for whoever asks for them next."""


def read_ahead(conn: Conn, *asked: Asked) -> None:
    """Say what is going to be read: each query with its values, as `execute` will be given them.

    Nothing is changed by that but the time it takes: what is written or locked before it is asked for is read anew.
    """
    if not isinstance(conn, sqlite3.Connection):
        cast(AnswersLater, conn).read_ahead(asked)


def insert_for_id(conn: Conn, sql: str, values: Mapping[str, Any]) -> Any:
    """Insert a row, and give its id, or what stands for it among the values of later statements of this transaction.

    Args:
        conn: In a writing transaction.
        sql: Inserts one row, and returns its `id`.
        values: Of the row.
    """
    if isinstance(conn, sqlite3.Connection):
        return conn.execute(sql, values).fetchone()[0]
    return cast(AnswersLater, conn).insert_for_id(sql, values)


def change_one(conn: Conn, sql: str, values: Mapping[str, Any], why: str) -> None:
    """Change a row that is there: what was read before, in the same transaction, says so.

    Args:
        conn: In a writing transaction, which holds the lock of what it changes.
        sql: Changes one row.
        values: Of the statement.
        why: There must be such a row.

    Raises:
        AssertionError: There was none; here, or before the commit. Nothing is written.
    """
    if isinstance(conn, sqlite3.Connection):
        assert conn.execute(sql, values).rowcount == 1, why
    else:
        cast(AnswersLater, conn).change_one(sql, values, why)
