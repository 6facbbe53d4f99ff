"""`holdfast usage`: the days of a folder as a table, as JSON and as CSV; what is written wrong is told in one line."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from holdfast.cli.exits import Exit
from holdfast.cli.main import main
from holdfast.store.attempts import begin_attempt, end_attempt
from holdfast.store.generations import accept
from holdfast.store.keys import insert_key
from holdfast.store.records import AttemptEnd, NewAttempt, NewBlob, NewGeneration
from holdfast.store.sqlite import SqliteStore
from holdfast.types import Charge, Failure, FailureKind, ImageInfo, Phase

INFO = ImageInfo(mime="image/png", width_px=1, height_px=1, bytes=70, sha256="ab" * 32)
REFUSED = Failure(kind=FailureKind.REFUSED_OUTPUT, phase=Phase.RECEIVE, charge=Charge.YES, detail="declined")
EVIL = '=HYPERLINK("http://evil.example")'


def generation(store: SqliteStore, name: str, *, key: str, day: int, failure: Failure | None, upstream: str) -> None:
    """One image of 4K, sold at 0.30 and bought at 0.24."""
    new = NewGeneration(
        id=f"gen_{name}",
        key_id=key,
        surface="openai",
        model="nano-banana-pro",
        tier="4K",
        size="4096x4096",
        n=1,
        parts=1,
        request=b"{}",
        deadline_at="later",
        hard_deadline=False,
        created_at=f"2026-01-{day}T12:00:00.000Z",
        currency="USD",
        unit_micros=300_000,
        held_micros=300_000,
        list_micros=240_000,
    )
    attempt = NewAttempt(
        id=f"att_{name}",
        generation_id=new.id,
        part=0,
        drive=0,
        upstream=upstream,
        provider="gemini",
        model="m",
        idempotency_key="",
        estimated_micros=240_000,
        owner="me",
        sent_at=f"2026-01-{day}T12:00:01.000Z",
    )
    blob = NewBlob(id=f"img_{name}", kind="result", position=0, store_key=name, info=INFO)
    at = f"2026-01-{day}T12:00:30.000Z"
    end = AttemptEnd(attempt_id=attempt.id, at=at, purge_after=at, blobs=() if failure else (blob,), failure=failure)
    for function, value in ((accept, new), (begin_attempt, attempt), (end_attempt, end)):
        store.write_sync(function, value)  # type: ignore[arg-type]  # each with its own


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images and a refusal, of two keys, on two days; one key's label is a formula."""
    with closing(SqliteStore(tmp_path / "holdfast.sqlite3", "me")) as store:
        for key, label in (("key_1", "Alice"), ("key_2", EVIL)):
            store.write_sync(insert_key, key, key.encode(), label, "2026-01-01T00:00:00.000Z")
        generation(store, "a", key="key_1", day=17, failure=None, upstream="google")
        generation(store, "b", key="key_1", day=17, failure=REFUSED, upstream="relay")
        generation(store, "c", key="key_2", day=17, failure=None, upstream="google")
        generation(store, "d", key="key_1", day=18, failure=None, upstream="google")
    return tmp_path


