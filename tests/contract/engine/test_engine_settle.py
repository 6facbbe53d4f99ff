"""When our own disk or code fails between an answer and its record: nothing paid is lost, nobody waits for ever."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast.clock import rfc3339
from holdfast.engine import ending, settle
from holdfast.errors import StorageError
from holdfast.store.attempts import end_attempt

USD = 1_000_000
Arm = Callable[[str], None]
Log = Callable[..., list[dict[str, Any]]]


@pytest.mark.parametrize(
    "spec", ["store.before_commit:error:3", "store.after_commit:error:3", "settle.after_rows:error"]
)
async def test_a_settling_commit_that_fails_is_made_again(
    bench: Any, arm: Arm, log: Log, a_picture: bytes, spec: str
) -> None:
    """The answer waits in the spool; made or not, the commit is found made once in the end, and told once."""
    arm(spec)
    id_, caller = await bench.ask()
    await bench.until(lambda: log("storage.failed"))
    assert caller.ends == 0
    assert bench.spooled() != []
    bench.clock.jump(1.0)
    await caller.ended()
    await bench.quiet()
    record = await bench.record(id_)
    assert (record.generation.state, record.generation.charged_micros) == ("succeeded", USD)
    assert bench.bytes_of(record) == a_picture
    assert await bench.events(id_) == ["queued", "running", "succeeded"]
    assert len(record.blobs) == 1
    assert caller.ends == 1
    await bench.is_clean(id_)


async def test_a_part_that_the_disk_took_late_ends_after_those_it_took_meanwhile(
    bench: Any, make: Any, monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    """Told with the hour of its first try, it had the images of others deleted before their time.

    Simulation, seed 20028.
    """
    write, refused = bench.store.write, []

    async def refuse_once(function: Any, *args: Any, **kwargs: Any) -> Any:
        if function is end_attempt and not refused:
            refused.append(args)
            raise StorageError("The disk is busy.", reason="broken")
        return await write(function, *args, **kwargs)

    monkeypatch.setattr(bench.store, "write", refuse_once)
    gate = bench.hold_back(0)
    id_, caller = await bench.ask(make(n=2))
    await bench.until(lambda: log("storage.failed"))
    bench.clock.jump(0.4)
    gate.set()
    await bench.until(lambda: log("attempt.settled"))
    bench.clock.jump(60.0)
    await caller.ended()
    await bench.quiet()
    record = await bench.record(id_)
    assert [blob.part for blob in record.results] == [0, 1]
    assert record.generation.finished_at == max(attempt.ended_at for attempt in record.attempts)
    assert record.generation.purge_after == max(blob.delete_after for blob in record.blobs)
    await bench.is_clean(id_)


async def test_a_deadline_that_the_disk_took_late_is_told_with_the_hour_at_which_it_did(
    bench: Any, monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    """The end of a generation is that of its commit, not of the first try at it."""
    write, refused = bench.store.write, []

    async def refuse_once(function: Any, *args: Any, **kwargs: Any) -> Any:
        if function is ending._end and not refused:
            refused.append(args)
            raise StorageError("The disk is busy.", reason="broken")
        return await write(function, *args, **kwargs)

    monkeypatch.setattr(bench.store, "write", refuse_once)
    gate = bench.hold_back()
    id_, caller = await bench.ask(asked_s=5.0)
    await bench.in_flight()
    bench.clock.jump(5.0)
    await bench.until(lambda: log("storage.failed"))
    bench.clock.jump(90.0)
    await caller.ended()
    row = (await bench.record(id_)).generation
    assert row.told.code == "deadline_exceeded"
    assert row.finished_at == rfc3339(bench.clock.now())
    gate.set()
    await bench.quiet()
    await bench.is_clean(id_)


async def test_a_database_that_stays_broken_keeps_the_answer_for_the_next_start(
    bench: Any, monkeypatch: pytest.MonkeyPatch, log: Log, a_picture: bytes
) -> None:
    """It is tried again and again, at growing intervals; a restart takes the answer from the spool."""

    def broken(*_: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(settle, "end_attempt", broken)
    id_, caller = await bench.ask()
    for tries in range(1, 9):
        await bench.until(lambda: len(log("storage.failed")) >= tries)  # noqa: B023 - used within the turn
        bench.clock.jump(15.0)
    pauses = [line["again_in_s"] for line in log("storage.failed")][:8]
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0]
    assert caller.ends == 0
    monkeypatch.setattr(settle, "end_attempt", end_attempt)
    recovered = await bench.restart()
    assert (recovered.settled, recovered.unknown) == (1, 0)
    record = await bench.record(id_)
    assert (record.generation.state, record.generation.late) == ("succeeded", 0)
    assert bench.bytes_of(record) == a_picture
    assert len(bench.upstream.asked) == 1
    await bench.is_clean(id_)


def failing_puts(bench: Any, monkeypatch: pytest.MonkeyPatch, number: int, *, times: int) -> list[str]:
    """Let the blob store refuse some puts; list all that are tried."""
    keys: list[str] = []
    real: Callable[[str, Path], str] = bench.core.blobs._link

    def link(key: str, source: Path) -> str:
        keys.append(key)
        if len(keys) <= times:
            raise OSError(number, "No space left on device")
        return real(key, source)

    monkeypatch.setattr(bench.core.blobs, "_link", link)
    return keys


async def test_a_blob_store_without_room_is_asked_again(
    bench: Any, monkeypatch: pytest.MonkeyPatch, log: Log, a_picture: bytes
) -> None:
    """Room may come back within seconds; the caller is still held."""
    keys = failing_puts(bench, monkeypatch, errno.ENOSPC, times=3)
    id_, caller = await bench.ask()
    for tries in range(1, 4):
        await bench.until(lambda: len(log("storage.failed")) == tries)  # noqa: B023 - used within the turn
        bench.clock.jump(5.0)
    await caller.ended()
    await bench.quiet()
    assert len(keys) == 4
    record = await bench.record(id_)
    assert bench.bytes_of(record) == a_picture
    await bench.is_clean(id_)


@pytest.mark.parametrize(("number", "tries"), [(errno.EIO, 1), (errno.ENOSPC, 5)])
async def test_an_image_that_gets_no_place_is_kept_and_comes_late(
    bench: Any, monkeypatch: pytest.MonkeyPatch, log: Log, a_picture: bytes, number: int, tries: int
) -> None:
    """A failed sync is never tried again, a full disk five times. Then it is told as unknown, and taken in later."""
    keys = failing_puts(bench, monkeypatch, number, times=99)
    id_, caller = await bench.ask()
    for tried in range(1, tries + 1):
        await bench.until(lambda: len(log("storage.failed")) == tried)  # noqa: B023 - used within the turn
        bench.clock.jump(20.0)
    await caller.ended()
    await bench.quiet()
    assert len(keys) == tries
    record = await bench.record(id_)
    told = record.generation.told
    assert told is not None
    assert (told.code, told.charge) == ("outcome_unknown", "unknown")
    assert "next start" in told.message
    assert record.blobs == ()
    assert bench.spooled() != []
    recovered = await bench.restart()
    assert recovered.settled == 1
    record = await bench.record(id_)
    assert (record.generation.state, record.generation.late) == ("succeeded", 1)
    assert record.generation.charged_micros == 0
    assert bench.bytes_of(record) == a_picture
    await bench.is_clean(id_)


@pytest.mark.parametrize("point", ["settle.before_blobs", "settle.before_commit", "settle.after_commit"])
async def test_a_mistake_while_settling_is_told(bench: Any, arm: Arm, point: str) -> None:
    """Wherever it happens, the generation ends, whoever waits is told, and what is known is not made worse."""
    arm(f"{point}:error")
    id_, caller = await bench.ask()
    await caller.ended()
    await bench.quiet()
    record = await bench.record(id_)
    if point == "settle.after_commit":
        assert (record.generation.state, record.generation.told) == ("succeeded", None)
    else:
        assert record.generation.told is not None
        assert record.generation.told.charge == "unknown"
    assert caller.ends == 1
    # What is left in the spool is either recorded already or taken in now.
    await bench.restart()
    record = await bench.record(id_)
    assert record.generation.state == "succeeded"
    await bench.is_clean(id_)


async def test_a_bug_that_nothing_can_be_written_past_releases_whoever_waits(
    bench: Any, monkeypatch: pytest.MonkeyPatch, log: Log, a_picture: bytes
) -> None:
    """No end can be recorded, so none is invented: the record stays open, and the next start ends it."""

    def bug(*_: Any) -> None:
        raise AssertionError("a bug of ours")

    monkeypatch.setattr(settle, "end_attempt", bug)
    id_, caller = await bench.ask()
    await caller.ended()
    await bench.quiet()
    assert len(log("fault.internal")) == 2
    assert (await bench.record(id_)).generation.state == "running"
    assert "0 generations open, 0 tasks, 0 bytes" in repr(bench.engine)
    monkeypatch.setattr(settle, "end_attempt", end_attempt)
    await bench.restart()
    record = await bench.record(id_)
    assert bench.bytes_of(record) == a_picture
    await bench.is_clean(id_)


async def test_a_send_commit_that_fails_buys_nothing(bench: Any, arm: Arm) -> None:
    """No attempt was recorded, so none was made: `internal_error`, `paid: no`, the hold given back."""
    arm("send.after_rows:error")
    id_, caller = await bench.ask()
    await caller.ended()
    await bench.quiet()
    record = await bench.record(id_)
    told = record.generation.told
    assert told is not None
    assert (told.code, told.charge, record.attempts) == ("internal_error", "no", ())
    assert bench.upstream.asked == []
    assert await bench.balance() == 0
    await bench.is_clean(id_)


async def test_a_send_commit_whose_answer_was_lost_is_on_the_safe_side(bench: Any, arm: Arm) -> None:
    """The attempt stands as sent though nothing left: told as unknown, never sent a second time."""
    arm("store.after_commit:error:2")
    id_, caller = await bench.ask()
    await caller.ended()
    await bench.quiet()
    record = await bench.record(id_)
    assert record.generation.told is not None
    assert record.generation.told.charge == "unknown"
    assert [attempt.state for attempt in record.attempts] == ["unknown"]
    assert bench.upstream.asked == []
    await bench.is_clean(id_)


async def test_a_spool_that_cannot_be_emptied_disturbs_nobody(
    bench: Any, monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    """The image is recorded and told; what is left is removed at the next start."""

    def refuses(*_: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(settle.spool, "clear", refuses)
    record = await bench.made()
    assert record.generation.state == "succeeded"
    assert bench.spooled() != []
    assert log("fault.internal") == []
    assert len(log("storage.failed")) == 1
    monkeypatch.undo()
    await bench.restart()
    assert (await bench.record(record.generation.id)).generation == record.generation
    await bench.is_clean(record.generation.id)


async def test_a_stop_leaves_what_is_in_flight_to_the_next_start(bench: Any) -> None:
    """Tasks end at once, nobody is told a lie, and the attempt stays as sent until then."""
    bench.hold_back()
    id_, caller = await bench.ask(asked_s=600.0)
    await bench.in_flight()
    await bench.engine.stop()
    assert caller.ends == 0
    record = await bench.record(id_)
    assert (record.generation.state, record.attempts[0].state) == ("running", "sent")
    assert "0 tasks, 0 bytes" in repr(bench.engine)
    # The budget's timer went with it: no task can start on a store that is being closed.
    bench.clock.jump(700.0)
    await bench.turn()
    assert "0 tasks" in repr(bench.engine)
    recovered = await bench.restart()
    assert recovered.unknown == 1
    await bench.is_clean(id_)


@pytest.mark.parametrize("is_whole", [True, False])
async def test_a_stop_as_an_answer_becomes_whole_leaves_it_to_the_next_start(
    bench: Any, shapes: Any, a_picture: bytes, monkeypatch: pytest.MonkeyPatch, is_whole: bool
) -> None:
    """The last piece is written, and the exchange is cancelled before it could say so; half of one is no answer."""
    body, fed = shapes.gemini(a_picture), asyncio.Event()

    async def hang(sink: Any, *_: Any) -> None:
        await bench.upstream._run(sink.feed, [body if is_whole else body[: len(body) // 2]])
        fed.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(bench.upstream, "_feed", hang)
    id_, caller = await bench.ask()
    await fed.wait()
    await bench.engine.stop()
    assert caller.ends == 0
    assert bool(bench.spooled()) is is_whole
    recovered = await bench.restart()
    assert (recovered.settled, recovered.unknown) == ((1, 0) if is_whole else (0, 1))
    record = await bench.record(id_)
    assert record.generation.state == ("succeeded" if is_whole else "failed")
    assert not is_whole or bench.bytes_of(record) == a_picture
    await bench.is_clean(id_)


@pytest.mark.parametrize("error", [StorageError("The disk is full.", reason="full"), OSError(errno.EIO, "I/O error")])
async def test_notes_that_the_disk_does_not_take_trouble_no_caller(
    bench: Any, monkeypatch: pytest.MonkeyPatch, log: Log, error: Exception
) -> None:
    """Their answers are with them, whole: it is told in the log, once for all, and the next note is written again."""
    id_ = (await bench.made()).generation.id
    write = bench.store.write

    async def refuse(*_: Any) -> None:
        raise error

    monkeypatch.setattr(bench.store, "write", refuse)
    await asyncio.gather(*(bench.engine.answered(id_, with_image=True) for _ in range(3)))
    assert len(log("storage.failed")) == 1
    monkeypatch.setattr(bench.store, "write", write)
    await bench.engine.answered(id_, with_image=True)
    assert (await bench.record(id_)).generation.collected_at is not None
    await bench.is_clean(id_)


async def test_a_note_that_fails_through_our_own_mistake_is_told_and_holds_nobody(
    bench: Any, monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    """Who waits for the note goes on; the mistake is in the log, with the next note as if nothing had been."""
    id_ = (await bench.made()).generation.id
    write = bench.store.write

    async def mistaken(*_: Any) -> None:
        raise TypeError("a mistake of ours")

    monkeypatch.setattr(bench.store, "write", mistaken)
    waiting = [bench.engine.answered(id_, with_image=True) for _ in range(3)]
    await asyncio.wait_for(asyncio.gather(*waiting), 5.0)
    assert len(log("fault.internal")) == 1
    monkeypatch.setattr(bench.store, "write", write)
    await bench.engine.answered(id_, with_image=True)
    assert (await bench.record(id_)).generation.collected_at is not None


async def test_one_caller_s_end_takes_the_note_from_nobody(bench: Any) -> None:
    """They wait together, each by itself: who is cancelled takes the note from nobody."""
    ids = [(await bench.made()).generation.id for _ in range(2)]
    first, second = (asyncio.create_task(bench.engine.answered(id_, with_image=True)) for id_ in ids)
    await asyncio.sleep(0)
    first.cancel()
    await second
    assert first.cancelled()
    assert all([(await bench.record(id_)).generation.collected_at is not None for id_ in ids])


async def test_what_callers_have_received_is_noted_even_at_the_end(bench: Any) -> None:
    """They wait for the note: cancelled with the engine, it would cancel them too, which nobody asked for."""
    id_ = (await bench.made()).generation.id
    answering = asyncio.create_task(bench.engine.answered(id_, with_image=True))
    await asyncio.sleep(0)
    await bench.engine.stop()
    await answering
    assert (await bench.record(id_)).generation.collected_at is not None


async def test_what_watches_is_told_ends_and_previews_and_can_leave(bench: Any, shapes: Any) -> None:
    """A watcher who left is told nothing more; one who left twice is no error."""
    gate = bench.hold_back()
    id_, leaves = await bench.ask()
    await bench.in_flight()
    bench.engine.unwatch(id_, leaves)
    bench.engine.unwatch(id_, leaves)
    gate.set()
    await bench.quiet()
    assert leaves.notices == []
    assert await bench.engine.record("gen_nobody") is None
    await bench.engine.answered(id_, with_image=False)
    row = (await bench.record(id_)).generation
    assert (row.answered_at is None, row.collected_at) == (False, None)
    await bench.engine.answered(id_, with_image=True)
    assert (await bench.record(id_)).generation.collected_at is not None
    await bench.is_clean(id_)
