"""Waiting for a place at an upstream that takes so many calls, and no more.

`policy.line.Line` is the rule, and knows neither clock nor tasks. `Queue` lets the tasks of parts wait in the lines,
counts what each API key has in flight at all upstreams together, and owns the timers of lines that move by the passing
of time alone.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager

from holdfast.clock import Clock
from holdfast.policy.line import Limits, Line
from holdfast.policy.rates import day_left_s, day_of

DAY_CHECK_S = 600.0
"""The wall clock may be put forward or back: what day it is, is asked so often at least, whoever waits."""


class Ticket:
    """One part's number in one line."""

    __slots__ = ("_queue", "expected_s", "flow", "had_place", "line", "number", "sleeper", "upstream", "weight")

    def __init__(
        self, queue: Queue, upstream: str, line: Line, number: int, *, flow: str, weight: int, expected_s: float
    ) -> None:
        self._queue = queue
        self.upstream = upstream
        self.line = line
        """Its own; the upstream's no longer where that has left the settings meanwhile."""
        self.number = number
        self.flow = flow
        """Whose it is: the API key."""
        self.weight = weight
        """How much it counts."""
        self.expected_s = expected_s
        """How long it should keep its place."""
        self.had_place = False
        """Whether it was its turn before."""
        self.sleeper: asyncio.Future[None] | None = None
        """Set when the place is there; for whoever waits for it."""

    @property
    def key(self) -> int | None:
        """Which of the upstream's credentials it has a place with; None: it waits, or has left."""
        return self.line.key_of(self.number)

    @property
    def is_waiting(self) -> bool:
        """Whether it stands in line."""
        return self.line.is_waiting(self.number)

    @property
    def is_void(self) -> bool:
        """Whether it leads nowhere: its upstream, or the credential of its place, has left the settings."""
        key = self.key
        return not self._queue.has(self) or (key is not None and self.line.is_retired(key))

    @property
    def position(self) -> int | None:
        """Where it stands in line, from 1; None: it does not wait."""
        return self.line.position_of(self.number)

    @property
    def estimate_s(self) -> float | None:
        """In how many seconds it should have its place; None: it does not wait."""
        return self._queue.estimate_s(self)

    def leave(self) -> None:
        """Give up the place, or the waiting for it; done twice it is as done once."""
        self._queue.leave(self)


