"""Places at a credential, counted for all processes together: never one too many, and none that a crash keeps."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from holdfast.policy.rates import MINUTE_S
from holdfast.store.attempts import attempts_of, begin_attempt, end_attempt
from holdfast.store.generations import accept
from holdfast.store.places import PLACE_S, Full, Grant, take_place
from holdfast.store.records import AttemptEnd, NewAttempt, NewGeneration
from holdfast.types import Charge, Failure, FailureKind, Phase

pytestmark = pytest.mark.parametrize("database", ["postgres"], indirect=True)

GRANT = Grant(upstream="google", key_number=1, concurrency=2)
LOST = Failure(kind=FailureKind.LOST_REPLY, phase=Phase.WAIT, charge=Charge.UNKNOWN, detail="the connection ended")


def at(second: int) -> str:
    """A moment of the test's minute."""
    return f"2026-11-28T12:00:{second:02}.000Z"


class Bench:
    """Two processes, and generations for them to send."""

    def __init__(self, database: Any) -> None:
        self.first = database.open("own_1", is_exclusive=False)
        self.second = database.open("own_2", is_exclusive=False)

    def accept(self, id_: str) -> None:
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
        )
        self.first.write_sync(accept, new)

    def attempt(self, id_: str, owner: str, key_number: int = 1) -> NewAttempt:
        """What its sending commit writes."""
        return NewAttempt(
            id=f"att_{id_}",
            generation_id=id_,
            part=0,
            drive=0,
            upstream="google",
            provider="gemini",
            model="gemini-3-pro-image",
            idempotency_key=f"{id_}.0.0",
            estimated_micros=240_000,
            owner=owner,
            sent_at=at(1),
            key_number=key_number,
        )

    def begin(self, id_: str, *, second: bool = False, grant: Grant = GRANT) -> Any:
        """Accept one, and make its sending commit."""
        self.accept(id_)
        store, owner = (self.second, "own_2") if second else (self.first, "own_1")
        return store.write_sync(begin_attempt, self.attempt(id_, owner, grant.key_number), None, grant)


@pytest.fixture
def bench(database: Any) -> Bench:
    """Give two processes on one database."""
    return Bench(database)


def test_a_place_is_of_all_processes(bench: Bench) -> None:
    """With two calls in flight, one from each, there is no third from either; another key has its own places."""
    assert [bench.begin("gen_1"), bench.begin("gen_2", second=True)] == [1, 1]
    assert bench.begin("gen_3") == bench.begin("gen_4", second=True) == Full(PLACE_S)
    assert bench.begin("gen_5", grant=replace(GRANT, key_number=2)) == 1


def test_who_has_no_place_has_written_nothing(bench: Bench) -> None:
    """The generation waits as it did: no attempt, no event, the epoch as it was."""
    for id_ in ("gen_1", "gen_2"):
        bench.begin(id_)
    assert isinstance(bench.begin("gen_3"), Full)
    assert bench.first.write_sync(attempts_of, "gen_3") == ()
    assert bench.first.write_sync(begin_attempt, bench.attempt("gen_3", "own_1")) == 1


@pytest.mark.parametrize("failure", [LOST, replace(LOST, charge=Charge.NO)])
def test_a_place_ends_with_its_attempt(bench: Bench, failure: Failure) -> None:
    """However it ended: also one that was given up on, whose process may have died with it."""
    for id_ in ("gen_1", "gen_2"):
        bench.begin(id_)
    bench.second.write_sync(
        end_attempt, AttemptEnd(attempt_id="att_gen_1", at=at(2), purge_after=at(50), failure=failure)
    )
    assert bench.begin("gen_3") == 1
    assert isinstance(bench.begin("gen_4"), Full)


async def test_of_many_that_ask_at_once_no_more_have_a_place_than_there_are(bench: Bench) -> None:
    """Thirty from two processes, five places: five are sent."""
    ids = [f"gen_{number}" for number in range(30)]
    for id_ in ids:
        bench.accept(id_)
    grant = replace(GRANT, concurrency=5)
    asked = [
        store.write(begin_attempt, bench.attempt(id_, owner), None, grant)
        for number, id_ in enumerate(ids)
        for store, owner in [((bench.first, "own_1"), (bench.second, "own_2"))[number % 2]]
    ]
    answers = await asyncio.gather(*asked)
    assert sorted(map(str, answers)) == ["1"] * 5 + [str(Full(PLACE_S))] * 25


def test_a_minutes_calls_are_spread_over_it_for_all_together(bench: Bench) -> None:
    """After one call the next is due when a minute's share has passed, whoever asks."""
    grant = Grant(upstream="google", key_number=1, per_minute=6)
    assert bench.first.write_sync(take_place, grant) is None
    full = bench.second.write_sync(take_place, grant)
    assert full is not None
    assert 0.0 < full.after_s <= MINUTE_S / 6


@pytest.mark.parametrize(("late_s", "less_s"), [(0.3, 0.3), (30.0, 0.5)])
def test_a_call_that_comes_late_delays_the_next_by_little(bench: Bench, late_s: float, less_s: float) -> None:
    """Whoever is told his turn comes a moment after it; what is made up for has a bound, so that no burst is saved."""
    grant = Grant(upstream="google", key_number=1, per_minute=6)
    interval_s = MINUTE_S / 6
    bench.first.write_sync(take_place, grant)

    def late(conn: Any) -> None:
        us = round((interval_s + late_s) * 1_000_000)
        conn.execute("UPDATE upstream_pace SET due_us = due_us - :us", {"us": us})

    bench.first.write_sync(late)
    assert bench.second.write_sync(take_place, grant) is None
    full = bench.first.write_sync(take_place, grant)
    assert full is not None
    assert interval_s - 6.0 < full.after_s <= interval_s - less_s


def test_a_pace_that_is_far_ahead_makes_nobody_wait_for_longer_than_one_call(bench: Bench) -> None:
    """A database's clock that was put back by an hour."""
    grant = Grant(upstream="google", key_number=1, per_minute=60)
    bench.first.write_sync(take_place, grant)

    def ahead(conn: Any) -> None:
        conn.execute("UPDATE upstream_pace SET due_us = due_us + 3600000000", {})

    bench.first.write_sync(ahead)
    full = bench.second.write_sync(take_place, grant)
    assert full is not None
    assert full.after_s <= MINUTE_S / 60


def test_a_days_calls_are_counted_for_all_together_and_anew_each_day(bench: Bench) -> None:
    """The third of two is told how long the day lasts; what was sent yesterday does not count."""
    grant = Grant(upstream="google", key_number=1, per_day=2)
    assert bench.first.write_sync(take_place, grant) is None
    assert bench.second.write_sync(take_place, grant) is None
    full = bench.first.write_sync(take_place, grant)
    assert full is not None
    assert 0.0 < full.after_s <= 86_400.0

    def yesterday(conn: Any) -> None:
        conn.execute("UPDATE upstream_pace SET day = '2020-01-01'", {})

    bench.first.write_sync(yesterday)
    assert bench.second.write_sync(take_place, grant) is None


def test_what_has_no_limit_is_not_counted(bench: Bench) -> None:
    """And says so, for whoever would ask."""
    nothing = Grant(upstream="google", key_number=1)
    assert not nothing.is_limited
    assert GRANT.is_limited
    assert [bench.first.write_sync(take_place, nothing) for _ in range(3)] == [None] * 3
