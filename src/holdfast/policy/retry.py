"""What to do after an attempt failed: wait, try again, try elsewhere, or give up.

The order of the questions is the policy:

1. Did the upstream certainly charge? Then never buy again.
2. May it have charged? Then only within the purchases that the operator accepts, and the exposure they allow.
3. Is the credential at its limit? Then it rests; the generation goes to the next upstream, or waits. Not a retry.
4. Otherwise the same upstream again, then the next one.
5. Nothing begins that cannot end before the deadline.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from holdfast.policy.failures import REACTIONS, Reaction
from holdfast.types import Charge, Failure, FailureKind


class GiveUpReason(StrEnum):
    """Why nothing more is tried."""

    NOT_RETRYABLE = "not_retryable"
    CHARGED = "charged"
    """The upstream was paid; what it sent cannot be used."""
    POSSIBLY_CHARGED = "possibly_charged"
    PURCHASES_SPENT = "purchases_spent"
    EXPOSURE_SPENT = "exposure_spent"
    ATTEMPTS_SPENT = "attempts_spent"
    BUDGET_SPENT = "budget_spent"
    SENDS_SPENT = "sends_spent"
    DEADLINE_TOO_CLOSE = "deadline_too_close"
    NO_OTHER_UPSTREAM = "no_other_upstream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """The same upstream again, after a pause. Counted."""

    after_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """The credential rests; back into the queue until then. Not counted as a retry."""

    after_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fallback:
    """The next upstream of the route, at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUp:
    """Nothing more is tried."""

    reason: GiveUpReason


Decision = Retry | Wait | Fallback | GiveUp


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """The limits chosen by the operator."""

    attempts_max: int = 4
    """Attempts at one part that count: the first and three repeats."""
    backoff_s_first: float = 2.0
    backoff_s_max: float = 60.0
    sends_max: int = 12
    """Requests sent for one part, whatever their end; bounds the waiting out of 429 and 503."""
    accepts_double_charge: bool = False
    """Whether a failure that may have been charged is bought once more; the customer pays once whatever happens."""
    purchases_max: int = 2
    """Requests for one part that may be charged, the first included."""

    def __post_init__(self) -> None:
        assert self.attempts_max >= 1
        assert self.sends_max >= 1
        assert self.purchases_max >= 1
        assert 0.0 < self.backoff_s_first <= self.backoff_s_max


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What one part of a generation has used so far, the failed attempt included."""

    sends: int
    """Requests sent upstream."""
    counted: int
    """Those whose failure counts against `attempts_max`: see `FailureRow.is_counted`."""
    purchases: int
    """Those that were or may have been charged."""
    no_images: int = 0
    """Answers without an image from the upstream that just failed."""

    def __post_init__(self) -> None:
        assert self.sends >= 1
        assert 0 <= self.counted <= self.sends
        assert 0 <= self.purchases <= self.sends

    @classmethod
    def of(cls, failures: tuple[Failure, ...], *, no_images: int = 0) -> Tally:
        """Count the failures of a part, the newest included; at least one."""
        return cls(
            sends=len(failures),
            counted=sum(REACTIONS[failure.kind].is_counted for failure in failures),
            purchases=sum(failure.charge is not Charge.NO for failure in failures),
            no_images=no_images,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What else the decision depends on, as the engine sees it at this moment."""

    remaining_s: float
    """Seconds left before the generation's deadline; negative once it has passed."""
    expected_s: float
    """Seconds the next attempt should take at this image size."""
    jitter: float
    """Uniform sample in [0, 1), drawn by the caller."""
    has_next: bool = False
    """Whether the route has an upstream that was not yet given up for this part."""
    budget_allows: bool = True
    """Whether the process's retry budget has a token: repeats stay a tenth of the traffic."""
    exposure_allows: bool = True
    """Whether one more price fits under the route's daily cap of possible double payment."""

    def __post_init__(self) -> None:
        assert 0.0 <= self.jitter < 1.0
        assert self.expected_s >= 0.0


RETRYABLE = frozenset(
    kind
    for kind, row in REACTIONS.items()
    if row.reaction in (Reaction.COOL, Reaction.RETRY, Reaction.ONCE, Reaction.BUY_AGAIN)
)
"""Kinds for which the same upstream may be asked again."""


def pause_s(failure: Failure, *, attempt: int, jitter: float, policy: RetryPolicy) -> float:
    """Choose the pause before the next attempt: equal jitter over a doubling base, never shorter than the hint.

    Args:
        failure: How the attempt ended; its `retry_after_s` is the upstream's own hint.
        attempt: Attempts made so far, 1-based.
        jitter: Uniform sample in [0, 1).
        policy: Gives the first and the longest base.

    Source: equal jitter, AWS Architecture Blog, "Exponential Backoff and Jitter" (2015).
    """
    # The exponent is bounded before the power is taken: 2.0 ** 2000 overflows.
    base_s = min(policy.backoff_s_max, policy.backoff_s_first * 2.0 ** min(attempt - 1, 32))
    return max(base_s * (1 + jitter) / 2, failure.retry_after_s or 0.0)


