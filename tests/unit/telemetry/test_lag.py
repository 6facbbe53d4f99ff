"""How late the loop is, on a loop whose time the test makes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from holdfast.telemetry.lag import EVERY_S, LoopLag


class Handle:
    """A timer."""

    def __init__(self, at: float, call: Callable[[], None]) -> None:
        self.at, self.call, self.is_cancelled = at, call, False

    def cancel(self) -> None:
        """Ring no more."""
        self.is_cancelled = True


class Loop:
    """One whose timers ring when the test says."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[Handle] = []

    def time(self) -> float:
        """Its clock."""
        return self.now

    def call_at(self, at: float, call: Callable[[], None]) -> Handle:
        """Set a timer."""
        self.timers.append(Handle(at, call))
        return self.timers[-1]

    def ring(self, *, late_s: float) -> None:
        """Come to the latest timer so late."""
        timer = self.timers[-1]
        self.now = timer.at + late_s
        timer.call()


def made() -> tuple[Loop, LoopLag, list[float]]:
    """Make one that has begun."""
    loop: Any = Loop()
    told: list[float] = []
    lag = LoopLag(loop, told.append)
    lag.start()
    return loop, lag, told


def test_it_tells_how_late_each_timer_was() -> None:
    """From when it was due, not from when it was looked at before."""
    loop, _, told = made()
    for late_s in (0.0, 0.5, 0.002):
        loop.ring(late_s=late_s)
    assert [round(each, 6) for each in told] == [0.0, 0.5, 0.002]


def test_the_next_look_is_counted_from_this_one() -> None:
    """A loop that stood still is not asked for what it missed: one second is told once."""
    loop, _, told = made()
    loop.ring(late_s=1.0)
    assert loop.timers[-1].at == loop.now + EVERY_S
    loop.ring(late_s=0.0)
    assert told == [1.0, 0.0]


def test_a_timer_that_rings_a_moment_early_is_not_late() -> None:
    """Loops round to their clock's resolution."""
    loop, _, told = made()
    loop.ring(late_s=-0.001)
    assert told == [0.0]


def test_once_stopped_it_looks_no_more() -> None:
    """Stopping twice is as stopping once."""
    loop, lag, _ = made()
    lag.stop()
    lag.stop()
    assert [timer.is_cancelled for timer in loop.timers] == [True]
