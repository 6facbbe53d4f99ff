"""Which points a run kills at: the core always, the others drawn by the commit, all of them on demand."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def points(load_beside: Any) -> Any:
    """`points.py`."""
    return load_beside("points")


def test_the_core_is_always_there_and_twenty_others(points: Any) -> None:
    """And nothing twice."""
    drawn = points.rotated(points.points(), "a commit")
    assert set(points.CORE) <= set(drawn)
    assert len(drawn) == len(set(drawn)) == len(points.CORE) + 20


def test_a_seed_draws_the_same_on_every_machine(points: Any) -> None:
    """Whoever repeats a run kills at what it killed at."""
    named = [f"area.point_{number}" for number in range(40)]
    drawn = [name for name in points.rotated(named, "c0ffee", 3) if name not in points.CORE]
    assert drawn == ["area.point_24", "area.point_3", "area.point_6"]
    assert points.rotated(named, "c0ffee") == points.rotated(list(named), "c0ffee")


def test_over_the_commits_every_point_has_its_turn(points: Any) -> None:
    """Forty of them leave none out."""
    named = points.points()
    drawn = {name for commit in range(40) for name in points.rotated(named, f"{commit:040x}")}
    assert drawn == set(named)


def test_a_seed_that_is_given_wins_over_the_commit(points: Any) -> None:
    """Else it is HEAD."""
    assert points.seed_of({points.SEED: "mine"}) == "mine"
    if shutil.which("git") is not None and (points.ROOT / ".git").exists():
        assert len(points.seed_of({})) == 40


def test_without_git_the_source_itself_draws(points: Any, tmp_path: Path) -> None:
    """A source archive has no commit; the same source draws the same."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.py").write_text("one = 1\n")
    before = points.seed_of({}, tmp_path)
    assert before == points.seed_of({}, tmp_path)
    (tmp_path / "src" / "a.py").write_text("one = 2\n")
    assert points.seed_of({}, tmp_path) != before


def test_all_points_are_taken_on_demand(points: Any) -> None:
    """As `scripts/crash-matrix` does."""
    assert points.chosen({points.ALL: "1"}) == points.points()
    assert len(points.chosen({points.SEED: "x"})) < len(points.points())


def test_every_point_of_the_core_is_one_of_the_source(points: Any) -> None:
    """A name that is spelled anew must not fall out unseen."""
    assert set(points.CORE) <= set(points.points())
