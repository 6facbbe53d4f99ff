"""The arithmetic of the plan for so many a day: each figure follows from what was measured, and what is assumed."""

from __future__ import annotations

import copy
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest

TABLES = {
    "generation": {"inserted": 1.0, "updated": 4.0, "hot": 1.0, "heap": 3000.0, "indexes": 900.0},
    "event": {"inserted": 3.0, "updated": 0.0, "hot": 0.0, "heap": 500.0, "indexes": 300.0},
    "pgqueuer": {"inserted": 1.0, "updated": 1.0, "hot": 0.0, "heap": 300.0, "indexes": 400.0},
}
PACKED = {name: {"heap": told["heap"] / 2, "indexes": told["indexes"] / 2} for name, told in TABLES.items()}


def cell(serve: float, work: float, database: float, *, image_bytes: float = 1e4) -> dict[str, Any]:
    """A cell under load, whose generations cost so many CPU seconds."""
    cpu = {"serve": serve, "work": work, "postgres_backends": database, "postgres_wal_writer": 0.0}
    cpu |= {"postgres_others": 0.0, "simulator": 0.001, "callers": 0.0005}
    return {
        "per_s": 50.0,
        "p50_s": 0.5,
        "p99_s": 0.9,
        "connections": 26,
        "image_bytes": image_bytes,
        "busy_cores_before": 0.25,
        "cores": {"window_s": 8.0, **{name: 50 * spent for name, spent in cpu.items()}, "elsewhere": 0.1},
        "each": {
            "cpu_s": cpu,
            "statements": {"calls": 80.0, "ms": 90.0},
            "wal_bytes": {"records": 15_000.0, "pages": 2_000.0, "all": 17_000.0},
            "wire": {"to": 20_000.0, "from": 12_000.0},
            "requests": {"PUT": 1.0, "GET": 1.0},
        },
        "run": {
            "database": {"commits": 20.0, "inserted": 17.0, "updated": 15.0, "deleted": 1.0},
            "tables": TABLES,
            "packed": PACKED,
            "wal": {"syncs": 4.0, "records": 120.0, "pages": 0.4},
        },
    }


@pytest.fixture
def cells() -> dict[str, Any]:
    """Every cell that the plan is made from."""
    idle = {"serve": 0.002, "work": 0.004, "postgres_backends": 0.006}
    held = {"serve": 0.012 / 1000, "work": 0.024 / 1000, "postgres_backends": 0.026 / 1000}
    return {
        "sqlite": {**cell(0.0, 0.0, 0.0), "each": {"cpu_s": {"all": 0.004, "simulator": 0.001, "callers": 0.0005}}},
        "split-1": cell(0.004, 0.010, 0.012),
        "split-2": cell(0.005, 0.012, 0.014),
        "split-4": cell(0.007, 0.016, 0.018),
        "collected": cell(0.005, 0.010, 0.013),
        "large": cell(0.015, 0.040, 0.013, image_bytes=1e4 + 10e6),
        "bucket": cell(0.006, 0.011, 0.013),
        "held": {"held": 1000, "each_per_s": {"cpu_s": held, "wal_bytes": {"all": 110.0}}, "busy_cores_before": 0.25},
        "idle": {
            "per_s": {"cpu_s": idle, "wal_bytes": {"all": 5_000.0}, "statements": {"calls": 18.0}},
            "busy_cores_before": 0.25,
        },
        "sparse": {
            "wal_bytes": {"records": 15_000.0, "pages": 200_000.0},
            "compressed": {"records": 15_000.0, "pages": 30_000.0},
            "busy_cores_before": 0.25,
        },
        "accept": {**cell(0.003, 0.0, 0.004), "per_s": 190.0, "busy_cores_before": 1.5},
    }


@pytest.fixture
def cost(capacity: ModuleType, cells: dict[str, Any]) -> Any:
    """What a generation costs there."""
    return capacity.cost_of(cells)


def test_costs_are_taken_from_their_cells(cost: Any) -> None:
    """In ms; bytes of an image by the difference of two sizes, waiting beyond what idling costs."""
    assert (cost.serve_ms, cost.work_ms, cost.database_ms) == pytest.approx((5.0, 10.0, 13.0))
    assert (cost.serve_ms_per_mb, cost.work_ms_per_mb) == pytest.approx((1.0, 3.0))
    assert (cost.serve_held_ms, cost.work_held_ms, cost.database_held_ms) == pytest.approx((0.01, 0.02, 0.02))
    assert (cost.serve_idle_ms, cost.work_idle_ms, cost.database_idle_ms) == pytest.approx((2.0, 4.0, 6.0))
    assert cost.wal_held_bytes == pytest.approx(105.0)
    assert (cost.puts, cost.gets) == (1.0, 1.0)


