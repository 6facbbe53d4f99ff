"""A key's limits where generations are accepted: what is open, what arrives, repeats, and what a restart knows."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast.errors import RequestError
from holdfast.policy.access import MINUTE_S, Limits
from holdfast.policy.joining import Claim

ONE_AT_ONCE = Limits(concurrency=1)
TWO_A_MINUTE = Limits(rate_per_min=2)
ORDER = Claim(idempotency_key="order-1", by_fingerprint=False, says_retry=False)


async def refused(bench: Any, **options: Any) -> str | None:
    """Ask, and be refused; why."""
    with pytest.raises(RequestError) as told:
        await bench.ask(**options)
    return told.value.code


async def test_an_open_generation_takes_its_keys_place_until_it_ends(bench: Any) -> None:
    """Whoever waits for it, or nobody; another key has its own places."""
    gate = bench.hold_back()
    id_, caller = await bench.ask(limits=ONE_AT_ONCE)
    await bench.in_flight()
    assert await refused(bench, limits=ONE_AT_ONCE) == "concurrency_limited"
    other, waits = await bench.ask(limits=ONE_AT_ONCE, key_id="key_2")
    bench.engine.unwatch(id_, caller)
    assert await refused(bench, limits=ONE_AT_ONCE) == "concurrency_limited"
    gate.set()
    await waits.ended()
    await bench.quiet()
    assert (await bench.record(id_)).generation.state == "succeeded"
    assert (await bench.made(limits=ONE_AT_ONCE)).generation.state == "succeeded"
    assert other != id_


async def test_of_many_at_one_instant_as_many_as_may_are_accepted(bench: Any) -> None:
    """Those whose commit is being made count."""
    gate = bench.hold_back()
    limits = Limits(concurrency=3)
    outcomes = await asyncio.gather(*[bench.ask(limits=limits) for _ in range(40)], return_exceptions=True)
    errors = [each for each in outcomes if isinstance(each, RequestError)]
    assert len(outcomes) - len(errors) == 3
    assert {error.code for error in errors} == {"concurrency_limited"}
    gate.set()
    await bench.quiet()
    assert len(bench.upstream.asked) == 3


async def test_a_repeat_is_let_in_beyond_the_limit_and_buys_nothing(bench: Any) -> None:
    """It needs no place of its own; something else under another name does."""
    gate = bench.hold_back()
    id_, first = await bench.ask(limits=ONE_AT_ONCE, claim=ORDER, fingerprint=b"f")
    again, second = await bench.ask(limits=ONE_AT_ONCE, claim=ORDER, fingerprint=b"f")
    assert again == id_
    other = Claim(idempotency_key="order-2", by_fingerprint=False, says_retry=False)
    assert await refused(bench, limits=ONE_AT_ONCE, claim=other, fingerprint=b"f") == "concurrency_limited"
    gate.set()
    await first.ended()
    await second.ended()
    await bench.quiet()
    assert len(bench.upstream.asked) == 1


async def test_a_rate_takes_what_was_accepted_and_gives_it_back_after_a_minute(bench: Any) -> None:
    """Not what was refused for another reason, and not a replay."""
    bench.free_bytes = 0
    assert await refused(bench, limits=TWO_A_MINUTE) == "storage_low"
    bench.free_bytes = 1 << 40
    await bench.made(limits=TWO_A_MINUTE, claim=ORDER, fingerprint=b"f")
    for _ in range(3):
        await bench.ask(limits=TWO_A_MINUTE, claim=ORDER, fingerprint=b"f")
    await bench.made(limits=TWO_A_MINUTE)
    assert await refused(bench, limits=TWO_A_MINUTE) == "rate_limited"
    bench.clock.jump(MINUTE_S)
    await bench.made(limits=TWO_A_MINUTE)


async def test_what_a_dead_process_left_open_takes_its_place(bench: Any) -> None:
    """It is driven on, and ends; a restart is no way around a limit."""
    await bench.accepted()
    gate = bench.hold_back()
    await bench.restart()
    await bench.in_flight()
    assert await refused(bench, limits=ONE_AT_ONCE) == "concurrency_limited"
    gate.set()
    await bench.quiet()
    assert (await bench.made(limits=ONE_AT_ONCE)).generation.state == "succeeded"


async def test_what_is_driven_again_counts_in_the_rate(bench: Any, shapes: Any) -> None:
    """It is bought like any other: a failure that cost nothing is no way around a limit."""
    once = Limits(rate_per_min=1)
    bench.upstream.next.append(shapes.Reply(status=429, retry_after="299"))
    assert (await bench.made(claim=ORDER, fingerprint=b"f")).generation.state == "failed"
    bench.clock.jump(300.0)
    record = await bench.made(limits=once, claim=ORDER, fingerprint=b"f")
    assert (record.generation.state, record.generation.drive) == ("succeeded", 1)
    assert await refused(bench, limits=once) == "rate_limited"
