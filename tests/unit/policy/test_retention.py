"""When images may be deleted, and which files nobody may want any more."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from holdfast.config import Store
from holdfast.policy.retention import (
    ABANDONED_S,
    Retention,
    all_collected_at,
    delete_after,
    has_jumped,
    may_remove,
)

ENDED_AT = datetime(2026, 1, 17, 12, 0, tzinfo=UTC)
USUAL = Retention(max_s=7 * 86400, after_finish_s=86400, after_collect_s=3600)
HOUR_S = 3600


def test_the_settings_as_shipped_keep_a_day_an_hour_and_a_week() -> None:
    """As the tables of the design have them."""
    assert Retention.of(Store()) == USUAL


@pytest.mark.parametrize(
    ("collected_after_h", "kept_h"),
    [
        (None, 168),
        (0.01, 24),
        (22.5, 24),
        (23.5, 24.5),
        (100, 101),
        (166.9, 167.9),
        (167.5, 168),
        (168, 168),
    ],
)
def test_what_is_collected_goes_earlier_and_the_cap_is_the_end(collected_after_h: float | None, kept_h: float) -> None:
    """Never collected: a week. Collected: a day after the end and an hour after collecting, whichever comes later."""
    collected_at = None if collected_after_h is None else ENDED_AT + timedelta(hours=collected_after_h)
    assert delete_after(USUAL, ended_at=ENDED_AT, collected_at=collected_at) == ENDED_AT + timedelta(hours=kept_h)


def test_a_cap_below_the_rest_is_the_cap() -> None:
    """Whoever sets a short maximum means it: nothing is kept longer, collected or not."""
    short = Retention(max_s=600, after_finish_s=86400, after_collect_s=3600)
    for collected_at in (None, ENDED_AT + timedelta(seconds=10)):
        assert delete_after(short, ended_at=ENDED_AT, collected_at=collected_at) == ENDED_AT + timedelta(seconds=600)


@pytest.mark.parametrize(
    ("images", "collected_at"),
    [
        ([], None),
        ([("result", None)], None),
        ([("result", "2026-01-17T12:00:00.000Z")], "2026-01-17T12:00:00.000Z"),
        ([("result", "2026-01-17T12:00:00.000Z"), ("result", None)], None),
        ([("result", "2026-01-17T12:00:00.000Z"), ("result", "2026-01-17T11:00:00.000Z")], "2026-01-17T12:00:00.000Z"),
        ([("result", "2026-01-17T12:00:00.000Z"), ("draft", None)], "2026-01-17T12:00:00.000Z"),
        ([("result", "2026-01-17T12:00:00.000Z"), ("late", None)], None),
        ([("late", "2026-01-17T12:00:00.000Z")], "2026-01-17T12:00:00.000Z"),
        ([("draft", None)], None),
    ],
)
def test_a_generation_is_collected_once_its_last_image_is(
    images: list[tuple[str, str | None]], collected_at: str | None
) -> None:
    """One image of four that was fetched says nothing of the other three; drafts go with what they led to."""
    assert all_collected_at(images) == collected_at


@pytest.mark.parametrize(
    ("age_s", "is_kept", "is_settleable", "removed"),
    [
        (ABANDONED_S, False, False, True),
        (ABANDONED_S - 1, False, False, False),
        (-5.0, False, False, False),
        (ABANDONED_S, True, False, False),
        (ABANDONED_S, False, True, False),
        (100 * ABANDONED_S, True, True, False),
    ],
)
def test_only_old_files_that_nobody_may_want_are_removed(
    age_s: float, is_kept: bool, is_settleable: bool, removed: bool
) -> None:
    """A row, an attempt that may still be settled, or youth: each of them keeps a file."""
    assert may_remove(age_s=age_s, is_kept=is_kept, is_settleable=is_settleable) is removed


@pytest.mark.parametrize(
    ("wall_s", "monotonic_s", "jumped"),
    [(60.0, 60.0, False), (90.0, 60.0, False), (121.0, 60.0, True), (-1.0, 60.0, True), (0.0, 60.0, False)],
)
def test_a_wall_clock_that_was_set_is_noticed(wall_s: float, monotonic_s: float, jumped: bool) -> None:
    """More than a minute apart, in either direction."""
    assert has_jumped(wall_s=wall_s, monotonic_s=monotonic_s) is jumped