def decide_retry(
    failure: Failure, *, attempt: int, remaining_s: float, expected_s: float, jitter: float, policy: RetryPolicy
) -> Retry | GiveUp:
    """Decide whether the same upstream deserves another attempt.

    A failure that may have been charged is not repeated unless the policy accepts paying twice; one that certainly
    was is never repeated.

    Args:
        failure: How the attempt ended, including whether it may have been charged.
        attempt: Attempts made so far, 1-based.
        remaining_s: Seconds left before the generation's deadline.
        expected_s: Seconds the next attempt should take at this image size.
        jitter: Uniform sample in [0, 1), drawn by the caller; keeps this function pure.
        policy: The limits chosen by the operator.

    Returns:
        `Retry(after_s)`, or `GiveUp(reason)`; reasons are the members of `GiveUpReason`.
    """
    assert attempt >= 1
    assert 0.0 <= jitter < 1.0
    if failure.kind not in RETRYABLE:
        return GiveUp(reason=GiveUpReason.NOT_RETRYABLE)
    if failure.charge is Charge.YES:
        return GiveUp(reason=GiveUpReason.CHARGED)
    if failure.charge is not Charge.NO and not policy.accepts_double_charge:
        return GiveUp(reason=GiveUpReason.POSSIBLY_CHARGED)
    if attempt >= policy.attempts_max:
        return GiveUp(reason=GiveUpReason.ATTEMPTS_SPENT)
    after_s = pause_s(failure, attempt=attempt, jitter=jitter, policy=policy)
    if after_s + expected_s > remaining_s:
        return GiveUp(reason=GiveUpReason.DEADLINE_TOO_CLOSE)
    return Retry(after_s=after_s)


def decide_after_failure(failure: Failure, *, tally: Tally, now: Circumstances, policy: RetryPolicy) -> Decision:
    """Decide what follows a failed attempt of one part of a generation.

    Args:
        failure: How the attempt ended.
        tally: What the part has used so far, this attempt included.
        now: Time left, alternatives and allowances.
        policy: The limits chosen by the operator.
    """
    reaction = REACTIONS[failure.kind].reaction
    if reaction is Reaction.GIVE_UP:
        return GiveUp(reason=GiveUpReason.NOT_RETRYABLE)
    if (spent := _cannot_buy(failure, tally, now, policy)) is not None:
        return GiveUp(reason=spent)
    if tally.sends >= policy.sends_max:
        return GiveUp(reason=GiveUpReason.SENDS_SPENT)
    match reaction:
        case Reaction.COOL:
            return _rest(failure, tally, now, policy)
        case Reaction.NEXT | Reaction.FETCH_AGAIN:
            return _elsewhere(now, otherwise=GiveUpReason.NO_OTHER_UPSTREAM)
        case Reaction.RETRY | Reaction.ONCE | Reaction.BUY_AGAIN:
            return _again_or_elsewhere(failure, tally, now, policy)


def _cannot_buy(failure: Failure, tally: Tally, now: Circumstances, policy: RetryPolicy) -> GiveUpReason | None:
    """Look at the money before anything else. What earlier attempts may have cost counts too."""
    if failure.charge is Charge.YES:
        return GiveUpReason.CHARGED
    possibly_charged = failure.charge is Charge.UNKNOWN or tally.purchases > 0
    if not possibly_charged:
        return None
    if not policy.accepts_double_charge:
        return GiveUpReason.POSSIBLY_CHARGED
    if tally.purchases >= policy.purchases_max:
        return GiveUpReason.PURCHASES_SPENT
    if failure.charge is Charge.UNKNOWN and not now.exposure_allows:
        return GiveUpReason.EXPOSURE_SPENT
    return None


def _elsewhere(now: Circumstances, *, otherwise: GiveUpReason) -> Decision:
    if not now.has_next:
        return GiveUp(reason=otherwise)
    if now.expected_s > now.remaining_s:
        return GiveUp(reason=GiveUpReason.DEADLINE_TOO_CLOSE)
    return Fallback()


def _rest(failure: Failure, tally: Tally, now: Circumstances, policy: RetryPolicy) -> Decision:
    if now.has_next:
        return _elsewhere(now, otherwise=GiveUpReason.NO_OTHER_UPSTREAM)
    after_s = pause_s(failure, attempt=tally.sends, jitter=now.jitter, policy=policy)
    if after_s + now.expected_s > now.remaining_s:
        return GiveUp(reason=GiveUpReason.DEADLINE_TOO_CLOSE)
    return Wait(after_s=after_s)


def _again_or_elsewhere(failure: Failure, tally: Tally, now: Circumstances, policy: RetryPolicy) -> Decision:
    if not now.budget_allows:
        return _elsewhere(now, otherwise=GiveUpReason.BUDGET_SPENT)
    if tally.counted >= policy.attempts_max:
        # The limit is the part's, not the upstream's: it also ends a walk along a long route.
        return GiveUp(reason=GiveUpReason.ATTEMPTS_SPENT)
    if failure.kind is FailureKind.NO_IMAGE and tally.no_images > 1:
        return _elsewhere(now, otherwise=GiveUpReason.ATTEMPTS_SPENT)
    again = decide_retry(
        failure,
        attempt=max(1, tally.counted),
        remaining_s=now.remaining_s,
        expected_s=now.expected_s,
        jitter=now.jitter,
        policy=policy,
    )
    # Too late for a pause may still be early enough for another upstream, which needs none.
    return again if isinstance(again, Retry) else _elsewhere(now, otherwise=again.reason)
