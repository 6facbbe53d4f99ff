"""How often an upstream is asked that gives a handle: early, seldom, often, and then ever less."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.policy.latency import prior
from holdfast.policy.polling import FIRST_S_MAX, PAUSE_S_MAX, PAUSE_S_MIN, pause_s
from holdfast.types import Tier


def moments_until(end_s: float, *, expected_s: float) -> list[float]:
    """When questions are asked of a request, seconds after it was taken."""
    asked: list[float] = []
    waited_s = 0.0
    while waited_s < end_s:
        waited_s += pause_s(waited_s=waited_s, expected_s=expected_s)
        asked.append(waited_s)
    return asked


@pytest.mark.parametrize("tier", list(Tier))
def test_a_refusal_is_seen_within_seconds(tier: Tier) -> None:
    """What is refused is refused at once, whatever an image takes."""
    assert pause_s(waited_s=0.0, expected_s=prior(tier).expected_s) <= FIRST_S_MAX


@pytest.mark.parametrize("tier", list(Tier))
def test_questions_are_few_and_the_answer_hardly_late(tier: Tier) -> None:
    """A dozen or so for an image that takes as long as expected, and half a pause, three per cent, on average."""
    expected_s = prior(tier).expected_s
    asked = moments_until(expected_s, expected_s=expected_s)
    assert 8 <= len(asked) <= 16
    around = [b - a for a, b in pairwise(asked) if a > expected_s / 2]
    assert max(around) / 2 <= expected_s / 30


def test_nothing_is_asked_often_before_anything_can_be_there() -> None:
    """Up to half of the expected time pauses are twice as long as around it."""
    early = pause_s(waited_s=10.0, expected_s=80.0)
    due = pause_s(waited_s=60.0, expected_s=80.0)
    assert early == 2 * due == 10.0


def test_what_takes_for_ever_is_asked_for_ever_less() -> None:
    """Pauses grow with what has been waited, up to their bound: ten minutes are some ninety questions."""
    late = [pause_s(waited_s=waited_s, expected_s=45.0) for waited_s in (100.0, 200.0, 400.0, 4000.0)]
    assert late == sorted(late)
    assert late[-1] == PAUSE_S_MAX
    assert len(moments_until(600.0, expected_s=45.0)) < 100


def test_the_growth_begins_where_the_steady_pace_ends() -> None:
    """No jump at twice the expected time."""
    before, after = pause_s(waited_s=89.999, expected_s=45.0), pause_s(waited_s=90.0, expected_s=45.0)
    assert before == pytest.approx(after)


@given(st.floats(0.0, 1e6), st.floats(1e-3, 1e5))
def test_a_pause_is_within_its_bounds(waited_s: float, expected_s: float) -> None:
    """Whatever was learned, and however long it has taken."""
    assert PAUSE_S_MIN <= pause_s(waited_s=waited_s, expected_s=expected_s) <= PAUSE_S_MAX


@given(st.floats(0.01, 1e4))
def test_asking_never_stands_still(expected_s: float) -> None:
    """A thousand seconds are over after a bounded number of questions."""
    assert len(moments_until(1000.0, expected_s=expected_s)) <= 1000.0 / PAUSE_S_MIN + 1
