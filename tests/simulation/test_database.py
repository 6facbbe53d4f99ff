"""The simulation on a real PostgreSQL: a store that fails as a server does, and the same hours lived through on it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from holdfast import faults
from holdfast.errors import StorageError
from simulation import database
from simulation.coverage import Tally
from simulation.database import DatabaseDisk
from simulation.disk import CommitFault
from simulation.loop import Killed, SeededLoop, hang
from simulation.run import failure, main, run_on_postgres
from simulation.world import run_seed

SEEDS = 40
"""Each aims at four points, so that each point is aimed at twice."""
POINTS_FIRED_MIN = 20
MISHAPS_MIN = 3
REPLAYED = (0,)
UNTIL_S = 900


class Bench:
    """A database, a store on it, and what both told."""

    def __init__(self, root: Path, dsn: str) -> None:
        self.faults: Counter[str] = Counter()
        self.committed: list[tuple[str, Any]] = []
        self.loop = SeededLoop(random.Random(1))
        self.disk = DatabaseDisk(root, random.Random(1), lambda name, detail: self.faults.update([name]), dsn=dsn)
        self.store = self.disk.store("own_1", lambda function, args, value: self.committed.append((args[0], value)))
        self.runs = 0

    def run(self, main: Callable[[], Awaitable[Any]]) -> Any:
        """Run a coroutine function in virtual time."""
        return self.loop.run_until_complete(main())  # type: ignore[arg-type]

    def note(self, conn: Any, name: str) -> str:
        """Write a row."""
        self.runs += 1
        conn.execute("INSERT INTO meta (name, value) VALUES (:name, '')", {"name": name})
        return f"noted {name}"

    def write(self, name: str) -> Any:
        """Have a row written."""
        return self.run(lambda: self.store.write(self.note, name))

    def names(self) -> list[str]:
        """What is written."""
        rows = self.disk.conn.execute("SELECT name FROM meta WHERE name NOT LIKE 'schema_%' ORDER BY name")
        return [row[0] for row in rows]


@pytest.fixture
def bench(tmp_path: Path, postgres_dsn: str) -> Iterator[Bench]:
    """One in a folder of its own."""
    made = Bench(tmp_path / "data", postgres_dsn)
    with closing(made.loop), made.disk.fsync():
        yield made
        made.loop.bury()
    made.disk.conn.close()


@pytest.fixture
def make_disk(postgres_dsn: str) -> Callable[..., DatabaseDisk]:
    """What a world has in place of its disk."""
    return partial(DatabaseDisk, dsn=postgres_dsn)


def test_a_write_is_made_and_told_and_time_has_hardly_passed(bench: Bench) -> None:
    """What the server took is nobody's time."""
    assert bench.write("a") == "noted a"
    assert bench.names() == ["a"]
    assert bench.committed == [("a", "noted a")]
    assert bench.loop.time() < 0.1


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (CommitFault.BUSY, "away"),
        (CommitFault.FULL, "full"),
        (CommitFault.BROKEN, "broken"),
        (CommitFault.READ_ONLY, "read_only"),
    ],
)
def test_a_commit_that_cannot_be_made_is_told_and_nothing_is_written(
    bench: Bench, fault: CommitFault, reason: str
) -> None:
    """And whoever comes after it finds the store as it was."""
    bench.disk.commit_fault = fault
    with pytest.raises(StorageError) as raised:
        bench.write("a")
    assert raised.value.reason == reason
    assert bench.names() == []
    assert bench.committed == []
    bench.disk.commit_fault = None
    assert bench.write("b") == "noted b"
    assert bench.names() == ["b"]


