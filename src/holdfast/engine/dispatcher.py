"""Who works on what was accepted: the port, and the dispatcher of a process that is alone.

Our own tables are the truth. A dispatcher only wakes, keeps alive and limits: it hands each accepted generation to one
worker, and to another one if that worker is lost. It may hand out the same generation twice; that nobody pays twice is
the send commit's doing. `LocalDispatcher` hands it to this very process, in the same step of the loop;
`store.postgres.dispatcher` to any replica.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Sequence
from typing import Any, Protocol

from holdfast.store.jobs import Deliver, Job


class Dispatcher(Protocol):
    """Hands generations to workers. All on one loop."""

    @property
    def is_shared(self) -> bool:
        """Whether what is enqueued here may be worked on by another process, and the reverse."""

    def enqueue(self, conn: Any, job: Job) -> None:
        """Write the job down in the transaction that accepts its generation: both are there, or neither.

        The same job enqueued again is one. It may be run twice, the first time for nothing, as every write.
        """

    def committed(self, job: Job) -> None:
        """Say that the transaction of `enqueue` is committed."""

    def attach(self, deliver: Deliver) -> None:
        """Name the worker of this process. Nothing that is shared is handed to it before `start`."""

    async def start(self, lanes: Sequence[str], capacity: int) -> None:
        """Begin to take jobs.

        Args:
            lanes: Of these only.
            capacity: So many at once in this process, and no more; 0: any number.
        """

    def follow(self, lanes: Sequence[str]) -> None:
        """Take jobs of these lanes from now on: settings were read anew."""

    def finished(self, generation_id: str) -> None:
        """Report that nothing is left to be done of what was delivered; of what was not, it is no error."""

    def requeue(self, generation_id: str, delay_s: float) -> None:
        """Hand back what was delivered: it is delivered again after so many seconds, here or elsewhere."""

    async def cancel(self, generation_id: str) -> None:
        """Forget a job that nobody has been given; whoever works on it is told by the record."""

    def holds(self, generation_id: str) -> bool:
        """Whether what was delivered here is still ours for certain, by the monotonic clock: asked right before money
        is spent.
        """

    async def drain(self, within_s: float) -> bool:
        """Take nothing new, and wait for what is being worked on; False: some is left when the time ends."""

    async def stop(self) -> None:
        """End at once. What is not finished is handed back, or is found by whoever misses its signs of life."""


class LocalDispatcher:
    """Hands everything to this process: at once where there is room, in the order of priority where there is not.

    It writes nothing: the generation's row is the job, and a start finds by itself what an earlier process left. The
    process is the lease.
    """

    is_shared = False

    def __init__(self) -> None:
        self._deliver: Deliver | None = None
        self._capacity = 0
        self._running: set[str] = set()
        self._waiting: list[tuple[int, int, str]] = []
        """A heap: higher priority, then older, first."""
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._numbers = 0
        self._is_draining = False
        self._idle = asyncio.Event()
        self._idle.set()

    def __repr__(self) -> str:
        return f"<LocalDispatcher: {len(self._running)} run, {len(self._waiting)} wait, {len(self._timers)} later>"

    def enqueue(self, conn: Any, job: Job) -> None:
        """Write nothing: see the class."""

    def committed(self, job: Job) -> None:
        """Hand it over, now or when its time has come."""
        if job.run_after_s > 0.0:
            self._later(job.generation_id, job.priority, job.run_after_s)
        else:
            self._ready(job.generation_id, job.priority)

    def attach(self, deliver: Deliver) -> None:
        """Name the worker."""
        self._deliver = deliver

    async def start(self, lanes: Sequence[str], capacity: int) -> None:
        """Set the capacity; there is one process, and so it has every lane."""
        self._capacity = capacity
        self._move()

    def follow(self, lanes: Sequence[str]) -> None:
        """It has every lane."""

    def finished(self, generation_id: str) -> None:
        """Let the next one in."""
        self._running.discard(generation_id)
        self._move()

    def requeue(self, generation_id: str, delay_s: float) -> None:
        """Deliver it again."""
        self._running.discard(generation_id)
        self._later(generation_id, 0, delay_s)
        self._move()

    async def cancel(self, generation_id: str) -> None:
        """Forget it, if it waits."""
        timer = self._timers.pop(generation_id, None)
        if timer is not None:
            timer.cancel()
        kept = [each for each in self._waiting if each[2] != generation_id]
        if len(kept) < len(self._waiting):
            heapq.heapify(kept)
            self._waiting = kept

    def holds(self, generation_id: str) -> bool:
        """Always: nobody else could have it."""
        return True

    async def drain(self, within_s: float) -> bool:
        """See the port."""
        self._is_draining = True
        try:
            async with asyncio.timeout(within_s):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    async def stop(self) -> None:
        """Forget everything; the records know."""
        self._is_draining = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._waiting.clear()

    def _later(self, generation_id: str, priority: int, delay_s: float) -> None:
        def ring() -> None:
            del self._timers[generation_id]
            self._ready(generation_id, priority)

        self._timers[generation_id] = asyncio.get_running_loop().call_later(delay_s, ring)

    def _ready(self, generation_id: str, priority: int) -> None:
        if not self._waiting and self._has_room:
            self._hand_over(generation_id)
            return
        self._numbers += 1
        heapq.heappush(self._waiting, (-priority, self._numbers, generation_id))

    def _move(self) -> None:
        while self._waiting and self._has_room:
            self._hand_over(heapq.heappop(self._waiting)[2])
        if not self._running:
            self._idle.set()

    @property
    def _has_room(self) -> bool:
        return not self._is_draining and (not self._capacity or len(self._running) < self._capacity)

    def _hand_over(self, generation_id: str) -> None:
        assert self._deliver is not None, "whoever accepts has a worker"
        self._running.add(generation_id)
        self._idle.clear()
        self._deliver(generation_id)
