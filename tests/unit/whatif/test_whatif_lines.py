"""Lines on virtual time move when places become free, when keys have rested, and when the day is over."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.policy.line import Limits
from holdfast.whatif.agenda import Agenda
from holdfast.whatif.lines import Lines, Ticket


class Play:
    """Lines, and who was sent when and with which key."""

    def __init__(self, limits: dict[str, Limits], **more: Any) -> None:
        self.agenda = Agenda()
        self.sent: list[tuple[object, int, float]] = []
        self.lines = Lines(limits, self.agenda, self._send, **more)

    def _send(self, ticket: Ticket, key: int) -> None:
        self.sent.append((ticket.of, key, self.agenda.now))

    def ask(self, name: str, upstream: str = "google", *, expected_s: float = 45.0) -> Ticket:
        """Ask for a place."""
        ticket = self.lines.ticket(name, upstream, weight=3, expected_s=expected_s)
        self.lines.enter(ticket)
        return ticket


def test_without_limits_everybody_is_sent_at_once() -> None:
    """And there is always room."""
    play = Play({"google": Limits(keys=1)})
    for name in "abc":
        play.ask(name)
    assert [name for name, *_ in play.sent] == ["a", "b", "c"]
    assert play.lines.free("google") is None
    assert play.lines.has_room("google", 0)


def test_a_place_that_becomes_free_is_the_next_ones() -> None:
    """In the order in which they came."""
    play = Play({"google": Limits(keys=1, concurrency=1)})
    first, second, third = (play.ask(name) for name in "abc")
    assert [name for name, *_ in play.sent] == ["a"]
    assert (play.lines.is_waiting(first), play.lines.is_waiting(third), play.lines.waiting) == (False, True, 2)
    play.agenda.run(10.0)
    play.lines.leave(first)
    assert play.sent[1:] == [("b", 0, 10.0)]
    play.lines.leave(third)
    play.lines.leave(second)
    assert len(play.sent) == 2
    assert play.lines.waiting == 0


def test_who_had_a_place_stands_where_he_stood() -> None:
    """Before whoever had none yet."""
    play = Play({"google": Limits(keys=1, concurrency=1)})
    first = play.ask("a")
    play.lines.leave(first)
    second = play.ask("b")
    play.ask("c")
    play.lines.enter(first)
    play.lines.leave(second)
    assert [name for name, *_ in play.sent] == ["a", "b", "a"]


def test_a_key_that_rests_gives_no_place_until_it_has_rested() -> None:
    """Then the line moves by itself."""
    play = Play({"google": Limits(keys=2, concurrency=1)})
    play.lines.rest("google", 0, 30.0)
    play.lines.rest("google", 1, 20.0)
    play.ask("a")
    play.ask("b")
    assert play.sent == []
    play.agenda.run()
    assert play.sent == [("a", 1, 20.0), ("b", 0, 30.0)]


def test_a_rest_that_is_cut_short_ends_at_once() -> None:
    """The latest word counts."""
    play = Play({"google": Limits(keys=1)})
    play.lines.rest("google", 0, 30.0)
    play.ask("a")
    play.agenda.run(5.0)
    play.lines.rest("google", 0, 0.0)
    assert play.sent == [("a", 0, 5.0)]


def test_calls_of_a_minute_are_paced() -> None:
    """Whoever comes too early waits, and is not turned away."""
    play = Play({"google": Limits(keys=1, per_minute=6)})
    for at in range(10):
        play.ask(str(at))
    play.agenda.run()
    assert len(play.sent) == 10
    assert play.sent[-1][2] > 0.0
    times = [at for *_, at in play.sent]
    assert times == sorted(times)


def test_a_day_that_is_spent_ends_at_midnight() -> None:
    """UTC; the scenario begins an hour before it."""
    play = Play({"google": Limits(keys=1, per_day=2)}, start_s=23 * 3600.0)
    for name in "abc":
        play.ask(name)
    assert [name for name, *_ in play.sent] == ["a", "b"]
    play.agenda.run()
    assert play.sent[2] == ("c", 0, pytest.approx(3600.0))


def test_a_callers_own_limit_counts_over_all_lines() -> None:
    """`queue.per_key_in_flight_max`."""
    play = Play({"first": Limits(keys=1), "second": Limits(keys=1)}, flow_places=2)
    first, _, third = play.ask("a", "first"), play.ask("b", "second"), play.ask("c", "second")
    assert [name for name, *_ in play.sent] == ["a", "b"]
    assert play.lines.is_waiting(third)
    play.lines.leave(first)
    assert [name for name, *_ in play.sent] == ["a", "b", "c"]


def test_room_is_places_and_what_may_wait() -> None:
    """As the gateway counts it when it accepts."""
    play = Play({"google": Limits(keys=1, concurrency=2)})
    assert play.lines.has_room("google", 0)
    play.ask("a")
    play.ask("b")
    assert not play.lines.has_room("google", 0)
    assert play.lines.has_room("google", 1)
    play.ask("c")
    assert not play.lines.has_room("google", 1)
