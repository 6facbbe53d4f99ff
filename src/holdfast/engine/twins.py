"""Callers of other processes who seem to wait for what is asked for once more: asked whether they are still there.

A departure without a word is seen by what is sent next. Where its repeat comes to the same process, that sends a beat
ahead of its time (`gateway.generate`); where it comes to another one, the two speak through the database: a notice
asks, and that a caller has left stands in the record a moment later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from holdfast.engine.core import Core
from holdfast.errors import StorageError
from holdfast.log import emit
from holdfast.policy.joining import TWIN_WAIT_S
from holdfast.store.joining import ask_after, count_waiting

POLL_S = 0.2


async def fate_elsewhere(core: Core, generation_ids: Sequence[str]) -> None:
    """Find out whether those who wait at other processes for generations are there; a while is all that it may take.

    Whoever stays says nothing: then all of that while passes. If the database does not answer, it is not known.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + TWIN_WAIT_S
    try:
        before = await core.store.read(count_waiting, generation_ids)
        await core.store.write(ask_after, generation_ids)
        while loop.time() < until:
            await asyncio.sleep(POLL_S)
            if await core.store.read(count_waiting, generation_ids) < before:
                return
    except (StorageError, OSError) as exc:
        emit("storage.failed", level="error", message=str(exc))
