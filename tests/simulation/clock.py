"""The clock of a simulated machine: monotonic by the loop, the wall as somebody sets it, chance from the seed."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta

from holdfast.clock import ulid

BEGAN_AT = datetime(2020, 1, 1, 10, 0, tzinfo=UTC)
"""Long before the files of any real disk: one that was not stamped yet seems to come from the future, and is left."""
_BEGAN_UNIX_S = BEGAN_AT.timestamp()


class SimClock:
    """See the module's docstring."""

    def __init__(self, loop: asyncio.AbstractEventLoop, rng: random.Random) -> None:
        self._loop = loop
        self._rng = rng
        self.set_by_s = 0.0
        """How far the wall clock was set away from where it would be."""

    def monotonic(self) -> float:
        """Seconds since the machine was switched on."""
        return 1000.0 + self._loop.time()

    def wall_s(self) -> float:
        """The wall clock, as seconds since 1970."""
        return _BEGAN_UNIX_S + self._loop.time() + self.set_by_s

    def now(self) -> datetime:
        """The wall clock, UTC."""
        return BEGAN_AT + timedelta(seconds=self._loop.time() + self.set_by_s)

    def random(self) -> float:
        """A sample from the seed."""
        return self._rng.random()

    def token(self, bytes_: int) -> bytes:
        """Bytes from the seed."""
        return self._rng.randbytes(bytes_)

    def new_id(self, prefix: str) -> str:
        """An id whose chance is the seed's."""
        return f"{prefix}_{ulid(int(self.wall_s() * 1000), self._rng.randbytes(10))}"
