"""What its owner wants no longer: free while it is queued; then nothing more is bought, and what arrives is kept."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast.errors import StorageError
from holdfast.generation import CancelAsked, State, apply
from holdfast.policy.mishaps import LOST_WITH_THE_PROCESS
from holdfast.store.cancelling import ask_cancel

USD = 1_000_000


async def ended(bench: Any, id_: str) -> Any:
    """Let whoever was held back before sending go on, wait for quiet, find all clean, and give the row."""
    bench.clock.jump(31)
    await bench.quiet()
    await bench.is_clean(id_)
    assert len(bench.core.followers) == 0
    return (await bench.record(id_)).generation


async def test_what_was_never_sent_is_cancelled_and_free(bench: Any, arm: Any) -> None:
    """The send commit finds it ended and sends nothing; whoever waits is told at once."""
    arm("send.before_commit:sleep=30")
    id_, caller = await bench.ask()
    await bench.engine.cancel(id_)
    await caller.ended()
    row = await ended(bench, id_)
    assert (row.state, row.charged_micros, row.told.code, row.told.charge) == (
        "cancelled",
        0,
        "generation_cancelled",
        "no",
    )
    assert "Nothing was bought" in row.told.message
    assert bench.upstream.asked == []
    assert await bench.verbs(id_) == ["hold", "void"]
    assert await bench.events(id_) == ["queued", "cancelled"]
    assert caller.ends == 1


async def test_an_image_in_flight_is_delivered_and_paid(bench: Any, a_picture: bytes) -> None:
    """It was bought before anybody changed their mind."""
    gate = bench.hold_back()
    id_, caller = await bench.ask()
    await bench.in_flight()
    await bench.engine.cancel(id_)
    record = await bench.record(id_)
    assert (record.generation.state, record.generation.cancel_requested, caller.ends) == ("running", 1, 0)
    gate.set()
    await caller.ended()
    row = await ended(bench, id_)
    assert (row.state, row.charged_micros, row.told) == ("succeeded", USD, None)
    assert bench.bytes_of(await bench.record(id_)) == a_picture
    assert await bench.verbs(id_) == ["hold", "capture"]
    assert await bench.events(id_) == ["queued", "running", "progress", "succeeded"]


@pytest.mark.parametrize(("status", "charge"), [(400, "no"), (None, "unknown")])
async def test_an_attempt_that_brings_nothing_ends_it_as_cancelled(
    bench: Any, shapes: Any, status: int | None, charge: str
) -> None:
    """Told as cancelled, with what an upstream may have charged; the customer pays nothing."""
    failure = LOST_WITH_THE_PROCESS if status is None else None
    bench.upstream.usual = shapes.Reply(body=b"" if failure else b"{}", status=status or 200, failure=failure)
    gate = bench.hold_back()
    id_, caller = await bench.ask()
    await bench.in_flight()
    await bench.engine.cancel(id_)
    gate.set()
    await caller.ended()
    row = await ended(bench, id_)
    assert (row.state, row.told.code, row.told.charge, row.charged_micros) == (
        "cancelled",
        "generation_cancelled",
        charge,
        0,
    )
    assert await bench.verbs(id_) == ["hold", "void"]


async def test_parts_that_were_not_sent_are_not_waited_for(bench: Any, make: Any, arm: Any) -> None:
    """Two parts, one of them in flight: its image is the whole result, and one image is charged."""
    gate = bench.hold_back()
    arm("send.before_commit:sleep=30:2")
    id_, caller = await bench.ask(make(n=2))
    await bench.in_flight(1)
    await bench.engine.cancel(id_)
    gate.set()
    await caller.ended()
    row = await ended(bench, id_)
    assert len(bench.upstream.asked) == 1
    assert (row.state, row.partial_result, row.charged_micros, row.parts_open) == ("succeeded", 1, USD, 0)


async def test_parts_that_were_not_sent_end_with_a_failed_one(bench: Any, make: Any, arm: Any, shapes: Any) -> None:
    """None brought an image, so it is cancelled."""
    bench.upstream.usual = shapes.Reply(body=b"{}", status=400)
    gate = bench.hold_back()
    arm("send.before_commit:sleep=30:2")
    id_, caller = await bench.ask(make(n=2))
    await bench.in_flight(1)
    await bench.engine.cancel(id_)
    gate.set()
    await caller.ended()
    row = await ended(bench, id_)
    assert (row.state, row.told.code, row.told.charge) == ("cancelled", "generation_cancelled", "no")


async def test_what_is_stored_already_is_delivered(bench: Any, make: Any) -> None:
    """One part has its image, the other is in flight: the first is charged, and the second if it arrives."""
    gate = bench.hold_back(1)
    id_, caller = await bench.ask(make(n=2))
    await bench.in_flight(2)
    async with asyncio.timeout(5):
        while not (await bench.record(id_)).results:
            await asyncio.sleep(0.01)
    await bench.engine.cancel(id_)
    gate.set()
    await caller.ended()
    row = await ended(bench, id_)
    assert (row.state, row.charged_micros, row.partial_result) == ("succeeded", 2 * USD, 0)


async def test_asked_again_it_changes_nothing(bench: Any) -> None:
    """Neither while it goes on, nor when it has ended, nor for one that never was."""
    gate = bench.hold_back()
    id_, caller = await bench.ask()
    await bench.in_flight()
    for _ in range(3):
        await bench.engine.cancel(id_)
    assert await bench.events(id_) == ["queued", "running", "progress"]
    gate.set()
    await caller.ended()
    before = await bench.record(id_)
    await bench.engine.cancel(id_)
    await bench.engine.cancel("gen_never")
    assert await bench.record(id_) == before
    await ended(bench, id_)


async def test_followers_are_told_of_a_cancel(bench: Any) -> None:
    """Of the asking, and of the end."""
    gate = bench.hold_back()
    id_, caller = await bench.ask()
    await bench.in_flight()
    seen: list[int] = []

    def follow() -> None:
        seen.append(1)

    bench.engine.follow(id_, follow)
    await bench.engine.cancel(id_)
    assert len(seen) == 1
    gate.set()
    await caller.ended()
    assert len(seen) > 1
    bench.engine.unfollow(id_, follow)
    await ended(bench, id_)


async def test_a_restart_concludes_what_was_to_be_cancelled(bench: Any, make: Any, arm: Any) -> None:
    """The attempt in flight is unknown, the part that was never sent is not sent then either."""
    bench.hold_back()
    arm("send.before_commit:sleep=30:2")
    id_, _ = await bench.ask(make(n=2))
    await bench.in_flight(1)
    await bench.engine.cancel(id_)
    arm("nothing:error")
    recovered = await bench.restart()
    assert (recovered.unknown, recovered.to_drive) == (1, ())
    row = await ended(bench, id_)
    assert (row.state, row.told.code, row.told.charge) == ("cancelled", "generation_cancelled", "unknown")
    assert len(bench.upstream.asked) == 1


async def test_a_disk_that_does_not_take_it_says_so(bench: Any, arm: Any) -> None:
    """Nothing has changed, and the generation goes on."""
    gate = bench.hold_back()
    id_, caller = await bench.ask()
    await bench.in_flight()
    arm("cancel.before_rows:error")
    with pytest.raises((StorageError, OSError)):
        await bench.engine.cancel(id_)
    assert (await bench.record(id_)).generation.cancel_requested == 0
    gate.set()
    await caller.ended()
    assert (await ended(bench, id_)).state == "succeeded"


async def test_whoever_waits_is_told_though_the_answer_of_the_disk_was_lost(bench: Any, arm: Any) -> None:
    """The commit was made: the record says so, and nobody waits for ever."""
    arm("send.before_commit:sleep=30,cancel.after_commit:error")
    id_, caller = await bench.ask()
    with pytest.raises(OSError, match="cancel"):
        await bench.engine.cancel(id_)
    await caller.ended()
    assert (await ended(bench, id_)).state == "cancelled"


async def test_an_answer_that_was_in_the_spool_is_delivered(bench: Any, shapes: Any) -> None:
    """It had arrived when the gateway died."""
    _, live = await bench.accepted()
    attempt = await bench.sent(live)
    await bench.store.write(ask_cancel, live.id, bench.core.now_text(), bench.core.purge_text())
    assert bench.received(live, attempt, shapes.gemini(shapes.png())) is not None
    await bench.restart()
    row = await ended(bench, live.id)
    assert (row.state, row.charged_micros) == ("succeeded", USD)


async def test_with_nothing_in_flight_what_is_stored_is_the_whole(bench: Any, make: Any, arm: Any) -> None:
    """One part has its image, the other was never sent: ended at once, and one image charged."""
    arm("send.before_commit:sleep=30:2")
    id_, caller = await bench.ask(make(n=2))
    async with asyncio.timeout(5):
        while not (await bench.record(id_)).results:
            await asyncio.sleep(0.01)
    await bench.engine.cancel(id_)
    await caller.ended()
    row = await ended(bench, id_)
    assert (row.state, row.charged_micros, row.partial_result, row.told) == ("succeeded", USD, 1, None)
    assert len(bench.upstream.asked) == 1
    assert await bench.verbs(id_) == ["hold", "capture"]


def test_the_lifecycle_says_the_same() -> None:
    """What the store does is what the table has."""
    assert apply(State.QUEUED, CancelAsked()).state is State.CANCELLED
    assert apply(State.RUNNING, CancelAsked(open_attempts=1)).state is State.RUNNING
    assert apply(State.RUNNING, CancelAsked(delivered=1)).state is State.SUCCEEDED
