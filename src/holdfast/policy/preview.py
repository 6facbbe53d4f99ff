"""What other rules of compensation would have given back, had they been in force.

Pure: no I/O, clock or randomness. The rules themselves are applied by the function that charges by them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from holdfast.config import CompensationReason
from holdfast.policy.compensation import Rules, Subject, given_back


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """A generation for which its customer was charged."""

    at: str
    """Its end, RFC 3339."""
    subject: Subject
    took_s: float
    charged: Mapping[CompensationReason, int]
    given_micros: int
    """What was given back then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleEffect:
    """What one rule would have done."""

    rule: str
    generations: int
    """Charges of which it gives something back."""
    given_micros: int
    withheld_micros: int
    """What its cap would have kept back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DayEffect:
    """A day (UTC), then and now."""

    day: str
    charged_micros: int
    given_micros: int
    would_give_micros: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """All of it."""

    generations: int
    """Those that were charged for."""
    charged_micros: int
    given_micros: int
    """What was given back then, by the rules of then."""
    would_give_micros: int
    rules: tuple[RuleEffect, ...]
    days: tuple[DayEffect, ...]


def preview(past: Iterable[Past], rules: Rules) -> Preview:
    """Apply rules to what has been charged, one generation after the other.

    Args:
        past: In the order of their ends: a cap is filled by whoever comes first.
        rules: The other rules.
    """
    generations = 0
    by_rule: dict[str, Counter[str]] = {}
    by_day: dict[str, Counter[str]] = {}
    today: Counter[tuple[str, str]] = Counter()
    for each in past:
        generations += 1
        day = each.at[:10]
        given = given_back(
            rules,
            each.subject,
            each.charged,
            took_s=each.took_s,
            given_today=lambda rule, day=day: today[day, rule],  # type: ignore[misc]  # the day of this turn
        )
        for one in given:
            today[day, one.rule] += one.micros
            effect = by_rule.setdefault(one.rule, Counter())
            effect.update(generations=1, given=one.micros, withheld=one.wanted_micros - one.micros)
        sums = by_day.setdefault(day, Counter())
        charged = sum(each.charged.values())
        sums.update(charged=charged, given=each.given_micros, would=sum(one.micros for one in given))
    return Preview(
        generations=generations,
        charged_micros=sum(sums["charged"] for sums in by_day.values()),
        given_micros=sum(sums["given"] for sums in by_day.values()),
        would_give_micros=sum(sums["would"] for sums in by_day.values()),
        rules=tuple(
            RuleEffect(
                rule=name,
                generations=effect["generations"],
                given_micros=effect["given"],
                withheld_micros=effect["withheld"],
            )
            for name, effect in sorted(by_rule.items())
        ),
        days=tuple(
            DayEffect(
                day=day, charged_micros=sums["charged"], given_micros=sums["given"], would_give_micros=sums["would"]
            )
            for day, sums in sorted(by_day.items())
        ),
    )
