"""What of a charge is given back to the customer: by rule, never more than the charge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from holdfast.config import Compensation, CompensationReason
from holdfast.money import share_of
from holdfast.types import FailureKind

Rules = Mapping[CompensationReason, Compensation]


def rules_of(entries: Sequence[Compensation]) -> Rules:
    """Give the rule of every reason: as written, else its default, which gives all of it back."""
    written = {entry.when: entry for entry in entries}
    return MappingProxyType({when: written.get(when) or Compensation(when=when) for when in CompensationReason})


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


def compensation_micros(rule: Compensation, *, captured_micros: int, took_s: float, given_today_micros: int = 0) -> int:
    """Decide how much of a charge is given back.

    Args:
        rule: For the reason in question.
        captured_micros: What the customer was charged for it.
        took_s: Seconds from acceptance to the end; only the rule for slowness looks at it.
        given_today_micros: What this rule has given back today (UTC); only a rule with a cap looks at it.
    """
    assert captured_micros >= 0
    assert given_today_micros >= 0
    if rule.when is CompensationReason.SLOW and took_s <= rule.slower_than_s:
        return 0
    wanted = share_of(captured_micros, rule.share)
    if not rule.cap_micros_per_day:
        return wanted
    return min(wanted, max(0, rule.cap_micros_per_day - given_today_micros))
