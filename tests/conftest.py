"""Loops for the tests: the gateway's own (uvloop) on real sockets, plain asyncio elsewhere, both where bytes move. And
the databases that a store is proven on: SQLite, and a real PostgreSQL that is started here. None is skipped.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import re
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import uvloop
from hypothesis import HealthCheck, settings

from holdfast.store.postgres.conn import Link, PostgresConn, Result, in_greenlet
from holdfast.store.postgres.schema import bring_up
from holdfast.store.postgres.store import Options, PostgresStore, connect
from holdfast.store.sqlite import SqliteStore

# How long an example takes says how busy the machine is; nothing here is timed (speed is for the bench).
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

BOTH_LOOPS = {"test_protocol.py", "test_transport_bodies.py", "test_transport_ends.py"}
REAL_SOCKETS = {"integration", "acceptance", "crash", "http"}
ENGINES = ("sqlite", "postgres")


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Choose by folder."""
    if item.path.name in BOTH_LOOPS:
        return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
    if REAL_SOCKETS & set(item.path.parts):
        return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}


def _program(name: str) -> str:
    """Find one of PostgreSQL's programs: Debian keeps them out of the PATH."""
    newest = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]))
    found = shutil.which(name) or (str(newest[-1]) if newest else None)
    if found is None:
        pytest.fail(f"{name} is missing: install the package postgresql, or set PG_DSN", pytrace=False)
    return found


class PostgresServer:
    """A PostgreSQL of our own, on a socket in a folder of its own; or the one that PG_DSN names."""

    def __init__(self, given: str = "") -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="holdfast-pg-"))
        self._as: list[str] = []
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            self._as = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        self._given = given
        self._process: subprocess.Popen[bytes] | None = None
        if not self._given:
            command = [_program("initdb"), "--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8"]
            self._run([*command, "--locale=C.UTF-8", "--pgdata", str(self.folder / "data")])
            self.start()

    def _run(self, command: list[str]) -> None:
        done = subprocess.run([*self._as, *command], cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}: {done.stderr}"

    def start(self) -> None:
        """Start it; callers are taken a moment later."""
        named = {"listen_addresses": "", "unix_socket_directories": str(self.folder), "fsync": "off"}
        named |= {"autovacuum": "off", "max_connections": "200", "deadlock_timeout": "200ms"}
        options = [word for name, value in named.items() for word in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._as, _program("postgres"), "-D", str(self.folder / "data"), *options],
                cwd=self.folder,
                stdout=log,
                stderr=log,
            )

    def stop(self, *, how: str = "INT") -> None:
        """Stop it at once, with connections open: `INT` ends them in order, `QUIT` is a crash."""
        assert self._process is not None
        self._process.send_signal({"INT": 2, "QUIT": 3}[how])
        self._process.wait(30)

    def dsn(self, name: str) -> str:
        """Where a database of this name is, or would be."""
        if self._given:
            head, _, _ = self._given.rpartition("/")
            return f"{head}/{name}"
        return f"postgresql://postgres@/{name}?host={self.folder}"

    def command(self, sql: str, *, at: str = "postgres") -> None:
        """Run statements in a database, as its owner does; waits for a server that has just been started."""
        with ThreadPoolExecutor(1) as threads:
            threads.submit(lambda: asyncio.run(self._command(sql, at))).result()

    async def _command(self, sql: str, at: str) -> None:
        raw = await self.connected(at)
        try:
            await raw.execute(sql)
        finally:
            await raw.close()

    async def connected(self, at: str) -> asyncpg.Connection:
        """Connect, as soon as it can be done."""
        for _ in range(600):
            with contextlib.suppress(OSError, asyncpg.CannotConnectNowError):
                return await asyncpg.connect(self.dsn(at))
            await asyncio.sleep(0.05)
        raise AssertionError((self.folder / "log").read_text())

    async def _bring_up(self, name: str) -> list[str]:
        raw = await connect(self.dsn(name))
        try:
            await bring_up(raw)
            rows = await raw.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename")
        finally:
            await raw.close()
        return [row["tablename"] for row in rows]

    def read(self, dsn: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run a function of the store on a connection of our own, from wherever: on a thread beside any loop."""

        async def work() -> Any:
            raw = await connect(dsn)
            try:
                async with raw.transaction(isolation="repeatable_read", readonly=True):
                    return await in_greenlet(partial(function, PostgresConn(Link(raw)), *arguments))
            finally:
                await raw.close()

        with ThreadPoolExecutor(1) as threads:
            return threads.submit(lambda: asyncio.run(work())).result()

    def make(self, name: str) -> str:
        """Make an empty database, in place of one that there may be; give its address."""
        self.command(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        self.command(f"CREATE DATABASE {name}")
        return self.dsn(name)

    def with_tables(self, name: str) -> list[str]:
        """Make a database with our tables, and name them."""
        self.make(name)
        return asyncio.run(self._bring_up(name))

    def end(self) -> None:
        """Stop it, and leave nothing."""
        if self._process is not None:
            self.stop(how="QUIT")
        shutil.rmtree(self.folder)


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


@pytest.fixture(scope="session")
def _postgres_tables(postgres_server: PostgresServer) -> tuple[str, str]:
    """The database that tests share one after the other, and the statements that empty it: a tenth of making one."""
    name = f"test_{os.getpid()}"
    tables = postgres_server.with_tables(name)
    kept = "meta"
    clear = [
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' AND pid <> pg_backend_pid()",
        "SET session_replication_role = replica",
        *(f"DELETE FROM {table}" for table in tables if table != kept),
        "DELETE FROM meta WHERE name NOT LIKE 'schema_%'",
        "SELECT setval(oid::regclass, 1, false) FROM pg_class WHERE relkind = 'S'",
    ]
    return name, "; ".join(clear)


@pytest.fixture
def postgres_dsn(postgres_server: PostgresServer, _postgres_tables: tuple[str, str]) -> str:
    """Where a database with our tables is, in which nothing stands."""
    name, clear = _postgres_tables
    postgres_server.command(clear, at=name)
    return postgres_server.dsn(name)


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
        if not isinstance(values, Mapping):
            places = count()
            sql = re.sub(r"\?", lambda _: f":p{next(places)}", sql)
            values = {f"p{place}": value for place, value in enumerate(values)}
        return self._store.write_sync(lambda conn: _whole(conn.execute(sql, values)))

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
