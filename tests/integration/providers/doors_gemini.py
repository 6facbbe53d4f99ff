"""Google's own doors: `generateContent`, and Interactions in the background."""

from __future__ import annotations

from provider_suite import Door

DOORS = (
    Door(name="gemini", provider="gemini", model="gemini-3-pro-image"),
    Door(
        name="gemini-interactions",
        provider="gemini",
        api="interactions",
        model="gemini-3-pro-image",
        is_polled=True,
        takes_back=True,
    ),
)
