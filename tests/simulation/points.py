"""What happens at a named point of the product: nothing, a kill, or an error."""

from __future__ import annotations

import errno
from collections import Counter
from typing import TYPE_CHECKING

from holdfast.faults import InjectedFault
from simulation.loop import LIFE, Killed, hang
from simulation.plan import AtPoint

if TYPE_CHECKING:
    from simulation.world import World

GIVE_UP_S = 500.0
"""A point that is not passed so long after its turn is left for another seed."""


class Points:
    """A `faults.Ruler`."""

    def __init__(self, world: World, at_points: tuple[AtPoint, ...]) -> None:
        self._world = world
        self._waiting = list(at_points)
        self._passed = 0
        self._since = 0.0
        self.passed: Counter[str] = Counter()
        self.fired: Counter[str] = Counter()
        self.is_healed = False

    async def point(self, name: str) -> None:
        """Pass a point on the loop."""
        if self._is_killed_at(name):
            await hang()

    def point_sync(self, name: str) -> None:
        """Pass a point in what stands for a thread."""
        if self._is_killed_at(name):
            raise Killed
        error = self._world.disk.file_fault(name)
        if error is not None:
            raise error

    def due(self) -> AtPoint | None:
        """The next one whose hour has come."""
        now = self._world.loop.time()
        while self._waiting and now > max(self._since, self._waiting[0].after_s) + GIVE_UP_S:
            self._pop()
        return self._waiting[0] if self._waiting and now >= self._waiting[0].after_s else None

    @property
    def next_name(self) -> str:
        """Of the next one, whatever its hour; empty when there is none."""
        return self._waiting[0].name if self._waiting else ""

    def _pop(self) -> None:
        self._waiting.pop(0)
        self._passed, self._since = 0, self._world.loop.time()

    def _is_killed_at(self, name: str) -> bool:
        """Count a pass, and act if it is the one; an error is raised, a kill is told."""
        world = self._world
        process = world.process
        if process is None or LIFE.get() != process.life or self.is_healed:
            return False
        self.passed[name] += 1
        due = self.due()
        if due is None or due.name != name:
            return False
        self._passed += 1
        if self._passed < due.nth:
            return False
        self._pop()
        self.fired[name] += 1
        if due.is_error:
            world.fault("error at a point", name)
            raise InjectedFault(errno.EIO, f"injected at {name}")
        world.fault("P1 kill at a point", name)
        world.kill()
        return True
