"""Whether a hold fits into what a key or a group may spend, and what its caller is told if it does not."""

from __future__ import annotations

from datetime import date

import pytest

from holdfast.policy.budgets import Budget, Exhausted, Period, Scope, Spent, month_of, refusal, shortfall

DAY = date(2026, 11, 28)
NOTHING = Spent(day_micros=0, month_micros=0)


def a_budget(per_day: int | None = None, per_month: int | None = None, scope: Scope = Scope.KEY) -> Budget:
    """One of a key, unless it is said otherwise."""
    return Budget(scope=scope, id="key_1", micros_per_day=per_day, micros_per_month=per_month)


def test_a_budget_is_spent_to_its_last_micro_unit_and_not_one_further() -> None:
    """The limit itself may be reached."""
    budget = a_budget(per_day=100)
    assert shortfall(budget, Spent(day_micros=60, month_micros=60), micros=40, day=DAY) is None
    told = shortfall(budget, Spent(day_micros=60, month_micros=60), micros=41, day=DAY)
    assert told == Exhausted(
        scope=Scope.KEY, period=Period.DAY, day=DAY, limit_micros=100, spent_micros=60, needed_micros=41
    )


def test_a_month_ends_what_each_of_its_days_would_allow() -> None:
    """Both limits hold; the day's is told where both are passed, since it is over sooner."""
    budget = a_budget(per_day=100, per_month=150)
    told = shortfall(budget, Spent(day_micros=0, month_micros=120), micros=40, day=DAY)
    assert told is not None
    assert (told.period, told.limit_micros, told.spent_micros) == (Period.MONTH, 150, 120)
    told = shortfall(budget, Spent(day_micros=90, month_micros=140), micros=40, day=DAY)
    assert told is not None
    assert told.period is Period.DAY


def test_without_a_limit_everything_fits_and_with_none_of_zero_nothing_that_costs() -> None:
    """None and 0 are different things."""
    much = Spent(day_micros=10**15, month_micros=10**15)
    assert shortfall(a_budget(), much, micros=10**15, day=DAY) is None
    assert shortfall(a_budget(per_day=0), NOTHING, micros=1, day=DAY) is not None
    assert shortfall(a_budget(per_day=0), NOTHING, micros=0, day=DAY) is None
    assert not a_budget().is_limited
    assert a_budget(per_day=0).is_limited
    assert a_budget(per_month=0).is_limited


def test_what_is_free_fits_also_under_a_limit_that_was_lowered() -> None:
    """Nothing is passed by it."""
    assert shortfall(a_budget(per_day=10), Spent(day_micros=50, month_micros=50), micros=0, day=DAY) is None


@pytest.mark.parametrize(
    ("day", "first", "last"),
    [
        (date(2026, 11, 28), date(2026, 11, 1), date(2026, 11, 30)),
        (date(2026, 12, 31), date(2026, 12, 1), date(2026, 12, 31)),
        (date(2028, 2, 1), date(2028, 2, 1), date(2028, 2, 29)),
        (date(2027, 2, 28), date(2027, 2, 1), date(2027, 2, 28)),
    ],
)
def test_a_month_is_the_calendar_s(day: date, first: date, last: date) -> None:
    """Whatever its length."""
    assert month_of(day) == (first, last)


@pytest.mark.parametrize(
    ("period", "day", "again"),
    [
        (Period.DAY, date(2026, 11, 28), date(2026, 11, 29)),
        (Period.DAY, date(2026, 12, 31), date(2027, 1, 1)),
        (Period.MONTH, date(2026, 11, 28), date(2026, 12, 1)),
        (Period.MONTH, date(2026, 12, 1), date(2027, 1, 1)),
        (Period.MONTH, date(2027, 1, 31), date(2027, 2, 1)),
    ],
)
def test_it_begins_anew_on_the_next_day_or_month(period: Period, day: date, again: date) -> None:
    """That is what a caller can wait for."""
    told = Exhausted(scope=Scope.KEY, period=period, day=day, limit_micros=1, spent_micros=1, needed_micros=1)
    assert told.again_on == again
    assert f"anew on {again.isoformat()}" in refusal(told, "USD").message


def test_a_caller_is_told_his_own_figures() -> None:
    """402 with limit, what stands against it, and what was asked for, in the currency of the books."""
    told = Exhausted(
        scope=Scope.KEY,
        period=Period.MONTH,
        day=DAY,
        limit_micros=24_000_000,
        spent_micros=23_900_000,
        needed_micros=240_000,
    )
    error = refusal(told, "EUR")
    assert (error.code, error.status, error.retry_after_s) == ("budget_exhausted", 402, None)
    assert "may spend 24.00 EUR in 2026-11 (UTC); 23.90 EUR are spent or held" in error.message
    assert "may cost 0.24 EUR. Nothing was bought." in error.message


def test_of_a_group_s_budget_no_member_learns_what_the_others_spend() -> None:
    """Neither its limit nor what stands against it."""
    told = Exhausted(
        scope=Scope.GROUP, period=Period.DAY, day=DAY, limit_micros=7_770_000, spent_micros=6_660_000, needed_micros=1
    )
    message = refusal(told, "USD").message
    assert "group on 2026-11-28" in message
    assert "7.77" not in message
    assert "6.66" not in message


def test_keys_and_groups_are_counted_apart_even_under_one_name() -> None:
    """The rows of a day are told apart by the owner's name."""
    assert a_budget().owner == "key:key_1"
    assert a_budget(scope=Scope.GROUP).owner == "group:key_1"


def test_a_negative_limit_is_a_mistake_of_ours() -> None:
    """Commands and endpoints refuse it before."""
    with pytest.raises(AssertionError):
        a_budget(per_day=-1)
