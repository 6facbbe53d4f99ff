"""kill -9 at named points: what was accepted ends, and nothing of it is lost, doubled or told wrongly.

Which points is drawn by the commit, see `points.py`; `scripts/crash-matrix` takes all of them.
"""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import pytest

AT_ONCE = 3
"""Houses that live at a time: a gateway waits for its disk as much as it computes."""
WAIT_S = 20.0
CASE_S = 90.0
IMPATIENT = {"User-Agent": "python-httpx/0.28.1"}
PASSES = {"store": range(1, 10), "send": (1, 3), "settle": (1, 2), "blob": (1, 3)}
"""Which pass of a point kills, by area; the first, where nothing stands here. A later one finds the other calls
further on. The store's own points are passed by every commit: those of the start, then accept, send and settle."""
RECOVERY_PASSES = {"recovery": (1,), "settle": (1,), "blob": (1,), "store": range(1, 6)}
"""The same for a start that puts things right."""
IS_WHOLE = bool(os.environ.get("HOLDFAST_CRASH_ALL"))

Case = Callable[[], Coroutine[Any, Any, None]]


async def together(
    cases: Iterable[Coroutine[Any, Any, None]], *, at_once: int = AT_ONCE, within_s: float = CASE_S
) -> None:
    """Run cases side by side, a few at a time; every one is run, and every failure is told."""
    gate = asyncio.Semaphore(at_once)

    async def one(case: Coroutine[Any, Any, None]) -> None:
        async with gate, asyncio.timeout(within_s):
            await case

    outcomes = await asyncio.gather(*(one(case) for case in cases), return_exceptions=True)
    failed = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    if failed:
        raise ExceptionGroup(f"{len(failed)} of {len(outcomes)} cases", failed)


# A life, in scenes


async def plain(house: Any) -> None:
    """Parts, several images of one call, a broken connection."""
    await house.post_until_death(
        house.post("[delay=0.06]", n=2),
        house.post("[delay=0.1]", model="gpt-image-2", n=2),
        house.post("[delay=0.08] [reset]", model="gpt-image-2"),
    )


async def polled(house: Any) -> None:
    """An upstream that gives a handle: one call that goes well, one whose handle is lost."""
    await house.post_until_death(*(house.post(each, model="nano-banana", n=2) for each in ("[delay=0.1]", "[reset]")))


async def turned_away(house: Any) -> None:
    """A call that a busy upstream takes at the second try."""
    await house.post_until_death(house.post("[delay=0.05] [busy]"))


async def lined_up(house: Any) -> None:
    """A call that waits for its turn, and whose caller does not."""
    await house.post_until_death(
        house.post("[delay=1.2]", model="nano-banana-2"),
        house.post("[delay=0]", model="nano-banana-2", after_s=0.15, within_s=0.3, **IMPATIENT),
    )


async def hurried(house: Any) -> None:
    """A budget that is over before the image comes."""
    await house.post_until_death(house.post("[delay=0.7]", **{"Holdfast-Timeout": "0.3"}))


async def repeated(house: Any) -> None:
    """A call and its repeat, at once."""
    named = {"Idempotency-Key": "order-1"}
    await house.post_until_death(house.post("[delay=0.2]", **named), house.post("[delay=0.2]", **named))


async def cancelled(house: Any) -> None:
    """A call that is called off."""
    await house.post_until_death(house.cancelled("[delay=0.3]"))


async def erased(house: Any) -> None:
    """A call that is made, and deleted."""
    await house.post_until_death(house.erased("[delay=0]"))


async def driven_again(house: Any) -> None:
    """A call that the upstream refused, unpaid, with no time for another try; and its repeat."""
    named = {"Idempotency-Key": "order-2", "Holdfast-Timeout": "5"}
    if await house.post("[shut]", **named) == "503":
        await house.post_until_death(house.post("[shut]", **named))


async def with_input(house: Any) -> None:
    """A call that brings an image along."""
    picture = base64.b64encode(house.picture).decode()
    await house.post_until_death(house.make("[delay=0.1]", images=[{"b64": picture}]))


async def overtaken(house: Any) -> None:
    """Slow calls with a second one beside them: the second one first, and the extra of a part while another goes on;
    the first one lost while the second goes on."""
    await house.post_until_death(
        house.post("[delay=1] [second=0.5]", model="seedream-4.5", n=2),
        house.post("[delay=0.5] [second=0.7] [reset]", model="seedream-4.5"),
    )


async def stopped(house: Any) -> None:
    """A call, and the end of the process, which writes down what it has learnt. Not played before another scene."""
    await house.post("[delay=0]")
    house.process.terminate()
    await house.post_until_death()


