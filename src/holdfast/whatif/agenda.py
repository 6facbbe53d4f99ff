"""Virtual time: what happens next, and nothing between."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from math import inf
from typing import Any


class Agenda:
    """Appointments in order of time; those of one moment in the order in which they were made."""

    def __init__(self) -> None:
        self.now = 0.0
        """Seconds since the start."""
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._made = 0

    def __repr__(self) -> str:
        return f"<Agenda at {self.now:.1f} s, {len(self._heap)} to come>"

    def at(self, moment: float, act: Callable[..., None], *args: Any) -> None:
        """Do something at a moment; one that has passed is now."""
        self._made += 1
        heappush(self._heap, (moment if moment > self.now else self.now, self._made, act, args))

    def run(self, until: float = inf) -> None:
        """Let everything happen that is due before a moment; without one, all there is."""
        heap = self._heap
        while heap and heap[0][0] <= until:
            self.now, _, act, args = heappop(heap)
            act(*args)
        if until < inf:
            self.now = until
