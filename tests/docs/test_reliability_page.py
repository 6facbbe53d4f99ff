"""`docs/reliability.md` says what was measured, of every point that the source has."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """`scripts/crash-matrix`, imported."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    loader = importlib.machinery.SourceFileLoader("crash_matrix", str(ROOT / "scripts" / "crash-matrix"))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_page_results_and_source_agree(script: ModuleType) -> None:
    """A new point is killed at before it is told of, and every case that is told of went well."""
    assert script.problems() == []


def test_the_page_tells_no_more_than_was_measured(script: ModuleType) -> None:
    """`0 lost, 0 double` stands there because the cases say so."""
    results = json.loads(script.RESULTS.read_text("utf-8"))
    text = script.PAGE.read_text("utf-8")
    lost, double = (sum(case.get(name, 0) for case in results["cases"]) for name in ("lost", "double"))
    assert f"{lost} paid images lost, {double} calls charged twice" in text
    assert (lost, double) == (0, 0)
    for case in results["cases"]:
        if case["stage"] != "sweep":
            assert case["ledger"]["sum"] == 0
            assert case["ledger"]["held"] == 0


def test_a_table_is_rendered_from_the_cases_alone(script: ModuleType) -> None:
    """One row for a point and a place of death; a loss would stand there as well."""
    case = {"point": "a.b", "nth": 1, "stage": "call", "died": True, "pass": True, "kills": 1, "charges": 3}
    more = {"states": {"succeeded": 2, "failed": 2}, "told": {"outcome_unknown": 1, "overloaded": 1}}
    cases = [
        {**case, **more, "lost": 0, "double": 0},
        {**case, **more, "nth": 2, "lost": 1, "double": 0, "pass": False},
        {**case, "nth": 3, "died": False},
        {"point": "sweeper.x", "nth": 1, "stage": "sweep", "died": True, "pass": True, "kills": 1},
    ]
    first, _, *rows = script.table({"cases": cases}).splitlines()
    assert first == (
        "2 points, 3 cases, 4 kills, 9 charged calls: 1 paid images lost, 0 calls charged twice, 1 cases failed."
    )
    assert rows[2:] == [
        "| `a.b` | a call | 2 | 4 | 2 | 2 | 6 | 1 | 0 |",
        "| `sweeper.x` | the sweeper | 1 | - | - | - | - | - | - |",
    ]


def test_the_table_stands_between_its_marks(script: ModuleType) -> None:
    """What people wrote around it stays."""
    text = f"before\n{script.BEGIN}\nyesterday\n{script.END}\nafter\n"
    written = script.page(text, {"cases": []})
    assert written.startswith("before\n")
    assert written.endswith(f"{script.END}\nafter\n")
    assert "yesterday" not in written
    assert script.page(written, {"cases": []}) == written
