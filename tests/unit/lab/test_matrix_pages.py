"""The page shows every cell, and a red one says why; a run with a red cell that nothing explains has failed."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def a_row(**fields: Any) -> dict[str, Any]:
    """A green cell, unless told otherwise."""
    usual = {
        "front": "nginx",
        "client": "requests",
        "scenario": "success",
        "direct": False,
        "green": True,
        "told": "image, 1 charge",
        "wrong": [],
        "reason": None,
        "message": "",
        "protocol": "HTTP/1.1",
        "took_s": 6.0,
        "before": [],
    }
    return usual | fields


def a_record(*rows: dict[str, Any]) -> dict[str, Any]:
    """A run."""
    return {
        "at": "2026-11-28T01:00:00+00:00",
        "took_s": 300,
        "versions": {"nginx": "1.22.1", "requests": "2.34.2", "curl": "7.88.1"},
        "direct_charges": {"nginx": 3},
        "machine": {"commit": "abc", "is_modified": False, "cores": 2},
        "command": "python lab/matrix/run.py",
        "cells": list(rows),
    }


def test_a_red_cell_without_a_reason_is_a_problem(pages: ModuleType) -> None:
    """It names the cell, and what was seen."""
    row = a_row(scenario="cut", green=False, told="an empty success, 1 charge", wrong=["false success"], message="?!")
    (problem,) = pages.problems_of(a_record(a_row(), row))
    assert "nginx requests-cut is red without a reason" in problem
    assert "false success" in problem
    assert "?!" in problem
    assert "PROBLEM" in pages.summary_of(a_record(row))


def test_a_success_is_red_only_for_a_known_limit(pages: ModuleType, reasons: ModuleType) -> None:
    """A reason for something else excuses no success, save the one without holdfast."""
    for reason in reasons.REASONS:
        row = a_row(green=False, told="ReadTimeout, 1 charge", wrong=["no image"], reason=reason.name)
        assert (pages.problems_of(a_record(row)) == []) is reason.is_known_limit
        assert pages.problems_of(a_record(row | {"scenario": "repeat"})) == []
        assert pages.problems_of(a_record(row | {"direct": True})) == []


def test_every_cell_stands_on_the_page(pages: ModuleType, reasons: ModuleType) -> None:
    """With a sign that needs no colour, a link to its exchange, and what differs from the client's other cells."""
    reason = reasons.REASONS[0]
    red = a_row(front="haproxy", green=False, told="no JSON 504, 0 charges", reason=reason.name)
    other = a_row(front="caddy", told="image, 1 charge!")
    page = pages.page_of(a_record(a_row(), a_row(front="squid"), red, other, a_row(client="curl")))
    assert "[✓](../../lab/matrix/results/exchanges/nginx.md#requests-success)" in page
    assert "[✓](../../lab/matrix/results/exchanges/caddy.md#requests-success) image, 1 charge!" in page
    link = "../../lab/matrix/results/exchanges/haproxy.md#requests-success"
    assert f"[✗ **RED**]({link}) [a](#reasons) no JSON 504, 0 charges" in page
    assert reason.why in page
    assert reason.helps in page
    assert "Green: success 4 of 5." in page
    assert "| client | shows | nginx | HAProxy | Caddy | squid |" in page
    assert "| curl | image, 1 charge | [✓](" in page
    assert "nginx 1.22.1" in page


def test_the_column_without_holdfast_counts_what_was_charged(pages: ModuleType, reasons: ModuleType) -> None:
    """For all of its clients together: the upstream knows none of them."""
    lost = a_row(direct=True, green=False, told="no JSON 504", reason=reasons.REASONS[0].name)
    page = pages.page_of(a_record(lost, a_row(direct=True, client="curl", told="image")))
    assert "| **charged** |  | 3 |" in page
    assert "| **in hand** |  | 1 |" in page
    assert "exchanges/nginx.md#requests-without-holdfast-success" in page


def test_how_often_a_cell_was_played_is_told(pages: ModuleType) -> None:
    """A green cell that was red at first is not like the others."""
    page = pages.page_of(a_record(a_row(), a_row(client="curl", before=["no JSON 504, 1 charge"])))
    assert "1 cell was played more than once" in page
    assert "more than once" not in pages.page_of(a_record(a_row()))


def test_no_reason_no_table(pages: ModuleType) -> None:
    """Where all is well, that is said."""
    assert "No cell is red." in pages.page_of(a_record(a_row()))


def test_results_come_back_as_they_were_written(results: ModuleType, cells: ModuleType, tmp_path: Path) -> None:
    """One cell on a line; each front's exchanges in one file, each under the heading that the page links to."""
    cell = cells.Cell("nginx", "requests", cells.Scenario.SUCCESS)
    record = a_record(a_row(), a_row(direct=True))
    direct = cells.Cell("nginx", "requests", cells.Scenario.SUCCESS, True)
    results.write(record, {cell: "  0.000 → POST /", direct: "  0.000 → POST /direct"}, tmp_path)
    assert results.read(tmp_path) == record
    text = (tmp_path / "matrix.json").read_text("utf-8")
    assert len([line for line in text.splitlines() if '"client": "requests"' in line]) == 2
    page = (tmp_path / "exchanges" / "nginx.md").read_text("utf-8")
    assert "## requests success\n\nok: image, 1 charge, 6.0 s\n\n```text\n  0.000 → POST /\n```" in page
    assert "## requests without holdfast success" in page
    assert results.anchor_of(a_row(direct=True)) == "requests-without-holdfast-success"
    assert json.loads(text)["cells"] == record["cells"]


@pytest.mark.parametrize("name", ["nginx", "haproxy", "squid"])
def test_every_front_has_a_title(results: ModuleType, name: str) -> None:
    """The heading of its file."""
    assert results.FRONT_TITLES[name]


def test_what_was_a_puzzle_is_played_again_and_remembers(
    results: ModuleType, cells: ModuleType, judging: ModuleType, tmp_path: Path
) -> None:
    """Only what is red without a reason; its row and its exchange are the new ones, the others stay."""
    red = a_row(scenario="early-error", green=False, told="200 invalid_request, 0 charges", wrong=["wrong status"])
    record = a_record(a_row(), red, a_row(direct=True, green=False), a_row(client="curl", green=False, reason="x"))
    first = {
        cells.Cell(row["front"], row["client"], cells.Scenario(row["scenario"]), row["direct"]): "old"
        for row in record["cells"]
    }
    results.write(record, first, tmp_path)
    (again,) = results.puzzling(record)
    assert (again.scenario, again.go) == ("early-error", 2)
    playing = __import__("playing")
    outcome = playing.Outcome(
        cell=again,
        shown=judging.Shown(status=400, code="invalid_request"),
        books=judging.Books(requests=1, purchases=0),
        verdict=judging.Verdict(is_green=True, told="400 invalid_request, 0 charges"),
        took_s=0.1,
        calls=1,
        connections=1,
        exchange="new",
    )
    results.replace(record, [outcome], tmp_path)
    row = results.read(tmp_path)["cells"][1]
    assert (row["green"], row["before"]) == (True, ["200 invalid_request, 0 charges"])
    page = (tmp_path / "exchanges" / "nginx.md").read_text("utf-8")
    assert page.count("\n## ") == 4
    assert page.count("\nold\n") == 3
    assert "## requests early-error\n\nok: 400 invalid_request, 0 charges, 0.1 s\n\n```text\nnew\n```\n" in page
    assert results.puzzling(record) == []
