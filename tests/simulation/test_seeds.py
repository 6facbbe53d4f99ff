"""A thousand seeds: every invariant holds, every point and every class of faults comes often enough; and it replays."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from simulation.coverage import FULL_RUN, Tally, gaps
from simulation.plan import CLASSES, FIRES_MIN, NOT_HERE, POINT_FIRES_MIN, POINTS_NOT_HERE, plan_for, points
from simulation.run import failure, main, run_on_all_cores, run_range
from simulation.world import LIMITS, run_seed

ROOT = Path(__file__).resolve().parents[2]
SEEDS = 1000
REPLAYED = (0, 7, 58, 127, 211, 392)
POINTS_MIN = 60
UNTIL_S = 1500
"""It gives way to every suite that runs beside it."""


@pytest.fixture(scope="module")
def tally() -> Tally:
    """The figures of all seeds."""
    total = Tally()
    for each in run_on_all_cores(0, SEEDS):
        total.add(each)
    return total


@pytest.mark.timeout(UNTIL_S)
def test_every_invariant_holds_in_every_seed(tally: Tally) -> None:
    """Nothing lost, nothing paid twice, whatever happens in an hour."""
    told = "\n".join(failure(seed, violations) for seed, violations in sorted(tally.failed.items()))
    assert not tally.failed, told
    assert tally.seeds == SEEDS


@pytest.mark.timeout(UNTIL_S)
def test_every_point_and_every_class_of_faults_comes_often_enough(tally: Tally) -> None:
    """A simulation in which nothing happens proves nothing."""
    assert gaps(tally) == []


@pytest.mark.timeout(UNTIL_S)
def test_the_same_seed_gives_the_same_history_to_the_byte(tmp_path: Path) -> None:
    """In this process, again in it, and in another with another hash seed."""
    for seed in REPLAYED:
        first, second = (run_seed(seed, tmp_path / name).history.text() for name in ("first", "second"))
        assert first == second, f"seed {seed}"
    digest = run_seed(REPLAYED[0], tmp_path / "third").history.digest()
    command = (sys.executable, str(ROOT / "scripts" / "simulation"), "--seed", str(REPLAYED[0]))
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, env={"PATH": "", "PYTHONHASHSEED": hash_seed}
        )
        assert digest[:16] in done.stdout


def test_other_seeds_are_other_histories(tmp_path: Path) -> None:
    """Each seed is an hour of its own."""
    assert len({run_seed(seed, tmp_path).history.digest() for seed in range(6)}) == 6


def test_a_run_that_does_too_little_is_told() -> None:
    """By point, by class and by seed; a short run is asked for its share."""
    full = Tally(
        seeds=FULL_RUN,
        fired=Counter(dict.fromkeys(points(), POINT_FIRES_MIN)),
        faults=Counter(dict.fromkeys(CLASSES, FIRES_MIN)),
    )
    assert gaps(full) == []
    full.fired[points()[3]] -= 1
    full.faults[CLASSES[5]] -= 1
    full.thin.append(17)
    told = "\n".join(gaps(full))
    assert points()[3] in told
    assert CLASSES[5] in told
    assert "seed 17" in told
    assert gaps(Tally(seeds=10)) == []
    assert len(gaps(Tally(seeds=FULL_RUN // 2))) == len(points()) + len(CLASSES)


def test_every_named_point_of_the_source_is_killed_at_or_explained() -> None:
    """And there are as many as the design asks for."""
    assert len(points()) + len(POINTS_NOT_HERE) >= POINTS_MIN
    planned = {each.name for seed in range(len(points())) for each in plan_for(seed, random.Random(seed)).at_points}
    assert planned >= set(points())
    assert all(len(reason) > 10 for reason in (*NOT_HERE.values(), *POINTS_NOT_HERE.values()))


def test_a_failing_seed_is_printed_with_its_history_and_how_to_see_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Plant a failure: a checker that wants images kept for longer than the settings say."""
    monkeypatch.setattr(
        "simulation.world.LIMITS",
        replace(LIMITS, keep_after_collect_s=9000.0, keep_after_finish_s=9000.0, retention_s_max=9000.0),
    )
    tally = run_range(0, 3, stop_at_failure=True)
    assert tally.failed
    seed, violations = next(iter(tally.failed.items()))
    assert f"scripts/simulation --seed {seed}" in failure(seed, violations)
    assert main(["--seed", str(seed)]) == 1
    printed = capsys.readouterr().out
    assert "SendCommitted" in printed
    assert violations[0] in printed
    assert tally.seeds <= 3


def test_a_seed_that_holds_says_what_it_saw(capsys: pytest.CaptureFixture[str]) -> None:
    """In one line."""
    assert main(["--seed", "1"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("seed 1: ")
    assert "0 violations" in line


def test_the_patches_of_the_mutants_still_apply() -> None:
    """A planted bug that no longer fits the sources is planted no more."""
    patches = sorted((ROOT / "tests" / "mutants").glob("*.patch"))
    assert len(patches) >= 5
    for patch in patches:
        done = subprocess.run(
            ("git", "apply", "--check", str(patch)), cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{patch.name}: {done.stderr}"