class Queue:
    """The lines of all upstreams. All on one loop, so nothing is locked."""

    def __init__(self, limits: Mapping[str, Limits], clock: Clock, *, flow_places: int = 0) -> None:
        """Make a line for each upstream.

        Args:
            limits: What each upstream takes.
            clock: Tells the time, as the deadlines of generations are told, and what day it is.
            flow_places: How many parts of one API key may be in flight at all upstreams together; 0: any number.
        """
        self._clock = clock
        self._flow_places = flow_places
        self._lines = {name: Line(each) for name, each in limits.items()}
        self._timers: dict[str, tuple[float, asyncio.TimerHandle]] = {}
        """Of lines that wait for nobody to leave, but for time to pass; with the second."""
        self._waiting: dict[int, Ticket] = {}
        self._in_flight: Counter[str] = Counter()
        """Parts with a place, by API key."""
        self._barred: set[str] = set()
        """API keys that have as many as they may."""
        self._arriving: Counter[str] = Counter()
        """Parts that will ask for a place once they are accepted, by upstream."""
        self._arriving_of: Counter[str] = Counter()
        """The same by API key."""
        self._numbers = 0
        self._day = -1
        self._day_until = float("-inf")
        self._day_ends_at = float("inf")

    def __repr__(self) -> str:
        return f"<Queue {self.waiting} waiting at {sum(line.waiting > 0 for line in self._lines.values())} upstreams>"

    def follow(self, limits: Mapping[str, Limits], retired: Mapping[str, Container[int]], *, flow_places: int) -> None:
        """Take over other settings; who is in flight stays so, who waits goes on waiting, if there is his line still.

        Args:
            limits: What each upstream takes from now on.
            retired: Of each: credentials that are not used any more.
            flow_places: As at the beginning.
        """
        # What day it is, for lines that are new.
        self._now()
        for name in self._lines.keys() - limits.keys():
            del self._lines[name]
            if name in self._timers:
                self._timers.pop(name)[1].cancel()
        for name, each in limits.items():
            line = self._lines.get(name)
            if line is None:
                line = self._lines[name] = Line(each)
                line.begin_day(self._day_ends_at, is_new=True)
                for flow in self._barred:
                    line.bar(flow)
            line.follow(each, retired.get(name, ()))
        for ticket in [ticket for ticket in self._waiting.values() if not self.has(ticket)]:
            ticket.leave()
        self._flow_places = flow_places
        for flow in self._barred | self._in_flight.keys():
            self._mind(flow)
        for name in self._lines:
            self._move(name)

    def has(self, ticket: Ticket) -> bool:
        """Whether a ticket's line leads to an upstream of the settings."""
        return self._lines.get(ticket.upstream) is ticket.line

    @property
    def waiting(self) -> int:
        """Parts that wait, at all upstreams together."""
        return len(self._waiting)

    def line(self, upstream: str) -> Line:
        """Give the line before an upstream."""
        return self._lines[upstream]

    # Room

    def free(self, upstream: str) -> int | None:
        """How many parts would get a place there at once; None: all."""
        return self._lines[upstream].free(self._now())

    def room(self, upstream: str, flow: str, waiting_max: int) -> int | None:
        """Say how many parts more may come: those that would get a place, and those that may wait; None: all.

        Args:
            upstream: Where they are to be sent.
            flow: Whose they are.
            waiting_max: How many may wait, at all upstreams together.
        """
        free, left = self.free(upstream), self._left_to(flow)
        places = [left] if left is not None else []
        if free is not None:
            places.append(free - self._arriving[upstream])
        if not places:
            return None
        elsewhere = sum(self._beyond(name) for name in self._arriving if name != upstream)
        return min(places) + waiting_max - self.waiting - elsewhere

    def _left_to(self, flow: str) -> int | None:
        """How many more of an API key's parts may be in flight, with those that arrive; None: all."""
        if not self._flow_places:
            return None
        return self._flow_places - self._in_flight[flow] - self._arriving_of[flow]

    def _beyond(self, upstream: str) -> int:
        """How many of those that arrive there will find no place."""
        free = self.free(upstream) if upstream in self._lines else None
        return 0 if free is None else max(0, self._arriving[upstream] - free)

    @contextmanager
    def arriving(self, upstream: str, flow: str, places: int) -> Iterator[None]:
        """Count parts among those that take room, from before they are accepted until they have asked for a place."""
        counts = ((self._arriving, upstream), (self._arriving_of, flow))
        for count, name in counts:
            count[name] += places
        try:
            yield
        finally:
            for count, name in counts:
                count[name] -= places
                if not count[name]:
                    del count[name]

    # Places

    def ticket(self, upstream: str, *, flow: str, weight: int, expected_s: float) -> Ticket:
        """Give the next number for an upstream; nothing is asked for yet.

        Args:
            upstream: Its name.
            flow: The caller's API key.
            weight: How much it counts, by its size.
            expected_s: How long it should keep its place, seconds.
        """
        self._numbers += 1
        # Of one that has just left the settings it is void from the beginning.
        line = self._lines.get(upstream) or Line(Limits(keys=1))
        return Ticket(self, upstream, line, self._numbers, flow=flow, weight=weight, expected_s=expected_s)

    def enter(self, ticket: Ticket) -> None:
        """Ask for a place: the ticket has it, or has a position in line.

        Asked for again after it had one, it stands where it stood: before whoever had none yet.
        """
        self._waiting[ticket.number] = ticket
        ticket.line.enter(
            ticket.number,
            flow=ticket.flow,
            weight=ticket.weight,
            expected_s=ticket.expected_s,
            again=ticket.had_place,
        )
        self._move(ticket.upstream)

    def hold(self, ticket: Ticket, key: int) -> None:
        """Give it a place with a credential, also where there is none."""
        ticket.line.hold(ticket.number, key, now=self._now(), expected_s=ticket.expected_s)
        self._took(ticket)

    def may_press(self, ticket: Ticket, key: int) -> bool:
        """Whether it could have a place with a credential at once, but for its rest."""
        return ticket.flow not in self._barred and ticket.line.has_room(key, self._now())

    def press(self, ticket: Ticket, key: int) -> None:
        """Give a place to one that waits, though the credential rests."""
        self._waiting.pop(ticket.number, None)
        line = ticket.line
        line.leave(ticket.number)
        line.press(ticket.number, key, now=self._now(), expected_s=ticket.expected_s)
        self._took(ticket)

    def leave(self, ticket: Ticket, *, was_sent: bool = True) -> None:
        """Give up a place, which the next in line gets, or the waiting for it.

        Args:
            ticket: Whose.
            was_sent: Whether its call counts; where it was never sent it takes none of what the upstream grants a day.
        """
        self._waiting.pop(ticket.number, None)
        line = ticket.line
        if not (line.leave(ticket.number) if was_sent else line.give_back(ticket.number)):
            return
        self._in_flight[ticket.flow] -= 1
        may_again = self._mind(ticket.flow)
        if not self._in_flight[ticket.flow]:
            del self._in_flight[ticket.flow]
        if self._lines.get(ticket.upstream) is line:
            self._move(ticket.upstream)
        if may_again:
            # The next call of its API key may be in any line.
            for upstream in self._lines:
                self._move(upstream)

    def _took(self, ticket: Ticket) -> None:
        ticket.had_place = True
        self._in_flight[ticket.flow] += 1
        self._mind(ticket.flow)

    def _mind(self, flow: str) -> bool:
        """Bar an API key that has all its places, let in one that has not; True: it was let in."""
        is_full = bool(self._flow_places) and self._in_flight[flow] >= self._flow_places
        was_full = flow in self._barred
        if is_full and not was_full:
            self._barred.add(flow)
            for line in self._lines.values():
                line.bar(flow)
        if was_full and not is_full:
            self._barred.discard(flow)
            for line in self._lines.values():
                line.let_in(flow)
        return was_full and not is_full

    # Time

    def rest(self, upstream: str, key: int, until: float) -> None:
        """Give no place with that credential before that monotonic second, in place of what was said before.

        Whoever has one keeps it. The line goes on by itself when the second has come.
        """
        self._lines[upstream].rest(key, until)
        self._move(upstream)

    def remember(self, upstream: str, key: int, *, sent_at: Sequence[float], sent_today: int) -> None:
        """Count what an earlier process has sent with a credential, before anything is asked for.

        Args:
            upstream: Where.
            key: Which of its credentials.
            sent_at: Of the last minute, oldest first; monotonic seconds.
            sent_today: In this UTC day.
        """
        self._lines[upstream].remember(key, now=self._now(), sent_at=sent_at, sent_today=sent_today)

    def ready_at(self, upstream: str) -> float:
        """The monotonic second from which on it has a credential that does not rest; now, if it has one."""
        return self._lines[upstream].ready_at(self._now())

    def closed_until(self, upstream: str) -> float:
        """The monotonic second from which on one of its credentials has calls left for the day; past, if one has."""
        self._now()
        return self._lines[upstream].closed_until

    def estimate_s(self, ticket: Ticket) -> float | None:
        """Say in how many seconds it should have its place; None: it does not wait."""
        line = ticket.line
        position = line.position_of(ticket.number)
        if position is None:
            return None
        estimate_s = line.estimate_s(position, now=self._now(), expected_s=ticket.expected_s)
        if self._flow_places:
            # Its API key's own calls in flight come first, however much room the upstream has.
            ahead = line.place_in_flow(ticket.number) + self._in_flight[ticket.flow] - self._flow_places
            if ahead >= 0:
                estimate_s = max(estimate_s, (ahead + 1) * line.mean_s(ticket.expected_s) / self._flow_places)
        return estimate_s

    def room_in_s(self, upstream: str, expected_s: float) -> float:
        """Say in how many seconds there should be room in line, where there is none.

        Not for one, but for a hundredth of those who wait: whoever is sent away is not the only one.
        """
        line = self._lines[upstream]
        return line.estimate_s(1 + line.waiting // 100, now=self._now(), expected_s=expected_s)

    def close(self) -> None:
        """Cancel the timers: no line moves by itself any more."""
        for _, timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _now(self) -> float:
        now = self._clock.monotonic()
        if now >= self._day_until:
            self._look_at_the_day(now)
        return now

    def _look_at_the_day(self, now: float) -> None:
        """Tell the lines when the UTC day ends, and whether another one has begun.

        One that lies before the one that was thought to be today is today too: what was counted stays counted.
        """
        unix_s = self._clock.now().timestamp()
        day, left_s = day_of(unix_s), day_left_s(unix_s)
        self._day_ends_at = now + left_s
        for line in self._lines.values():
            line.begin_day(self._day_ends_at, is_new=day > self._day)
        self._day = day
        self._day_until = now + min(left_s, DAY_CHECK_S)

    def _move(self, upstream: str) -> None:
        """Give places to those whose turn it is, and come back when time alone makes it somebody's turn."""
        line, now = self._lines[upstream], self._now()
        for number in line.advance(now):
            ticket = self._waiting.pop(number)
            self._took(ticket)
            if ticket.sleeper is not None and not ticket.sleeper.done():
                ticket.sleeper.set_result(None)
        at = line.wakes_at(now)
        if at is not None:
            # What day it is, is asked meanwhile: the next one may come earlier than it seemed.
            at = min(at, self._day_until)
        before = self._timers.get(upstream)
        if before is not None:
            if before[0] == at:
                return
            before[1].cancel()
            del self._timers[upstream]
        if at is not None:
            timer = asyncio.get_running_loop().call_later(at - now, self._ring, upstream)
            self._timers[upstream] = (at, timer)

    def _ring(self, upstream: str) -> None:
        # A loop's clock may ring a moment early: then it is set again.
        del self._timers[upstream]
        self._move(upstream)
