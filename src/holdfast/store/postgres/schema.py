"""Bringing a PostgreSQL to this version's schema: the same files as the embedded one's, with its column types.

Several processes of two versions may use one database while a deploy rolls on, so a step says of itself when it runs
and who goes on beside it. One that only adds runs at a start, before the code that needs it. One that takes away waits
until nothing of the version before runs, and is asked for: `holdfast migrate up`. In `meta` stand the version, and the
oldest one that can still use what is there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import asyncpg

from holdfast.errors import StorageError
from holdfast.store.postgres.pool import Connect
from holdfast.store.postgres.translate import PRELUDE, schema_of
from holdfast.store.postgres.troubles import told
from holdfast.store.queries import Step, schema, steps

T = TypeVar("T")

_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('holdfast.migrate', 0))"
_PUT = "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
VERSION, FLOOR = "schema_version", "schema_floor"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a database stands."""

    version: int
    """0: it is empty."""
    floor: int
    """The oldest schema that code may know to use it."""


async def standing(conn: asyncpg.Connection) -> Standing:
    """Read how a database stands."""
    if await conn.fetchval("SELECT to_regclass('meta')") is None:
        return Standing(version=0, floor=0)
    rows = {row["name"]: row["value"] for row in await conn.fetch("SELECT name, value FROM meta")}
    return Standing(version=int(rows.get(VERSION, "0")), floor=int(rows.get(FLOOR, "0")))


def pending(at: Standing) -> tuple[Step, ...]:
    """Give the steps that it has not had."""
    return steps()[at.version :]


async def bring_up(conn: asyncpg.Connection, *, with_after: bool = False) -> tuple[Step, ...]:
    """Make the tables, or bring them to this version; give the steps that were run.

    All of it is one transaction, under a lock: of several that start at once, one does it.

    Args:
        conn: Any connection.
        with_after: Also steps that take away what the version before needs: nothing of that runs any more.

    Raises:
        StorageError: A newer holdfast has left nothing that this one can use, or a step has to be asked for.
    """
    async with conn.transaction():
        await conn.execute(_LOCK)
        at = await standing(conn)
        known = len(steps())
        if at.version > known:
            if at.floor > known:
                raise StorageError(
                    f"This database has schema {at.version}, for code that knows {at.floor} at least; this holdfast "
                    f"knows {known}. Run the newer version.",
                    reason="newer_schema",
                )
            return ()
        todo = pending(at)
        if at.version == 0:
            await conn.execute(PRELUDE + schema_of(schema()))
            await _note(conn, todo, floor=known)
            return todo
        _check_asked(todo, with_after=with_after)
        for step in todo:
            await conn.execute(schema_of(step.sql))
        if todo:
            await _note(conn, todo, floor=at.floor)
        return todo


async def standing_at(connect: Connect) -> Standing:
    """Connect, and read how a database stands.

    Raises:
        StorageError: It cannot be reached.
    """
    return await connected(connect, standing)


async def bring_up_at(connect: Connect) -> tuple[Step, ...]:
    """Connect, and bring a database to this version, with the steps that older code does not survive.

    Raises:
        StorageError: It cannot be reached, or a newer holdfast has left nothing that this one can use.
    """
    return await connected(connect, partial(bring_up, with_after=True))


async def connected(connect: Connect, work: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
    """Do something on a connection of its own.

    Raises:
        StorageError: The database cannot be reached or used.
    """
    try:
        raw = await connect()
        try:
            return await work(raw)
        finally:
            await raw.close()
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as exc:
        raise told(exc) from exc


def _check_asked(todo: tuple[Step, ...], *, with_after: bool) -> None:
    after = next((step for step in todo if step.is_after), None)
    if after is not None and not with_after:
        raise StorageError(
            f"The step {after.name} takes away what older gateways need. Stop those, then run `holdfast migrate up`.",
            reason="other_schema",
        )


async def _note(conn: asyncpg.Connection, done: tuple[Step, ...], *, floor: int) -> None:
    strict = [step.number for step in done if not step.keeps_older]
    await conn.execute(_PUT, VERSION, str(done[-1].number))
    await conn.execute(_PUT, FLOOR, str(max(floor, *strict) if strict else floor))
