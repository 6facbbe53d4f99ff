"""What to do after an attempt failed: wait, try again, try elsewhere, or give up.

The order of the questions is the policy:

1. Did the upstream certainly charge? Then never buy again.
2. May it have charged? Then only within the purchases that the operator accepts, and the exposure they allow.
3. Is the credential at its limit, or of no use? Then it rests; another key of the upstream takes over, else the next
   upstream, else it is waited for. Not a retry.
4. Otherwise whoever can be asked sooner: the next upstream, which needs no pause, or the same one after its pause.
   Another model than the one that was asked for comes in only where the pause is longer than its caller's patience.
5. Nothing begins that cannot end before the deadline, by what is expected of the upstream that it would be sent to.
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
    CANCELLED = "cancelled"
    """Its owner wanted it no longer, or it had ended otherwise."""
    OTHER_IN_FLIGHT = "other_in_flight"
    """Another attempt at the same part is in flight: how that ends decides."""
    OUTRUN = "outrun"
    """Another attempt had brought the image of its part first."""


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
    """Another upstream of the route; which one is `policy.routing`'s choice."""

    after_s: float = 0.0
    """Until it can be asked; 0: at once."""


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
    """Requests sent for one part to one upstream, whatever their end; bounds the waiting out of 429 and 503. Of a long
    route each upstream is given as many: four that all say 503 are walked in turn, and would spend twelve in half a
    minute together, while one alone is waited for until the deadline."""
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
    """Requests sent upstream, to whichever."""
    counted: int
    """Those at the upstream that just failed whose failure counts against `attempts_max`: see `FailureRow.is_counted`.
    Each upstream is given its own attempts."""
    purchases: int
    """Those that were or may have been charged."""
    sends_here: int
    """Requests sent to the upstream that just failed; with `sends_max` of each, a walk ends however long the route."""
    no_images: int = 0
    """Answers without an image from the upstream that just failed."""
    is_charged: bool = False
    """Whether one of them certainly was charged. Nothing follows such a failure, so it is the newest, or one of an
    attempt that ran beside the newest."""
    is_definite: bool = False
    """The same of one after which the request would end the same way again."""

    def __post_init__(self) -> None:
        assert self.sends >= 1
        assert 1 <= self.sends_here <= self.sends
        assert 0 <= self.counted <= self.sends_here
        assert 0 <= self.purchases <= self.sends

    def pauses_after(self, failure: Failure) -> int:
        """Say which pause follows a failure, 1-based: they double.

        One that is overloaded is come back to more and more rarely by those whom it has turned away, also along a route
        that is walked in circles.
        """
        return self.sends_here if failure.kind is FailureKind.OVERLOADED else max(1, self.counted)

    @classmethod
    def of(cls, failures: tuple[Failure, ...], *, here: tuple[Failure, ...] | None = None, no_images: int = 0) -> Tally:
        """Count the failures of a part, the newest included; at least one.

        Args:
            failures: All of them.
            here: Those at the upstream that just failed; None: all were there.
            no_images: Of those, answers without an image.
        """
        return cls(
            sends=len(failures),
            sends_here=len(failures if here is None else here),
            counted=sum(REACTIONS[failure.kind].is_counted for failure in (failures if here is None else here)),
            purchases=sum(failure.charge is not Charge.NO for failure in failures),
            no_images=no_images,
            is_charged=any(failure.charge is Charge.YES for failure in failures),
            is_definite=any(_is_definite(failure) for failure in failures),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What else the decision depends on, as the engine sees it at this moment."""

    remaining_s: float
    """Seconds left before the generation's deadline; negative once it has passed."""
    expected_s: float
    """Seconds the next attempt should take at this image size, at the same upstream."""
    jitter: float
    """Uniform sample in [0, 1), drawn by the caller."""
    next_after_s: float | None = None
    """Seconds until another entry of the route can be asked; 0: at once, None: there is none that this part may still
    be sent to."""
    next_expected_s: float | None = None
    """Seconds that the attempt should take there; None: as long as here."""
    next_is_lesser: bool = False
    """Whether that is another model than the one that was asked for, or a smaller size."""
    patience_s: float = 0.0
    """How long the model that was asked for is waited for before another one is taken."""
    rest_s: float | None = None
    """Seconds until this upstream can be asked again, by its keys and its circuit; 0: at once, with another key. None:
    nothing keeps it but the pause."""
    budget_allows: bool = True
    """Whether the upstream's retry budget has a token: repeats stay a tenth of its traffic."""
    exposure_allows: bool = True
    """Whether one more price fits under the route's daily cap of possible double payment."""

    def __post_init__(self) -> None:
        assert 0.0 <= self.jitter < 1.0
        assert self.expected_s >= 0.0
        assert self.next_after_s is None or self.next_after_s >= 0.0

    def prefers_next(self, here_after_s: float) -> bool:
        """Say whether the next upstream is better than this one, which can be asked again after so many seconds."""
        if self.next_after_s is None:
            return False
        if self.next_is_lesser and here_after_s <= self.patience_s:
            return False
        return self.next_after_s <= here_after_s


RETRYABLE = frozenset(
    kind
    for kind, row in REACTIONS.items()
    if row.reaction in (Reaction.COOL, Reaction.RETRY, Reaction.ONCE, Reaction.BUY_AGAIN)
)
"""Kinds for which the same upstream may be asked again."""


def is_unknown_there(failure: Failure) -> bool:
    """Say whether an upstream knows no such model or address, which another one of the route may.

    Its model's name is the operator's, in the route: no caller can mend it, and a vendor that retires a model says so
    in this way.
    """
    return failure.kind is FailureKind.BAD_REQUEST and failure.status == 404


def _is_definite(failure: Failure) -> bool:
    """Whether it would end the same way again, wherever it is sent."""
    return REACTIONS[failure.kind].reaction is Reaction.GIVE_UP and not is_unknown_there(failure)


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
    if tally.is_definite or _is_definite(failure):
        return GiveUp(reason=GiveUpReason.NOT_RETRYABLE)
    if (spent := _cannot_buy(failure, tally, now, policy)) is not None:
        return GiveUp(reason=spent)
    if tally.sends_here >= policy.sends_max:
        return _elsewhere(now, otherwise=GiveUpReason.SENDS_SPENT)
    match reaction:
        case Reaction.GIVE_UP:
            return _elsewhere(now, otherwise=GiveUpReason.NOT_RETRYABLE)
        case Reaction.COOL:
            return _rest(failure, tally, now, policy)
        case Reaction.NEXT:
            return _other_key(now, otherwise=GiveUpReason.NO_OTHER_UPSTREAM)
        case Reaction.FETCH_AGAIN:
            return _elsewhere(now, otherwise=GiveUpReason.NO_OTHER_UPSTREAM)
        case Reaction.RETRY | Reaction.ONCE | Reaction.BUY_AGAIN:
            return _again_or_elsewhere(failure, tally, now, policy)


def _cannot_buy(failure: Failure, tally: Tally, now: Circumstances, policy: RetryPolicy) -> GiveUpReason | None:
    """Look at the money before anything else. What earlier attempts may have cost counts too."""
    if failure.charge is Charge.YES or tally.is_charged:
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
    if now.next_after_s is None:
        return GiveUp(reason=otherwise)
    expected_s = now.expected_s if now.next_expected_s is None else now.next_expected_s
    if now.next_after_s + expected_s > now.remaining_s:
        return GiveUp(reason=GiveUpReason.DEADLINE_TOO_CLOSE)
    return Fallback(after_s=now.next_after_s)


def _other_key(now: Circumstances, *, otherwise: GiveUpReason) -> Decision:
    """A key is of no use: another one of the upstream, which costs nobody a pause, or another upstream."""
    if now.rest_s == 0.0 and now.expected_s <= now.remaining_s:
        return Wait(after_s=0.0)
    return _elsewhere(now, otherwise=otherwise)


def _rest(failure: Failure, tally: Tally, now: Circumstances, policy: RetryPolicy) -> Decision:
    after_s = pause_s(failure, attempt=tally.sends_here, jitter=now.jitter, policy=policy)
    if now.rest_s is not None:
        # A limit is one key's: what counts is when the first of them is ready. An overload is the upstream's.
        after_s = now.rest_s if failure.kind is FailureKind.RATE_LIMITED else max(after_s, now.rest_s)
    if after_s > 0.0 and now.prefers_next(after_s):
        elsewhere = _elsewhere(now, otherwise=GiveUpReason.NO_OTHER_UPSTREAM)
        if isinstance(elsewhere, Fallback):
            return elsewhere
    if after_s + now.expected_s > now.remaining_s:
        return _elsewhere(now, otherwise=GiveUpReason.DEADLINE_TOO_CLOSE)
    return Wait(after_s=after_s)


def _again_or_elsewhere(failure: Failure, tally: Tally, now: Circumstances, policy: RetryPolicy) -> Decision:
    if not now.budget_allows:
        return _elsewhere(now, otherwise=GiveUpReason.BUDGET_SPENT)
    if tally.counted >= policy.attempts_max:
        return _elsewhere(now, otherwise=GiveUpReason.ATTEMPTS_SPENT)
    is_empty = failure.kind is FailureKind.NO_IMAGE
    if is_empty and tally.no_images > 1:
        return _elsewhere(now, otherwise=GiveUpReason.ATTEMPTS_SPENT)
    again = decide_retry(
        failure,
        attempt=max(1, tally.counted),
        remaining_s=now.remaining_s,
        expected_s=now.expected_s,
        jitter=now.jitter,
        policy=policy,
    )
    if isinstance(again, Retry) and now.rest_s is not None and now.rest_s > again.after_s:
        again = Retry(after_s=now.rest_s)
        if now.rest_s + now.expected_s > now.remaining_s:
            return _elsewhere(now, otherwise=GiveUpReason.DEADLINE_TOO_CLOSE)
    if isinstance(again, GiveUp):
        # Too late for a pause may still be early enough for another upstream, which needs none.
        return _elsewhere(now, otherwise=again.reason)
    if not is_empty and now.prefers_next(again.after_s):
        elsewhere = _elsewhere(now, otherwise=GiveUpReason.NO_OTHER_UPSTREAM)
        # One that is too slow for the time that is left does not keep this one from being asked again.
        return elsewhere if isinstance(elsewhere, Fallback) else again
    return again
