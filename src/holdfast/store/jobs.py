"""What a dispatcher is given: that a generation is to be worked on. Values, and the one thing a worker gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Deliver = Callable[[str], None]
"""Begin to work on a generation, named by its id. It returns at once, and never raises; how it ended is reported to the
dispatcher (`finished`, `requeue`)."""

LANE = "generation"
"""Of a job whose route nobody named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A generation that is to be worked on."""

    generation_id: str
    drive: int = 0
    """Driven again, it is another job: the one before may not have been put away yet."""
    lane: str = LANE
    """Its public model: only a worker whose settings name it is given the job."""
    priority: int = 0
    """Higher first; of the same, the oldest first."""
    run_after_s: float = 0.0
    """Given to nobody before so many seconds have passed."""

    @property
    def key(self) -> str:
        """What makes it one job, however often it is enqueued."""
        return f"{self.generation_id}:{self.drive}"
