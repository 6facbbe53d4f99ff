"""When a waiting caller hears from us."""

from __future__ import annotations

import pytest

from holdfast.config import Heartbeat
from holdfast.policy.callers import HTTPX, OPENAI_PYTHON, OTHER, URLLIB3
from holdfast.policy.heartbeats import Schedule, schedule_for


def test_a_caller_hears_nothing_for_twenty_seconds_then_every_ten() -> None:
    """Fast failures keep their status; no idle timer of 30 s or more fires."""
    assert schedule_for(OPENAI_PYTHON, Heartbeat()) == Schedule(first_beat_s=20.0, beat_s=10.0)


def test_an_impatient_caller_hears_from_us_before_five_seconds() -> None:
    """Plain httpx gives up at 5 s of silence."""
    schedule = schedule_for(HTTPX, Heartbeat())
    assert schedule == Schedule(first_beat_s=4.0, beat_s=4.0)


def test_a_caller_that_bears_less_hears_from_us_sooner() -> None:
    """Whatever the operator set for the impatient; shorter intervals stay what they are."""
    assert schedule_for(URLLIB3, Heartbeat()) == Schedule(first_beat_s=2.0, beat_s=2.0)
    fast = Heartbeat(impatient_first_beat_s=0.5, impatient_beat_s=0.25)
    assert schedule_for(URLLIB3, fast) == Schedule(first_beat_s=0.5, beat_s=0.25)


def test_zero_means_that_200_is_never_sent_early() -> None:
    """`Prefer: heartbeat=0` keeps the true status whatever it takes."""
    assert schedule_for(HTTPX, Heartbeat(), asked_beat_s=0.0).first_beat_s is None


@pytest.mark.parametrize(("asked_s", "first_beat_s", "beat_s"), [(5, 5, 5), (30, 20, 30), (0.001, 1, 1)])
def test_a_caller_may_choose_its_interval(asked_s: float, first_beat_s: float, beat_s: float) -> None:
    """A shorter interval brings the first beat forward, a longer one never puts it off; a flood cannot be asked for."""
    asked = schedule_for(OTHER, Heartbeat(), asked_beat_s=asked_s)
    assert asked == Schedule(first_beat_s=first_beat_s, beat_s=beat_s)


def test_the_operators_intervals_hold() -> None:
    """A demo that runs eight times as fast beats eight times as often."""
    fast = Heartbeat(first_beat_s=2.5, beat_s=1.25, impatient_first_beat_s=0.5, impatient_beat_s=0.5)
    assert schedule_for(OTHER, fast) == Schedule(first_beat_s=2.5, beat_s=1.25)
    assert schedule_for(HTTPX, fast) == Schedule(first_beat_s=0.5, beat_s=0.5)
