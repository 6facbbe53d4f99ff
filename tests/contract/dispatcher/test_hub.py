"""The ear of a replica: hears what others commit, and finds by itself what it could not hear."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest

from holdfast.clock import SystemClock
from holdfast.engine import twins
from holdfast.generation import State
from holdfast.policy.compensation import STANDARD
from holdfast.store.attempts import begin_attempt, end_attempt
from holdfast.store.cancelling import ask_cancel
from holdfast.store.generations import accept, pass_deadline
from holdfast.store.joining import leave
from holdfast.store.postgres import dispatcher, hub
from holdfast.store.postgres.alive import KEEPALIVE
from holdfast.store.postgres.hour import SharedClock
from holdfast.store.postgres.hub import Hub, Standing, changes
from holdfast.store.postgres.store import Options, PostgresStore
from holdfast.store.records import AttemptEnd, NewAttempt, NewGeneration, Told
from holdfast.types import Charge, Failure, FailureKind, Phase

UNSENT = Failure(kind=FailureKind.UNREACHABLE, phase=Phase.CONNECT, charge=Charge.NO, detail="nothing was sent")


def at(second: int) -> str:
    """A moment of the test's minute."""
    return f"2026-11-28T12:00:{second:02}.000Z"


class Heard:
    """A replica that waits for some generations, and notes what it is told."""

    def __init__(self, dsn: str, owner: str, **about: Any) -> None:
        self.told: list[tuple[str, bool]] = []
        self.late: list[str] = []
        self.waiting: set[str] = set()
        self.now = at(30)
        self.news = asyncio.Event()
        self.hub = Hub(
            dsn,
            owner=owner,
            role="serve",
            waiting=lambda: self.waiting,
            heard=self._heard,
            overdue=self.late.append,
            now=lambda: self.now,
            **{"look_s": 0.1, **about},
        )

    def _heard(self, generation_id: str, /, *, has_ended: bool) -> None:
        self.told.append((generation_id, has_ended))
        self.news.set()

    async def until(self, generation_id: str, *, has_ended: bool) -> None:
        """Wait until it is told this."""
        async with asyncio.timeout(20.0):
            while (generation_id, has_ended) not in self.told:
                self.news.clear()
                await self.news.wait()


