"""Rows of what keys and groups spend each day. Plain functions; the caller's transaction is theirs.

A hold is counted in the transaction that accepts, what is given back in the transaction that ends: the rows always
agree with the ledger, and `store.audit` proves it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date

from holdfast.policy.budgets import Budget, Exhausted, Scope, Spent, month_of, shortfall
from holdfast.store.later import Asked
from holdfast.store.locking import Hot, add_late, lock
from holdfast.store.port import Conn
from holdfast.store.queries import queries

_Q = queries("budgets")


def budgets_of(conn: Conn, key_id: str) -> tuple[Budget, ...]:
    """Read the limits of a key as they are now, and those of its group; a key that is not on record has none."""
    row = conn.execute(*limits_asked(key_id)).fetchone()
    if row is None:
        return (Budget(scope=Scope.KEY, id=key_id),)
    key = Budget(
        scope=Scope.KEY, id=key_id, micros_per_day=row["micros_per_day"], micros_per_month=row["micros_per_month"]
    )
    if row["group_id"] is None:
        return (key,)
    group = Budget(
        scope=Scope.GROUP,
        id=row["group_id"],
        micros_per_day=row["group_micros_per_day"],
        micros_per_month=row["group_micros_per_month"],
    )
    return key, group


def limits_asked(key_id: str) -> Asked:
    """What `budgets_of` reads, for whoever reads several things at once."""
    return _Q["limits_of"], {"key_id": key_id}


def group_in(budgets: Sequence[Budget]) -> str | None:
    """Name the group among budgets, which stands beside the generation: a key may change its group while it is held."""
    return next((budget.id for budget in budgets if budget.scope is Scope.GROUP), None)


def spend(conn: Conn, budgets: Iterable[Budget], *, day: str, micros: int, currency: str) -> Exhausted | None:
    """Count a hold against every budget, or against none and say which one it does not fit.

    Args:
        conn: In the writing transaction.
        budgets: The key's, and its group's.
        day: Of the hold, UTC, `2026-11-28`.
        micros: The hold.
        currency: Its own. A budget holds in each by itself: nobody here knows a rate of exchange.
    """
    budgets = tuple(budgets)
    is_limited = micros > 0 and any(budget.is_limited for budget in budgets)
    counted: list[str] = []
    for budget in budgets:
        if is_limited:
            # Rows in the order in which they are given back: the key's, then its group's.
            lock(conn, "budget", budget.owner)
        if not _fits(conn, budget, day, micros, currency, at_once=is_limited):
            _add(conn, counted, day, -micros, currency)
            so_far = spent(conn, budget.owner, day, currency)
            exhausted = shortfall(budget, so_far, micros=micros, day=date.fromisoformat(day))
            assert exhausted is not None, "what does not fit passes a limit"
            return exhausted
        counted.append(budget.owner)
    return None


def give_back(conn: Conn, *, key_id: str, group_id: str | None, day: str, micros: int, currency: str) -> None:
    """Give back what was held and is not charged, or was charged and is compensated.

    Args:
        conn: In the writing transaction.
        key_id: Whose it is.
        group_id: The group that its hold was counted against; None: there was none.
        day: Of the hold.
        micros: How much.
        currency: Of the hold.
    """
    assert micros >= 0
    if micros:
        _add(conn, _owners(key_id, group_id), day, -micros, currency)


def spent(conn: Conn, owner: str, day: str, currency: str) -> Spent:
    """Read what stands against a budget on a day and in its month, micro-units; `owner` is `Budget.owner`."""
    row = conn.execute(_Q["spent"], _month(day) | {"owner": owner, "day": day, "currency": currency}).fetchone()
    return Spent(day_micros=row["day_micros"], month_micros=row["month_micros"])


def _owners(key_id: str, group_id: str | None) -> list[str]:
    key = Budget(scope=Scope.KEY, id=key_id).owner
    return [key] if group_id is None else [key, Budget(scope=Scope.GROUP, id=group_id).owner]


def _fits(conn: Conn, budget: Budget, day: str, micros: int, currency: str, *, at_once: bool) -> bool:
    """Count a hold if it fits. One statement decides and counts: of many at one instant as many pass as fit."""
    if not micros:
        return True
    if not budget.is_limited:
        _add(conn, [budget.owner], day, micros, currency, at_once=at_once)
        return True
    values = _month(day) | {
        "owner": budget.owner,
        "day": day,
        "currency": currency,
        "micros": micros,
        "per_day": budget.micros_per_day,
        "per_month": budget.micros_per_month,
    }
    conn.execute(_Q["begin_day"], values)
    return conn.execute(_Q["spend_within"], values).rowcount == 1


def _add(conn: Conn, owners: Sequence[str], day: str, micros: int, currency: str, *, at_once: bool = False) -> None:
    rows = [{"owner": owner, "day": day, "micros": micros, "currency": currency} for owner in owners]
    if at_once:
        conn.executemany(_Q["add"], rows)
    else:
        add_late(conn, Hot.SPEND, _Q["add"], rows)


def _month(day: str) -> dict[str, object]:
    first, last = month_of(date.fromisoformat(day))
    return {"first": first.isoformat(), "last": last.isoformat()}
