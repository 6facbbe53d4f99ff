"""A reason explains what it is meant for, and nothing else: what no rule knows stays a puzzle."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest


def reason_for(
    modules: tuple[ModuleType, ModuleType, ModuleType],
    *wrong: str,
    cell: tuple[Any, ...],
    exception: str | None = None,
    status: int | None = None,
) -> str | None:
    """Name the reason of a red cell."""
    cells, judging, reasons = modules
    front, client, scenario, *rest = cell
    found = reasons.reason_of(
        cells.Cell(front, client, cells.Scenario(scenario), *rest),
        judging.Shown(exception=exception, status=status),
        judging.Verdict(is_green=False, told="", wrong=wrong),
    )
    return None if found is None else str(found.name)


@pytest.fixture
def all_three(cells: ModuleType, judging: ModuleType, reasons: ModuleType) -> tuple[ModuleType, ModuleType, ModuleType]:
    """Give the modules that every test needs."""
    return cells, judging, reasons


def test_a_loop_behind_varnish_can_buy_twice(all_three: tuple[ModuleType, ModuleType, ModuleType]) -> None:
    """No SDK that says that it repeats, no other front, and nothing else that went wrong."""
    name = "caller-seems-alive"
    assert reason_for(all_three, "charged again", cell=("varnish", "curl", "repeat")) == name
    assert reason_for(all_three, "charged again", cell=("varnish", "openai", "repeat")) is None
    assert reason_for(all_three, "charged again", cell=("varnish-piped", "curl", "repeat")) is None
    assert reason_for(all_three, "charged again", cell=("varnish", "curl", "success")) is None
    assert reason_for(all_three, "no image", "charged again", cell=("varnish", "curl", "repeat")) is None


def test_an_idle_limit_is_a_reason_without_holdfast_only(
    all_three: tuple[ModuleType, ModuleType, ModuleType],
) -> None:
    """Holding against it is what holdfast is for."""
    cell = ("nginx", "curl", "success")
    assert reason_for(all_three, "no image", cell=(*cell, True), exception="no JSON", status=504) == "idle-limit"
    assert reason_for(all_three, "no image", cell=(*cell, True), exception="ReadTimeout") == "idle-limit"
    assert reason_for(all_three, "no image", cell=(*cell, False), exception="no JSON", status=504) is None
    assert reason_for(all_three, "no image", cell=(*cell, True), status=200) is None


def test_an_upgrade_is_refused_to_java_only(all_three: tuple[ModuleType, ModuleType, ModuleType]) -> None:
    """By the simulated upstream; holdfast takes it."""
    assert reason_for(all_three, "no image", cell=("none", "java", "success", True), status=400) == "upgrade-refused"
    assert reason_for(all_three, "no image", cell=("none", "java", "success"), status=400) is None
    assert reason_for(all_three, "no image", cell=("none", "go", "success", True), status=400) is None


@pytest.mark.parametrize("scenario", ["success", "early-error", "late-refusal", "late-overload", "cut", "repeat"])
def test_what_no_rule_knows_has_no_reason(all_three: tuple[ModuleType, ModuleType, ModuleType], scenario: str) -> None:
    """So that the run fails, and somebody looks."""
    assert reason_for(all_three, "wrong image", cell=("haproxy", "axios", scenario)) is None


def test_each_reason_says_why_and_what_helps(reasons: ModuleType) -> None:
    """Sentences, under names that differ."""
    names = [reason.name for reason in reasons.REASONS]
    assert len(set(names)) == len(names)
    for reason in reasons.REASONS:
        assert reason.why.endswith(".")
        assert reason.helps.endswith(".")
