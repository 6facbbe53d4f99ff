"""Hands generations to any replica that works, through PgQueuer: see `engine.dispatcher` for the port.

A job is written in the transaction that accepts its generation, taken by whoever is free, kept by signs of life, and
given to another worker when they end. Where the process that accepts works too and has room, it takes the job in that
very transaction (`taking.py`): nobody is woken, and nothing is looked for. One *shift* is a manager with its
connections; a shift that no longer hears the database is followed by the next one, and goes on to the end of what it
has: a restart of the database costs no call that is in flight.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver, AsyncpgPoolDriver
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.core.qm import QueueManager
from pgqueuer.domain import models
from pgqueuer.domain.errors import FailingListenerError, RetryRequested

from holdfast.log import emit
from holdfast.store.jobs import Deliver, Job
from holdfast.store.postgres.alive import KEEPALIVE
from holdfast.store.postgres.claims import PAUSE_S_MAX, Claims, generation_of, is_away, until_there
from holdfast.store.postgres.deaths import Deaths
from holdfast.store.postgres.leases import LEASE_S, Leases
from holdfast.store.postgres.taking import Taking
from holdfast.store.queries import queries

BATCH = 10
"""Jobs taken at a time."""
LOOK_S = 1.5
"""A notice that was lost costs so long; so does the death of a worker, after its lease."""
HEALTH_S = 5.0
"""How often a shift must prove that it hears the database."""
CONNECTIONS = 4
"""Of one shift: one that listens, and the others for what it asks at once."""
CONNECT_S = 5.0
COMMAND_S = 10.0
FAREWELL_S = 5.0
"""At an end, for putting away what is done and handing back what is not."""
PREPARE_S = 30.0
"""For a database that starts along with us."""
NAME = "holdfast-dispatcher"
"""Of its connections, as the database lists them."""
PREPARE_LOCK = 0x686F6C64
"""Of whoever makes tables: one after the other."""

_Q = queries("postgres/jobs")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shift:
    pool: asyncpg.Pool
    claims: Claims
    manager: QueueManager
    work: asyncio.Task[None]


class PgQueuerDispatcher:
    """See the module's docstring. `start` begins, `stop` ends."""

    is_shared = True

    def __init__(
        self, dsn: str, *, monotonic: Callable[[], float], shortest_s: float = LEASE_S, look_s: float = LOOK_S
    ) -> None:
        """Take nothing yet.

        Args:
            dsn: Of the database that the store is in.
            monotonic: The clock of the leases, seconds.
            shortest_s: After so long without a sign of life a worker is dead; of every replica alike.
            look_s: How often it is looked for work that no notice told of.
        """
        self._dsn = dsn
        self._look_s = look_s
        self._deliver: Deliver | None = None
        self._lanes: tuple[str, ...] = ()
        self._capacity = 0
        self.leases = Leases(monotonic, shortest_s)
        self._deaths = Deaths(shortest_s, look_s)
        self._managers: list[UUID] = []
        self._ends: dict[str, asyncio.Future[float | None]] = {}
        """What is being worked on; the result says in how many seconds it is to be delivered again, None: never."""
        self._jobs: dict[str, int] = {}
        """As which job."""
        self._shifts: list[_Shift] = []
        self._supervisor: asyncio.Task[None] | None = None
        self._is_ending = False
        self._taking = Taking(self.leases, lambda: self._shifts[-1].claims)

    def __repr__(self) -> str:
        return f"<PgQueuerDispatcher: {len(self._ends)} run, {len(self._shifts)} shifts, {self.leases!r}>"

    # What the engine tells

    def enqueue(self, conn: Any, job: Job) -> None:
        """Write the job, as this process's own where it has room for it. On the store's thread."""
        if self._has_room_for(job):
            self._taking.take(conn, job, self._shifts[-1].manager.queue_manager_id)
            return
        conn.execute(
            _Q["enqueue"],
            {
                "priority": job.priority,
                "lane": job.lane,
                "generation_id": job.generation_id,
                "run_after_s": job.run_after_s,
                "key": job.key,
            },
        )

    def _has_room_for(self, job: Job) -> bool:
        if self._is_ending or not self._shifts or job.lane not in self._lanes or job.run_after_s > 0.0:
            return False
        if job.drive:
            # Its job before may not have been put away yet.
            return False
        coming = self._taking.coming(besides=job.generation_id)
        return not self._capacity or len(self._ends) + coming < self._capacity

    def committed(self, job: Job) -> None:
        """Deliver what was taken; of all else the database tells those who wait for work."""
        if self._taking.committed(job.generation_id, lambda job_id: self._begun(job.generation_id, job_id)):
            assert self._deliver is not None, "a worker is named before work is taken"
            self._deliver(job.generation_id)

    def attach(self, deliver: Deliver) -> None:
        """Name the worker."""
        self._deliver = deliver

    def finished(self, generation_id: str) -> None:
        """Put its job away."""
        self._end(generation_id, None)

    def requeue(self, generation_id: str, delay_s: float) -> None:
        """Hand its job back."""
        self._end(generation_id, delay_s)

    def _end(self, generation_id: str, again_s: float | None) -> None:
        end = self._ends.get(generation_id)
        if end is not None and not end.done():
            end.set_result(again_s)

    async def cancel(self, generation_id: str) -> None:
        """Delete its job, if nobody has been given it. If the database is away, its worker will find out."""
        for shift in self._shifts[-1:]:
            try:
                await shift.pool.execute(_Q["forget"], generation_id)
            except Exception as exc:
                if not is_away(exc):
                    raise
                emit("storage.failed", level="warning", generation_id=generation_id, message=str(exc))

    def holds(self, generation_id: str) -> bool:
        """Whether its lease has not run out."""
        return self.leases.holds(generation_id)

    # Shifts

    async def start(self, lanes: Sequence[str], capacity: int) -> None:
        """Begin to take jobs; returns when the first shift listens.

        Raises:
            OSError, asyncpg.PostgresError: The database does not let us.
        """
        assert self._deliver is not None, "a worker is named before work is taken"
        self._lanes, self._capacity = tuple(lanes), capacity
        self._shifts.append(await self._begin_shift())
        self._taking.start()
        self._supervisor = asyncio.get_running_loop().create_task(self._supervise(), name="dispatcher")

    def follow(self, lanes: Sequence[str]) -> None:
        """Take jobs of these from now on: settings were read anew."""
        self._lanes = tuple(lanes)
        for shift in self._shifts[-1:]:
            _enter_lanes(shift.manager, self._lanes, self._work)

    async def _begin_shift(self) -> _Shift:
        pool = await asyncpg.create_pool(
            self._dsn,
            # With a floor the pool would try to keep it by itself, and write a traceback to standard error each time.
            min_size=0,
            max_size=CONNECTIONS,
            # Signs of life wait behind them: what does not come to an end within a lease is given up.
            timeout=CONNECT_S,
            command_timeout=COMMAND_S,
            server_settings={"application_name": NAME, **KEEPALIVE},
            reset=_as_it_is,
        )
        try:
            # Whether there is a database is found out now, and not by whoever asks it first.
            async with pool.acquire():
                pass
        except BaseException:
            pool.terminate()
            raise
        claims = Claims(AsyncpgPoolDriver(pool), leases=self.leases, managers=self._managers, deaths=self._deaths)
        manager = QueueManager(claims)
        self._managers.append(manager.queue_manager_id)
        _enter_lanes(manager, self._lanes, self._work)
        # A manager takes no batch of more than half of what it may have at once.
        capacity = max(2, self._capacity) if self._capacity else None
        batch = BATCH if capacity is None else min(BATCH, capacity // 2)
        work = asyncio.get_running_loop().create_task(
            manager.run(
                dequeue_timeout=timedelta(seconds=self._look_s),
                batch_size=batch,
                max_concurrent_tasks=capacity,
                heartbeat_timeout=timedelta(seconds=self.leases.shortest_s),
                log_aggregation_interval=timedelta(0),
            ),
            name="shift",
        )
        # How it ended is told where it is seen off; a process that ends waits for none that takes longer.
        work.add_done_callback(lambda done: None if done.cancelled() else done.exception())
        return _Shift(pool=pool, claims=claims, manager=manager, work=work)

    async def _supervise(self) -> None:
        """Follow a shift that is deaf, or has ended, by the next one; the new one first."""
        while not self._is_ending:
            shift = self._shifts[-1]
            await asyncio.wait([shift.work], timeout=HEALTH_S)
            if await self.is_well():
                continue
            try:
                self._shifts.append(await self._begin_shift())
            except Exception as exc:  # noqa: BLE001 - the border of a task: it is in the log, and the next look tries again
                if not is_away(exc):
                    emit("fault.internal", level="error", exc=exc)
                await asyncio.sleep(PAUSE_S_MAX)
                continue
            emit("dispatcher.renewed", level="warning", shifts=len(self._shifts))
            shift.manager.shutdown.set()
            asyncio.get_running_loop().create_task(self._see_off(shift), name="shift-end")

    async def is_well(self) -> bool:
        """Whether the newest shift works, and hears the database; while that is away nobody does."""
        shift = self._shifts[-1]
        if shift.work.done():
            return False
        try:
            await shift.manager.listener_healthy(timedelta(seconds=HEALTH_S))
        except FailingListenerError:
            return False
        except Exception as exc:
            if not is_away(exc):
                raise
        return True

    async def _see_off(self, shift: _Shift) -> None:
        """Wait for the end of a shift, and close what it had."""
        await asyncio.wait([shift.work])
        await self._taking.see_off(shift.manager.queue_manager_id)
        if not shift.work.cancelled() and (error := shift.work.exception()) is not None and not is_away(error):
            # Its listening connection is lost: it says so only now, and all that it had is put away.
            emit("dispatcher.ended", level="warning", message=str(error))
        if shift in self._shifts:
            self._shifts.remove(shift)
            self._managers.remove(shift.manager.queue_manager_id)
        # Else `stop` was quicker, and has forgotten all of them.
        shift.pool.terminate()

    # Working

    async def _work(self, job: models.Job) -> None:
        """See one job to its end; given again while it is worked on, as after a late sign of life, it waits too.

        Another job of the same generation, which was driven again at once, is delivered when the one before has ended.
        """
        id_ = generation_of(job)
        while (end := self._ends.get(id_)) is not None and self._jobs[id_] != job.id:
            await asyncio.wait([end])
        if end is None and self._is_ending:
            raise RetryRequested(timedelta(0))
        if end is None:
            end = self._begun(id_, job.id)
            assert self._deliver is not None
            self._deliver(id_)
        again_s = await asyncio.shield(end)
        if again_s is not None:
            raise RetryRequested(timedelta(seconds=again_s))

    def _begun(self, generation_id: str, job_id: int) -> asyncio.Future[float | None]:
        end = self._ends[generation_id] = asyncio.get_running_loop().create_future()
        self._jobs[generation_id] = job_id
        end.add_done_callback(lambda _: self._ended(generation_id))
        return end

    def _ended(self, generation_id: str) -> None:
        del self._ends[generation_id], self._jobs[generation_id]

    async def drain(self, within_s: float) -> bool:
        """Take nothing new, and wait for what is being worked on, which is kept meanwhile."""
        await self._end_supervision()
        for shift in self._shifts:
            shift.manager.shutdown.set()
        if self._ends:
            await asyncio.wait(tuple(self._ends.values()), timeout=within_s)
        return not self._ends

    async def _end_supervision(self) -> None:
        self._is_ending = True
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.wait([self._supervisor])
            self._supervisor = None

    async def stop(self) -> None:
        """Hand back what is not finished, and close. A database that is away finds out by the leases."""
        await self.drain(0.0)
        for end in tuple(self._ends.values()):
            if not end.done():
                end.set_result(0.0)
        works = [shift.work for shift in self._shifts]
        if works:
            _, late = await asyncio.wait(works, timeout=FAREWELL_S)
            for work in late:
                work.cancel()
            if late:
                await asyncio.wait(late, timeout=FAREWELL_S)
        await self._taking.stop(FAREWELL_S)
        for shift in self._shifts:
            shift.pool.terminate()
        self._shifts.clear()


async def _as_it_is(connection: asyncpg.Connection) -> None:
    """Lend a connection again without four statements that put back what nothing here changes."""


def _enter_lanes(manager: QueueManager, lanes: Sequence[str], work: Callable[[models.Job], Any]) -> None:
    # One that has left the settings stays until the next shift: a job of it may be on its way here.
    for lane in lanes:
        if lane not in manager.entrypoint_registry:
            manager.entrypoint(lane, accepts_context=False)(work)


async def prepare(dsn: str) -> None:
    """Make PgQueuer's tables, or bring them to this version; several replicas may do so at once.

    Raises:
        OSError, asyncpg.PostgresError: The database does not let us.
    """
    connection = await until_there(
        lambda: asyncpg.connect(dsn, timeout=CONNECT_S, server_settings=KEEPALIVE), within_s=PREPARE_S
    )
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", PREPARE_LOCK)
        tables = Queries(AsyncpgDriver(connection))
        if await tables.schema_is_installed():
            await tables.upgrade()
        else:
            await tables.install()
        await connection.execute(_Q["keep_no_log"])
        await connection.execute(_Q["keep_no_log_trigger"])
        await connection.execute(_Q["tell_of_queued"])
        await connection.execute(_Q["tell_of_queued_trigger"])
    finally:
        # The lock is the connection's.
        connection.terminate()
