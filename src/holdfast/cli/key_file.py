"""The file that an API key is kept in: only its owner can read it."""

from __future__ import annotations

import os
from pathlib import Path


def write_key(file: Path, key: str) -> None:
    """Write a key to its file, with mode 0600 also where an older file was open to all; its folder is made."""
    file.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w", encoding="ascii") as stream:
        # An older file keeps its mode through O_CREAT.
        os.fchmod(fd, 0o600)
        stream.write(f"{key}\n")
