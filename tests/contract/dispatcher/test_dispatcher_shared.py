"""What a dispatcher promises that several processes share: the dead are followed, and nobody takes from the living."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import asyncpg
import pytest
from pgqueuer.adapters.drivers.asyncpg import AsyncpgPoolDriver

from holdfast.store.jobs import Job
from holdfast.store.postgres import dispatcher as module
from holdfast.store.postgres.dispatcher import PgQueuerDispatcher

from .conftest import SHORTEST_S, Worker, World


def job(generation_id: str, **about: object) -> Job:
    """Make a job."""
    return Job(generation_id=generation_id, **about)  # type: ignore[arg-type]


async def rows(world: World) -> list[tuple[str, str]]:
    """Read the jobs that are there, with their states."""
    connection = await asyncpg.connect(world.dsn)
    try:
        found = await connection.fetch("SELECT convert_from(payload, 'UTF8') AS id, status FROM pgqueuer ORDER BY id")
    finally:
        await connection.close()
    return [(row["id"], row["status"]) for row in found]


async def has_rows(world: World, *wanted: tuple[str, str]) -> None:
    """Wait until exactly these jobs are there."""
    async with asyncio.timeout(20.0):
        while await rows(world) != list(wanted):
            await asyncio.sleep(0.05)


def freeze(worker: Worker) -> None:
    """Have a worker show no signs of life any more, and take nothing, as one that sleeps."""
    assert isinstance(worker.dispatcher, PgQueuerDispatcher)
    # Nobody follows a shift that ends: who is frozen takes no other one either.
    assert worker.dispatcher._supervisor is not None
    worker.dispatcher._supervisor.cancel()
    for shift in worker.dispatcher._shifts:
        # It would take its own job again.
        shift.manager.shutdown.set()
    worker.dispatcher.leases.due = lambda jobs: []  # type: ignore[method-assign, assignment]


async def test_each_job_is_delivered_to_one_of_two(shared: World) -> None:
    """Of two workers, each job has one, and each of them has some when there are many."""
    first, second = await shared.make(capacity=30), await shared.make(capacity=30)
    ids = [f"gen_{number:02}" for number in range(60)]
    await shared.accept(first.dispatcher, *map(job, ids))
    async with asyncio.timeout(20.0):
        while len(first.delivered) + len(second.delivered) < 60:
            await asyncio.sleep(0.02)
    assert sorted(first.delivered + second.delivered) == ids
    assert len(first.delivered) == len(second.delivered) == 30


@pytest.mark.parametrize("is_own", [True, False])
async def test_who_shows_signs_of_life_keeps_his_job(shared: World, is_own: bool) -> None:
    """A job that takes many leases is delivered once, whether it was taken as it was accepted or later."""
    first = await shared.make()
    await shared.accept(first.dispatcher if is_own else shared.only_serves(), job("gen_long"))
    await first.has("gen_long")
    second = await shared.make()
    await asyncio.sleep(2 * SHORTEST_S)
    assert second.delivered == []
    assert first.dispatcher.holds("gen_long")
    first.dispatcher.finished("gen_long")
    await has_rows(shared)


@pytest.mark.parametrize("is_own", [True, False])
async def test_the_job_of_a_dead_worker_is_delivered_to_another(shared: World, is_own: bool) -> None:
    """After one lease without a sign of life somebody else has it, and the first one knows that he has not."""
    first = await shared.make()
    await shared.accept(first.dispatcher if is_own else shared.only_serves(), job("gen_a"))
    await first.has("gen_a")
    freeze(first)
    second = await shared.make()
    await second.has("gen_a")
    assert not first.dispatcher.holds("gen_a")
    assert second.dispatcher.holds("gen_a")


@pytest.mark.parametrize("report", ["finished", "requeue"])
async def test_who_was_taken_for_dead_puts_away_nothing(shared: World, report: str) -> None:
    """A worker that wakes after somebody else was given its job neither deletes nor hands on what is his."""
    first = await shared.make()
    await shared.accept(first.dispatcher, job("gen_a"))
    await first.has("gen_a")
    freeze(first)
    second = await shared.make()
    await second.has("gen_a")
    first.dispatcher.finished("gen_a") if report == "finished" else first.dispatcher.requeue("gen_a", 0.0)
    await shared.accept(second.dispatcher, job("gen_b"))
    await asyncio.sleep(0.5)
    assert ("gen_a", "picked") in await rows(shared)
    second.dispatcher.finished("gen_a")
    async with asyncio.timeout(20.0):
        while "gen_a" in dict(await rows(shared)):
            await asyncio.sleep(0.05)


async def test_who_stops_hands_back_what_he_has(shared: World) -> None:
    """A process that ends leaves nobody waiting for its lease to run out."""
    first = await shared.make()
    await shared.accept(first.dispatcher, job("gen_a"))
    await first.has("gen_a")
    await first.dispatcher.stop()
    assert await rows(shared) == [("gen_a", "queued")]
    second = await shared.make()
    await second.has("gen_a")


async def test_a_generation_driven_again_too_soon_is_worked_on_again(shared: World) -> None:
    """Its repeat comes while the worker has not reported the failure yet: the second job is not put away with it."""
    worker = await shared.make()
    await shared.accept(worker.dispatcher, job("gen_a"))
    await worker.has("gen_a")
    await shared.accept(worker.dispatcher, job("gen_a", drive=1))
    await has_rows(shared, ("gen_a", "picked"), ("gen_a", "picked"))
    worker.dispatcher.finished("gen_a")
    await worker.has("gen_a", "gen_a")
    await has_rows(shared, ("gen_a", "picked"))
    assert worker.dispatcher.holds("gen_a")
    worker.dispatcher.finished("gen_a")
    await has_rows(shared)


async def test_only_who_knows_a_lane_is_given_its_jobs(shared: World) -> None:
    """A worker of an earlier release is given nothing of a route that it does not serve; once it does, it is."""
    old = await shared.make(lanes=("nano-banana",))
    await shared.accept(old.dispatcher, job("gen_new", lane="nano-banana-9"), job("gen_a", lane="nano-banana"))
    await old.has("gen_a")
    await asyncio.sleep(0.5)
    assert old.delivered == ["gen_a"]
    assert isinstance(old.dispatcher, PgQueuerDispatcher)
    old.dispatcher.follow(["nano-banana", "nano-banana-9"])
    await old.has("gen_a", "gen_new")


async def test_the_database_may_cut_every_connection(shared: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is being worked on goes on and is put away, and what is accepted then is delivered."""
    monkeypatch.setattr(module, "HEALTH_S", 0.3)
    worker = await shared.make()
    await shared.accept(worker.dispatcher, job("gen_long"))
    await worker.has("gen_long")
    connection = await asyncpg.connect(shared.dsn)
    mine = "application_name = $1 AND pid <> pg_backend_pid()"
    cut = await connection.fetch(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {mine}", module.NAME)
    assert cut
    await connection.close()
    await shared.accept(worker.dispatcher, job("gen_next"))
    await worker.has("gen_long", "gen_next")
    worker.dispatcher.finished("gen_long")
    worker.dispatcher.finished("gen_next")
    await has_rows(shared)
    async with asyncio.timeout(20.0):
        # A new shift listens, and the deaf one has ended.
        while "1 shifts" not in repr(worker.dispatcher) or not await _hears(worker):
            await asyncio.sleep(0.05)


async def _hears(worker: Worker) -> bool:
    assert isinstance(worker.dispatcher, PgQueuerDispatcher)
    return await worker.dispatcher.is_well()


async def test_nothing_is_logged_of_jobs(shared: World) -> None:
    """PgQueuer's log, which nobody would clear, stays empty."""
    worker = await shared.make()
    await shared.accept(worker.dispatcher, job("gen_a"))
    await worker.has("gen_a")
    worker.dispatcher.finished("gen_a")
    await has_rows(shared)
    connection = await asyncpg.connect(shared.dsn)
    assert await connection.fetchval("SELECT count(*) FROM pgqueuer_log") == 0
    await connection.close()


async def test_what_was_taken_and_never_heard_of_waits_for_no_lease(
    shared: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection is lost between a taking and its answer: the job is taken again with the next question."""
    fetch, lost = AsyncpgPoolDriver.fetch, []

    async def losing(self: AsyncpgPoolDriver, query: str, *args: object) -> list[dict[str, object]]:
        rows = await fetch(self, query, *args)
        if "next_queued" in query and rows and not lost:
            lost.append(rows)
            raise ConnectionResetError("the answer was lost")
        return rows

    monkeypatch.setattr(AsyncpgPoolDriver, "fetch", losing)
    worker = await shared.make(shortest_s=300.0)
    await shared.accept(shared.only_serves(), job("gen_a"))
    await worker.has("gen_a")
    assert len(lost) == 1
    worker.dispatcher.finished("gen_a")
    await has_rows(shared)


async def test_who_stops_while_a_shift_is_seen_off_ends_in_order(shared: World) -> None:
    """The database was away, and then the process is asked to end: neither trips over the other."""
    worker = await shared.make()
    dispatcher: Any = worker.dispatcher
    (shift,) = dispatcher._shifts
    leaving = asyncio.create_task(dispatcher._see_off(shift))
    await dispatcher.stop()
    await leaving
    assert dispatcher._shifts == []


async def test_how_a_shift_ends_that_nobody_sees_off_is_no_complaint(
    shared: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that ends waits for none that takes longer; what that raises then is nobody's any more."""

    async def run(*_: object, **__: object) -> None:
        raise asyncpg.InterfaceError("released already")

    monkeypatch.setattr(module.QueueManager, "run", run)
    worker = await shared.make()
    dispatcher: Any = worker.dispatcher
    await dispatcher._end_supervision()
    for shift in dispatcher._shifts:
        await asyncio.wait([shift.work])
        await shift.pool.close()
    dispatcher._shifts.clear()
    del shift
    gc.collect()
    assert "never retrieved" not in caplog.text