@pytest.fixture
def usage(folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command on the folder; give how it ended and what it wrote."""

    def run(*words: str) -> tuple[int, str, str]:
        code = main(["usage", *words, "--data", str(folder)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


JANUARY = ("--since", "2026-01-01", "--until", "2026-01-31")


def test_days_are_a_table_with_their_sum(usage: Any) -> None:
    """Amounts of a column end under one another."""
    code, said, _ = usage(*JANUARY)
    head, columns, *rows = said.splitlines()
    assert code == Exit.OK
    assert head == "2026-01-01 to 2026-01-31 (UTC)"
    assert columns.split() == ["day", "generations", "images", "charged", "given", "back", "cost", "extra", "unknown"]
    assert [row.split()[:6] for row in rows] == [
        ["2026-01-17", "3", "2", "0.90", "USD", "0.30"],
        ["2026-01-18", "1", "1", "0.30", "USD", "0.00"],
        ["all", "4", "3", "1.20", "USD", "0.30"],
    ]
    assert len({len(row) for row in rows}) == 1


@pytest.mark.parametrize(
    ("by", "rows"),
    [
        ("key", {("key_1",): (3, 2), ("key_2",): (1, 1)}),
        ("upstream", {("google",): (3, 3), ("relay",): (1, 0)}),
        ("outcome", {("succeeded",): (3, 3), ("content_refused",): (1, 0)}),
        ("model,size", {("nano-banana-pro", "4K"): (4, 3)}),
        ("day,outcome", {("2026-01-17", "succeeded"): (2, 2), ("2026-01-17", "content_refused"): (1, 0),
                         ("2026-01-18", "succeeded"): (1, 1)}),
        ("", {(): (4, 3)}),
    ],
)  # fmt: skip
def test_it_is_broken_down_as_asked(usage: Any, by: str, rows: dict[tuple[str, ...], tuple[int, int]]) -> None:
    """By one thing, by several, by none."""
    code, said, _ = usage("--json", *JANUARY, "--by", by)
    told = json.loads(said)
    fields = {"key": "key_id"}
    names = [fields.get(name, name) for name in by.split(",") if name]
    assert code == Exit.OK
    assert {tuple(row[n] for n in names): (row["generations"], row["images"]) for row in told["rows"]} == rows
    assert sum(row["charged_micros"] for row in told["rows"]) == 1_200_000
    assert sum(row["cost_micros"] for row in told["rows"]) == 960_000
    assert told["is_whole"] is True


def test_filters_leave_out_what_was_not_asked_for(usage: Any) -> None:
    """Each by itself, and days at both ends."""
    for words, count in [
        (("--key", "key_2"), 1),
        (("--upstream", "relay"), 1),
        (("--outcome", "succeeded"), 3),
        (("--model", "another"), 0),
        (("--size", "1K"), 0),
    ]:
        told = json.loads(usage("--json", *JANUARY, *words)[1])
        assert sum(row["generations"] for row in told["rows"]) == count, words
    only = json.loads(usage("--json", "--since", "2026-01-18", "--until", "2026-01-18")[1])
    assert [row["day"] for row in only["rows"]] == ["2026-01-18"]
    back = json.loads(usage("--json", "--until", "2026-01-18", "--days", "1")[1])
    assert (back["since"], back["rows"]) == ("2026-01-18", only["rows"])


def test_a_spreadsheet_gets_numbers_and_no_formula(usage: Any) -> None:
    """Amounts in units of the currency; a label that is a formula is shown as text."""
    code, said, _ = usage("--csv", *JANUARY, "--by", "key")
    rows = list(csv.DictReader(io.StringIO(said)))
    assert code == Exit.OK
    assert [(row["key_id"], row["label"], row["charged"], row["cost"]) for row in rows] == [
        ("key_1", "Alice", "0.9", "0.72"),
        ("key_2", f"'{EVIL}", "0.3", "0.24"),
    ]


def test_a_label_does_not_move_the_cursor(usage: Any, folder: Path) -> None:
    """What a terminal would obey is shown as a mark."""
    with closing(SqliteStore(folder / "holdfast.sqlite3", "me")) as store:
        store.write_sync(lambda conn: conn.execute("UPDATE api_key SET label = ? WHERE id = 'key_1'", ("a\x1b[2Jb",)))
    _, said, _ = usage(*JANUARY, "--by", "key")
    assert "\x1b" not in said
    assert "a\ufffd[2Jb" in said


def test_a_time_without_use_is_told(usage: Any) -> None:
    """Nothing is no table."""
    _, said, _ = usage("--since", "2025-01-01", "--until", "2025-01-31")
    assert said == "2025-01-01 to 2025-01-31 (UTC): nothing was used.\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--by", "kye"), "Usage cannot be broken down by 'kye'. Did you mean 'key'?"),
        (("--since", "yesterday"), "since is 'yesterday'; write a day (UTC) such as 2026-11-28."),
        (("--until", "0001-01-01"), "until is '0001-01-01'; write a day"),
        (("--since", "2026-02-01", "--until", "2026-01-01"), "since (2026-02-01) is after until (2026-01-01)"),
        (("--days", "0"), "days is '0'; write a whole number from 1 to 3660."),
        (("--days", "99999"), "days is '99999'"),
        (("--size", "8K"), "There is no size '8K'. Write one of 1K, 2K, 4K."),
    ],
)
def test_what_cannot_be_meant_is_told_in_one_line(usage: Any, words: tuple[str, ...], told: str) -> None:
    """With what may be written instead."""
    code, said, complaint = usage(*words)
    assert (code, said) == (Exit.USAGE, "")
    assert told in complaint
    assert complaint.count("\n") == 1
