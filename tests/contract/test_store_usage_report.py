"""The days of usage told back: broken down by everything each roll-up is told as it stands, and adds up to the rest."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import date
from decimal import Decimal
from itertools import combinations, product
from pathlib import Path
from typing import Any

import pytest

from holdfast.store.keys import insert_key
from holdfast.store.queries import queries
from holdfast.store.sqlite import SqliteStore
from holdfast.store.usage_report import usage_report
from holdfast.types import Tier
from holdfast.wire.usage import By, UsageQuery, UsageReport, render_usage, usage_csv

EVERYTHING = UsageQuery(since=date(2026, 1, 17), until=date(2026, 1, 18), by=tuple(By))
MEASURES = ("generations", "images", "charged", "compensated", "cost", "extra", "unknown")
KEYS = {"key_1": "Alice", "key_2": '=cmd|"calc"', "key_gone": None}
"""The last one has no row any more."""
FIELDS = {
    By.DAY: "day",
    By.KEY: "key_id",
    By.MODEL: "model",
    By.SIZE: "size",
    By.UPSTREAM: "upstream",
    By.OUTCOME: "outcome",
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    """Every day but the first and the last is asked for; written in an order of nobody's."""
    with closing(SqliteStore(tmp_path / "holdfast.sqlite3", "me")) as store:
        for key, label in KEYS.items():
            if label is not None:
                store.write_sync(insert_key, key, key.encode(), label, "2026-01-01T00:00:00.000Z")
        days, currencies = ("2026-01-19", "2026-01-17", "2026-01-16", "2026-01-18"), ("USD", "CNY")
        upstreams, outcomes = ("google", ""), ("succeeded", "content_refused")
        cells = product(days, KEYS, ("b", "a"), ("4K", "1K"), upstreams, outcomes, currencies)
        for number, cell in enumerate(cells, 1):
            names = ("day", "key_id", "model", "tier", "upstream", "outcome", "currency")
            row = dict(zip(names, cell, strict=True)) | {"generations": number, "images": number % 3}
            row |= {f"{name}_micros": number * 10**place for place, name in enumerate(MEASURES[2:])}
            store.write_sync(lambda conn, row=row: conn.execute(queries("usage")["count"], row).rowcount)
        yield store


def told(store: SqliteStore, query: UsageQuery, **more: Any) -> UsageReport:
    """Ask."""
    return store.write_sync(lambda conn: usage_report(conn, query, **more))


def sums(report: UsageReport, by: tuple[By, ...]) -> dict[tuple[str, ...], Counter[str]]:
    """Add up what is told, by something less."""
    found: dict[tuple[str, ...], Counter[str]] = {}
    for row in report.rows:
        group = (*(getattr(row, FIELDS[each]) for each in by), row.currency)
        counted = found.setdefault(group, Counter())
        for name in MEASURES:
            counted[name] += getattr(row, name if name in MEASURES[:2] else f"{name}_micros")
    return found


@pytest.mark.parametrize("count", range(len(By)))
def test_every_breakdown_is_what_everything_adds_up_to(store: SqliteStore, count: int) -> None:
    """Whichever of the two ways the rows are read."""
    whole = told(store, EVERYTHING)
    assert len(whole.rows) == 2 * 3 * 2 * 2 * 2 * 2 * 2
    for by in combinations(By, count):
        assert sums(told(store, replace(EVERYTHING, by=by)), by) == sums(whole, by)


def test_every_row_has_its_place_and_its_label(store: SqliteStore) -> None:
    """Ordered as every other report; a key that is gone has none."""
    rows = told(store, EVERYTHING).rows
    order = [(row.day, row.key_id, row.model, row.size, row.upstream, row.outcome, row.currency) for row in rows]
    assert order == sorted(order)  # type: ignore[type-var]  # all of them are text
    assert {row.key_id: row.label for row in rows} == KEYS
    backwards = told(store, replace(EVERYTHING, by=tuple(reversed(By))))
    assert backwards.rows == rows


@pytest.mark.parametrize(
    ("asked", "share"),
    [
        ({"key_id": "key_1"}, 3),
        ({"model": "a"}, 2),
        ({"size": Tier.K4}, 2),
        ({"upstream": ""}, 2),
        ({"outcome": "content_refused"}, 2),
        ({"key_id": "key_2", "model": "b", "size": Tier.K1, "upstream": "google", "outcome": "succeeded"}, 48),
        ({"since": date(2026, 1, 18)}, 2),
    ],
)
def test_what_is_asked_for_is_what_is_told(store: SqliteStore, asked: dict[str, Any], share: int) -> None:
    """Each filter, and all of them."""
    whole = told(store, EVERYTHING).rows
    names = {"since": "day"} | {name: name for name in ("key_id", "model", "size", "upstream", "outcome")}
    wanted = [row for row in whole if all(getattr(row, names[name]) == str(value) for name, value in asked.items())]
    assert told(store, replace(EVERYTHING, **asked)).rows == wanted
    assert len(wanted) * share == len(whole)


def test_too_many_rows_are_cut_off_and_that_is_said(store: SqliteStore) -> None:
    """The first ones stay."""
    whole = told(store, EVERYTHING)
    assert whole.is_whole
    assert told(store, EVERYTHING, rows_max=len(whole.rows)).is_whole
    cut = told(store, EVERYTHING, rows_max=7)
    assert not cut.is_whole
    assert cut.rows == whole.rows[:7]


def test_json_and_csv_tell_the_same(store: SqliteStore) -> None:
    """To the micro; and no cell is a formula."""
    report = told(store, EVERYTHING)
    document = json.loads(render_usage(report))
    read = list(csv.DictReader(io.StringIO(usage_csv(report), newline="")))
    assert len(read) == len(document["rows"]) == len(report.rows)
    for line, row in zip(read, document["rows"], strict=True):
        assert [line[name] for name in FIELDS.values()] == [row[name] for name in FIELDS.values()]
        assert line["label"] == {"key_1": "Alice", "key_2": '\'=cmd|"calc"', "key_gone": ""}[row["key_id"]]
        assert [int(line[name]) for name in MEASURES[:2]] == [row[name] for name in MEASURES[:2]]
        assert [Decimal(line[name]) for name in MEASURES[2:]] == [
            Decimal(row[f"{name}_micros"]).scaleb(-6) for name in MEASURES[2:]
        ]
