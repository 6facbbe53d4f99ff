"""Jobs that a process takes for itself in the very transaction that accepts them.

Whoever accepts, works and has room is the first to know of a job: it is written down as taken, and nobody is woken,
asks, or reads the generation anew. It lies among the others all the same, with a lease that is renewed: when the
process dies, another one is given it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from holdfast.log import emit
from holdfast.store.jobs import Job
from holdfast.store.port import Conn, Cursor
from holdfast.store.postgres.claims import Claims, is_away, until_there
from holdfast.store.postgres.leases import Leases
from holdfast.store.queries import queries

PUT_AWAY_S = 0.2
"""How long jobs that are done are gathered before they are deleted, all in one statement."""

_Q = queries("postgres/jobs")


class _Coming(NamedTuple):
    """One whose transaction has not been told as committed yet."""

    taken: Cursor
    asked_at: float
    manager: UUID


class _Own(NamedTuple):
    job: int
    manager: UUID
    end: asyncio.Future[float | None]


class Taking:
    """What one process has taken so; `take` is called on the store's thread, all else on the loop."""

    def __init__(self, leases: Leases, claims: Callable[[], Claims]) -> None:
        """Have taken nothing.

        Args:
            leases: Of the process.
            claims: Gives the queries of the newest shift.
        """
        self._leases = leases
        self._claims = claims
        self._coming: dict[str, _Coming] = {}
        self._own: dict[str, _Own] = {}
        self._done: list[int] = []
        self._putting: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._beating: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Taking: {len(self._own)} taken, {len(self._coming)} coming, {len(self._done)} done>"

    def coming(self, *, besides: str) -> int:
        """Count what is on its way; `besides` does not count: its transaction may be run again."""
        # Nobody waits for the end of transactions so old. If one was committed all the same, its lease runs out,
        # and somebody is given it.
        before = self._leases.monotonic() - self._leases.shortest_s
        for generation_id, each in list(self._coming.items()):
            if each.asked_at >= before:
                break
            self._coming.pop(generation_id, None)
        return len(self._coming) - (besides in self._coming)

    def take(self, conn: Conn, job: Job, manager: UUID) -> None:
        """Write the job as this process's own; written again, as any function of the store, it is one."""
        asked_at = self._leases.monotonic()
        values = {"priority": job.priority, "lane": job.lane, "generation_id": job.generation_id, "key": job.key}
        taken = conn.execute(_Q["take"], {**values, "manager": manager})
        self._coming[job.generation_id] = _Coming(taken, asked_at, manager)

    def committed(self, generation_id: str, begin: Callable[[int], asyncio.Future[float | None]]) -> bool:
        """Begin the lease of what was taken; False: it was not, or it is somebody's job already.

        Args:
            generation_id: Whose job.
            begin: Takes the job's number, and gives the future whose result says what becomes of it: in how many
                seconds it is handed back, None: it is done.
        """
        coming = self._coming.pop(generation_id, None)
        row = None if coming is None else coming.taken.fetchone()
        if coming is None or row is None:
            return False
        job = int(row[0])
        own = self._own[generation_id] = _Own(job, coming.manager, begin(job))
        self._leases.taken(own.job, generation_id, asked_at=coming.asked_at)
        own.end.add_done_callback(partial(self._ended, generation_id))
        return True

    def _ended(self, generation_id: str, end: asyncio.Future[float | None]) -> None:
        own, again_s = self._own.pop(generation_id), end.result()
        if again_s is not None:
            self._spawn(self._hand_back(own.job, generation_id, again_s))
            return
        self._leases.given_up(own.job, generation_id)
        self._done.append(own.job)
        if self._putting is None:
            self._putting = asyncio.get_running_loop().call_later(PUT_AWAY_S, self._put_away)

    def _put_away(self) -> None:
        if self._putting is not None:
            self._putting.cancel()
            self._putting = None
        if self._done:
            done, self._done = self._done, []
            self._spawn(self._patiently(lambda: self._claims().put_away(done)))

    async def _hand_back(self, job: int, generation_id: str, again_s: float) -> None:
        await self._patiently(lambda: self._claims().hand_back([job], again_s))
        self._leases.given_up(job, generation_id)

    async def _patiently(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Try for as long as a lease lasts: after that it is somebody else's, who finds out what became of it."""
        try:
            await until_there(work, within_s=self._leases.length_s)
        except Exception as exc:
            if not is_away(exc):
                raise
            emit("storage.failed", level="warning", message=str(exc))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name="taken-jobs")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Signs of life

    def start(self) -> None:
        """Show signs of life of what is taken from now on."""
        self._beating = asyncio.get_running_loop().create_task(self._beat(), name="taken-beats")

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._leases.shortest_s / 8)
            if not self._own:
                continue
            try:
                # Of those alone for which it must be written.
                await self._claims().update_heartbeat([own.job for own in self._own.values()])  # type: ignore[misc]
            except Exception as exc:  # noqa: BLE001 - the border of a task: it is in the log, and the next beat tries again
                if is_away(exc):
                    emit("storage.failed", level="warning", message=str(exc))
                else:
                    emit("fault.internal", level="error", exc=exc)

    async def see_off(self, manager: UUID) -> None:
        """Wait for the end of what was taken in the name of a manager, which is ours as long."""
        ends = [own.end for own in self._own.values() if own.manager == manager]
        if ends:
            await asyncio.wait(ends)
            await asyncio.sleep(0)
        self._put_away()
        if self._tasks:
            await asyncio.wait(tuple(self._tasks))

    async def stop(self, within_s: float) -> None:
        """Write down what has ended, and show no sign of life any more."""
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.wait([self._beating])
            self._beating = None
        # What has just ended is told in the next round of the loop.
        await asyncio.sleep(0)
        self._put_away()
        if self._tasks:
            _, late = await asyncio.wait(tuple(self._tasks), timeout=within_s)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
