"""Whatever fails in whatever order, money and deadline are kept."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from holdfast.policy.failures import REACTIONS, verdict_of
from holdfast.policy.retry import (
    Circumstances,
    Fallback,
    GiveUp,
    Retry,
    RetryPolicy,
    Tally,
    Wait,
    decide_after_failure,
    decide_retry,
)
from holdfast.types import Charge, Failure, FailureKind, Phase, worst_charge

failures = st.builds(
    Failure,
    kind=st.sampled_from(FailureKind),
    phase=st.sampled_from(Phase),
    charge=st.sampled_from(Charge),
    detail=st.just(""),
    retry_after_s=st.none() | st.floats(0.0, 5000.0),
)
policies = st.builds(
    RetryPolicy,
    attempts_max=st.integers(1, 6),
    backoff_s_first=st.floats(0.1, 5.0),
    backoff_s_max=st.floats(5.0, 90.0),
    sends_max=st.integers(1, 12),
    accepts_double_charge=st.booleans(),
    purchases_max=st.integers(1, 4),
)
circumstances = st.builds(
    Circumstances,
    remaining_s=st.floats(-100.0, 1000.0),
    expected_s=st.floats(0.0, 400.0),
    jitter=st.floats(0.0, 1.0, exclude_max=True),
    next_after_s=st.none() | st.just(0.0) | st.floats(0.0, 500.0),
    next_expected_s=st.none() | st.floats(0.0, 400.0),
    next_is_lesser=st.booleans(),
    patience_s=st.floats(0.0, 100.0),
    rest_s=st.none() | st.just(0.0) | st.floats(0.0, 500.0),
    budget_allows=st.booleans(),
    exposure_allows=st.booleans(),
)
histories = st.lists(failures, min_size=1, max_size=14)


@given(histories, circumstances, policies)
def test_nothing_begins_that_should_end_after_the_deadline(
    history: list[Failure], now: Circumstances, policy: RetryPolicy
) -> None:
    """A caller is never left waiting for an attempt that cannot be in time."""
    match decide_after_failure(history[-1], tally=Tally.of(tuple(history)), now=now, policy=policy):
        case Retry(after_s=after_s) | Wait(after_s=after_s):
            assert after_s + now.expected_s <= now.remaining_s
            # The hint is one key's: another one need not wait for it.
            assert after_s >= (history[-1].retry_after_s or 0.0) or after_s == now.rest_s
        case Fallback(after_s=after_s):
            expected_s = now.expected_s if now.next_expected_s is None else now.next_expected_s
            assert after_s == now.next_after_s
            assert after_s + expected_s <= now.remaining_s
        case GiveUp():
            pass


@given(histories, circumstances, policies)
def test_a_possibly_charged_generation_is_repeated_only_with_permission(
    history: list[Failure], now: Circumstances, policy: RetryPolicy
) -> None:
    """Neither here nor elsewhere, and not after a harmless failure that followed the costly one."""
    tally = Tally.of(tuple(history))
    decision = decide_after_failure(history[-1], tally=tally, now=now, policy=policy)
    if isinstance(decision, GiveUp):
        return
    assert history[-1].charge is not Charge.YES
    if worst_charge(failure.charge for failure in history) is not Charge.NO:
        assert policy.accepts_double_charge
        assert tally.purchases < policy.purchases_max


@given(st.lists(failures, min_size=200, max_size=200), circumstances, policies, st.integers(1, 4))
def test_every_walk_ends(story: list[Failure], now: Circumstances, policy: RetryPolicy, upstreams: int) -> None:
    """However upstreams fail, a part gives up after a bounded number of sends to each, and of purchases."""
    walked: list[list[Failure]] = [[] for _ in range(upstreams)]
    at = 0
    for sends, failure in enumerate(story, 1):
        walked[at].append(failure)
        others = [each for each in range(upstreams) if each != at and len(walked[each]) < policy.sends_max]
        tally = Tally.of(tuple(story[:sends]), here=tuple(walked[at]))
        there = now if others else replace(now, next_after_s=None)
        decision = decide_after_failure(failure, tally=tally, now=there, policy=policy)
        if isinstance(decision, GiveUp):
            break
        if isinstance(decision, Fallback):
            at = others[0]
    assert isinstance(decision, GiveUp)
    assert all(len(each) <= policy.sends_max for each in walked)
    # What was paid can be one more than allowed only if a charge came unasked for, in an attempt that was allowed.
    assert tally.purchases <= max(policy.purchases_max, 1)


@given(failures, st.integers(1, 50), st.floats(-10, 1000), st.floats(0, 400), st.floats(0, 0.999), policies)
def test_decide_retry_keeps_to_the_deadline_and_to_the_money(
    failure: Failure, attempt: int, remaining_s: float, expected_s: float, jitter: float, policy: RetryPolicy
) -> None:
    """The same promises, for the same upstream alone."""
    decision = decide_retry(
        failure, attempt=attempt, remaining_s=remaining_s, expected_s=expected_s, jitter=jitter, policy=policy
    )
    if isinstance(decision, Retry):
        assert decision.after_s + expected_s <= remaining_s
        assert attempt < policy.attempts_max
        assert failure.charge is Charge.NO or (failure.charge is Charge.UNKNOWN and policy.accepts_double_charge)


@given(histories)
def test_a_verdict_never_understates_what_was_paid(history: list[Failure]) -> None:
    """`paid: no` is told only when no attempt can have cost anything."""
    verdict = verdict_of(history)
    assert (verdict.charge is Charge.NO) is all(failure.charge is Charge.NO for failure in history)
    assert verdict.code in {row.code for row in REACTIONS.values()}
    assert verdict.failure in history
