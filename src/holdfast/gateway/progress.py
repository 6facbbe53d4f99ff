"""What may honestly be said of how far a generation is. Pure."""

from __future__ import annotations

from datetime import datetime

from holdfast.clock import from_rfc3339
from holdfast.config import Settings
from holdfast.policy.latency import prior
from holdfast.store.records import GenerationRow
from holdfast.types import Tier
from holdfast.wire.generations import Progress


def progress_of(row: GenerationRow, settings: Settings, at: datetime) -> Progress:
    """The share of past images of this size that were there after as long a time; nothing is known of this one."""
    latency = prior(Tier(row.tier), scale=settings.latency.scale)
    elapsed_s = max(0.0, (at - from_rfc3339(row.created_at)).total_seconds())
    return Progress(
        elapsed_s=round(elapsed_s, 3),
        expected_s=round(latency.expected_s, 3),
        p95_s=round(latency.p95_s, 3),
        fraction=round(latency.fraction_done(elapsed_s), 4),
    )
