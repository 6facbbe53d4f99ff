"""What every store does with the functions it is handed: one commit for many, each alone in its failure, readers apart.

Another implementation joins by being added to `STORES`; what only SQLite has is at the end.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from holdfast import faults
from holdfast.errors import StorageError
from holdfast.store import sqlite
from holdfast.store.keys import count_keys, find_key, insert_key
from holdfast.store.queries import migrations, queries, schema
from holdfast.store.sqlite import SqliteStore

Opener = Callable[[str], SqliteStore]
STORES: dict[str, Callable[[Path, str], SqliteStore]] = {
    "sqlite": lambda folder, owner: SqliteStore(folder / "holdfast.sqlite3", owner),
}


@pytest.fixture(params=STORES)
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """Open the store of one folder, as often as a test likes; all are closed at its end."""
    stores: list[SqliteStore] = []

    def opener(owner: str = "me") -> SqliteStore:
        stores.append(STORES[request.param](tmp_path, owner))
        return stores[-1]

    yield opener
    for store in stores:
        store.close()


@pytest.fixture
def store(opened: Opener) -> SqliteStore:
    """One open store."""
    return opened("me")


def add(conn: sqlite3.Connection, name: str) -> str:
    """Write one row; its digest is its name, so that a second one of a name is refused."""
    insert_key(conn, f"key_{name}", name.encode(), "label", "2026-01-01T00:00:00.000Z")
    return name


def names(conn: sqlite3.Connection) -> list[str]:
    """What is written, oldest first."""
    return [row["digest"].decode() for row in conn.execute("SELECT digest FROM key_secret ORDER BY rowid")]


def fail(conn: sqlite3.Connection, name: str) -> None:
    """Write one row, and then think better of it."""
    add(conn, name)
    raise KeyError(name)


class Gate:
    """Holds the writing thread inside a write, so that others pile up behind it."""

    def __init__(self, store: SqliteStore) -> None:
        self.entered, self.leave = threading.Event(), threading.Event()
        self.task = asyncio.get_running_loop().create_task(store.write(self._wait))

    def _wait(self, _: sqlite3.Connection) -> None:
        self.entered.set()
        assert self.leave.wait(10)

    async def __aenter__(self) -> Gate:
        await asyncio.to_thread(self.entered.wait, 10)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.leave.set()
        await self.task


async def piled(store: SqliteStore, *writes: tuple[Any, ...]) -> list[Any]:
    """Hand over several writes while the writer is busy, so that they make one batch; give results and exceptions."""
    async with Gate(store):
        tasks = [asyncio.create_task(store.write(*write)) for write in writes]
        await asyncio.sleep(0)
    return await asyncio.gather(*tasks, return_exceptions=True)


def commits(store: SqliteStore) -> int:
    """How many commits the status line tells of."""
    found = re.search(r"(\d+) commits", repr(store))
    assert found
    return int(found[1])


async def test_a_write_returns_its_value_once_it_is_committed(store: SqliteStore) -> None:
    """A reader that starts then sees it."""
    assert await store.write(add, "a") == "a"
    assert await store.read(names) == ["a"]
    assert await store.write(lambda conn, *, name: add(conn, name), name="b") == "b"
    assert await store.read(lambda conn, *, more: (names(conn), more), more=1) == (["a", "b"], 1)


async def test_what_was_written_is_there_after_a_restart(opened: Opener) -> None:
    """Closing writes what waits; opening again finds it."""
    first = opened("me")
    await asyncio.gather(*(first.write(add, f"n{at}") for at in range(50)))
    first.close()
    assert sorted(await opened("me").read(names)) == sorted(f"n{at}" for at in range(50))


async def test_many_writes_share_one_commit(store: SqliteStore) -> None:
    """What waits while the disk syncs is committed together, in the order it came."""
    before = commits(store)
    assert await piled(store, *((add, f"n{at}") for at in range(100))) == [f"n{at}" for at in range(100)]
    assert commits(store) == before + 2
    assert await store.read(names) == [f"n{at}" for at in range(100)]
    assert repr(store).endswith(f": {101} writes in {before + 2} commits>")


async def test_a_batch_wakes_each_loop_once(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many wait there: each of them is told its own value or its own error, also in another loop."""
    wakes = list[str]()
    waiting = threading.Event()

    async def ask(name: str, *writes: tuple[Any, ...]) -> list[Any]:
        loop = asyncio.get_running_loop()
        tasks = [asyncio.create_task(store.write(*write)) for write in writes]
        await asyncio.sleep(0)
        wake = loop.call_soon_threadsafe

        def note(*args: Any, **kwargs: Any) -> Any:
            if threading.current_thread().name == "holdfast-write":
                wakes.append(name)
            return wake(*args, **kwargs)

        monkeypatch.setattr(loop, "call_soon_threadsafe", note)
        waiting.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    async with Gate(store):
        there = asyncio.create_task(asyncio.to_thread(asyncio.run, ask("there", (add, "x"), (fail, "y"), (add, "z"))))
        await asyncio.to_thread(waiting.wait, 10)
        here = asyncio.create_task(ask("here", (add, "a"), (fail, "b"), (add, "c")))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert [str(each) for each in (*await here, *await there)] == ["a", "'b'", "c", "x", "'y'", "z"]
    # The gate's own commit wakes its loop once more.
    assert sorted(wakes) == ["here", "here", "there"]


