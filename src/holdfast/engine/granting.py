"""What a credential takes of all processes together, where there are several."""

from __future__ import annotations

from holdfast.engine.core import Core
from holdfast.engine.course import Target
from holdfast.store.places import Grant


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
