"""How long images are kept, and what may be removed from the data folder: nothing that somebody may still want.

An image that was collected goes after a while; one that never was is kept until the very end of retention. Prompt and
reference images go with the images; the record and the ledger stay.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from holdfast.config import Store

ABANDONED_S = 86400.0
"""Age from which a file that no row knows counts as left behind: whatever was being written has long ended."""
INPUT_GRACE_S = 3600.0
"""Reference images are stored while a body is still read, and named by a row only once it is accepted."""
JUMP_S = 60.0
"""The wall clock ran this much away from the monotonic one: it was set, and what seems due may not be."""
JUMP_PAUSE_S = 3600.0
"""Nothing is deleted so long after a jump: time to set the clock right again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long things are kept, in seconds."""

    max_s: float
    after_finish_s: float
    after_collect_s: float

    @classmethod
    def of(cls, store: Store) -> Retention:
        """Read it from the settings."""
        return cls(
            max_s=store.retention_s_max,
            after_finish_s=store.keep_after_finish_s,
            after_collect_s=store.keep_after_collect_s,
        )


def delete_after(retention: Retention, *, ended_at: datetime, collected_at: datetime | None = None) -> datetime:
    """Say when a generation's images may be deleted, at the earliest.

    Args:
        retention: How long things are kept.
        ended_at: When the generation ended, or its last image came, whichever was later.
        collected_at: When the last of its images was collected; None while one of them was not.
    """
    cap = ended_at + timedelta(seconds=retention.max_s)
    if collected_at is None:
        return cap
    after_collecting = collected_at + timedelta(seconds=retention.after_collect_s)
    return min(cap, max(after_collecting, ended_at + timedelta(seconds=retention.after_finish_s)))


def all_collected_at(images: Iterable[tuple[str, str | None]]) -> str | None:
    """Say when the last image of a generation was collected; None if one of them was not, or there is none.

    Drafts go with the images that they led to: nobody is waiting for them.

    Args:
        images: The kind of each, and when it was collected (RFC 3339, UTC).
    """
    wanted = [collected_at for kind, collected_at in images if kind != "draft"]
    moments = [moment for moment in wanted if moment is not None]
    return max(moments) if moments and len(moments) == len(wanted) else None


def may_remove(*, age_s: float, is_kept: bool, is_settleable: bool) -> bool:
    """Decide on a file of an attempt that lies in the data folder.

    Args:
        age_s: Since it was written; negative if the clock was set back.
        is_kept: A row of an image that has not been deleted names it.
        is_settleable: Its attempt may still be settled: recovery decides, and it may be a paid image.
    """
    return age_s >= ABANDONED_S and not is_kept and not is_settleable


def changes_kept_since(now: datetime, *, days: int) -> datetime:
    """Say from when on changes are kept: from a midnight (UTC), so that they go once a day.

    Whoever deleted each minute what is a minute too old would note as much as he deletes.
    """
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight - timedelta(days=days)


def has_jumped(*, wall_s: float, monotonic_s: float) -> bool:
    """Tell from how far both clocks went since they were last read whether the wall clock was set."""
    return abs(wall_s - monotonic_s) > JUMP_S
