"""Waiting for a place at an upstream that takes so many calls at once, and no more: first come, first served.

`Line` is the rule, and knows neither time nor tasks. `Queue` lets the tasks of parts wait in the lines.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, insort
from collections.abc import Mapping


class Line:
    """Who is in flight at one upstream, and who waits, by number: the lower number came first.

    The numbers that wait are kept sorted: of 5,000 a place is found in a dozen steps, and a number that leaves from the
    middle moves 40 KB at most, in a microsecond.
    """

    __slots__ = ("_held", "_limit", "_waiting")

    def __init__(self, limit: int) -> None:
        """Make a line; `limit` is the number of places, 0: as many as are asked for."""
        assert limit >= 0
        self._limit = limit
        self._held: set[int] = set()
        self._waiting: list[int] = []

    def __repr__(self) -> str:
        return f"<Line {len(self._held)} of {self._limit or 'any'} in flight, {len(self._waiting)} waiting>"

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @property
    def free(self) -> int | None:
        """How many get a place at once; None: all."""
        return max(0, self._limit - len(self._held)) if self._limit else None

    def enter(self, number: int) -> bool:
        """Take a place, or wait for one; False: it waits. One that was here before waits where it stood."""
        if self._limit and len(self._held) >= self._limit:
            insort(self._waiting, number)
            return False
        self._held.add(number)
        return True

    def hold(self, number: int) -> None:
        """Take a place, also where there is none: the call is in flight already."""
        self._held.add(number)

    def leave(self, number: int) -> int | None:
        """Give up a place, or wait no longer; return who gets the place. Whoever is not here leaves nothing."""
        if number in self._held:
            self._held.remove(number)
            if not self._waiting or (self._limit and len(self._held) >= self._limit):
                return None
            following = self._waiting.pop(0)
            self._held.add(following)
            return following
        at = bisect_left(self._waiting, number)
        if at < len(self._waiting) and self._waiting[at] == number:
            del self._waiting[at]
        return None

    def position_of(self, number: int) -> int | None:
        """Count from 1 where a number stands in line; None: it does not wait."""
        at = bisect_left(self._waiting, number)
        return at + 1 if at < len(self._waiting) and self._waiting[at] == number else None


class Ticket:
    """One part's number in one line."""

    __slots__ = ("_queue", "line", "number", "sleeper")

    def __init__(self, queue: Queue, line: Line, number: int) -> None:
        self._queue = queue
        self.line = line
        self.number = number
        self.sleeper: asyncio.Future[None] | None = None
        """Set when the place is there; for whoever waits for it."""

    @property
    def position(self) -> int | None:
        """Where it stands in line, from 1; None: it does not wait."""
        return self.line.position_of(self.number)

    def leave(self) -> None:
        """Give up the place, or the waiting for it; done twice it is as done once."""
        self._queue.leave(self)


class Queue:
    """The lines of all upstreams. All on one loop, so nothing is locked."""

    def __init__(self, limits: Mapping[str, int]) -> None:
        """Make a line for each upstream, with so many places; 0: as many as are asked for."""
        self._lines = {name: Line(limit) for name, limit in limits.items()}
        self._waiting: dict[int, Ticket] = {}
        self._numbers = 0

    def __repr__(self) -> str:
        return f"<Queue {self.waiting} waiting at {sum(line.waiting > 0 for line in self._lines.values())} upstreams>"

    @property
    def waiting(self) -> int:
        """Parts that wait, at all upstreams together."""
        return len(self._waiting)

    def free(self, upstream: str) -> int | None:
        """How many parts would get a place there at once; None: all."""
        return self._lines[upstream].free

    def ticket(self, upstream: str) -> Ticket:
        """Give the next number for an upstream; nothing is asked for yet."""
        self._numbers += 1
        return Ticket(self, self._lines[upstream], self._numbers)

    def enter(self, ticket: Ticket) -> None:
        """Ask for a place: the ticket has it, or has a position in line.

        Asked for again, it stands where its number says: whoever tries again has waited before.
        """
        if not ticket.line.enter(ticket.number):
            self._waiting[ticket.number] = ticket

    def hold(self, ticket: Ticket) -> None:
        """Give it a place, also where there is none."""
        ticket.line.hold(ticket.number)

    def leave(self, ticket: Ticket) -> None:
        """Give up a place, which the next in line gets, or the waiting for it."""
        self._waiting.pop(ticket.number, None)
        following = ticket.line.leave(ticket.number)
        if following is None:
            return
        sleeper = self._waiting.pop(following).sleeper
        if sleeper is not None and not sleeper.done():
            sleeper.set_result(None)
