"""The hour of all replicas, whatever the wall clocks of their machines show."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from holdfast.clock import ulid_moment
from holdfast.store.postgres.hour import EXACT_S, SharedClock

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)


class Machine:
    """A machine whose wall clock is an hour ahead."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.wall = NOON + timedelta(hours=1)

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return self.wall

    def random(self) -> float:
        return 0.25

    def token(self, bytes_: int) -> bytes:
        return bytes(bytes_)

    def new_id(self, prefix: str) -> str:
        raise AssertionError("it would tell another hour")


def test_before_the_database_was_heard_it_is_the_machines_own() -> None:
    """Nothing else is known."""
    machine = Machine()
    assert SharedClock(machine).now() == machine.wall


def test_it_goes_on_by_the_monotonic_clock() -> None:
    """A wall clock that is set moves nothing; ids tell the same hour."""
    machine = Machine()
    clock = SharedClock(machine)
    machine.seconds += 0.5
    clock.heard(NOON, asked_at=1000.0)
    machine.wall -= timedelta(hours=5)
    machine.seconds += 10.0
    assert clock.now() == NOON + timedelta(seconds=10.25)
    assert ulid_moment(clock.new_id("gen")) == NOON + timedelta(seconds=10.25)
    assert (clock.monotonic(), clock.random(), clock.token(3)) == (1010.5, 0.25, bytes(3))


def test_an_answer_that_took_long_does_not_tell_the_hour() -> None:
    """Unless nothing better is known."""
    machine = Machine()
    clock = SharedClock(machine)
    machine.seconds += 9.0
    clock.heard(NOON, asked_at=1000.0)
    assert clock.now() == NOON + timedelta(seconds=4.5)
    machine.seconds += EXACT_S + 0.1
    clock.heard(NOON + timedelta(hours=2), asked_at=1009.0)
    assert clock.now() < NOON + timedelta(hours=1)
    clock.heard(NOON + timedelta(hours=2), asked_at=machine.seconds)
    assert clock.now() == NOON + timedelta(hours=2)
