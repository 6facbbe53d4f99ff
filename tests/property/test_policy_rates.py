"""No minute has more calls than it may have, however they come; and none waits that need not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holdfast.policy.rates import MINUTE_S, Pace

PACES = st.integers(1, 40).flatmap(
    lambda per_minute: st.builds(Pace, per_minute=st.just(per_minute), burst=st.integers(1, per_minute))
)


def sent_by(pace: Pace, pauses: list[float], due_at: float = 0.0, began: float = 1000.0) -> list[float]:
    """Send as early as allowed, a call asked for after each pause; say when each was sent."""
    sent: list[float] = []
    asked = now = began
    for pause in pauses:
        asked += pause
        now = max(asked, now, pace.ready_at(due_at))
        due_at = pace.sent(pace.clamped(due_at, now), now)
        sent.append(now)
    return sent


def most_in_a_minute(sent: list[float]) -> int:
    """The fullest of all sliding minutes."""
    return max(sum(at <= other < at + 60.0 for other in sent) for at in sent)


@given(PACES, st.lists(st.floats(0.0, 30.0), min_size=1, max_size=120))
def test_no_minute_is_too_full(pace: Pace, pauses: list[float]) -> None:
    """Wherever it begins."""
    assert most_in_a_minute(sent_by(pace, pauses)) <= pace.per_minute


@given(PACES, st.lists(st.floats(0.0, 1.15), min_size=60, max_size=120))
def test_calls_that_travel_unequally_long_fit_all_the_same(pace: Pace, delays: list[float]) -> None:
    """Up to a second and more later there: counted where they arrive, no minute is too full."""
    sent = sent_by(pace, [0.0] * len(delays))
    assert most_in_a_minute([at + delay for at, delay in zip(sent, delays, strict=True)]) <= pace.per_minute


@given(PACES, st.integers(1, 100))
def test_nothing_is_given_away(pace: Pace, calls: int) -> None:
    """Whoever always has a call to send sends all that the long run allows, to the call."""
    sent = sent_by(pace, [0.0] * calls)
    assert sent[-1] <= 1000.0 + max(0, calls - pace.burst) * pace.interval_s + 1e-6


@given(PACES, st.lists(st.floats(0.0, 30.0), min_size=1, max_size=60), st.floats(0.0, 90.0))
def test_a_restart_changes_nothing(pace: Pace, pauses: list[float], down_s: float) -> None:
    """What the records of the last minute tell is what the process knew: the next call may go at the same moment."""
    sent = sent_by(pace, pauses)
    due_at = 0.0
    for at in sent:
        due_at = pace.sent(due_at, at)
    now = sent[-1] + down_s
    known = max(now, pace.ready_at(due_at))
    after = max(now, pace.ready_at(pace.after(sent, now)))
    if pace.burst == 1:
        assert abs(after - known) < 1e-6
    # With a burst the older part of it may be forgotten, never more than a minute's worth.
    assert after <= known + 1e-6


@given(PACES, st.lists(st.floats(-1e6, 1e6), max_size=50), st.floats(0.0, 1e5))
def test_no_past_makes_anybody_wait_for_long(pace: Pace, sent: list[float], now: float) -> None:
    """A minute, or what one call costs, whatever the clocks said."""
    due_at = pace.after(sorted(sent), now)
    assert pace.ready_at(due_at) <= now + max(MINUTE_S, pace.burst * pace.interval_s) + 1e-6
