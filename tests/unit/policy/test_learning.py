"""Published figures and samples as one distribution, and which samples count."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pytest

from holdfast.policy.latency import PUBLISHED, SLOWEST_FACTOR, prior
from holdfast.policy.learning import (
    ENOUGH,
    HOURS,
    KEPT_HOURS,
    Learned,
    Window,
    choose_window,
    deadline_p99_s,
    expectation,
    heard,
    weight_of,
)
from holdfast.policy.sketch import Sketch
from holdfast.types import Tier

PRIOR = prior(Tier.K4)
NOW_H = 490_000.25
"""A quarter past an hour."""
HOUR = 490_000


def a_sketch(times_s: Iterable[float], *, timed_out: bool = False) -> Sketch:
    """A sketch of these times."""
    made = Sketch()
    for seconds in times_s:
        made.add(seconds, timed_out=timed_out)
    return made


def learned(times_s: Iterable[float], *, weight: float = 50.0, tier: Tier = Tier.K4) -> Learned:
    """What is expected after these."""
    counts = {bucket: float(count) for bucket, count in a_sketch(times_s).counts.items()}
    made = expectation(prior(tier), counts, prior_weight=weight)
    assert isinstance(made, Learned)
    return made


# The mixture


def test_without_a_sample_it_is_what_was_published() -> None:
    """Not something like it: the very same."""
    assert expectation(PRIOR, {}, prior_weight=50.0) is PRIOR
    assert expectation(PRIOR, {}, prior_weight=0.0) is PRIOR


def test_with_many_it_is_what_was_measured() -> None:
    """Ten thousand calls at 30 s outweigh fifty published ones."""
    made = learned([30.0] * 10_000)
    assert made.expected_s == pytest.approx(30.0, rel=0.01)
    assert made.p95_s == pytest.approx(30.0, rel=0.01)
    assert made.p99_s == pytest.approx(30.0, rel=0.01)
    assert made.prior_share == pytest.approx(50 / 10_050)


def test_as_many_samples_as_the_weight_count_half() -> None:
    """Where all samples are faster than anything published, the median lies at their end."""
    made = learned([10.0] * 50)
    assert made.prior_share == 0.5
    assert made.fraction_done(11.0) == pytest.approx(0.5, abs=1e-6)
    # The other half is the published distribution: its median is the 75th percentile of both.
    assert made.quantile(0.75) == pytest.approx(PRIOR.expected_s, rel=1e-3)


def test_the_mixture_is_the_one_that_is_stated() -> None:
    """F = (w * F_published + samples) / (w + n), at places that lie in no bucket of a sample."""
    made = learned([60.0, 100.0, 150.0, 400.0])
    for seconds, there in ((20.0, 0), (80.0, 1), (120.0, 2), (200.0, 3), (1000.0, 4)):
        stated = (50.0 * PRIOR.fraction_done(seconds) + there) / 54.0
        assert made.fraction_done(seconds) == pytest.approx(stated)


def test_one_wild_sample_leaves_the_median_where_it_was() -> None:
    """A call that took a day, or none at all, is one of many."""
    usual = [100.0 + each / 10 for each in range(200)]
    before = learned(usual)
    for wild_s in (0.001, 86_400.0):
        after = learned([*usual, wild_s])
        assert after.expected_s == pytest.approx(before.expected_s, rel=0.01)
        assert after.p95_s == pytest.approx(before.p95_s, rel=0.03)


def test_one_wild_sample_alone_moves_the_median_of_what_was_published_by_little() -> None:
    """The first call of a new upstream says next to nothing."""
    assert learned([86_400.0]).expected_s == pytest.approx(PRIOR.expected_s, rel=0.02)
    assert learned([0.001]).expected_s == pytest.approx(PRIOR.expected_s, rel=0.02)


def test_a_weight_of_nothing_leaves_the_samples() -> None:
    """Whoever trusts no published figure is not given any."""
    made = learned([30.0, 30.0, 60.0], weight=0.0)
    assert made.expected_s == pytest.approx(30.0, rel=0.01)
    assert made.p99_s == pytest.approx(60.0, rel=0.01)
    assert (made.fraction_done(20.0), made.fraction_done(61.0), made.prior_share) == (0.0, 1.0, 0.0)


def test_nothing_is_done_before_it_began() -> None:
    """Clocks that disagree give no negative time."""
    made = learned([30.0])
    assert made.fraction_done(0.0) == made.fraction_done(-5.0) == 0.0


def test_pauses_between_two_looks_follow_the_median() -> None:
    """Four until it, 1 to 60 s."""
    assert learned([30.0] * 100_000).poll_after_s == 8
    assert learned([0.2] * 100_000).poll_after_s == 1
    assert learned([3600.0] * 100_000).poll_after_s == 60


def test_a_learned_one_shows_what_it_is() -> None:
    """Without its buckets, which nobody can read."""
    shown = repr(learned([30.0]))
    assert "p99_s=" in shown
    assert "_sums" not in shown


# Windows


@pytest.mark.parametrize(
    ("hours_ago", "hour", "day", "week"),
    [(0, 1.0, 1.0, 1.0), (1, 0.75, 1.0, 1.0), (2, 0.0, 1.0, 1.0), (24, 0.0, 0.75, 1.0), (25, 0.0, 0.0, 1.0)],
)
def test_hours_leave_a_window_bit_by_bit(hours_ago: int, hour: float, day: float, week: float) -> None:
    """A quarter past, a quarter of the hour at the far end is out."""
    weights = [weight_of(HOUR - hours_ago, now_h=NOW_H, window=window) for window in Window]
    assert weights == [hour, day, week]


def test_an_hour_that_has_not_come_counts_for_nothing() -> None:
    """As after a start whose clock is behind the last one's."""
    assert [weight_of(HOUR + 1, now_h=NOW_H, window=window) for window in Window] == [0.0, 0.0, 0.0]


