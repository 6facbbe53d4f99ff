"""What of a charge is given back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.config import Compensation, CompensationReason
from holdfast.policy.compensation import STANDARD, compensation_micros, reason_of, rules_of
from holdfast.types import FailureKind

SLOW, REFUSED, EMPTY, FAILED = (
    CompensationReason.SLOW,
    CompensationReason.REFUSED,
    CompensationReason.EMPTY,
    CompensationReason.FAILED,
)
PRICE = 240_000


def given_back(rule: Compensation, took_s: float = 0.0, today: int = 0, captured: int = PRICE) -> int:
    """What the rule gives."""
    return compensation_micros(rule, captured_micros=captured, took_s=took_s, given_today_micros=today)


@pytest.mark.parametrize("reason", [REFUSED, EMPTY, FAILED])
def test_who_got_no_image_gets_all_of_it_back_unless_the_operator_says_otherwise(reason: CompensationReason) -> None:
    """However long it took."""
    assert given_back(STANDARD[reason]) == given_back(STANDARD[reason], took_s=1e6) == PRICE


@pytest.mark.parametrize(("took_s", "given"), [(0.0, 0), (180.0, 0), (180.001, PRICE), (600.0, PRICE)])
def test_a_slow_image_is_given_back_beyond_its_time(took_s: float, given: int) -> None:
    """Over 180 s, not at 180 s."""
    assert given_back(STANDARD[SLOW], took_s=took_s) == given


def test_a_written_rule_stands_for_its_reason_only() -> None:
    """The others keep their defaults: a rule for slowness does not make refusals dear."""
    half = Compensation(when=SLOW, slower_than_s=60.0, share=0.5)
    rules = rules_of([half])
    assert rules[SLOW] is half
    assert {reason: rules[reason] for reason in (REFUSED, EMPTY, FAILED)} == {
        reason: STANDARD[reason] for reason in (REFUSED, EMPTY, FAILED)
    }
    assert set(rules) == set(CompensationReason)
    assert given_back(half, took_s=61.0) == PRICE // 2


def test_a_share_of_zero_gives_nothing() -> None:
    """So a rule is switched off."""
    assert given_back(Compensation(when=REFUSED, share=0.0)) == 0


@pytest.mark.parametrize(
    ("today", "given"), [(0, PRICE), (60_000, PRICE), (60_001, PRICE - 1), (299_999, 1), (300_000, 0), (10**9, 0)]
)
def test_a_cap_ends_a_day_s_giving(today: int, given: int) -> None:
    """The last one gets what is left under it; a cap that was lowered takes nothing back."""
    assert given_back(Compensation(when=FAILED, cap_micros_per_day=300_000), today=today) == given


def test_without_a_cap_the_day_does_not_matter() -> None:
    """0: no limit."""
    assert given_back(STANDARD[FAILED], today=10**15) == PRICE


@pytest.mark.parametrize("kind", FailureKind)
def test_every_failure_has_its_rule(kind: FailureKind) -> None:
    """What was declined, what was left out, and all else that was paid for."""
    expected = {
        FailureKind.REFUSED_INPUT: REFUSED,
        FailureKind.REFUSED_OUTPUT: REFUSED,
        FailureKind.NO_IMAGE: EMPTY,
    }
    assert reason_of(kind) is expected.get(kind, FAILED)


@given(
    st.builds(
        Compensation,
        when=st.sampled_from(CompensationReason),
        slower_than_s=st.floats(0, 1000),
        share=st.floats(0, 1),
        cap_micros_per_day=st.integers(0, 10**9),
    ),
    st.integers(0, 10**12),
    st.floats(0, 10_000),
    st.integers(0, 10**12),
)
def test_what_is_given_back_is_within_the_charge_and_the_cap(
    rule: Compensation, captured: int, took_s: float, today: int
) -> None:
    """For any rule, charge, time and day."""
    given = given_back(rule, took_s=took_s, today=today, captured=captured)
    assert 0 <= given <= captured
    if rule.cap_micros_per_day:
        assert given == 0 or today + given <= rule.cap_micros_per_day