def test_what_more_processes_cost_is_the_slope(cost: Any, capacity: ModuleType) -> None:
    """Of one, two and four pairs; noise that falls is no gain."""
    assert (cost.serve_ms_more, cost.work_ms_more, cost.database_ms_more) == pytest.approx((1.0, 2.0, 2.0))
    assert capacity.slope({1: 9.0, 2: 8.0, 4: 7.0}) == 0.0
    assert capacity.slope({1: 9.0}) == 0.0


def test_only_what_stays_is_counted_as_rows(cost: Any) -> None:
    """Packed, and without jobs, which are deleted."""
    assert cost.row_bytes == pytest.approx(1750.0)
    assert cost.index_bytes == pytest.approx(600.0)
    assert cost.rows_by_table == {"generation": 1.0, "event": 3.0, "pgqueuer": 1.0}


def test_a_thousand_a_day_is_what_idle_processes_take(capacity: ModuleType, cost: Any) -> None:
    """Two of each, so that one may die; the log is theirs, and whole pages."""
    plan = capacity.plan_of(1e3, cost, capacity.Assumed())
    assert (plan.serves, plan.works) == (2, 2)
    assert plan.peak_per_s == pytest.approx(4e3 / 86_400)
    assert plan.held == pytest.approx(400e3 / 86_400)
    idle = 2 * 5_000 * 86_400
    pages = 200_000 / (1e3 / 86_400 * 300)
    assert plan.wal_bytes_per_day == pytest.approx(idle + 1e3 * (15_000 + pages + 100 * 105))
    assert plan.connections == 2 * 11 + 2 * 15
    assert plan.rows_bytes_per_year == pytest.approx(365 * 1e3 * 2350 / 0.8)


