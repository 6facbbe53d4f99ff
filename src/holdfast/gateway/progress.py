"""What may honestly be said of how far a generation is."""

from __future__ import annotations

from datetime import datetime

from holdfast.clock import from_rfc3339
from holdfast.engine.core import InLine
from holdfast.engine.latencies import Latencies
from holdfast.store.records import GenerationRow
from holdfast.types import Tier
from holdfast.wire.generations import Progress


def progress_of(row: GenerationRow, latencies: Latencies, at: datetime, *, in_line: InLine | None = None) -> Progress:
    """The share of past images of this model and size that were there after as long a time; nothing is known of this
    one.

    The time is that of the upstream's work: one that waits in line has not begun, and its wait comes on top of what is
    expected.
    """
    latency = latencies.expect(model=row.model, tier=Tier(row.tier))
    created_at = from_rfc3339(row.created_at)
    elapsed_s = max(0.0, (at - created_at).total_seconds())
    started_at = from_rfc3339(row.started_at) if row.started_at is not None else None
    if in_line is not None:
        waits_s = elapsed_s + in_line.estimate_s
    elif started_at is not None and started_at <= at:
        waits_s = max(0.0, (started_at - created_at).total_seconds())
    else:
        waits_s = 0.0
    return Progress(
        elapsed_s=round(elapsed_s, 3),
        expected_s=round(waits_s + latency.expected_s, 3),
        p95_s=round(waits_s + latency.p95_s, 3),
        fraction=round(latency.fraction_done(elapsed_s - waits_s), 4),
    )
