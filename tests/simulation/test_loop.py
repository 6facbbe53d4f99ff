"""The loop of the simulation: virtual time, a drawn order, and lives that end without a word."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing

import pytest

from simulation.loop import LIFE, STEPS_MAX, SeededLoop, Stalled, call_later_as, hang


@pytest.fixture
def run() -> Iterator[Callable[..., object]]:
    """Run a coroutine function on a loop of its own, with the loop as its argument."""
    loops: list[SeededLoop] = []

    def run(main: Callable[[SeededLoop], Awaitable[object]], seed: int = 0) -> object:
        loop = SeededLoop(random.Random(seed))
        loops.append(loop)
        return loop.run_until_complete(main(loop))

    yield run
    for loop in loops:
        with closing(loop):
            loop.bury()


def test_time_jumps_to_the_next_timer(run: Callable[..., object]) -> None:
    """An hour of waiting takes none."""

    async def main(loop: SeededLoop) -> list[float]:
        times = []
        for seconds in (0.5, 3600.0, 0.0):
            await asyncio.sleep(seconds)
            times.append(loop.time())
        return times

    assert run(main) == [0.5, 3600.5, 3600.5]


def test_time_stands_still_while_anything_is_ready(run: Callable[..., object]) -> None:
    """What computes takes no time, however long it goes on."""

    async def main(loop: SeededLoop) -> float:
        loop.call_later(1.0, lambda: None)
        for _ in range(1000):
            await asyncio.sleep(0)
        return loop.time()

    assert run(main) == 0.0


def test_timeouts_work_in_virtual_time(run: Callable[..., object]) -> None:
    """`asyncio.timeout` and `asyncio.wait` are the product's; they must mean here what they mean there."""

    async def main(loop: SeededLoop) -> tuple[bool, float, int]:
        timed_out = False
        try:
            async with asyncio.timeout(250.0):
                await asyncio.sleep(1000.0)
        except TimeoutError:
            timed_out = True
        task = loop.create_task(asyncio.sleep(500.0))
        done, _ = await asyncio.wait([task], timeout=100.0)
        task.cancel()
        return timed_out, loop.time(), len(done)

    assert run(main) == (True, 350.0, 0)


def order_of(loop: SeededLoop) -> Awaitable[list[int]]:
    """Let twelve tasks be ready at one instant; give the order in which they ran."""

    async def main() -> list[int]:
        ran: list[int] = []

        async def note(number: int) -> None:
            await asyncio.sleep(1.0)
            ran.append(number)

        await asyncio.gather(*(note(number) for number in range(12)))
        return ran

    return main()


def test_what_is_ready_together_runs_in_a_drawn_order(run: Callable[..., object]) -> None:
    """Other seeds, other orders; the same seed, the same one."""
    orders = [run(order_of, seed) for seed in range(20)]
    assert all(sorted(order) == list(range(12)) for order in orders)  # type: ignore[call-overload]
    assert len({tuple(order) for order in orders}) == 20  # type: ignore[arg-type]
    assert [run(order_of, seed) for seed in range(20)] == orders


def test_a_race_that_loses_an_update_is_found(run: Callable[..., object]) -> None:
    """Two that read, wait and write: over some seeds every outcome shows itself."""

    async def main(loop: SeededLoop) -> int:
        counter = 0

        async def add() -> None:
            nonlocal counter
            for _ in range(2):
                seen = counter
                await asyncio.sleep(0)
                counter = seen + 1

        await asyncio.gather(add(), add())
        return counter

    assert {run(main, seed) for seed in range(200)} == {2, 3, 4}


def test_a_killed_life_does_nothing_more(run: Callable[..., object]) -> None:
    """No `finally`, no timer, no task that it had begun: as after kill -9."""
    ran: list[str] = []

    async def child() -> None:
        await asyncio.sleep(2.0)
        ran.append("child")

    async def work(loop: SeededLoop) -> None:
        loop.call_later(2.0, ran.append, "timer")
        begun = loop.create_task(child())
        try:
            ran.append("began")
            await begun
        finally:
            ran.append("finally")

    async def main(loop: SeededLoop) -> list[str]:
        loop.begin(7, work(loop), "work")
        await asyncio.sleep(1.0)
        loop.end_life(7)
        await asyncio.sleep(10.0)
        return list(ran)

    assert run(main) == ["began"]


