"""When a worker may be taken for dead."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from holdfast.store.postgres.deaths import NEVER, SLACK_S, Deaths

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)


def after(seconds: float) -> datetime:
    """The database's clock."""
    return NOON + timedelta(seconds=seconds)


def test_the_first_question_only_reads_the_clock() -> None:
    """Whoever has never heard the database does not know what it has been through."""
    deaths = Deaths(10.0, 1.5)
    assert deaths.is_due(0.0)
    assert deaths.valid_until(0.0) == NEVER
    deaths.answered(NOON, asked_at=0.0, now=0.01)
    assert not deaths.is_due(1.5)
    assert deaths.is_due(1.51)
    assert deaths.valid_until(1.51) == after(1.5 + SLACK_S)


def test_after_an_outage_nobody_is_dead_for_a_lease() -> None:
    """By then whoever lives has shown it."""
    deaths = Deaths(10.0, 1.5)
    deaths.answered(NOON, asked_at=0.0, now=0.0)
    deaths.failed(5.0)
    deaths.answered(after(6.0), asked_at=6.0, now=6.0)
    assert deaths.valid_until(14.9) == NEVER
    assert deaths.valid_until(15.0) == after(15.0 + SLACK_S)


@given(st.floats(min_value=0.0, max_value=100.0))
def test_an_answer_that_takes_long_is_an_outage(took_s: float) -> None:
    """The database stood still, or the network did."""
    deaths = Deaths(10.0, 1.5)
    deaths.answered(NOON, asked_at=0.0, now=took_s)
    assert (deaths.valid_until(took_s) == NEVER) is (took_s > SLACK_S)
    assert deaths.valid_until(took_s + 10.0) == after(10.0 + SLACK_S)
