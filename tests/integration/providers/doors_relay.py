"""Relays: the Images API with links or data URLs in its answers, and chats in every shape."""

from __future__ import annotations

from provider_suite import Door

_BILLED = ("yes", "yes")

DOORS = (
    Door(
        name="relay-images",
        provider="openai",
        model="nano-banana-pro",
        path="/v1",
        extra={"flavor": "relay"},
        paid_if_refused=_BILLED,
    ),
    Door(
        name="relay-chat",
        provider="openai",
        api="chat",
        model="gemini-3-pro-image",
        path="/v1",
        extra={"flavor": "relay"},
        paid_if_refused=_BILLED,
    ),
    Door(
        name="openrouter",
        provider="openai",
        api="chat",
        model="google/gemini-3-pro-image",
        path="/v1",
        extra={"chat_form": "openrouter"},
        paid_if_refused=("no", "unknown"),
    ),
)
