"""What follows a failed attempt, case by case."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from holdfast.policy.failures import REACTIONS
from holdfast.policy.retry import (
    RETRYABLE,
    Circumstances,
    Decision,
    Fallback,
    GiveUp,
    GiveUpReason,
    Retry,
    RetryPolicy,
    Tally,
    Wait,
    decide_after_failure,
    decide_retry,
    pause_s,
)
from holdfast.types import Charge, Failure, FailureKind, Phase

BUYS_AGAIN = RetryPolicy(accepts_double_charge=True)


def a_failure(
    kind: FailureKind = FailureKind.OVERLOADED, *, charge: Charge | None = None, retry_after_s: float | None = None
) -> Failure:
    charge = charge or REACTIONS[kind].charge
    return Failure(kind=kind, phase=Phase.WAIT, charge=charge, detail="", retry_after_s=retry_after_s)


def decide(*failures: Failure, policy: RetryPolicy | None = None, no_images: int = 0, **circumstances: Any) -> Decision:
    now = {"remaining_s": 600.0, "expected_s": 120.0, "jitter": 0.5, **circumstances}
    return decide_after_failure(
        failures[-1],
        tally=Tally.of(failures, no_images=no_images),
        now=Circumstances(**now),
        policy=policy or RetryPolicy(),
    )


def gave_up(decision: Decision) -> GiveUpReason:
    assert isinstance(decision, GiveUp)
    return decision.reason


@pytest.mark.parametrize("kind", ["bad_request", "refused_input", "refused_output", "cancelled"])
def test_what_would_end_the_same_way_is_given_up(kind: str) -> None:
    """A refusal is not sent again, here or elsewhere."""
    assert gave_up(decide(a_failure(FailureKind(kind)), next_after_s=0.0)) is GiveUpReason.NOT_RETRYABLE


def test_a_model_that_one_upstream_does_not_know_is_asked_for_elsewhere() -> None:
    """Its name there is the operator's, so the caller's request is not at fault; with nowhere to go it is told."""
    unknown = replace(a_failure(FailureKind.BAD_REQUEST), status=404)
    assert decide(unknown, next_after_s=0.0) == Fallback(after_s=0.0)
    assert gave_up(decide(unknown)) is GiveUpReason.NOT_RETRYABLE
    assert gave_up(decide(unknown, policy=RetryPolicy(sends_max=1))) is GiveUpReason.SENDS_SPENT
    refused = replace(a_failure(FailureKind.REFUSED_INPUT), status=404)
    assert gave_up(decide(refused, next_after_s=0.0)) is GiveUpReason.NOT_RETRYABLE


def test_lost_reply_is_not_bought_again_by_default() -> None:
    """The safe side: an outcome that is open is never paid for twice without the operator's word."""
    assert gave_up(decide(a_failure(FailureKind.LOST_REPLY), next_after_s=0.0)) is GiveUpReason.POSSIBLY_CHARGED


def test_lost_reply_is_bought_once_more_where_that_is_accepted() -> None:
    """One more purchase, then no other."""
    lost = a_failure(FailureKind.LOST_REPLY)
    assert isinstance(decide(lost, policy=BUYS_AGAIN), Retry)
    assert gave_up(decide(lost, lost, policy=BUYS_AGAIN)) is GiveUpReason.PURCHASES_SPENT


def test_lost_reply_is_not_bought_again_beyond_the_exposure() -> None:
    """An outage of 300 calls cannot spend the day's allowance together."""
    decision = decide(a_failure(FailureKind.LOST_REPLY), policy=BUYS_AGAIN, exposure_allows=False)
    assert gave_up(decision) is GiveUpReason.EXPOSURE_SPENT


def test_a_paid_answer_that_cannot_be_read_is_never_bought_again() -> None:
    """Malformed means paid: not even a policy that accepts double charges repeats it."""
    assert (
        gave_up(decide(a_failure(FailureKind.MALFORMED), policy=BUYS_AGAIN, next_after_s=0.0)) is GiveUpReason.CHARGED
    )


def test_a_paid_refusal_is_given_up() -> None:
    """A relay that bills refusals is not asked twice."""
    decision = decide(a_failure(FailureKind.REFUSED_OUTPUT, charge=Charge.YES), policy=BUYS_AGAIN)
    assert gave_up(decision) is GiveUpReason.NOT_RETRYABLE


