"""A slow attempt gets a second one beside it: the first image is delivered and charged, the other is kept."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from holdfast.store.exposure import exposed_on
from holdfast.store.generations import events_of
from holdfast.types import Charge, Failure, FailureKind, Phase

USD = 1_000_000
PRO = "nano-banana-pro"
SLOW_S = 90.5
"""Past the P95 of 1K."""
DAY = "2026-11-24"
GONE = Failure(kind=FailureKind.UNREACHABLE, phase=Phase.CONNECT, charge=Charge.NO, detail="connection refused")


def changed(**changes: Any) -> Any:
    """Run a test with other settings."""
    return pytest.mark.parametrize("changes", [changes])


async def test_the_second_one_wins_and_the_late_image_is_an_extra(
    bench: Any, shapes: Any, pairs: Any, log: Callable[..., list[dict[str, Any]]]
) -> None:
    """The customer has the first image and pays once; the other one is stored and is the operator's cost."""
    id_, caller, first, second = await pairs.a_pair(bench, shapes)
    second.answers()
    await caller.ended()
    record = await bench.record(id_)
    assert (record.generation.state, record.generation.charged_micros) == ("succeeded", USD)
    assert pairs.states(record) == [("a", "sent", 0, 1), ("b", "settled", 1, 0)]
    first.answers()
    await bench.quiet()
    record = await bench.record(id_)
    assert pairs.states(record) == [("a", "settled", 0, 1), ("b", "settled", 1, 0)]
    assert pairs.kinds(record) == [("a", "late"), ("b", "result")]
    assert [blob.kind for blob in record.drafts()] == ["late"]
    assert bench.bytes_of(record) == shapes.png(ord("b"))
    assert record.generation.charged_micros == USD
    assert await bench.taken(id_) == [("cost", USD), ("extra", USD)]
    assert await bench.balance() == USD
    assert await bench.events(id_) == ["queued", "running", "running", "succeeded", "stored"]
    assert [each.get("is_second") for each in log("attempt.sent")] == [None, True]
    assert caller.ends == 1
    await bench.is_clean(id_)


async def test_the_first_one_wins_after_all(bench: Any, shapes: Any, pairs: Any) -> None:
    """Then what the second one brings is the extra."""
    id_, caller, first, second = await pairs.a_pair(bench, shapes)
    first.answers()
    await caller.ended()
    second.answers()
    await bench.quiet()
    record = await bench.record(id_)
    assert pairs.kinds(record) == [("a", "result"), ("b", "late")]
    assert await bench.taken(id_) == [("cost", USD), ("extra", USD)]
    assert await bench.balance() == USD
    await bench.is_clean(id_)


async def test_both_at_one_instant_are_one_result_and_one_extra(bench: Any, shapes: Any, pairs: Any) -> None:
    """Whichever is settled first."""
    id_, caller, first, second = await pairs.a_pair(bench, shapes)
    first.answers()
    second.answers()
    await caller.ended()
    await bench.quiet()
    assert sorted(kind for _, kind in pairs.kinds(await bench.record(id_))) == ["late", "result"]
    assert await bench.balance() == USD
    await bench.is_clean(id_)


async def test_the_second_attempt_says_why_it_was_made(bench: Any, shapes: Any, pairs: Any) -> None:
    """Its event has the figures by which it was decided; no prompt is kept for it meanwhile."""
    id_, caller, first, second = await pairs.a_pair(bench, shapes)
    rows = await bench.store.read(events_of, id_)
    data = [json.loads(row.data) for row in rows if row.type == "running"]
    assert "because" not in data[0]
    because = data[1]["because"]
    assert (because["slow_s"], because["expected_s"], because["budget_left"]) == (90.0, 45.0, 1.0)
    assert because["elapsed_s"] == pytest.approx(SLOW_S, abs=0.1)
    assert because["remaining_s"] == pytest.approx(300.0 - SLOW_S, abs=0.1)
    assert 0.2 < because["chance"] < 0.3
    first.answers()
    second.answers()
    await caller.ended()
    await bench.quiet()


async def test_nothing_is_made_twice_before_it_is_slow(bench: Any, shapes: Any, pairs: Any) -> None:
    """A second before the P95 there is one call."""
    held = pairs.Held(bench, shapes, "a")
    id_, caller = await bench.ask()
    await bench.in_flight()
    bench.clock.jump(89.0)
    await bench.turn()
    assert pairs.hosts(bench) == "a"
    held.answers()
    await caller.ended()
    await bench.quiet()
    assert [row.hedge for row in (await bench.record(id_)).attempts] == [0]
    await bench.is_clean(id_)


