"""A data folder's rows, brought into an empty PostgreSQL: all of them in one transaction, proven before it is
committed.

Only rows move. Images, answers that are still to be settled and the secret stay in the folder, which the gateway goes
on using.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg

from holdfast.errors import StorageError
from holdfast.store.audit import audit
from holdfast.store.port import Conn
from holdfast.store.postgres.conn import Link, PostgresConn, in_greenlet
from holdfast.store.postgres.schema import bring_up, connected
from holdfast.store.postgres.store import connect
from holdfast.store.reading import snapshot_of_folder

BATCH_ROWS = 1000
"""Read, and sent, at once: requests may be kilobytes, answers megabytes."""
_LEFT = ("meta", "sqlite_sequence")
"""What each database says of itself."""
_NUMBERED = {"ledger_txn": "id", "audit": "id", "ledger_entry": "rowid"}
"""Columns that the database counts up by itself."""
_TOLD_ROWID = {"ledger_entry"}

Tell = Callable[[str, int, int], None]
"""Is told the table, rows copied and rows there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """What was copied."""

    rows: dict[str, int]
    """By table."""
    problems: int
    """What the ledger's audit finds wrong, the same in both."""


async def copy_folder(root: Path, dsn: str, tell: Tell) -> Copied:
    """Copy a data folder's rows into an empty database, which gets its tables if it has none.

    Args:
        root: The folder; no gateway may write to it meanwhile (`DataFolder`).
        dsn: Of the PostgreSQL.
        tell: Told now and then how far it is.

    Raises:
        StorageError: There is no database in the folder, or it is of another version; there are rows in the target, it
            cannot be reached, or what arrived is not what was sent. Then nothing is in the target.
    """
    with snapshot_of_folder(root) as source:

        async def work(raw: asyncpg.Connection) -> Copied:
            await bring_up(raw)
            async with raw.transaction():
                return await _copy(source, raw, tell)

        return await connected(partial(connect, dsn), work)


async def _copy(source: sqlite3.Connection, raw: asyncpg.Connection, tell: Tell) -> Copied:
    tables = tables_in_order(source)
    for table in tables:
        # Locked, so that nobody fills it meanwhile.
        await raw.execute(f"LOCK TABLE {table} IN EXCLUSIVE MODE")
        if await raw.fetchval(f"SELECT EXISTS (SELECT 1 FROM {table})"):
            raise StorageError(
                f"There are rows in {table} of the PostgreSQL already: copy into an empty database.", reason="not_empty"
            )
    counts = {}
    for table in tables:
        counts[table] = await _copy_table(source, raw, table, tell)
    for table, column in _NUMBERED.items():
        await raw.execute(
            f"SELECT setval(pg_get_serial_sequence('{table}', '{column}'), coalesce(max({column}), 0) + 1, false) "
            f"FROM {table}"
        )
    return Copied(rows=counts, problems=await _prove(source, raw, counts))


async def _copy_table(source: sqlite3.Connection, raw: asyncpg.Connection, table: str, tell: Tell) -> int:
    (total,) = source.execute(f"SELECT count(*) FROM {table}").fetchone()
    cursor = source.execute(f"SELECT {'rowid, ' if table in _TOLD_ROWID else ''}* FROM {table} ORDER BY rowid")
    columns = [each[0] for each in cursor.description]
    done = 0
    for rows in _batches(cursor):
        await raw.copy_records_to_table(table, records=rows, columns=columns)
        done += len(rows)
        tell(table, done, total)
    return int(total)


def _batches(cursor: sqlite3.Cursor) -> Iterator[list[tuple[Any, ...]]]:
    while rows := cursor.fetchmany(BATCH_ROWS):
        yield [tuple(row) for row in rows]


def tables_in_order(source: sqlite3.Connection) -> Sequence[str]:
    """Name the tables, each behind those that it refers to."""
    names = [row[0] for row in source.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
    needs = {
        name: {row[2] for row in source.execute(f"PRAGMA foreign_key_list({name})")} - {name}
        for name in names
        if name not in _LEFT
    }
    ordered: list[str] = []
    while len(ordered) < len(needs):
        ordered += [name for name in needs if name not in ordered and needs[name] <= set(ordered)]
    return ordered


async def _prove(source: sqlite3.Connection, raw: asyncpg.Connection, counts: dict[str, int]) -> int:
    """Count what arrived, and add the ledger up in both.

    Raises:
        StorageError: They differ.
    """
    for table, sent in counts.items():
        arrived = await raw.fetchval(f"SELECT count(*) FROM {table}")
        if arrived != sent:
            raise StorageError(f"{sent} rows of {table} were sent, and {arrived} arrived.", reason="broken")
    before = audit(source)
    conn: Conn = PostgresConn(Link(raw))
    after = await in_greenlet(partial(audit, conn))
    told_before = sorted((each.rule, each.id) for each in before.problems)
    if after.accounts != before.accounts or sorted((each.rule, each.id) for each in after.problems) != told_before:
        raise StorageError("The ledger that arrived is not the one that was sent.", reason="broken")
    return len(before.problems)
