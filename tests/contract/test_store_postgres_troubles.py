"""A PostgreSQL that restarts, goes away, loses an answer or ends a transaction: felt as latency, told truthfully."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from holdfast.errors import StorageError
from holdfast.store.postgres.store import Options, PostgresStore
from holdfast.store.postgres.transactions import PAUSE_S_FIRST, PAUSE_S_MAX, Patience
from holdfast.store.postgres.troubles import Trouble, told, trouble_of

ADD = "INSERT INTO meta (name, value) VALUES (:name, :value)"


def add(conn: Any, name: str) -> str:
    """Write a row; the same twice is refused."""
    conn.execute(ADD, {"name": name, "value": "1"})
    return name


def names(conn: Any) -> list[str]:
    """What was written."""
    asked = "SELECT name FROM meta WHERE name NOT LIKE 'schema_%' AND name <> 'owner' ORDER BY name"
    return [row["name"] for row in conn.execute(asked)]


@pytest.fixture
def dsn(own_postgres: Any) -> str:
    """A database on a server that may be stopped."""
    return str(own_postgres.make("troubles"))


@pytest.fixture
def store(dsn: str) -> Iterator[PostgresStore]:
    """A store that waits for a while."""
    made = PostgresStore(dsn, "me", Options(connections=4, wait_s=30.0))
    yield made
    made.close()


async def test_a_restart_is_felt_as_latency(store: PostgresStore, own_postgres: Any) -> None:
    """Two seconds without a server: everything that is asked meanwhile is done, once, and nothing is refused."""
    await asyncio.gather(*(store.write(add, f"before-{number}") for number in range(8)))

    def restart() -> None:
        own_postgres.stop()
        time.sleep(2.0)
        own_postgres.start()

    restarting = threading.Thread(target=restart)
    restarting.start()
    asked = []
    while restarting.is_alive():
        number = len(asked)
        asked.append(asyncio.ensure_future(store.write(add, f"during-{number:03}")))
        asked.append(asyncio.ensure_future(store.read(names)))
        await asyncio.sleep(0.05)
    done = await asyncio.gather(*asked, return_exceptions=True)
    assert [each for each in done if isinstance(each, BaseException)] == []
    written = [each for each in done if isinstance(each, str)]
    assert await store.read(names) == [*(f"before-{number}" for number in range(8)), *sorted(written)]
    assert "repeats" in repr(store)


async def test_one_that_is_away_for_too_long_is_told(dsn: str, own_postgres: Any) -> None:
    """Nothing hangs; and once it is back, the same store goes on."""
    store = PostgresStore(dsn, "me", Options(connections=2, wait_s=0.3))
    own_postgres.stop(how="QUIT")
    with pytest.raises(StorageError, match="could not be used") as told_write:
        await store.write(add, "one")
    with pytest.raises(StorageError) as told_read:
        await store.read(names)
    assert (told_write.value.reason, told_read.value.reason) == ("away", "away")
    with pytest.raises(StorageError, match="could not be used"):
        PostgresStore(dsn, "other")
    own_postgres.start()
    await (await own_postgres.connected("troubles")).close()
    assert await store.write(add, "two") == "two"
    assert await store.read(names) == ["two"]
    store.close()


class Between:
    """Stands between a store and its server, and loses the answer to a COMMIT, or the COMMIT itself."""

    def __init__(self, server: Any, folder: Path) -> None:
        self._there = f"{server.folder}/.s.PGSQL.5432"
        self.dsn = f"postgresql://postgres@/troubles?host={folder}"
        self.loses: str | None = None
        self.goes_on = False
        """Whether it loses every one from now on."""
        self.lost = 0
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(str(folder / ".s.PGSQL.5432"))
        self.listening.listen()
        self._begin(self._take)

    def _begin(self, function: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=function, args=args)
        self._threads.append(thread)
        thread.start()

    def stop(self) -> None:
        """Take no more; what is connected stays so."""
        with contextlib.suppress(OSError):
            self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()

    def close(self) -> None:
        """End everything."""
        self.stop()
        for each in self._sockets:
            _end(each)
        for thread in self._threads:
            thread.join()

    def _take(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listening.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._there)
                self._sockets += [client, server]
                gone = threading.Event()
                self._begin(self._up, client, server, gone)
                self._begin(self._down, client, server, gone)

    def _up(self, client: socket.socket, server: socket.socket, gone: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(1 << 16):
                if b"COMMIT\0" in data and self.loses is not None:
                    loses = self.loses
                    if not self.goes_on:
                        self.loses = None
                    self.lost += 1
                    gone.set()
                    if loses == "commit":
                        break
                server.sendall(data)
        for each in (client, server):
            _end(each)

    def _down(self, client: socket.socket, server: socket.socket, gone: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while (data := server.recv(1 << 16)) and not gone.is_set():
                client.sendall(data)
        for each in (client, server):
            _end(each)


def _end(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


@pytest.fixture
def between(own_postgres: Any, dsn: str, tmp_path: Path) -> Iterator[Between]:
    """Before the server."""
    assert dsn
    made = Between(own_postgres, tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("loses", ["answer", "commit"])
async def test_a_commit_whose_answer_is_lost_is_told_truthfully(between: Between, loses: str) -> None:
    """It was made, or it was not and is made now: either way once, which the row's own name would refuse twice."""
    runs = 0

    def add_counted(conn: Any) -> str:
        nonlocal runs
        runs += 1
        return add(conn, "one")

    store = PostgresStore(between.dsn, "me", Options(connections=2, wait_s=10.0))
    between.loses = loses
    assert await store.write(add_counted) == "one"
    assert (between.lost, runs) == (1, 1 if loses == "answer" else 2)
    assert await store.read(names) == ["one"]
    store.close()


