"""`holdfast compensation preview`: other rules, applied to what a folder has charged; nothing is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from holdfast.cli.exits import Exit
from holdfast.cli.main import main
from holdfast.clock import rfc3339, ulid
from holdfast.store.attempts import begin_attempt, end_attempt
from holdfast.store.generations import accept
from holdfast.store.records import AttemptEnd, NewAttempt, NewBlob, NewGeneration
from holdfast.store.sqlite import SqliteStore
from holdfast.types import Charge, Failure, FailureKind, ImageInfo, Phase

INFO = ImageInfo(mime="image/png", width_px=1, height_px=1, bytes=70, sha256="ab" * 32)
REFUSED = Failure(kind=FailureKind.REFUSED_OUTPUT, phase=Phase.RECEIVE, charge=Charge.YES, detail="declined")
LOST = Failure(kind=FailureKind.LOST_REPLY, phase=Phase.WAIT, charge=Charge.UNKNOWN, detail="lost")


def generation(store: SqliteStore, *, ago: timedelta, took_s: float, tier: str, failure: Failure | None) -> None:
    """One image, sold at 0.30."""
    ended = datetime.now(UTC) - ago
    began = ended - timedelta(seconds=took_s)
    name = ulid(int(began.timestamp() * 1000), bytes(9) + bytes([len(tier) + int(took_s) % 200]))
    new = NewGeneration(
        id=f"gen_{name}",
        key_id="key_1",
        surface="openai",
        model="m",
        tier=tier,
        size="1x1",
        n=1,
        parts=1,
        request=b"{}",
        deadline_at="later",
        hard_deadline=False,
        created_at=rfc3339(began),
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
        upstream="google",
        provider="gemini",
        model="m",
        idempotency_key="",
        estimated_micros=240_000,
        owner="me",
        sent_at=rfc3339(began),
    )
    blob = NewBlob(id=f"img_{name}", kind="result", position=0, store_key=name, info=INFO)
    end = AttemptEnd(
        attempt_id=attempt.id, at=rfc3339(ended), purge_after="z", blobs=() if failure else (blob,), failure=failure
    )
    for function, value in ((accept, new), (begin_attempt, attempt), (end_attempt, end)):
        store.write_sync(function, value)  # type: ignore[arg-type]  # each with its own


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of this week: a fast image, a slow 1K, a slow 4K, a refusal, a lost one; a slow one of last month."""
    hour = timedelta(hours=1)
    with closing(SqliteStore(tmp_path / "holdfast.sqlite3", "me")) as store:
        generation(store, ago=30 * hour, took_s=20, tier="1K", failure=None)
        generation(store, ago=29 * hour, took_s=200, tier="1K", failure=None)
        generation(store, ago=28 * hour, took_s=250, tier="4K", failure=None)
        generation(store, ago=27 * hour, took_s=21, tier="1K", failure=REFUSED)
        generation(store, ago=26 * hour, took_s=22, tier="1K", failure=LOST)
        generation(store, ago=24 * 15 * hour, took_s=201, tier="1K", failure=None)
    return tmp_path


@pytest.fixture
def preview(folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Write rules and run the command; give how it ended and what it wrote."""

    def run(rules: str, *words: str) -> tuple[int, str, str]:
        file = folder / "rules.toml"
        file.write_text(rules)
        code = main(["compensation", "preview", str(file), *words, "--data", str(folder)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


SLOW_4K = '[[compensation]]\nwhen = "slow"\nsizes = ["4K"]\nslower_than_s = 240\nshare = 0.5\n'


def test_rules_are_applied_to_the_week(preview: Any) -> None:
    """Then: two slow ones and the refusal, whole. With these: half of the 4K, and the refusal by its default."""
    code, said, _ = preview(SLOW_4K)
    lines = said.splitlines()
    assert code == Exit.OK
    assert lines[0] == "In the last 7 days 4 generations were charged 1.20 USD; 0.90 USD were given back."
    assert lines[1] == "These rules would have given back 0.45 USD: 0.45 USD less."
    assert [line.split() for line in lines if line.startswith(("  slow", "  refused"))] == [
        ["refused", "1", "0.30", "USD", "0.00", "USD"],
        ["slow", "4K", "1", "0.15", "USD", "0.00", "USD"],
    ]


def test_the_rules_in_force_change_nothing(preview: Any) -> None:
    """What was given then is what the same rules give: one function decides both."""
    _, said, _ = preview('[[compensation]]\nwhen = "slow"\n')
    assert "would have given back 0.90 USD: as much." in said


def test_a_preview_can_be_read_by_a_program(preview: Any) -> None:
    """Micro-units, by rule and by day."""
    code, said, _ = preview(SLOW_4K, "--json", "--days", "31")
    told = json.loads(said)
    assert code == Exit.OK
    assert (told["generations"], told["charged_micros"], told["given_micros"]) == (5, 1_500_000, 1_200_000)
    assert told["would_give_micros"] == 450_000
    assert {rule["rule"]: rule["given_micros"] for rule in told["rules"]} == {"refused": 300_000, "slow 4K": 150_000}
    assert sum(day["would_give_micros"] for day in told["days"]) == 450_000
    assert told["currency"] == "USD"


def test_nothing_is_written(preview: Any, folder: Path) -> None:
    """The database is read, and stays byte for byte."""
    before = (folder / "holdfast.sqlite3").read_bytes()
    preview(SLOW_4K)
    assert (folder / "holdfast.sqlite3").read_bytes() == before


@pytest.mark.parametrize(
    ("rules", "words", "exit_code", "told"),
    [
        (SLOW_4K, ("--days", "0"), Exit.USAGE, "--days is '0'; write a whole number from 1 to 31."),
        (SLOW_4K, ("--days", "40"), Exit.USAGE, "--days is '40'"),
        (SLOW_4K * 2, (), Exit.SETTINGS, "compensation[0] and compensation[1] overlap: both are for 'slow', 4K."),
        ("", (), Exit.SETTINGS, "has no [[compensation]] entries"),
        ('[[compensation]]\nwhen = "late"\n', (), Exit.SETTINGS, "must be one of refused, empty, failed, slow"),
    ],
)
def test_what_cannot_be_meant_is_told_in_one_line(
    preview: Any, rules: str, words: tuple[str, ...], exit_code: Exit, told: str
) -> None:
    """With the place named."""
    code, said, complaint = preview(rules, *words)
    assert (code, said) == (exit_code, "")
    assert told in complaint
    assert complaint.count("\n") == 1


def test_a_folder_that_charged_nothing_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty one."""
    with closing(SqliteStore(tmp_path / "holdfast.sqlite3", "me")):
        pass
    (tmp_path / "rules.toml").write_text(SLOW_4K)
    assert main(["compensation", "preview", str(tmp_path / "rules.toml"), "--data", str(tmp_path)]) == Exit.OK
    assert capsys.readouterr().out == "Nothing was charged in the last 7 days.\n"