def test_what_an_earlier_attempt_may_have_cost_still_counts() -> None:
    """A lost reply followed by a refused connection is still possibly paid."""
    lost, refused = a_failure(FailureKind.LOST_REPLY), a_failure(FailureKind.UNREACHABLE)
    assert gave_up(decide(lost, refused)) is GiveUpReason.POSSIBLY_CHARGED
    assert isinstance(decide(lost, refused, policy=BUYS_AGAIN), Retry)


@pytest.mark.parametrize("kind", [FailureKind.RATE_LIMITED, FailureKind.OVERLOADED])
def test_a_limit_is_waited_out_when_there_is_nowhere_else(kind: FailureKind) -> None:
    """A 429 or 503 of the only upstream rests the key and goes back to the queue."""
    assert decide(a_failure(kind, retry_after_s=17.0)) == Wait(after_s=17.0)


@pytest.mark.parametrize("kind", [FailureKind.RATE_LIMITED, FailureKind.OVERLOADED])
def test_a_limit_sends_the_generation_to_the_next_upstream(kind: FailureKind) -> None:
    """Nobody waits for a key to cool while another upstream is free."""
    assert decide(a_failure(kind), next_after_s=0.0) == Fallback()


def test_waiting_out_limits_uses_no_retries_but_ends_after_twelve_sends() -> None:
    """Many 429 are survivable; endless ones are not asked for."""
    overloaded = a_failure(FailureKind.OVERLOADED)
    assert isinstance(decide(*[overloaded] * 11), Wait)
    assert gave_up(decide(*[overloaded] * 12)) is GiveUpReason.SENDS_SPENT


def test_each_upstream_of_a_route_is_given_its_own_sends() -> None:
    """Four that say 503 in turn do not spend in half a minute what one alone has until the deadline."""
    overloaded, now = a_failure(FailureKind.OVERLOADED), Circumstances(remaining_s=600.0, expected_s=120.0, jitter=0.5)

    def after(sends: int, here: int, **circumstances: Any) -> Decision:
        tally = Tally.of((overloaded,) * sends, here=(overloaded,) * here)
        return decide_after_failure(overloaded, tally=tally, now=replace(now, **circumstances), policy=RetryPolicy())

    assert after(40, 11, next_after_s=0.0) == Fallback()
    assert isinstance(after(40, 11), Wait)
    # Its own are spent: whoever is next, and nobody after the last.
    assert after(40, 12, next_after_s=9.0) == Fallback(after_s=9.0)
    assert gave_up(after(48, 12)) is GiveUpReason.SENDS_SPENT


def test_a_hint_beyond_the_deadline_ends_it() -> None:
    """What cannot be there in time is told now, not at the deadline."""
    decision = decide(a_failure(FailureKind.RATE_LIMITED, retry_after_s=500.0))
    assert gave_up(decision) is GiveUpReason.DEADLINE_TOO_CLOSE


@pytest.mark.parametrize("kind", [FailureKind.CREDENTIAL, FailureKind.QUOTA_SPENT])
def test_a_useless_credential_leads_elsewhere_or_nowhere(kind: FailureKind) -> None:
    """A wrong key or an empty purse is never tried again."""
    assert decide(a_failure(kind), next_after_s=0.0) == Fallback()
    assert gave_up(decide(a_failure(kind))) is GiveUpReason.NO_OTHER_UPSTREAM
    assert gave_up(decide(a_failure(kind), next_after_s=0.0, remaining_s=60.0)) is GiveUpReason.DEADLINE_TOO_CLOSE


def test_an_unreachable_upstream_is_retried_three_times_then_given_up() -> None:
    """Four attempts in all, where there is nowhere else."""
    refused = a_failure(FailureKind.UNREACHABLE)
    for attempts in (1, 2, 3):
        assert isinstance(decide(*[refused] * attempts), Retry)
    assert gave_up(decide(*[refused] * 4)) is GiveUpReason.ATTEMPTS_SPENT
    assert decide(*[refused] * 4, next_after_s=0.0) == Fallback()


def test_each_upstream_of_a_route_is_given_its_own_attempts() -> None:
    """A dead upstream at the head of a route does not use up what the healthy one behind it has."""
    refused = a_failure(FailureKind.UNREACHABLE)
    tally = Tally.of((refused,) * 5, here=(refused,))
    now = Circumstances(remaining_s=600.0, expected_s=120.0, jitter=0.5)
    assert tally == Tally(sends=5, counted=1, purchases=0, sends_here=1)
    assert isinstance(decide_after_failure(refused, tally=tally, now=now, policy=RetryPolicy()), Retry)


