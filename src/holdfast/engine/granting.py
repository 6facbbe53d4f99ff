"""What a credential takes of all processes together, where there are several."""

from __future__ import annotations

from typing import Any

from holdfast.engine.core import Core
from holdfast.engine.course import Target
from holdfast.engine.patience import patiently
from holdfast.generation import AttemptState
from holdfast.log import emit
from holdfast.store.attempts import get_attempt
from holdfast.store.places import PLACE_S, Full, Grant
from holdfast.store.records import NewAttempt


def grant_of(core: Core, target: Target, key: int) -> Grant | None:
    """Say what a credential takes of all of them; None: this process is alone, or there is no limit."""
    if not core.dispatcher.is_shared:
        return None
    upstream, number = target.upstream, target.number_of(key)
    if number is None:
        # It has left the settings: what was chosen before is the last of it.
        return None
    grant = Grant(
        upstream=upstream.name,
        key_number=number,
        concurrency=upstream.concurrency,
        per_minute=upstream.per_minute,
        per_day=upstream.per_day,
    )
    return grant if grant.is_limited else None


async def begun_unheard(core: Core, new: NewAttempt, error: Exception) -> NewAttempt | Full | None:
    """Say what became of a send commit that the database did not answer, once it does.

    It is away for longer than a write waits: nothing was sent, nobody else has this generation for certain, and there
    may be time left. `Full`: nothing was written, and it asks for a place again. None: it was, and somebody else has
    taken the generation over since.

    Raises:
        StorageError: The store is closed.
    """
    ids: dict[str, Any] = {"generation_id": new.generation_id, "attempt_id": new.id}
    emit("storage.failed", level="error", message=str(error), **ids)
    made = await patiently(lambda: core.store.read(get_attempt, new.id), new.generation_id)
    if made is None:
        return Full(PLACE_S)
    return new if AttemptState(made.state) is AttemptState.SENT else None
