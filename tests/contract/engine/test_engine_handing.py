"""A worker that leaves with calls in flight: what nobody can know it says itself, what has a handle it leaves."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from holdfast.engine import handing
from holdfast.engine.dispatcher import LocalDispatcher
from holdfast.engine.engine import Engine
from holdfast.errors import StorageError
from holdfast.store.generations import take_over_one
from holdfast.store.jobs import Job

BUYS_AGAIN = {"retry": {"on_unknown": "buy_once_more"}}


class Shared(LocalDispatcher):
    """Says that it is shared."""

    is_shared = True


@pytest.fixture
async def shared(bench: Any) -> Shared:
    """Have the bench's engine be one of several."""
    await begin(bench)
    made: Shared = bench.core.dispatcher
    return made


async def begin(bench: Any) -> None:
    """Make the bench's engine anew, as a worker of several."""
    bench.core.dispatcher = Shared()
    bench.engine = Engine(bench.core, lambda: bench.free_bytes)
    await bench.engine.start()


async def in_flight(bench: Any) -> str:
    """Have a generation accepted, and its call sent; it is not answered."""
    bench.hold_back()
    id_, _ = await bench.ask()
    await bench.in_flight()
    return str(id_)


async def followed(bench: Any, id_: str) -> Any:
    """Another worker is given it, and sees it to its end; gives its record."""
    await bench.close()
    bench.upstream.usual = replace(bench.upstream.usual, when=None)
    bench.open()
    await begin(bench)
    bench.core.dispatcher.committed(Job(generation_id=id_))
    async with asyncio.timeout(60.0):
        await bench.until(lambda: not bench.core.dispatcher._running)
    return await bench.record(id_)


async def test_what_nobody_can_know_is_told_by_whoever_leaves(bench: Any, shared: Shared) -> None:
    """At once, and not when somebody misses it: its caller is told, and its cost is booked as possible."""
    id_ = await in_flight(bench)
    await bench.engine.stop()
    record = await bench.record(id_)
    assert [(each.state, each.charge) for each in record.attempts] == [("unknown", "unknown")]
    assert record.generation.state == "failed"
    assert record.generation.told.code == "outcome_unknown"
    assert await bench.balance("unknown_exposure") != 0


@pytest.mark.parametrize("sections", [BUYS_AGAIN])
async def test_where_it_may_be_bought_once_more_another_one_does(bench: Any, shared: Shared) -> None:
    """Who leaves decides by the rules as any start would; the generation goes on, and has one purchase more."""
    id_ = await in_flight(bench)
    await bench.engine.stop()
    left = await bench.record(id_)
    assert [each.state for each in left.attempts] == ["unknown"]
    assert left.generation.state == "running"
    record = await followed(bench, id_)
    assert record.generation.state == "succeeded"
    assert [each.state for each in record.attempts] == ["unknown", "settled"]


async def test_an_answer_that_had_come_is_settled(bench: Any, shared: Shared, shapes: Any) -> None:
    """It lies in the spool whole: it is paid for, and who leaves may never come back to his disk."""
    new, live = await bench.accepted()
    attempt = await bench.sent(live)
    image = shapes.png(7)
    bench.received(live, attempt, shapes.gemini(image))
    await handing.hand_over(bench.core, [new.id])
    record = await bench.record(new.id)
    assert (record.generation.state, [each.state for each in record.attempts]) == ("succeeded", ["settled"])
    assert bench.bytes_of(record) == image
    assert bench.spooled() == []


async def test_what_another_has_taken_over_is_his(bench: Any, shared: Shared) -> None:
    """A worker that was missed while it slept says nothing of what it lost."""
    new, live = await bench.accepted()
    await bench.sent(live)
    await bench.store.write(take_over_one, new.id, "own_other")
    await handing.hand_over(bench.core, [new.id])
    assert [each.state for each in (await bench.record(new.id)).attempts] == ["sent"]


async def test_what_was_never_sent_is_left_as_it_is(bench: Any, shared: Shared) -> None:
    """Another one sends it."""
    shared.attach(lambda _: None)
    id_, _ = await bench.ask()
    await handing.hand_over(bench.core, [id_])
    assert (await bench.record(id_)).generation.state == "queued"
    assert (await followed(bench, id_)).generation.state == "succeeded"


async def test_what_has_ended_here_is_not_looked_at(
    bench: Any, shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is in hand, so that an end costs no question."""
    id_, caller = await bench.ask()
    await caller.ended()
    await bench.until(lambda: not shared._running)

    async def asked(*_: object) -> None:
        raise AssertionError(id_)

    monkeypatch.setattr("holdfast.engine.sharing.hand_over", asked)
    await bench.engine.stop()


@pytest.mark.parametrize("failure", [StorageError("away", reason="away"), OSError(5, "broken"), None])
async def test_a_database_that_is_away_leaves_it_to_the_next(
    bench: Any, shared: Shared, log: Any, monkeypatch: pytest.MonkeyPatch, failure: Exception | None
) -> None:
    """An end waits for nothing longer than a moment; what is open is found by whoever misses us."""
    id_ = await in_flight(bench)
    monkeypatch.setattr(handing, "WITHIN_S", 0.05)

    async def read(*_: object) -> None:
        if failure is not None:
            raise failure
        await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        patch.setattr(bench.core.store, "read", read)
        await handing.hand_over(bench.core, [id_])
    assert log("storage.failed")
    assert [each.state for each in (await bench.record(id_)).attempts] == ["sent"]


@pytest.mark.parametrize("point", ["departure.after_spool", "departure.after_unknown"])
@pytest.mark.parametrize("sections", [BUYS_AGAIN])
async def test_one_that_is_broken_off_is_followed_all_the_same(
    bench: Any, shared: Shared, arm: Any, point: str
) -> None:
    """Killed between two commits of its end: the next one goes on from whatever it has written."""
    id_ = await in_flight(bench)
    arm(f"{point}:error:1")
    await bench.engine.stop()
    record = await followed(bench, id_)
    assert record.generation.state == "succeeded"
    assert [each.state for each in record.attempts] == ["unknown", "settled"]
