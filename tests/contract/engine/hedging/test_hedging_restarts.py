"""A process that dies with two attempts of one part in flight, and a disk that fails between them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from holdfast.engine.submit import Submission, live_of, price
from holdfast.errors import StorageError
from holdfast.generation import AttemptState
from holdfast.store.attempts import begin_attempt
from holdfast.types import Charge, Failure, FailureKind, Phase

USD = 1_000_000
SLOW_S = 90.5
"""Past the P95 of 1K."""
BUSY = b'{"error":{"message":"busy","code":503,"status":"UNAVAILABLE"}}'
LOST = Failure(kind=FailureKind.LOST_REPLY, phase=Phase.WAIT, charge=Charge.UNKNOWN, detail="the connection broke")


def changed(**changes: Any) -> Any:
    """Run a test with other settings."""
    return pytest.mark.parametrize("changes", [changes])


async def test_both_lost_with_the_process_end_once(bench: Any, shapes: Any, pairs: Any) -> None:
    """The start ends both as unknown, and the part with the last of them."""
    id_, _, _, _ = await pairs.a_pair(bench, shapes)
    recovered = await bench.restart()
    assert recovered.unknown == 2
    record = await bench.record(id_)
    assert pairs.states(record) == [("a", "unknown", 0, 0), ("b", "unknown", 1, 0)]
    assert record.generation.state == "failed"
    assert await bench.taken(id_) == [("exposure", USD), ("exposure", USD)]
    await bench.is_clean(id_)


@pytest.mark.parametrize("who", [0, 1])
async def test_one_of_two_is_found_in_the_spool(
    bench: Any, shapes: Any, pairs: Any, make: Callable[..., Any], who: int
) -> None:
    """It is the result, and the other one, of which nobody knows, costs no caller anything."""
    id_, _, _, _ = await pairs.a_pair(bench, shapes)
    submission = Submission(key_id="key_1", request=make())
    live = live_of(bench.core, price(bench.core, submission), submission)
    bench.received(live, pairs.sent_of(await bench.record(id_), who), shapes.gemini(shapes.png(3)))
    await bench.restart()
    record = await bench.record(id_)
    assert (record.generation.state, record.generation.charged_micros) == ("succeeded", USD)
    assert record.attempts[who].state == AttemptState.SETTLED
    assert (record.attempts[1 - who].state, record.attempts[1 - who].outrun) == ("unknown", 1)
    assert sorted(await bench.taken(id_)) == [("cost", USD), ("exposure", USD)]
    await bench.quiet()


async def test_both_in_the_spool_are_a_result_and_an_extra(
    bench: Any, shapes: Any, pairs: Any, make: Callable[..., Any]
) -> None:
    """As if they had come one after the other."""
    id_, _, _, _ = await pairs.a_pair(bench, shapes)
    submission = Submission(key_id="key_1", request=make())
    live = live_of(bench.core, price(bench.core, submission), submission)
    for number in range(2):
        bench.received(live, pairs.sent_of(await bench.record(id_), number), shapes.gemini(shapes.png(3)))
    await bench.restart()
    record = await bench.record(id_)
    assert pairs.kinds(record) == [("a", "result"), ("b", "late")]
    assert await bench.taken(id_) == [("cost", USD), ("extra", USD)]
    await bench.quiet()


@changed(route={"fallback": []})
async def test_a_pause_after_two_failures_outlives_the_process(bench: Any, shapes: Any, pairs: Any) -> None:
    """Whichever of the two ended last says what follows: here the first one."""
    id_, _, first, second = await pairs.a_pair(
        bench,
        shapes,
        a={"body": BUSY, "status": 503, "retry_after": "20"},
        b={"body": BUSY, "status": 503, "retry_after": "20"},
    )
    second.answers()
    await pairs.ended(bench, id_, "b")
    first.answers()
    await bench.resting()
    record = await bench.record(id_)
    waits = [each.number for each in record.attempts if each.retry_at is not None]
    assert len(waits) == 1
    bench.upstream.by_host.clear()
    recovered = await bench.restart()
    ((live, parts),) = recovered.to_drive
    assert (live.id, parts, live.earlier[0].had_second) == (id_, (0,), True)
    bench.clock.jump(60.0)
    await bench.quiet()
    assert (await bench.record(id_)).generation.state == "succeeded"
    await bench.is_clean(id_)


@changed(route={"fallback": []})
async def test_a_part_that_had_its_second_attempt_gets_none_after_a_restart(
    bench: Any, shapes: Any, pairs: Any
) -> None:
    """There is one for each part, however many attempts have followed it."""
    busy = {"body": BUSY, "status": 503, "retry_after": "20"}
    id_, _, first, second = await pairs.a_pair(bench, shapes, a=busy, b=busy)
    second.answers()
    await pairs.ended(bench, id_, "b")
    first.answers()
    await bench.resting()
    bench.clock.jump(30.0)
    await bench.in_flight(3)
    await bench.resting()
    assert [each.hedge for each in (await bench.record(id_)).attempts[:3]] == [0, 1, 0]
    bench.upstream.by_host.clear()
    recovered = await bench.restart()
    ((live, _),) = recovered.to_drive
    assert live.earlier[0].had_second
    bench.clock.jump(60.0)
    await bench.quiet()
    await bench.is_clean(id_)


async def test_a_disk_that_refuses_the_second_one_leaves_the_first_alone(
    bench: Any, shapes: Any, pairs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again a moment later."""
    first = pairs.Held(bench, shapes, "a")
    second = pairs.Held(bench, shapes, "b")
    id_, caller = await bench.ask()
    await bench.in_flight()
    write, refusals = bench.store.write, []

    async def refuse(function: Any, *args: Any) -> Any:
        if function is begin_attempt and args[0].hedge and not refusals:
            refusals.append(function)
            raise StorageError("no room", reason="full")
        return await write(function, *args)

    monkeypatch.setattr(bench.store, "write", refuse)
    bench.clock.jump(SLOW_S)
    await bench.until(lambda: refusals)
    await bench.turn()
    assert pairs.hosts(bench) == "a"
    bench.clock.jump(6.0)
    await bench.in_flight(2)
    second.answers()
    await caller.ended()
    first.answers()
    await bench.quiet()
    assert pairs.kinds(await bench.record(id_)) == [("a", "late"), ("b", "result")]
    await bench.is_clean(id_)


async def test_a_lost_answer_of_the_second_commit_leaves_no_ghost(
    bench: Any, shapes: Any, pairs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row is there and nothing was sent: it is ended as that, and the first one's failure ends the part."""
    first = pairs.Held(bench, shapes, "a", failure=LOST)
    id_, caller = await bench.ask()
    await bench.in_flight()
    write, losses = bench.store.write, []

    async def lose(function: Any, *args: Any) -> Any:
        made = await write(function, *args)
        if function is begin_attempt and args[0].hedge and not losses:
            losses.append(function)
            raise StorageError("its answer was lost", reason="broken")
        return made

    monkeypatch.setattr(bench.store, "write", lose)
    bench.clock.jump(SLOW_S)
    await bench.until(lambda: losses)
    while pairs.states(await bench.record(id_)) != [("a", "sent", 0, 0), ("b", "rejected", 1, 0)]:
        await asyncio.sleep(0.001)
    first.answers()
    await bench.until(lambda: pairs.hosts(bench) != "a" or caller.ends)
    await caller.ended()
    await bench.quiet()
    await bench.is_clean(id_)
