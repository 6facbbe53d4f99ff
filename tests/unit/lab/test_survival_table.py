"""Bars are met or not by the figures; what was not measured is not met."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest


def a_turn(verdict: ModuleType, **figures: Any) -> dict[str, Any]:
    """One subject's turn in which all went well, unless told otherwise."""
    tally = verdict.Tally(
        asked=10, images=10, charges_images=10, micros=1_340_000, accepted=10, succeeded=10, collected=10
    )
    for name, value in figures.items():
        setattr(tally, name, value)
    total = tally.of_all()
    return {
        "title": "holdfast",
        "version": "0",
        "kinds": {"keyed": total},
        "total": total,
        "problems": [],
        "causes": {},
        "ledger": {"problems": [], "accounts": {"provider:upstream": -1_340_000, "provider_cost": 1_340_000}},
        "connections": 12,
        "connections_killed": 3,
        "kills_at_s": [1.0],
        "restarts_s": [0.5],
        "seconds": 60.0,
    }


def verdicts(table: ModuleType, turn: dict[str, Any]) -> list[str]:
    """Name the bars that are not met."""
    return [bar.name for bar in table.bars_of({"subjects": {"holdfast": turn}}) if bar.verdict != "met"]


def test_a_turn_in_which_all_went_well_meets_every_bar(table: ModuleType, verdict: ModuleType) -> None:
    """Eight of them."""
    turn = a_turn(verdict)
    assert verdicts(table, turn) == []
    assert len(table.bars_of({"subjects": {"holdfast": turn}})) == 8
    assert table.bars_of({"subjects": {}}) == []


@pytest.mark.parametrize(
    ("figures", "bar"),
    [
        ({"unended": 1}, "accepted generations without an end"),
        ({"dishonest": 1}, "successes that are none, failures that are not as told"),
        ({"wrong": 1}, "successes that are none, failures that are not as told"),
        ({"lost": 1}, "images known to be paid that are lost"),
        ({"collected": 9}, "collected, of the generations that have an image"),
        ({"micros": 1_340_001}, "charged by the upstream beyond what is booked, micros"),
    ],
)
def test_each_figure_breaks_its_bar(table: ModuleType, verdict: ModuleType, figures: dict[str, Any], bar: str) -> None:
    """And no other."""
    assert verdicts(table, a_turn(verdict, **figures)) == [bar]


def test_nine_hundred_and_ninety_nine_of_a_thousand_are_enough(table: ModuleType, verdict: ModuleType) -> None:
    """One less is not."""
    name = "collected, of the generations that have an image"
    enough = a_turn(verdict, accepted=1200, succeeded=1000, failed=200, collected=999)
    assert name not in verdicts(table, enough)
    assert name in verdicts(table, a_turn(verdict, accepted=1200, succeeded=1000, failed=200, collected=998))


def test_a_ledger_that_does_not_hold_breaks_its_bars(table: ModuleType, verdict: ModuleType) -> None:
    """By a rule, or by its sum."""
    turn = a_turn(verdict)
    turn["ledger"] = {"problems": [{"rule": "drift"}], "accounts": {"provider:upstream": -1_340_000}}
    assert verdicts(table, turn) == ["ledger: rules that do not hold", "ledger: sum of all accounts, micros"]
    turn = a_turn(verdict)
    turn["problems"] = ["something"]
    assert verdicts(table, turn) == ["whatever else must not be"]


def test_a_bar_without_a_figure_is_not_met(table: ModuleType) -> None:
    """Nothing measured proves nothing."""
    assert table.Bar(name="x", figure=None, limit=0).verdict == "no figure"


def test_tables_show_every_kind_and_every_subject(table: ModuleType, verdict: ModuleType) -> None:
    """What was never asked has no figure, and a share keeps its digits."""
    turn = a_turn(verdict)
    turn["problems"], turn["causes"] = ["something"], {"told overloaded": 2}
    text = table.of_subject(turn)
    assert "| orders | 10 | 10 |" in text
    assert "PROBLEM: something" in text
    assert "without an image, 2: told overloaded" in text
    assert "12 connections, 3 of them killed; 1 kills of the gateway, served again after 0.5 s (median); 60 s." in text
    assert "of them killed; 0 kills of the gateway; 60 s." in table.of_subject(
        {**turn, "kills_at_s": [], "restarts_s": []}
    )
    beside = table.of_all({"subjects": {"holdfast": turn, "direct": {**turn, "title": "no gateway", "ledger": None}}})
    assert "|  | holdfast | no gateway |" in beside
    assert "NOT MET" in beside
    assert (table.number(None), table.number(1.0), table.number(0.99944), table.number(1234)) == (
        "-",
        "1",
        "0.9994",
        "1,234",
    )


def test_a_page_gets_the_figures_of_a_run_in_their_place(table: ModuleType, verdict: ModuleType) -> None:
    """And keeps everything else; twice is as once."""
    record = {
        "at": "2026-11-27T18:00:00+00:00",
        "command": "python lab/survival/run.py --count 10",
        "options": {"count": 10, "kills": 1, "seed": 0, "speed": 10.0},
        "machine": {"commit": "abc", "is_modified": True, "cores": 2, "cpu": "a CPU", "python": "3.11"},
        "absent": {"litellm": "it is not installed"},
        "subjects": {"holdfast": a_turn(verdict)},
    }
    page = "# Title\n\n## Result\n\nold figures\n\n## Limits\n\nsome\n"
    filled = table.with_result(page, record)
    assert filled.startswith("# Title\n\n## Result\n\n![")
    assert filled.endswith("\n\n## Limits\n\nsome\n")
    assert "old figures" not in filled
    assert "Commit abc with changes, 2 cores of a CPU" in filled
    assert "Absent: litellm: it is not installed" in filled
    assert "| ledger: rules that do not hold | 0 | <= 0 | met |" in filled
    assert table.with_result(filled, record) == filled
    with pytest.raises(AssertionError):
        table.with_result("# Title\n", record)


def test_what_only_records_can_tell_has_no_figure_without_them(table: ModuleType, verdict: ModuleType) -> None:
    """Nobody who keeps nothing has lost nothing."""
    direct = {**a_turn(verdict), "title": "no gateway", "ledger": None}
    assert "| of these: lost | 0 | - |" in table.of_all({"subjects": {"holdfast": a_turn(verdict), "direct": direct}})
    assert "without an end" not in table.of_subject(direct)
