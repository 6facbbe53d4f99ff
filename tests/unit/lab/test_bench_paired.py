"""Two states of the sources side by side: asked in turn, the first round forgotten, no image asked for twice."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import ModuleType

import pytest


class Counting:
    """A side whose calls take a known CPU time, the first ones more."""

    def __init__(self, ms: float, log: list[Counting]) -> None:
        self.ms, self.serials = ms, list[int]()
        self._log = log

    def cpu_ms(self, serials: range, picture: str) -> float:
        """Note who was asked for what."""
        assert picture == "tiny"
        first = not self.serials
        self.serials += serials
        self._log.append(self)
        return 100.0 if first else self.ms


def test_both_are_asked_in_turn_and_the_warm_up_does_not_count(
    paired: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    """Beginning with another one each time; what they share with the machine then falls on both."""
    log: list[Counting] = []
    before, after = Counting(4.0, log), Counting(5.0, log)
    told = paired.measured(before, after, picture="tiny", calls=10, rounds=3)
    assert told == [(4.0, 5.0)] * 3
    assert log == [after, before, before, after, after, before, before, after]
    assert capsys.readouterr().out.count("1.250") == 3


def test_no_image_is_asked_for_twice(paired: ModuleType) -> None:
    """A repeat would join what it repeats, and measure nothing."""
    log: list[Counting] = []
    before, after = Counting(4.0, log), Counting(5.0, log)
    paired.measured(before, after, picture="tiny", calls=7, rounds=4)
    serials = [*before.serials, *after.serials]
    assert len(set(serials)) == len(serials) == 2 * 7 * 5


def test_each_side_runs_its_own_sources(paired: ModuleType, tmp_path: Path) -> None:
    """With the packages of the interpreter that measures."""
    sources = tmp_path / "checkout"
    (sources / "src" / "holdfast" / "cli").mkdir(parents=True)
    for name in ("__init__.py", "cli/__init__.py"):
        (sources / "src" / "holdfast" / name).touch()
    (sources / "src" / "holdfast" / "cli" / "main.py").write_text("import sys; print(__file__, sys.argv[1:])", "utf-8")
    program = paired.program_of(sources, tmp_path)
    environ = {**os.environ, "PYTHONPATH": "nowhere"}
    done = subprocess.run([program, "serve", "a b"], capture_output=True, text=True, check=True, env=environ)
    assert done.stdout == f"{sources}/src/holdfast/cli/main.py ['serve', 'a b']\n"
