"""Jobs that are taken in the transaction that accepts them: by whom, and what becomes of them."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from holdfast.store.postgres import taking as module
from holdfast.store.postgres.dispatcher import PgQueuerDispatcher
from holdfast.store.postgres.leases import Leases
from holdfast.store.postgres.taking import Taking

from .conftest import World
from .test_dispatcher_shared import has_rows, job, rows

CHANNEL = "ch_pgqueuer"


async def heard(world: World, notices: list[str]) -> asyncpg.Connection:
    """Listen to what wakes workers."""
    connection = await asyncpg.connect(world.dsn)
    await connection.add_listener(CHANNEL, lambda *about: notices.append(str(about[-1])))
    return connection


async def settled(connection: asyncpg.Connection) -> None:
    """Wait until all that was sent before this has come."""
    await connection.execute("SELECT pg_notify($1, 'mark')", CHANNEL)


def changes(notices: list[str]) -> list[str]:
    """Leave out marks, and PgQueuer's own looks at its health."""
    return [each for each in notices if "table_changed_event" in each]


async def test_who_accepts_and_works_takes_it_in_the_same_transaction(shared: World) -> None:
    """It is delivered as soon as it is committed, and nobody is woken for it; nor when it is done."""
    notices: list[str] = []
    connection = await heard(shared, notices)
    worker = await shared.make()
    await shared.accept(worker.dispatcher, job("gen_a"))
    assert worker.delivered == ["gen_a"]
    assert await rows(shared) == [("gen_a", "picked")]
    assert worker.dispatcher.holds("gen_a")
    worker.dispatcher.finished("gen_a")
    await has_rows(shared)
    assert not worker.dispatcher.holds("gen_a")
    await settled(connection)
    assert changes(notices) == []
    await connection.close()


@pytest.mark.parametrize("about", [{"run_after_s": 600.0}, {"drive": 1}, {"lane": "another"}])
async def test_what_it_may_not_take_waits_for_anybody(shared: World, about: dict[str, Any]) -> None:
    """Later work, what is driven again, and a model that this process does not serve."""
    worker = await shared.make()
    giver = shared.only_serves()
    await shared.accept(giver, job("gen_first"))
    await worker.has("gen_first")
    await shared.accept(worker.dispatcher, job("gen_a", **about))
    (found,) = [status for id_, status in await rows(shared) if id_ == "gen_a"]
    if "drive" not in about:
        assert found == "queued"
    assert worker.delivered[0] == "gen_first"


async def test_who_has_no_room_leaves_it_to_others(shared: World) -> None:
    """As many as fit are its own; who has room is woken for the others."""
    first = await shared.make(capacity=2)
    await shared.accept(first.dispatcher, job("gen_a"), job("gen_b"), job("gen_c"))
    assert first.delivered == ["gen_a", "gen_b"]
    assert dict(await rows(shared))["gen_c"] == "queued"
    second = await shared.make(capacity=2)
    await second.has("gen_c")


async def test_one_that_ends_makes_room_at_once(shared: World) -> None:
    """Where others wait a notice says that there is room: nobody waits for the next look."""
    notices: list[str] = []
    connection = await heard(shared, notices)
    worker = await shared.make(capacity=2)
    await shared.accept(worker.dispatcher, job("gen_a"), job("gen_b"))
    await shared.accept(worker.dispatcher, job("gen_c"))
    await settled(connection)
    before = len(changes(notices))
    worker.dispatcher.finished("gen_a")
    await worker.has("gen_a", "gen_b", "gen_c")
    await settled(connection)
    assert len(changes(notices)) > before
    await connection.close()


async def test_what_was_never_committed_takes_no_room_for_long(shared: World) -> None:
    """Rolled back, or its caller has gone before the commit was told: after a lease it is forgotten."""
    worker = await shared.make(capacity=2)
    await shared.accept(worker.dispatcher, job("gen_never"), job("gen_nor_this"), fails=True)
    assert isinstance(worker.dispatcher, PgQueuerDispatcher)
    taking = worker.dispatcher._taking
    assert "2 coming" in repr(taking)
    assert await rows(shared) == []
    now = taking._leases.monotonic
    taking._leases.monotonic = lambda: now() + 2 * taking._leases.shortest_s  # type: ignore[method-assign]
    await shared.accept(worker.dispatcher, job("gen_a"))
    assert worker.delivered == ["gen_a"]
    assert "0 coming" in repr(taking)


