"""One worker among several: takes up what a dispatcher delivers, sees it to its end, and hears what others do.

A generation is delivered to one worker at a time, and again to another one when the first is lost. Whoever is given
one that somebody has sent for before takes it over as a start would (`engine.recover`): the epoch goes up, so that a
worker that only slept can send no more; what has a handle is asked for again, and what nobody can know is told so. What
a sleeper still brings is taken in as late.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from holdfast.config import Role
from holdfast.engine import recover
from holdfast.engine.adopting import adopt
from holdfast.engine.attempt import Resumed
from holdfast.engine.core import Core, Live
from holdfast.engine.ending import DEADLINE_EXCEEDED, end_early
from holdfast.engine.handing import hand_over
from holdfast.engine.patience import patiently
from holdfast.engine.watchers import Ended
from holdfast.generation import State
from holdfast.log import emit
from holdfast.store.generations import get_generation, get_record, take_over_one
from holdfast.store.records import Record

AGAIN_S = 5.0
"""Until a generation is delivered again that a worker could not bring to its end."""

LOOK_S = 0.2
"""How often a drain looks whether anybody still waits."""

Task = asyncio.Task[None]


class Sharing:
    """What an engine does where it is not alone."""

    def __init__(
        self,
        core: Core,
        *,
        drive: Callable[[Live, Sequence[int]], Sequence[Task]],
        resume: Callable[[Resumed], Task],
        stop: Callable[[str], None],
        forget: Callable[[str], None],
        drives: Callable[[str], bool],
        spawn: Callable[[Coroutine[Any, Any, None], str], object],
    ) -> None:
        """Work on nothing yet.

        Args:
            core: The engine's dependencies.
            drive: Begins parts of a generation; gives their tasks.
            resume: Goes on with an attempt that has a handle; gives its task.
            stop: Begins no attempt any more of a generation, if it is driven here.
            forget: Lets go of one that has ended, if it is driven here.
            drives: Tells whether one is driven here, and has not ended.
            spawn: Runs a task that the engine owns.
        """
        self._core = core
        self._drive = drive
        self._resume = resume
        self._stop = stop
        self._forget = forget
        self._drives = drives
        self._spawn = spawn
        self._in_hand: set[str] = set()
        """What was delivered, and neither ended here nor was handed back."""
        self._is_closed = False

    async def start(self) -> int:
        """Settle what this process's spool holds, then take what is to be worked on; tell how many were settled."""
        core = self._core
        settled = await recover.look_at_spool(core)
        if core.settings.server.role is not Role.SERVE:
            await core.dispatcher.start(tuple(core.targets), core.settings.server.held_max)
        return settled

    async def drain(self, grace_s: float) -> bool:
        """Take nothing new; wait for what is worked on, and for callers whose generations others work on."""
        core, loop = self._core, asyncio.get_running_loop()
        until = loop.time() + grace_s
        is_idle = await core.dispatcher.drain(grace_s)
        while len(core.watchers) and loop.time() < until:  # noqa: ASYNC110 - who leaves, and why, says nobody here
            await asyncio.sleep(min(LOOK_S, until - loop.time()))
        return is_idle and not len(core.watchers)

    def close(self) -> None:
        """Break off what is worked on, which is what its tasks end by from now on."""
        self._is_closed = True

    async def leave(self) -> None:
        """Say what became of what is left here, once nothing of it is in flight any more."""
        if self._in_hand:
            await hand_over(self._core, self._in_hand)

    # What is delivered

    def deliver(self, generation_id: str) -> None:
        """Work on a generation; the dispatcher is told how that ends."""
        self._in_hand.add(generation_id)
        self._spawn(self._work(generation_id, self._see_to_end), f"work:{generation_id}")

    async def _work(self, id_: str, see: Callable[[str], Awaitable[bool]]) -> None:
        dispatcher = self._core.dispatcher
        try:
            is_over = await see(id_)
        except Exception as exc:  # noqa: BLE001 - the border of a task: what it was is in the log, and it is delivered again
            emit("fault.internal", level="error", exc=exc, generation_id=id_)
            is_over = False
        self._in_hand.discard(id_)
        if is_over:
            dispatcher.finished(id_)
        else:
            dispatcher.requeue(id_, AGAIN_S)

    def see_off(self, generation_id: str, tasks: Sequence[Task]) -> None:
        """Tell the dispatcher what becomes of one that was at hand when it was delivered, once these have ended."""
        left = len(tasks)
        self._in_hand.add(generation_id)

        def ended(_: Task) -> None:
            nonlocal left
            left -= 1
            if left or self._is_closed:
                # Broken off, as the process ends, it stays in hand.
                return
            if self._drives(generation_id):
                # Nobody here was told of its end.
                self._spawn(self._work(generation_id, self._has_ended), f"work:{generation_id}")
            else:
                self._in_hand.discard(generation_id)
                self._core.dispatcher.finished(generation_id)

        for task in tasks:
            task.add_done_callback(ended)

    def left_open(self, generation_id: str) -> None:
        """Hand back what this process could not bring to its end."""
        if self._core.dispatcher.is_shared:
            self._in_hand.discard(generation_id)
            self._core.dispatcher.requeue(generation_id, AGAIN_S)

    async def _has_ended(self, id_: str) -> bool:
        row = await patiently(lambda: self._core.store.read(get_generation, id_), id_)
        return row is None or State(row.state).is_final

    async def _see_to_end(self, id_: str) -> bool:
        """Work on a generation; False: it is open still, and this worker has nothing of it in hand."""
        core = self._core
        record = await self._read(id_)
        if record is None or _is_over(record):
            return True
        drive = record.generation.drive
        if record.generation.epoch:
            # Somebody has sent for it: nobody else may from here on.
            await patiently(lambda: core.store.write(take_over_one, id_, core.owner), id_)
            record = await self._read(id_)
            assert record is not None, "what has not ended is not swept"
            if await adopt(core, record):
                record = await self._read(id_)
                assert record is not None, "what has just ended is not swept"
        taken = await recover.take_up_one(core, record)
        tasks: list[Task] = []
        if taken.live is not None:
            tasks += self._drive(taken.live, taken.parts)
        tasks += [self._resume(each) for each in taken.resumed]
        if tasks:
            await asyncio.wait(tasks)
        row = await patiently(lambda: core.store.read(get_generation, id_), id_)
        # Driven again meanwhile, it is another job.
        return row is None or row.drive != drive or State(row.state).is_final

    async def _read(self, id_: str) -> Record | None:
        return await patiently(partial(self._core.store.read, get_record, id_), id_)

    # What others do

    def heard(self, generation_id: str, *, has_ended: bool) -> None:
        """Pass on that something of a generation was committed, here or elsewhere."""
        core = self._core
        core.followers.notify(generation_id)
        if core.dispatcher.holds(generation_id):
            self._spawn(self._look(generation_id), f"look:{generation_id}")
        if has_ended and generation_id in core.watchers:
            core.watchers.notify(generation_id, Ended())
        elif has_ended and core.watchers.on_end is not None:
            core.watchers.on_end()

    async def _look(self, id_: str) -> None:
        """See whether somebody has cancelled, or ended, what is driven here."""
        try:
            row = await self._core.store.read(get_generation, id_)
        except Exception as exc:  # noqa: BLE001 - the border of a task; the next change is looked at again
            emit("fault.internal", level="error", exc=exc, generation_id=id_)
            return
        if row is None or State(row.state).is_final:
            self._forget(id_)
        elif row.cancel_requested:
            self._stop(id_)

    def overdue(self, generation_id: str) -> None:
        """End what nobody works on although its time is over: every worker is busy, or there is none."""
        self._spawn(self._end_overdue(generation_id), f"overdue:{generation_id}")

    async def _end_overdue(self, id_: str) -> None:
        try:
            await end_early(self._core, id_, DEADLINE_EXCEEDED, awaits=True)
        except Exception as exc:  # noqa: BLE001 - the border of a task; the next look comes to it again
            emit("fault.internal", level="error", exc=exc, generation_id=id_)


def _is_over(record: Record) -> bool:
    return State(record.generation.state).is_final and not record.has_open_attempts
