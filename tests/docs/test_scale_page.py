"""The page on scale says what its results say, and assumes what its arithmetic assumes."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "scale.md"
RESULTS = ROOT / "lab" / "scale" / "results"


@pytest.fixture(scope="module")
def lab() -> dict[str, ModuleType]:
    """What writes the tables."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "lab" / "scale")
        return {name: importlib.import_module(name) for name in ("capacity", "scale_tables", "partitions")}


@pytest.fixture(scope="module")
def record(lab: dict[str, ModuleType]) -> dict[str, Any]:
    """What was measured."""
    return dict(lab["scale_tables"].read(RESULTS))


def test_the_tables_are_made_of_the_results(lab: dict[str, ModuleType], record: dict[str, Any]) -> None:
    """Letter by letter: nobody has written on them."""
    page = PAGE.read_text("utf-8")
    assert lab["scale_tables"].filled(page, record) == page


def test_every_table_is_on_the_page_once(lab: dict[str, ModuleType]) -> None:
    """And no marker is misspelt."""
    found = re.findall(r"<!-- table ([\w-]+) -->", PAGE.read_text("utf-8"))
    assert sorted(found) == sorted(lab["scale_tables"].TABLES)


def test_what_is_assumed_stands_on_the_page(lab: dict[str, ModuleType]) -> None:
    """Each figure that no run has given."""
    assumed = lab["capacity"].Assumed()
    page = PAGE.read_text("utf-8")
    for line in (
        f"| {assumed.peak:g} times the day's mean |",
        f"| {assumed.made_in_s:g} s |",
        f"| {assumed.image_mb:g} MB |",
        f"| {100 * assumed.collected_share:g} % |",
        f"| {100 * assumed.busy:g} % |",
        f"| {assumed.waiting_max:,} |",
        f"| {100 * assumed.dead_share:g} % |",
        f"| every {assumed.checkpoint_s:g} s |",
        f"| {assumed.cores_max} cores at most |",
    ):
        assert line in page, line


def test_everything_that_the_issue_of_scale_asks_was_measured(record: dict[str, Any]) -> None:
    """One, two, four and eight replicas; each component alone; nothing failed meanwhile."""
    cells = record["cells"]
    assert {"sqlite", "all-1", "all-2", "all-4", "all-8", "split-1", "split-2", "split-4"} <= set(cells)
    assert {"alone", "collected", "large", "bucket", "accept", "held", "idle", "sparse"} <= set(cells)
    for name, cell in cells.items():
        assert not cell.get("faults"), name
    assert {"serve", "work", "postgres_backends", "postgres_wal_writer", "simulator", "callers"} <= set(
        cells["split-1"]["each"]["cpu_s"]
    )


def test_a_generation_is_written_as_it_was_meant(record: dict[str, Any]) -> None:
    """One row for each of its parts, seven lines of the ledger, one job that is gone: nothing is counted twice."""
    tables = record["cells"]["collected"]["run"]["tables"]
    inserted = {name: round(told["inserted"], 2) for name, told in tables.items() if told["inserted"] >= 0.5}
    assert inserted == {
        "attempt": 1,
        "blob": 1,
        "event": 3,
        "generation": 1,
        "ledger_entry": 7,
        "ledger_txn": 3,
        "pgqueuer": 1,
    }
    assert tables["pgqueuer"]["deleted"] == pytest.approx(1, abs=0.05)


def test_the_page_names_what_there_is(lab: dict[str, ModuleType]) -> None:
    """The command that it shows is one that the script takes, and the test that it names is there."""
    page = PAGE.read_text("utf-8")
    (words,) = re.findall(r"`lab/scale/partitions.py ([\d -]+)`", page)
    month, count, number = words.split()
    text = lab["partitions"].migration(
        lab["partitions"].datetime.strptime(month, "%Y-%m").replace(tzinfo=lab["partitions"].UTC),
        int(count),
        int(number),
    )
    assert text.count("CREATE TABLE generation_2027_") == int(count)
    for file in re.findall(r"`((?:lab|tests)/[\w/.]+\.py)`", page):
        assert (ROOT / file).exists()
