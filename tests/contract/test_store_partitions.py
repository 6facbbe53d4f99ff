"""The migration that docs/scale.md writes down is one that works: rows go to their months, and every rule holds."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import asyncpg
import pytest

from holdfast.clock import ulid
from holdfast.policy.fingerprint import VERSION
from holdfast.policy.joining import Answer, Claim
from holdfast.store.attempts import begin_attempt, end_attempt
from holdfast.store.audit import audit
from holdfast.store.erasing import ask_erase
from holdfast.store.generations import accept, events_of, get_record
from holdfast.store.joining import Entering, enter
from holdfast.store.postgres import hub
from holdfast.store.postgres.store import Options, PostgresStore
from holdfast.store.records import AttemptEnd, NewAttempt, NewBlob, NewGeneration
from holdfast.types import ImageInfo

LAB = Path(__file__).resolve().parents[2] / "lab" / "scale"
BEFORE, FEBRUARY, MARCH = (datetime(2027, month, 5, 12, tzinfo=UTC) for month in (1, 2, 3))
BEGINS = datetime(2027, 2, 1, tzinfo=UTC)
RESERVED = 1000
"""A number that the ledger reaches in the new month."""
INFO = ImageInfo(mime="image/png", width_px=1, height_px=1, bytes=70, sha256="0" * 64)
PRICE = 240_000
CUT = ("generation", "event", "ledger_txn")


@pytest.fixture(scope="module")
def partitions() -> ModuleType:
    """What writes the migration."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(LAB)
        return importlib.import_module("partitions")


def id_at(prefix: str, moment: datetime, number: int = 0) -> str:
    """An id of a moment."""
    return f"{prefix}_{ulid(int(moment.timestamp() * 1000), number.to_bytes(10, 'big'))}"


def text(moment: datetime, minutes: int = 0) -> str:
    """As records spell it."""
    return moment.replace(minute=minutes).strftime("%Y-%m-%dT%H:%M:00.000Z")


def a_new(moment: datetime, *, key: str | None = None, number: int = 0) -> NewGeneration:
    """A generation that is accepted then."""
    return NewGeneration(
        id=id_at("gen", moment, number),
        key_id="key_1",
        surface="openai",
        model="nano-banana-pro",
        tier="4K",
        size="4096x4096",
        n=1,
        parts=1,
        request=b"{}",
        deadline_at=text(moment, 30),
        hard_deadline=False,
        created_at=text(moment),
        currency="USD",
        unit_micros=PRICE,
        held_micros=PRICE,
        list_micros=PRICE,
        fingerprint=b"\x01" * 32,
        fingerprint_version=VERSION,
        idempotency_key=key,
    )


def live(store: Any, moment: datetime, *, key: str | None = None, number: int = 0) -> str:
    """Accept, send and settle one, and give its id."""
    new = a_new(moment, key=key, number=number)
    assert store.write_sync(accept, new) is None
    attempt = NewAttempt(
        id=id_at("att", moment, number),
        generation_id=new.id,
        part=0,
        drive=0,
        upstream="google",
        provider="gemini",
        model="gemini-3-pro-image",
        idempotency_key=f"{new.id}.0.0",
        estimated_micros=PRICE,
        owner="me",
        sent_at=text(moment, 1),
    )
    assert store.write_sync(begin_attempt, attempt) is not None
    blob = NewBlob(id=id_at("img", moment, number), kind="result", position=0, store_key=attempt.id, info=INFO)
    store.write_sync(
        end_attempt, AttemptEnd(attempt_id=attempt.id, at=text(moment, 2), purge_after="2027-12-01", blobs=(blob,))
    )
    return new.id


def select(store: Any, sql: str, values: Any = ()) -> list[Any]:
    """Read rows."""
    return [tuple(row) for row in store.write_sync(lambda conn: conn.execute(sql, values).fetchall())]


def run(dsn: str, *statements: str) -> None:
    """Run scripts as an operator does, each by itself."""

    async def work() -> None:
        raw = await asyncpg.connect(dsn)
        try:
            for statement in statements:
                await raw.execute(statement)
        finally:
            await raw.close()

    asyncio.run(work())


@pytest.fixture
def dsn(postgres_server: Any) -> str:
    """A database that this test may change the tables of."""
    return str(postgres_server.make("partitioned"))


@pytest.fixture
def store(dsn: str, partitions: ModuleType) -> Iterator[Any]:
    """One that has lived for a month, and is partitioned from the next on."""
    made = PostgresStore(dsn, "me", Options(connections=4, wait_s=5.0))
    asyncio.run(hub.prepare(dsn))
    live(made, BEFORE, key="order-7")
    run(dsn, *partitions.prepared(BEGINS, RESERVED), partitions.migration(BEGINS, 2, RESERVED))
    yield made
    made.close()


def parts_with(store: Any, table: str, column: str, value: str) -> list[str]:
    """List the partitions in which rows of a generation stand."""
    return sorted(
        {
            row[0]
            for row in select(store, f"SELECT tableoid::regclass::text FROM {table} WHERE {column} = :v", {"v": value})
        }
    )


