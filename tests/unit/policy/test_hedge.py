"""When a slow call gets a second one beside it, case by case."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.config import HedgeAfter
from holdfast.policy.hedge import (
    CHANCE_MIN,
    LASTING,
    SAVED_MAX,
    Against,
    Second,
    SecondBudget,
    Slow,
    chance_of,
    decide_second,
    first_obstacle,
    slow_s,
)
from holdfast.policy.latency import Latency, prior
from holdfast.policy.learning import expectation
from holdfast.policy.retry import (
    Circumstances,
    GiveUp,
    GiveUpReason,
    RetryPolicy,
    Tally,
    decide_after_failure,
)
from holdfast.policy.sketch import Sketch
from holdfast.types import Charge, Failure, FailureKind, Phase, Tier

BUYS_TWICE = RetryPolicy(accepts_double_charge=True)
K1 = prior(Tier.K1)
LOST = Failure(kind=FailureKind.LOST_REPLY, phase=Phase.WAIT, charge=Charge.UNKNOWN, detail="")
BUSY = Failure(kind=FailureKind.OVERLOADED, phase=Phase.RECEIVE, charge=Charge.NO, detail="")


def decide(policy: RetryPolicy = BUYS_TWICE, after: HedgeAfter = HedgeAfter.P95, **changes: Any) -> Second | Against:
    """A 1K call a second past its P95, with plenty of time and another upstream that is as fast."""
    usual: dict[str, Any] = {
        "elapsed_s": 91.0,
        "remaining_s": 200.0,
        "first": K1,
        "second": K1,
        "tally": None,
        "budget_allows": True,
    }
    return decide_second(Slow(**usual | changes), after=after, policy=policy)


def test_a_call_past_its_p95_gets_a_second_one() -> None:
    """With the figures by which that was decided."""
    decided = decide()
    assert isinstance(decided, Second)
    assert (decided.elapsed_s, decided.slow_s, decided.expected_s, decided.remaining_s) == (91.0, 90.0, 45.0, 200.0)
    assert decided.chance == pytest.approx(0.27, abs=0.02)


AGAINST: dict[Against, dict[str, Any]] = {
    Against.NOT_ACCEPTED: {"policy": RetryPolicy()},
    Against.PURCHASES_SPENT: {"tally": Tally.of((LOST,))},
    Against.SENDS_SPENT: {"policy": replace(BUYS_TWICE, sends_max=2), "tally": Tally.of((BUSY,))},
    Against.NOT_SLOW: {"elapsed_s": 89.9},
    Against.BUDGET_SPENT: {"budget_allows": False},
    Against.NOBODY_FREE: {"second": None},
    Against.DEADLINE_TOO_CLOSE: {"remaining_s": 44.0},
    Against.NO_CHANCE: {"second": Latency(percentiles=K1.percentiles, scale=4.0), "remaining_s": 900.0},
}


def test_every_reason_against_has_its_case() -> None:
    """The table below is whole."""
    assert set(AGAINST) == set(Against)


@pytest.mark.parametrize(("reason", "changes"), AGAINST.items(), ids=AGAINST)
def test_what_speaks_against_it(reason: Against, changes: dict[str, Any]) -> None:
    """One thing at a time."""
    assert decide(**changes) is reason


def test_money_is_looked_at_before_anything_else() -> None:
    """And what cannot change is told before what can."""
    everything = {name: value for changes in AGAINST.values() for name, value in changes.items()}
    everything["policy"] = RetryPolicy(sends_max=1)
    assert decide(**everything) is Against.NOT_ACCEPTED
    everything["policy"] = BUYS_TWICE
    assert decide(**everything | {"tally": Tally.of((LOST,))}) is Against.PURCHASES_SPENT
    assert {Against.NOT_SLOW, Against.NOBODY_FREE, Against.NO_CHANCE, Against.BUDGET_SPENT}.isdisjoint(LASTING)


def test_one_purchase_means_one() -> None:
    """A caller's `Holdfast-Purchases: 1`."""
    assert first_obstacle(None, replace(BUYS_TWICE, purchases_max=1)) is Against.PURCHASES_SPENT
    assert first_obstacle(None, BUYS_TWICE) is None
    # What was turned away for nothing is no purchase.
    assert first_obstacle(Tally.of((BUSY,) * 3), BUYS_TWICE) is None
    assert first_obstacle(Tally.of((LOST,)), replace(BUYS_TWICE, purchases_max=3)) is None


def test_after_p99_is_later() -> None:
    """As the setting says."""
    assert (slow_s(K1, HedgeAfter.P95), slow_s(K1, HedgeAfter.P99)) == (90.0, 150.0)
    assert decide(after=HedgeAfter.P99) is Against.NOT_SLOW
    assert isinstance(decide(after=HedgeAfter.P99, elapsed_s=150.0), Second)


def test_the_largest_size_is_waited_for_longer() -> None:
    """Most 4K calls that are past their P95 are about to end."""
    k4 = prior(Tier.K4)
    assert decide(first=k4, second=k4, elapsed_s=171.0) is Against.NO_CHANCE
    assert isinstance(decide(first=k4, second=k4, elapsed_s=210.0), Second)