def test_two_in_each_others_way_are_tried_again_and_written_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The function is run as often as it is tried; its row is there once."""
    meets = iter([CommitFault.BUSY, CommitFault.BUSY, None])
    monkeypatch.setattr(bench.disk, "commit_meets", lambda: next(meets))
    assert bench.write("a") == "noted a"
    assert bench.runs == 3
    assert bench.names() == ["a"]
    assert bench.committed == [("a", "noted a")]


def test_a_commit_whose_answer_is_lost_is_asked_for(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was made, so it is told as made, and it is not made again."""
    monkeypatch.setattr(database, "SHARE_OF_SILENCE", 0.0)
    bench.disk.commit_fault = CommitFault.LOST
    assert bench.write("a") == "noted a"
    assert (bench.runs, bench.names()) == (1, ["a"])


def test_where_nobody_can_be_asked_the_outcome_is_unknown(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks sees it: it was made. Whoever asked is told the truth, that nobody knows."""
    monkeypatch.setattr(database, "SHARE_OF_SILENCE", 1.0)
    bench.disk.commit_fault = CommitFault.LOST
    with pytest.raises(StorageError) as raised:
        bench.write("a")
    assert raised.value.reason == "unknown"
    assert (bench.names(), bench.committed) == (["a"], [("a", "noted a")])


def test_reads_fail_and_go_on(bench: Bench) -> None:
    """A server that cannot read says so, and only then."""
    look = partial(bench.store.read, lambda conn: conn.execute("SELECT count(*) AS n FROM meta").fetchone()["n"])
    before = bench.run(look)
    bench.disk.commit_fault = CommitFault.READS
    with pytest.raises(StorageError) as raised:
        bench.run(look)
    assert raised.value.reason == "broken"
    bench.disk.commit_fault = None
    assert bench.run(look) == before


class DiesAt:
    """Kills at one point."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def point(self, name: str) -> None:
        """Pass a point."""
        if name == self._name:
            await hang()

    def point_sync(self, name: str) -> None:
        """Pass a point."""
        if name == self._name:
            raise Killed


@pytest.mark.parametrize(("point", "names"), [("store.before_commit", []), ("store.after_commit", ["a"])])
def test_a_process_that_dies_beside_a_commit_hears_nothing(bench: Bench, point: str, names: list[str]) -> None:
    """The server undoes what was begun, and keeps what was made."""
    told: list[Any] = []

    async def live() -> None:
        task = bench.loop.create_task(bench.store.write(bench.note, "a"))
        task.add_done_callback(told.append)
        await hang_a_while()

    async def hang_a_while() -> None:
        done = bench.loop.create_future()
        bench.loop.call_later(1.0, done.set_result, None)
        await done

    with faults.ruled(DiesAt(point)):
        bench.run(live)
    assert told == []
    assert bench.names() == names
    assert bench.write("b") == "noted b"


@pytest.mark.timeout(UNTIL_S)
def test_every_invariant_holds_in_every_seed() -> None:
    """Nothing lost, nothing paid twice, whatever happens in an hour: forty of them, each with all its faults."""
    total = Tally()
    for tally in run_on_postgres(0, SEEDS):
        total.add(tally)
    told = [failure(seed, violations, database="postgres") for seed, violations in sorted(total.failed.items())]
    assert not told, "\n".join(told)
    assert (total.seeds, total.thin) == (SEEDS, [])
    assert len(+total.fired) >= POINTS_FIRED_MIN
    assert len({fault.value for fault in CommitFault} & set(total.faults)) >= MISHAPS_MIN


@pytest.mark.timeout(UNTIL_S)
def test_the_same_seed_gives_the_same_history_to_the_byte(
    make_disk: Callable[..., DatabaseDisk], tmp_path: Path
) -> None:
    """The server answers when it does; nobody here sees when."""
    for seed in REPLAYED:
        first, second = (run_seed(seed, tmp_path, make_disk).history.text() for _ in range(2))
        assert first == second, f"seed {seed}"


@pytest.mark.timeout(UNTIL_S)
def test_a_seed_is_run_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    """With a server of its own, and one line that says what it saw."""
    assert main(["--seed", "1", "--database", "postgres"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("seed 1: ")
    assert "0 violations" in line
    assert failure(3, ["I1: no"], database="postgres").endswith("scripts/simulation --seed 3 --database postgres")
