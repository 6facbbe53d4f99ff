"""kill -9 at named points of gateways whose rows are in a PostgreSQL: the promises are the same.

What a process that died worked on is taken up by the next one when its lease has run out, not by a start: every case
waits for that. Which points is drawn by the commit, see `points.py`; `scripts/crash-matrix --database postgres` takes
all of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

AT_ONCE = 6
"""Houses that live at a time: most of it waits for a lease."""
CASE_S = 300.0
COMMITS = [f"store.{side}_commit:kill:1" for side in ("before", "after")]


@dataclass(frozen=True, slots=True)
class Database:
    """Where the rows of a house are."""

    server: Any
    dsn: str


@pytest.fixture
def database_for(postgres_server: Any) -> Callable[[int], Database]:
    """Give the nth house of a test its database."""
    return lambda number: Database(postgres_server, postgres_server.emptied(f"crash_{os.getpid()}_{number}"))


@pytest.mark.timeout(1500)
async def test_a_kill_at_any_point_loses_nothing(
    street: Any,
    shared_points: list[str],
    rows: Any,
    database_for: Callable[[int], Database],
    load_beside: Callable[[str], ModuleType],
) -> None:
    """Every accepted generation ends, charges and record agree, the books balance, and the gateway serves on."""
    beside = load_beside("test_crash_points")

    def house_for(name: str) -> Any:
        house = street.house(name)
        house.database = database_for(len(street.houses))
        return house

    async def case(spec: str) -> None:
        house = house_for(spec.replace(":", "-"))
        with rows.of(spec, "call", house) as row:
            row.was_passed = await beside.kill_in_life(house, spec)
        if row.was_passed:
            return
        # Whether two attempts are in flight together is a matter of moments: those are given a second chance.
        stage, again = (
            ("call", beside.kill_in_life) if spec.startswith("second.") else ("start", beside.kill_in_recovery)
        )
        house = house_for(f"{spec.replace(':', '-')}-again")
        with rows.of(spec, stage, house) as row:
            row.was_passed = await again(house, spec)
            assert row.was_passed, f"{spec}: no call and no start passes this point"

    cases = [case(spec) for spec in beside.specs(shared_points, (1,))]
    await beside.together(cases, at_once=AT_ONCE, within_s=CASE_S)


async def test_a_kill_of_the_sweeper_is_made_good_by_the_next_run(
    tmp_path: Path,
    shared_sweeper_point: str,
    rows: Any,
    postgres_dsn: str,
    load_beside: Callable[[str], ModuleType],
) -> None:
    """Between any two steps, and on either side of its first commit."""
    beside = load_beside("test_crash_sweeper")
    root = tmp_path / "data"
    root.with_suffix(".dsn").write_text(postgres_dsn)
    beside.fill(root)
    spec = shared_sweeper_point if ":" in shared_sweeper_point else f"{shared_sweeper_point}:kill:1"
    with rows.of(spec, "sweep", None) as row:
        beside.killed(root, spec)
        row.was_passed = True
        beside.check_promises(root)
        await beside.sweep(root)
        beside.check_swept(root)
