"""`holdfast prices` shows both sides of every price, and ends so that a script knows whether calls are refused."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from holdfast.cli.exits import Exit
from holdfast.cli.main import main
from holdfast.store.sqlite import SqliteStore

SETTINGS = """
[money]
margin = 1.5
[[upstreams]]
name = "fal"
provider = "fal"
base_url = "https://queue.fal.run"
keys = ["k"]
[[routes]]
model = "nano-banana-pro"
upstreams = [{ upstream = "fal", model = "fal-ai/nano-banana-pro" }]
[[prices]]
model = "nano-banana-pro"
group = "team"
micros = { "4K" = 290000 }
source = "contract of May"
valid_from = "2026-05-01"
valid_until = "2026-12-31"
"""
ON = ("--on", "2026-11-28")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with settings; nothing of the environment's keys."""
    for name in ("GEMINI_API_KEY", "OPENAI_API_KEY", "ARK_API_KEY", "FAL_KEY", "REPLICATE_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "holdfast.toml").write_text(SETTINGS)
    return tmp_path


def with_group(folder: Path, label: str) -> None:
    """Make a data folder whose gateway has a group."""
    data = folder / "holdfast-data"
    data.mkdir()

    def make(conn: sqlite3.Connection) -> None:
        conn.execute("INSERT INTO key_group (id, label, created_at) VALUES ('kgr_1', ?, 'now')", (label,))

    with closing(SqliteStore(data / "holdfast.sqlite3", "me")) as store:
        store.write_sync(make)


def test_the_table_has_what_is_paid_and_what_it_costs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """List, customers with the margin, groups, upstreams, and where the figure is from."""
    with_group(folder, "team")
    assert main(["prices", "list", *ON, "--model", "nano-banana-pro"]) == Exit.OK
    head, first, _, last = capsys.readouterr().out.splitlines()
    assert head.split() == ["model", "image", "list", "customer", "groups", "costs", "from", "source"]
    assert first.split()[:8] == ["nano-banana-pro", "1K", "0.134", "0.201", "team", "0.201", "fal", "0.15"]
    assert last.split()[:8] == ["nano-banana-pro", "4K", "0.24", "0.36", "team", "0.29", "fal", "0.30"]
    assert "Google list price" in last


def test_the_table_is_for_programs_too(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In micro-units, with the currency once."""
    with_group(folder, "team")
    assert main(["prices", "list", *ON, "--json"]) == Exit.OK
    told = json.loads(capsys.readouterr().out)
    assert (told["day"], told["currency"]) == ("2026-11-28", "USD")
    row = next(row for row in told["prices"] if (row["model"], row["key"]) == ("nano-banana-pro", "4K"))
    assert (row["list_micros"], row["unit_micros"], row["groups"], row["costs"]) == (
        240_000,
        360_000,
        {"team": 290_000},
        {"fal": 300_000},
    )


def test_a_loss_is_told_and_is_no_reason_to_stop(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It may be meant."""
    with_group(folder, "team")
    assert main(["prices", "check", *ON]) == Exit.OK
    (line,) = capsys.readouterr().out.splitlines()
    assert line == "warning: nano-banana-pro 4K costs 0.30 USD at fal and brings 0.29 USD (group team)."


def test_a_group_that_is_spelled_otherwise_is_an_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its price would never count."""
    with_group(folder, "teams")
    assert main(["prices", "check", *ON, "--json"]) == Exit.SETTINGS
    (found,) = json.loads(capsys.readouterr().out)["findings"]
    assert (found["weight"], found["rule"], found["model"]) == ("error", "unknown_group", "nano-banana-pro")


def test_before_there_is_a_data_folder_prices_can_be_looked_at(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody knows the groups yet."""
    assert main(["prices", "check", *ON]) == Exit.OK
    assert "none is below its cost" in capsys.readouterr().out


def test_a_model_whose_prices_have_not_begun_is_an_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every call would be refused."""
    assert main(["prices", "check", "--on", "2026-01-01"]) == Exit.SETTINGS
    assert "nano-banana-pro has no price that holds on 2026-01-01" in capsys.readouterr().out
    assert main(["prices", "list", "--on", "2020-01-01"]) == Exit.OK
    assert "No price holds" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["prices", "list", "--model", "nano"], Exit.NO_SUCH_MODEL, "neither a price nor a route"),
        (["prices", "list", "--on", "tomorrow"], Exit.USAGE, "is no day such as"),
        (["prices"], Exit.USAGE, "action"),
    ],
)
def test_a_slip_is_told_in_one_line(
    words: list[str], code: Exit, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what to write instead."""
    assert main(words) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line


def test_settings_that_contradict_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As `serve` would."""
    (folder / "holdfast.toml").write_text(SETTINGS + 'currency = "EUR"\n')
    assert main(["prices", "check"]) == Exit.SETTINGS
    assert "nothing is converted here" in capsys.readouterr().err