@pytest.mark.parametrize("kind", [FailureKind.UNREACHABLE, FailureKind.LOST_REPLY, FailureKind.SERVER_FAULT])
def test_who_can_be_asked_sooner_is_asked(kind: FailureKind) -> None:
    """Another upstream needs no pause; one that is ready only after this one's pause is not waited for."""
    assert decide(a_failure(kind), policy=BUYS_AGAIN, next_after_s=0.0) == Fallback()
    assert decide(a_failure(kind), policy=BUYS_AGAIN, next_after_s=1.0) == Fallback(after_s=1.0)
    assert decide(a_failure(kind), policy=BUYS_AGAIN, next_after_s=9.0) == Retry(after_s=1.5)


def test_another_model_comes_in_only_beyond_the_callers_patience() -> None:
    """Whoever asked for one model gets it, where the wait is short; where it is long he gets an image all the same."""
    refused, limited = a_failure(FailureKind.UNREACHABLE), a_failure(FailureKind.RATE_LIMITED, retry_after_s=40.0)
    lesser = {"next_after_s": 0.0, "next_is_lesser": True}
    assert decide(refused, **lesser, patience_s=10.0) == Retry(after_s=1.5)
    assert decide(refused, **lesser, patience_s=1.0) == Fallback()
    assert decide(limited, **lesser, patience_s=30.0) == Fallback()
    assert decide(limited, **lesser, patience_s=45.0) == Wait(after_s=40.0)


def test_a_fallback_has_to_be_in_time_by_what_is_expected_there() -> None:
    """A slow upstream at the end of a route is no way out when little time is left, and a quick one is."""
    key = a_failure(FailureKind.CREDENTIAL)
    assert gave_up(decide(key, next_after_s=0.0, next_expected_s=700.0)) is GiveUpReason.DEADLINE_TOO_CLOSE
    assert decide(key, next_after_s=0.0, next_expected_s=20.0, remaining_s=30.0) == Fallback()
    assert gave_up(decide(key, next_after_s=20.0, next_expected_s=20.0, remaining_s=30.0)) is (
        GiveUpReason.DEADLINE_TOO_CLOSE
    )


def test_one_that_is_too_slow_elsewhere_does_not_end_what_can_be_repeated_here() -> None:
    """Only if neither is in time there is nothing left."""
    refused, limited = a_failure(FailureKind.UNREACHABLE), a_failure(FailureKind.OVERLOADED)
    slow = {"next_after_s": 0.0, "next_expected_s": 700.0}
    assert decide(refused, **slow) == Retry(after_s=1.5)
    assert decide(limited, **slow) == Wait(after_s=1.5)


@pytest.mark.parametrize("kind", [FailureKind.RATE_LIMITED, FailureKind.CREDENTIAL, FailureKind.QUOTA_SPENT])
def test_another_key_of_the_same_upstream_takes_over_at_once(kind: FailureKind) -> None:
    """A limit, a revoked key or an empty purse is one key's, and costs nobody a pause or another upstream."""
    assert decide(a_failure(kind, retry_after_s=40.0), rest_s=0.0) == Wait(after_s=0.0)
    assert decide(a_failure(kind, retry_after_s=40.0), rest_s=0.0, next_after_s=0.0) == Wait(after_s=0.0)
    decision = decide(a_failure(kind), rest_s=0.0, remaining_s=60.0)
    assert gave_up(decision) is GiveUpReason.DEADLINE_TOO_CLOSE or gave_up(decision) is GiveUpReason.NO_OTHER_UPSTREAM


def test_a_limit_is_waited_out_until_the_first_key_is_ready() -> None:
    """The hint is that of one key; another one of the same upstream may be ready sooner."""
    assert decide(a_failure(FailureKind.RATE_LIMITED, retry_after_s=40.0), rest_s=5.0) == Wait(after_s=5.0)
    assert decide(a_failure(FailureKind.OVERLOADED, retry_after_s=40.0), rest_s=5.0) == Wait(after_s=40.0)


