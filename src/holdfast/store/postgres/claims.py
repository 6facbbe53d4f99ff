"""PgQueuer's queries as we use them: patient with the database, fenced, and with leases that are written seldom.

What its own do differently, found by reading and provoked (`docs/discussions/replicas.md`): an error of the connection
ends the whole worker; a worker that was taken for dead puts away the job that somebody else has meanwhile; a job whose
task was cancelled or has raised is deleted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.domain import models, types
from pgqueuer.ports.repository import EntrypointExecutionParameter

from holdfast.log import emit
from holdfast.store.postgres.deaths import Deaths
from holdfast.store.postgres.leases import Leases
from holdfast.store.postgres.troubles import Trouble, trouble_of
from holdfast.store.queries import queries

T = TypeVar("T")

PAUSE_S_FIRST = 0.05
PAUSE_S_MAX = 1.0
AGAIN_S = 5.0
"""Until a job is given to somebody again whose worker has made a mistake."""
FOREVER = timedelta(days=3650)
"""No sign of life is ever too old for PgQueuer's own question: whose job is taken is ours to decide."""
AWAY = (OSError, TimeoutError, asyncpg.InterfaceError)
"""What says that the database is away, besides what passes by (`troubles`), and not that a statement is wrong."""

_Q = queries("postgres/jobs")


def is_away(error: BaseException) -> bool:
    """Whether the database is away, or cannot do it now, and comes back.

    Also where its disk is full, or two were in each other's way: a worker that ended because of that would wait for
    all that it has in flight, and take nothing more until then.
    """
    return isinstance(error, AWAY) or trouble_of(error) is not Trouble.NONE


async def until_there(ask: Callable[[], Awaitable[T]], *, within_s: float = float("inf")) -> T:
    """Ask the database until it answers, with pauses from 50 ms to 1 s.

    Raises:
        Exception: What it answered, if it is not away; or the last error, once the time is over.
    """
    loop = asyncio.get_running_loop()
    until, pause_s = loop.time() + within_s, PAUSE_S_FIRST
    while True:
        try:
            return await ask()
        except Exception as exc:
            if not is_away(exc) or loop.time() + pause_s > until:
                raise
            emit("storage.failed", level="warning", message=f"The database is away: {exc}", again_in_s=pause_s)
        await asyncio.sleep(pause_s)
        pause_s = min(PAUSE_S_MAX, 2 * pause_s)


@dataclass
class Claims(Queries):
    """See the module's docstring. The managers of one process share their leases, and their names."""

    leases: Leases = field(kw_only=True)
    managers: list[UUID] = field(kw_only=True)
    deaths: Deaths = field(kw_only=True)
    _is_unsure: bool = field(default=False, init=False)
    """The answer to a taking was lost: there may be jobs that are ours, and that nobody works on."""

    async def dequeue(
        self,
        batch_size: int,
        entrypoints: dict[types.QueueEntrypoint, EntrypointExecutionParameter],
        queue_manager_id: types.QueueManagerId,
        global_concurrency_limit: int | None,
        heartbeat_timeout: timedelta,
    ) -> list[models.Job]:
        """Take jobs, and begin their leases; what the dead have left is let go of before, and taken like any other."""

        async def take() -> list[models.Job]:
            if self._is_unsure:
                known = self.leases.jobs()
                await self.driver.execute(_Q["take_back"], queue_manager_id, known)
            await self._let_go_of_the_dead(heartbeat_timeout)
            asked_at, self._is_unsure = self.leases.monotonic(), True
            jobs = await super(Claims, self).dequeue(
                batch_size, entrypoints, queue_manager_id, global_concurrency_limit, FOREVER
            )
            for job in jobs:
                self.leases.taken(job.id, generation_of(job), asked_at=asked_at)
            self._is_unsure = False
            return jobs

        async def take_or_note() -> list[models.Job]:
            try:
                return await take()
            except Exception:
                self.deaths.failed(self.leases.monotonic())
                raise

        return await until_there(take_or_note)

    async def _let_go_of_the_dead(self, lease: timedelta) -> None:
        """Let anybody have the jobs of whoever has shown no sign of life for a lease."""
        asked_at = self.leases.monotonic()
        if not self.deaths.is_due(asked_at):
            return
        (row,) = await self.driver.fetch(_Q["let_go"], lease, self.deaths.valid_until(asked_at))
        at = row["at"]
        assert isinstance(at, datetime), "the database's clock"
        self.deaths.answered(at, asked_at=asked_at, now=self.leases.monotonic())
        if row["jobs"]:
            emit("job.abandoned", level="warning", jobs=row["jobs"])

    async def queued_work(self, entrypoints: list[types.QueueEntrypoint]) -> int:
        """Count what waits."""
        return await until_there(lambda: super(Claims, self).queued_work(entrypoints))

    async def eligible_queued_work(self, entrypoints: list[types.QueueEntrypoint]) -> int:
        """Count what waits and may be taken."""
        return await until_there(lambda: super(Claims, self).eligible_queued_work(entrypoints))

    async def next_deferred_eta(self, entrypoints: list[types.QueueEntrypoint]) -> timedelta | None:
        """Say when the next one may be taken that may not yet."""
        return await until_there(lambda: super(Claims, self).next_deferred_eta(entrypoints))

    async def update_heartbeat(self, job_ids: list[types.JobId]) -> None:
        """Renew leases, where half of them has passed."""
        leases = self.leases
        due, length_s, asked_at = leases.due(job_ids), leases.length_s, leases.monotonic()
        if not due:
            return
        longer = timedelta(seconds=length_s - leases.shortest_s)
        rows = await self.driver.fetch(_Q["renew"], due, self.managers, longer)
        written = {int(str(row["id"])) for row in rows}
        leases.renewed(due, written, asked_at=asked_at, lease_s=length_s)
        if len(written) < len(due):
            emit("job.lost", level="warning", jobs=len(due) - len(written))

    async def log_jobs(
        self, job_status: list[tuple[models.Job, types.JOB_STATUS, models.TracebackRecord | None]]
    ) -> None:
        """Put away what is done; give all else to somebody again."""
        done = [job for job, status, _ in job_status if status == "successful"]
        back = [job for job, status, _ in job_status if status != "successful"]
        if done:
            await self.put_away([job.id for job in done])
        if back:
            await self.hand_back([job.id for job in back], AGAIN_S)
        for job in (*done, *back):
            self.leases.given_up(job.id, generation_of(job))

    async def retry_job(
        self, job: models.Job, delay: timedelta, traceback_record: models.TracebackRecord | None
    ) -> None:
        """Hand a job back; while the database is away, it is tried as long as somebody would wait for the lease."""
        work: Callable[[], Awaitable[Any]] = lambda: self.hand_back([job.id], delay.total_seconds())  # noqa: E731
        await until_there(work, within_s=self.leases.length_s)
        self.leases.given_up(job.id, generation_of(job))

    async def put_away(self, jobs: Sequence[int]) -> None:
        """Delete jobs that are done, if they are this process's still."""
        await self.driver.fetch(_Q["put_away"], jobs, self.managers, self.qbq.settings.channel)

    async def hand_back(self, jobs: Sequence[int], delay_s: float) -> None:
        """Have jobs given to anybody again, so many seconds from now."""
        longer, channel = timedelta(seconds=delay_s), self.qbq.settings.channel
        await self.driver.fetch(_Q["hand_back"], jobs, self.managers, longer, channel)


def generation_of(job: models.Job) -> str:
    """Name the generation of a job."""
    assert job.payload is not None, "a job is enqueued with its generation"
    return job.payload.decode("ascii")
