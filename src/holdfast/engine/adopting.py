"""Images of a worker that died after they were put where all keep them, and before its commit told of them.

The key of an image names its attempt. So whoever takes over a generation looks whether an attempt in flight has images
there, brings them into his own spool as if he had received them, and settles it: they are paid for, and nothing is
bought again. What else the answer said, such as what it cost, is lost with the dead worker's disk.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence

from holdfast import faults
from holdfast.engine import recover
from holdfast.engine.core import Core
from holdfast.generation import OPEN_ATTEMPT_STATES, AttemptState
from holdfast.log import emit
from holdfast.policy.mishaps import reason_of
from holdfast.store.blob_port import Lying
from holdfast.store.records import Record


async def adopt(core: Core, record: Record) -> int:
    """Settle the attempts in flight whose images are kept already; tell how many.

    What holds images may not answer: then nobody knows of any, as after any other answer that was lost.
    """
    adopted = 0
    for attempt in record.attempts:
        if AttemptState(attempt.state) not in OPEN_ATTEMPT_STATES:
            continue
        try:
            lying = await core.with_blobs(core.blobs.of_attempt, attempt.id)
            if not lying:
                continue
            await faults.point("adoption.before_bringing")
            await _bring(core, attempt.id, lying)
            await faults.point("adoption.before_settling")
            is_settled = await recover.settle_spooled(core, attempt.id, core.clock.monotonic() + recover.CONVERT_S)
        except OSError as exc:
            emit(
                "storage.failed",
                level="error",
                generation_id=attempt.generation_id,
                attempt_id=attempt.id,
                message=reason_of(exc),
            )
            continue
        if is_settled:
            adopted += 1
            emit("attempt.adopted", generation_id=attempt.generation_id, attempt_id=attempt.id, images=len(lying))
    return adopted


async def _bring(core: Core, attempt_id: str, lying: Sequence[Lying]) -> None:
    """Give images a place in the spool, under the names of what was received whole."""
    for each in lying:
        path = await core.with_blobs(core.blobs.bring, each.key, each.sha256)
        index = each.key.rpartition("-")[2].partition(".")[0]
        await core.in_thread(_link, path, f"{core.spool}/{attempt_id}-{index}.done")


def _link(source: str, target: str) -> None:
    with contextlib.suppress(FileExistsError):
        os.link(source, target)
