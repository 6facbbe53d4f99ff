"""The named points at which crash tests kill the process: all of them, read from the source."""

from __future__ import annotations

import ast
import asyncio
import time
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from holdfast import faults

SOURCE = Path(faults.__file__).parent
POINTS_MIN = 90
AREAS = {
    "accept": ({"accept", "enter"}, 8),
    "send": ({"send", "handle", "retry", "second"}, 23),
    "receive": ({"receive", "spool"}, 8),
    "settle": ({"settle", "blob", "ending"}, 14),
    "recovery": ({"recovery"}, 12),
    "erase": ({"erase"}, 4),
    "objects": ({"bucket", "mover", "overflow"}, 11),
    "others": ({"adoption", "departure"}, 4),
    "webhook and sweeper": ({"webhook", "sweeper"}, 8),
    "everything else": ({"cancel", "store", "unwatched", "latency"}, 14),
}
"""What stands before the dot in the names of an area, and how many points it has at least."""
COMMITS = {
    "accept": {"before_commit", "before_rows", "after_rows", "after_commit"},
    "send": {"before_commit", "before_rows", "after_rows", "after_commit"},
    "settle": {"before_commit", "before_rows", "after_rows", "after_commit"},
    "ending": {"before_commit", "after_commit"},
    "webhook": {"before_commit", "before_rows", "after_rows", "after_commit"},
    "cancel": {"before_commit", "before_rows", "after_rows", "after_commit"},
    "unwatched": {"before_commit", "before_rows", "after_rows", "after_commit"},
    "handle": {"before_commit", "before_rows", "after_rows", "after_commit"},
    "erase": {"before_commit", "before_rows", "after_rows", "after_commit"},
    "latency": {"before_commit", "before_rows", "after_rows", "after_commit"},
}
"""Both sides of every commit, and of its rows where it has a function of its own."""


@cache
def calls() -> list[tuple[str, ast.Call, bool]]:
    """Every call of a point in the source: its file, the call, and whether it is awaited."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        text = path.read_text("utf-8")
        # Most files have none, and need not be parsed.
        if path.name == "faults.py" or "faults.point" not in text:
            continue
        tree = ast.parse(text)
        awaited = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Await)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("faults.point", "faults.point_sync"):
                found.append((path.name, node, id(node) in awaited))
    return found


def names() -> list[str]:
    """The name of each point."""
    found = []
    for file, call, _ in calls():
        (argument,) = call.args
        assert isinstance(argument, ast.Constant), (
            f"{file}:{call.lineno}: a name is a literal, so that it can be listed"
        )
        found.append(str(argument.value))
    return found


def test_every_point_has_a_name_of_its_own() -> None:
    """A name that stands twice would be tried in one of its places only."""
    assert [name for name, count in Counter(names()).items() if count > 1] == []


def test_there_are_points_enough() -> None:
    """Crash tests are as good as the places they crash at."""
    assert len(names()) >= POINTS_MIN


@pytest.mark.parametrize("area", sorted(AREAS))
def test_each_area_has_points_enough(area: str) -> None:
    """Sixty points in one place would leave the others untried."""
    words, least = AREAS[area]
    assert len([name for name in names() if name.partition(".")[0] in words]) >= least


def test_each_point_belongs_to_one_area() -> None:
    """A new word is counted somewhere, and none twice."""
    listed = sorted(word for words, _ in AREAS.values() for word in words)
    assert listed == sorted({name.partition(".")[0] for name in names()})


def test_names_say_where_and_when() -> None:
    """`settle.before_commit`: one area and one moment, in words that a command line takes."""
    assert [name for name in names() if not name.replace("_", "").replace(".", "", 1).islower()] == []
    assert [name for name in names() if name.count(".") != 1] == []


@pytest.mark.parametrize("area", sorted(COMMITS))
def test_both_sides_of_every_commit_have_a_point(area: str) -> None:
    """What counts is what a process leaves just before and just after it commits."""
    there = {name.partition(".")[2] for name in names() if name.startswith(f"{area}.")}
    assert COMMITS[area] - there == set()


def test_a_point_on_the_loop_is_awaited_and_one_in_a_thread_is_not() -> None:
    """`point` forgotten without `await` would never fire."""
    wrong = [
        f"{file}:{call.lineno}"
        for file, call, is_awaited in calls()
        if is_awaited != (ast.unparse(call.func) == "faults.point")
    ]
    assert wrong == []


async def test_a_point_that_is_not_armed_costs_next_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It neither sleeps nor yields to the loop: a call that passes forty of them is not slower for it."""

    async def forbidden(_: float) -> None:
        raise AssertionError("a point that is not armed must not sleep")

    monkeypatch.setattr(faults, "_armed", {})
    monkeypatch.setattr(asyncio, "sleep", forbidden)
    monkeypatch.setattr(time, "sleep", forbidden)
    turns = 0

    def turn() -> None:
        nonlocal turns
        turns += 1

    asyncio.get_running_loop().call_soon(turn)
    for name in names():
        await faults.point(name)
        faults.point_sync(name)
    assert turns == 0
