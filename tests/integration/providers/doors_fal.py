"""fal's queue."""

from __future__ import annotations

from provider_suite import Door

DOORS = (
    Door(
        name="fal",
        provider="fal",
        model="fal-ai/nano-banana-pro",
        paid_if_refused=("no", "unknown"),
        paid_if_failed="no",
        is_polled=True,
        takes_back=True,
        is_inline=False,
    ),
)
