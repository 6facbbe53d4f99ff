"""The sweeper on a real store and real files: what is due goes, what is not stays, and any fault is made good."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import holdfast
from holdfast import faults
from holdfast.clock import ulid
from holdfast.engine import sweeper as module
from holdfast.engine.sweeper import EVERY_S, FIRST_S, PAUSE_S_MIN, WALK_EVERY_S, Sweeper
from holdfast.errors import RequestError, StorageError
from holdfast.policy.retention import ABANDONED_S, INPUT_GRACE_S, JUMP_PAUSE_S
from holdfast.store.bookkeeping import ledger_of
from holdfast.types import InputImage

DAY_S = 86400.0
WEEK_S = 7 * DAY_S
ORPHAN = f"blobs/2026/01/17/att_{ulid(1_768_600_000_000, bytes(10))}-0.png"
INPUT = "inputs/" + "ab" * 32
INPUT_IMAGE = InputImage(sha256="ab" * 32, mime="image/png", bytes=5, store_key=INPUT)
Log = Callable[..., list[dict[str, Any]]]
POINTS = sorted(
    name
    for path in Path(holdfast.__file__).parent.rglob("*.py")
    for name in re.findall(r'faults\.point(?:_sync)?\("(sweeper\.\w+)"\)', path.read_text("utf-8"))
)


@pytest.fixture
def sweeper(bench: Any) -> Sweeper:
    """A sweeper beside the engine, not started."""
    return Sweeper(bench.core, bench.engine.storage_low)


def left(bench: Any, key: str, *, age_s: float) -> Path:
    """Leave a file of this age, as the bench's clock has it."""
    path: Path = bench.root / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"bytes")
    written_at = bench.clock.now().timestamp() - age_s
    os.utime(path, (written_at, written_at))
    return path


async def with_input(bench: Any, make: Any) -> str:
    """Make a generation that was asked with a reference image; its id."""
    left(bench, INPUT, age_s=0.0)
    id_: str = (await bench.made(make(inputs=(INPUT_IMAGE,)))).generation.id
    return id_


def files(bench: Any) -> list[str]:
    """Every image there is, and every reference image."""
    found = [*(bench.root / "blobs").rglob("*"), *(bench.root / "inputs").rglob("*")]
    return sorted(str(path.relative_to(bench.root)) for path in found if path.is_file())


async def states(bench: Any, id_: str) -> list[str]:
    """How the images of a generation stand."""
    return [blob.state for blob in (await bench.record(id_)).blobs]


# What is due


async def test_what_was_collected_goes_after_a_day_and_its_record_stays(
    bench: Any, sweeper: Sweeper, log: Log, shapes: Any
) -> None:
    """Drafts and all; the money and the log are as they were, the words are gone."""
    bench.upstream.usual = shapes.Reply(body=shapes.gemini(shapes.png(1), drafts=[shapes.png(2)]))
    id_ = (await bench.made()).generation.id
    await bench.engine.answered(id_, with_image=True)
    events, money = await bench.events(id_), await bench.store.read(ledger_of, id_)
    bench.clock.jump(DAY_S - 60)
    await sweeper.sweep()
    assert await states(bench, id_) == ["stored", "stored"]
    bench.clock.jump(120)
    await sweeper.sweep()
    record = await bench.record(id_)
    assert [blob.state for blob in record.blobs] == ["deleted", "deleted"]
    assert files(bench) == []
    assert (record.generation.state, record.generation.request) == ("succeeded", None)
    assert [attempt.answer for attempt in record.attempts] == [None]
    assert (await bench.events(id_), await bench.store.read(ledger_of, id_)) == (events, money)
    (line,) = log("sweeper.deleted")
    bytes_ = sum(blob.bytes for blob in record.blobs)
    assert line == {"generations": 1, "images": 2, "bytes": bytes_}
    await bench.is_clean(id_)