class Replicas:
    """A database, a store that writes to it, and those who hear of that."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.store = PostgresStore(dsn, "own_writer", Options(connections=3, wait_s=5.0, is_exclusive=False))
        self.made: list[Heard] = []

    async def hear(self, owner: str = "own_1", **about: Any) -> Heard:
        """Start one."""
        made = Heard(self.dsn, owner, **about)
        self.made.append(made)
        await made.hub.start()
        return made

    async def accept(self, id_: str = "gen_1", **about: Any) -> None:
        """Accept a generation of one image."""
        new = NewGeneration(
            id=id_,
            key_id="key_1",
            surface="openai",
            model="nano-banana-pro",
            tier="4K",
            size="4096x4096",
            n=1,
            parts=1,
            request=b"{}",
            deadline_at=at(59),
            hard_deadline=False,
            created_at=at(0),
            currency="USD",
            unit_micros=240_000,
            held_micros=240_000,
            **about,
        )
        await self.store.write(accept, new)

    async def send(self, id_: str = "gen_1") -> None:
        """Make its sending commit."""
        new = NewAttempt(
            id=f"att_{id_}",
            generation_id=id_,
            part=0,
            drive=0,
            upstream="google",
            provider="gemini",
            model="gemini-3-pro-image",
            idempotency_key=f"{id_}.0.0",
            estimated_micros=240_000,
            owner="own_writer",
            sent_at=at(1),
        )
        assert await self.store.write(begin_attempt, new) == 1

    async def fail(self, id_: str = "gen_1") -> None:
        """Make its settling commit."""
        end = AttemptEnd(attempt_id=f"att_{id_}", at=at(2), purge_after=at(50), failure=UNSENT)
        assert (await self.store.write(end_attempt, end)).finished is not None


@pytest.fixture
async def replicas(postgres_dsn: str) -> AsyncIterator[Replicas]:
    """Give an empty database of several replicas."""
    await dispatcher.prepare(postgres_dsn)
    await hub.prepare(postgres_dsn)
    raw = await asyncpg.connect(postgres_dsn)
    await raw.execute("TRUNCATE pgqueuer")
    await raw.close()
    made = Replicas(postgres_dsn)
    yield made
    for each in made.made:
        await each.hub.stop()
    made.store.close()


async def test_each_replica_hears_what_was_committed(replicas: Replicas) -> None:
    """A step as a step, an end as an end; that it was accepted is told by its job, and not here."""
    first, second = await replicas.hear("own_1"), await replicas.hear("own_2")
    await replicas.accept()
    await replicas.send()
    for each in (first, second):
        await each.until("gen_1", has_ended=False)
    await replicas.fail()
    for each in (first, second):
        await each.until("gen_1", has_ended=True)
        assert each.told == [("gen_1", False), ("gen_1", True)]


async def test_a_cancel_is_heard(replicas: Replicas) -> None:
    """Of what is in flight as a step, so that its worker looks; of what was never sent as its end."""
    heard = await replicas.hear()
    for id_ in ("gen_1", "gen_2"):
        await replicas.accept(id_)
    await replicas.send("gen_1")
    await heard.until("gen_1", has_ended=False)
    heard.told.clear()
    for id_ in ("gen_1", "gen_2"):
        await replicas.store.write(ask_cancel, id_, at(3), at(50), STANDARD)
    await heard.until("gen_1", has_ended=False)
    await heard.until("gen_2", has_ended=True)


async def test_what_is_rolled_back_is_told_to_nobody(replicas: Replicas) -> None:
    """A notice is part of the transaction."""
    heard = await replicas.hear()
    await replicas.accept()

    def send_and_fail(conn: Any) -> None:
        conn.execute(
            "INSERT INTO event (generation_id, sequence_number, at, type) VALUES ('gen_1', 9, 'now', 'running')"
        )
        raise LookupError

    with pytest.raises(LookupError):
        await replicas.store.write(send_and_fail)
    await replicas.send()
    await heard.until("gen_1", has_ended=False)
    assert heard.told == [("gen_1", False)]


async def test_what_could_not_be_heard_is_found(replicas: Replicas, monkeypatch: pytest.MonkeyPatch) -> None:
    """An end that came while the connection was lost is found by the look after it is listened anew."""
    heard = await replicas.hear()
    await replicas.accept()
    await replicas.send()
    heard.waiting.add("gen_1")
    async with asyncio.timeout(20.0):
        while "1 seen" not in repr(heard.hub):
            await asyncio.sleep(0.02)
    connecting = asyncio.Event()
    connect = asyncpg.connect

    async def held(*args: Any, **options: Any) -> Any:
        await connecting.wait()
        return await connect(*args, **options)

    monkeypatch.setattr(hub.asyncpg, "connect", held)
    raw = await connect(replicas.dsn)
    await raw.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1", hub.NAME)
    await raw.close()
    async with asyncio.timeout(20.0):
        while heard.hub.listens.is_set():
            await asyncio.sleep(0.02)
    heard.told.clear()
    await replicas.fail()
    connecting.set()
    await heard.until("gen_1", has_ended=True)


async def test_one_of_several_leads_and_another_follows_it(replicas: Replicas) -> None:
    """What one of them does for all is done by one, and by another one when that has ended."""
    first, second = await replicas.hear("own_1"), await replicas.hear("own_2")
    assert [each.hub.leads for each in (first, second)] == [True, False]
    await first.hub.stop()
    assert not first.hub.leads
    async with asyncio.timeout(20.0):
        while not second.hub.leads:
            await asyncio.sleep(0.02)


async def test_who_lives_stands_in_the_database_and_who_ends_does_not(replicas: Replicas) -> None:
    """A replica that ends in order leaves its callers to whoever they come to next, at once."""
    await replicas.hear("own_1")
    second = await replicas.hear("own_2")
    raw = await asyncpg.connect(replicas.dsn)
    assert [row[0] for row in await raw.fetch("SELECT owner FROM replica ORDER BY owner")] == ["own_1", "own_2"]
    await second.hub.stop()
    assert [row[0] for row in await raw.fetch("SELECT owner FROM replica")] == ["own_1"]
    await raw.close()


async def test_what_is_open_and_nobodys_becomes_a_job(replicas: Replicas) -> None:
    """A database that was copied has generations and no jobs: the leader makes them; nothing has two."""
    await replicas.accept("gen_1")
    heard = await replicas.hear()
    raw = await asyncpg.connect(replicas.dsn)
    async with asyncio.timeout(20.0):
        while await raw.fetchval("SELECT count(*) FROM pgqueuer") != 1 or heard.hub.backlog != 1:
            await asyncio.sleep(0.02)
    rows = await raw.fetch("SELECT entrypoint, convert_from(payload, 'UTF8') AS id, dedupe_key FROM pgqueuer")
    assert [tuple(row) for row in rows] == [("nano-banana-pro", "gen_1", "gen_1:0")]
    await raw.close()


async def test_an_attempt_that_is_nobodys_becomes_a_job(replicas: Replicas) -> None:
    """Its caller was told at his deadline, and the process that awaited it ended before: it would hold its place at the
    upstream, and what it may have cost would stay unbooked, for ever."""
    await replicas.accept("gen_1")
    await replicas.send("gen_1")
    told = Told(code="deadline_exceeded", message="Time is over.", charge=Charge.UNKNOWN)
    assert await replicas.store.write(pass_deadline, "gen_1", told, at(3), at(50), False) is not None
    heard = await replicas.hear()
    raw = await asyncpg.connect(replicas.dsn)
    async with asyncio.timeout(20.0):
        while await raw.fetchval("SELECT count(*) FROM pgqueuer") != 1:
            await asyncio.sleep(0.02)
    await raw.close()
    assert heard.hub.backlog == 0, "nobody waits for it"


async def test_what_nobody_came_to_in_time_is_told(replicas: Replicas) -> None:
    """Open, nothing in flight, its time over: whoever waits for it, and the leader of all, may end it."""
    heard = await replicas.hear()
    await replicas.accept("gen_1")
    heard.waiting.add("gen_1")
    await asyncio.sleep(0.3)
    assert heard.late == []
    heard.now = "2026-11-28T12:05:00.000Z"
    async with asyncio.timeout(20.0):
        while "gen_1" not in heard.late:
            await asyncio.sleep(0.02)


OPEN, SENT = Standing(State.QUEUED, 1, 0), Standing(State.RUNNING, 2, 1)
FAILED_OPEN, FAILED = Standing(State.FAILED, 3, 1), Standing(State.FAILED, 3, 0)
DONE = Standing(State.SUCCEEDED, 3, 0)


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        (None, OPEN, None),
        (None, DONE, True),
        (OPEN, OPEN, None),
        (OPEN, SENT, False),
        (SENT, DONE, True),
        (OPEN, DONE, True),
        (SENT, FAILED_OPEN, True),
        (None, FAILED_OPEN, None),
        (FAILED_OPEN, FAILED, True),
        (FAILED_OPEN, Standing(State.SUCCEEDED, 4, 0), True),
        (DONE, DONE, None),
    ],
)
def test_a_look_tells_what_has_changed_since_the_last(
    before: Standing | None, now: Standing, told: bool | None
) -> None:
    """A step, an end, or nothing; who waits for what may still come after a failure is told of its end only."""
    found = changes({} if before is None else {"gen_1": before}, {"gen_1": now})
    assert found == ({} if told is None else {"gen_1": told})


async def test_a_start_waits_for_nobody_who_writes_and_nobody_for_it(replicas: Replicas) -> None:
    """What it needs is there already: a transaction that has begun goes on, and does not stand in a circle with it."""
    await replicas.accept()
    raw = await asyncpg.connect(replicas.dsn)
    await raw.execute("BEGIN")
    await raw.execute("LOCK TABLE attempt IN ROW EXCLUSIVE MODE")
    await raw.execute("LOCK TABLE event IN ROW EXCLUSIVE MODE")
    async with asyncio.timeout(5.0):
        await hub.prepare(replicas.dsn)
    await raw.execute("ROLLBACK")
    await raw.close()


async def test_a_start_that_stands_in_a_circle_with_a_writer_tries_again(replicas: Replicas) -> None:
    """The first start of this version makes what is not there, while others write."""
    raw = await asyncpg.connect(replicas.dsn)
    await raw.execute("DROP TRIGGER holdfast_notify ON event")
    await raw.execute("DROP INDEX attempt_in_flight")
    await raw.execute("BEGIN")
    await raw.execute("LOCK TABLE attempt IN ROW EXCLUSIVE MODE")
    preparing = asyncio.create_task(hub.prepare(replicas.dsn))
    waits = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    async with asyncio.timeout(20.0):
        while not await raw.fetchval(waits):
            await asyncio.sleep(0.01)
    await raw.execute("LOCK TABLE event IN ROW EXCLUSIVE MODE")
    await raw.execute("COMMIT")
    await preparing
    assert await raw.fetchval("SELECT to_regclass('attempt_in_flight') IS NOT NULL")
    assert await raw.fetchval("SELECT count(*) FROM pg_trigger WHERE tgname = 'holdfast_notify'") == 1
    await raw.close()


async def test_a_leader_whose_machine_is_gone_does_not_lead_for_hours(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server is told how soon to find out: by default it asks after two hours, and the lock stays as long."""
    connect, asked = asyncpg.connect, []

    async def noted(*args: Any, **options: Any) -> Any:
        asked.append(options["server_settings"])
        return await connect(*args, **options)

    monkeypatch.setattr(hub.asyncpg, "connect", noted)
    await replicas.hear()
    assert asked
    assert all(settings.items() >= KEEPALIVE.items() for settings in asked)


