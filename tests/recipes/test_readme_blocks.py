"""The block of README.md and docs/quickstart.md that starts a gateway, run as it stands in an empty folder."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BEGINS = "export GEMINI_API_KEY"
STARTS_S = 30.0


def block_of(page: str) -> str:
    """Cut the block out of its page; a key stands where the page has dots."""
    blocks = re.findall(r"(?:^    .*\n)+", (ROOT / page).read_text("utf-8"), re.MULTILINE)
    (block,) = [block for block in blocks if block.strip().startswith(BEGINS)]
    assert "GEMINI_API_KEY=…" in block
    return re.sub(r"^    ", "", block, flags=re.MULTILINE).replace("…", "a-key-of-ones-own")


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Path]:
    """Make a folder that looks as a clone does after `make run`: with a `.venv` that has the command in it."""
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    program = tmp_path / ".venv" / "bin" / "holdfast"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m holdfast.cli.main "$@"\n', "utf-8")
    program.chmod(0o755)
    yield tmp_path


@pytest.mark.parametrize("page", ["README.md", "docs/quickstart.md"])
def test_the_block_that_serves_starts_a_gateway(clone: Path, page: str) -> None:
    """It serves, on the folder that the page names, and ends when it is interrupted."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
    # The port that the page means may be taken on this machine; that is all that is changed.
    process = subprocess.Popen(
        ["sh", "-c", block_of(page)],
        cwd=clone,
        env=environ | {"HOLDFAST_PORT": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        told: list[str] = []
        for line in process.stdout:
            told.append(line)
            if "http://127.0.0.1:" in line:
                break
        assert any("/v1" in line for line in told), told
        assert (clone / "holdfast-data" / "holdfast.sqlite3").exists()
    finally:
        os.killpg(process.pid, signal.SIGINT)
        said, _ = process.communicate(timeout=STARTS_S)
    assert "Traceback" not in said
