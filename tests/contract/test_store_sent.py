"""What was sent to each upstream lately, as a start reads it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from holdfast.clock import rfc3339, ulid
from holdfast.store.attempts import begin_attempt
from holdfast.store.generations import accept
from holdfast.store.port import Store
from holdfast.store.queries import queries
from holdfast.store.records import NewAttempt, NewGeneration
from holdfast.store.sent import Sent, sent_by

NOW = datetime(2026, 1, 17, 12, 0, tzinfo=UTC)
MIDNIGHT = NOW.replace(hour=0)


@pytest.fixture
def db(database: Any) -> Any:
    """An empty store of each engine."""
    return database.open()


def id_at(prefix: str, moment: datetime, number: int) -> str:
    """An id as the clock makes it."""
    return f"{prefix}_{ulid(int(moment.timestamp() * 1000), number.to_bytes(10))}"


async def send(db: Store, moment: datetime, number: int, upstream: str, key_number: int | None) -> None:
    """Leave an attempt that was sent then."""
    new = NewGeneration(
        id=id_at("gen", moment, number),
        key_id="key_1",
        surface="openai",
        model="m",
        tier="1K",
        size="64x64",
        n=1,
        parts=1,
        request=b"{}",
        deadline_at=rfc3339(moment + timedelta(seconds=300)),
        hard_deadline=False,
        created_at=rfc3339(moment),
        currency="USD",
        unit_micros=1,
        held_micros=1,
        list_micros=1,
    )
    await db.write(accept, new)
    attempt = NewAttempt(
        id=id_at("att", moment, number),
        generation_id=new.id,
        part=0,
        drive=0,
        upstream=upstream,
        provider="gemini",
        model="m",
        idempotency_key=f"{new.id}.0.0",
        estimated_micros=1,
        owner="me",
        sent_at=rfc3339(moment),
        key_number=key_number,
    )
    assert await db.write(begin_attempt, attempt) is not None


async def test_the_last_minute_has_its_moments_and_the_day_its_count(db: Store) -> None:
    """By credential, oldest first; yesterday is no more."""
    ago = [(43_201.0, "a"), (40_000.0, "a"), (61.0, "a"), (59.0, "a"), (30.0, "b"), (1.0, "a")]
    for number, (seconds, upstream) in enumerate(ago):
        await send(db, NOW - timedelta(seconds=seconds), number, upstream, 1)
    await send(db, NOW - timedelta(seconds=2.0), 7, "a", 2)
    await send(db, NOW - timedelta(seconds=100.0), 8, "a", None)
    sent = await db.read(sent_by, NOW - timedelta(seconds=60.0), MIDNIGHT)
    at = [rfc3339(NOW - timedelta(seconds=seconds)) for seconds in (59.0, 30.0, 1.0, 2.0)]
    assert sent == {
        ("a", 1): Sent(lately=(at[0], at[2]), today=4),
        ("a", 2): Sent(lately=(at[3],), today=1),
        ("a", None): Sent(today=1),
        ("b", 1): Sent(lately=(at[1],), today=1),
    }


async def test_nothing_was_sent(db: Store) -> None:
    """An empty store."""
    assert await db.read(sent_by, NOW, MIDNIGHT) == {}


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_the_primary_key_is_the_index(db: Store) -> None:
    """A start looks at the day's attempts, not at all there are."""

    def plan(conn: Any) -> str:
        asked = [f"EXPLAIN QUERY PLAN {text}" for text in queries("sent").values()]
        return "\n".join(str(tuple(row)) for each in asked for row in conn.execute(each, {"since": "att_0"}))

    told = await db.read(plan)
    assert told.count("SEARCH attempt USING") == 2
    assert "SCAN" not in told
