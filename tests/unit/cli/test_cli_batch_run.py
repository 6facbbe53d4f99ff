"""A run over a batch writes first and sends then, a few lines at a time, and stops where going on makes no sense."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.batch.journal import AskedOf, Began, Failed, Record
from holdfast.batch.plan import Task, plan_of
from holdfast.batch.prompts import Line
from holdfast.cli.batch_files import Folder, JournalFile
from holdfast.cli.batch_run import BatchRun, Finished, Made
from holdfast.cli.batch_telling import Trouble
from holdfast.cli.exits import Exit, Stop
from holdfast.cli.files import Received
from holdfast.policy.latency import prior
from holdfast.types import ImageInfo, Tier

LINES = [Line(number=number, prompt=f"prompt {number}") for number in range(1, 9)]


class Diary:
    """What happened, in order."""

    def __init__(self) -> None:
        self.events: list[tuple[str, int]] = []


class Journal(JournalFile):
    """A real one that tells what it writes."""

    def __init__(self, path: Path, diary: Diary) -> None:
        super().__init__(path)
        self._diary = diary

    def write(self, record: Record) -> None:
        """Write it, then tell."""
        super().write(record)
        if not isinstance(record, Began):
            self._diary.events.append((type(record).__name__, record.line))


class Peer:
    """Answers by a function of the line."""

    def __init__(self, diary: Diary, *, keeps: bool = True) -> None:
        self._diary = diary
        self._keeps = keeps
        self.ends: dict[int, Callable[[], None]] = {}
        self.at_once = 0
        self.most_at_once = 0
        self.gate: asyncio.Event | None = None

    async def remembers(self) -> bool:
        """Say whether it keeps what it makes."""
        return self._keeps

    async def ask(self, task: Task, parts: Path) -> Made:
        """Make one picture, or end as the test wishes."""
        number = task.line.number
        self._diary.events.append(("sent", number))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self.gate is not None:
                await self.gate.wait()
            await asyncio.sleep(0)
            self.ends.get(number, lambda: None)()
        finally:
            self.at_once -= 1
        path = parts / f"{number}.part"
        path.write_bytes(b"picture")
        info = ImageInfo(mime="image/png", width_px=1, height_px=1, bytes=7, sha256="0" * 64)
        return Made(images=(Received(index=0, path=path, info=info, is_complete=True),), generation_id=f"gen_{number}")


class Stage:
    """One batch in a folder."""

    def __init__(self, path: Path, *, keeps: bool = True) -> None:
        self.path = path
        self.diary = Diary()
        self.peer = Peer(self.diary, keeps=keeps)
        self.heard: list[Finished | Trouble] = []
        self.journal_path = path / "p.journal"

    def made(self, journal: JournalFile) -> BatchRun:
        """Begin or go on, as the command does."""
        folder = Folder(self.path, self.journal_path)
        folder.prepare()
        if journal.told.head is None:
            journal.write(Began(id="bat_1", base_url="http://x/v1"))
        return BatchRun(
            plan_of(LINES, journal.told.entries, batch_id="bat_1", has_file=folder.has),
            stems={line.number: str(line.number) for line in LINES},
            journal=journal,
            folder=folder,
            asker=self.peer,
            latency=lambda _: prior(Tier.K1),
            heard=self.heard.append,
        )

    async def run(self, concurrency: int = 3) -> BatchRun:
        """Run to the end."""
        with Journal(self.journal_path, self.diary) as journal:
            run = self.made(journal)
            await run.run(concurrency)
            return run


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """A gateway that keeps what it makes."""
    return Stage(tmp_path)


def stop(code: Exit, **details: object) -> Callable[[], None]:
    """End a line without an image."""

    def end() -> None:
        raise Stop(code, "What went wrong.", **details)

    return end


async def test_every_line_is_written_down_before_it_is_sent(stage: Stage) -> None:
    """Whoever is killed in between has at worst a key that nobody has seen."""
    run = await stage.run()
    assert run.done == 8
    for line in LINES:
        own = [name for name, number in stage.diary.events if number == line.number]
        assert own == ["AskedOf", "sent", "Done"]
    assert sorted(path.name for path in stage.path.glob("*.png")) == [f"{line.number}.png" for line in LINES]


async def test_no_more_lines_than_wished_are_at_work(stage: Stage) -> None:
    """Memory and connections are bounded by it."""
    stage.peer.gate = asyncio.Event()
    running = asyncio.create_task(stage.run(3))
    while stage.peer.at_once < 3:
        await asyncio.sleep(0.001)
    for _ in range(50):
        await asyncio.sleep(0)
    stage.peer.gate.set()
    await running
    assert stage.peer.most_at_once == 3


async def test_a_failure_is_written_down_and_the_rest_goes_on(stage: Stage) -> None:
    """With what it may have cost."""
    stage.peer.ends[2] = stop(Exit.REFUSED, paid="yes", generation_id="gen_2")
    run = await stage.run()
    assert (run.done, [each.line for each in run.troubles], run.stop) == (7, [2], None)
    with JournalFile(stage.journal_path) as journal:
        end = journal.told.entries[2].end
    assert end == Failed(line=2, key=end.key if end else "", code="refused", paid="yes", generation_id="gen_2")


async def test_what_is_not_known_to_have_ended_stays_open(stage: Stage) -> None:
    """The next run asks for it with its key."""
    stage.peer.ends[2] = stop(Exit.GENERATION_FAILED, paid="unknown", is_open=True)
    run = await stage.run()
    assert run.troubles[0].is_open
    with JournalFile(stage.journal_path) as journal:
        assert journal.told.entries[2].end is None
    stage.peer.ends.clear()
    again = await stage.run()
    assert (again.done, again.troubles) == (8, [])
    assert [event for event in stage.diary.events if event[1] == 2] == [
        ("AskedOf", 2),
        ("sent", 2),
        ("sent", 2),
        ("Done", 2),
    ]


@pytest.mark.parametrize("code", [Exit.KEY_WRONG, Exit.UNREACHABLE])
async def test_what_befalls_every_line_ends_the_batch(stage: Stage, code: Exit) -> None:
    """A wrong key is told once, and not a thousand times."""
    stage.peer.ends[1] = stop(code, paid="no")
    run = await stage.run(1)
    assert run.stop is not None
    assert run.stop.code is code
    assert [event for event in stage.diary.events if event[0] == "sent"] == [("sent", 1)]
    assert run.done == 0


async def test_a_spent_budget_ends_the_batch(stage: Stage) -> None:
    """Nothing more can be bought with this key, by no line."""
    stage.peer.ends[1] = stop(Exit.GENERATION_FAILED, paid="no", holdfast_code="budget_exhausted")
    run = await stage.run(1)
    assert run.stop is not None
    assert [event for event in stage.diary.events if event[0] == "sent"] == [("sent", 1)]


async def test_a_full_disk_ends_the_batch_and_says_where_the_image_is(stage: Stage) -> None:
    """It is paid, so it stays open to be collected."""

    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    stage.peer.ends[1] = full
    run = await stage.run(1)
    assert run.stop is not None
    assert (run.stop.code, run.stop.is_open) == (Exit.DISK_FULL, True)
    assert "kept at the gateway" in run.stop.message
    assert [event[0] for event in stage.diary.events] == ["AskedOf", "sent"]


async def test_a_journal_that_cannot_be_written_sends_nothing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not written down would be bought twice; the error itself comes out, not a group of them."""

    def refuse(self: JournalFile, record: Record) -> None:
        if isinstance(record, AskedOf):
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(JournalFile, "write", refuse)
    with pytest.raises(OSError, match="Input/output error"):
        await stage.run()
    assert [event for event in stage.diary.events if event[0] == "sent"] == []


