"""What is promised of repeats, restarts and waiting: each figure meets its own bar, or does not."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

GOOD: dict[str, dict[str, Any]] = {
    "repeats": {"held": 1000, "join_p99_ms": 9.0, "replay_p99_ms": 19.9, "status_p99_ms": 4.0},
    "restart": {"accepted": 5000, "serving_s": 1.9, "taken_up_s": 9.9},
    "waiting": {"waiting": 5000, "bytes_each": 5_500.0},
}
NAMES = (
    "joining, 200 a second beside 1,000 held: p99",
    "replay, 200 a second beside 1,000 held: p99",
    "status, 200 a second beside 1,000 held: p99",
    "killed with 5,000 open: serving again",
    "killed with 5,000 open: all taken up",
    "5,000 waiting: engine's share each",
)


def results(**changed: dict[str, Any]) -> dict[str, Any]:
    """One round of each, in which all is well unless told otherwise."""
    return {scenario: {"holdfast": [{**row, **changed.get(scenario, {})}]} for scenario, row in GOOD.items()}


def verdicts(bars: ModuleType, given: dict[str, Any]) -> dict[str, str]:
    """Read the verdicts on these scenarios."""
    return {bar.name: bar.verdict for bar in bars.all_bars(given) if bar.name in NAMES}


def test_each_of_them_has_a_bar_and_meets_it(bars: ModuleType) -> None:
    """Six, none forgotten."""
    assert verdicts(bars, results()) == dict.fromkeys(NAMES, "met")


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"repeats": {"join_p99_ms": 20.1}}, NAMES[0]),
        ({"repeats": {"replay_p99_ms": 440.0}}, NAMES[1]),
        ({"repeats": {"status_p99_ms": 21.0}}, NAMES[2]),
        ({"restart": {"serving_s": 2.1}}, NAMES[3]),
        ({"restart": {"taken_up_s": 10.1}}, NAMES[4]),
        ({"waiting": {"bytes_each": 10_001.0}}, NAMES[5]),
    ],
)
def test_a_figure_beyond_its_limit_is_told(bars: ModuleType, changed: dict[str, Any], name: str) -> None:
    """And spoils no other."""
    assert [each for each, verdict in verdicts(bars, results(**changed)).items() if verdict != "met"] == [name]


def test_what_was_not_measured_is_not_met(bars: ModuleType) -> None:
    """No figure is no verdict."""
    assert set(verdicts(bars, {}).values()) == {"no figure"}


def test_tables_name_their_figures_with_units(bars: ModuleType) -> None:
    """Kilobytes for bytes, and a line for the one subject."""
    assert "KB each" in bars.scenario_table(results(), "waiting", {})
    assert "| holdfast | 5,000 | - | 5.5 | - |" in bars.scenario_table(results(), "waiting", {})
    assert "join p99 ms" in bars.scenario_table(results(), "repeats", {})
    assert "| holdfast | 5,000 | - | 1.9 | 9.9 |" in bars.scenario_table(results(), "restart", {})
