"""The lines before a gateway's upstreams in virtual time: what `engine.queue` is to the engine, without tasks.

Who is next, with which key and when, is `policy.line`'s to say. All orders are one API key's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from holdfast.policy.line import Limits, Line
from holdfast.simulator.scenarios import DAY_S
from holdfast.whatif.agenda import Agenda

FLOW = "load"


class Ticket:
    """A number in one line."""

    __slots__ = ("expected_s", "had_place", "number", "of", "upstream", "weight")

    def __init__(self, of: object, upstream: str, number: int, *, weight: int, expected_s: float) -> None:
        self.of = of
        """Whose it is."""
        self.upstream = upstream
        self.number = number
        self.weight = weight
        self.expected_s = expected_s
        self.had_place = False


class Lines:
    """All of them."""

    def __init__(
        self,
        limits: Mapping[str, Limits],
        agenda: Agenda,
        send: Callable[[Ticket, int], None],
        *,
        flow_places: int = 0,
        start_s: float = 0.0,
    ) -> None:
        """Begin with every place free.

        Args:
            limits: What each upstream takes.
            agenda: Virtual time.
            send: Called with whoever has a place, and the key that he has it with.
            flow_places: How many orders may be in flight together; 0: any number.
            start_s: Time of day, UTC, at which the agenda begins.
        """
        self._agenda = agenda
        self._send = send
        self._lines = {name: Line(each) for name, each in limits.items()}
        self._is_limited = flow_places > 0 or any(
            each.concurrency or each.per_minute or each.per_day for each in limits.values()
        )
        self._flow_places = flow_places
        self._in_flight = 0
        self._waiting: dict[int, Ticket] = {}
        self._wakes_at: dict[str, float] = {}
        self._numbers = 0
        self._start_s = start_s
        self._day_until = 0.0

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def free(self, upstream: str) -> int | None:
        """Say how many get a place there at once; None: all."""
        self._look_at_the_day()
        return self._lines[upstream].free(self._agenda.now)

    def has_room(self, upstream: str, waiting_max: int) -> bool:
        """Say whether one more may come: it would get a place, or may wait."""
        if not self._is_limited:
            return True
        free = self.free(upstream)
        places = [] if free is None else [free]
        if self._flow_places:
            places.append(self._flow_places - self._in_flight)
        return not places or min(places) + waiting_max - self.waiting > 0

    def ticket(self, of: object, upstream: str, *, weight: int, expected_s: float) -> Ticket:
        """Give the next number."""
        self._numbers += 1
        return Ticket(of, upstream, self._numbers, weight=weight, expected_s=expected_s)

    def enter(self, ticket: Ticket) -> None:
        """Ask for a place: it is sent at once, or waits."""
        if not self._flow_places or self._in_flight < self._flow_places:
            self._look_at_the_day()
            line = self._lines[ticket.upstream]
            key = line.take(ticket.number, now=self._agenda.now, expected_s=ticket.expected_s)
            if key is not None:
                self._sent(ticket, key)
                return
        self._waiting[ticket.number] = ticket
        self._lines[ticket.upstream].enter(
            ticket.number, flow=FLOW, weight=ticket.weight, expected_s=ticket.expected_s, again=ticket.had_place
        )
        self._move(ticket.upstream)

    def is_waiting(self, ticket: Ticket) -> bool:
        """Whether it stands in line."""
        return ticket.number in self._waiting

    def leave(self, ticket: Ticket) -> None:
        """Give up a place, which the next one gets, or the waiting for it."""
        self._waiting.pop(ticket.number, None)
        if not self._lines[ticket.upstream].leave(ticket.number):
            return
        was_full = self._flow_places > 0 and self._in_flight == self._flow_places
        self._in_flight -= 1
        if was_full:
            for line in self._lines.values():
                line.let_in(FLOW)
        self._move(ticket.upstream)
        if was_full:
            for upstream in self._lines:
                self._move(upstream)

    def rest(self, upstream: str, key: int, until: float) -> None:
        """Give no place with that key before that second."""
        self._lines[upstream].rest(key, until)
        self._move(upstream)

    def _look_at_the_day(self) -> None:
        now = self._agenda.now
        if now < self._day_until:
            return
        left_s = DAY_S - (self._start_s + now) % DAY_S
        for line in self._lines.values():
            line.begin_day(now + left_s, is_new=True)
        self._day_until = now + left_s

    def _move(self, upstream: str) -> None:
        """Give places to those whose turn it is, and come back when time alone makes it somebody's turn."""
        line, now = self._lines[upstream], self._agenda.now
        if not line.waiting:
            return
        self._look_at_the_day()
        for number in line.advance(now):
            key = line.key_of(number)
            assert key is not None
            self._sent(self._waiting.pop(number), key)
        at = line.wakes_at(now)
        if at is not None and self._wakes_at.get(upstream) != at:
            self._wakes_at[upstream] = at
            self._agenda.at(at, self._ring, upstream, at)

    def _sent(self, ticket: Ticket, key: int) -> None:
        ticket.had_place = True
        self._in_flight += 1
        if self._in_flight == self._flow_places:
            for each in self._lines.values():
                each.bar(FLOW)
        self._send(ticket, key)

    def _ring(self, upstream: str, at: float) -> None:
        if self._wakes_at.get(upstream) == at:
            del self._wakes_at[upstream]
        self._move(upstream)
