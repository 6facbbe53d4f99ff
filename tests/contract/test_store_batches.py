"""A batch in which one write fails: it fails alone, and what its neighbours are told is what is written.

Another implementation joins by being added to `STORES`, as in `test_store_sqlite.py`.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast import faults
from holdfast.errors import StorageError
from holdfast.faults import InjectedFault
from holdfast.store.keys import count_keys, insert_key
from holdfast.store.sqlite import SqliteStore

STORES: dict[str, Callable[[Path], SqliteStore]] = {
    "sqlite": lambda folder: SqliteStore(folder / "holdfast.sqlite3", "me"),
}


class Batches:
    """A store whose writes are handed over in batches, and what was run of them, in order."""

    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.runs: list[str] = []

    def add(self, conn: sqlite3.Connection, name: str) -> str:
        """Write one row; a second one of its name is refused. Tells how many rows there were."""
        self.runs.append(name)
        found = count_keys(conn)
        insert_key(conn, f"key_{name}", name.encode(), "label", "2026-01-01T00:00:00.000Z")
        return f"{name} after {found}"

    def fail(self, conn: sqlite3.Connection, name: str) -> None:
        """Write one row, and then think better of it."""
        self.add(conn, name)
        raise KeyError(name)

    def undo(self, conn: sqlite3.Connection, name: str) -> None:
        """Fail as SQLite does when the disk breaks under a statement: everything is rolled back already."""
        self.add(conn, name)
        conn.execute("ROLLBACK")
        raise sqlite3.OperationalError("disk I/O error")

    async def together(self, *writes: tuple[Callable[..., Any], str]) -> list[Any]:
        """Hand the writes over while the writer is busy, so that they make one batch; give results and exceptions."""
        entered, leave = threading.Event(), threading.Event()

        def hold(_: sqlite3.Connection) -> None:
            entered.set()
            assert leave.wait(10)

        holder = asyncio.create_task(self.store.write(hold))
        await asyncio.to_thread(entered.wait, 10)
        tasks = [asyncio.create_task(self.store.write(*write)) for write in writes]
        await asyncio.sleep(0)
        leave.set()
        await holder
        return await asyncio.gather(*tasks, return_exceptions=True)

    async def names(self) -> list[str]:
        """What is written, oldest first."""

        def read(conn: sqlite3.Connection) -> list[str]:
            return [row["digest"].decode() for row in conn.execute("SELECT digest FROM key_secret ORDER BY rowid")]

        return await self.store.read(read)


@pytest.fixture(params=STORES)
def batches(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Batches]:
    """An empty store of each implementation."""
    store = STORES[request.param](tmp_path)
    yield Batches(store)
    store.close()


async def test_where_nothing_fails_each_write_is_run_once(batches: Batches) -> None:
    """In the order it came."""
    told = await batches.together(*((batches.add, name) for name in "abc"))
    assert told == ["a after 0", "b after 1", "c after 2"]
    assert batches.runs == list("abc") == await batches.names()


@pytest.mark.parametrize("at", range(4))
async def test_neighbours_of_a_failure_are_written_once_and_told_what_is_written(batches: Batches, at: int) -> None:
    """Wherever it stands: who came before it is run again, who comes after it sees nothing of it."""
    writes = [(batches.add, name) for name in "abc"]
    writes.insert(at, (batches.fail, "x"))
    told = await batches.together(*writes)
    failed = told.pop(at)
    assert isinstance(failed, KeyError)
    assert told == ["a after 0", "b after 1", "c after 2"]
    assert await batches.names() == list("abc")
    assert batches.runs == [*"abc"[:at], "x", *"abc"]


async def test_several_failures_each_fail_alone(batches: Batches) -> None:
    """Of kinds of their own; no write is run more than twice, however many fail."""
    add, fail = batches.add, batches.fail
    told = await batches.together((add, "a"), (fail, "x"), (add, "b"), (fail, "y"), (add, "a"), (add, "c"))
    assert [type(each) for each in told] == [str, KeyError, str, KeyError, sqlite3.IntegrityError, str]
    assert [told[0], told[2], told[5]] == ["a after 0", "b after 1", "c after 2"]
    assert await batches.names() == list("abc")
    assert max(batches.runs.count(name) for name in "bcxy") == 1
    # Both writes of that name, of which the first is run again.
    assert batches.runs.count("a") == 3


async def test_a_write_that_fails_alone_in_its_batch_leaves_nothing(batches: Batches) -> None:
    """And the next one is taken as if nothing had been."""
    with pytest.raises(KeyError):
        await batches.store.write(batches.fail, "x")
    assert await batches.store.write(batches.add, "a") == "a after 0"
    assert batches.runs == ["x", "a"]


@pytest.mark.parametrize("first", ["add", "fail"])
async def test_when_the_disk_took_everything_back_all_are_told_so(batches: Batches, first: str) -> None:
    """In the first run and in the second: nobody is told that something is written which is not."""
    told = await batches.together((getattr(batches, first), "a"), (batches.undo, "x"), (batches.add, "b"))
    assert {type(each) for each in told} == {StorageError}
    assert {each.reason for each in told} == {"broken"}
    assert await batches.names() == []
    assert await batches.store.write(batches.add, "c") == "c after 0"


async def test_an_owner_who_lost_the_folder_between_two_runs_writes_nothing(
    batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rolled back is also let go: whoever takes the folder over then is seen before anything is run again."""
    store, checks = batches.store, list[int]()

    def check() -> None:
        checks.append(1)
        if len(checks) == 3:
            raise StorageError("taken over", reason="owner_changed")

    monkeypatch.setattr(store, "_check_owner", check)
    told = await batches.together((batches.add, "a"), (batches.fail, "x"), (batches.add, "b"))
    assert [each.reason for each in told] == ["owner_changed"] * 3
    assert await batches.names() == []
    assert batches.runs == ["a", "x"]


async def test_a_commit_that_fails_after_a_second_run_fails_every_write(
    batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the one that had failed by itself: nothing of this batch is written, and each is told so."""
    # The holder's own commit is the first pass.
    monkeypatch.setattr(faults, "_armed", {"store.before_commit": faults._Armed("error", 2)})
    told = await batches.together((batches.add, "a"), (batches.fail, "x"), (batches.add, "b"))
    assert [(type(each), each.reason) for each in told] == [(StorageError, "broken")] * 3
    assert all("injected" in str(each) and not isinstance(each, InjectedFault) for each in told)
    assert await batches.names() == []