async def test_a_replica_that_starts_waits_for_nobody_who_writes(replicas: Replicas, postgres_dsn: str) -> None:
    """What is there is left alone: no table is locked, so that no writer is in its way, nor the other way round."""
    raw = await asyncpg.connect(postgres_dsn)
    try:
        async with raw.transaction():
            for table in ("event", "attempt", "generation", "pgqueuer_log"):
                await raw.execute(f"LOCK TABLE {table} IN ROW EXCLUSIVE MODE")
            async with asyncio.timeout(20.0):
                await hub.prepare(postgres_dsn)
                await dispatcher.prepare(postgres_dsn)
    finally:
        await raw.close()


async def test_what_is_missing_is_made(replicas: Replicas, postgres_dsn: str) -> None:
    """A database that comes from elsewhere has neither the triggers nor the index."""
    made = """SELECT (SELECT count(*) FROM pg_trigger WHERE tgname IN ('holdfast_notify', 'holdfast_no_job_log'))
        + (SELECT count(*) FROM pg_indexes WHERE indexname = 'attempt_in_flight')"""
    raw = await asyncpg.connect(postgres_dsn)
    try:
        await raw.execute("DROP TRIGGER holdfast_notify ON event; DROP TRIGGER holdfast_no_job_log ON pgqueuer_log")
        await raw.execute("DROP INDEX attempt_in_flight")
        assert await raw.fetchval(made) == 0
        await dispatcher.prepare(postgres_dsn)
        await hub.prepare(postgres_dsn)
        assert await raw.fetchval(made) == 3
    finally:
        await raw.close()


