"""How fast calls may follow each other, by the clock of whoever asks."""

from __future__ import annotations

import pytest

from holdfast.policy.rates import DAY_S, MINUTE_S, Pace, day_left_s, day_of, share_of


def test_calls_leave_one_by_one_as_far_apart_as_the_minute_allows() -> None:
    """Sixty a minute: one a second, and a fiftieth."""
    pace = Pace(per_minute=60)
    assert pace.interval_s == pytest.approx(1.02)
    due_at = 0.0
    assert (pace.ready_at(due_at), pace.spare(due_at, 100.0)) == (0.0, 1)
    due_at = pace.sent(due_at, 100.0)
    assert (pace.ready_at(due_at), pace.spare(due_at, 100.0)) == (pytest.approx(101.02), 0)
    assert pace.spare(due_at, 101.1) == 1
    # Idle for an hour: nothing has been saved up.
    assert pace.sent(due_at, 3700.0) == pytest.approx(3701.02)


def test_a_burst_is_paid_for_by_what_follows() -> None:
    """Three at once of twelve a minute; then one for each tenth of it, so that a minute has twelve at most."""
    pace = Pace(per_minute=12, burst=3)
    assert pace.interval_s == pytest.approx(MINUTE_S / 10)
    due_at, sent = 0.0, []
    now = 100.0
    while now < 160.0:
        if pace.ready_at(due_at) <= now:
            due_at = pace.sent(due_at, now)
            sent.append(now)
        else:
            now = pace.ready_at(due_at)
    assert sent[:3] == pytest.approx([100.0] * 3)
    assert len(sent) == 12


@pytest.mark.parametrize(("due_at", "spare"), [(99.0, 3), (99.9, 3), (106.0, 2), (112.0, 1), (115.0, 0)])
def test_what_may_be_sent_at_once_is_counted(due_at: float, spare: int) -> None:
    """From the burst down to nothing."""
    assert Pace(per_minute=12, burst=3).spare(due_at, 100.0) == spare


def test_a_past_is_counted_as_if_it_had_been_sent_by_us() -> None:
    """Evenly: the next one is an interval after the last. All at once: they are waited off one by one."""
    pace = Pace(per_minute=6)
    evenly = [100.0, 110.2, 120.4]
    assert pace.after(evenly, 125.0) == pytest.approx(130.6)
    assert pace.after([124.0] * 3, 125.0) == pytest.approx(124.0 + 3 * 10.2)
    assert pace.after([], 125.0) == 0.0


def test_nobody_waits_for_longer_than_a_minute_whatever_the_past_was() -> None:
    """A hundred a moment ago, where six a minute are granted now; and what is older than a minute counts no more."""
    pace = Pace(per_minute=6)
    assert pace.after([124.0] * 100, 125.0) == 125.0 + MINUTE_S
    assert pace.after([125.0 - MINUTE_S] * 100, 125.0) == 0.0
    # Below zero is before the machine was started.
    assert pace.after([-5.0], 10.0) == pytest.approx(5.2)


def test_what_was_sent_in_the_future_was_sent_now() -> None:
    """Its clock was put back since."""
    pace = Pace(per_minute=6)
    assert pace.after([9_000.0], 125.0) == pytest.approx(135.2)
    assert pace.clamped(9_000.0, 125.0) == 125.0 + MINUTE_S
    assert pace.clamped(130.0, 125.0) == 130.0


def test_one_a_minute_is_one_a_minute() -> None:
    """The bound of a minute does not let it through early."""
    pace = Pace(per_minute=1)
    assert pace.clamped(pace.sent(0.0, 100.0), 100.0) == 100.0 + MINUTE_S


def test_days_are_utc() -> None:
    """Numbered from 1970; each ends at midnight."""
    assert (day_of(0.0), day_of(DAY_S - 0.1), day_of(DAY_S)) == (0, 0, 1)
    assert (day_left_s(0.0), day_left_s(DAY_S - 1.5)) == (DAY_S, 1.5)


@pytest.mark.parametrize(("sent", "keys", "shares"), [(0, 2, [0, 0]), (7, 3, [3, 2, 2]), (5, 1, [5])])
def test_what_several_have_sent_is_shared_out(sent: int, keys: int, shares: list[int]) -> None:
    """Nothing is lost."""
    assert [share_of(sent, key, keys) for key in range(keys)] == shares


@pytest.mark.parametrize(("per_minute", "burst"), [(0, 1), (5, 0), (5, 6)])
def test_a_pace_that_makes_no_sense_is_our_mistake(per_minute: int, burst: int) -> None:
    """Settings are checked before."""
    with pytest.raises(AssertionError):
        Pace(per_minute=per_minute, burst=burst)