async def test_what_was_never_collected_survives_until_the_cap(bench: Any, sweeper: Sweeper, a_picture: bytes) -> None:
    """A week as shipped, run by run; an answer without an image is no collecting."""
    id_ = (await bench.made()).generation.id
    await bench.engine.answered(id_, with_image=False)
    for _ in range(7):
        await sweeper.sweep()
        assert bench.bytes_of(await bench.record(id_)) == a_picture
        bench.clock.jump(DAY_S)
    bench.clock.jump(1)
    await sweeper.sweep()
    assert (await states(bench, id_), files(bench)) == (["deleted"], [])


async def test_an_hour_after_collecting_at_the_earliest(bench: Any, sweeper: Sweeper) -> None:
    """Fetched on the third day, it stays for another hour and no longer."""
    id_ = (await bench.made()).generation.id
    bench.clock.jump(3 * DAY_S)
    await bench.engine.answered(id_, with_image=True)
    bench.clock.jump(3500)
    await sweeper.sweep()
    assert await states(bench, id_) == ["stored"]
    bench.clock.jump(110)
    await sweeper.sweep()
    assert await states(bench, id_) == ["deleted"]


async def test_a_run_takes_all_that_is_due_in_batches(
    bench: Any, sweeper: Sweeper, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each commit is small; one line tells of them all. What is not due is passed by."""
    monkeypatch.setattr(module, "BATCH", 2)
    monkeypatch.setattr(module, "UNLINK_BATCH", 1)
    ids = [(await bench.made()).generation.id for _ in range(5)]
    bench.clock.jump(1000)
    kept = (await bench.made()).generation.id
    bench.clock.jump(WEEK_S - 500)
    before = bench.commits
    await sweeper.sweep()
    # Three batches of marks and tombstones; the look that finds no more is no commit.
    assert bench.commits - before == 6
    assert [await states(bench, id_) for id_ in (*ids, kept)] == [["deleted"]] * 5 + [["stored"]]
    (line,) = log("sweeper.deleted")
    assert (line["generations"], line["images"]) == (5, 5)
    await sweeper.sweep()
    assert len(log("sweeper.deleted")) == 1


async def test_what_cannot_be_deleted_holds_up_nobody_and_is_tried_again(
    bench: Any, sweeper: Sweeper, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It keeps its mark, is served to nobody, and goes with the next run."""
    monkeypatch.setattr(module, "BATCH", 1)
    ids = [(await bench.made()).generation.id for _ in range(3)]
    stuck = (await bench.record(ids[0])).results[0].store_key
    bench.clock.jump(WEEK_S + 1)
    with monkeypatch.context() as patched:
        real = bench.core.blobs.delete

        def delete(key: str) -> None:
            if key == stuck:
                raise OSError(5, "Input/output error")
            real(key)

        patched.setattr(bench.core.blobs, "delete", delete)
        await sweeper.sweep()
        assert [await states(bench, id_) for id_ in ids] == [["deleting"], ["deleted"], ["deleted"]]
        assert (await bench.record(ids[0])).generation.request is not None
        (line,) = log("storage.failed")
        assert (line["generation_id"], "Input/output" in line["message"]) == (ids[0], True)
        assert str(bench.root) not in line["message"]
    await sweeper.sweep()
    assert (await states(bench, ids[0]), files(bench)) == (["deleted"], [])


@pytest.mark.parametrize("reason", ["full", "broken"])
async def test_a_disk_that_is_too_full_for_the_marks_is_emptied_all_the_same(
    bench: Any, sweeper: Sweeper, log: Log, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    """Nothing else would make room. What is not due stays; a disk that fails otherwise is left alone."""
    due = await bench.made()
    bench.clock.jump(DAY_S)
    kept = await bench.made()
    bench.clock.jump(WEEK_S - DAY_S + 1)
    path = bench.root / due.results[0].store_key
    real = bench.store.write

    async def write(function: Any, *args: Any) -> Any:
        if path.exists():
            raise StorageError("database or disk is full", reason=reason)
        return await real(function, *args)

    monkeypatch.setattr(bench.store, "write", write)
    if reason == "broken":
        with pytest.raises(StorageError):
            await sweeper.sweep()
        assert (path.exists(), await states(bench, due.generation.id)) == (True, ["stored"])
        return
    await sweeper.sweep()
    assert await states(bench, due.generation.id) == ["deleted"]
    assert files(bench) == [kept.results[0].store_key]
    assert len(log("storage.failed")) == 1


async def test_a_disk_that_stays_full_is_told_and_tried_again(
    bench: Any, sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else fills it faster: what was due is gone from the disk, and marked when there is room."""
    id_ = (await bench.made()).generation.id
    bench.clock.jump(WEEK_S + 1)

    async def full(*_: Any) -> None:
        raise StorageError("database or disk is full", reason="full")

    with monkeypatch.context() as patched:
        patched.setattr(bench.store, "write", full)
        with pytest.raises(StorageError):
            await sweeper.sweep()
    assert (await states(bench, id_), files(bench)) == (["stored"], [])
    await sweeper.sweep()
    assert await states(bench, id_) == ["deleted"]


async def test_a_file_that_is_gone_already_is_no_failure(bench: Any, sweeper: Sweeper, log: Log) -> None:
    """Somebody removed it by hand, or a run died after it had."""
    record = await bench.made()
    (bench.root / record.results[0].store_key).unlink()
    bench.clock.jump(WEEK_S + 1)
    await sweeper.sweep()
    assert await states(bench, record.generation.id) == ["deleted"]
    assert log("storage.failed") == []


async def test_what_is_open_is_left_alone_however_old_it_is(bench: Any, sweeper: Sweeper) -> None:
    """Its image is on its way."""
    gate = bench.hold_back()
    id_, caller = await bench.ask()
    await bench.in_flight()
    bench.clock.jump(30 * DAY_S)
    await sweeper.sweep()
    gate.set()
    await caller.ended()
    await bench.quiet()
    assert (await bench.record(id_)).generation.request is not None
    await sweeper.sweep()
    assert await states(bench, id_) == ["stored"]


# Reference images


async def test_a_reference_image_goes_with_the_last_that_named_it(bench: Any, sweeper: Sweeper, make: Any) -> None:
    """And not with the first."""
    first = await with_input(bench, make)
    bench.clock.jump(1000)
    await with_input(bench, make)
    bench.clock.jump(WEEK_S - 500)
    await sweeper.sweep()
    assert await states(bench, first) == ["deleted"]
    assert INPUT in files(bench)
    bench.clock.jump(1000)
    await sweeper.sweep()
    assert files(bench) == []


async def test_a_reference_image_that_somebody_just_sent_again_stays(bench: Any, sweeper: Sweeper, make: Any) -> None:
    """The request is still being read; if nothing comes of it, an hour later it is gone."""
    await with_input(bench, make)
    bench.clock.jump(WEEK_S + 1)
    left(bench, INPUT, age_s=1.0)
    await sweeper.sweep()
    assert files(bench) == [INPUT]
    bench.clock.jump(INPUT_GRACE_S + WALK_EVERY_S)
    await sweeper.sweep()
    assert files(bench) == []


# What a crash left behind


async def test_files_that_nobody_knows_are_removed_after_a_day_and_told(bench: Any, sweeper: Sweeper, log: Log) -> None:
    """With the folder of their day, once it was empty for as long."""
    path = left(bench, ORPHAN, age_s=ABANDONED_S - 10)
    left(bench, "blobs/2026/01/17/notes.txt", age_s=ABANDONED_S * 9)
    await sweeper.sweep()
    assert path.exists()
    bench.clock.jump(WALK_EVERY_S)
    await sweeper.sweep()
    assert files(bench) == ["blobs/2026/01/17/notes.txt"]
    assert log("sweeper.deleted") == [{"kind": "blob", "file": ORPHAN}]
    (path.parent / "notes.txt").unlink()
    for folder in (path.parent, path.parents[1], path.parents[2]):
        os.utime(folder, (1.0, 1.0))
    bench.clock.jump(WALK_EVERY_S)
    await sweeper.sweep()
    assert not path.parent.exists()


async def test_the_spool_of_what_is_settled_is_emptied_and_the_rest_left_to_recovery(
    bench: Any, sweeper: Sweeper, a_picture: bytes, shapes: Any
) -> None:
    """An answer that was received and not taken in is somebody's money: the next start delivers it."""
    settled = (await bench.made()).attempts[0].id
    trash = left(bench, f"spool/{settled}-0.part", age_s=ABANDONED_S)
    _, live = await bench.accepted()
    attempt = await bench.sent(live)
    bench.linked(attempt, bench.received(live, attempt, shapes.gemini(a_picture)))
    for path in [*bench.spool.iterdir(), *(bench.root / "blobs").rglob("*.png")]:
        os.utime(path, (1.0, 1.0))
    os.utime(trash, (1.0, 1.0))
    await sweeper.sweep()
    assert not trash.exists()
    assert bench.spooled() != []
    assert len(files(bench)) == 2
    recovered = await bench.restart()
    assert recovered.settled == 1
    assert bench.bytes_of(await bench.record(live.id)) == a_picture


async def test_a_run_looks_at_a_piece_and_the_next_goes_on(
    bench: Any, sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bounded, whatever there is; a whole walk is made once an hour."""
    monkeypatch.setattr(module, "LEFTOVERS_PER_RUN", 3)
    keys = [ORPHAN.replace("-0", f"-{at}") for at in range(7)]
    for key in keys:
        left(bench, key, age_s=ABANDONED_S)
    counts = []
    for _ in range(3):
        await sweeper.sweep()
        counts.append(len(files(bench)))
    assert counts == [4, 1, 0]
    await sweeper.sweep()
    left(bench, ORPHAN, age_s=ABANDONED_S)
    await sweeper.sweep()
    assert files(bench) == [ORPHAN]
    bench.clock.jump(WALK_EVERY_S)
    await sweeper.sweep()
    assert files(bench) == []


async def test_a_folder_that_cannot_be_read_is_told_and_walked_again(
    bench: Any, sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is due had its turn before."""
    due = await bench.made()
    bench.clock.jump(WEEK_S + 1)
    left(bench, ORPHAN, age_s=ABANDONED_S)
    with monkeypatch.context() as patched:
        patched.setattr(bench.core.blobs, "walk", lambda: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        with pytest.raises(OSError, match="Input/output"):
            await sweeper.sweep()
    assert await states(bench, due.generation.id) == ["deleted"]
    bench.clock.jump(WALK_EVERY_S)
    await sweeper.sweep()
    assert files(bench) == []


# Faults


def test_there_are_points_enough() -> None:
    """Before and after each commit, each removal and each look."""
    assert len(POINTS) >= 8


@pytest.mark.parametrize("point", POINTS)
async def test_a_fault_anywhere_is_made_good_by_the_next_run(
    bench: Any, sweeper: Sweeper, make: Any, arm: Callable[[str], None], point: str
) -> None:
    """At no moment is there a row that promises a file which is gone; in the end all is gone, and counted once."""
    due = [await with_input(bench, make) for _ in range(2)]
    bench.clock.jump(DAY_S)
    kept = (await bench.made()).generation.id
    bench.clock.jump(WEEK_S - DAY_S + 1)
    left(bench, ORPHAN, age_s=ABANDONED_S)
    arm(f"{point}:error")
    with pytest.raises(OSError, match="injected"):
        await sweeper.sweep()
    assert faults._armed[point].countdown == 0
    for id_ in (*due, kept):
        record = await bench.record(id_)
        for blob in record.blobs:
            assert blob.state != "stored" or (bench.root / blob.store_key).exists()
            assert (blob.state == "deleted") is (record.generation.request is None)
    bench.clock.jump(WALK_EVERY_S)
    await sweeper.sweep()
    assert [await states(bench, id_) for id_ in (*due, kept)] == [["deleted"], ["deleted"], ["stored"]]
    assert files(bench) == [(await bench.record(kept)).results[0].store_key]
    await bench.is_clean(*due, kept)


# The clock


async def test_nothing_is_deleted_after_the_wall_clock_was_set(
    bench: Any, sweeper: Sweeper, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A month ahead by mistake, everything is due: an hour to put it right, then it counts."""
    id_ = (await bench.made()).generation.id
    await sweeper.sweep()
    real = bench.clock.monotonic
    bench.clock.jump(30 * DAY_S)
    monkeypatch.setattr(bench.clock, "monotonic", lambda: real() - 30 * DAY_S + 60)
    await sweeper.sweep()
    (line,) = log("sweeper.paused")
    assert (line["clock_jumped_s"], line["for_s"]) == (30 * DAY_S, JUMP_PAUSE_S)
    bench.clock.jump(JUMP_PAUSE_S - 1)
    await sweeper.sweep()
    assert await states(bench, id_) == ["stored"]
    bench.clock.jump(2)
    await sweeper.sweep()
    assert await states(bench, id_) == ["deleted"]
    assert len(log("sweeper.paused")) == 1


async def test_nothing_is_deleted_once_the_wall_clock_is_set_in_the_midst_of_a_run(
    bench: Any, sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run goes by the hour at which it began: what the clock makes due while it lasts is not.

    Simulation, seed 70021.
    """
    old = (await bench.made()).generation.id
    bench.clock.jump(WEEK_S - 60)
    young = (await bench.made()).generation.id
    stray = left(bench, ORPHAN, age_s=60.0)
    await sweeper.sweep()
    bench.clock.jump(120)
    real_now, write, set_ahead = bench.clock.now, bench.store.write, []

    async def set_the_clock(function: Any, *args: Any, **kwargs: Any) -> Any:
        if function is module.bury and not set_ahead:
            set_ahead.append(30 * DAY_S)
            monkeypatch.setattr(bench.clock, "now", lambda: real_now() + timedelta(seconds=set_ahead[0]))
        return await write(function, *args, **kwargs)

    monkeypatch.setattr(bench.store, "write", set_the_clock)
    await sweeper.sweep()
    assert set_ahead
    assert (await states(bench, old), await states(bench, young)) == (["deleted"], ["stored"])
    await sweeper.sweep()
    assert await states(bench, young) == ["stored"]
    assert stray.exists()


async def test_nothing_is_deleted_after_the_wall_clock_was_set_just_after_the_start(
    bench: Any, sweeper: Sweeper, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first run knows what the clock showed when the gateway began.

    Simulation, seed 70021.
    """
    id_ = (await bench.made()).generation.id
    sweeper.start()
    real_now = bench.clock.now
    monkeypatch.setattr(bench.clock, "now", lambda: real_now() + timedelta(days=30))
    await bench.turn()
    bench.clock.jump(FIRST_S)
    await bench.until(lambda: log("sweeper.paused"))
    await sweeper.stop()
    assert await states(bench, id_) == ["stored"]


# The task


class Runs:
    """Counts runs in place of making them."""

    def __init__(self, *failures: Exception) -> None:
        self.count = 0
        self._failures = list(failures)

    async def __call__(self) -> None:
        """Run."""
        self.count += 1
        if self._failures:
            raise self._failures.pop(0)


async def test_it_runs_soon_after_the_start_and_then_every_minute(
    bench: Any, sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it is stopped; stopping twice, or before a start, is no error."""
    await sweeper.stop()
    runs = Runs()
    monkeypatch.setattr(sweeper, "sweep", runs)
    sweeper.start()
    counts = []
    for pause_s in (0.0, FIRST_S, PAUSE_S_MIN, EVERY_S - PAUSE_S_MIN - 1, 1.5, EVERY_S, EVERY_S):
        bench.clock.jump(pause_s)
        await bench.turn()
        counts.append(runs.count)
    assert counts[:4] == [0, 1, 1, 1]
    assert counts[4] == 2
    assert 3 <= counts[-1] <= 4
    await sweeper.stop()
    await sweeper.stop()
    bench.clock.jump(10 * EVERY_S)
    await bench.turn()
    assert runs.count == counts[-1]


async def test_a_run_that_fails_is_told_and_the_next_one_comes(
    bench: Any, sweeper: Sweeper, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk's failures as the disk's, ours as ours; no text of a path."""
    failures = (StorageError("no room", reason="full"), OSError(5, "Input/output error", "/secret/path"), KeyError("x"))
    runs = Runs(*failures)
    monkeypatch.setattr(sweeper, "sweep", runs)
    sweeper.start()
    bench.clock.jump(FIRST_S)
    await bench.until(lambda: runs.count == 1)
    for count in (2, 3, 4):
        await bench.turn()
        bench.clock.jump(PAUSE_S_MIN)
        await bench.turn()
        bench.clock.jump(EVERY_S)
        await bench.until(lambda count=count: runs.count == count)
    await sweeper.stop()
    assert len(log("storage.failed")) == 2
    assert "/secret" not in str(log("storage.failed"))
    assert len(log("fault.internal")) == 1


async def test_low_storage_makes_a_run_at_once_and_only_what_is_due_goes(
    bench: Any, sweeper: Sweeper, log: Log
) -> None:
    """A refusal wakes it; an image that is not due stays, though its room is wanted."""
    due = (await bench.made()).generation.id
    bench.clock.jump(DAY_S)
    kept = (await bench.made()).generation.id
    sweeper.start()
    bench.clock.jump(FIRST_S)
    await bench.until(lambda: not sweeper._storage_low.is_set() and sweeper._clocks)
    bench.clock.jump(WEEK_S - DAY_S)
    await bench.turn()
    bench.free_bytes = 0
    with pytest.raises(RequestError) as refused:
        await bench.ask()
    assert refused.value.code == "storage_low"
    while not log("sweeper.deleted"):
        bench.clock.jump(1.0)
        await asyncio.sleep(0.001)
    await sweeper.stop()
    assert [await states(bench, id_) for id_ in (due, kept)] == [["deleted"], ["stored"]]


async def test_whoever_asks_whether_we_are_ready_wakes_it_too(bench: Any) -> None:
    """Else nothing would, where a load balancer sends nobody any more."""
    assert bench.engine.obstacle() is None
    assert not bench.engine.storage_low.is_set()
    bench.free_bytes = 0
    assert bench.engine.obstacle() == "storage_low"
    assert bench.engine.storage_low.is_set()


async def test_low_storage_does_not_make_it_run_without_a_pause(
    bench: Any, sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand refusals a second are one run in five."""
    runs = Runs()
    monkeypatch.setattr(sweeper, "sweep", runs)
    bench.engine.storage_low.set()
    sweeper.start()
    bench.clock.jump(FIRST_S)
    await bench.until(lambda: runs.count == 1)
    bench.clock.jump(PAUSE_S_MIN - 1)
    await bench.turn()
    assert runs.count == 1
    bench.clock.jump(1.0)
    await bench.until(lambda: runs.count == 2)
    await sweeper.stop()


async def test_stopped_in_the_middle_of_a_run_it_leaves_what_the_next_process_finishes(
    bench: Any, sweeper: Sweeper, arm: Callable[[str], None]
) -> None:
    """It is cancelled between mark and removal; nothing of it lives on in the loop."""
    id_ = (await bench.made()).generation.id
    bench.clock.jump(WEEK_S + 1)
    arm("sweeper.before_unlink:sleep=3600")
    sweeper.start()
    bench.clock.jump(FIRST_S)
    await bench.until(lambda: faults._armed["sweeper.before_unlink"].countdown == 0)
    await sweeper.stop()
    assert await states(bench, id_) == ["deleting"]
    await bench.restart()
    await Sweeper(bench.core, bench.engine.storage_low).sweep()
    assert (await states(bench, id_), files(bench)) == (["deleted"], [])