def test_other_lives_and_the_world_go_on(run: Callable[..., object]) -> None:
    """A future that a dead life was to resolve stays open; one that it resolved wakes whoever waits outside."""

    async def main(loop: SeededLoop) -> list[str]:
        told: list[str] = []
        before, never = loop.create_future(), loop.create_future()

        async def work() -> None:
            await asyncio.sleep(1.0)
            before.set_result("before")
            await asyncio.sleep(1.0)
            never.set_result("never")

        async def other() -> None:
            await asyncio.sleep(5.0)
            told.append("other life")

        loop.begin(1, work(), "dies")
        loop.begin(2, other(), "lives")
        told.append(await before)
        loop.end_life(1)
        done, _ = await asyncio.wait([never], timeout=10.0)
        return [*told, *(each.result() for each in done)]

    assert run(main) == ["before", "other life"]


def test_timers_belong_to_the_life_they_are_set_for(run: Callable[..., object]) -> None:
    """An upstream's timer, set by whoever asked, outlives him."""

    async def main(loop: SeededLoop) -> list[int]:
        lives: list[int] = []

        async def work() -> None:
            call_later_as(0, 5.0, lambda: lives.append(LIFE.get()))
            loop.call_later(5.0, lambda: lives.append(LIFE.get()))
            await hang()

        loop.begin(3, work(), "asks")
        await asyncio.sleep(1.0)
        loop.end_life(3)
        await asyncio.sleep(10.0)
        return lives

    assert run(main) == [0]


def test_a_blocked_loop_is_late_for_everything(run: Callable[..., object]) -> None:
    """Timers that fell due meanwhile are ready together, none of them earlier."""

    async def main(loop: SeededLoop) -> list[float]:
        rang: list[float] = []
        for seconds in (1.0, 2.0, 30.0):
            loop.call_later(seconds, lambda: rang.append(loop.time()))
        await asyncio.sleep(0.5)
        loop.block(20.0)
        await asyncio.sleep(60.0)
        return rang

    assert run(main) == [20.5, 20.5, 30.0]


def test_cancelled_timers_do_not_hold_time_up(run: Callable[..., object]) -> None:
    """Nor do they let it jump to where nothing happens."""

    async def main(loop: SeededLoop) -> float:
        loop.call_later(5.0, lambda: None).cancel()
        await asyncio.sleep(10.0)
        return loop.time()

    assert run(main) == 10.0


def test_a_world_in_which_nothing_can_happen_is_told(run: Callable[..., object]) -> None:
    """A lost wake-up is a failure of the seed, not a test that hangs."""

    async def main(loop: SeededLoop) -> None:
        await loop.create_future()

    with pytest.raises(Stalled, match="nothing is left"):
        run(main)


def test_a_world_that_turns_in_circles_is_told(run: Callable[..., object]) -> None:
    """A loop without an end, in virtual time, ends."""

    async def main(loop: SeededLoop) -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(Stalled, match=str(STEPS_MAX)[:2]):
        run(main)


def test_what_never_ended_is_closed_when_the_world_is_buried(run: Callable[..., object]) -> None:
    """Else the collector closes it in the midst of another seed."""
    closed: list[str] = []

    async def work() -> None:
        try:
            await hang()
        finally:
            closed.append("closed")

    async def main(loop: SeededLoop) -> None:
        loop.begin(1, work(), "work")
        await asyncio.sleep(1.0)
        loop.end_life(1)

    loop = SeededLoop(random.Random(0))
    with closing(loop):
        loop.run_until_complete(main(loop))
        assert closed == []
        loop.bury()
        assert closed == ["closed"]