async def test_commits_that_never_arrive_are_given_up_in_time(between: Between) -> None:
    """Each is asked for, was not made, and is tried again, as long as one waits for a database, and no longer."""
    store = PostgresStore(between.dsn, "me", Options(connections=2, wait_s=1.0))
    between.loses, between.goes_on = "commit", True
    with pytest.raises(StorageError) as raised:
        await asyncio.wait_for(store.write(add, "a"), 20.0)
    assert raised.value.reason == "away"
    assert between.lost > 1
    between.loses = None
    assert await store.write(add, "b") == "b"
    assert await store.read(names) == ["b"]
    store.close()


async def test_where_nobody_can_be_asked_the_outcome_is_unknown(between: Between, own_postgres: Any) -> None:
    """Said as such: whoever must know looks for himself once the database is back."""
    store = PostgresStore(between.dsn, "me", Options(connections=2, wait_s=0.3))
    between.loses = "answer"

    def add_and_stop(conn: Any) -> str:
        between.stop()
        return add(conn, "one")

    with pytest.raises(StorageError) as unknown:
        await store.write(add_and_stop)
    assert unknown.value.reason == "unknown"
    raw = await own_postgres.connected("troubles")
    assert await raw.fetchval("SELECT count(*) FROM meta WHERE name = 'one'") == 1
    await raw.close()
    store.close()


async def test_two_in_a_circle_are_both_done(store: PostgresStore) -> None:
    """The database ends one of them; it is run again, from its beginning."""
    for name in "ab":
        await store.write(add, name)
    first_time = [True, True]

    def swap(conn: Any, number: int) -> None:
        mine, other = "ab" if number == 0 else "ba"
        conn.execute("UPDATE meta SET value = value || :n WHERE name = :name", {"n": str(number), "name": mine})
        if first_time[number]:
            first_time[number] = False
            # The loop is one: what waits for the other waits in the database.
            conn.execute("SELECT pg_sleep(0.2)")
        conn.execute("UPDATE meta SET value = value || :n WHERE name = :name", {"n": str(number), "name": other})

    await asyncio.gather(store.write(swap, 0), store.write(swap, 1))

    def values(conn: Any) -> list[str]:
        return [
            "".join(sorted(row["value"])) for row in conn.execute("SELECT value FROM meta WHERE name IN ('a', 'b')")
        ]

    assert await store.read(values) == ["011", "011"]


