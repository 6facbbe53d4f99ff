"""What a round of silences says, and what is tried next."""

from __future__ import annotations

import pytest

from holdfast.doctor.schedule import (
    QUICK_S,
    SILENCE_S,
    Answered,
    Cut,
    CutAfter,
    Lost,
    LostAfter,
    Uncut,
    conclude,
    fine_s,
    first_round,
    next_round,
)


def test_the_first_round_is_spread_to_the_end() -> None:
    """Evenly, and the last is the longest."""
    assert first_round(8.0, 4) == (2.0, 4.0, 6.0, 8.0)
    assert first_round(SILENCE_S)[-1] == SILENCE_S > 130.0
    assert QUICK_S > 60.0


def test_nothing_measured_says_nothing() -> None:
    """Not that all is well."""
    assert conclude([]) is None
    assert next_round([]) == ()


def test_a_cut_ends_the_search() -> None:
    """Its own time is the limit; the least of several is."""
    samples = [Answered(seconds=50.0), Cut(seconds=66.0, at_s=60.1), Cut(seconds=74.0, at_s=60.0)]
    assert conclude(samples) == CutAfter(limit_s=60.0, is_steady=True)
    assert next_round(samples) == ()


def test_a_cut_that_does_not_meet_everybody_is_told_so() -> None:
    """Two balancers with two limits, say."""
    samples = [Cut(seconds=66.0, at_s=60.0), Answered(seconds=74.0)]
    assert conclude(samples) == CutAfter(limit_s=60.0, is_steady=False)


def test_between_the_answered_and_the_lost_more_is_tried() -> None:
    """Inside, evenly, none of them twice."""
    samples = [Answered(seconds=16.0), Lost(seconds=24.0), Lost(seconds=32.0)]
    assert conclude(samples) == LostAfter(answered_s=16.0, lost_s=24.0)
    wanted = next_round(samples, 7)
    assert wanted == (17.0, 18.0, 19.0, 20.0, 21.0, 22.0, 23.0)
    done = [*samples, *(Answered(seconds=each) for each in wanted[:3]), *(Lost(seconds=each) for each in wanted[3:])]
    assert next_round(done, 7) == ()
    assert conclude(done) == LostAfter(answered_s=19.0, lost_s=20.0)


def test_what_came_through_above_a_loss_does_not_count() -> None:
    """Whoever waits must count on the shorter limit."""
    assert conclude([Answered(seconds=10.0), Lost(seconds=20.0), Answered(seconds=30.0)]) == LostAfter(
        answered_s=10.0, lost_s=20.0
    )


def test_all_lost_lies_between_nothing_and_the_shortest() -> None:
    """And the next round looks there."""
    found = conclude([Lost(seconds=8.0), Lost(seconds=16.0)])
    assert found == LostAfter(answered_s=0.0, lost_s=8.0)
    assert found.limit_s == 4.0
    assert min(next_round([Lost(seconds=8.0)], 3)) == 2.0


def test_a_loss_at_the_moment_of_a_cut_is_the_cut() -> None:
    """A probe whose answer was due just then is no second hop."""
    samples = [Lost(seconds=59.9), Cut(seconds=66.0, at_s=60.0)]
    assert conclude(samples) == CutAfter(limit_s=60.0, is_steady=True)


def test_all_answered_is_uncut() -> None:
    """Up to the longest."""
    assert conclude([Answered(seconds=2.0), Answered(seconds=132.0)]) == Uncut(until_s=132.0)


@pytest.mark.parametrize(("near_s", "fine"), [(0.0, 0.1), (5.0, 0.4), (60.0, 1.0), (130.0, 1.0)])
def test_a_limit_is_known_to_a_second_or_less(near_s: float, fine: float) -> None:
    """Short ones to 8 %."""
    assert fine_s(near_s) == pytest.approx(fine)
