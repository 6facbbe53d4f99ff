"""One timer for all heartbeats: in time, never early, and nobody's beat depends on another's."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from holdfast.gateway import beats
from holdfast.gateway.beats import SLOT_S, BeatWheel


class FakeLoop:
    """A loop's clock and timers, moved by hand."""

    def __init__(self) -> None:
        self.now_s = 500.0
        self.timers: list[Any] = []

    def time(self) -> float:
        """Seconds."""
        return self.now_s

    def call_at(self, when: float, function: Callable[[], None]) -> Any:
        """Keep a timer."""
        timer = SimpleNamespace(when=when, function=function, cancel=lambda: self.timers.remove(timer))
        self.timers.append(timer)
        return timer

    def pass_s(self, seconds: float) -> None:
        """Let time pass, timers firing as they fall due."""
        until = self.now_s + seconds
        while due := sorted((timer for timer in self.timers if timer.when <= until), key=lambda timer: timer.when):
            self.timers.remove(due[0])
            self.now_s = max(self.now_s, due[0].when)
            due[0].function()
        self.now_s = until


@pytest.fixture
def loop() -> FakeLoop:
    """A clock moved by hand."""
    return FakeLoop()


@pytest.fixture
def wheel(loop: FakeLoop) -> BeatWheel:
    """A wheel on it."""
    return BeatWheel(loop)  # type: ignore[arg-type]


def heard(loop: FakeLoop, into: list[float], again_s: float | None) -> Callable[[], float | None]:
    """Make a tick that notes when it was called, seconds since the start."""

    def tick() -> float | None:
        into.append(round(loop.now_s - 500.0, 6))
        return again_s

    return tick


@pytest.mark.parametrize("after_s", [0.0, 0.01, 0.05, 0.99, 4.0, 19.987])
def test_a_beat_is_never_early_and_at_most_a_slot_late(loop: FakeLoop, wheel: BeatWheel, after_s: float) -> None:
    """An early beat would spend the free status; a late one might find the path closed."""
    at: list[float] = []
    wheel.add(after_s, heard(loop, at, None))
    loop.pass_s(30.0)
    assert len(at) == 1
    assert after_s <= at[0] <= after_s + SLOT_S + 1e-6


def test_a_ticket_comes_again_as_it_says(loop: FakeLoop, wheel: BeatWheel) -> None:
    """Every interval is counted from the beat before."""
    at: list[float] = []
    wheel.add(2.0, heard(loop, at, 1.0))
    loop.pass_s(10.0)
    gaps = [later - earlier for earlier, later in pairwise(at)]
    assert len(at) >= 8
    assert all(1.0 <= gap <= 1.0 + SLOT_S + 1e-6 for gap in gaps)


def test_a_ticket_that_says_none_leaves_the_wheel(loop: FakeLoop, wheel: BeatWheel) -> None:
    """Whoever has left costs nothing more, the timer included."""
    at: list[float] = []
    wheel.add(1.0, heard(loop, at, None))
    loop.pass_s(5.0)
    assert loop.timers == []
    assert repr(wheel) == "<BeatWheel 0 waiting in 0 slots, 1 ticks>"


def test_a_beat_far_off_does_not_delay_the_ones_before_it(loop: FakeLoop, wheel: BeatWheel) -> None:
    """The timer is for the earliest of all who wait, also after a turn that placed somebody later."""
    first: list[float] = []
    second: list[float] = []
    wheel.add(1.0, heard(loop, first, 10.0))
    wheel.add(1.2, heard(loop, second, 10.0))
    loop.pass_s(5.0)
    assert len(first) == 1
    assert second == [pytest.approx(1.2, abs=SLOT_S + 1e-6)]


def test_a_nearer_beat_moves_the_timer_forward(loop: FakeLoop, wheel: BeatWheel) -> None:
    """An impatient caller that comes later is served earlier."""
    patient: list[float] = []
    impatient: list[float] = []
    wheel.add(20.0, heard(loop, patient, None))
    wheel.add(4.0, heard(loop, impatient, None))
    loop.pass_s(5.0)
    assert len(impatient) == 1
    assert patient == []
    loop.pass_s(20.0)
    assert len(patient) == 1


def test_ten_thousand_callers_share_one_timer(loop: FakeLoop, wheel: BeatWheel) -> None:
    """A handle each would cost memory and a heap."""
    at: list[float] = []
    for number in range(10_000):
        wheel.add(number % 97 * 0.1, heard(loop, at, 10.0))
    assert len(loop.timers) == 1
    loop.pass_s(9.9)
    assert len(at) == wheel.ticks == 10_000
    assert len(loop.timers) == 1


def test_a_cancelled_ticket_is_not_called(loop: FakeLoop, wheel: BeatWheel) -> None:
    """Its caller is being answered: a line feed would end up in the image."""
    at: list[float] = []
    ticket = wheel.add(1.0, heard(loop, at, 1.0))
    loop.pass_s(1.5)
    ticket.cancel()
    loop.pass_s(10.0)
    assert len(at) == 1
    assert wheel.ticks == 1


def test_a_ticket_cancelled_by_its_own_tick_does_not_come_again(loop: FakeLoop, wheel: BeatWheel) -> None:
    """The beat that finds its caller gone is the last one, whatever it returns."""
    calls = []

    def tick() -> float:
        calls.append(loop.now_s)
        ticket.cancel()
        return 1.0

    ticket = wheel.add(1.0, tick)
    loop.pass_s(10.0)
    assert len(calls) == 1


def test_one_fault_does_not_silence_the_others(
    loop: FakeLoop, wheel: BeatWheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of callers hang on this timer: whoever's beat raises is recorded and leaves, alone."""
    told: list[str] = []
    monkeypatch.setattr(beats, "emit", lambda event, **fields: told.append(f"{event} {fields['exc']}"))
    at: list[float] = []

    def broken() -> float:
        raise RuntimeError("no more beats for me")

    wheel.add(1.0, broken)
    wheel.add(1.0, heard(loop, at, 1.0))
    loop.pass_s(5.0)
    assert len(at) >= 3
    assert told == ["fault.internal no more beats for me"]


def test_a_loop_that_stalled_serves_every_slot_it_missed(loop: FakeLoop, wheel: BeatWheel) -> None:
    """After a long pause all who were due are called at once, each once."""
    at: list[float] = []
    for number in range(5):
        wheel.add(1.0 + number, heard(loop, at, 30.0))
    (timer,) = loop.timers
    loop.timers.clear()
    loop.now_s += 10.0
    timer.function()
    assert at == [10.0] * 5
