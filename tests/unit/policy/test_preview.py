"""What other rules would have given back: the same function, applied to what has been."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holdfast.config import Compensation, CompensationReason
from holdfast.policy.compensation import Subject, rules_of
from holdfast.policy.preview import DayEffect, Past, RuleEffect, preview
from holdfast.types import Tier

SLOW, REFUSED = CompensationReason.SLOW, CompensationReason.REFUSED


def ended(
    day: int, took_s: float = 10.0, *, reason: CompensationReason = SLOW, tier: str = "1K", given: int = 0
) -> Past:
    """A generation that was charged 1000."""
    subject = Subject(key_id="key_1", model="m", tier=tier)
    at = f"2026-01-{day:02d}T12:00:00.000Z"
    return Past(at=at, subject=subject, took_s=took_s, charged={reason: 1000}, given_micros=given)


def test_what_was_given_then_stands_beside_what_would_be_given() -> None:
    """Altogether, by rule and by day."""
    past = [ended(1, 200, given=1000), ended(1, 100), ended(2, reason=REFUSED, given=1000), ended(2, 400, tier="4K")]
    rules = rules_of([Compensation(when=SLOW, slower_than_s=90, share=0.5, sizes=(Tier.K1,))])
    made = preview(past, rules)
    assert (made.generations, made.charged_micros, made.given_micros, made.would_give_micros) == (4, 4000, 2000, 2000)
    assert made.rules == (
        RuleEffect(rule="refused", generations=1, given_micros=1000, withheld_micros=0),
        RuleEffect(rule="slow 1K", generations=2, given_micros=1000, withheld_micros=0),
    )
    assert made.days == (
        DayEffect(day="2026-01-01", charged_micros=2000, given_micros=1000, would_give_micros=1000),
        DayEffect(day="2026-01-02", charged_micros=2000, given_micros=1000, would_give_micros=1000),
    )


def test_a_cap_is_filled_by_whoever_comes_first_and_again_the_next_day() -> None:
    """What it keeps back is told."""
    rules = rules_of([Compensation(when=SLOW, slower_than_s=0, cap_micros_per_day=1500)])
    made = preview([ended(1), ended(1), ended(1), ended(2)], rules)
    assert made.rules == (RuleEffect(rule="slow", generations=4, given_micros=2500, withheld_micros=1500),)
    assert [day.would_give_micros for day in made.days] == [1500, 1000]


def test_nothing_charged_is_nothing_to_tell() -> None:
    """No rule, no day."""
    made = preview([], rules_of([]))
    assert (made.generations, made.rules, made.days) == (0, (), ())


pasts = st.lists(
    st.builds(
        ended,
        st.integers(1, 3),
        st.floats(0, 400),
        reason=st.sampled_from(CompensationReason),
        tier=st.sampled_from(["1K", "4K"]),
        given=st.integers(0, 1000),
    ),
    max_size=12,
)


@given(pasts, st.floats(0, 1), st.integers(0, 3000), st.floats(0, 400))
def test_no_rule_gives_more_than_was_charged_or_than_its_cap(
    past: list[Past], share: float, cap: int, slower_than_s: float
) -> None:
    """For any rules and any past; rules and days add up to the same."""
    rule = Compensation(when=SLOW, share=share, cap_micros_per_day=cap, slower_than_s=slower_than_s)
    made = preview(past, rules_of([rule]))
    assert 0 <= made.would_give_micros <= made.charged_micros
    assert made.would_give_micros == sum(each.given_micros for each in made.rules)
    assert made.would_give_micros == sum(day.would_give_micros for day in made.days)
    assert made.charged_micros == 1000 * len(past)
    if cap:
        slow = [each.given_micros for each in made.rules if each.rule == "slow"]
        assert sum(slow) <= cap * len(made.days)