class AnHourAhead(SystemClock):
    """A machine whose clock was set wrong."""

    def now(self) -> datetime:
        """An hour that nobody else has."""
        return super().now() + timedelta(hours=1)


async def test_all_replicas_tell_the_databases_hour(replicas: Replicas) -> None:
    """A machine that is an hour ahead would end at once what another one has just accepted."""
    clock = SharedClock(AnHourAhead())
    await clock.hear(replicas.store)
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(seconds=5)
    looking = SharedClock(AnHourAhead())
    ear = Hub(
        replicas.dsn,
        owner="own_9",
        role="serve",
        waiting=set,
        heard=lambda id_, *, has_ended: None,
        overdue=lambda id_: None,
        now=lambda: "",
        clock=looking,
    )
    await ear.start()
    assert abs(looking.now() - datetime.now(UTC)) < timedelta(seconds=5)
    await ear.stop()


async def test_what_this_process_commits_it_is_not_told(replicas: Replicas) -> None:
    """Whoever commits tells everybody in his own process: only another one hears it as news."""
    own = await replicas.hear("own_1", is_ours=replicas.store.is_ours, look_s=600.0)
    other = await replicas.hear("own_2")
    await replicas.accept()
    await replicas.send()
    await other.until("gen_1", has_ended=False)
    raw = await asyncpg.connect(replicas.dsn)
    await raw.execute("SELECT pg_notify('gw_done', 'gen_of_another')")
    await raw.close()
    await own.until("gen_of_another", has_ended=True)
    assert own.told == [("gen_of_another", True)]


