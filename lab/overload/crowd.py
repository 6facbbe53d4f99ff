"""Who asks, and when: drawn from one seed.

Pure: no I/O, clock or randomness of its own. Seconds are real ones.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

PIXELS = "2880x2880"
"""What an OpenAI-shaped upstream has for 4K."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One image that somebody wants."""

    number: int
    at_s: float
    """When it is asked for, since the beginning."""

    @property
    def prompt(self) -> str:
        """What is asked: no two ask the same, so that no answer can be taken for another's."""
        return f"a lighthouse in the fog, wanted {self.number:06d}"


def wanted(seed: int, *, per_s: float, seconds: float) -> tuple[Wanted, ...]:
    """Draw the load: so many a second on average, at random moments."""
    chance = random.Random(f"overload/{seed}")
    found: list[Wanted] = []
    at_s = chance.expovariate(per_s)
    while at_s < seconds:
        found.append(Wanted(number=len(found), at_s=at_s))
        at_s += chance.expovariate(per_s)
    return tuple(found)
