"""What each kind of failure means: who was charged, what to do about it, and what the caller is told in the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from holdfast.types import Charge, Failure, FailureKind, worst_charge


class Reaction(StrEnum):
    """The default answer to a failed attempt, before deadline, budget and charge are looked at."""

    GIVE_UP = "give up"
    NEXT = "next"
    """This credential is of no use (now); another upstream may be."""
    COOL = "wait or next"
    """Let the credential rest for the hint or a jittered while; not counted as a retry."""
    RETRY = "retry, next"
    ONCE = "once, then next"
    BUY_AGAIN = "one more purchase"
    FETCH_AGAIN = "fetch again, never buy again"


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureRow:
    """One line of the table."""

    kind: FailureKind
    charge: Charge
    """The usual charge; the attempt's own `Failure.charge` is what counts."""
    reaction: Reaction
    code: str
    """What the caller is told when nothing else can be done; statuses and dialects are `wire.failures`."""
    is_definite: bool = False
    """Whether the same request would end the same way: it is not driven again."""
    is_counted: bool = False
    """Whether a repeat counts against the retry limit; waiting out a 429 or 503 does not."""


def _row(
    kind: FailureKind,
    charge: Charge,
    reaction: Reaction,
    code: str,
    *,
    is_definite: bool = False,
    is_counted: bool = False,
) -> tuple[FailureKind, FailureRow]:
    row = FailureRow(
        kind=kind, charge=charge, reaction=reaction, code=code, is_definite=is_definite, is_counted=is_counted
    )
    return kind, row


_K, _R = FailureKind, Reaction
_NO, _YES, _UNKNOWN = Charge.NO, Charge.YES, Charge.UNKNOWN

REACTIONS: Mapping[FailureKind, FailureRow] = MappingProxyType(
    dict(
        (
            _row(_K.BAD_REQUEST, _NO, _R.GIVE_UP, "invalid_request", is_definite=True),
            _row(_K.CREDENTIAL, _NO, _R.NEXT, "upstream_failed"),
            _row(_K.QUOTA_SPENT, _NO, _R.NEXT, "overloaded"),
            _row(_K.RATE_LIMITED, _NO, _R.COOL, "overloaded"),
            _row(_K.OVERLOADED, _NO, _R.COOL, "overloaded"),
            _row(_K.UNREACHABLE, _NO, _R.RETRY, "upstream_failed", is_counted=True),
            _row(_K.SERVER_FAULT, _UNKNOWN, _R.BUY_AGAIN, "upstream_failed", is_counted=True),
            _row(_K.REFUSED_INPUT, _NO, _R.GIVE_UP, "content_refused", is_definite=True),
            _row(_K.REFUSED_OUTPUT, _NO, _R.GIVE_UP, "content_refused", is_definite=True),
            _row(_K.NO_IMAGE, _UNKNOWN, _R.ONCE, "empty_result", is_counted=True),
            _row(_K.MALFORMED, _YES, _R.FETCH_AGAIN, "upstream_failed"),
            _row(_K.UPSTREAM_TIMEOUT, _UNKNOWN, _R.BUY_AGAIN, "outcome_unknown", is_counted=True),
            _row(_K.LOST_REPLY, _UNKNOWN, _R.BUY_AGAIN, "outcome_unknown", is_counted=True),
            _row(_K.CANCELLED, _UNKNOWN, _R.GIVE_UP, "generation_cancelled", is_definite=True),
        )
    )
)
"""Every kind, once. Source: the documented errors of seven providers, by what each says of its charges."""

OUTCOME_UNKNOWN = "outcome_unknown"


def public_code(failure: Failure) -> str:
    """Name the code that a caller is told for a failure that ends its generation.

    A lost reply that is known to be unpaid is no unknown outcome: it is an upstream that failed.
    """
    code = REACTIONS[failure.kind].code
    if code == OUTCOME_UNKNOWN and failure.charge is Charge.NO:
        return "upstream_failed"
    return code


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a caller is told of a generation, or a part of one, that brought no image."""

    code: str
    charge: Charge
    failure: Failure
    """The one whose detail is told."""


def verdict_of(failures: Sequence[Failure]) -> Verdict:
    """Sum up the attempts of a part that gave up.

    The last failure is the story, with one exception: while the outcome of any attempt is unknown, that is the story,
    since its image may still arrive and a blind repeat could pay again.

    Args:
        failures: One for each attempt, oldest first; at least one.
    """
    assert failures
    unknown = [failure for failure in failures if public_code(failure) == OUTCOME_UNKNOWN]
    told = (unknown or failures)[-1]
    return Verdict(code=public_code(told), charge=worst_charge(failure.charge for failure in failures), failure=told)
