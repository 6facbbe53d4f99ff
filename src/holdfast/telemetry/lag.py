"""How late the event loop comes: the first thing that goes wrong when a process has too much to do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

EVERY_S = 0.25
"""Four looks a second cost nothing, and see a loop that stands still for longer than that."""


class LoopLag:
    """Sets a timer again and again, and says how late each was."""

    def __init__(self, loop: asyncio.AbstractEventLoop, tell: Callable[[float], None]) -> None:
        """Begin at `start`.

        Args:
            loop: Whose.
            tell: Given the seconds, at least 0.
        """
        self._loop = loop
        self._tell = tell
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Look from now on."""
        self._due = self._loop.time() + EVERY_S
        self._timer = self._loop.call_at(self._due, self._look)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._tell(max(0.0, self._loop.time() - self._due))
        self.start()
