"""Whose API a request speaks, where its surface does not tell. Pure."""

from __future__ import annotations

from enum import Enum, auto


class Vendor(Enum):
    """A vendor with a dialect of its own."""

    ARK = auto()
    """Seedream: OpenAI's path, other words."""
    REPLICATE = auto()
    """Predictions: a queue, in other words than fal's."""
