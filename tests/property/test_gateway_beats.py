"""Thousands of callers on one timer: each is beaten for in its own time."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from holdfast.gateway.beats import SLOT_S, BeatWheel, Ticket

END_S = 60.0
seconds = st.floats(0.0, 25.0)
callers = st.lists(st.tuples(seconds, seconds, st.none() | st.floats(0.05, 15.0), st.none() | seconds), max_size=12)


class FakeLoop:
    """A clock and timers, moved by hand."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.timers: list[Any] = []

    def time(self) -> float:
        """Seconds."""
        return self.now_s

    def call_at(self, when: float, function: Callable[[], None]) -> Any:
        """Keep a timer."""
        timer = SimpleNamespace(when=when, function=function, cancel=lambda: self.timers.remove(timer))
        self.timers.append(timer)
        return timer

    def until(self, moment_s: float) -> None:
        """Let time pass."""
        while due := sorted((timer for timer in self.timers if timer.when <= moment_s), key=lambda timer: timer.when):
            self.timers.remove(due[0])
            self.now_s = max(self.now_s, due[0].when)
            due[0].function()
        self.now_s = moment_s


@given(callers)
def test_every_beat_comes_in_its_slot(wanted: list[tuple[float, float, float | None, float | None]]) -> None:
    """Never early, at most a slot late, none missed and none after it was cancelled, whoever else comes and goes."""
    loop = FakeLoop()
    wheel = BeatWheel(loop)  # type: ignore[arg-type]
    heard: list[list[float]] = [[] for _ in wanted]
    tickets: dict[int, Ticket] = {}

    def join(number: int, after_s: float, again_s: float | None) -> None:
        def tick() -> float | None:
            heard[number].append(loop.now_s)
            return again_s

        tickets[number] = wheel.add(after_s, tick)

    steps: list[tuple[float, Callable[[], None]]] = []
    for number, (at_s, after_s, again_s, leave_s) in enumerate(wanted):
        steps.append((at_s, lambda number=number, after_s=after_s, again_s=again_s: join(number, after_s, again_s)))
        if leave_s is not None:
            steps.append((at_s + leave_s, lambda number=number: tickets[number].cancel()))
    for moment_s, step in sorted(steps, key=lambda each: each[0]):
        loop.until(moment_s)
        step()
        assert len(loop.timers) <= 1
    loop.until(END_S)

    late_s = SLOT_S + 1e-6
    for beats, (at_s, after_s, again_s, leave_s) in zip(heard, wanted, strict=True):
        left_s = END_S if leave_s is None else at_s + leave_s
        assert all(moment <= left_s for moment in beats)
        if at_s + after_s + late_s < left_s:
            assert beats, "the first beat is never missed"
        if beats:
            assert at_s + after_s - 1e-6 <= beats[0] <= at_s + after_s + late_s
        for earlier, later in pairwise(beats):
            assert again_s is not None
            assert again_s - 1e-6 <= later - earlier <= again_s + late_s
        if again_s is None:
            assert len(beats) <= 1
        elif beats:
            assert beats[-1] + again_s + late_s >= left_s, "a beat is missing at the end"
