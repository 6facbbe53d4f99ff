"""The simulated disk, and the store on it: it fails as the real one does; a crash takes what was not synced."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import StorageError
from holdfast.store.blobs import LocalBlobs
from simulation.clock import BEGAN_AT
from simulation.disk import CommitFault, Disk, SimStore, SimThreads
from simulation.loop import Killed, SeededLoop

HOUR = BEGAN_AT.timestamp()


class Bench:
    """A disk, a store on it, and what both told."""

    def __init__(self, root: Path) -> None:
        self.faults: Counter[str] = Counter()
        self.committed: list[str] = []
        self.loop = SeededLoop(random.Random(1))
        self.disk = Disk(root, random.Random(1), lambda name, detail: self.faults.update([name]))
        self.store = SimStore(self.disk, "own_1", lambda function, args, value: self.committed.append(args[0]))
        self.threads = SimThreads(self.disk)

    def run(self, main: Callable[[], Awaitable[Any]]) -> Any:
        """Run a coroutine function in virtual time."""
        return self.loop.run_until_complete(main())  # type: ignore[arg-type]

    def names(self) -> list[str]:
        """What is written."""
        return [row[0] for row in self.disk.conn.execute("SELECT name FROM meta WHERE name <> 'owner' ORDER BY name")]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A disk in a folder of its own."""
    made = Bench(tmp_path / "data")
    with closing(made.loop), made.disk.fsync():
        yield made
        made.loop.bury()
    made.disk.conn.close()


def note(conn: sqlite3.Connection, name: str) -> str:
    """Write a row."""
    conn.execute("INSERT INTO meta (name, value) VALUES (?, '')", (name,))
    return f"noted {name}"


def noted(conn: sqlite3.Connection) -> int:
    """Count them."""
    return int(conn.execute("SELECT count(*) FROM meta WHERE name <> 'owner'").fetchone()[0])


def test_writes_of_a_moment_are_one_commit_and_each_is_observed(bench: Bench) -> None:
    """The product's own group commit, without its threads."""

    async def main() -> list[str]:
        return await asyncio.gather(*(bench.store.write(note, name) for name in "abc"))

    assert bench.run(main) == ["noted a", "noted b", "noted c"]
    assert bench.names() == sorted(bench.committed) == ["a", "b", "c"]
    assert repr(bench.store) == "<SqliteStore memory: 3 writes in 1 commits>"


def test_one_that_fails_fails_alone(bench: Bench) -> None:
    """The others are written, and only they are observed."""

    async def main() -> list[object]:
        return await asyncio.gather(*(bench.store.write(note, name) for name in "aab"), return_exceptions=True)

    outcomes = bench.run(main)
    assert sorted(type(each).__name__ for each in outcomes) == ["IntegrityError", "str", "str"]
    assert sorted(bench.committed) == bench.names() == ["a", "b"]


@pytest.mark.parametrize("fault", [each for each in CommitFault if each is not CommitFault.READS])
def test_a_commit_that_fails_is_told_as_the_disks_fault(bench: Bench, fault: CommitFault) -> None:
    """Nothing of it is written, unless its answer alone was lost."""

    async def main() -> None:
        bench.disk.commit_fault = fault
        with pytest.raises(StorageError):
            await bench.store.write(note, "a")
        bench.disk.heal()
        await bench.store.write(note, "b")

    bench.run(main)
    assert bench.names() == (["a", "b"] if fault is CommitFault.LOST else ["b"])
    assert bench.committed == bench.names()
    assert bench.faults == {fault.value: 1}


def test_reads_fail_alone(bench: Bench) -> None:
    """Commits go on, and what they wrote is read once the disk is well."""

    async def main() -> int:
        bench.disk.commit_fault = CommitFault.READS
        await bench.store.write(note, "a")
        with pytest.raises(StorageError, match="simulated"):
            await bench.store.read(noted)
        bench.disk.heal()
        return int(await bench.store.read(noted))

    assert bench.run(main) == 1


def test_a_process_that_dies_in_its_commit_tells_nobody_and_leaves_nothing(bench: Bench) -> None:
    """The transaction is rolled back by whoever comes next."""

    def die(conn: sqlite3.Connection, name: str) -> None:
        note(conn, name)
        raise Killed

    async def main() -> bool:
        writing = bench.loop.create_task(bench.store.write(die, "a"))
        await asyncio.sleep(1.0)
        was_told = writing.done()
        bench.disk.crash()
        return was_told

    assert bench.run(main) is False
    assert bench.names() == bench.committed == []
    assert not bench.disk.conn.in_transaction


def test_a_closed_store_writes_what_waits_and_nothing_more(bench: Bench) -> None:
    """As the real one."""

    async def main() -> None:
        writing = bench.loop.create_task(bench.store.write(note, "a"))
        await asyncio.sleep(1e-9)
        bench.store.close()
        assert await writing == "noted a"
        for work in (bench.store.write(note, "b"), bench.store.read(noted)):
            with pytest.raises(StorageError, match="closed"):
                await work

    bench.run(main)
    assert bench.names() == ["a"]