async def test_a_job_that_is_somebodys_already_is_not_taken(shared: World) -> None:
    """The same job written again is one, and whoever has it keeps it."""
    giver, worker = await shared.make(), await shared.make()
    await shared.accept(giver.dispatcher, job("gen_a"))
    await shared.accept(worker.dispatcher, job("gen_a"))
    assert (giver.delivered, worker.delivered) == (["gen_a"], [])
    assert not worker.dispatcher.holds("gen_a")


async def test_what_is_handed_back_is_given_to_another(shared: World) -> None:
    """Taken by who accepted it, and handed back: anybody may have it now."""
    first = await shared.make()
    await shared.accept(first.dispatcher, job("gen_a"))
    first.dispatcher.requeue("gen_a", 0.0)
    await first.has("gen_a", "gen_a")
    assert first.dispatcher.holds("gen_a")
    first.dispatcher.finished("gen_a")
    await has_rows(shared)


async def test_many_that_end_are_put_away_together(shared: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One statement for those of a moment."""
    worker = await shared.make()
    calls: list[int] = []
    put_away = module.Claims.put_away

    async def counted(self: module.Claims, jobs: Any) -> None:
        calls.append(len(jobs))
        await put_away(self, jobs)

    monkeypatch.setattr(module.Claims, "put_away", counted)
    ids = [f"gen_{number}" for number in range(20)]
    await shared.accept(worker.dispatcher, *map(job, ids))
    for id_ in ids:
        worker.dispatcher.finished(id_)
    await has_rows(shared)
    assert calls == [20]


async def test_who_stops_puts_away_what_is_done(shared: World) -> None:
    """What ended a moment before the end of its process is nobody's job any more."""
    worker = await shared.make()
    await shared.accept(worker.dispatcher, job("gen_done"), job("gen_open"))
    worker.dispatcher.finished("gen_done")
    await worker.dispatcher.stop()
    assert await rows(shared) == [("gen_open", "queued")]


async def test_a_shift_that_is_followed_keeps_what_it_took(shared: World) -> None:
    """The next shift has another name; what was taken in the name of the one before is kept, and put away."""
    worker = await shared.make()
    await shared.accept(worker.dispatcher, job("gen_a"))
    dispatcher = worker.dispatcher
    assert isinstance(dispatcher, PgQueuerDispatcher)
    before = dispatcher._shifts[-1]
    dispatcher._shifts.append(await dispatcher._begin_shift())
    before.manager.shutdown.set()
    seeing_off = asyncio.create_task(dispatcher._see_off(before))
    await asyncio.wait([before.work])
    assert not seeing_off.done()
    dispatcher.finished("gen_a")
    await seeing_off
    await has_rows(shared)
    assert dispatcher._managers == [dispatcher._shifts[-1].manager.queue_manager_id]


async def test_a_database_that_is_away_costs_no_more_than_a_lease(
    shared: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be put away is given to somebody when its lease is over, who finds that it is done."""
    worker = await shared.make()
    assert isinstance(worker.dispatcher, PgQueuerDispatcher)
    worker.dispatcher.leases.shortest_s = 0.05

    async def away(*_: object) -> None:
        raise ConnectionResetError

    with monkeypatch.context() as patch:
        patch.setattr(module.Claims, "put_away", away)
        await shared.accept(worker.dispatcher, job("gen_a"))
        worker.dispatcher.finished("gen_a")
        await asyncio.sleep(2 * module.PUT_AWAY_S)
        taking = worker.dispatcher._taking
        async with asyncio.timeout(20.0):
            while taking._tasks:
                await asyncio.sleep(0.01)
    assert await rows(shared) == [("gen_a", "picked")]


def test_none_was_taken_of_what_nobody_wrote() -> None:
    """Committed without a job of its own, nothing is begun."""
    taking = Taking(Leases(lambda: 0.0), lambda: pytest.fail("nothing is asked"))

    def begin() -> asyncio.Future[float | None]:
        raise AssertionError("nothing is begun")

    assert not taking.committed("gen_a", begin)