async def test_an_interruption_passes_through_and_leaves_lines_open(stage: Stage) -> None:
    """What was being made is counted for the message, and asked for again later."""
    stage.peer.gate = asyncio.Event()
    with Journal(stage.journal_path, stage.diary) as journal:
        run = stage.made(journal)
        task = asyncio.create_task(run.run(3))
        while stage.peer.at_once < 3:
            await asyncio.sleep(0.001)
        standing = run.standing()
        assert (standing.running, standing.done, standing.total) == (3, 0, 8)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert run.running == 3
    stage.peer.gate = None
    again = await stage.run()
    assert again.done == 8
    assert sum(event[0] == "AskedOf" for event in stage.diary.events) == 8


async def test_a_server_that_keeps_nothing_is_not_asked_again(tmp_path: Path) -> None:
    """It would sell a second time what may have been paid; lines that were never sent are sent."""
    stage = Stage(tmp_path, keeps=False)
    with JournalFile(stage.journal_path) as journal:
        journal.write(Began(id="bat_1", base_url="http://x/v1"))
        journal.write(plan_of(LINES, {}, batch_id="bat_1", has_file=lambda _: False).tasks[0].asked)
    run = await stage.run()
    assert ("sent", 1) not in stage.diary.events
    assert (run.done, [each.line for each in run.troubles]) == (7, [1])
    assert "may be paid" in run.troubles[0].message


async def test_what_is_done_counts_and_is_not_asked_for(stage: Stage) -> None:
    """A second run of a whole batch sends nothing."""
    await stage.run()
    stage.diary.events.clear()
    run = await stage.run()
    assert run.done == 8
    assert stage.diary.events == []
    assert all(isinstance(each, Finished) for each in stage.heard)
