"""Seedream on Ark: one that draws three sizes, and one that draws nothing small."""

from __future__ import annotations

from provider_suite import Door

from holdfast.types import Tier

DOORS = (
    Door(name="ark", provider="ark", model="seedream-4-0-250828", path="/api/v3"),
    Door(
        name="ark-4.5",
        provider="ark",
        model="seedream-4-5-251128",
        path="/api/v3",
        sizes={Tier.K1: "2048x2048", Tier.K2: "2048x2048", Tier.K4: "4096x4096"},
    ),
)