async def test_a_batch_is_bounded(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood is several commits: the first of it does not wait for the last."""
    monkeypatch.setattr(sqlite, "BATCH_MAX", 10)
    before = commits(store)
    await piled(store, *((add, f"n{at}") for at in range(25)))
    assert commits(store) == before + 1 + 3
    assert await store.read(names) == [f"n{at}" for at in range(25)]


async def test_one_that_fails_fails_alone(store: SqliteStore) -> None:
    """Its own rows are gone, its exception is its caller's, and its neighbours are committed."""
    results = await piled(store, (add, "a"), (fail, "b"), (add, "c"), (add, "a"), (add, "d"))
    assert [results[0], results[2], results[4]] == ["a", "c", "d"]
    assert isinstance(results[1], KeyError)
    assert isinstance(results[3], sqlite3.IntegrityError)
    assert await store.read(names) == ["a", "c", "d"]


async def test_a_later_write_sees_an_earlier_one_of_its_batch(store: SqliteStore) -> None:
    """Order is order, also within a commit."""
    results = await piled(store, (add, "a"), (count_keys,), (fail, "b"), (count_keys,), (add, "c"), (count_keys,))
    assert results[1::4] == [1, 2]
    assert results[3] == 1


@pytest.mark.parametrize("point", ["store.before_commit", "store.after_commit"])
async def test_a_commit_that_fails_fails_every_write_of_its_batch(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    """Nobody is told that something is durable which may not be; the next batch is taken as if nothing had been.

    After a commit whose answer was lost the rows are there: whoever asks by his own id finds them.
    """
    async with Gate(store):
        tasks = [asyncio.create_task(store.write(add, name)) for name in "abc"]
        await asyncio.sleep(0)
        # The gate's own commit is the first pass.
        monkeypatch.setattr(faults, "_armed", {point: faults._Armed("error", 2)})
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(each) for each in results} == {StorageError}
    assert {each.reason for each in results} == {"broken"}
    assert "injected" in str(results[0])
    assert await store.read(names) == ([] if point == "store.before_commit" else ["a", "b", "c"])
    assert await store.write(add, "d") == "d"


async def test_close_writes_what_waits(store: SqliteStore) -> None:
    """Whoever was accepted before the end gets his answer."""
    async with Gate(store) as gate:
        tasks = [asyncio.create_task(store.write(add, f"n{at}")) for at in range(20)]
        await asyncio.sleep(0)
        closing_ = asyncio.create_task(asyncio.to_thread(store.close))
        await asyncio.sleep(0)
        gate.leave.set()
        assert await asyncio.gather(*tasks) == [f"n{at}" for at in range(20)]
        await closing_


async def test_after_the_end_nothing_is_taken(store: SqliteStore) -> None:
    """Neither written nor read; closing twice is closing once."""
    store.close()
    store.close()
    for refused in (store.write(add, "a"), store.read(names), asyncio.to_thread(store.write_sync, add, "a")):
        with pytest.raises(StorageError) as told:
            await refused
        assert told.value.reason == "closed"


def test_no_write_is_lost_between_the_last_and_the_end(opened: Opener) -> None:
    """Threads that race with the end are each answered: with a value or with a refusal, never with silence."""
    store = opened("me")
    answers: list[str] = []
    refusals: list[str] = []
    under_way = threading.Event()

    def write(number: int) -> None:
        for at in itertools.count():
            try:
                answers.append(store.write_sync(add, f"{number}-{at}"))
            except StorageError as exc:
                refusals.append(exc.reason)
                return
            if len(answers) > 20:
                under_way.set()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    assert under_way.wait(10)
    store.close()
    for thread in threads:
        thread.join(10)
    assert refusals == ["closed"] * len(threads)
    assert sorted(opened("me").write_sync(names)) == sorted(answers)


def test_a_write_that_meets_the_end_half_way_is_answered(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was let in, so it is written: the mark that ends the queue waits behind it."""
    put, answers = store._queue.put_nowait, list[str]()
    closer = threading.Thread(target=store.close, daemon=True)

    def put_slowly(write: Any) -> None:
        closer.start()
        closer.join(0.1)
        put(write)

    monkeypatch.setattr(store._queue, "put_nowait", put_slowly)
    writer = threading.Thread(target=lambda: answers.append(store.write_sync(add, "a")), daemon=True)
    writer.start()
    writer.join(10)
    closer.join(10)
    assert answers == ["a"]


def test_a_thread_without_a_loop_writes_too(store: SqliteStore) -> None:
    """It waits for its commit, and gets its own exception."""
    assert store.write_sync(add, "a") == "a"
    with pytest.raises(KeyError):
        store.write_sync(fail, "b")
    assert store.write_sync(names) == ["a"]


async def test_whoever_no_longer_waits_is_written_all_the_same(store: SqliteStore) -> None:
    """A write that was handed over is no longer its caller's: cancelling the wait changes nothing."""
    async with Gate(store):
        task = asyncio.create_task(store.write(add, "a"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await store.write(names) == ["a"]


def test_a_loop_that_is_gone_does_not_take_the_writer_along(store: SqliteStore) -> None:
    """An answer that nobody can be given is dropped; the next one is written."""
    entered, leave = threading.Event(), threading.Event()

    def slow(conn: sqlite3.Connection) -> None:
        entered.set()
        assert leave.wait(10)
        add(conn, "a")

    async def ask() -> None:
        task = asyncio.create_task(store.write(slow))
        await asyncio.to_thread(entered.wait, 10)
        task.cancel()

    asyncio.run(ask())
    leave.set()
    assert store.write_sync(names) == ["a"]


async def test_more_than_the_disk_can_take_is_refused(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue is bounded: it says so instead of growing."""
    async with Gate(store):
        monkeypatch.setattr(store._queue, "maxsize", 3)
        tasks = [asyncio.create_task(store.write(add, name)) for name in "abcde"]
        await asyncio.sleep(0)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results[:3] == ["a", "b", "c"]
    assert [each.reason for each in results[3:]] == ["overloaded", "overloaded"]


async def test_readers_cannot_write(store: SqliteStore) -> None:
    """Only one connection ever does; whoever tries has mistaken his function."""
    with pytest.raises(StorageError, match="readonly"):
        await store.read(add, "a")
    assert await store.read(names) == []


async def test_a_reader_sees_one_moment_and_nothing_unfinished(store: SqliteStore) -> None:
    """Its two looks agree, whatever is committed between them; a write in progress is invisible."""
    await store.write(add, "a")
    looked, go_on = threading.Event(), threading.Event()

    def look_twice(conn: sqlite3.Connection) -> tuple[list[str], list[str]]:
        first = names(conn)
        looked.set()
        assert go_on.wait(10)
        return first, names(conn)

    reading = asyncio.create_task(store.read(look_twice))
    await asyncio.to_thread(looked.wait, 10)
    await store.write(add, "b")
    assert await store.read(names) == ["a", "b"]
    go_on.set()
    assert await reading == (["a"], ["a"])

    def unfinished(conn: sqlite3.Connection) -> list[str]:
        add(conn, "c")
        future = asyncio.run_coroutine_threadsafe(store.read(names), loop)
        return future.result(10)

    loop = asyncio.get_running_loop()
    assert await store.write(unfinished) == ["a", "b"]


async def test_a_reader_that_fails_leaves_the_next_one_alone(store: SqliteStore) -> None:
    """Its snapshot is given back."""

    def fails(_: sqlite3.Connection) -> None:
        raise KeyError("reader")

    for _ in range(5):
        with pytest.raises(KeyError):
            await store.read(fails)
    await store.write(add, "a")
    assert await store.read(names) == ["a"]


async def test_a_folder_that_was_taken_over_is_written_by_its_new_owner_only(opened: Opener) -> None:
    """Should the lock ever fail, the older process is refused at its next commit, and nothing of it is written."""
    old = opened("old")
    await old.write(add, "a")
    new = opened("new")
    results = await asyncio.gather(old.write(add, "b"), old.write(add, "c"), return_exceptions=True)
    assert [getattr(each, "reason", each) for each in results] == ["owner_changed", "owner_changed"]
    assert await new.write(add, "d") == "d"
    assert await new.read(names) == ["a", "d"]


async def test_keys_are_found_by_digest_and_counted_for_ever(store: SqliteStore) -> None:
    """One that was revoked is found too: whoever shows it is told so. The first key is made once in a folder's life."""
    assert await store.read(count_keys) == 0
    made = await store.write(insert_key, "key_1", b"\x00" * 32, "the first", "2026-01-01T00:00:00.000Z", is_admin=1)
    assert made == await store.read(find_key, b"\x00" * 32)
    assert await store.read(find_key, b"\x00" * 31 + b"\x01") is None
    with pytest.raises(sqlite3.IntegrityError):
        await store.write(insert_key, "key_2", b"\x00" * 32, "same digest", "2026-01-01T00:00:00.000Z")
    await store.write(lambda conn: conn.execute("UPDATE api_key SET revoked_at = 'now'").rowcount)
    found = await store.read(find_key, b"\x00" * 32)
    assert found is not None and found.revoked_at == "now"
    assert await store.read(count_keys) == 1


# What only SQLite has


def pragma(conn: sqlite3.Connection, name: str) -> Any:
    """Ask a connection how it is set."""
    return conn.execute(f"PRAGMA {name}").fetchone()[0]


async def test_power_may_fail_after_any_commit(store: SqliteStore, tmp_path: Path) -> None:
    """WAL with synchronous=FULL, on the connection that writes: NORMAL could lose the last commits."""
    assert await store.write(pragma, "journal_mode") == "wal"
    assert await store.write(pragma, "synchronous") == 2
    wal = tmp_path / "holdfast.sqlite3-wal"
    size = wal.stat().st_size
    await store.write(add, "a")
    assert wal.stat().st_size > size


async def test_savepoints_are_kept_in_memory(store: SqliteStore) -> None:
    """Each keeps what its pages were before; by default these go through a temporary file, page by page."""
    assert await store.write(pragma, "temp_store") == 2


async def test_references_are_checked_and_readers_are_read_only(store: SqliteStore) -> None:
    """A row without its parent is refused; a reader's connection is opened so that it cannot write."""
    assert await store.write(pragma, "foreign_keys") == 1
    with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
        await store.write(lambda conn: conn.execute("INSERT INTO event VALUES ('gen_none', 1, 'now', 'x', NULL)"))
    (path,) = {row["file"] for row in await store.read(lambda conn: conn.execute("PRAGMA database_list").fetchall())}
    assert path.endswith("holdfast.sqlite3")


def test_one_file_is_left_after_the_end(store: SqliteStore, tmp_path: Path) -> None:
    """Whoever copies the database then copies all of it; readers are closed before the writer checkpoints."""

    async def read_in_all_threads() -> None:
        await asyncio.gather(*(store.read(names) for _ in range(4)))

    store.write_sync(add, "a")
    asyncio.run(read_in_all_threads())
    store.close()
    assert [path.name for path in tmp_path.iterdir()] == ["holdfast.sqlite3"]
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("holdfast-")] == []


@pytest.mark.parametrize("room_pages", [0, 1])
async def test_a_full_disk_is_told_as_such_and_passes(store: SqliteStore, room_pages: int) -> None:
    """What did not fit is not there, the reason is one that an operator can act on, and it goes on afterwards."""
    await store.write(add, "a")

    def grow(conn: sqlite3.Connection, name: str) -> None:
        conn.execute(f"PRAGMA max_page_count = {pragma(conn, 'page_count') + room_pages}")
        insert_key(conn, f"key_{name}", name.encode() * 20_000, "label", "now")

    with pytest.raises(StorageError) as told:
        await store.write(grow, "b")
    assert told.value.reason == "full"
    assert isinstance(told.value.__cause__, sqlite3.OperationalError) or "full" in str(told.value)
    await store.write(lambda conn: conn.execute("PRAGMA max_page_count = 1000000").fetchone())
    await store.write(add, "c")
    assert await store.read(names) == ["a", "c"]


async def test_a_disk_that_refuses_one_write_is_told_to_that_one(store: SqliteStore) -> None:
    """With a reason to act on, whether the database says it or the write's own file; the others are committed."""

    def read_only(conn: sqlite3.Connection) -> None:
        conn.execute("PRAGMA query_only = 1")
        try:
            add(conn, "b")
        finally:
            conn.execute("PRAGMA query_only = 0")

    def no_space(_: sqlite3.Connection) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def not_there(_: sqlite3.Connection) -> None:
        raise FileNotFoundError(errno.ENOENT, "No such file")

    results = await piled(store, (add, "a"), (read_only,), (no_space,), (not_there,), (add, "c"))
    assert results[0::4] == ["a", "c"]
    assert [each.reason for each in results[1:3]] == ["read_only", "full"]
    assert isinstance(results[3], FileNotFoundError)
    assert await store.read(names) == ["a", "c"]


async def test_a_transaction_that_sqlite_rolled_back_fails_its_whole_batch(store: SqliteStore) -> None:
    """Some failures of the disk undo everybody's write; then nobody is told that his stands."""

    def undone(conn: sqlite3.Connection) -> None:
        conn.execute("ROLLBACK")
        raise sqlite3.OperationalError("disk I/O error")

    results = await piled(store, (add, "a"), (undone,), (add, "b"))
    assert [each.reason for each in results] == ["broken"] * 3
    assert "disk I/O error" in str(results[0])
    assert await store.write(add, "c") == "c"
    assert await store.read(names) == ["c"]


def normalised(conn: sqlite3.Connection) -> dict[tuple[str, str], str]:
    """Every table and index of a database, without comments and spacing."""
    rows = conn.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    return {(kind, name): re.sub(r"--[^\n]*|\s+|\"", "", sql) for kind, name, sql in rows}


def test_all_migrations_together_make_the_schema(store: SqliteStore, tmp_path: Path) -> None:
    """`schema.sql` is what people read; it is what a data folder has."""
    with closing(sqlite3.connect(":memory:")) as conn:
        conn.executescript(schema())
        wanted = normalised(conn)
    assert len(wanted) > 10
    with closing(sqlite3.connect(tmp_path / "holdfast.sqlite3")) as conn:
        assert normalised(conn) == wanted
        assert pragma(conn, "user_version") == len(migrations())


def test_every_query_fits_the_schema() -> None:
    """Prepared against it, none names a table, a column or a value that does not exist."""
    with closing(sqlite3.connect(":memory:")) as conn:
        conn.executescript(schema())
        # Locks are PostgreSQL's alone.
        for file in {path.stem for path in Path(sqlite.__file__).parent.glob("sql/*.sql")} - {"schema", "locking"}:
            for query in queries(file).values():
                values = dict.fromkeys(re.findall(r"(?<!:):(\w+)", re.sub(r"--.*", "", query)), 0)
                conn.execute(f"EXPLAIN {query}", values)


def test_open_work_and_ledgers_are_found_by_index() -> None:
    """What runs at each start, or with each commit, does not read whole tables as they grow."""
    with closing(sqlite3.connect(":memory:")) as conn:
        conn.executescript(schema())
        for file, name in [
            ("generations", "open_generations"),
            ("generations", "bump_open_epochs"),
            ("attempts", "before_sending"),
            ("attempts", "before_settling"),
            ("attempts", "attempts_of"),
            ("attempts", "blobs_of"),
            ("keys", "find_key"),
        ]:
            query = queries(file)[name]
            values = dict.fromkeys(re.findall(r":(\w+)", re.sub(r"--.*", "", query)), 0)
            plan = " ".join(row[3] for row in conn.execute(f"EXPLAIN QUERY PLAN {query}", values))
            assert "SCAN" not in plan or "USING INDEX" in plan, f"{name}: {plan}"
