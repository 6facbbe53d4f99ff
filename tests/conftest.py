"""Loops for the tests: the gateway's own (uvloop) on real sockets, plain asyncio elsewhere, both where bytes move. And
the databases that a store is proven on: SQLite, and a real PostgreSQL that is started here. None is skipped.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import uvloop
from hypothesis import HealthCheck, settings

from holdfast.store.postgres.conn import Result
from holdfast.store.postgres.store import Options, PostgresStore
from holdfast.store.sqlite import SqliteStore

# How long an example takes says how busy the machine is; nothing here is timed (speed is for the bench).
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

BOTH_LOOPS = {"test_protocol.py", "test_transport_bodies.py", "test_transport_ends.py"}
REAL_SOCKETS = {"integration", "acceptance", "crash", "http"}
ENGINES = ("sqlite", "postgres")

# Tests are no package, so that nothing imports them by accident; what is shared is loaded from its file.
_spec = importlib.util.spec_from_file_location("postgres_server", Path(__file__).with_name("postgres_server.py"))
assert _spec is not None
assert _spec.loader is not None
_module = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = _module
_spec.loader.exec_module(_module)
PostgresServer = _module.PostgresServer


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Choose by folder."""
    if item.path.name in BOTH_LOOPS:
        return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
    if REAL_SOCKETS & set(item.path.parts):
        return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The one of this session."""
    server = PostgresServer(os.environ.get("PG_DSN", ""))
    yield server
    server.end()


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[PostgresServer]:
    """One that a test may stop and start."""
    server = PostgresServer()
    yield server
    server.end()


@pytest.fixture
def postgres_dsn(postgres_server: PostgresServer) -> str:
    """Where a database with our tables is, in which nothing stands: tests share one, one after the other."""
    return postgres_server.emptied(f"test_{os.getpid()}")


@dataclass
class Database:
    """An empty database of one engine, and what differs between them for a test."""

    engine: str
    where: Path | str
    IntegrityError: type[Exception]
    opened: list[Any] = field(default_factory=list)

    def open(self, owner: str = "me", *, is_exclusive: bool = True) -> Any:
        """Open a store on it; it is closed at the end of the test."""
        if isinstance(self.where, Path):
            store: Any = SqliteStore(self.where / "holdfast.sqlite3", owner)
        else:
            store = PostgresStore(self.where, owner, Options(connections=4, wait_s=5.0, is_exclusive=is_exclusive))
        self.opened.append(store)
        return store

    def conn(self) -> Any:
        """A connection on which each statement is a transaction of its own."""
        return _Acting(self.open(), self.engine)

    def close(self) -> None:
        """Close what was opened."""
        for store in self.opened:
            store.close()

    def everything(self, store: Any) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every table."""
        asked = {
            "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table'",
            "postgres": "SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public' ORDER BY 1",
        }[self.engine]

        def read(conn: Any) -> dict[str, list[tuple[Any, ...]]]:
            tables = [row["name"] for row in conn.execute(asked)]
            return {table: [tuple(row) for row in conn.execute(f"SELECT * FROM {table}")] for table in tables}

        found: dict[str, list[tuple[Any, ...]]] = store.write_sync(read)
        # A row that is written anew goes to the end of a table of PostgreSQL.
        return {table: sorted(rows, key=repr) for table, rows in found.items()}


class _Acting:
    """A connection for what needs no store around it: each statement is committed by itself."""

    def __init__(self, store: Any, engine: str) -> None:
        self._store = store
        self.engine = engine

    def execute(self, sql: str, values: Any = ()) -> Any:
        """Run one statement; values by name, or in their order."""
        sql, named = _module.by_name(sql, values)
        return self._store.write_sync(lambda conn: _whole(conn.execute(sql, named)))

    def executemany(self, sql: str, rows: Any) -> None:
        """Run one for each of several."""
        self._store.write_sync(lambda conn: conn.executemany(sql, rows))

    def lock(self, sql: str, values: Mapping[str, Any]) -> None:
        """Nobody else is there."""

    def add_late(self, hot: Any, sql: str, values: Any) -> None:
        """At once."""
        self.executemany(sql, values)


def _whole(cursor: Any) -> Result:
    rows = cursor.fetchall()
    return Result(rows, cursor.rowcount)


@pytest.fixture(params=ENGINES)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database of each engine."""
    if request.param == "sqlite":
        made = Database("sqlite", tmp_path, sqlite3.IntegrityError)
    else:
        dsn = request.getfixturevalue("postgres_dsn")
        made = Database("postgres", dsn, asyncpg.IntegrityConstraintViolationError)
    yield made
    made.close()
