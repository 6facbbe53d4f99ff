"""Which generations had a caller cut off, so that what is collected later is known as saved.

Pure: no I/O, clock or randomness; it keeps state, and is bounded.
"""

from __future__ import annotations

from collections import OrderedDict

GENERATIONS_MAX = 20_000
"""Remembered at once, 150 bytes each: two hours of a gateway that is cut off three times a second."""


class Departures:
    """See the module's docstring."""

    def __init__(self, generations_max: int = GENERATIONS_MAX) -> None:
        self._max = generations_max
        self._seen: OrderedDict[str, set[str] | None] = OrderedDict()
        """Oldest first, with those of its images that were collected one by one."""

    def __repr__(self) -> str:
        return f"<Departures of {len(self._seen)} generations>"

    def left(self, generation_id: str) -> None:
        """Note that somebody who waited was gone before the answer."""
        self._seen[generation_id] = self._seen.get(generation_id)
        self._seen.move_to_end(generation_id)
        if len(self._seen) > self._max:
            self._seen.popitem(last=False)

    def saved_by(self, generation_id: str, *, images: int, image_id: str | None = None) -> int:
        """Say how many images a collection has saved: each counts once.

        Args:
            generation_id: Whose they are.
            images: How many the answer held.
            image_id: The one that was fetched alone; None: all of them came.
        """
        if generation_id not in self._seen:
            return 0
        before = self._seen[generation_id]
        if image_id is None:
            del self._seen[generation_id]
            return max(0, images - len(before or ()))
        if before is None:
            before = self._seen[generation_id] = set()
        if image_id in before:
            return 0
        before.add(image_id)
        return images
