"""Patience with our own disk: what an upstream was paid for is written, however long the disk takes to have room.

An answer that could not be recorded stays in the spool. Nobody can be told how it ended before the record says so, and
a process that ends meanwhile leaves the next one all that it needs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from holdfast.errors import StorageError
from holdfast.log import emit

T = TypeVar("T")

PAUSE_S_FIRST = 0.5
PAUSE_S_MAX = 15.0
_NO_LONGER_OURS = frozenset({"closed", "owner_changed"})
"""Reasons that waiting does not change: this process writes nothing any more."""


async def patiently(write: Callable[[], Awaitable[T]], generation_id: str) -> T:
    """Make a write that must be made; while the disk refuses it, pause and try again.

    Args:
        write: Makes the write; called anew for each try. It must find by itself that an earlier try came through.
        generation_id: For the log.

    Raises:
        StorageError: The store is closed, or another process has taken the data folder over.
        Exception: Whatever else the write raised.
    """
    pause_s = PAUSE_S_FIRST
    while True:
        try:
            return await write()
        except (StorageError, OSError) as exc:
            if isinstance(exc, StorageError) and exc.reason in _NO_LONGER_OURS:
                raise
            emit("storage.failed", level="error", generation_id=generation_id, message=str(exc), again_in_s=pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(PAUSE_S_MAX, 2 * pause_s)
