"""What the crash tests share: a street of data folders whose gateways die, one upstream, and somebody who is told.

Tests are no package, so that nothing imports them by accident; what is shared is loaded from its file.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import AsyncIterator, Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).parent


@cache
def load(name: str) -> ModuleType:
    """Load a module that lies beside this one, once."""
    spec = importlib.util.spec_from_file_location(f"holdfast_crash_{name}", HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each test the points that this run kills at: all of them by area, or those that were drawn at one go."""
    points = load("points")
    named = points.chosen()
    own = {
        "area": [name for name in named if points.area_of(name) not in ("recovery", "sweeper")],
        "area_of_start": [name for name in named if points.area_of(name) in points.PASSED_BY_STARTS],
    }
    for argument, beside in (("area", "points"), ("area_of_start", "points_of_start")):
        if argument in metafunc.fixturenames:
            batches = points.by_area(own[argument]) if os.environ.get(points.ALL) else {"drawn": own[argument]}
            metafunc.parametrize((argument, beside), list(batches.items()), ids=list(batches))
    if "shared_points" in metafunc.fixturenames:
        shared = [name for name in points.chosen_on_postgres() if points.area_of(name) != "sweeper"]
        batches = points.by_area(shared) if os.environ.get(points.ALL) else {"drawn": shared}
        metafunc.parametrize("shared_points", list(batches.values()), ids=list(batches))
    if "shared_sweeper_point" in metafunc.fixturenames:
        swept = [name for name in points.chosen_on_postgres() if points.area_of(name) == "sweeper"]
        metafunc.parametrize("shared_sweeper_point", [*swept, *metafunc.module.COMMITS])
    if "sweeper_point" in metafunc.fixturenames:
        swept = [name for name in named if points.area_of(name) == "sweeper"]
        metafunc.parametrize("sweeper_point", [*swept, *metafunc.module.COMMITS])


def pytest_report_header() -> str:
    """Say what the points of this run were drawn by, so that it can be had again."""
    points = load("points")
    named = points.chosen()
    if os.environ.get(points.ALL):
        return f"crash points: all {len(named)}"
    return f"crash points: {len(named)} of {len(points.points())}, {points.SEED}={points.seed_of(os.environ)}"


@pytest.fixture(scope="session")
def rows() -> Any:
    """Where the outcome of each case is written."""
    return load("rows").Rows(os.environ.get(load("rows").RESULTS))


@pytest.fixture(scope="session")
def load_beside() -> Callable[[str], ModuleType]:
    """For tests of what the tests share."""
    return load


@pytest.fixture(scope="session")
def mounts() -> ModuleType:
    """Disks that fill, and disks that take nothing."""
    return load("mounts")


@pytest.fixture
async def street(tmp_path: Path) -> AsyncIterator[Any]:
    """Houses that are cleared when the test ends."""
    upstream = load("upstream").Upstream()
    await upstream.start()
    receiver = load("houses").Receiver()
    await receiver.start()
    made = load("houses").Street(tmp_path, upstream, receiver)
    yield made
    for house in made.houses:
        await house.close()
    await upstream.close()
    await receiver.close()
    deaths, starts = sum(each.deaths for each in made.houses), sum(each.starts for each in made.houses)
    print(f"{len(made.houses)} houses, {starts} starts, {deaths} kills, {upstream.sends.total()} calls charged")
