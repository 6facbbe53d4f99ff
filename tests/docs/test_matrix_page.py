"""The page of the matrix says what its results say."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference" / "matrix.md"


@pytest.fixture(scope="module")
def lab() -> ModuleType:
    """What makes the page."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "lab" / "matrix")
        return importlib.import_module("pages")


@pytest.fixture(scope="module")
def record(lab: ModuleType) -> dict[str, Any]:
    """What was measured."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "lab" / "matrix")
        return dict(importlib.import_module("results").read())


def test_the_page_is_made_of_the_results(lab: ModuleType, record: dict[str, Any]) -> None:
    """Nobody has written on it."""
    assert PAGE.read_text("utf-8") == lab.page_of(record)


def test_every_client_and_every_front_was_played(record: dict[str, Any]) -> None:
    """The whole matrix, and the column without holdfast."""
    cells = importlib.import_module("cells")
    fronts = importlib.import_module("fronts")
    played = {(row["client"], row["front"], row["scenario"]) for row in record["cells"] if not row["direct"]}
    names = [front.name for front in fronts.FRONTS]
    assert played == {(a.name, b, str(c)) for a in cells.CLIENTS for b in names for c in cells.Scenario}


def test_every_success_is_green_and_every_red_cell_has_its_reason(lab: ModuleType, record: dict[str, Any]) -> None:
    """What the matrix is for."""
    assert lab.problems_of(record) == []
    successes = [row for row in record["cells"] if row["scenario"] == "success" and not row["direct"]]
    assert [row for row in successes if not row["green"]] == []


def test_each_link_leads_to_an_exchange(record: dict[str, Any]) -> None:
    """The file and the heading in it are there, and no exchange is long."""
    folder = ROOT / "lab" / "matrix" / "results" / "exchanges"
    results = importlib.import_module("results")
    headings = {front: (folder / f"{front}.md").read_text("utf-8") for front in {r["front"] for r in record["cells"]}}
    for row in record["cells"]:
        assert f"\n## {results.heading_of(row)}\n" in headings[row["front"]]