async def test_what_a_function_raises_is_raised_and_leaves_nothing(store: PostgresStore) -> None:
    """Its own error or its statement's; and the connection is as good as before."""

    def fails(conn: Any) -> None:
        add(conn, "one")
        raise KeyError("no")

    def twice(conn: Any) -> None:
        add(conn, "one")
        add(conn, "one")

    with pytest.raises(KeyError):
        await store.write(fails)
    with pytest.raises(asyncpg.UniqueViolationError):
        await store.write(twice)
    with pytest.raises(asyncpg.UniqueViolationError):
        store.write_sync(twice)
    with pytest.raises(asyncpg.UndefinedTableError):
        await store.read(lambda conn: conn.execute("SELECT 1 FROM nothing"))
    assert await store.read(names) == []


async def test_a_read_is_one_snapshot_and_writes_nothing(store: PostgresStore) -> None:
    """What is committed meanwhile is not seen half."""
    waiting = threading.Event()

    def look_twice(conn: Any) -> tuple[list[str], list[str]]:
        first = names(conn)
        waiting.set()
        conn.execute("SELECT pg_sleep(0.3)")
        return first, names(conn)

    looking = asyncio.ensure_future(store.read(look_twice))
    await asyncio.to_thread(waiting.wait)
    await store.write(add, "one")
    assert await looking == ([], [])
    with pytest.raises(StorageError) as refused:
        await store.read(add, "two")
    assert refused.value.reason == "read_only"


async def test_reports_leave_writes_their_connections(dsn: str) -> None:
    """All readers there are sleep, and a write is done meanwhile."""
    store = PostgresStore(dsn, "me", Options(connections=2, wait_s=10.0))

    def sleep(conn: Any) -> None:
        conn.execute("SELECT pg_sleep(0.5)")

    reading = [asyncio.ensure_future(store.read(sleep)) for _ in range(4)]
    await asyncio.sleep(0.05)
    assert await store.write(add, "one") == "one"
    assert not any(each.done() for each in reading)
    await asyncio.gather(*reading)
    store.close()


async def test_what_was_handed_over_is_done_before_the_end(dsn: str) -> None:
    """A close waits for it; what comes after is refused."""
    store = PostgresStore(dsn, "me", Options(connections=2))

    def slow(conn: Any) -> str:
        conn.execute("SELECT pg_sleep(0.3)")
        return add(conn, "one")

    writing = asyncio.ensure_future(store.write(slow))
    await asyncio.sleep(0.05)
    await asyncio.to_thread(store.close)
    assert await writing == "one"
    with pytest.raises(StorageError, match="closed"):
        await store.read(names)


async def test_tables_that_change_under_a_store_do_not_stop_it(store: PostgresStore, own_postgres: Any) -> None:
    """A newer version adds a column while this one runs: what was prepared before is prepared again."""

    def everything(conn: Any) -> int:
        return len(conn.execute("SELECT * FROM meta").fetchall()[0])

    assert await store.read(everything) == 2
    raw = await own_postgres.connected("troubles")
    await raw.execute("ALTER TABLE meta ADD COLUMN more TEXT")
    await raw.close()
    assert await store.read(everything) == 3


def test_errors_are_judged_by_what_may_be_done_about_them() -> None:
    """And told without anything of the address."""
    assert trouble_of(asyncpg.SerializationError()) is Trouble.AGAIN
    assert trouble_of(asyncpg.AdminShutdownError()) is Trouble.LOST
    assert trouble_of(asyncpg.DiskFullError()) is Trouble.BROKEN
    assert trouble_of(ConnectionResetError()) is Trouble.LOST
    assert trouble_of(asyncpg.InterfaceError("closed"), is_closed=True) is Trouble.LOST
    assert trouble_of(asyncpg.InterfaceError("wrong type")) is Trouble.NONE
    assert trouble_of(asyncpg.UniqueViolationError()) is Trouble.NONE
    assert told(asyncpg.DiskFullError("no space")).reason == "full"
    assert told(TimeoutError()).args == ("The database could not be used: TimeoutError.",)


def test_pauses_grow_to_a_bound_and_differ() -> None:
    """Many that wait do not come back at one instant."""
    longest, shortest = Patience(wait_s=1.0, chance=lambda: 1.0), Patience(wait_s=1.0, chance=lambda: 0.0)
    assert [longest.pause_s(tries) for tries in (1, 2, 3)] == [PAUSE_S_FIRST, 2 * PAUSE_S_FIRST, 4 * PAUSE_S_FIRST]
    assert longest.pause_s(1000) == PAUSE_S_MAX == 2 * shortest.pause_s(1000)
