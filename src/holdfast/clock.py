"""The one reader of time and randomness; everything else takes a `Clock`.

`SystemClock` is the real one. Tests and the simulation bring clocks that jump.
"""

from __future__ import annotations

import os
import random
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

# Crockford's base 32, as ULIDs spell it: no I, L, O, U.
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
# Two characters at a time: each generation has five ids.
_PAIRS = tuple(first + second for first in _ALPHABET for second in _ALPHABET)
_SHIFTS = tuple(range(120, -1, -10))
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """What the system may know of time and chance."""

    def monotonic(self) -> float:
        """Seconds that never run backwards; deadlines of live generations are told in them."""

    def now(self) -> datetime:
        """The wall clock, UTC; for records and for signatures."""

    def random(self) -> float:
        """A uniform sample in [0, 1)."""

    def token(self, bytes_: int) -> bytes:
        """Unpredictable bytes, for secrets."""

    def new_id(self, prefix: str) -> str:
        """`gen_01J…`: a prefix and a ULID, which sorts by its time of making."""


def ulid(unix_ms: int, entropy: bytes) -> str:
    """Spell 48 bits of milliseconds and 80 bits of entropy as 26 characters.

    Source: the ULID specification, https://github.com/ulid/spec.
    """
    assert len(entropy) == 10
    value = (unix_ms << 80) | int.from_bytes(entropy)
    return "".join([_PAIRS[(value >> shift) & 1023] for shift in _SHIFTS])


def ulid_moment(id_: str) -> datetime:
    """Read when an id was made from the id itself: the first 10 of its ULID's characters are the milliseconds."""
    spelled = id_.rpartition("_")[2]
    assert len(spelled) == 26, f"{id_} is no id of ours"
    unix_ms = 0
    for character in spelled[:10]:
        unix_ms = unix_ms << 5 | _ALPHABET.index(character)
    return _EPOCH + timedelta(milliseconds=unix_ms)


class SystemClock:
    """The machine's own clocks and the kernel's randomness."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary start."""
        return time.monotonic()

    def now(self) -> datetime:
        """The wall clock, UTC."""
        return datetime.now(UTC)

    def random(self) -> float:
        """A uniform sample; jitter only, never a secret."""
        return random.random()

    def token(self, bytes_: int) -> bytes:
        """Bytes from the kernel."""
        return os.urandom(bytes_)

    def new_id(self, prefix: str) -> str:
        """A prefix, an underscore and a ULID."""
        return f"{prefix}_{ulid(time.time_ns() // 1_000_000, os.urandom(10))}"


def rfc3339(moment: datetime) -> str:
    """Spell a moment as every record and every answer has it: UTC, milliseconds, `Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


from_rfc3339 = datetime.fromisoformat
"""Read what `rfc3339` wrote."""
