"""The page on keys: its commands run as they stand, its numbers are the code's, and its codes exist."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from holdfast.cli.main import main
from holdfast.policy.wrong_keys import DELAY_S_MAX, EVERY_S, FREE, OF_AN_ADDRESS_MAX
from holdfast.wire.failures import CODES
from holdfast.wire.keys import OVERLAP_S_DEFAULT, OVERLAP_S_MAX

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "how-to" / "keys.md").read_text("utf-8")
COMMANDS_PAGE = (ROOT / "docs" / "reference" / "commands.md").read_text("utf-8")
COMMANDS = re.findall(r"^    holdfast (.*)$", PAGE, re.MULTILINE)


def test_every_command_runs_in_its_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From the first key of a folder to a revoked one; KEY is one that the page made."""
    everywhere = ["--data", str(tmp_path), "--json"]
    assert main(["keys", "create", "mine", *everywhere]) == 0
    capsys.readouterr()
    made = ""
    for command in COMMANDS:
        words = [made if word == "KEY" else word for word in shlex.split(command)]
        assert main([*words, *everywhere]) == 0, command
        document = json.loads(capsys.readouterr().out)
        if words[1] == "create":
            made = document["id"]
    assert {"create", "list", "group", "rotate", "change", "revoke"} == {each.split()[1] for each in COMMANDS}
    assert document["state"] == "revoked"


def test_every_block_is_of_commands() -> None:
    """Another kind would stand there unread."""
    blocks = re.findall(r"(?:^    .*\n)+", PAGE, re.MULTILINE)
    assert "".join(blocks).count("\n") == len(COMMANDS)
    assert "```" not in PAGE


def test_numbers_are_those_of_the_code() -> None:
    """How wrong keys are slowed, and how long two secrets are valid."""
    assert FREE == 5
    assert "Five wrong keys" in PAGE
    assert EVERY_S == 1.0
    assert "then one a second" in PAGE
    assert f"at most {DELAY_S_MAX:g} s" in PAGE
    assert f"more than {OF_AN_ADDRESS_MAX} that wait" in PAGE
    assert OVERLAP_S_DEFAULT == 24 * 3600
    assert "`24h` if left out" in COMMANDS_PAGE
    assert f"{OVERLAP_S_MAX // 86_400} days at most" in COMMANDS_PAGE


def test_codes_exist() -> None:
    """With the statuses that stand beside them."""
    told = re.findall(r"\b(4\d\d) `(\w+)`", PAGE)
    assert len(told) >= 7
    assert [(int(status), code) for status, code in told] == [(CODES[code].status, code) for _, code in told]
