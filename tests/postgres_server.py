"""A real PostgreSQL that tests start, stop and kill: as its own user, on a socket in a folder of its own.

One that is missing is a failure, and no test passes over it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg

from holdfast.store.postgres.conn import Link, PostgresConn, Result
from holdfast.store.postgres.schema import bring_up
from holdfast.store.postgres.store import connect
from holdfast.store.postgres.translate import statement

EMPTY = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid();
SET session_replication_role = replica;
DO $$
DECLARE name text;
BEGIN
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'meta' LOOP
        EXECUTE format('DELETE FROM %I', name);
    END LOOP;
END $$;
DELETE FROM meta WHERE name NOT LIKE 'schema_%';
SELECT setval(oid::regclass, 1, false) FROM pg_class WHERE relkind = 'S'
"""
"""Leaves a database as it is once its tables are made, whoever is still connected, and whatever made more tables."""


def _program(name: str) -> str:
    """Find one of PostgreSQL's programs: Debian keeps them out of the PATH."""
    newest = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]))
    found = shutil.which(name) or (str(newest[-1]) if newest else None)
    if found is None:
        raise AssertionError(f"{name} is missing: install the package postgresql, or set PG_DSN")
    return found


def by_name(sql: str, values: Any) -> tuple[str, Mapping[str, Any]]:
    """Give the values of a statement names, where tests write them in their order as for the embedded database."""
    if isinstance(values, Mapping):
        return sql, values
    places = count()
    sql = re.sub(r"\?", lambda _: f":p{next(places)}", sql)
    return sql, {f"p{place}": value for place, value in enumerate(values)}


class Reading:
    """A connection for those who look: plain calls that wait, on a loop and a thread of its own."""

    def __init__(self, dsn: str, threads: ThreadPoolExecutor) -> None:
        self._threads = threads
        self._loop = asyncio.new_event_loop()
        self._raw: asyncpg.Connection = self._wait(connect(dsn))
        self._wait(self._raw.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"))
        self._conn = PostgresConn(Link(self._raw))

    def _wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._threads.submit(self._loop.run_until_complete, work).result()

    def execute(self, sql: str, values: Any = (), /) -> Result:
        """Run one statement; values by name, or one for each `?`."""
        sql, named = by_name(sql, values)
        found: Result = self._wait(self._conn.run(statement(sql), named))
        return found

    def close(self) -> None:
        """Hang up."""
        self._wait(self._raw.close())
        self._loop.close()


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
        self._made: set[str] = set()
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

    async def _bring_up(self, name: str) -> None:
        raw = await connect(self.dsn(name))
        try:
            await bring_up(raw)
        finally:
            await raw.close()

    @contextmanager
    def reading(self, dsn: str) -> Iterator[Reading]:
        """Look into a database from wherever, beside any loop: in one snapshot, and nothing is written."""
        with ThreadPoolExecutor(1) as threads:
            made = Reading(dsn, threads)
            try:
                yield made
            finally:
                made.close()

    def read(self, dsn: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run a function of the store on a connection of our own."""
        with self.reading(dsn) as conn:
            return function(conn, *arguments)

    def make(self, name: str) -> str:
        """Make an empty database, in place of one that there may be; give its address."""
        self.command(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        self.command(f"CREATE DATABASE {name}")
        return self.dsn(name)

    def emptied(self, name: str) -> str:
        """Empty a database that has our tables, or make one that does; give its address. A tenth of making it anew."""
        if name in self._made:
            self.command(EMPTY, at=name)
        else:
            self.make(name)
            with ThreadPoolExecutor(1) as threads:
                threads.submit(lambda: asyncio.run(self._bring_up(name))).result()
            self._made.add(name)
        return self.dsn(name)

    def end(self) -> None:
        """Stop it, and leave nothing."""
        if self._process is not None:
            self.stop(how="QUIT")
        shutil.rmtree(self.folder)
