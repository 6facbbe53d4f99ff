"""Which process has a data folder, as its lock file says: for messages and for guesses, never for deciding to write."""

from __future__ import annotations

import os
from pathlib import Path

from holdfast.store.lock import Paths


def holder_of(data: Path) -> int | None:
    """Give the process that has a data folder; None when there is none, or it is no more."""
    lock = Paths(root=data).lock
    try:
        text = lock.read_text("ascii", "replace").strip()
    except OSError:
        # None there, or a folder that is not ours to look into.
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text)):
        return None
    try:
        os.kill(int(text), 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        # Somebody else's, and alive.
        return int(text)
    return int(text)
