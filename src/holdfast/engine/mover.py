"""Moves images into the bucket that they belong into, out of the data folder and, for all processes that share a
database, one of them out of that. One task, owned by the gateway.

They wait there since the bucket did not take them when they came, or since there was none then. What is killed half-way
is begun again by the next start: an image lies in both places for a moment, and in none never.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import islice

from holdfast import faults
from holdfast.engine.core import Core
from holdfast.log import emit
from holdfast.policy.mishaps import reason_of
from holdfast.store.objects.blobs import ObjectBlobs

FIRST_S = 1.0
"""After the start: whoever waits to be served comes first."""
EVERY_S = 2.0
"""From one look into the data folder to the next, as long as the bucket takes what it is given."""
PAUSE_S_MAX = 30.0
"""The same while it does not; the pause is doubled from look to look."""
AT_ONCE = 4
"""Images moved at a time: callers' own have the other threads."""


class Mover:
    """See the module's docstring. `start` makes the task, `stop` ends it."""

    def __init__(self, core: Core, blobs: ObjectBlobs) -> None:
        self._core = core
        self._blobs = blobs
        self._task: asyncio.Task[None] | None = None
        self._waiting: Iterator[str] | None = None

    def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="mover")

    async def stop(self) -> None:
        """End at once; what is being moved in a thread is moved to its end."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    async def _run(self) -> None:
        await asyncio.sleep(FIRST_S)
        pause_s = EVERY_S
        while True:
            try:
                pause_s = EVERY_S if await self.look() else min(PAUSE_S_MAX, 2 * pause_s)
            except OSError as exc:
                # What waits cannot be read.
                emit("storage.failed", level="error", message=reason_of(exc))
            except Exception as exc:  # noqa: BLE001 - the border of a task: what it was is in the log, the next look comes
                emit("fault.internal", level="error", exc=exc)
            await asyncio.sleep(pause_s)

    async def look(self) -> bool:
        """Move all that waits; False if the bucket took none of the first that it was offered.

        Raises:
            OSError: The data folder, or the database, cannot be read.
        """
        while True:
            batch = await self._core.with_blobs(self._next, self._core.leads())
            if not batch:
                return await self._is_back()
            await faults.point("mover.before_move")
            moves = (self._core.with_blobs(self._blobs.move, key) for key in batch)
            moved = await asyncio.gather(*moves, return_exceptions=True)
            await faults.point("mover.after_move")
            for each in moved:
                if isinstance(each, BaseException) and not isinstance(each, OSError):
                    raise each
            # One that is refused for its own sake keeps no other back: the next look goes on behind it.
            if all(isinstance(each, OSError) for each in moved):
                return False
            emit("storage.moved", images=sum(each is True for each in moved))

    async def _is_back(self) -> bool:
        """Whether the bucket takes what it is given, where nothing waits here that it could be offered."""
        blobs, name = self._blobs, self._core.clock.new_id("try")
        return not blobs.is_away or await self._core.with_blobs(blobs.is_back, name)

    def _next(self, leads: bool) -> list[str]:
        """Go on through what waits; from its end begin anew, with the next look."""
        if self._waiting is None:
            self._waiting = self._blobs.waiting(of_all=leads)
        try:
            batch = list(islice(self._waiting, AT_ONCE))
        except OSError:
            self._waiting = None
            raise
        if not batch:
            self._waiting = None
        return batch
