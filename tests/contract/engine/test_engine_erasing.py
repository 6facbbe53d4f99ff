"""What its owner wants deleted now: gone with the commit, files at once, and any fault is made good by the sweeper."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import holdfast
from holdfast import faults
from holdfast.engine.erasing import Eraser
from holdfast.engine.submit import Submission
from holdfast.engine.sweeper import Sweeper
from holdfast.errors import RequestError, StorageError
from holdfast.policy.joining import Answer, Claim
from holdfast.policy.retention import INPUT_GRACE_S
from holdfast.store.bookkeeping import ledger_of
from holdfast.types import InputImage

DAY_S = 86400.0
INPUT = "inputs/" + "cd" * 32
INPUT_IMAGE = InputImage(sha256="cd" * 32, mime="image/png", bytes=5, store_key=INPUT)
NAMED = Claim(idempotency_key="order-1", by_fingerprint=False, says_retry=False)
UNNAMED = Claim(idempotency_key=None, by_fingerprint=True, says_retry=True)
POINTS = sorted(
    name
    for path in Path(holdfast.__file__).parent.rglob("*.py")
    for name in re.findall(r'faults\.point(?:_sync)?\("(erase\.\w+)"\)', path.read_text("utf-8"))
)
AFTER_THE_MARK = (
    "sweeper.before_unlink",
    "sweeper.after_unlink",
    "sweeper.before_tombstone",
    "sweeper.after_burying_rows",
    "sweeper.after_tombstone",
)


@pytest.fixture
def sweeper(bench: Any) -> Sweeper:
    """A sweeper beside the engine, not started."""
    return Sweeper(bench.core, bench.engine.storage_low)


@pytest.fixture
def eraser(bench: Any, sweeper: Sweeper) -> Eraser:
    """What is tested."""
    return Eraser(bench.core, sweeper)


def files(bench: Any) -> list[str]:
    """Every image there is."""
    return sorted(path.name for path in (bench.root / "blobs").rglob("*") if path.is_file())


async def states(bench: Any, id_: str) -> list[str]:
    """How the images of a generation stand."""
    return [blob.state for blob in (await bench.record(id_)).blobs]


async def is_gone(bench: Any, id_: str) -> None:
    """See that nothing of it is left but its record, what it cost, and its log."""
    record = await bench.record(id_)
    assert set(await states(bench, id_)) <= {"deleted"}
    assert (record.generation.request, record.generation.purged_at is not None) == (None, True)
    assert record.generation.deleted_at is not None
    assert {attempt.answer for attempt in record.attempts} <= {None}
    await bench.is_clean(id_)


async def test_images_prompt_and_words_go_at_once_and_record_and_ledger_stay(
    bench: Any, eraser: Eraser, log: Callable[..., Any], shapes: Any
) -> None:
    """Drafts too; nothing else of the row is another."""
    bench.upstream.usual = shapes.Reply(body=shapes.gemini(shapes.png(1), drafts=[shapes.png(2)]))
    before = await bench.made()
    id_ = before.generation.id
    events, money = await bench.events(id_), await bench.store.read(ledger_of, id_)
    erased = await eraser.erase(id_)
    assert erased is not None
    assert (erased.is_new, erased.row) == (True, before.generation)
    assert files(bench) == []
    await is_gone(bench, id_)
    row = (await bench.record(id_)).generation
    kept = row.but(request=None, purged_at=None, deleted_at=None, purge_after=None)
    assert kept == before.generation.but(request=None, purge_after=None)
    assert (await bench.events(id_), await bench.store.read(ledger_of, id_)) == (events, money)
    assert log("generation.deleted") == [{"generation_id": id_}]


async def test_asked_again_it_is_as_asked_once(bench: Any, eraser: Eraser, log: Callable[..., Any]) -> None:
    """At once, or in a month."""
    id_ = (await bench.made()).generation.id
    await eraser.erase(id_)
    before = await bench.record(id_)
    bench.clock.jump(30 * DAY_S)
    again = await eraser.erase(id_)
    assert again is not None
    assert (again.is_new, again.due) == (False, None)
    assert await bench.record(id_) == before
    assert len(log("generation.deleted")) == 1


async def test_one_whose_time_was_over_is_gone_already(bench: Any, eraser: Eraser, sweeper: Sweeper) -> None:
    """What retention has taken, nobody deletes."""
    id_ = (await bench.made()).generation.id
    bench.clock.jump(8 * DAY_S)
    await sweeper.sweep()
    erased = await eraser.erase(id_)
    assert erased is not None
    assert not erased.is_new
    assert (await bench.record(id_)).generation.deleted_at is None


async def test_there_is_none_of_that_name(eraser: Eraser) -> None:
    """Nothing happens."""
    assert await eraser.erase("gen_none") is None


async def test_what_is_open_is_refused_until_it_is_cancelled(bench: Any, eraser: Eraser, sweeper: Sweeper) -> None:
    """409, with what to do. Then what is in flight is awaited, since it is paid for, and goes once it is there."""
    gate = bench.hold_back()
    id_, caller = await bench.ask()
    await bench.in_flight()
    with pytest.raises(RequestError, match=f"cancel it first, POST /v1/generations/{id_}/cancel") as told:
        await eraser.erase(id_)
    assert (told.value.code, told.value.status, told.value.generation_id) == ("generation_open", 409, id_)
    assert (await bench.record(id_)).generation.deleted_at is None
    await bench.engine.cancel(id_)
    erased = await eraser.erase(id_)
    assert erased is not None
    assert (erased.is_new, erased.due) == (True, None)
    assert (await bench.record(id_)).generation.request is not None
    gate.set()
    await caller.ended()
    await bench.quiet()
    row = (await bench.record(id_)).generation
    assert (row.state, row.purge_after) == ("succeeded", row.deleted_at)
    # Whoever was waiting has it in that moment; it is not kept for that.
    await bench.engine.answered(id_, with_image=True)
    await sweeper.sweep()
    assert files(bench) == []
    await is_gone(bench, id_)


async def test_one_that_was_cancelled_in_line_goes_whole(
    bench: Any, eraser: Eraser, arm: Callable[[str], None]
) -> None:
    """Nothing was made; the prompt goes."""
    arm("send.before_commit:sleep=30")
    id_, caller = await bench.ask()
    await bench.engine.cancel(id_)
    await caller.ended()
    await eraser.erase(id_)
    bench.clock.jump(31)
    await bench.quiet()
    await is_gone(bench, id_)


async def test_an_image_that_comes_late_goes_too(bench: Any, eraser: Eraser, sweeper: Sweeper, make: Any) -> None:
    """Its generation had failed, was deleted, and then turned out well: paid by us, kept and joined by nobody."""
    gate = bench.hold_back()
    id_, caller = await bench.ask(asked_s=10.0, claim=NAMED, fingerprint=b"f")
    await bench.in_flight()
    bench.engine.unwatch(id_, caller)
    bench.clock.jump(11)
    await bench.until(lambda: bench.engine.open_generations == 0)
    await eraser.erase(id_)
    assert await answered(bench, make, NAMED) == (id_, Answer.REPLAY)
    gate.set()
    await bench.quiet()
    assert (await bench.record(id_)).generation.state == "succeeded"
    bench.clock.jump(60)
    await sweeper.sweep()
    assert files(bench) == []
    await is_gone(bench, id_)


async def answered(bench: Any, make: Any, claim: Claim) -> tuple[str | None, Answer | None]:
    """Ask the same again: which generation, and what of it."""
    submission = Submission(key_id="key_1", request=make(), claim=claim, fingerprint=b"f")
    entered = await bench.engine.enter(submission, lambda _notice: None)
    return entered.generation_id, entered.answer


async def test_a_repeat_by_its_key_is_told_that_it_is_gone_and_one_without_a_key_buys(
    bench: Any, eraser: Eraser, make: Any
) -> None:
    """410 for as long as the key is known; who names nothing asks for something new."""
    id_, caller = await bench.ask(claim=NAMED, fingerprint=b"f")
    await caller.ended()
    await bench.quiet()
    await eraser.erase(id_)
    with pytest.raises(RequestError, match=f"The image of generation {id_} has been deleted") as told:
        await answered(bench, make, NAMED)
    assert (told.value.code, told.value.status) == ("image_expired", 410)
    orphan, caller = await bench.ask(claim=UNNAMED, fingerprint=b"f")
    await caller.ended()
    await bench.quiet()
    assert await answered(bench, make, UNNAMED) == (orphan, Answer.REPLAY)
    await eraser.erase(orphan)
    new, answer = await answered(bench, make, UNNAMED)
    assert new not in (id_, orphan, None)
    assert answer is None
    await bench.quiet()
    assert len(bench.upstream.asked) == 3


async def test_a_reference_image_goes_unless_it_was_just_brought(bench: Any, eraser: Eraser, make: Any) -> None:
    """Somebody may be about to name it: then it is found within two hours, and goes."""
    path = bench.root / INPUT
    path.parent.mkdir(parents=True, exist_ok=True)
    for age_s, stays in ((INPUT_GRACE_S + 1, False), (0.0, True)):
        path.write_bytes(b"bytes")
        written_at = bench.clock.now().timestamp() - age_s
        os.utime(path, (written_at, written_at))
        id_ = (await bench.made(make(inputs=(INPUT_IMAGE,)))).generation.id
        await eraser.erase(id_)
        assert path.exists() is stays
        await is_gone(bench, id_)


# Faults


def test_there_are_points_enough() -> None:
    """Around the commit, and inside it."""
    assert POINTS == ["erase.after_commit", "erase.after_rows", "erase.before_commit", "erase.before_rows"]


@pytest.mark.parametrize("point", POINTS)
async def test_a_fault_at_the_commit_is_told_and_asking_again_finishes_it(
    bench: Any, eraser: Eraser, arm: Callable[[str], None], point: str
) -> None:
    """Whether or not the commit was made, what is asked for again is done."""
    id_ = (await bench.made()).generation.id
    arm(f"{point}:error")
    with pytest.raises((OSError, StorageError), match="injected"):
        await eraser.erase(id_)
    is_marked = (await bench.record(id_)).generation.deleted_at is not None
    assert is_marked is (point == "erase.after_commit")
    await eraser.erase(id_)
    assert files(bench) == []
    await is_gone(bench, id_)


@pytest.mark.parametrize("point", AFTER_THE_MARK)
async def test_a_fault_after_it_is_made_good_by_the_sweeper(
    bench: Any, eraser: Eraser, sweeper: Sweeper, arm: Callable[[str], None], log: Callable[..., Any], point: str
) -> None:
    """The promise is kept from the commit on: nobody has the image, the prompt is not on record, and in the end not on
    disk."""
    id_ = (await bench.made()).generation.id
    arm(f"{point}:error")
    assert await eraser.erase(id_) is not None
    assert faults._armed[point].countdown == 0
    record = await bench.record(id_)
    assert record.generation.request is None
    assert "stored" not in await states(bench, id_)
    assert log("storage.failed")[-1]["generation_id"] == id_
    await sweeper.sweep()
    assert files(bench) == []
    await is_gone(bench, id_)


async def test_a_file_that_the_disk_does_not_give_up_is_tried_again(
    bench: Any, eraser: Eraser, sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch, log: Callable[..., Any]
) -> None:
    """Its caller is told that it is gone, and for every caller it is."""
    id_ = (await bench.made()).generation.id
    with monkeypatch.context() as patched:
        patched.setattr(bench.core.blobs, "delete_files", lambda keys: [OSError(5, "Input/output error") for _ in keys])
        assert await eraser.erase(id_) is not None
    assert (await states(bench, id_), len(files(bench))) == (["deleting"], 1)
    assert "Input/output error" in log("storage.failed")[-1]["message"]
    await sweeper.sweep()
    assert files(bench) == []
    await is_gone(bench, id_)


async def test_beside_a_run_of_the_sweeper_each_is_deleted_once(
    bench: Any, eraser: Eraser, sweeper: Sweeper, log: Callable[..., Any]
) -> None:
    """Ten at once, and two runs between them."""
    ids = [(await bench.made()).generation.id for _ in range(10)]
    await asyncio.gather(*map(eraser.erase, ids), sweeper.sweep(), sweeper.sweep())
    await sweeper.sweep()
    for id_ in ids:
        await is_gone(bench, id_)
    assert files(bench) == []
    assert len(log("generation.deleted")) == 10
