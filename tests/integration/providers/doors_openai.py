"""OpenAI's doors: the Images API, and Responses in the background."""

from __future__ import annotations

from provider_suite import Door

from holdfast.types import Tier

_SIZES = {Tier.K1: "1024x1024", Tier.K2: "2048x2048", Tier.K4: "2880x2880"}

DOORS = (
    Door(
        name="openai-images",
        provider="openai",
        model="gpt-image-2",
        path="/v1",
        sizes=_SIZES,
        paid_if_refused=("no", "unknown"),
    ),
    Door(
        name="openai-responses",
        provider="openai",
        api="responses",
        extra={"outer_model": "gpt-5.5"},
        model="gpt-image-2",
        path="/v1",
        sizes=_SIZES,
        paid_if_refused=("no", "unknown"),
        is_polled=True,
        takes_back=True,
    ),
)
