"""The caller's own budget, and images that come after everybody was told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast.clock import rfc3339
from holdfast.engine.converter import Converter, FileFormat
from holdfast.generation import CancelAsked, Event, GaveUp, State, apply
from holdfast.policy.joining import Claim
from holdfast.store.generations import end_generation
from holdfast.store.records import Told
from holdfast.types import Charge

USD = 1_000_000


async def told_at_deadline(bench: Any, request: Any = None, *, calls: int = 1) -> tuple[str, Any]:
    """Ask with a budget of ten seconds, let it pass while the calls are in flight, and be told."""
    id_, caller = await bench.ask(request, asked_s=10.0)
    await bench.in_flight(calls)
    bench.clock.jump(9.0)
    await bench.turn()
    assert caller.ends == 0
    bench.clock.jump(1.5)
    await caller.ended()
    await bench.until(lambda: bench.engine.open_generations == 0)
    return id_, caller


async def test_an_image_that_waits_to_be_converted_is_delivered_in_time(bench: Any, make: Any) -> None:
    """As it came: better in another format than told as lost while it is here."""
    begun = asyncio.Event()

    async def never(source: Path, target: Path, wanted: FileFormat) -> bool:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    object.__setattr__(bench.core, "converter", Converter(bench.spool, bench.threads, convert=never))
    id_, caller = await bench.ask(make(output_format="webp"), asked_s=10.0)
    await begun.wait()
    bench.clock.jump(8.1)
    await caller.ended()
    await bench.quiet()
    record = await bench.record(id_)
    assert (record.generation.state, record.generation.charged_micros) == ("succeeded", USD)
    assert [blob.mime for blob in record.results] == ["image/png"]
    await bench.is_clean(id_)


async def test_a_caller_who_named_a_budget_is_told_at_its_end(bench: Any) -> None:
    """Failed, possibly paid, nothing charged to the customer; the attempt itself goes on."""
    gate = bench.hold_back()
    id_, caller = await told_at_deadline(bench)
    record = await bench.record(id_)
    told = record.generation.told
    assert told is not None
    assert (record.generation.state, told.code, told.charge) == ("failed", "deadline_exceeded", "unknown")
    assert "still comes" in told.message
    assert [attempt.state for attempt in record.attempts] == ["sent"]
    assert await bench.verbs(id_) == ["hold", "void"]
    gate.set()
    await bench.quiet()
    assert caller.ends == 1
    await bench.is_clean(id_)


async def test_an_image_after_the_deadline_turns_the_failure(bench: Any, a_picture: bytes) -> None:
    """It is a success all the same: marked late, kept, and the customer pays nothing for it."""
    gate = bench.hold_back()
    id_, caller = await told_at_deadline(bench)
    gate.set()
    await bench.quiet()
    record = await bench.record(id_)
    row = record.generation
    assert (row.state, row.late, row.told, row.charged_micros) == ("succeeded", 1, None, 0)
    assert bench.bytes_of(record) == a_picture
    assert await bench.verbs(id_) == ["hold", "void"]
    assert await bench.events(id_) == ["queued", "running", "failed", "stored", "succeeded"]
    assert caller.ends == 1
    await bench.is_clean(id_)


async def test_a_failure_after_the_deadline_changes_nothing(bench: Any, shapes: Any) -> None:
    """Whoever was told once is not told otherwise; the attempt records how it really went."""
    gate = bench.hold_back(0)
    bench.upstream.by_part[0] = shapes.Reply(body=b"{}", status=503, when=gate)
    id_, caller = await told_at_deadline(bench)
    before = (await bench.record(id_)).generation
    gate.set()
    await bench.quiet()
    record = await bench.record(id_)
    assert record.generation == before
    assert [(each.state, each.charge) for each in record.attempts] == [("rejected", "no")]
    assert caller.ends == 1
    await bench.is_clean(id_)


async def test_a_deadline_with_some_images_delivers_them(bench: Any, make: Any) -> None:
    """What is there is captured; what comes later is an extra that costs the customer nothing."""
    gate = bench.hold_back(1)
    id_, caller = await bench.ask(make(n=2), asked_s=10.0)
    await bench.in_flight(2)
    await bench.until(lambda: "1 tasks" in repr(bench.engine))
    bench.clock.jump(10.5)
    await caller.ended()
    row = (await bench.record(id_)).generation
    assert (row.state, row.partial_result, row.charged_micros, row.late) == ("succeeded", 1, USD, 0)
    gate.set()
    await bench.quiet()
    record = await bench.record(id_)
    assert record.generation.charged_micros == USD
    assert [(blob.part, blob.kind) for blob in record.blobs] == [(0, "result"), (1, "late")]
    assert len(record.results) == 1
    assert caller.ends == 1
    await bench.is_clean(id_)


@pytest.mark.parametrize(
    ("event", "state"),
    [
        (CancelAsked(), "cancelled"),
        (GaveUp(code="internal_error", charge=Charge.UNKNOWN), "failed"),
    ],
)
async def test_an_image_after_any_other_end_stays_an_extra(bench: Any, event: Event, state: str) -> None:
    """A cancelled generation keeps its state, and so does one that failed otherwise; the image is kept and listed."""
    gate = bench.hold_back()
    id_, _ = await bench.ask()
    await bench.in_flight()
    row = (await bench.record(id_)).generation
    told = Told(code="internal_error", message="…", charge=Charge.UNKNOWN) if state == "failed" else None
    end = apply(State.RUNNING, event)
    at = rfc3339(bench.clock.now())
    await bench.store.write(end_generation, row, end, at=at, purge_after=at, told=told)
    gate.set()
    await bench.quiet()
    record = await bench.record(id_)
    assert (record.generation.state, record.generation.late) == (state, 0)
    assert [blob.kind for blob in record.blobs] == ["late"]
    assert record.results == ()
    assert await bench.verbs(id_) == ["hold", "void"]


async def test_a_budget_that_ends_before_anything_was_sent_is_free(
    bench: Any, arm: Callable[[str], None], log: Callable[..., list[dict[str, Any]]]
) -> None:
    """Nothing was bought, and that is what is told: `paid: no`, whatever the clock says."""
    arm("send.before_commit:sleep=60")
    id_, caller = await bench.ask(asked_s=10.0)
    bench.clock.jump(10.5)
    await caller.ended()
    record = await bench.record(id_)
    told = record.generation.told
    assert told is not None
    assert (record.generation.state, told.code, told.charge) == ("failed", "deadline_exceeded", "no")
    assert "Nothing was bought" in told.message
    bench.clock.jump(60.0)
    await bench.quiet()
    assert record.attempts == (await bench.record(id_)).attempts == ()
    assert bench.upstream.asked == []
    (finished,) = log("generation.finished")
    assert (finished["paid"], finished["elapsed_s"]) == ("no", 10.5)
    await bench.is_clean(id_)


async def test_the_usual_deadline_tells_nobody_while_an_attempt_is_in_flight(bench: Any, a_picture: bytes) -> None:
    """It stops new attempts only: an attempt in flight is awaited up to its own timeout."""
    gate = bench.hold_back()
    id_, caller = await bench.ask()
    await bench.in_flight()
    bench.clock.jump(400.0)
    await bench.turn()
    assert caller.ends == 0
    gate.set()
    await caller.ended()
    await bench.quiet()
    record = await bench.record(id_)
    assert (record.generation.state, record.generation.late) == ("succeeded", 0)
    assert bench.bytes_of(record) == a_picture


async def test_no_timer_is_left_of_a_generation_that_has_ended(bench: Any, log: Callable[..., Any]) -> None:
    """A budget that was not used up rings for nobody."""
    record = await bench.made(asked_s=10.0)
    writes = repr(bench.store)
    bench.clock.jump(30.0)
    await bench.turn()
    await bench.quiet()
    assert repr(bench.store) == writes
    assert (await bench.record(record.generation.id)).generation == record.generation
    assert len(log("generation.finished")) == 1


@pytest.mark.parametrize("spec", ["store.after_commit:error:3", "store.before_commit:error:3"])
async def test_a_deadline_that_could_not_be_written_at_once_is_told_in_the_end(
    bench: Any, arm: Callable[[str], None], log: Callable[..., list[dict[str, Any]]], spec: str
) -> None:
    """Whether the commit was made or not: tried again, written once, told once."""
    arm(spec)
    gate = bench.hold_back()
    id_, caller = await bench.ask(asked_s=10.0)
    await bench.in_flight()
    bench.clock.jump(10.5)
    await bench.until(lambda: log("storage.failed"))
    assert caller.ends == 0
    bench.clock.jump(1.0)
    await caller.ended()
    assert await bench.events(id_) == ["queued", "running", "failed"]
    gate.set()
    await bench.quiet()
    assert caller.ends == 1
    await bench.is_clean(id_)


async def test_a_deadline_that_rang_before_a_new_drive_ends_nothing_of_it(
    bench: Any, shapes: Any, arm: Callable[[str], None]
) -> None:
    """Its commit was on its way when the attempt failed, and a repeat drove the generation again: that one goes on."""
    claim = Claim(idempotency_key="order-1", by_fingerprint=False, says_retry=False)
    gate = bench.hold_back(0)
    bench.upstream.by_part[0] = shapes.Reply(body=b"{}", status=503, when=gate)
    id_, caller = await bench.ask(asked_s=10.0, claim=claim, fingerprint=b"f")
    await bench.in_flight()
    arm("ending.before_commit:sleep=5")
    bench.clock.jump(10.5)
    await bench.turn()
    gate.set()
    await caller.ended()
    # Its key rests for a moment.
    bench.clock.jump(2.0)
    again = bench.hold_back(0)
    bench.upstream.by_part[0] = shapes.Reply(body=shapes.gemini(shapes.png(2)), when=again)
    same, waiting = await bench.ask(claim=claim, fingerprint=b"f")
    await bench.in_flight(2)
    bench.clock.jump(6.0)
    await bench.until(lambda: "1 tasks" in repr(bench.engine))
    assert (same, waiting.ends, (await bench.record(id_)).generation.state) == (id_, 0, "running")
    again.set()
    await waiting.ended()
    await bench.quiet()
    assert (await bench.record(id_)).generation.state == "succeeded"
    await bench.is_clean(id_)


async def test_an_end_at_a_deadline_is_told_with_its_record(bench: Any) -> None:
    """Whoever waits reads nothing more."""
    gate = bench.hold_back()
    id_, caller = await told_at_deadline(bench)
    (notice,) = caller.notices
    assert notice.record == await bench.record(id_)
    gate.set()
    await bench.quiet()
