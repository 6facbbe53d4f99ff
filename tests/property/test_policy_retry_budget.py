"""Repeats stay a share of the calls, whatever happens in whatever order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holdfast.policy.retry_budget import RetryBudget


@given(st.lists(st.sampled_from(["call", "repeat", "return"]), max_size=400), st.floats(0.0, 1.0), st.integers(0, 20))
def test_repeats_are_never_more_than_the_share_and_the_burst(happened: list[str], share: float, burst: int) -> None:
    """After any story: repeats made <= burst + share x calls; what was given back was not made."""
    budget = RetryBudget.full(share=share, burst=burst)
    calls = repeats = 0
    for what in happened:
        match what:
            case "call":
                budget, calls = budget.earned(), calls + 1
            case "repeat" if budget.allows:
                budget, repeats = budget.spent(), repeats + 1
            case "return" if repeats:
                budget, repeats = budget.returned(), repeats - 1
        assert 0.0 <= budget.tokens <= burst
        assert repeats <= burst + share * calls + 1e-6


@given(st.floats(0.01, 1.0), st.integers(1, 20))
def test_what_was_spent_is_earned_again(share: float, burst: int) -> None:
    """However far down: enough calls fill it, and no more than fill it."""
    budget = RetryBudget.full(share=share, burst=burst)
    while budget.allows:
        budget = budget.spent()
    for _ in range(int(burst / share) + 2):
        budget = budget.earned()
    assert budget.tokens == burst


def test_ten_calls_earn_one_repeat() -> None:
    """As shipped: a tenth, although ten tenths are not quite one."""
    budget = RetryBudget(share=0.1, burst=3, tokens=0.0)
    for calls in range(1, 11):
        budget = budget.earned()
        assert budget.allows is (calls == 10)
    assert not budget.spent().allows


def test_no_burst_is_no_repeat() -> None:
    """`budget_burst = 0` turns repeats off."""
    assert not RetryBudget.full(share=1.0, burst=0).earned().allows
