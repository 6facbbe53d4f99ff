"""What of a charge is given back to the customer: by rule, never more than the charge.

A rule is for a reason, and perhaps for some models, sizes, keys or groups only; of two rules at most one is for a call
(`config.compensating` refuses others). The same function decides in the transaction that charges, and in the preview of
other rules.

Pure: no I/O, clock or randomness.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from holdfast.config import Compensation, CompensationReason
from holdfast.money import share_of
from holdfast.types import FailureKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Whose call it is, and of what."""

    key_id: str
    group_id: str | None = None
    """The group that its hold was counted against."""
    model: str
    tier: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What one rule gives back of one charge."""

    rule: str
    """The rule's name, under which its day is counted."""
    micros: int
    wanted_micros: int
    """What it would give without its cap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The rules in force."""

    entries: tuple[Compensation, ...]

    def rule_for(self, reason: CompensationReason, subject: Subject) -> Compensation | None:
        """Find the rule for a call; None: nothing is given back for this reason."""
        return next((rule for rule in self.entries if rule.when is reason and qualifies(rule, subject)), None)


def rules_of(entries: Sequence[Compensation]) -> Rules:
    """Give the rules: as written, and for a reason of which nothing is written its default, which gives all back."""
    written = {entry.when for entry in entries}
    defaults = (Compensation(when=when) for when in CompensationReason if when not in written)
    return Rules(entries=(*entries, *defaults))


STANDARD = rules_of(())
"""The rules where none is written."""

_REASONS: Mapping[FailureKind, CompensationReason] = MappingProxyType(
    {
        FailureKind.REFUSED_INPUT: CompensationReason.REFUSED,
        FailureKind.REFUSED_OUTPUT: CompensationReason.REFUSED,
        FailureKind.NO_IMAGE: CompensationReason.EMPTY,
    }
)


def reason_of(kind: FailureKind) -> CompensationReason:
    """Name the rule for a failure that was paid for."""
    return _REASONS.get(kind, CompensationReason.FAILED)


def qualifies(rule: Compensation, subject: Subject) -> bool:
    """Say whether a rule is for this call."""
    if rule.models and subject.model not in rule.models:
        return False
    if rule.sizes and subject.tier not in rule.sizes:
        return False
    return not (rule.keys or rule.groups) or subject.key_id in rule.keys or subject.group_id in rule.groups


def name_of(rule: Compensation) -> str:
    """Name a rule by what it is for, as its day is counted: `slow`, or `slow 4K key_…`.

    Its place in the file may change while a day lasts, and so may its share.
    """
    return " ".join([rule.when.value, *rule.models, *rule.sizes, *rule.keys, *rule.groups])


def given_back(
    rules: Rules,
    subject: Subject,
    charged: Mapping[CompensationReason, int],
    *,
    took_s: float,
    given_today: Callable[[str], int],
) -> tuple[Given, ...]:
    """Decide what of a charge is given back.

    Args:
        rules: Those in force.
        subject: Whose call it is, and of what.
        charged: What was charged, micro-units, by the reason for which it may be given back.
        took_s: Seconds from acceptance, or from being driven again, to the end.
        given_today: What a rule, by its name, has given back today (UTC); asked only of one with a cap that would give.
    """
    given = []
    for reason, micros in charged.items():
        rule = rules.rule_for(reason, subject)
        if rule is None:
            continue
        wanted = wanted_micros(rule, captured_micros=micros, took_s=took_s)
        if not wanted:
            continue
        name = name_of(rule)
        today = given_today(name) if rule.cap_micros_per_day else 0
        under_cap = compensation_micros(rule, captured_micros=micros, took_s=took_s, given_today_micros=today)
        given.append(Given(rule=name, micros=under_cap, wanted_micros=wanted))
    return tuple(given)


def wanted_micros(rule: Compensation, *, captured_micros: int, took_s: float) -> int:
    """Say how much of a charge a rule gives back, its cap aside."""
    assert captured_micros >= 0
    if rule.when is CompensationReason.SLOW and took_s <= rule.slower_than_s:
        return 0
    return share_of(captured_micros, rule.share)


def compensation_micros(rule: Compensation, *, captured_micros: int, took_s: float, given_today_micros: int = 0) -> int:
    """Decide how much of a charge is given back.

    Args:
        rule: For the reason in question.
        captured_micros: What the customer was charged for it.
        took_s: Seconds from acceptance to the end; only the rule for slowness looks at it.
        given_today_micros: What this rule has given back today (UTC); only a rule with a cap looks at it.
    """
    assert given_today_micros >= 0
    wanted = wanted_micros(rule, captured_micros=captured_micros, took_s=took_s)
    if not rule.cap_micros_per_day:
        return wanted
    return min(wanted, max(0, rule.cap_micros_per_day - given_today_micros))
