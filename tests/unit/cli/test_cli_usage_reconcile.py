"""`holdfast usage reconcile`: a provider's list against a folder, and what it makes known written down once."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from holdfast.cli.exits import Exit
from holdfast.cli.main import main
from holdfast.clock import SystemClock, rfc3339, ulid
from holdfast.store.attempts import begin_attempt, end_attempt
from holdfast.store.audit import audit
from holdfast.store.audit_log import entries
from holdfast.store.bookkeeping import ledger_sums
from holdfast.store.generations import accept
from holdfast.store.lock import DataFolder
from holdfast.store.reading import snapshot
from holdfast.store.records import AttemptEnd, NewAttempt, NewBlob, NewGeneration
from holdfast.store.sqlite import SqliteStore
from holdfast.types import Charge, Failure, FailureKind, ImageInfo, Phase

INFO = ImageInfo(mime="image/png", width_px=1, height_px=1, bytes=70, sha256="ab" * 32)
LOST = Failure(kind=FailureKind.LOST_REPLY, phase=Phase.WAIT, charge=Charge.UNKNOWN, detail="lost")
UNPAID = Failure(kind=FailureKind.OVERLOADED, phase=Phase.WAIT, charge=Charge.NO, detail="busy")
NOON_MS = 1_768_651_200_000
IDS = {name: ulid(NOON_MS + at * 600_000, bytes(10)) for at, name in enumerate(("good", "lost", "gone", "free"))}
"""One every ten minutes."""


def moment(name: str, seconds: int) -> str:
    """So many seconds after one was asked for."""
    minutes = list(IDS).index(name) * 10
    return f"2026-01-17T12:{minutes:02d}:{seconds:02d}.000Z"


def generation(store: SqliteStore, name: str, failure: Failure | None) -> None:
    """One image of 4K at 0.24."""
    id_ = IDS[name]
    new = NewGeneration(
        id=f"gen_{id_}",
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
        created_at=moment(name, 0),
        currency="USD",
        unit_micros=300_000,
        held_micros=300_000,
        list_micros=240_000,
    )
    attempt = NewAttempt(
        id=f"att_{id_}",
        generation_id=new.id,
        part=0,
        drive=0,
        upstream="relay",
        provider="openai",
        model="m",
        idempotency_key=f"gen_{id_}.0.0",
        estimated_micros=240_000,
        owner="me",
        sent_at=moment(name, 1),
    )
    blob = NewBlob(id=f"img_{id_}", kind="result", position=0, store_key=name, info=INFO)
    end = AttemptEnd(
        attempt_id=attempt.id, at=moment(name, 30), purge_after="z", blobs=() if failure else (blob,), failure=failure
    )
    for function, value in ((accept, new), (begin_attempt, attempt), (end_attempt, end)):
        store.write_sync(function, value)  # type: ignore[arg-type]  # each with its own


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One image, two lost replies, one that was not paid for."""
    with closing(SqliteStore(tmp_path / "holdfast.sqlite3", "me")) as store:
        for name, failure in (("good", None), ("lost", LOST), ("gone", LOST), ("free", UNPAID)):
            generation(store, name, failure)
    return tmp_path


EXPORT = (
    "idempotency_key,created_at,model,cost\n"
    f"gen_{IDS['good']}.0.0,2026-01-17T12:00:29Z,m,0.25\n"
    f"gen_{IDS['lost']}.0.0,2026-01-17T12:10:29Z,m,0.20\n"
    "=cmd,2026-01-17T13:59:00Z,m,0.24\n"
)


