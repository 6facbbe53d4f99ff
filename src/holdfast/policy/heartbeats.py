"""When a waiting caller hears from us."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.config import Heartbeat
from holdfast.policy.callers import CallerClass
from holdfast.policy.prefer import ASKED_BEAT_S_MIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Beats for one caller, seconds since its request was received."""

    first_beat_s: float | None
    """When 200 is committed and the first beat sent; None: never, the caller waits in silence for the true status."""
    beat_s: float
    """From beat to beat."""

    def __post_init__(self) -> None:
        assert self.first_beat_s is None or self.first_beat_s > 0.0
        assert self.beat_s > 0.0


SILENT = Schedule(first_beat_s=None, beat_s=1.0)
"""For whoever is told the status instead: no beat ever."""


def schedule_for(caller: CallerClass, settings: Heartbeat, *, asked_beat_s: float | None = None) -> Schedule:
    """Choose the beats of one caller.

    Args:
        caller: Impatient ones get the short schedule.
        settings: The operator's intervals.
        asked_beat_s: `Prefer: heartbeat=N`. 0: never commit 200 early. Another number is the longest silence that the
            caller's path bears: it sets the interval, and brings the first beat forward, never back.
    """
    first_beat_s, beat_s = (
        (settings.impatient_first_beat_s, settings.impatient_beat_s)
        if caller.is_impatient
        else (settings.first_beat_s, settings.beat_s)
    )
    longest_s = caller.silence_s_max
    usual = Schedule(first_beat_s=min(first_beat_s, longest_s), beat_s=min(beat_s, longest_s))
    if asked_beat_s is None:
        return usual
    if asked_beat_s <= 0.0:
        return Schedule(first_beat_s=None, beat_s=usual.beat_s)
    beat_s = max(asked_beat_s, ASKED_BEAT_S_MIN)
    assert usual.first_beat_s is not None
    return Schedule(first_beat_s=min(usual.first_beat_s, beat_s), beat_s=beat_s)
