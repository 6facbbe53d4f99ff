"""Whatever receivers answer in whatever order, telling them comes to an end, and is never hurried."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holdfast.policy.webhooks import (
    JITTER_SHARE,
    RETRY_AFTER_S_MAX,
    SCHEDULE_S,
    Again,
    Answered,
    Broken,
    Delivered,
    Disabled,
    GivenUp,
    decide,
)

jitters = st.floats(0.0, 1.0, exclude_max=True)
outcomes = st.builds(Broken, reason=st.just("lost")) | st.builds(
    Answered, status=st.integers(100, 999), retry_after_s=st.none() | st.floats(allow_nan=False)
)


@given(st.lists(st.tuples(outcomes, jitters), min_size=len(SCHEDULE_S), max_size=len(SCHEDULE_S)))
def test_it_ends_within_the_schedule(tries: list[tuple[Answered | Broken, float]]) -> None:
    """After seven tries at most, whatever is answered."""
    decided = [decide(outcome, tries=number, jitter=jitter) for number, (outcome, jitter) in enumerate(tries, 1)]
    assert not isinstance(decided[-1], Again)


@given(outcomes, st.integers(1, 20), jitters)
def test_a_pause_is_the_schedule_s_at_least_and_bounded(outcome: Answered | Broken, tries: int, jitter: float) -> None:
    """No answer brings a try forward, or puts it off for ever."""
    decided = decide(outcome, tries=tries, jitter=jitter)
    if isinstance(decided, Again):
        assert SCHEDULE_S[tries] <= decided.after_s <= RETRY_AFTER_S_MAX * (1 + JITTER_SHARE)


@given(outcomes, st.integers(1, 20), jitters)
def test_only_2xx_is_delivered_and_only_410_disables(outcome: Answered | Broken, tries: int, jitter: float) -> None:
    """What was not taken is never counted as taken; one bad day disables nobody."""
    decided = decide(outcome, tries=tries, jitter=jitter)
    status = outcome.status if isinstance(outcome, Answered) else 0
    assert isinstance(decided, Delivered) == (200 <= status < 300)
    assert isinstance(decided, Disabled) == (status == 410)
    if isinstance(decided, GivenUp):
        assert tries >= len(SCHEDULE_S)
