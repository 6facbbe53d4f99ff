"""Places at a credential, where several processes send with it: counted in the commit that sends.

One process counts in memory (`policy.line`). Several count what the database holds: an attempt that is open has a
place, so that none is kept by anybody who died, and none need be given back. The minute is the same cell rate
algorithm (`policy.rates`), one row for each credential, by the database's clock.
"""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.policy.rates import Pace
from holdfast.store.locking import lock
from holdfast.store.port import Conn
from holdfast.store.queries import queries

_Q = queries("postgres/places")

MICROS = 1_000_000
CATCH_UP_US = 500_000
"""How late a call may come that does not delay those after it. A process is told its turn, and comes a moment after it;
were each moment lost, all of them together would send at two thirds of the pace. It is less than half of what a
minute's calls are spread over beyond a minute (`policy.rates.MINUTE_S`), so that no upstream counts one too many."""
PLACE_S = 0.5
"""After so long it is asked again whether somebody has left: nobody tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What one credential of an upstream takes, of all processes together; 0 is no limit."""

    upstream: str
    key_number: int
    """From 1, by its place in the settings, which are every process's."""
    concurrency: int = 0
    per_minute: int = 0
    per_day: int = 0

    @property
    def is_limited(self) -> bool:
        """Whether there is anything to count."""
        return bool(self.concurrency or self.per_minute or self.per_day)


@dataclass(frozen=True, slots=True)
class Full:
    """There is no place; nothing was written."""

    after_s: float
    """It may be asked again after so many seconds."""
    is_day_spent: bool = False
    """All calls of its UTC day have been made."""


def take_place(conn: Conn, grant: Grant) -> Full | None:
    """Take a place for the attempt that this transaction opens; None: it has one.

    Whoever else sends with this credential waits until the transaction ends, and then sees it.
    """
    credential = {"upstream": grant.upstream, "key_number": grant.key_number}
    lock(conn, "credential", grant.upstream, str(grant.key_number))
    if grant.concurrency:
        (in_flight,) = conn.execute(_Q["in_flight"], credential).fetchone()
        if in_flight >= grant.concurrency:
            return Full(PLACE_S)
    if not grant.per_minute and not grant.per_day:
        return None
    row = conn.execute(_Q["pace"], credential).fetchone()
    sent = row["sent"] if row["day"] >= row["today"] else 0
    if grant.per_day and sent >= grant.per_day:
        return Full(float(row["day_left_s"]), is_day_spent=True)
    due_us = row["due_us"]
    if grant.per_minute:
        interval_us = round(Pace(per_minute=grant.per_minute).interval_s * MICROS)
        # A clock that was put back makes nobody wait for longer than one call takes.
        early_us = min(due_us - row["now_us"], interval_us)
        if early_us > 0:
            return Full(early_us / MICROS)
        due_us = max(due_us, row["now_us"] - CATCH_UP_US) + interval_us
    day = max(row["day"], row["today"])
    conn.execute(_Q["keep_pace"], {**credential, "due_us": due_us, "day": day, "sent": sent + 1})
    return None