def test_a_job_runs_after_a_pause_and_tells_what_came_of_it(bench: Bench) -> None:
    """Its result, or what it raised; a job that kills its process tells nothing."""

    async def main() -> tuple[float, list[object]]:
        told: list[object] = []

        def fail() -> None:
            raise OSError("worn out")

        def die() -> None:
            raise Killed

        assert await bench.threads.run(str.upper, "done") == "DONE"
        took_s = bench.loop.time()
        for work in (fail, die):
            bench.threads.submit(work, lambda result, error: told.append(error))
        await asyncio.sleep(1.0)
        return took_s, told

    took_s, told = bench.run(main)
    assert 0.0 < took_s < 0.1
    assert [type(each) for each in told] == [OSError]


def test_a_crash_shortens_what_was_not_synced_and_nothing_else(bench: Bench) -> None:
    """An image that came to its end was synced before it got its name."""
    spool = bench.disk.root / "spool"
    for number in range(20):
        (spool / f"att_{number:02}-0.part").write_bytes(bytes(100))
        (spool / f"att_{number:02}-1.done").write_bytes(bytes(100))
    bench.disk.crash()
    assert {path.stat().st_size for path in spool.glob("*.done")} == {100}
    sizes = {path.stat().st_size for path in spool.glob("*.part")}
    assert min(sizes) < 100
    assert 100 in sizes
    assert bench.faults["B3 torn file"] > 3


def test_a_crash_takes_names_whose_folder_nobody_synced(bench: Bench) -> None:
    """The blob store syncs the folder of what it puts; a link without that may be gone."""
    blobs, source = LocalBlobs(bench.disk.root), bench.disk.root / "spool" / "att_x-0.done"
    source.write_bytes(b"an image")
    for number in range(10):
        blobs.put_file(f"blobs/2020/01/01/safe-{number}.png", source)
    for number in range(20):
        os.link(source, bench.disk.root / f"blobs/2020/01/01/unsafe-{number}.png")
    bench.disk.crash()
    left = [path.name for path in (bench.disk.root / "blobs/2020/01/01").iterdir()]
    assert sum(name.startswith("safe") for name in left) == 10
    assert 0 < sum(name.startswith("unsafe") for name in left) < 20


def test_fsync_fails_while_it_is_told_to_and_is_the_real_one_afterwards(tmp_path: Path) -> None:
    """The rest of the process keeps its own."""
    real = os.fsync
    disk = Disk(tmp_path, random.Random(1), lambda name, detail: None)
    with disk.fsync(), (tmp_path / "file").open("wb") as file:
        os.fsync(file.fileno())
        disk.fsync_fails = True
        with pytest.raises(OSError, match="Input/output"):
            os.fsync(file.fileno())
    assert os.fsync is real
    disk.conn.close()


def test_a_full_disk_takes_no_files_and_says_so(bench: Bench) -> None:
    """Steps that need room meet it; others do not."""
    bench.disk.is_full = True
    met = [bench.disk.file_fault("blob.before_link") for _ in range(50)]
    assert {each.errno for each in met if each is not None} == {28}
    assert bench.disk.file_fault("settle.before_rows") is None
    assert bench.disk.free_bytes() == 0
    bench.disk.heal()
    assert bench.disk.file_fault("blob.before_link") is None
    assert bench.disk.free_bytes() > 10**9


def test_files_get_the_hour_of_their_world(bench: Bench) -> None:
    """Those that are new by the real disk's clock; what was stamped before keeps its hour."""
    new, old = bench.disk.root / "spool" / "new", bench.disk.root / "inputs" / "old"
    new.write_bytes(b"")
    bench.disk.leave("inputs/old", HOUR - 5000.0)
    bench.disk.stamp(HOUR + 60.0)
    assert new.stat().st_mtime == HOUR + 60.0
    assert old.stat().st_mtime == HOUR - 5000.0
    bench.disk.stamp(HOUR + 120.0)
    assert new.stat().st_mtime == HOUR + 60.0


def test_every_disk_begins_with_the_whole_schema(bench: Bench, tmp_path: Path) -> None:
    """From one image, made once; what one seed writes no other sees."""
    bench.disk.conn.execute("INSERT INTO meta (name, value) VALUES ('a', '')")
    other = Disk(tmp_path / "other", random.Random(1), lambda name, detail: None)
    assert noted(other.conn) == 0
    (version,) = other.conn.execute("PRAGMA user_version").fetchone()
    tables = {row[0] for row in other.conn.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert {"generation", "attempt", "blob", "ledger_txn", "event", "webhook_delivery"} <= tables
    assert version == 0, "migrations are run by the real store; the image is of what they leave"
    other.conn.close()
