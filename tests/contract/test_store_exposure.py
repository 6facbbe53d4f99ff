"""What may be bought a second time a day: reserved under a cap, in the commit that decides."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.store.exposure import Cap, expose, exposed_on, spent_since

AT, NEXT = "2026-01-17T12:00:00.000Z", "2026-01-18T00:00:00.000Z"


@pytest.fixture
def conn(database: Any) -> Any:
    """An empty database of each engine."""
    return database.conn()


def test_as_many_go_on_as_fit_under_the_cap(conn: Any) -> None:
    """And what does not fit changes nothing."""
    cap = Cap(model="m", micros=10)
    assert [expose(conn, cap, at=AT, micros=4) for _ in range(4)] == [True, True, False, False]
    assert exposed_on(conn, AT[:10], "m") == 8
    assert expose(conn, cap, at=AT, micros=2)
    assert not expose(conn, cap, at=AT, micros=1)


def test_each_model_and_each_day_has_its_own(conn: Any) -> None:
    """One model's outage leaves the others theirs, and midnight ends it."""
    assert expose(conn, Cap(model="m", micros=5), at=AT, micros=5)
    assert expose(conn, Cap(model="other", micros=5), at=AT, micros=5)
    assert not expose(conn, Cap(model="m", micros=5), at=AT, micros=5)
    assert expose(conn, Cap(model="m", micros=5), at=NEXT, micros=5)
    assert (exposed_on(conn, AT[:10], "m"), exposed_on(conn, NEXT[:10], "m")) == (5, 5)
    assert exposed_on(conn, "2026-01-19", "m") == 0


def test_a_cap_of_nothing_lets_nothing_pass(conn: Any) -> None:
    """Not even the first one."""
    assert not expose(conn, Cap(model="m", micros=0), at=AT, micros=1)


def test_nothing_was_spent_where_nothing_was_asked_for(conn: Any) -> None:
    """A new gateway."""
    assert spent_since(conn, "m", "gen_00000000000000000000000000") == 0
