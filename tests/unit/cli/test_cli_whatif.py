"""`holdfast whatif` compares policies on the terminal, as JSON and as a picture, and tells mistakes in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.cli.exits import Exit
from holdfast.cli.main import main

Run = Callable[..., tuple[int, str, str]]
GATEWAY = """
[[upstreams]]
name = "google"
provider = "gemini"
base_url = "https://up.example"
keys = ["env:NEVER_SET"]
[[routes]]
model = "nano-banana-pro"
upstreams = [{ upstream = "google", model = "m" }]
"""
IN_EUROS = (
    GATEWAY
    + """
[money]
currency = "EUR"
[[prices]]
model = "nano-banana-pro"
micros = { "1K" = 120000, "2K" = 120000, "4K" = 200000 }
source = "contract"
valid_from = "2026-01-01"
"""
)


@pytest.fixture
def whatif(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command; give how it ended and what it wrote."""

    def run(*words: str) -> tuple[int, str, str]:
        code = main(["whatif", *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_the_published_practice_and_our_default_are_compared(whatif: Run) -> None:
    """Where nobody says what to compare."""
    code, out, err = whatif("overloaded", "--n", "200", "--seed", "3")
    assert (code, err) == (Exit.OK, "")
    assert out.startswith("Scenario overloaded, 200 orders at 20 a second, 00:00 to ")
    assert "seed 3." in out
    head = out.splitlines()[2].split()
    assert head == ["published-retries", "holdfast"]
    assert "purchases per image" in out
    assert "holdfast: share of the callers with their image" in out


def test_the_same_command_writes_the_same(whatif: Run) -> None:
    """To the last character; another seed does not."""
    first = whatif("overloaded", "--n", "150", "--json")
    assert first == whatif("overloaded", "--n", "150", "--json")
    assert first != whatif("overloaded", "--n", "150", "--json", "--seed", "1")


def test_files_of_ones_own_are_played(whatif: Run, tmp_path: Path) -> None:
    """No key has to be set, and nothing is asked of anybody."""
    scenario, policy = tmp_path / "monday.toml", tmp_path / "ours.toml"
    scenario.write_text("[[phase]]\n[phase.errors]\n400 = 1.0\n")
    policy.write_text(GATEWAY)
    code, out, _ = whatif(str(scenario), "--policy", str(policy), "--n", "20", "--json")
    assert code == Exit.OK
    told = json.loads(out)
    assert told["scenario"] == "monday"
    (figures,) = told["policies"]
    assert (figures["policy"], figures["delivered"], figures["generations"]) == ("ours", 0, 20)
    assert figures["told"] == {"invalid_request": 20}


def test_two_policies_of_one_name_are_told_apart(whatif: Run) -> None:
    """By their place."""
    _, out, _ = whatif("steady", "--policy", "holdfast", "--policy", "holdfast", "--n", "5", "--json")
    assert [each["policy"] for each in json.loads(out)["policies"]] == ["holdfast (1)", "holdfast (2)"]


def test_it_is_drawn(whatif: Run, tmp_path: Path) -> None:
    """Into the file that was named."""
    file = tmp_path / "plot.svg"
    code, out, _ = whatif("steady", "--n", "50", "--plot", str(file))
    assert code == Exit.OK
    assert out.endswith(f"drawn into {file}\n")
    assert file.read_text("utf-8").startswith("<svg ")


WRONG = [
    (("nowhere",), Exit.SETTINGS, "Unknown scenario 'nowhere'"),
    (("steady", "--policy", "holdfats"), Exit.SETTINGS, "Did you mean 'holdfast'"),
    (("steady", "--n", "0"), Exit.USAGE, "--n must be from 1 to 10,000,000"),
    (("steady", "--n", "many"), Exit.USAGE, "invalid int value"),
    (("steady", "--plot", ""), Exit.USAGE, "the path is empty"),
    ((), Exit.USAGE, "SCENARIO"),
]


@pytest.mark.parametrize(("words", "code", "told"), WRONG, ids=[told for *_, told in WRONG])
def test_mistakes_are_told_in_one_line(whatif: Run, words: tuple[str, ...], code: Exit, told: str) -> None:
    """With the exit code that scripts know."""
    ended, out, err = whatif(*words)
    assert (ended, out) == (code, "")
    assert told in err
    assert err.count("\n") == 1


def test_a_picture_that_cannot_be_written_is_told(whatif: Run, tmp_path: Path) -> None:
    """With the file and the reason."""
    code, _, err = whatif("steady", "--n", "5", "--plot", str(tmp_path / "absent" / "plot.svg"))
    assert code == Exit.USAGE
    assert "cannot be written: No such file or directory" in err


def test_amounts_in_two_currencies_are_not_compared(whatif: Run, tmp_path: Path) -> None:
    """Whoever prices in euros compares with others in euros."""
    policy = tmp_path / "euros.toml"
    policy.write_text(IN_EUROS)
    code, _, err = whatif("steady", "--policy", str(policy), "--policy", "holdfast", "--n", "5")
    assert code == Exit.SETTINGS
    assert "prices in EUR and USD" in err
    code, out, _ = whatif("steady", "--policy", str(policy), "--n", "5")
    assert code == Exit.OK
    assert "0.00 EUR" in out
