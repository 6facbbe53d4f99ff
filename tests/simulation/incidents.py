"""Faults that begin at an hour of the plan: kills, drains, disks that fail, clocks that are set, crowds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from simulation.callers import Caller, Order
from simulation.disk import CommitFault
from simulation.history import ClockSet
from simulation.plan import Timed
from simulation.routes import MODELS

if TYPE_CHECKING:
    from simulation.world import World

BURST = 12
MANY = 30
HUNDRED = 100
IN_NEED = ("plain", "keyed", "canceller", "budget", "leaver", "poller")


class Incidents:
    """Makes them happen, one after the other."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def run(self) -> None:
        """Go through the plan."""
        world = self._world
        for each in world.plan.timed:
            await asyncio.sleep(max(0.0, each.at_s - world.loop.time()))
            await self._act(each)

    async def _act(self, timed: Timed) -> None:
        name = timed.name
        acts: dict[str, Callable[[Timed], Awaitable[None]]] = {
            "P1 kill at any moment": self._kill,
            "P2 drain": self._drain,
            "P4 loop blocked": self._block,
            "P5 killed in recovery": self._kill_twice,
            "D4 slow commit": self._slow,
            "B1 no room": self._no_room,
            "B2 fsync": self._fsync,
            "N2 clock set": self._set_clock,
            "C2 a hundred with one key": self._hundred,
            "L1 burst": self._burst,
            "L3 every key limited": self._limited,
            "L4 retry storm": self._storm,
            "L5 recovery of many": self._many,
        }
        await acts.get(name, self._commits_fail)(timed)

    async def _when_up(self) -> bool:
        for _ in range(200):
            if self._world.up() is not None:
                return True
            await asyncio.sleep(0.5)
        return False

    async def _kill(self, timed: Timed) -> None:
        if await self._when_up():
            self._world.fault(timed.name)
            self._world.kill()

    async def _drain(self, timed: Timed) -> None:
        rng = self._world.rng
        self._let_come(5)
        # Ended at any step of theirs: as they enter, while they wait, as their answers come.
        await asyncio.sleep(rng.choice((rng.uniform(0.0, 0.02), rng.uniform(0.0, 3.0), rng.uniform(3.0, 60.0))))
        if await self._when_up():
            self._world.fault(timed.name)
            await self._world.stop(rng.choice((0.0, 0.0, timed.seconds, 300.0)))

    async def _block(self, timed: Timed) -> None:
        self._world.fault(timed.name)
        self._world.loop.block(self._world.rng.uniform(5.0, 30.0))

    async def _kill_twice(self, timed: Timed) -> None:
        """Kill, and kill again and again while the start puts things right."""
        world = self._world
        for number in range(4):
            world.come(f"victim-{world.next_number()}-{number}", "plain", 0.0)
        await asyncio.sleep(world.rng.choice((0.005, 0.5, 20.0)))
        for _ in range(3):
            if world.process is not None:
                world.fault(timed.name)
                world.kill()
            while world.process is None:
                await asyncio.sleep(0.05)
            await asyncio.sleep(world.rng.uniform(0.0, 0.02))

    def _let_come(self, count: int) -> None:
        """Let some come now: a disk that fails while nobody writes fails nobody."""
        world = self._world
        for number in range(count):
            kind = world.rng.choice(IN_NEED)
            world.come(f"in-need-{world.next_number()}-{number}", kind, world.rng.uniform(0.0, 3.0))

    async def _commits_fail(self, timed: Timed) -> None:
        disk = self._world.disk
        self._let_come(4)
        disk.commit_fault = CommitFault(timed.name)
        disk.commit_fault_share = self._world.rng.choice((0.3, 1.0))
        await asyncio.sleep(timed.seconds)
        disk.commit_fault = None

    async def _slow(self, timed: Timed) -> None:
        disk = self._world.disk
        disk.is_slow = True
        await asyncio.sleep(max(10.0, timed.seconds))
        disk.is_slow = False

    async def _no_room(self, timed: Timed) -> None:
        disk, rng = self._world.disk, self._world.rng
        disk.is_full = True
        self._let_come(3)
        if rng.random() < 0.5:
            disk.commit_fault, disk.commit_fault_share = CommitFault.FULL, 0.5
        await asyncio.sleep(max(40.0, timed.seconds))
        disk.is_full, disk.commit_fault = False, None

    async def _fsync(self, timed: Timed) -> None:
        self._let_come(3)
        self._world.disk.fsync_fails = True
        await asyncio.sleep(max(40.0, timed.seconds))
        self._world.disk.fsync_fails = False

    async def _set_clock(self, timed: Timed) -> None:
        world = self._world
        seconds = world.rng.choice((3600.0, -3600.0, 400.0, -20.0, 2000.0))
        world.fault(timed.name, f"{seconds:+g} s")
        showed_s = world.clock.wall_s()
        world.clock.set_by_s += seconds
        world.history.add(ClockSet(at=world.loop.time(), seconds=seconds, showed_s=showed_s))

    async def _hundred(self, timed: Timed) -> None:
        """A hundred at once with one key: one generation."""
        world = self._world
        order = Order(key_id="key_A", model=world.rng.choice(MODELS), n=1, words="of the hundred")
        key = f"key-of-a-hundred-{world.next_number()}"
        world.fault(timed.name)

        async def ask(caller: Caller) -> None:
            await caller._until_told(order, patience_s=None, repeats=3, key=key)

        for number in range(HUNDRED):
            world.come(f"hundred-{number}", "keyed", 0.0, ask)

    async def _burst(self, timed: Timed) -> None:
        self._world.fault(timed.name)
        for number in range(BURST):
            self._world.come(f"burst-{self._world.next_number()}-{number}", "plain", 0.0)

    async def _limited(self, timed: Timed) -> None:
        """Every upstream turns every call away, whichever key it brings."""
        upstreams = self._world.upstreams
        before, upstreams.busy_share = upstreams.busy_share, 1.0
        self._world.fault(timed.name)
        self._let_come(5)
        await asyncio.sleep(max(20.0, timed.seconds))
        upstreams.busy_share = before

    async def _storm(self, timed: Timed) -> None:
        """Every connection breaks, and all of them ask again at once."""
        world = self._world
        await self._burst(Timed(name="L1 burst", at_s=0.0, seconds=0.0))
        await asyncio.sleep(world.rng.uniform(1.0, 30.0))
        process = world.up()
        if process is None:
            return
        world.fault(timed.name, f"{len(process.wires)} connections")
        for wire in list(process.wires):
            wire.break_off()
            wire.left = True
            world.loop.call_later(world.rng.uniform(0.0, 5.0), wire.notice)

    async def _many(self, timed: Timed) -> None:
        """Die with many in flight, and put all of them right."""
        world = self._world
        for number in range(MANY):
            world.come(f"many-{world.next_number()}-{number}", "plain", world.rng.uniform(0.0, 2.0))
        await asyncio.sleep(world.rng.uniform(1.0, 4.0))
        if world.up() is not None:
            world.fault(timed.name)
            world.kill()