@pytest.fixture
def reconcile(folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Write an export and run the command; give how it ended and what it wrote."""

    def run(*words: str, export: str = EXPORT, upstream: str = "relay") -> tuple[int, str, str]:
        file = folder / "export.csv"
        file.write_text(export)
        code = main(["usage", "reconcile", str(file), "--upstream", upstream, *words, "--data", str(folder)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def balances(folder: Path) -> dict[str, int]:
    """Accounts of the provider's side, and that all of it holds."""
    with snapshot(folder) as conn:
        assert audit(conn).problems == ()
        accounts = ledger_sums(conn).accounts
    return {name: accounts.get(name, 0) for name in ("provider_cost", "unknown_exposure", "extra_images")}


def test_differences_are_listed(reconcile: Any, folder: Path) -> None:
    """Counted, then one line for each; nothing is written."""
    before = balances(folder)
    code, said, _ = reconcile()
    lines = said.splitlines()
    assert code == Exit.OK
    assert lines[0] == ("3 lines, 4 attempts at relay, 2026-01-17T11:58:29.000Z to 2026-01-17T14:01:00.000Z:")
    assert lines[1:5] == [
        "  1 are listed at another amount than we booked",
        "  1 lines belong to no attempt of ours",
        "  1 were unknown, and are listed: charged",
        "  1 were unknown, and are not listed: free",
    ]
    assert [line.split() for line in lines[7:]] == [
        ["amount_differs", f"att_{IDS['good']}", "0.24", "USD", "2", f"gen_{IDS['good']}.0.0", "0.25", "USD"],
        ["unknown_charged", f"att_{IDS['lost']}", "0.24", "USD", "3", f"gen_{IDS['lost']}.0.0", "0.20", "USD"],
        ["unknown_free", f"att_{IDS['gone']}", "0.24", "USD"],
        ["not_ours", "4", "=cmd", "0.24", "USD"],
    ]
    assert balances(folder) == before == {"provider_cost": 240_000, "unknown_exposure": 480_000, "extra_images": 0}


def test_what_the_list_names_is_resolved_once(reconcile: Any, folder: Path) -> None:
    """As a ledger transaction with its line in the log of changes; the customer's side stays."""
    code, said, _ = reconcile("--resolve", "named", "--json")
    assert (code, json.loads(said)["resolved"]) == (Exit.OK, 1)
    assert balances(folder) == {"provider_cost": 440_000, "unknown_exposure": 240_000, "extra_images": 0}
    with snapshot(folder) as conn:
        (noted,) = entries(conn, limit=10)
    assert (noted.actor, noted.action, noted.target) == ("operator", "exposure.resolved", f"att_{IDS['lost']}")
    assert noted.details is not None
    assert (noted.details["exposed_micros"], noted.details["cost_micros"]) == (240_000, 200_000)
    code, said, _ = reconcile("--resolve", "named", "--json")
    assert (code, json.loads(said)["resolved"], json.loads(said)["counts"]["agrees"]) == (Exit.OK, 0, 1)


def test_all_that_turns_out_is_resolved_where_that_is_wanted(reconcile: Any, folder: Path) -> None:
    """What is not listed was not charged: its exposure ends at nothing."""
    code, said, _ = reconcile("--resolve", "all")
    assert code == Exit.OK
    assert said.splitlines()[-1] == "Resolved 2 of unknown outcome."
    assert balances(folder) == {"provider_cost": 440_000, "unknown_exposure": 0, "extra_images": 0}
    assert main(["ledger", "check", "--data", str(folder)]) == Exit.OK


def test_one_that_is_too_young_keeps_nobody_else(reconcile: Any, folder: Path) -> None:
    """What can be said is written down; the other is told with the reason, and is for tomorrow."""
    now = rfc3339(SystemClock().now())
    with DataFolder(folder) as data, closing(SqliteStore(data.paths.database, "me")) as store:
        statement = "UPDATE attempt SET ended_at = ? WHERE id = ?"
        store.write_sync(lambda conn: conn.execute(statement, (now, f"att_{IDS['gone']}")).rowcount)
    days = ("--since", "2026-01-17", "--until", now[:10])
    code, said, _ = reconcile("--resolve", "all", *days)
    assert code == Exit.OK
    resolved, _, left, why = said.splitlines()[-4:]
    assert (resolved, left) == ("Resolved 1 of unknown outcome.", "Not resolved: 1.")
    assert f"att_{IDS['gone']} is unknown for less than an hour" in why
    assert balances(folder) == {"provider_cost": 440_000, "unknown_exposure": 240_000, "extra_images": 0}
    _, said, _ = reconcile("--resolve", "all", "--json", *days)
    told = json.loads(said)
    assert (told["resolved"], [each["attempt_id"] for each in told["unresolved"]]) == (0, [f"att_{IDS['gone']}"])


def test_beyond_the_estimate_is_an_extra(reconcile: Any, folder: Path) -> None:
    """A provider that took more than the list price of what was asked for."""
    reconcile("--resolve", "named", export=EXPORT.replace("0.20", "0.50"))
    assert balances(folder) == {"provider_cost": 480_000, "unknown_exposure": 240_000, "extra_images": 260_000}


def test_a_folder_in_use_is_not_written(reconcile: Any, folder: Path) -> None:
    """Nor guessed who has it: a holder that is no gateway cannot be asked."""
    with DataFolder(folder):
        code, _, complaint = reconcile("--resolve", "all")
    assert code == Exit.FOLDER_LOCKED
    assert "Where it answers is not on record" in complaint
    assert balances(folder)["unknown_exposure"] == 480_000


def test_named_days_are_the_time_that_the_list_covers(reconcile: Any) -> None:
    """Also where the list has no times, or covers more than its lines show."""
    export = f"id\natt_{IDS['good']}\n"
    code, _, complaint = reconcile(export=export)
    assert (code, "The export has no times" in complaint) == (Exit.USAGE, True)
    told = json.loads(reconcile("--since", "2026-01-17", "--until", "2026-01-17", "--json", export=export)[1])
    assert (told["since"], told["until"], told["attempts"]) == (
        "2026-01-17T00:00:00.000Z",
        "2026-01-18T00:00:00.000Z",
        4,
    )
    assert (told["counts"]["agrees"], told["counts"]["unknown_free"]) == (1, 2)


def test_unusual_columns_and_units_are_told(reconcile: Any) -> None:
    """A relay's quota, 500,000 a dollar."""
    export = f"what;when;spent\natt_{IDS['good']};2026-01-17T12:00:29Z;120000\n"
    columns = ("--column", "reference=what", "--column", "time=when", "--column", "amount=spent")
    told = json.loads(reconcile(*columns, "--per-unit", "500000", "--json", export=export)[1])
    assert told["counts"]["agrees"] == 1


@pytest.mark.parametrize(
    ("words", "options", "told"),
    [
        (("--per-unit", "many"), {}, "--per-unit is 'many'"),
        (("--since", "2026-01-17"), {}, "Give both --since and --until"),
        (("--column", "prize=x"), {}, "There is no column 'prize' to be read"),
        ((), {"upstream": "rely"}, "Nothing was ever sent to an upstream 'rely'. Did you mean 'relay'?"),
        ((), {"export": "id,created_at,cost\nx,2026-01-17,much\n"}, "Line 2: 'much' is no amount"),
    ],
)
def test_what_cannot_be_meant_is_told_in_one_line(
    reconcile: Any, words: tuple[str, ...], options: dict[str, str], told: str
) -> None:
    """With what to write instead."""
    code, said, complaint = reconcile(*words, **options)
    assert (code, said) == (Exit.USAGE, "")
    assert told in complaint
    assert complaint.count("\n") == 1