BOTH = [{"upstream": "a", "model": "pro-at-a"}, {"upstream": "b", "model": "pro-at-b"}]
NOT_MADE: dict[str, dict[str, Any]] = {
    "off by default": {"hedge": {"enabled": False}},
    "the other one is another model": {"route": {"upstreams": BOTH[:1]}},
    "the same upstream by another name": {"route": {"upstreams": [BOTH[0], BOTH[0] | {"model": "pro-two"}]}},
    "its share is not earned yet": {"hedge": {"budget_share": 0.5}},
    "this route buys nothing twice": {"route": {"on_unknown": "fail"}},
    "one more call than is allowed": {"retry": {"sends_max": 1}},
    "nothing is left of the day's cap": {"retry": {"exposure_images_min": 0}},
}


@pytest.mark.parametrize("changes", NOT_MADE.values(), ids=NOT_MADE)
async def test_a_second_attempt_is_not_made(bench: Any, shapes: Any, pairs: Any) -> None:
    """For as long as the first one is in flight, and the first one is delivered."""
    held = pairs.Held(bench, shapes, "a")
    id_, caller = await bench.ask()
    await bench.in_flight()
    for _ in range(4):
        bench.clock.jump(30.0)
        await bench.turn()
        await asyncio.sleep(0.01)
    assert pairs.hosts(bench) == "a"
    held.answers()
    await caller.ended()
    await bench.quiet()
    record = await bench.record(id_)
    assert pairs.states(record) == [("a", "settled", 0, 0)]
    assert await bench.store.read(exposed_on, DAY, PRO) == 0
    await bench.is_clean(id_)


async def test_who_allows_one_purchase_gets_one(bench: Any, shapes: Any, pairs: Any, make: Callable[..., Any]) -> None:
    """`Holdfast-Purchases: 1`."""
    held = pairs.Held(bench, shapes, "a")
    _, caller = await bench.ask(make(purchases_max=1))
    await bench.in_flight()
    bench.clock.jump(SLOW_S)
    await bench.turn()
    assert pairs.hosts(bench) == "a"
    held.answers()
    await caller.ended()
    await bench.quiet()


async def test_who_has_little_time_gets_no_second_one(bench: Any, shapes: Any, pairs: Any) -> None:
    """It could not end before the deadline."""
    held = pairs.Held(bench, shapes, "a")
    _, caller = await bench.ask(asked_s=120.0)
    await bench.in_flight()
    bench.clock.jump(SLOW_S)
    await bench.turn()
    assert pairs.hosts(bench) == "a"
    held.answers()
    await caller.ended()
    await bench.quiet()


@changed(upstream={"b": {"concurrency": 1}})
async def test_a_second_one_waits_for_nobody_and_takes_no_place_from_anybody(
    bench: Any, shapes: Any, pairs: Any, make: Callable[..., Any]
) -> None:
    """Where the other upstream is full it is looked again; once it has a place, the second one is made."""
    second = pairs.Held(bench, shapes, "b")
    bench.upstream.by_host["a"] = shapes.Reply(failure=GONE)
    other, other_caller = await bench.ask(make(purchases_max=1))
    await bench.until(lambda: pairs.hosts(bench) == "ab")
    first = pairs.Held(bench, shapes, "a")
    id_, caller = await bench.ask()
    await bench.until(lambda: pairs.hosts(bench) == "aba")
    bench.clock.jump(SLOW_S)
    await bench.turn()
    assert pairs.hosts(bench) == "aba"
    second.answers()
    await other_caller.ended()
    bench.clock.jump(6.0)
    await bench.until(lambda: pairs.hosts(bench) == "abab")
    await caller.ended()
    first.answers()
    await bench.quiet()
    await bench.is_clean(id_, other)


@changed(hedge={"budget_share": 0.25})
async def test_second_attempts_are_a_share_of_the_calls(bench: Any, shapes: Any, pairs: Any) -> None:
    """One in four, however many are slow."""
    held = pairs.Held(bench, shapes, "a"), pairs.Held(bench, shapes, "b")
    asked = [await bench.ask() for _ in range(8)]
    await bench.in_flight(8)
    bench.clock.jump(SLOW_S)
    await bench.in_flight(10)
    bench.clock.jump(30.0)
    await bench.turn()
    assert pairs.hosts(bench).count("b") == 2
    for each in held:
        each.answers()
    for _, caller in asked:
        await caller.ended()
    await bench.quiet()
    await bench.is_clean(*(id_ for id_, _ in asked))


@changed(retry={"exposure_images_min": 1, "exposure_share": 0.0})
async def test_second_attempts_count_as_bought_twice_today(bench: Any, shapes: Any, pairs: Any) -> None:
    """The day's cap of what may be paid twice has room for one of two."""
    held = pairs.Held(bench, shapes, "a"), pairs.Held(bench, shapes, "b")
    asked = [await bench.ask() for _ in range(2)]
    await bench.in_flight(2)
    bench.clock.jump(SLOW_S)
    await bench.in_flight(3)
    bench.clock.jump(30.0)
    await bench.turn()
    assert pairs.hosts(bench) == "aab"
    assert await bench.store.read(exposed_on, DAY, PRO) == USD
    for each in held:
        each.answers()
    for _, caller in asked:
        await caller.ended()
    await bench.quiet()
    await bench.is_clean(*(id_ for id_, _ in asked))
