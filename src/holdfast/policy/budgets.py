"""What a key, and a group of keys together, may spend on a day and in a month (UTC): whether another hold fits.

A call counts with its whole price from the moment it is accepted. What is given back of it, since it failed, brought
fewer images or was compensated, is given back to the day on which it was held; so at no moment a limit is passed, and
what is counted is what the ledger has on the key's account.

Pure: no I/O, clock or randomness. The hold is decided in the commit that accepts (`store.budgets`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

from holdfast.errors import RequestError
from holdfast.money import spell


class Scope(StrEnum):
    """Whose budget it is."""

    KEY = "key"
    GROUP = "group"


class Period(StrEnum):
    """For how long it holds."""

    DAY = "day"
    MONTH = "month"


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The limits of one key or one group."""

    scope: Scope
    id: str
    """Of the key or the group."""
    micros_per_day: int | None = None
    """None: no limit; 0: nothing that costs anything."""
    micros_per_month: int | None = None

    def __post_init__(self) -> None:
        assert self.micros_per_day is None or self.micros_per_day >= 0
        assert self.micros_per_month is None or self.micros_per_month >= 0

    @property
    def owner(self) -> str:
        """Its name in the records: `key:key_…`."""
        return f"{self.scope}:{self.id}"

    @property
    def is_limited(self) -> bool:
        """Whether there is anything to decide."""
        return self.micros_per_day is not None or self.micros_per_month is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What stands against a budget: charged, and held for calls under way, without what was given back."""

    day_micros: int
    month_micros: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Exhausted:
    """Why a hold does not fit."""

    scope: Scope
    period: Period
    day: date
    """UTC; of the hold that was asked for."""
    limit_micros: int
    spent_micros: int
    needed_micros: int

    @property
    def again_on(self) -> date:
        """The first day (UTC) on which the budget begins anew."""
        if self.period is Period.DAY:
            return self.day + timedelta(days=1)
        return (self.day.replace(day=1) + timedelta(days=31)).replace(day=1)


def month_of(day: date) -> tuple[date, date]:
    """Give the first and the last day of a day's month."""
    first = day.replace(day=1)
    return first, (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)


def shortfall(budget: Budget, spent: Spent, *, micros: int, day: date) -> Exhausted | None:
    """Say what a hold would pass, the day's limit first; None: it fits.

    What is free fits always, even where a limit was lowered below what had been spent.

    Args:
        budget: The limits.
        spent: What stands against them already.
        micros: The hold.
        day: Of the hold, UTC.
    """
    assert micros >= 0
    if not micros:
        return None
    limits = (
        (Period.DAY, budget.micros_per_day, spent.day_micros),
        (Period.MONTH, budget.micros_per_month, spent.month_micros),
    )
    for period, limit, so_far in limits:
        if limit is not None and so_far + micros > limit:
            return Exhausted(
                scope=budget.scope,
                period=period,
                day=day,
                limit_micros=limit,
                spent_micros=so_far,
                needed_micros=micros,
            )
    return None


def refusal(exhausted: Exhausted, currency: str) -> RequestError:
    """Tell the caller; of a group's budget without its amounts, which tell what others spend."""
    when = "on" if exhausted.period is Period.DAY else "in"
    named = exhausted.day.isoformat() if exhausted.period is Period.DAY else exhausted.day.isoformat()[:7]
    needed = spell(exhausted.needed_micros, currency)
    again = f"It begins anew on {exhausted.again_on.isoformat()} at 00:00 UTC; whoever runs this gateway can raise it."
    if exhausted.scope is Scope.GROUP:
        told = f"What is left of the budget of this key's group {when} {named} (UTC) does not cover the {needed}"
        message = f"{told} that this call may cost. Nothing was bought. {again}"
    else:
        limit, spent = spell(exhausted.limit_micros, currency), spell(exhausted.spent_micros, currency)
        told = f"This key may spend {limit} {when} {named} (UTC); {spent} are spent or held for calls under way"
        message = f"{told}, and this call may cost {needed}. Nothing was bought. {again}"
    return RequestError(message, code="budget_exhausted", status=402)