@pytest.mark.parametrize(("moment", "part"), [(BEFORE, "before"), (FEBRUARY, "2027_02"), (MARCH, "2027_03")])
def test_rows_stand_in_their_month(store: Any, moment: datetime, part: str) -> None:
    """Also those of what is accepted late in a month that has a partition already."""
    id_ = live(store, moment, number=1)
    assert parts_with(store, "generation", "id", id_) == [f"generation_{part}"]
    for table in ("event", "ledger_txn"):
        assert parts_with(store, table, "generation_id", id_) == [f"{table}_{part}"]
    record = store.write_sync(get_record, id_)
    assert record is not None
    assert [each.type for each in store.write_sync(events_of, id_)][-1] == "succeeded"


def test_the_books_are_whole(store: Any) -> None:
    """Over all months, and beyond the number at which the ledger's next partition begins."""
    for moment in (FEBRUARY, MARCH):
        live(store, moment)
    select(store, "SELECT setval('ledger_txn_next', :number)", {"number": RESERVED})
    live(store, MARCH, number=2)
    told = store.write_sync(audit)
    assert told.problems == ()
    assert sorted(select(store, "SELECT DISTINCT tableoid::regclass::text FROM ledger_entry")) == [
        ("ledger_entry_before",),
        ("ledger_entry_next_month",),
    ]
    numbers = [row[0] for row in select(store, "SELECT id FROM ledger_txn")]
    assert len(numbers) == len(set(numbers)) == 12


def test_a_call_of_last_month_is_repeated_this_month(store: Any) -> None:
    """Its key finds it, and nobody can buy under it again: no index on partitions says so, the table of keys does."""
    claim = Claim(idempotency_key="order-7", by_fingerprint=False, says_retry=False)
    entering = Entering(new=a_new(FEBRUARY, key="order-7"), claim=claim, asks_twins=False)
    entered = store.write_sync(enter, entering)
    assert (entered.generation_id, entered.answer) == (id_at("gen", BEFORE), Answer.REPLAY)
    with pytest.raises(asyncpg.UniqueViolationError, match="idempotency"):
        store.write_sync(accept, a_new(FEBRUARY, key="order-7"))
    assert select(store, "SELECT count(*) FROM generation") == [(1,)]


def test_one_partition_is_asked_for_one_generation(store: Any) -> None:
    """By its id; what is asked by key and time asks each, along an index of its own."""
    id_ = live(store, FEBRUARY)
    for table, column in (("generation", "id"), ("event", "generation_id"), ("ledger_txn", "generation_id")):
        plan = "\n".join(row[0] for row in select(store, f"EXPLAIN SELECT * FROM {table} WHERE {column} = '{id_}'"))
        assert f"{table}_2027_02" in plan
        assert f"{table}_before" not in plan
    listed = (
        "SELECT id FROM generation WHERE key_id = 'key_1' AND created_at < '2027-03' ORDER BY created_at DESC LIMIT 9"
    )

    def plan_of(conn: Any) -> str:
        # Of so few rows a look at all of them is the shortest way.
        conn.execute("SET LOCAL enable_seqscan = off")
        return "\n".join(row[0] for row in conn.execute(f"EXPLAIN {listed}"))

    plan = store.write_sync(plan_of)
    assert plan.count("Index") >= 3
    assert "Seq Scan" not in plan


def test_what_must_be_unique_is_still(store: Any) -> None:
    """A hold that resolves once, a transaction that is booked once, an event that has its number."""
    id_ = live(store, FEBRUARY)
    for statement in (
        "INSERT INTO ledger_txn (kind, generation_id, drive, attempt_id, at) VALUES ('void', :id, 0, '', 'x')",
        "INSERT INTO event (generation_id, sequence_number, at, type) VALUES (:id, 1, 'x', 'queued')",
    ):
        with pytest.raises(asyncpg.UniqueViolationError):
            select(store, f"{statement} RETURNING 1", {"id": id_})


def test_whoever_waits_is_told(store: Any, dsn: str) -> None:
    """The notice of an end comes from a partition as it did from the table."""

    async def heard() -> list[str]:
        raw = await asyncpg.connect(dsn)
        ends: list[str] = []
        await raw.add_listener("gw_done", lambda *notice: ends.append(str(notice[3])))
        await asyncio.to_thread(live, store, FEBRUARY)
        async with asyncio.timeout(10):
            while not ends:
                await raw.execute("SELECT 1")
        await raw.close()
        return ends

    assert asyncio.run(heard()) == [id_at("gen", FEBRUARY)]


def test_a_generation_of_before_goes_on(store: Any) -> None:
    """Its owner has its images deleted: rows of the first partition are changed where they stand."""
    erased = store.write_sync(ask_erase, id_at("gen", BEFORE), text(FEBRUARY))
    assert erased is not None
    assert erased.is_new


def test_a_month_is_dropped_in_one_statement(store: Any, dsn: str) -> None:
    """Nothing refers to it: what the store writes together it no longer needs a reference for."""
    live(store, FEBRUARY)
    for table in CUT:
        run(dsn, f"DROP TABLE {table}_before")
    assert select(store, "SELECT count(*) FROM generation") == [(1,)]


def test_months_follow_one_another(partitions: ModuleType) -> None:
    """Over the end of a year, each where the one before ends."""
    months = partitions.months_from(datetime(2027, 11, 1, tzinfo=UTC), 3)
    assert [f"{month:%Y-%m}" for month in months] == ["2027-11", "2027-12", "2028-01", "2028-02"]
    assert partitions.first_id(months[0]) < id_at("gen", datetime(2027, 11, 1, 0, 0, 1, tzinfo=UTC))
    assert partitions.first_id(months[1]) > id_at("gen", datetime(2027, 11, 30, 23, 59, 59, tzinfo=UTC))