def test_many_take_as_many_processes_as_bear_their_own_cost(capacity: ModuleType, cost: Any) -> None:
    """Reckoned again by hand, at the number that was found."""
    assumed = capacity.Assumed(cores_max=1000)
    plan = capacity.plan_of(1e6, replace(cost, work_ms_more=0.0, database_ms_more=0.1, serve_ms_more=0.0), assumed)
    peak = 4e6 / 86_400
    assert plan.fits
    busy = (peak * (10.0 + 10 * 3.0) + 100 * peak * 0.02) / 1e3
    assert plan.works == -(-busy // 0.6)
    assert plan.serves == -(-((peak * (5.0 + 10 * 1.0) + 100 * peak * 0.01) / 1e3) // 0.6)
    pairs = max(plan.serves, plan.works)
    cores = (peak * (13.0 + (pairs - 1) * 0.1) + 100 * peak * 0.02 + pairs * 6.0) / 1e3
    assert plan.database_share == pytest.approx(cores)
    assert plan.database_cores == pytest.approx(cores / 0.6)


def test_those_who_wait_need_processes_too(capacity: ModuleType, cost: Any) -> None:
    """Memory and leases bound how many one process holds, however little each of them costs."""
    names = ("serve_ms", "work_ms", "serve_ms_per_mb", "work_ms_per_mb", "serve_ms_more", "work_ms_more")
    cheap = replace(cost, **dict.fromkeys((*names, "serve_held_ms", "work_held_ms"), 0.0))
    plan = capacity.plan_of(86_400 * 100, cheap, capacity.Assumed(cores_max=10_000))
    assert plan.held == pytest.approx(40_000)
    assert plan.serves == plan.works == 8


def test_what_costs_more_than_it_brings_is_told_as_not_fitting(capacity: ModuleType, cost: Any) -> None:
    """Each further process makes all dearer: past some rate no number is enough, and so it is split."""
    assumed = capacity.Assumed()
    assert not capacity.plan_of(1e7, cost, assumed).fits
    count = capacity.databases_of(1e7, cost, assumed)
    assert count > 1
    assert capacity.plan_of(1e7 / count, cost, assumed).fits
    assert not capacity.plan_of(1e7 / (count - 1), cost, assumed).fits
    assert capacity.databases_of(1e3, cost, assumed) == 1
    assert capacity.plan_of(capacity.most_per_day(cost, assumed), cost, assumed).fits


def test_images_are_kept_a_day_or_a_week(capacity: ModuleType, cost: Any) -> None:
    """By whether they were collected."""
    plan = capacity.plan_of(1e5, cost, capacity.Assumed())
    assert plan.image_bytes_per_day == pytest.approx(1e12)
    assert plan.image_bytes_kept == pytest.approx(1e12 * (0.95 * 1 + 0.05 * 7))
    assert plan.deletes_per_day == pytest.approx(100)


@pytest.mark.parametrize(
    ("elsewhere", "words"),
    [
        (0.6, "the processor, which other work had (gateways 0.70, PostgreSQL 0.60"),
        (0.49, "the processor (gateways 0.70, PostgreSQL 0.60"),
        (0.0, "waiting: rows of the books"),
    ],
)
def test_what_a_rate_ended_at_is_said(
    capacity: ModuleType, cells: dict[str, Any], elsewhere: float, words: str
) -> None:
    """Both cores busy, or everybody waiting."""
    played = copy.deepcopy(cells["split-1"])
    played["cores"]["elsewhere"] = elsewhere
    assert capacity.saturated(played, 2).startswith(words)


def a_record(cells: dict[str, Any]) -> dict[str, Any]:
    """What `run.py` writes."""
    machine = {"cores": 2, "cpu": "a processor", "commit": "abc", "is_modified": False, "kernel": "6", "python": "3.11"}
    options = {"callers": 64, "seconds": 8.0, "rounds": 3}
    return {
        "at": "2026-11-28T12:00Z",
        "machine": machine,
        "postgresql": "15.1",
        "options": options,
        "cells": {**cells, "all-1": cells["split-1"], "all-2": cells["split-2"], "all-8": cells["split-4"]},
        "later": {"at": "2026-11-29T12:00Z", "commit": "def", "cells": {"split-1": cell(0.002, 0.003, 0.004)}},
    }


def test_every_table_is_written(scale_tables: ModuleType, cells: dict[str, Any]) -> None:
    """Each line has as many cells as its head, and what is there already is written over."""
    page = "".join(f"<!-- table {name} -->\nbefore it\n<!-- /table -->\nwords\n" for name in scale_tables.TABLES)
    written = scale_tables.filled(page, a_record(cells))
    assert "before it" not in written
    assert written.count("words") == len(scale_tables.TABLES)
    assert scale_tables.filled(written, a_record(cells)) == written
    for text in written.split("<!-- table ")[1:]:
        lines = [line for line in text.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) <= 1


def test_cpu_is_compared_with_sqlite(scale_tables: ModuleType, cells: dict[str, Any]) -> None:
    """Gateways with gateways; the database stands beside."""
    (line,) = [each for each in scale_tables.cpu_table(a_record(cells)).splitlines() if "1 `serve`" in each]
    assert line == "| PostgreSQL, 1 `serve` and 1 `work` | 4.0 + 10.0 | 3.50 | 12.0 | 0.00 | 1.0 | 0.5 |"


def test_what_was_played_again_stands_beside_what_it_was(scale_tables: ModuleType, cells: dict[str, Any]) -> None:
    """Each figure, before and after, with the commit and the moment."""
    text = scale_tables.later_table(a_record(cells))
    assert "before and at commit def (2026-11-29 12:00 UTC)" in text
    assert "| PostgreSQL, 1 `serve` and 1 `work` | 14.0 → 5.0 | 12.0 → 4.0 |" in text


def test_a_plan_of_several_databases_says_so(scale_tables: ModuleType, cells: dict[str, Any]) -> None:
    """How many, times what each of them takes."""
    lines = scale_tables.plan_table(a_record(cells)).splitlines()
    (databases,) = [line.split("|")[2:5] for line in lines if line.startswith("| databases")]
    (serves,) = [line.split("|")[2:5] for line in lines if line.startswith("| `serve`")]
    (log,) = [line.split("|")[2:5] for line in lines if line.startswith("| log")]
    assert databases[0].strip() == "1"
    assert serves[0].strip() == "2"
    assert serves[2].strip().startswith(f"{databases[2].strip()} × ")
    assert log[2].strip().startswith(f"{databases[2].strip()} × ")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (0.01234, "0.012"),
        (1.25, "1.2"),
        (12.34, "12.3"),
        (463.4, "463"),
        (11_720, "11,700"),
        (1e7, "10,000,000"),
    ],
)
def test_figures_are_shown_with_what_they_are_worth(scale_tables: ModuleType, value: float, shown: str) -> None:
    """Three digits of what is large, two of what is small."""
    assert scale_tables.number(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(12, "12 B"), (2_050, "2.0 KB"), (15_300, "15.3 KB"), (8.2e12, "8.2 TB"), (1.3e15, "1.3 PB")]
)
def test_bytes_are_shown_by_their_unit(scale_tables: ModuleType, value: float, shown: str) -> None:
    """Of thousands, as disks and bills are."""
    assert scale_tables.size(value) == shown