def test_a_week_is_all_that_is_kept() -> None:
    """What lies further back is in no window."""
    assert HOURS[Window.WEEK] == KEPT_HOURS
    assert weight_of(HOUR - KEPT_HOURS, now_h=NOW_H, window=Window.WEEK) == 0.75
    assert weight_of(HOUR - KEPT_HOURS - 1, now_h=NOW_H, window=Window.WEEK) == 0.0


def test_what_is_heard_is_added_up() -> None:
    """Over hours and upstreams, as they count."""
    one = {HOUR: a_sketch([10.0]), HOUR - 1: a_sketch([10.0, 20.0], timed_out=True)}
    other = {HOUR - 1: a_sketch([20.0])}
    found = heard([one, other], now_h=NOW_H, window=Window.HOUR)
    assert found.total == pytest.approx(1.0 + 2 * 0.75 + 0.75)
    assert found.timed_out == pytest.approx(1.5)
    assert heard([], now_h=NOW_H, window=Window.DAY).total == 0.0


def of(**calls: int) -> list[Mapping[int, Sketch]]:
    """Hours by how long ago they were, with so many calls each."""
    return [{HOUR - int(ago.removeprefix("h")): a_sketch([60.0] * count) for ago, count in calls.items()}]


@pytest.mark.parametrize(
    ("series", "window"),
    [
        (of(), Window.WEEK),
        (of(h0=ENOUGH), Window.HOUR),
        (of(h0=ENOUGH - 1), Window.WEEK),
        (of(h0=25, h1=100), Window.HOUR),
        (of(h0=24, h1=100), Window.DAY),
        (of(h0=1, h5=ENOUGH), Window.DAY),
        (of(h0=1, h30=ENOUGH), Window.WEEK),
        (of(h30=5), Window.WEEK),
    ],
)
def test_the_shortest_window_with_enough_is_chosen(series: list[Mapping[int, Sketch]], window: Window) -> None:
    """What is recent counts, as soon as there is enough of it."""
    assert choose_window(series, now_h=NOW_H) is window


def test_nothing_jumps_at_the_full_hour() -> None:
    """A moment before it and a moment after, the same is heard."""
    series = of(h0=100, h1=300)
    before = heard(series, now_h=HOUR + 0.999999, window=Window.HOUR)
    after = heard(series, now_h=HOUR + 1.000001, window=Window.HOUR)
    assert before.total == pytest.approx(after.total, rel=1e-3)


# Deadlines


def test_a_fast_upstream_shortens_no_deadline() -> None:
    """The published floor holds: past a deadline an image is paid for and thrown away."""
    assert deadline_p99_s(learned([20.0] * 100_000), PRIOR, Tier.K4) is None
    assert deadline_p99_s(PRIOR, PRIOR, Tier.K4) is None


def test_a_slow_upstream_lengthens_it() -> None:
    """By what was measured."""
    assert deadline_p99_s(learned([400.0] * 100_000), PRIOR, Tier.K4) == pytest.approx(400.0, rel=0.01)


def test_the_slowest_hour_that_was_published_is_the_most() -> None:
    """An upstream that never answers is not given more and more."""
    most_s = SLOWEST_FACTOR * PUBLISHED[Tier.K4].p99_s
    assert deadline_p99_s(learned([3000.0] * 100_000), PRIOR, Tier.K4) == most_s == 1125.0