async def test_a_connection_that_has_ended_is_not_ours(replicas: Replicas) -> None:
    """The server numbers connections, and gives a number again."""
    await replicas.accept()
    pids = replicas.store._pool.pids
    assert pids
    assert all(map(replicas.store.is_ours, pids))
    raw = await asyncpg.connect(replicas.dsn)
    for pid in pids:
        await raw.execute("SELECT pg_terminate_backend($1)", pid)
    await raw.close()
    async with asyncio.timeout(20.0):
        while any(map(replicas.store.is_ours, pids)):
            await asyncio.sleep(0.01)


async def test_a_leader_that_is_frozen_leads_no_longer(replicas: Replicas, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its system goes on answering for its connection, and the lock would be its own for as long as it sleeps."""
    monkeypatch.setattr(hub, "SILENT_S", 1.0)
    first, second = await replicas.hear("own_1"), await replicas.hear("own_2")
    await asyncio.sleep(2.0)
    assert [each.hub.leads for each in (first, second)] == [True, False]
    sleeping = first.hub._task
    assert sleeping is not None
    sleeping.cancel()
    await asyncio.wait([sleeping])
    async with asyncio.timeout(20.0):
        while not second.hub.leads:
            await asyncio.sleep(0.02)
        await first.hub._is_lost.wait()
    first.hub._task = asyncio.create_task(first.hub._run())
    async with asyncio.timeout(20.0):
        while first.hub.leads or not first.hub.listens.is_set():
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("leaves", [True, False])
async def test_who_waits_elsewhere_is_asked_whether_he_is_there(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch, leaves: bool
) -> None:
    """His process is told, and that he has left stands in the record; who stays says nothing, for a while."""
    monkeypatch.setattr(twins, "TWIN_WAIT_S", 20.0 if leaves else 1.0)
    await replicas.accept("gen_1", callers=1, watched_by="own_1")
    asked = asyncio.Event()
    heard = Hub(
        replicas.dsn,
        owner="own_1",
        role="serve",
        waiting=set,
        heard=lambda id_, *, has_ended: None,
        overdue=lambda id_: None,
        now=lambda: "",
        asked_after=lambda id_: asked.set() if id_ == "gen_1" else None,
    )
    await heard.start()
    core: Any = SimpleNamespace(store=replicas.store)
    asking = asyncio.create_task(twins.fate_elsewhere(core, ["gen_1"]))
    async with asyncio.timeout(20.0):
        await asked.wait()
        if leaves:
            await replicas.store.write(leave, ["gen_1"], "own_1")
    async with asyncio.timeout(10.0):
        await asking
    await heard.stop()
