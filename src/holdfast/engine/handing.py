"""What a worker that leaves still has in hand when its time is over, for whoever takes it up.

Its calls are broken off by then. An attempt with a handle stays as it is: the next worker asks for it, and buys
nothing. Of any other nobody can know the outcome, and who leaves says so himself: whoever waits for it is told, or its
part goes on elsewhere, at once, and its place at the upstream is free, even if no other worker is there yet. A worker
that is killed says nothing; then the one that misses it does (`engine.sharing`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from holdfast import faults
from holdfast.engine import recover
from holdfast.engine.core import Core
from holdfast.engine.lost import Lost
from holdfast.errors import StorageError
from holdfast.log import emit
from holdfast.policy.mishaps import reason_of
from holdfast.store import spool
from holdfast.store.generations import get_owned

WITHIN_S = 5.0
"""For all of it: a supervisor kills soon. What is not done by then is done by whoever takes it up."""


async def hand_over(core: Core, generation_ids: Iterable[str]) -> None:
    """Settle what has come whole, and end as unknown what nobody can go on with, of generations that are left here."""
    ids = sorted(generation_ids)
    try:
        async with asyncio.timeout(WITHIN_S):
            for first in range(0, len(ids), recover.AT_ONCE):
                await _hand_over(core, ids[first : first + recover.AT_ONCE])
    except TimeoutError:
        emit("storage.failed", level="warning", message="What was left could not be written down in time.")
    except (StorageError, OSError) as exc:
        message = reason_of(exc) if isinstance(exc, OSError) else str(exc)
        emit("storage.failed", level="warning", message=message)


async def _hand_over(core: Core, ids: Sequence[str]) -> None:
    in_spool = await core.in_thread(spool.attempts_in, core.spool)
    for record in await core.store.read(get_owned, ids, core.owner):
        for attempt in record.attempts:
            if attempt.id in in_spool:
                await recover.settle_spooled(core, attempt.id, core.clock.monotonic() + WITHIN_S)
    await faults.point("departure.after_spool")
    # What is there still our own disk, or what holds images, does not take; bought again, it would not be either.
    lost = Lost(core, frozenset(await core.in_thread(spool.attempts_in, core.spool)))
    records = await core.store.read(get_owned, ids, core.owner)
    await asyncio.gather(*(recover.end_lost(core, record, lost) for record in records))
    await faults.point("departure.after_unknown")