SCENES = (plain, hurried, repeated, cancelled, driven_again, with_input, turned_away, lined_up, polled)
FIRST = {
    "cancel.before_commit": cancelled,
    "cancel.before_rows": cancelled,
    "cancel.after_rows": cancelled,
    "cancel.after_commit": cancelled,
    "erase.before_commit": erased,
    "erase.before_rows": erased,
    "erase.after_rows": erased,
    "erase.after_commit": erased,
    "ending.before_commit": hurried,
    "ending.after_commit": hurried,
    "enter.after_join": repeated,
    "enter.after_driven_row": driven_again,
    "accept.before_input": with_input,
    "accept.after_input": with_input,
}
FIRST_OF_AREA = {"retry": turned_away, "unwatched": lined_up, "handle": polled, "latency": stopped, "second": overtaken}
"""Where a point is passed, if not in the first scene: then that is played first."""


async def live(house: Any, point: str) -> None:
    """Play all scenes, until death."""
    first = FIRST.get(point) or FIRST_OF_AREA.get(point.partition(".")[0], plain)
    # Somebody is told of each end once, which a call that is driven again would have several of.
    others = [] if house.is_told else [scene for scene in SCENES if scene is not first]
    for scene in (first, *others):
        if house.is_alive:
            await scene(house)


# A death, and another one


async def until_spooled(house: Any, pattern: str) -> None:
    """Wait for a file in the spool."""
    async with asyncio.timeout(WAIT_S):
        while not list((house.data / "spool").glob(pattern)):
            await asyncio.sleep(0.01)


async def leave_open(house: Any, **last: Any) -> None:
    """Die with one answer in the spool, half of another one, a handle, and a generation that was never sent."""
    assert await house.start("settle.before_blobs:sleep=60:1,send.before_commit:kill:4")
    waiting = [asyncio.create_task(house.post("[delay=0] [half]", model="gpt-image-2"))]
    await until_spooled(house, "*.part")
    waiting.append(asyncio.create_task(house.post("[delay=1]", model="nano-banana")))
    await house.until_polling()
    waiting.append(asyncio.create_task(house.post("[delay=0]")))
    await until_spooled(house, "*.done")
    # What its answer said besides is written a moment later; a death in between has cases of its own.
    await asyncio.sleep(0.05)
    waiting.append(asyncio.create_task(house.post("[delay=0.05]", n=2, **last)))
    await asyncio.gather(*waiting)
    await house.died()
    assert len(house.accepted()) == 4


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
            await house.post_until_death(grace_s=1.0 + house.taken_over_s)
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
    if spec.startswith("second."):
        house.settings = house.seconds
    if await house.start(spec):
        if spec.startswith("webhook."):
            await house.be_told()
        await live(house, spec.partition(":")[0])
    was_passed = not house.is_alive
    if not was_passed:
        await house.kill()
    assert await house.start()
    await house.check_after()
    return was_passed


def specs(points: Iterable[str], passes: Iterable[int]) -> list[str]:
    """What to kill at: each point, at each of these passes."""
    return [f"{name}:kill:{nth}" for name in points for nth in passes]


def must_be_passed(spec: str) -> bool:
    """The first pass always comes; how often a point is passed besides depends on what shares a commit."""
    return spec.endswith(":1")


def passes_of(area: str, passes: Any) -> Iterable[int]:
    """Every pass, where all points are taken; the first, where some are drawn."""
    return passes.get(area, (1,)) if IS_WHOLE else (1,)


@pytest.mark.timeout(300)
async def test_a_kill_at_any_point_of_a_call_loses_nothing(street: Any, area: str, points: Any, rows: Any) -> None:
    """Every accepted generation ends, charges and record agree, the books balance, and the gateway serves on.

    The sweeper has nothing to do in a plain life; `test_crash_sweeper.py` is its own.
    """

    async def case(spec: str) -> None:
        house = street.house(spec.replace(":", "-"))
        with rows.of(spec, "call", house) as row:
            row.was_passed = await kill_in_life(house, spec)
        if row.was_passed or not must_be_passed(spec):
            return
        house = street.house(f"{spec.replace(':', '-')}-recovery")
        with rows.of(spec, "start", house) as row:
            row.was_passed = await kill_in_recovery(house, spec)
            assert row.was_passed, f"{spec}: no call and no start passes this point"

    await together(case(spec) for spec in specs(points, passes_of(area, PASSES)))


@pytest.mark.timeout(300)
async def test_a_kill_while_things_are_put_right_loses_nothing(
    street: Any, area_of_start: str, points_of_start: Any, rows: Any
) -> None:
    """A start that dies, and the next one that dies at the same place, leave the third all that it needs."""

    async def case(spec: str) -> None:
        house = street.house(spec.replace(":", "-"))
        with rows.of(spec, "start", house) as row:
            row.was_passed = await kill_in_recovery(house, spec)
            assert row.was_passed or not must_be_passed(spec), f"{spec}: a start does not pass this point"

    await together(case(spec) for spec in specs(points_of_start, passes_of(area_of_start, RECOVERY_PASSES)))