def test_a_limit_that_outlasts_the_deadline_leads_elsewhere_if_that_is_in_time() -> None:
    """Patience ends where waiting would miss the deadline."""
    limited = a_failure(FailureKind.RATE_LIMITED, retry_after_s=500.0)
    assert decide(limited, next_after_s=0.0, next_is_lesser=True, patience_s=1000.0) == Fallback()


def test_no_time_for_a_pause_may_still_be_time_for_another_upstream() -> None:
    """A fallback needs no backoff, so it fits where a retry does not."""
    refused = a_failure(FailureKind.UNREACHABLE)
    assert decide(refused, remaining_s=120.5, next_after_s=0.0) == Fallback()
    assert gave_up(decide(refused, remaining_s=120.5)) is GiveUpReason.DEADLINE_TOO_CLOSE


def test_an_empty_retry_budget_leaves_only_another_upstream() -> None:
    """Repeats stay a small share of the traffic, so that they cannot keep an upstream down."""
    refused = a_failure(FailureKind.UNREACHABLE)
    assert decide(refused, budget_allows=False, next_after_s=0.0) == Fallback()
    assert gave_up(decide(refused, budget_allows=False)) is GiveUpReason.BUDGET_SPENT


def test_an_answer_without_an_image_is_asked_for_once_more_then_elsewhere() -> None:
    """The model sometimes draws on a second try; not on a third."""
    empty, policy = a_failure(FailureKind.NO_IMAGE), RetryPolicy(accepts_double_charge=True, purchases_max=5)
    assert isinstance(decide(empty, policy=policy, no_images=1), Retry)
    assert decide(empty, empty, policy=policy, no_images=2, next_after_s=0.0) == Fallback()
    assert gave_up(decide(empty, empty, policy=policy, no_images=2)) is GiveUpReason.ATTEMPTS_SPENT


def test_a_fault_known_to_be_unpaid_is_retried_without_permission() -> None:
    """Relays that never bill a 500 are asked again at once."""
    assert isinstance(decide(a_failure(FailureKind.SERVER_FAULT, charge=Charge.NO)), Retry)


def test_the_pause_doubles_with_equal_jitter_up_to_its_limit() -> None:
    """Half of the base is certain, the other half is chance; nothing waits longer than a minute by itself."""
    overloaded, policy = a_failure(), RetryPolicy()
    assert [pause_s(overloaded, attempt=n, jitter=0.0, policy=policy) for n in (1, 2, 3, 4, 5, 6)] == [
        1.0,
        2.0,
        4.0,
        8.0,
        16.0,
        30.0,
    ]
    assert pause_s(overloaded, attempt=1, jitter=0.5, policy=policy) == 1.5
    assert pause_s(overloaded, attempt=5000, jitter=0.0, policy=policy) == 30.0


def test_decide_retry_says_which_limit_it_met() -> None:
    """Each reason is reachable, and told apart."""

    def reason(failure: Failure, *, attempt: int = 1, remaining_s: float = 600.0, accepts: bool = False) -> object:
        decision = decide_retry(
            failure,
            attempt=attempt,
            remaining_s=remaining_s,
            expected_s=120.0,
            jitter=0.0,
            policy=RetryPolicy(accepts_double_charge=accepts),
        )
        return decision.reason if isinstance(decision, GiveUp) else decision.after_s

    assert reason(a_failure(FailureKind.BAD_REQUEST)) is GiveUpReason.NOT_RETRYABLE
    assert reason(a_failure(FailureKind.LOST_REPLY)) is GiveUpReason.POSSIBLY_CHARGED
    assert reason(a_failure(FailureKind.LOST_REPLY), accepts=True) == 1.0
    assert reason(a_failure(FailureKind.LOST_REPLY, charge=Charge.YES), accepts=True) is GiveUpReason.CHARGED
    assert reason(a_failure(), attempt=4) is GiveUpReason.ATTEMPTS_SPENT
    assert reason(a_failure(), remaining_s=120.5) is GiveUpReason.DEADLINE_TOO_CLOSE
    assert reason(a_failure(), remaining_s=121.0) == 1.0


def test_retryable_kinds_are_those_worth_asking_the_same_upstream_again() -> None:
    """A credential or a refusal is not in it."""
    assert {kind.value for kind in RETRYABLE} == {
        "rate_limited",
        "overloaded",
        "unreachable",
        "server_fault",
        "no_image",
        "upstream_timeout",
        "lost_reply",
    }
