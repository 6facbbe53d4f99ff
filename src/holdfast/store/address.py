"""Where the gateway that has a data folder answers: written beside its lock, for commands on the same machine."""

from __future__ import annotations

import json
import os
from pathlib import Path

FILE = "address"
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}


def note_address(data: Path, base_url: str) -> None:
    """Write down where this process answers; whole or not at all.

    Args:
        data: The folder that it has.
        base_url: Its plain listener; a wildcard is written as the loopback address that it includes.
    """
    for wildcard, loopback in _WILDCARDS.items():
        base_url = base_url.replace(f"//{wildcard}:", f"//{loopback}:")
    temporary = data / f"{FILE}.new"
    temporary.write_text(json.dumps({"base_url": base_url, "pid": os.getpid()}), "ascii")
    temporary.rename(data / FILE)


def noted_address(data: Path, pid: int) -> str | None:
    """Give where a process answers; None if it was another one that wrote it down, or none.

    Args:
        data: The folder.
        pid: Who has its lock.
    """
    try:
        noted = json.loads((data / FILE).read_text("ascii"))
    except (OSError, ValueError):
        # Whoever has the folder serves nobody yet, or is no gateway.
        return None
    is_its_own = isinstance(noted, dict) and noted.get("pid") == pid
    return noted["base_url"] if is_its_own and isinstance(noted.get("base_url"), str) else None
