"""A start: what an earlier process left is put right, beside callers where it takes long.

`engine.recover` says what is to be done of each generation; here it is handed to the engine, which drives it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from holdfast.engine import recover
from holdfast.engine.attempt import Resumed
from holdfast.engine.core import Core, Live
from holdfast.engine.patience import patiently
from holdfast.engine.watchers import Ended
from holdfast.log import emit
from holdfast.store.generations import get_record
from holdfast.store.records import Record


class Starting:
    """One engine's start."""

    def __init__(
        self,
        core: Core,
        *,
        drive: Callable[[Live, Sequence[int]], object],
        resume: Callable[[Resumed], object],
        take_up: Callable[[Record], Awaitable[None]],
        spawn: Callable[[Coroutine[Any, Any, None], str], object],
    ) -> None:
        """Begin nothing yet.

        Args:
            core: The engine's dependencies.
            drive: Drives parts of a generation on.
            resume: Goes on with an attempt that has a handle.
            take_up: Drives what somebody waits for, or ends it.
            spawn: Runs a task that the engine owns.
        """
        self._core = core
        self._drive = drive
        self._resume = resume
        self._take_up = take_up
        self._spawn = spawn
        self.left: set[str] = set()
        """What an earlier process left open and this one has not come to yet."""
        self.over = asyncio.Event()
        """Set once all of it has been taken up, or cannot be."""

    def __repr__(self) -> str:
        return f"<Starting, {len(self.left)} generations left>"

    async def start(self, within_s: float | None) -> recover.Recovered | None:
        """Put things right; see `Engine.start`."""
        left = await recover.look(self._core)
        self.left.update(left.open)
        work = asyncio.get_running_loop().create_task(self._recover(left), name="recovery")
        work.add_done_callback(lambda _: self.over.set())
        try:
            await asyncio.wait([work], timeout=within_s)
        except BaseException:
            work.cancel()
            raise
        if work.done():
            return work.result()
        self._spawn(self._recover_beside(work), "recovery-beside")
        return None

    async def _recover(self, left: recover.Left) -> recover.Recovered:
        recovered = await recover.put_right(self._core, left, self._take_over)
        self.left.clear()
        if recovered.settled or recovered.unknown or recovered.to_drive or recovered.to_resume:
            emit(
                "recovery.done",
                settled=recovered.settled,
                unknown=recovered.unknown,
                taken_up=len(recovered.to_drive),
                resumed=len(recovered.to_resume),
            )
        return recovered

    def _take_over(self, taken: recover.Taken) -> None:
        live = taken.live
        # One that was cancelled a moment ago is not driven.
        if live is not None and live.id in self.left:
            self.left.discard(live.id)
            self._drive(live, taken.parts)
        for resumed in taken.resumed:
            self.left.discard(resumed.live.id)
            self._resume(resumed)

    async def _recover_beside(self, work: Awaitable[recover.Recovered]) -> None:
        try:
            await work
        except Exception as exc:  # noqa: BLE001 - the border of a task: what is left is taken up by repeats, or the next start
            emit("fault.internal", level="error", exc=exc)
            stranded = [id_ for id_ in self.left if id_ in self._core.watchers]
            self.left.clear()
            for id_ in stranded:
                await self._rescue(id_)

    async def _rescue(self, generation_id: str) -> None:
        """Drive what somebody waits for, or end it, where the start could not."""
        core = self._core
        try:
            record = await patiently(lambda: core.store.read(get_record, generation_id), generation_id)
            assert record is not None
            await self._take_up(record)
        except Exception as exc:  # noqa: BLE001 - one of them keeps no other from it
            emit("fault.internal", level="error", exc=exc, generation_id=generation_id)
            core.watchers.notify(generation_id, Ended())
