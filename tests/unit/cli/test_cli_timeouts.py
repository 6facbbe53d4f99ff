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
