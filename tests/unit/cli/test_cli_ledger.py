"""`holdfast ledger` proves the books of a folder and shows a generation's; its end is for scripts."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from holdfast.cli.exits import Exit
from holdfast.cli.main import main
from holdfast.store.attempts import begin_attempt, end_attempt
from holdfast.store.generations import accept
from holdfast.store.records import AttemptEnd, NewAttempt, NewGeneration
from holdfast.store.sqlite import SqliteStore
from holdfast.types import Charge, Failure, FailureKind, Phase

REFUSED = Failure(kind=FailureKind.REFUSED_OUTPUT, phase=Phase.RECEIVE, charge=Charge.YES, detail="declined")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder with one refusal that a relay has billed, sold with a margin."""
    with closing(SqliteStore(tmp_path / "holdfast.sqlite3", "me")) as store:
        new = NewGeneration(
            id="gen_1",
            key_id="key_1",
            surface="openai",
            model="nano-banana-pro",
            tier="4K",
            size="4096x4096",
            n=1,
            parts=1,
            request=b"{}",
            deadline_at="later",
            hard_deadline=False,
            created_at="2026-01-17T12:00:00.000Z",
            currency="EUR",
            unit_micros=300_000,
            held_micros=300_000,
            list_micros=240_000,
        )
        attempt = NewAttempt(
            id="att_1",
            generation_id="gen_1",
            part=0,
            drive=0,
            upstream="relay",
            provider="gemini",
            model="m",
            idempotency_key="",
            estimated_micros=240_000,
            owner="me",
            sent_at="2026-01-17T12:00:01.000Z",
        )
        at = "2026-01-17T12:00:30.000Z"
        store.write_sync(accept, new)
        store.write_sync(begin_attempt, attempt)
        store.write_sync(end_attempt, AttemptEnd(attempt_id="att_1", at=at, purge_after=at, failure=REFUSED))
    return tmp_path


@pytest.fixture
def ledger(folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command on the folder; give how it ended and what it wrote."""

    def run(*words: str) -> tuple[int, str, str]:
        code = main(["ledger", *words, "--data", str(folder)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def spoil(folder: Path) -> None:
    """Take a hold's resolution away."""
    with closing(sqlite3.connect(folder / "holdfast.sqlite3")) as conn, conn:
        conn.execute("UPDATE ledger_txn SET drive = 3 WHERE kind = 'capture'")


def test_books_that_hold_are_told_with_their_accounts(ledger: Any) -> None:
    """One line for the verdict, one for each account, amounts under one another."""
    code, said, _ = ledger("check")
    assert code == Exit.OK
    verdict, *accounts = said.splitlines()
    assert verdict == "The ledger holds (generations: 1, attempts: 1, transactions: 4)."
    assert [line.split() for line in accounts] == [
        ["compensation", "0.30", "USD"],
        ["customer:key_1", "0.00", "USD"],
        ["held", "0.00", "USD"],
        ["provider:relay", "-0.24", "USD"],
        ["provider_cost", "0.24", "USD"],
        ["revenue", "-0.30", "USD"],
    ]
    assert len({len(line) for line in accounts}) == 1


def test_books_that_do_not_hold_are_named_and_end_with_one(ledger: Any, folder: Path) -> None:
    """A script sees the code, a person the id."""
    spoil(folder)
    code, said, _ = ledger("check")
    assert code == Exit.GENERATION_FAILED
    assert said.splitlines() == [
        "The ledger does not hold (generations: 1, attempts: 1, transactions: 4):",
        "  gen_1 has ended, and the hold of drive 0 stands",
    ]


def test_a_check_can_be_read_by_a_program(ledger: Any, folder: Path) -> None:
    """Counts, balances and problems."""
    code, said, _ = ledger("check", "--json")
    told = json.loads(said)
    assert (code, told["holds"], told["problems"]) == (0, True, [])
    assert (told["generations"], told["attempts"], told["transactions"], told["currency"]) == (1, 1, 4, "USD")
    assert told["accounts"]["provider_cost"] == 240_000
    spoil(folder)
    code, said, _ = ledger("check", "--json")
    told = json.loads(said)
    assert (code, told["holds"]) == (1, False)
    assert [(problem["rule"], problem["id"]) for problem in told["problems"]] == [("unresolved", "gen_1")]


def test_the_lines_of_a_generation_are_shown_as_a_table(ledger: Any) -> None:
    """What it cost on both sides, in the currency in which it was sold."""
    code, said, _ = ledger("show", "gen_1")
    head, columns, *lines = said.splitlines()
    assert code == Exit.OK
    assert head == "gen_1: nano-banana-pro 4K, failed; charged 0.30 EUR, given back 0.30 EUR"
    assert columns.split() == ["at", "verb", "account", "amount", "attempt"]
    rows = [line.split() for line in lines]
    assert [(row[1], row[2], row[3]) for row in rows] == [
        ("hold", "customer:key_1", "0.30"),
        ("hold", "held", "-0.30"),
        ("capture", "held", "0.30"),
        ("capture", "revenue", "-0.30"),
        ("capture", "customer:key_1", "0.00"),
        ("compensate", "compensation", "0.30"),
        ("compensate", "customer:key_1", "-0.30"),
        ("cost", "provider_cost", "0.24"),
        ("cost", "provider:relay", "-0.24"),
    ]
    assert [row[-1] for row in rows if row[1] == "cost"] == ["att_1", "att_1"]
    assert rows[0][0] == "2026-01-17T12:00:00.000Z"


def test_the_lines_of_a_generation_can_be_read_by_a_program(ledger: Any) -> None:
    """Micro-units, and None for the customer's side."""
    code, said, _ = ledger("show", "gen_1", "--json")
    told = json.loads(said)
    assert code == Exit.OK
    assert (told["generation_id"], told["state"], told["late"], told["currency"]) == ("gen_1", "failed", False, "EUR")
    assert (told["charged_micros"], told["compensated_micros"]) == (300_000, 300_000)
    assert sum(line["micros"] for line in told["lines"]) == 0
    assert [line["attempt_id"] for line in told["lines"]] == [None] * 7 + ["att_1"] * 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["show"], "Write holdfast ledger show GENERATION."),
        (["check", "gen_1"], "Write holdfast ledger check."),
        (["show", "gen_2"], "There is no generation gen_2 in "),
        (["prove"], "invalid choice"),
    ],
)
def test_what_cannot_be_meant_is_told_in_one_line(ledger: Any, words: list[str], told: str) -> None:
    """With what to write."""
    code, said, complaint = ledger(*words)
    assert (code, said) == (Exit.USAGE, "")
    assert told in complaint
    assert complaint.count("\n") == 1


def test_a_folder_without_books_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is made where the path was mistyped."""
    assert main(["ledger", "check", "--data", str(tmp_path / "none")]) == Exit.FOLDER_LOCKED
    assert "There is no database in" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
