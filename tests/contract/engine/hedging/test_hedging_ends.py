"""One of two attempts fails, or both, or somebody ends them: the part ends once, with what the last of them says."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from holdfast.policy.retry import GiveUpReason
from holdfast.types import Charge, Failure, FailureKind, Phase

USD = 1_000_000
SLOW_S = 90.5
"""Past the P95 of 1K."""
BUSY = b'{"error":{"message":"busy","code":503,"status":"UNAVAILABLE"}}'
REFUSED = b'{"error":{"message":"bad request","code":400,"status":"INVALID_ARGUMENT"}}'
LOST = Failure(kind=FailureKind.LOST_REPLY, phase=Phase.WAIT, charge=Charge.UNKNOWN, detail="the connection broke")


def changed(**changes: Any) -> Any:
    """Run a test with other settings."""
    return pytest.mark.parametrize("changes", [changes])


async def test_the_first_one_fails_and_the_part_is_the_seconds(bench: Any, shapes: Any, pairs: Any) -> None:
    """A failure beside an attempt in flight ends nothing and begins nothing."""
    id_, caller, first, second = await pairs.a_pair(bench, shapes, a={"failure": LOST})
    first.answers()
    record = await pairs.ended(bench, id_, "a")
    assert pairs.states(record) == [("a", "unknown", 0, 0), ("b", "sent", 1, 0)]
    assert record.generation.state == "running"
    decision = json.loads(record.attempts[0].decision)
    assert (decision["follows"], decision["reason"]) == ("give_up", GiveUpReason.OTHER_IN_FLIGHT.value)
    second.answers()
    await caller.ended()
    await bench.quiet()
    record = await bench.record(id_)
    assert (record.generation.state, record.generation.charged_micros) == ("succeeded", USD)
    assert await bench.taken(id_) == [("exposure", USD), ("cost", USD)]
    assert await bench.events(id_) == ["queued", "running", "running", "progress", "succeeded"]
    await bench.is_clean(id_)


async def test_the_second_one_fails_and_the_first_goes_on(bench: Any, shapes: Any, pairs: Any) -> None:
    """What the second upstream said is noted against it, and against nobody else; there is no third one."""
    id_, caller, first, second = await pairs.a_pair(bench, shapes, b={"body": BUSY, "status": 503})
    second.answers()
    await pairs.ended(bench, id_, "b")
    bench.clock.jump(30.0)
    await bench.turn()
    assert pairs.hosts(bench) == "ab"
    first.answers()
    await caller.ended()
    await bench.quiet()
    record = await bench.record(id_)
    assert pairs.states(record) == [("a", "settled", 0, 0), ("b", "rejected", 1, 0)]
    assert await bench.taken(id_) == [("cost", USD)]
    await bench.is_clean(id_)


async def test_both_fail_for_nothing_and_it_is_tried_again(bench: Any, shapes: Any, pairs: Any) -> None:
    """What follows is decided when the last of them has ended, with both counted."""
    id_, caller, first, second = await pairs.a_pair(
        bench, shapes, a={"body": BUSY, "status": 503}, b={"body": BUSY, "status": 503}
    )
    first.answers()
    await pairs.ended(bench, id_, "a")
    second.answers()
    await bench.until(lambda: "in a pause" in repr(bench.engine) or pairs.hosts(bench) != "ab")
    for host in "abc":
        bench.upstream.by_host[host] = bench.upstream.usual
    bench.clock.jump(10.0)
    await caller.ended()
    await bench.quiet()
    record = await bench.record(id_)
    assert record.generation.state == "succeeded"
    assert [each.hedge for each in record.attempts] == [0, 1, 0]
    assert [each.retry_at is not None for each in record.attempts] == [False, True, False]
    await bench.is_clean(id_)


async def test_both_lost_are_two_purchases_and_no_third(bench: Any, shapes: Any, pairs: Any) -> None:
    """The cap of purchases counts both, and the caller hears that it may have been charged."""
    id_, caller, first, second = await pairs.a_pair(bench, shapes, a={"failure": LOST}, b={"failure": LOST})
    first.answers()
    await pairs.ended(bench, id_, "a")
    second.answers()
    await caller.ended()
    await bench.quiet()
    record = await bench.record(id_)
    assert record.generation.state == "failed"
    assert record.generation.told.charge is Charge.UNKNOWN
    assert json.loads(record.attempts[1].decision)["reason"] == GiveUpReason.PURCHASES_SPENT.value
    assert await bench.taken(id_) == [("exposure", USD), ("exposure", USD)]
    assert await bench.balance() == 0
    assert pairs.hosts(bench) == "ab"
    await bench.is_clean(id_)


async def test_the_stricter_charge_of_two_decides(bench: Any, shapes: Any, pairs: Any) -> None:
    """The first one was certainly paid for and brought nothing: a 503 of the second one buys no third."""
    half = {"body": shapes.gemini(b"not a picture")}
    id_, caller, first, second = await pairs.a_pair(bench, shapes, a=half, b={"body": BUSY, "status": 503})
    first.answers()
    record = await pairs.ended(bench, id_, "a")
    assert (record.attempts[0].charge, record.generation.state) == ("yes", "running")
    second.answers()
    await caller.ended()
    await bench.quiet()
    record = await bench.record(id_)
    assert (record.generation.state, record.generation.told.charge) == ("failed", Charge.YES)
    assert json.loads(record.attempts[1].decision)["reason"] == GiveUpReason.CHARGED.value
    assert pairs.hosts(bench) == "ab"
    await bench.is_clean(id_)


async def test_a_refusal_of_one_is_not_undone_by_a_failure_of_the_other(bench: Any, shapes: Any, pairs: Any) -> None:
    """The same request would end the same way again."""
    id_, caller, first, second = await pairs.a_pair(
        bench, shapes, a={"body": REFUSED, "status": 400}, b={"body": BUSY, "status": 503}
    )
    first.answers()
    await pairs.ended(bench, id_, "a")
    second.answers()
    await caller.ended()
    await bench.quiet()
    record = await bench.record(id_)
    assert record.generation.state == "failed"
    assert json.loads(record.attempts[1].decision)["reason"] == GiveUpReason.NOT_RETRYABLE.value
    await bench.is_clean(id_)


# Ends that come from outside


async def test_a_cancel_awaits_both_and_the_first_image_is_delivered(bench: Any, shapes: Any, pairs: Any) -> None:
    """What is in flight is paid for: one of them fails, the other one's image is the caller's."""
    id_, caller, first, second = await pairs.a_pair(bench, shapes, a={"failure": LOST})
    await bench.engine.cancel(id_)
    first.answers()
    assert (await pairs.ended(bench, id_, "a")).generation.state == "running"
    second.answers()
    await caller.ended()
    await bench.quiet()
    assert (await bench.record(id_)).generation.state == "succeeded"
    await bench.is_clean(id_)


async def test_a_cancel_of_two_that_fail_is_a_cancel(bench: Any, shapes: Any, pairs: Any) -> None:
    """After the last of them."""
    id_, caller, first, second = await pairs.a_pair(bench, shapes, a={"failure": LOST}, b={"failure": LOST})
    await bench.engine.cancel(id_)
    first.answers()
    second.answers()
    await caller.ended()
    await bench.quiet()
    assert (await bench.record(id_)).generation.state == "cancelled"
    await bench.is_clean(id_)


async def test_what_was_cancelled_gets_no_second_one(bench: Any, shapes: Any, pairs: Any) -> None:
    """Nothing more is bought."""
    first = pairs.Held(bench, shapes, "a")
    id_, caller = await bench.ask()
    await bench.in_flight()
    await bench.engine.cancel(id_)
    bench.clock.jump(SLOW_S)
    await bench.turn()
    assert pairs.hosts(bench) == "a"
    first.answers()
    await caller.ended()
    await bench.quiet()
    await bench.is_clean(id_)


async def test_told_at_its_deadline_both_images_are_kept(bench: Any, shapes: Any, pairs: Any) -> None:
    """The first of them makes it a late success, the other one is an extra; the customer pays for neither."""
    id_, caller, first, second = await pairs.a_pair(bench, shapes, asked_s=150.0)
    bench.clock.jump(60.0)
    await caller.ended()
    assert (await bench.record(id_)).generation.state == "failed"
    second.answers()
    await pairs.ended(bench, id_, "b")
    first.answers()
    await bench.quiet()
    record = await bench.record(id_)
    assert (record.generation.state, record.generation.late, record.generation.charged_micros) == ("succeeded", 1, 0)
    assert pairs.kinds(record) == [("a", "late"), ("b", "result")]
    assert await bench.taken(id_) == [("extra", USD), ("extra", USD)]
    await bench.is_clean(id_)


@changed(deadlines={"generation_s": {"1K": 150, "2K": 300, "4K": 600}})
async def test_a_deadline_that_awaits_counts_two_of_a_part_as_one(bench: Any, shapes: Any, pairs: Any) -> None:
    """The time is over, nobody named a budget: whichever of the two comes ends it, and nothing hangs."""
    id_, caller, first, second = await pairs.a_pair(bench, shapes)
    bench.clock.jump(65.0)
    await bench.turn()
    first.answers()
    await caller.ended()
    second.answers()
    await bench.quiet()
    assert pairs.kinds(await bench.record(id_)) == [("a", "result"), ("b", "late")]
    await bench.is_clean(id_)


# Parts


@changed(hedge={"budget_share": 0.5})
async def test_an_extra_of_one_part_is_no_image_of_another(
    bench: Any, shapes: Any, pairs: Any, make: Callable[..., Any], log: Callable[..., list[dict[str, Any]]]
) -> None:
    """Part 0 has its image, its loser ends while part 1 is still in flight: part 1 ends the generation."""
    held_a = [asyncio.Event(), asyncio.Event()]
    for part in (0, 1):
        bench.upstream.by_part[part] = shapes.Reply(body=shapes.gemini(shapes.png(part + 1)), when=held_a[part])
    id_, caller = await bench.ask(make(n=2))
    await bench.in_flight(2)
    gate = asyncio.Event()
    bench.upstream.next_of["b"] = deque([shapes.Reply(body=shapes.gemini(shapes.png(9)), when=gate)])
    bench.clock.jump(SLOW_S)
    await bench.in_flight(3)
    slow_part = bench.upstream.asked[2].part
    gate.set()
    assert (await pairs.ended(bench, id_, "b")).generation.parts_open == 1
    held_a[slow_part].set()
    await bench.until(lambda: len(log("attempt.settled")) == 2)
    record = await bench.record(id_)
    assert (record.generation.state, record.generation.parts_open) == ("running", 1)
    held_a[1 - slow_part].set()
    await caller.ended()
    await bench.quiet()
    record = await bench.record(id_)
    assert (record.generation.state, record.generation.charged_micros, len(record.results)) == ("succeeded", 2 * USD, 2)
    assert sorted(kind for _, kind in pairs.kinds(record)) == ["late", "result", "result"]
    assert sorted(await bench.taken(id_)) == [("cost", USD), ("cost", USD), ("extra", USD)]
    await bench.is_clean(id_)
