"""kill -9 at every named point: what was accepted ends, and nothing of it is lost, doubled or told wrongly."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import Any

import pytest

from holdfast import faults

AT_ONCE = 3
"""Houses that live at a time: a gateway waits for its disk as much as it computes."""
WAIT_S = 20.0
CASE_S = 90.0
PASSES = {"store": range(1, 10), "send": (1, 3), "settle": (1, 2), "blob": (1, 3)}
"""Which pass of a point kills, by area; the first, where nothing stands here. A later one finds the other calls
further on. The store's own points are passed by every commit: those of the start, then accept, send and settle."""


def points_by_area() -> dict[str, list[str]]:
    """Every point of the source, by what stands before the dot."""
    texts = [path.read_text("utf-8") for path in sorted(Path(faults.__file__).parent.rglob("*.py"))]
    names = {name for text in texts for name in re.findall(r'faults\.point(?:_sync)?\("([^"]+)"\)', text)}
    areas: dict[str, list[str]] = {}
    for name in sorted(names):
        areas.setdefault(name.partition(".")[0], []).append(name)
    return areas


POINTS = points_by_area()
RECOVERY_PASSES = {"recovery": (1,), "settle": (1,), "blob": (1,), "store": range(1, 6)}
"""The same for a start that puts things right."""


async def together(cases: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run cases side by side, a few at a time; every one is run, and every failure is told."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(case: Coroutine[Any, Any, None]) -> None:
        async with gate, asyncio.timeout(CASE_S):
            await case

    outcomes = await asyncio.gather(*(one(case) for case in cases), return_exceptions=True)
    failed = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    if failed:
        raise ExceptionGroup(f"{len(failed)} of {len(outcomes)} cases", failed)


async def live(house: Any) -> None:
    """Live a plain life: parts, several images of one call, a broken connection, a repeat, a budget, a cancel."""
    await house.post_until_death(
        house.post("[delay=0.06]", n=2),
        house.post("[delay=0.1]", model="gpt-image-2", n=2),
        house.post("[delay=0.08] [reset]", model="gpt-image-2"),
    )
    if house.is_alive:
        await house.post_until_death(house.post("[delay=0.7]", **{"Holdfast-Timeout": "0.3"}))
    if house.is_alive:
        named = {"Idempotency-Key": "order-1"}
        await house.post_until_death(house.post("[delay=0.2]", **named), house.post("[delay=0.2]", **named))
    if house.is_alive:
        await house.post_until_death(house.cancelled("[delay=0.3]"))


async def until_spooled(house: Any, pattern: str) -> None:
    """Wait for a file in the spool."""
    async with asyncio.timeout(WAIT_S):
        while not list((house.data / "spool").glob(pattern)):
            await asyncio.sleep(0.01)


async def leave_open(house: Any, **last: Any) -> None:
    """Die with one answer in the spool, half of another one, and a generation that was never sent."""
    assert await house.start("settle.before_blobs:sleep=60:1,send.before_commit:kill:3")
    waiting = [asyncio.create_task(house.post("[delay=0] [half]", model="gpt-image-2"))]
    await until_spooled(house, "*.part")
    waiting.append(asyncio.create_task(house.post("[delay=0]")))
    await until_spooled(house, "*.done")
    # What its answer said besides is written a moment later; a death in between has cases of its own.
    await asyncio.sleep(0.05)
    waiting.append(asyncio.create_task(house.post("[delay=0.05]", n=2, **last)))
    await asyncio.gather(*waiting)
    await house.died()
    assert len(house.accepted()) == 3


async def kill_in_recovery(house: Any, spec: str) -> bool:
    """Die again and again while things are put right; False if this point is not passed then."""
    point = spec.partition(":")[0]
    budget = {"Holdfast-Timeout": "0.5"} if point == "recovery.after_deadline" else {}
    await leave_open(house, **budget)
    if budget:
        await asyncio.sleep(0.5)
    if point == "recovery.after_giving_up":
        house.models = ("gpt-image-2",)
    was_passed = False
    for _ in range(2):
        if await house.start(spec):
            # What was taken up goes on behind the start, and may pass the point there.
            await house.post_until_death()
        if house.is_alive:
            break
        was_passed = True
    if house.is_alive:
        await house.kill()
    assert await house.start()
    await house.check_after()
    return was_passed


async def kill_in_life(house: Any, spec: str) -> bool:
    """Die at a point of a plain call and start again; False if a plain call does not pass it."""
    if await house.start(spec):
        if spec.startswith("webhook."):
            await house.be_told()
        await live(house)
    was_passed = not house.is_alive
    if not was_passed:
        await house.kill()
    assert await house.start()
    await house.check_after()
    return was_passed


def specs(area: str, passes: Iterable[int]) -> list[str]:
    """What to kill at: each point of an area, at each of these passes."""
    return [f"{name}:kill:{nth}" for name in POINTS[area] for nth in passes]


def must_be_passed(spec: str) -> bool:
    """The first pass always comes; how often a point is passed besides depends on what shares a commit."""
    return spec.endswith(":1")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("area", [area for area in POINTS if area not in ("recovery", "sweeper")])
async def test_a_kill_at_any_point_of_a_call_loses_nothing(street: Any, area: str) -> None:
    """Every accepted generation ends, charges and record agree, the books balance, and the gateway serves on.

    The sweeper has nothing to do in a plain life; `test_crash_sweeper.py` is its own.
    """

    async def case(spec: str) -> None:
        if await kill_in_life(street.house(spec.replace(":", "-")), spec) or not must_be_passed(spec):
            return
        was_passed = await kill_in_recovery(street.house(f"{spec.replace(':', '-')}-recovery"), spec)
        assert was_passed, f"{spec}: no call and no start passes this point"

    await together(case(spec) for spec in specs(area, PASSES.get(area, (1,))))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("area", list(RECOVERY_PASSES))
async def test_a_kill_while_things_are_put_right_loses_nothing(street: Any, area: str) -> None:
    """A start that dies, and the next one that dies at the same place, leave the third all that it needs."""

    async def case(spec: str) -> None:
        was_passed = await kill_in_recovery(street.house(spec.replace(":", "-")), spec)
        assert was_passed or not must_be_passed(spec), f"{spec}: a start does not pass this point"

    await together(case(spec) for spec in specs(area, RECOVERY_PASSES[area]))
