"""What is asked, by whom and when, and what befalls it on its way: all of it drawn from one seed.

Pure: no I/O, clock or randomness of its own. Seconds are those of life; whoever acts divides them by the speed.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from holdfast.simulator.path import Fate, Harm

KINDS = ("sdk", "loop", "keyed", "async")
"""Who asks; see `callers`."""
SIZES = (("1024x1024", 0.80), ("2048x2048", 0.15), ("2880x2880", 0.05))
"""Pixels and their shares; the last is what this upstream has for 4K."""
KILLED_SHARE = 0.30
"""Of the callers' connections."""
KILLED_WITHIN_S = 60.0
"""By the clock: at a moment from opening up to here, which covers most of a 1K call."""
KILLED_WITHIN_BYTES = 2_200_000
"""By bytes: somewhere in the answer of a 1K call, which has 2.3 MB."""
_PROMPT = re.compile(r"\border (\d{5})\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One image that somebody wants."""

    number: int
    kind: str
    size: str
    at_s: float
    """When it is first asked for, since the beginning."""

    @property
    def prompt(self) -> str:
        """What is asked: no two orders ask the same, so that every record tells whose it is."""
        return f"a lighthouse in the fog, order {self.number:05d}"

    @property
    def model(self) -> str:
        """Each kind of caller has a model of its own: the upstream's books then tell them apart."""
        return model_of(self.kind)


def model_of(kind: str) -> str:
    """Name the model of a kind of caller."""
    return f"survival-{kind}"


def kind_of(model: str) -> str:
    """Tell whose model it is."""
    return model.removeprefix("survival-")


def number_of(prompt: str) -> int:
    """Tell which order a prompt is of."""
    found = _PROMPT.search(prompt)
    assert found is not None, "a prompt of this load"
    return int(found[1])


def orders(seed: int, count: int, within_s: float) -> tuple[Order, ...]:
    """Draw the load: as many orders of each kind, at moments of their own."""
    chance = random.Random(f"orders/{seed}")
    at_s = sorted(chance.uniform(0.0, within_s) for _ in range(count))
    pixels, shares = zip(*SIZES, strict=True)
    sizes = chance.choices(pixels, shares, k=count)
    return tuple(
        Order(number=number, kind=KINDS[number % len(KINDS)], size=size, at_s=at)
        for number, (at, size) in enumerate(zip(at_s, sizes, strict=True))
    )


def kills(seed: int, count: int, within_s: float) -> tuple[float, ...]:
    """Draw the moments at which the gateway is killed: one in each stretch, with a pause before the next."""
    chance = random.Random(f"kills/{seed}")
    stretch_s = within_s / max(1, count)
    return tuple(stretch_s * (index + chance.uniform(0.1, 0.8)) for index in range(count))


def fate_of(seed: int, number: int, *, speed: float, share: float = KILLED_SHARE) -> Fate | None:
    """Draw what becomes of a caller's n-th connection: most are spared.

    Half of the others end at a random moment, half at a random byte of what the server says: a cut in the middle of
    an answer would otherwise hardly ever happen, since an answer takes milliseconds and its image a minute.
    """
    chance = random.Random(f"connection/{seed}/{number}")
    if chance.random() >= share:
        return None
    harm = chance.choice((Harm.RESET, Harm.RESET, Harm.END, Harm.STALL))
    if chance.random() < 0.5:
        return Fate(harm=harm, after_s=chance.uniform(0.0, KILLED_WITHIN_S) / speed)
    return Fate(harm=harm, after_bytes=chance.randrange(KILLED_WITHIN_BYTES))
