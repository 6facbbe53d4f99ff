"""Callers who wait for what becomes of a generation without being held: long polls and event streams."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from holdfast.engine.engine import Engine
from holdfast.engine.watchers import Notice, PartialImage
from holdfast.gateway.call import Call

PREVIEWS_MAX = 4
"""More than an upstream sends of one image."""


class Wait:
    """One caller who follows one generation."""

    __slots__ = ("_call", "_woken", "is_released", "previews")

    def __init__(self, call: Call) -> None:
        self._call = call
        self._woken = asyncio.Event()
        self.previews: deque[PartialImage] = deque(maxlen=PREVIEWS_MAX)
        """What came and is still to be shown; of those that wait too long, the newest."""
        self.is_released = False
        """The gateway ends: nobody waits any longer."""

    @property
    def is_over(self) -> bool:
        """Whether waiting has become pointless: the caller is gone, or the gateway goes."""
        return self.is_released or self._call.has_left

    def wake(self) -> None:
        """Let `sleep` return: look again."""
        self._woken.set()

    def notice(self, notice: Notice) -> None:
        """Keep a preview; the end is told by the record."""
        if isinstance(notice, PartialImage):
            self.previews.append(notice)
            self.wake()

    async def sleep(self, until: float | None = None) -> bool:
        """Wait until something happens; False if the time came first.

        Args:
            until: Loop time, seconds; None: however long it takes.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await self._woken.wait()
        woken = self._woken.is_set()
        self._woken.clear()
        return woken


class Waits:
    """All who wait: bounded, and let go of together."""

    def __init__(self, engine: Engine, *, waiting_max: int) -> None:
        self._engine = engine
        self._waiting_max = waiting_max
        self._open: set[Wait] = set()

    def __repr__(self) -> str:
        return f"<Waits {len(self._open)} of {self._waiting_max}>"

    @property
    def is_full(self) -> bool:
        """Whether nobody else may wait for now."""
        return len(self._open) >= self._waiting_max

    @contextmanager
    def following(self, call: Call, generation_id: str, *, previews: bool = False) -> Iterator[Wait]:
        """Wake a caller's wait after each commit that changes its generation, and when its connection is lost.

        With `previews` also when an upstream has sent one.
        """
        wait = Wait(call)
        self._open.add(wait)
        self._engine.follow(generation_id, wait.wake)
        if previews:
            self._engine.watch(generation_id, wait.notice)
        call.protocol.on_lost = wait.wake
        try:
            yield wait
        finally:
            call.protocol.on_lost = None
            self._engine.unfollow(generation_id, wait.wake)
            if previews:
                self._engine.unwatch(generation_id, wait.notice)
            self._open.discard(wait)

    def release(self) -> None:
        """End every wait: each caller is answered with what is known now."""
        for wait in self._open:
            wait.is_released = True
            wait.wake()
