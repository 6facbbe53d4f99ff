"""What is told of a run of chaos: every figure, every invariant by name, and what is broken first of all."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

TRACE = """Traceback (most recent call last):
  File "x.py", line 1, in <module>
    raise ValueError(
ValueError: bad
"""


def record_of(checks: ModuleType, **broken: list[str]) -> dict[str, Any]:
    """Make a run's record."""
    found = {name: broken.get(name, []) for name in checks.TITLES}
    fault = {"kind": "partition", "peer": "database", "from_s": 10.0, "to_s": 22.0}
    return {
        "at": "2026-11-28T14:00:00+00:00",
        "command": "python lab/chaos/run.py --seed 7",
        "machine": {"commit": "abc1234", "is_modified": False, "cores": 2, "cpu": "AMD", "python": "3.11"},
        "options": {"in_flight": 300, "speed": 1.0, "seed": 7, "concurrency": 90},
        "seconds": 1800.0,
        "faults": [fault, fault],
        "starts": [{"ready_s": 2.0}, {"ready_s": None}, {"ready_s": 4.0}],
        "samples": [{"open": 290}, {"open": None}, {"open": 300}],
        "cpu_s": {"cluster": 500.0},
        "broken": found,
        "broken_count": {name: len(each) for name, each in found.items()},
        "not_seen": dict(checks.NOT_SEEN),
        "figures": {
            "generations": 10_000,
            "states": {"succeeded": 9_990, "failed": 10},
            "attempts": 10_400,
            "charged": 10_020,
            "images": 9_990,
            "paid_twice_allowed": 4,
            "unknown": 30,
            "unknown_charged": 22,
            "unexplained": ["att_1 of gen_1, sent by work-1"] if broken else [],
            "unknown_by_cause": {"kill": 30},
            "takeovers_s": [9.5, 12.5],
            "open_at_once": {"sync 1": 90},
            "ends": {"sdk: image": 2_000},
        },
    }


def test_all_of_it_is_told(chaos_report: ModuleType, chaos_checks: ModuleType) -> None:
    """Figures with their digits, faults by what they were, invariants one by one."""
    text = chaos_report.of(record_of(chaos_checks))
    for line in (
        "| partition database | 2 | 24 |",
        "| generations accepted | 10,000 |",
        "| in flight, median of those seen | 295 |",
        "| lost (I3) | 0 |",
        "| paid twice, allowed after an unknown outcome | 4 |",
        "| unknown by kill | 30 |",
        "| taken over after kill -9, median and longest, s | 11.0, 12.5 (2 kills) |",
        "| CPU of the cluster for a generation, ms | 50 |",
    ):
        assert line in text
    assert [f"| I{number} |" in text for number in range(1, 21)] == [True] * 20
    assert "not seen here" in text


def test_what_is_broken_is_told(chaos_report: ModuleType, chaos_checks: ModuleType) -> None:
    """With its words, and so is a call that no fault explains."""
    text = chaos_report.of(record_of(chaos_checks, I2=["gen_1 was charged 3 times"]))
    assert "- I2: gen_1 was charged 3 times" in text
    assert "- without a cause: att_1" in text


def test_a_result_takes_the_place_of_the_one_before(chaos_report: ModuleType, chaos_checks: ModuleType) -> None:
    """And nothing else of the page."""
    page = "# Chaos\n\n## Result\n\nFORMER\n\n## Limits\n\n- one\n"
    made = chaos_report.with_result(page, record_of(chaos_checks))
    assert made.startswith("# Chaos\n\n## Result\n\n![")
    assert made.endswith("## Limits\n\n- one\n")
    assert "FORMER" not in made
    assert chaos_report.with_result(made, record_of(chaos_checks)) == made


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"event": "attempt.sent"}\n', []),
        (TRACE, ["ValueError: bad"]),
        (f"Task exception was never retrieved\n{TRACE}\nmore\n{TRACE}", ["ValueError: bad"] * 2),
        (f"Exception in ASGI application\n{TRACE}", []),
    ],
)
def test_tracebacks_are_found_in_a_log(chaos_evidence: ModuleType, text: str, found: list[str]) -> None:
    """But for those of calls that were cut at the end of a drain."""
    assert chaos_evidence.complaints_in(text) == found
