"""Both dispatchers behind one face, with a way to accept in a transaction, and other workers where they are shared."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import asyncpg
import pytest

from holdfast.engine.dispatcher import Dispatcher, LocalDispatcher
from holdfast.store.jobs import LANE, Job
from holdfast.store.port import Conn
from holdfast.store.postgres.dispatcher import PgQueuerDispatcher, prepare
from holdfast.store.postgres.leases import LEASE_S
from holdfast.store.postgres.store import Options, PostgresStore

SHORTEST_S = 3.0
"""Leases where somebody dies: he is missed after so long, and a busy machine keeps nobody from a beat for longer."""


@dataclass
class Worker:
    """A dispatcher, and what it was given."""

    dispatcher: Dispatcher
    delivered: list[str] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)

    def deliver(self, generation_id: str) -> None:
        """Take a generation in."""
        self.delivered.append(generation_id)
        self.came.set()

    async def has(self, *generation_ids: str) -> None:
        """Wait until exactly these have been delivered, in this order."""
        async with asyncio.timeout(20.0):
            while len(self.delivered) < len(generation_ids):
                self.came.clear()
                await self.came.wait()
        assert self.delivered == list(generation_ids)


@dataclass
class World:
    """What a test works with."""

    dsn: str
    accept: Callable[..., Awaitable[None]]
    """Accept jobs in one transaction: `accept(dispatcher, *jobs, fails=False)`."""
    make: Callable[..., Awaitable[Worker]]
    """Make a worker that takes jobs: `make(capacity=0, lanes=…)`."""

    def only_serves(self) -> PgQueuerDispatcher:
        """Make one of a process that accepts, and works on nothing."""
        return PgQueuerDispatcher(self.dsn, monotonic=time.monotonic)


@pytest.fixture(params=["local", "pgqueuer"])
def where(request: pytest.FixtureRequest) -> str | None:
    """The database of a dispatcher; None: it needs none."""
    return None if request.param == "local" else str(request.getfixturevalue("postgres_dsn"))


@pytest.fixture
async def world(where: str | None) -> AsyncIterator[World]:
    """Give each dispatcher in turn."""
    if where is None:
        yield World(dsn="", accept=_accept_locally, make=_make_local)
        return
    async for each in _on_postgres(where, LEASE_S):
        yield each


@pytest.fixture
async def shared(postgres_dsn: str) -> AsyncIterator[World]:
    """Give the one that several processes share."""
    async for each in _on_postgres(postgres_dsn, SHORTEST_S):
        yield each


async def _accept_locally(dispatcher: Dispatcher, *jobs: Job, fails: bool = False) -> None:
    for job in jobs:
        dispatcher.enqueue(None, job)
    if not fails:
        for job in jobs:
            dispatcher.committed(job)


async def _make_local(capacity: int = 0, lanes: tuple[str, ...] = (LANE,)) -> Worker:
    worker = Worker(LocalDispatcher())
    worker.dispatcher.attach(worker.deliver)
    await worker.dispatcher.start(lanes, capacity)
    return worker


async def _on_postgres(dsn: str, shortest_s: float) -> AsyncIterator[World]:
    await prepare(dsn)
    raw = await asyncpg.connect(dsn)
    await raw.execute("TRUNCATE pgqueuer")
    await raw.close()
    store = PostgresStore(dsn, "own_test", Options(connections=2, wait_s=10.0, is_exclusive=False))
    made: list[PgQueuerDispatcher] = []

    def write(conn: Conn, dispatcher: Dispatcher, jobs: Sequence[Job], *, fails: bool) -> None:
        for job in jobs:
            dispatcher.enqueue(conn, job)
        if fails:
            raise LookupError

    async def accept(dispatcher: Dispatcher, *jobs: Job, fails: bool = False) -> None:
        try:
            await store.write(write, dispatcher, jobs, fails=fails)
        except LookupError:
            return
        for job in jobs:
            dispatcher.committed(job)

    async def make(capacity: int = 0, lanes: tuple[str, ...] = (LANE,), shortest_s: float = shortest_s) -> Worker:
        dispatcher = PgQueuerDispatcher(dsn, monotonic=time.monotonic, shortest_s=shortest_s, look_s=0.3)
        made.append(dispatcher)
        worker = Worker(dispatcher)
        dispatcher.attach(worker.deliver)
        await dispatcher.start(lanes, capacity)
        return worker

    try:
        yield World(dsn=dsn, accept=accept, make=make)
    finally:
        for dispatcher in made:
            await dispatcher.stop()
        store.close()
