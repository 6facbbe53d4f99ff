"""An upstream that is down is left alone, found again by one call, and waited for where there is no other."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from holdfast.types import Charge, Failure, FailureKind, Phase

PRO = "nano-banana-pro"
GONE = Failure(kind=FailureKind.UNREACHABLE, phase=Phase.CONNECT, charge=Charge.NO, detail="connection refused")
ALONE = {"upstreams": [{"upstream": "b", "model": "pro-at-b"}]}


def routed(*, route: dict[str, Any] | None = None, **changes: Any) -> Any:
    """Run a test with two upstreams of one model, a before b, unless it says otherwise."""
    both = {"upstreams": [{"upstream": "a", "model": "pro-at-a"}, {"upstream": "b", "model": "pro-at-b"}]}
    price = {"model": PRO, "micros": dict.fromkeys(("1K", "2K", "4K"), 1_000_000), "source": "test"}
    sections: dict[str, Any] = {
        "upstreams": [
            {"name": "a", "provider": "gemini", "base_url": "http://a.test", "keys": ["a-1", "a-2"]},
            {"name": "b", "provider": "gemini", "base_url": "http://b.test", "keys": ["b-1"]},
        ],
        "routes": [{"model": PRO} | (route or both)],
        "prices": [price | {"valid_from": "2026-01-01"}],
    }
    return pytest.mark.parametrize("sections", [sections | changes])


@routed()
async def test_an_upstream_that_is_down_is_left_alone_and_found_again(
    bench: Any, shapes: Any, log: Callable[..., list[dict[str, Any]]]
) -> None:
    """After five failures in a row nobody asks it; after its time one does, and then everybody."""
    bench.upstream.by_host["a"] = shapes.Reply(failure=GONE)
    for _ in range(8):
        assert (await bench.made()).generation.state == "succeeded"
    assert "".join(asked.host for asked in bench.upstream.asked) == "ab" * 5 + "bbb"
    assert [line["key_number"] for line in log("upstream.ejected")] == [None]
    bench.clock.jump(5.5)
    assert (await bench.made()).attempts[0].upstream == "a"
    assert [asked.host for asked in bench.upstream.asked].count("a") == 6
    assert (await bench.made()).attempts[0].upstream == "b"
    del bench.upstream.by_host["a"]
    bench.clock.jump(10.5)
    assert (await bench.made()).attempts[0].upstream == "a"
    assert len(log("upstream.restored")) == 1
    assert (await bench.made()).attempts[0].upstream == "a"


@routed(
    route=ALONE,
    retry={"on_unknown": "fail", "budget_burst": 50},
)
async def test_the_only_upstream_is_waited_for_when_it_is_down(bench: Any, shapes: Any) -> None:
    """Callers who come while its circuit is open stand in line, and get their images once it is back."""
    bench.upstream.next_of["b"] = deque(shapes.Reply(failure=GONE) for _ in range(5))
    first = [await bench.ask() for _ in range(5)]
    await bench.resting(5)
    id_, late = await bench.ask()
    await bench.until(lambda: "1 in line" in repr(bench.engine))
    assert bench.engine.in_line(id_).position == 1
    bench.clock.jump(6.0)
    for _, caller in (*first, (id_, late)):
        await caller.ended()
    await bench.quiet()
    await bench.is_clean(id_, *(each for each, _ in first))


@routed(
    upstreams=[
        {"name": name, "provider": "gemini", "base_url": f"http://{name}.test", "keys": [f"{name}-1"], "per_day": 40}
        for name in "ab"
    ],
    route=ALONE,
    retry={"on_unknown": "fail", "budget_burst": 50},
)
async def test_a_trial_of_one_takes_one_call_of_the_day(bench: Any, shapes: Any) -> None:
    """When the circuit is half-open all who wait get a place, and all but one give it back: those were not sent."""
    bench.upstream.next_of["b"] = deque(shapes.Reply(failure=GONE) for _ in range(7))
    first = [await bench.ask() for _ in range(5)]
    await bench.resting(5)
    late = [await bench.ask() for _ in range(12)]
    await bench.until(lambda: "12 in line" in repr(bench.engine))
    for sent in (6, 7):
        bench.clock.jump(16.0)
        await bench.until(lambda: len(bench.upstream.asked) == sent and "1 in a pause" in repr(bench.engine))  # noqa: B023
    bench.clock.jump(16.0)
    for _, caller in (*first, *late):
        await caller.ended()
    await bench.quiet()
    assert bench.engine._parts.queue.free("b") == 40 - len(bench.upstream.asked)
    await bench.is_clean(*(each for each, _ in (*first, *late)))
