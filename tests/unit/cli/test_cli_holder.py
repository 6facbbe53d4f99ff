"""Whose a data folder is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.cli.holder import holder_of
from holdfast.store.lock import DataFolder


def test_the_process_that_has_the_folder_is_named(tmp_path: Path) -> None:
    """As its lock says, which the owner writes."""
    with DataFolder(tmp_path):
        assert holder_of(tmp_path) == os.getpid()


@pytest.mark.parametrize("text", ["", "unknown", "-1", "0", "1 2", "9" * 30])
def test_a_lock_that_names_nobody_is_nobodys(tmp_path: Path, text: str) -> None:
    """Nor is a process group, or every process, asked after."""
    assert holder_of(tmp_path) is None
    (tmp_path / "lock").write_text(text, "ascii")
    assert holder_of(tmp_path) is None


def test_a_process_that_has_ended_has_no_folder(tmp_path: Path) -> None:
    """What a killed gateway left behind names it still."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (tmp_path / "lock").write_text(str(ended.pid), "ascii")
    assert holder_of(tmp_path) is None
