"""The hour of all replicas: the database's, carried on by each machine's monotonic clock.

A deadline is written by whoever accepts and read by whoever works. By their own wall clocks one whose clock is an hour
ahead would end everything that others have just accepted, and one whose clock is set would fire timers.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from holdfast.clock import Clock, ulid
from holdfast.store.port import Conn, Store
from holdfast.store.queries import queries

_P = queries("postgres/places")

EXACT_S = 1.0
"""An answer that took longer does not tell the hour well enough."""


class SharedClock:
    """A `Clock` whose wall clock is the database's; the machine's own until that was heard."""

    def __init__(self, own: Clock) -> None:
        self._own = own
        self._heard: tuple[datetime, float] | None = None
        """The database's clock, and the monotonic second at which it showed that."""

    def __repr__(self) -> str:
        return f"<SharedClock {'of the database' if self._heard else 'of this machine'}>"

    async def hear(self, store: Store) -> None:
        """Read the database's clock.

        Raises:
            StorageError: It is away.
        """
        asked_at = self.monotonic()
        self.heard(await store.read(_hour), asked_at=asked_at)

    def heard(self, at: datetime, *, asked_at: float) -> None:
        """Note what the database's clock showed, which was asked for at that monotonic second and is heard now."""
        took_s = self.monotonic() - asked_at
        if self._heard is None or took_s <= EXACT_S:
            self._heard = at, asked_at + took_s / 2

    def monotonic(self) -> float:
        """The machine's own."""
        return self._own.monotonic()

    def now(self) -> datetime:
        """The database's wall clock, UTC."""
        if self._heard is None:
            return self._own.now()
        at, monotonic = self._heard
        return at + timedelta(seconds=self.monotonic() - monotonic)

    def random(self) -> float:
        """The machine's own chance."""
        return self._own.random()

    def token(self, bytes_: int) -> bytes:
        """The machine's own secrets."""
        return self._own.token(bytes_)

    def new_id(self, prefix: str) -> str:
        """An id that tells the same hour: by it images are filed, and what is old is told from what is new."""
        return f"{prefix}_{ulid(round(self.now().timestamp() * 1000), self.token(10))}"


def _hour(conn: Conn) -> datetime:
    at: datetime = conn.execute(_P["hour"]).fetchone()["at"]
    return at
