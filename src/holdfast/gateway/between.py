"""Callers who were sent on by a redirect and have not come back yet: they still wait, on no connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from holdfast.log import emit
from holdfast.policy.hops import GRACE_S


class Between:
    """Counts them by generation. Whoever does not come back within `GRACE_S` has left. All on one loop."""

    def __init__(self, on_left: Callable[[str], None]) -> None:
        self._on_left = on_left
        self._timers: dict[str, list[asyncio.TimerHandle]] = {}
        self.idle = asyncio.Event()
        """Set while nobody is on the way."""
        self.idle.set()

    def __repr__(self) -> str:
        return f"<Between {sum(map(len, self._timers.values()))} callers of {len(self._timers)} generations>"

    def count(self, generation_id: str) -> int:
        """How many are on their way back to a generation."""
        return len(self._timers.get(generation_id, ()))

    def went(self, generation_id: str) -> None:
        """Expect somebody back."""
        timer = asyncio.get_running_loop().call_later(GRACE_S, self._gone, generation_id)
        self._timers.setdefault(generation_id, []).append(timer)
        self.idle.clear()

    def came(self, generation_id: str) -> bool:
        """Take whoever comes for the one who went first; False if nobody is expected any more."""
        if not self.count(generation_id):
            return False
        self._take(generation_id).cancel()
        return True

    def _gone(self, generation_id: str) -> None:
        # The first of them is the one whose time is over: all are given the same.
        self._take(generation_id)
        emit("caller.left", generation_id=generation_id, held=False)
        self._on_left(generation_id)

    def _take(self, generation_id: str) -> asyncio.TimerHandle:
        timers = self._timers[generation_id]
        timer = timers.pop(0)
        if not timers:
            del self._timers[generation_id]
        if not self._timers:
            self.idle.set()
        return timer

    def close(self) -> None:
        """Expect nobody any more."""
        for timer in [each for several in self._timers.values() for each in several]:
            timer.cancel()
        self._timers.clear()
        self.idle.set()