def test_a_call_that_hangs_beyond_all_that_is_known_is_sure_to_lose() -> None:
    """Nothing is left of its distribution."""
    assert chance_of(K1, K1, elapsed_s=1e6) == 1.0


def test_what_was_learnt_counts() -> None:
    """An upstream that brings everything in 20 s is slow far earlier, and hangs when it does not."""
    sketch = Sketch()
    for _ in range(5000):
        sketch.add(20.0)
    fast = expectation(K1, sketch.counts, prior_weight=50)
    assert slow_s(fast, HedgeAfter.P95) < 25.0
    assert chance_of(fast, fast, elapsed_s=60.0) > chance_of(K1, K1, elapsed_s=60.0)


@given(
    elapsed_s=st.floats(0.0, 2000.0),
    first=st.floats(0.05, 20.0),
    second=st.floats(0.05, 20.0),
    faster=st.floats(0.1, 1.0),
)
def test_a_chance_is_one_and_grows_with_the_speed_of_the_second(
    elapsed_s: float, first: float, second: float, faster: float
) -> None:
    """Between 0 and 1, whatever is asked."""
    of_first = Latency(percentiles=K1.percentiles, scale=first)
    chance = chance_of(of_first, Latency(percentiles=K1.percentiles, scale=second), elapsed_s=elapsed_s)
    sooner = chance_of(of_first, Latency(percentiles=K1.percentiles, scale=second * faster), elapsed_s=elapsed_s)
    assert 0.0 <= chance <= sooner + 1e-9 <= 1.0 + 1e-9


@given(
    elapsed_s=st.floats(0.0, 1000.0),
    remaining_s=st.floats(-10.0, 1000.0),
    failures=st.lists(st.sampled_from((LOST, BUSY)), max_size=6),
    purchases_max=st.integers(1, 4),
    sends_max=st.integers(1, 6),
    budget_allows=st.booleans(),
)
def test_a_second_one_is_within_every_limit(
    elapsed_s: float,
    remaining_s: float,
    failures: list[Failure],
    purchases_max: int,
    sends_max: int,
    budget_allows: bool,
) -> None:
    """Whatever the circumstances."""
    policy = replace(BUYS_TWICE, purchases_max=purchases_max, sends_max=sends_max)
    decided = decide(
        policy,
        elapsed_s=elapsed_s,
        remaining_s=remaining_s,
        tally=Tally.of(tuple(failures)) if failures else None,
        budget_allows=budget_allows,
    )
    if isinstance(decided, Second):
        assert budget_allows
        assert elapsed_s >= 90.0
        assert remaining_s >= 45.0
        assert decided.chance >= CHANCE_MIN
        assert failures.count(LOST) + 2 <= purchases_max
        assert len(failures) + 2 <= sends_max


def test_a_share_of_the_calls_is_earned_and_spent() -> None:
    """By model; a new process has none, and little is saved up."""
    budget = SecondBudget(0.05)
    assert not budget.allows("a")
    for _ in range(20):
        budget.earned("a")
    assert budget.allows("a")
    assert not budget.allows("b")
    budget.spent("a")
    assert not budget.allows("a")
    budget.returned("a")
    assert budget.left("a") == pytest.approx(1.0)
    for _ in range(1000):
        budget.earned("a")
    assert budget.left("a") == SAVED_MAX
    assert repr(budget) == "<SecondBudget a: 3.00>"
    assert repr(SecondBudget(0.5)) == "<SecondBudget nothing earned>"


# What follows once both have ended: `policy.retry`


@pytest.mark.parametrize("charge", [Charge.YES, Charge.UNKNOWN])
def test_the_stricter_charge_of_the_two_decides(charge: Charge) -> None:
    """A failure that cost nothing, after one beside it that was paid for, or may have been."""
    earlier = Failure(kind=FailureKind.NO_IMAGE, phase=Phase.DECODE, charge=charge, detail="")
    now = Circumstances(remaining_s=600.0, expected_s=45.0, jitter=0.5, next_after_s=0.0)
    wanted = GiveUpReason.CHARGED if charge is Charge.YES else GiveUpReason.POSSIBLY_CHARGED
    for policy in (RetryPolicy(), BUYS_TWICE):
        decided = decide_after_failure(BUSY, tally=Tally.of((earlier, BUSY)), now=now, policy=policy)
        if charge is Charge.UNKNOWN and policy is BUYS_TWICE:
            assert not isinstance(decided, GiveUp)
        else:
            assert decided == GiveUp(reason=wanted)


def test_a_refusal_beside_it_ends_it_too() -> None:
    """The same request would end the same way again."""
    refused = Failure(kind=FailureKind.REFUSED_INPUT, phase=Phase.RECEIVE, charge=Charge.NO, detail="")
    now = Circumstances(remaining_s=600.0, expected_s=45.0, jitter=0.5, next_after_s=0.0)
    decided = decide_after_failure(BUSY, tally=Tally.of((refused, BUSY)), now=now, policy=BUYS_TWICE)
    assert decided == GiveUp(reason=GiveUpReason.NOT_RETRYABLE)
    unknown = replace(refused, kind=FailureKind.BAD_REQUEST, status=404)
    decided = decide_after_failure(BUSY, tally=Tally.of((unknown, BUSY)), now=now, policy=BUYS_TWICE)
    assert not isinstance(decided, GiveUp)
