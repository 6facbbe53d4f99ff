"""`holdfast timeouts` shows every limit, each with a reason."""

from __future__ import annotations

import json

import pytest

from holdfast.cli.main import main
from holdfast.cli.timeouts import WIDTH, table
from holdfast.config import Deadlines
from holdfast.policy.deadlines import explain
from holdfast.types import Tier


def as_json(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    """Run the command for a program."""
    assert main(["timeouts", "--json", *words]) == 0
    told = json.loads(capsys.readouterr().out)
    assert isinstance(told, dict)
    return told


def seconds(told: dict[str, object], size: str, name: str) -> float:
    """Pick one limit."""
    rows = told["timeouts"]
    assert isinstance(rows, list)
    return float(next(row["seconds"] for row in rows if (row["size"], row["name"]) == (size, name)))


def test_all_sizes_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Without options the whole table is there."""
    assert main(["timeouts"]) == 0
    said = capsys.readouterr().out
    assert all(f"\n{tier}\n" in said for tier in Tier)
    assert said.startswith("network: intranet\n")


def test_the_shipped_deadlines_are_the_published_ones(capsys: pytest.CaptureFixture[str]) -> None:
    """300, 300 and 600 s, by size."""
    told = as_json(capsys)
    assert [seconds(told, size, "generation") for size in ("1K", "2K", "4K")] == [300.0, 300.0, 600.0]


def test_one_size_can_be_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    """`--size 4K` shows that size alone."""
    told = as_json(capsys, "--size", "4K")
    rows = told["timeouts"]
    assert isinstance(rows, list)
    assert {row["size"] for row in rows} == {"4K"}


def test_a_slow_network_gets_more_time(capsys: pytest.CaptureFixture[str]) -> None:
    """`--network` stands in for the setting."""
    told = as_json(capsys, "--size", "1K", "--network", "home")
    assert told["network"] == "home"
    assert seconds(told, "1K", "generation") == 600.0


def test_the_environment_is_heard(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is shown is what a gateway started here would use."""
    monkeypatch.setenv("HOLDFAST_DEADLINES__NETWORK", "peak")
    assert as_json(capsys, "--size", "2K")["network"] == "peak"


@pytest.mark.parametrize("tier", list(Tier))
def test_every_row_says_why(tier: Tier) -> None:
    """A number without a reason is a guess; and no line is too wide to read."""
    rows = explain(tier, Deadlines())
    lines = table(tier, rows)
    text = " ".join(" ".join(lines).split())
    assert all(row.reason in text for row in rows)
    assert all(row.source in text for row in rows)
    assert max(map(len, lines)) <= WIDTH


def test_a_client_gets_its_program(capsys: pytest.CaptureFixture[str]) -> None:
    """With the numbers of its size; one that goes through holdfast unless it is told otherwise."""
    assert main(["timeouts", "--client", "go", "--size", "4K"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("// A 4K image through holdfast, with Go net/http.\n")
    assert "total = 900 * time.Second" in said
    assert main(["timeouts", "--client", "Go", "--size", "4K", "--without-holdfast"]) == 0
    alone = capsys.readouterr().out
    assert "silence = 600 * time.Second" in alone
    assert "Idempotency-Key" not in alone


def test_a_program_hears_settings_and_network(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """1K from home waits as 4K does; the beats are those of the operator's gateway."""
    monkeypatch.setenv("HOLDFAST_HEARTBEAT__FIRST_BEAT_S", "30")
    assert main(["timeouts", "--client", "requests", "--network", "home"]) == 0
    said = capsys.readouterr().out
    assert "SILENCE_S = 90\n" in said
    assert "No attempt begins after 600 s" in said


def test_a_program_for_a_program(capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` has it whole, and its numbers with their reasons."""
    told = as_json(capsys, "--client", "fetch", "--size", "2K", "--without-holdfast")
    assert (told["client"], told["size"], told["network"], told["holdfast"]) == ("fetch", "2K", "intranet", False)
    assert (told["language"], told["run"]) == ("javascript", "node Image.mjs")
    assert "TOTAL_MS = 420000" in str(told["program"])
    limits, numbers = told["limits"], told["numbers"]
    assert isinstance(limits, list)
    assert "300 s" in limits[0]
    assert isinstance(numbers, dict)
    assert numbers["silence_s"]["value"] == 300


def test_an_unknown_client_is_told_which_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    """All of them, in one line, with the exit code of a wrong command line."""
    assert main(["timeouts", "--client", "guzzle"]) == 2
    said = capsys.readouterr().err
    assert "There is no recipe for 'guzzle'. There are: requests, httpx, " in said
    assert said.count("\n") == 1


def test_without_holdfast_needs_a_client(capsys: pytest.CaptureFixture[str]) -> None:
    """The table is the gateway's own: the option would have no effect."""
    assert main(["timeouts", "--without-holdfast"]) == 2
    assert "--client" in capsys.readouterr().err
