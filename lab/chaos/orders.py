"""What callers want and what they ended with; and whether a picture is the one that was made. No I/O."""

from __future__ import annotations

import hashlib
import random
import re
from dataclasses import dataclass, field
from functools import cache

from cluster import QUEUED, SYNC

from holdfast.simulator.film import paint
from holdfast.simulator.pictures import prepare

KINDS = ("sdk", "sdk keyed", "poller", "wanderer", "follower")
"""Who asks; see `callers`."""
SIZE, FORMAT = "1024x1024", "jpeg"
MARK = "marker Qx7Zt"
"""Stands in every prompt, and must stand in no log."""
_ORDER = re.compile(r"\border (\d{6})\b")
FORMATS = {"jpeg": (20, 20, 22, 2, 2), "png": (33, 37, 33, 4, 12)}
"""Where the comment begins that makes a picture unique, its mark, its length and the bytes of that, and what is around
it: behind the first segment of a JPEG, behind the header of a PNG."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One image that somebody wants."""

    number: int
    kind: str
    model: str
    cancels_after_s: float | None = None
    """Seconds of life after it was accepted; only who polls can."""
    is_doubled: bool = False
    """Sent twice at once with one key; only by who polls."""
    is_contrary: bool = False
    """Its key is used a second time with other words; only by who polls."""

    @property
    def prompt(self) -> str:
        """No two orders ask the same."""
        return f"a lighthouse in the fog, {MARK}, order {self.number:06d}"

    @property
    def key(self) -> str:
        """Its `Idempotency-Key`."""
        return f"chaos-{self.number:06d}"


@dataclass(slots=True, kw_only=True)
class Told:
    """What a caller ended with."""

    number: int
    kind: str
    end: str = "nothing"
    """`image`, `told` that there is none, `cancelled`, `nothing` (its last try broke off), or `wrong`."""
    tries: int = 0
    at: float = 0.0
    """Seconds since 1970."""
    took_s: float = 0.0
    sha256: str | None = None
    serial: str | None = None
    status: int | None = None
    code: str | None = None
    paid: str | None = None
    generation_id: str | None = None
    error: str | None = None
    ids: list[str] = field(default_factory=list)
    """Of all generations that it was told of."""
    numbers: list[int] = field(default_factory=list)
    """Of the events that it has read, in their order, over all its connections."""
    notes: list[str] = field(default_factory=list)
    """What it was told that must not be, as `I8: …`."""

    def knows(self, id_: object) -> None:
        """Note a generation that it was told of."""
        if isinstance(id_, str) and id_ not in self.ids:
            self.ids.append(id_)


def order_of(seed: int, number: int) -> Order:
    """Draw the n-th order."""
    chance = random.Random(f"order/{seed}/{number}")
    kind = KINDS[number % len(KINDS)]
    polls = kind == "poller"
    return Order(
        number=number,
        kind=kind,
        model=QUEUED if chance.random() < 0.35 else SYNC,
        cancels_after_s=chance.uniform(0.0, 60.0) if polls and chance.random() < 0.1 else None,
        is_doubled=polls and chance.random() < 0.2,
        is_contrary=polls and chance.random() < 0.1,
    )


def number_of(prompt: str) -> int:
    """Tell which order a prompt is of."""
    found = _ORDER.search(prompt)
    assert found is not None, "a prompt of this run"
    return int(found[1])


@cache
def _made(format_: str) -> bytes:
    width_px, _, height_px = SIZE.partition("x")
    return prepare(paint(int(width_px), int(height_px), format_), format_).with_serial("x" * 8).file()


def warm() -> None:
    """Draw once what all pictures are compared with."""
    for format_ in FORMATS:
        _made(format_)


def serial_of(picture: bytes) -> str | None:
    """Give what makes a picture unique; None if it is not, to the last byte, what the simulator makes."""
    for format_, (begin, mark_at, length_at, length_bytes, around) in FORMATS.items():
        ours = _made(format_)
        length = int.from_bytes(picture[length_at : length_at + length_bytes], "big") + around
        our_length = int.from_bytes(ours[length_at : length_at + length_bytes], "big") + around
        is_marked = picture[:begin] == ours[:begin] and picture[mark_at : mark_at + 2] == ours[mark_at : mark_at + 2]
        if is_marked and picture[begin + length :] == ours[begin + our_length :]:
            return picture[begin : begin + length].hex()
    return None


def sha256_of(picture: bytes) -> str:
    """Name a picture."""
    return hashlib.sha256(picture).hexdigest()
