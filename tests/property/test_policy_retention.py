"""Whatever is set and whenever images are collected: nothing goes before its time, and nothing stays for ever."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from holdfast.policy.retention import Retention, all_collected_at, changes_kept_since, delete_after

ENDED_AT = datetime(2026, 1, 17, 12, 0, tzinfo=UTC)
seconds = st.integers(0, 3_000_000)
retentions = st.builds(
    Retention, max_s=st.integers(60, 3_000_000), after_finish_s=seconds, after_collect_s=st.integers(0, 3_000_000)
)
moments = st.integers(0, 3_000_000).map(lambda after_s: ENDED_AT + timedelta(seconds=after_s))


@given(retentions, st.none() | moments)
def test_nothing_is_kept_longer_than_the_cap(retention: Retention, collected_at: datetime | None) -> None:
    """And what was never collected is kept exactly as long."""
    end = delete_after(retention, ended_at=ENDED_AT, collected_at=collected_at)
    cap = ENDED_AT + timedelta(seconds=retention.max_s)
    assert ENDED_AT <= end <= cap
    assert collected_at is not None or end == cap


@given(retentions, moments)
def test_what_was_collected_is_kept_as_long_as_was_promised(retention: Retention, collected_at: datetime) -> None:
    """After the end and after collecting, unless the cap comes first; and no longer than the later of the two."""
    end = delete_after(retention, ended_at=ENDED_AT, collected_at=collected_at)
    promised = (
        ENDED_AT + timedelta(seconds=retention.after_finish_s),
        collected_at + timedelta(seconds=retention.after_collect_s),
    )
    cap = ENDED_AT + timedelta(seconds=retention.max_s)
    assert all(end >= min(cap, each) for each in promised)
    assert end in (cap, *promised)


@given(retentions, moments, moments)
def test_collecting_later_never_shortens_and_collecting_at_all_never_lengthens(
    retention: Retention, one: datetime, other: datetime
) -> None:
    """The order of two receipts decides nothing but who keeps longer."""
    earlier, later = sorted((one, other))
    ends = [delete_after(retention, ended_at=ENDED_AT, collected_at=moment) for moment in (earlier, later, None)]
    assert ends == sorted(ends)


@given(retentions, st.none() | moments, st.integers(0, 3_000_000))
def test_an_image_that_comes_later_is_kept_longer(
    retention: Retention, collected_at: datetime | None, later_s: int
) -> None:
    """A late image moves the end of retention away, never nearer."""
    late = ENDED_AT + timedelta(seconds=later_s)
    on_time = delete_after(retention, ended_at=ENDED_AT, collected_at=collected_at)
    assert delete_after(retention, ended_at=late, collected_at=collected_at) >= on_time


@given(
    st.lists(
        st.tuples(st.sampled_from(["result", "draft", "late"]), st.none() | moments.map(datetime.isoformat)), max_size=6
    )
)
def test_one_image_that_nobody_fetched_keeps_them_all(images: list[tuple[str, str | None]]) -> None:
    """Only when each result and each late image was fetched is there a moment, and it is the last one."""
    wanted = [collected_at for kind, collected_at in images if kind != "draft"]
    collected_at = all_collected_at(images)
    if not wanted or None in wanted:
        assert collected_at is None
    else:
        assert collected_at is not None
        assert collected_at in wanted
        assert all(each is not None and each <= collected_at for each in wanted)


@given(st.datetimes(datetime(2020, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)), st.integers(1, 36_500))
def test_changes_are_kept_for_whole_days_and_go_once_a_day(now: datetime, days: int) -> None:
    """From a midnight on: at no hour of a day is more deleted than at another."""
    since = changes_kept_since(now, days=days)
    assert timedelta(days=days) <= now - since < timedelta(days=days + 1)
    assert (since.hour, since.minute, since.second, since.microsecond) == (0, 0, 0, 0)
    last = now.replace(hour=23, minute=59, second=59)
    assert changes_kept_since(last, days=days) == since
