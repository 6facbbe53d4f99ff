"""Who is taken for dead, on a real database and by a clock of the test's: nobody who could show no sign of life."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver
from pgqueuer.ports.repository import EntrypointExecutionParameter

from holdfast.store.jobs import LANE, Job
from holdfast.store.postgres import claims as module
from holdfast.store.postgres.claims import Claims
from holdfast.store.postgres.deaths import Deaths
from holdfast.store.postgres.dispatcher import PgQueuerDispatcher, prepare
from holdfast.store.postgres.leases import Leases
from holdfast.store.postgres.store import Options, PostgresStore

LEASE_S = 0.2
"""By the database's clock; tests make a sign of life older than that by hand."""


class Driver(AsyncpgDriver):
    """Lets a test have the database be away, or slow."""

    def __init__(self, connection: asyncpg.Connection, clock: Clock) -> None:
        super().__init__(connection)
        self._clock = clock
        self.fails = 0
        self.error: Exception = ConnectionRefusedError("the database is away")
        self.takes_s = 0.0

    async def fetch(self, query: str, *args: Any) -> list[dict[str, Any]]:
        """Ask, unless it is away."""
        if self.fails:
            self.fails -= 1
            raise self.error
        rows = await super().fetch(query, *args)
        self._clock.now += self.takes_s
        self.takes_s = 0.0
        return rows


class Clock:
    """Monotonic seconds, as a test sets them."""

    now = 1000.0

    def __call__(self) -> float:
        """Read it."""
        return self.now


@dataclasses.dataclass
class Taker:
    """A worker, as far as it takes."""

    driver: Driver
    clock: Clock
    claims: Claims

    async def take(self) -> list[str]:
        """Take what there is; a look later than the one before."""
        self.clock.now += 1.0
        lanes: Any = {LANE: EntrypointExecutionParameter(concurrency_limit=0)}
        manager: Any = self.claims.managers[0]
        jobs = await self.claims.dequeue(10, lanes, manager, None, timedelta(seconds=LEASE_S))
        return [module.generation_of(job) for job in jobs]


@dataclasses.dataclass
class Queue:
    """A database with jobs."""

    raw: asyncpg.Connection
    dsn: str
    made: list[asyncpg.Connection]

    async def taker(self) -> Taker:
        """Make a worker that has heard the database once."""
        connection, clock = await asyncpg.connect(self.dsn), Clock()
        self.made.append(connection)
        driver = Driver(connection, clock)
        claims = Claims(driver, leases=Leases(clock, 10.0), managers=[uuid4()], deaths=Deaths(10.0, 1.0))
        return Taker(driver, clock, claims)

    async def silence(self) -> None:
        """Have every sign of life be too old, as after an outage."""
        await self.raw.execute("UPDATE pgqueuer SET heartbeat = now() - interval '1 hour'")


@pytest.fixture
async def queue(postgres_dsn: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Queue]:
    """Give one with one job."""
    monkeypatch.setattr(module, "PAUSE_S_FIRST", 0.001)
    await prepare(postgres_dsn)
    raw = await asyncpg.connect(postgres_dsn)
    await raw.execute("TRUNCATE pgqueuer")
    store = PostgresStore(postgres_dsn, "own_test", Options(connections=1, wait_s=10.0, is_exclusive=False))
    await store.write(PgQueuerDispatcher(postgres_dsn, monotonic=Clock()).enqueue, Job(generation_id="gen_a"))
    store.close()
    made = Queue(raw, postgres_dsn, [raw])
    yield made
    for each in made.made:
        await each.close()


async def test_whoever_is_silent_for_a_lease_is_followed(queue: Queue) -> None:
    """While the database answers, a worker without signs of life is dead."""
    first, second = await queue.taker(), await queue.taker()
    assert await first.take() == ["gen_a"]
    assert await second.take() == []
    await queue.silence()
    assert await second.take() == ["gen_a"]
    assert await first.take() == []


async def test_after_an_outage_nobody_is_dead_for_a_lease(queue: Queue) -> None:
    """All seem silent when the database is back; one lease later only the dead are."""
    first, second = await queue.taker(), await queue.taker()
    assert await first.take() == ["gen_a"]
    assert await second.take() == []
    await queue.silence()
    second.driver.fails = 2
    for _ in range(9):
        assert await second.take() == []
    second.clock.now += 2.0
    assert await second.take() == ["gen_a"]


async def test_an_answer_that_was_long_on_its_way_tells_of_an_outage(queue: Queue) -> None:
    """A database that stood still and broke no connection is an outage too."""
    first, second = await queue.taker(), await queue.taker()
    assert await first.take() == ["gen_a"]
    assert await second.take() == []
    second.driver.takes_s = 20.0
    assert await second.take() == []
    await queue.silence()
    for _ in range(9):
        assert await second.take() == []
    second.clock.now += 2.0
    assert await second.take() == ["gen_a"]


async def test_a_question_that_lay_on_its_way_finds_nobody_dead(queue: Queue) -> None:
    """It names the hour after which it means nothing: the first to hear the database again takes from nobody."""
    first, second = await queue.taker(), await queue.taker()
    assert await first.take() == ["gen_a"]
    assert await second.take() == []
    await queue.silence()
    # As if it had been asked long before it arrived.
    second.clock.now -= 30.0
    second.claims.deaths._asks_at = 0.0
    assert await second.take() == []


async def test_who_has_never_heard_the_database_takes_nobody_for_dead(queue: Queue) -> None:
    """The first question only reads its clock."""
    first, second = await queue.taker(), await queue.taker()
    assert await first.take() == ["gen_a"]
    await queue.silence()
    assert await second.take() == []
    assert await second.take() == ["gen_a"]


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.DiskFullError("could not extend file"),
        asyncpg.DeadlockDetectedError("deadlock detected"),
        asyncpg.QueryCanceledError("canceling statement due to user request"),
        asyncpg.LockNotAvailableError("canceling statement due to lock timeout"),
        asyncpg.ReadOnlySQLTransactionError("cannot execute UPDATE in a read-only transaction"),
        asyncpg.PostgresIOError("could not write to file"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_passes_by_ends_no_worker(queue: Queue, error: Exception) -> None:
    """One that raises ends, and waits for all that it has in flight; until then it takes nothing more."""
    taker = await queue.taker()
    taker.driver.fails, taker.driver.error = 3, error
    assert await taker.take() == ["gen_a"]


async def test_a_statement_that_is_wrong_is_told(queue: Queue) -> None:
    """Nothing gets better by asking again."""
    taker = await queue.taker()
    taker.driver.fails, taker.driver.error = 1, asyncpg.UndefinedTableError("relation pgqueuer does not exist")
    with pytest.raises(asyncpg.UndefinedTableError):
        await taker.take()
