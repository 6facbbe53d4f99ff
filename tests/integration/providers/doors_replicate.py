"""Replicate's predictions: which stage refused what is not told, and neither is what that costs."""

from __future__ import annotations

from provider_suite import Door

DOORS = (
    Door(
        name="replicate",
        provider="replicate",
        model="google/nano-banana-pro",
        paid_if_refused=("unknown", "unknown"),
        tells_stage=False,
        is_polled=True,
        takes_back=True,
        is_inline=False,
    ),
)
