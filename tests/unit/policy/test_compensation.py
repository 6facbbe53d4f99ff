"""What of a charge is given back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.config import Compensation, CompensationReason
from holdfast.policy.compensation import (
    STANDARD,
    Given,
    Subject,
    compensation_micros,
    name_of,
    reason_of,
    rules_of,
)
from holdfast.policy.compensation import (
    given_back as all_given_back,
)
from holdfast.types import FailureKind, Tier

SLOW, REFUSED, EMPTY, FAILED = (
    CompensationReason.SLOW,
    CompensationReason.REFUSED,
    CompensationReason.EMPTY,
    CompensationReason.FAILED,
)
PRICE = 240_000
SUBJECT = Subject(key_id="key_1", model="m", tier="4K")


def standard(reason: CompensationReason) -> Compensation:
    """The rule where none is written."""
    rule = STANDARD.rule_for(reason, SUBJECT)
    assert rule is not None
    return rule


def given_back(rule: Compensation, took_s: float = 0.0, today: int = 0, captured: int = PRICE) -> int:
    """What the rule gives."""
    return compensation_micros(rule, captured_micros=captured, took_s=took_s, given_today_micros=today)


@pytest.mark.parametrize("reason", [REFUSED, EMPTY, FAILED])
def test_who_got_no_image_gets_all_of_it_back_unless_the_operator_says_otherwise(reason: CompensationReason) -> None:
    """However long it took."""
    assert given_back(standard(reason)) == given_back(standard(reason), took_s=1e6) == PRICE


@pytest.mark.parametrize(("took_s", "given"), [(0.0, 0), (180.0, 0), (180.001, PRICE), (600.0, PRICE)])
def test_a_slow_image_is_given_back_beyond_its_time(took_s: float, given: int) -> None:
    """Over 180 s, not at 180 s."""
    assert given_back(standard(SLOW), took_s=took_s) == given


def test_a_written_rule_stands_for_its_reason_only() -> None:
    """The others keep their defaults: a rule for slowness does not make refusals dear."""
    half = Compensation(when=SLOW, slower_than_s=60.0, share=0.5)
    rules = rules_of([half])
    assert rules.rule_for(SLOW, SUBJECT) is half
    for reason in (REFUSED, EMPTY, FAILED):
        assert rules.rule_for(reason, SUBJECT) == standard(reason)
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
    assert given_back(standard(FAILED), today=10**15) == PRICE


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


# Who a rule is for

FOUR = Compensation(when=SLOW, sizes=(Tier.K4,), slower_than_s=300.0)
VIP = Compensation(when=REFUSED, groups=("kgr_vip",), keys=("key_2",), share=0.5, cap_micros_per_day=100_000)


@pytest.mark.parametrize(
    ("change", "found"),
    [({}, True), ({"tier": "1K"}, False), ({"key_id": "key_9"}, True)],
)
def test_a_rule_for_a_size_is_for_that_size_only(change: dict[str, str], found: bool) -> None:
    """The reason is written: other sizes have no default any more."""
    subject = replace(SUBJECT, **change)
    assert (rules_of([FOUR]).rule_for(SLOW, subject) is FOUR) is found


@pytest.mark.parametrize(
    ("key_id", "group_id", "found"),
    [("key_1", None, False), ("key_2", None, True), ("key_1", "kgr_vip", True), ("key_1", "kgr_other", False)],
)
def test_whoever_does_not_qualify_gets_nothing(key_id: str, group_id: str | None, found: bool) -> None:
    """A key that is named, or one of a group that is."""
    subject = replace(SUBJECT, key_id=key_id, group_id=group_id)
    given = all_given_back(rules_of([VIP]), subject, {REFUSED: 60_000}, took_s=1.0, given_today=lambda _: 0)
    assert given == ((Given(rule="refused key_2 kgr_vip", micros=30_000, wanted_micros=30_000),) if found else ())


def test_a_rule_for_a_model_is_for_that_model_only() -> None:
    """By the public name."""
    rule = Compensation(when=EMPTY, models=("m",))
    assert rules_of([rule]).rule_for(EMPTY, SUBJECT) is rule
    assert rules_of([rule]).rule_for(EMPTY, replace(SUBJECT, model="n")) is None


def test_a_cap_counts_under_the_rule_s_own_name() -> None:
    """Two rules for one reason have a day each; a rule without a scope is counted as ever."""
    asked: list[str] = []

    def today(rule: str) -> int:
        asked.append(rule)
        return 90_000

    subject = replace(SUBJECT, key_id="key_2")
    (given,) = all_given_back(rules_of([VIP]), subject, {REFUSED: 60_000}, took_s=1.0, given_today=today)
    assert (given.micros, given.wanted_micros, asked) == (10_000, 30_000, ["refused key_2 kgr_vip"])
    assert name_of(Compensation(when=SLOW)) == "slow"
    assert name_of(FOUR) == "slow 4K"


def test_a_rule_that_gives_nothing_asks_for_no_day() -> None:
    """Whoever asks waits for all others that give something back: a call that was not slow is none of them."""
    rules = rules_of([Compensation(when=SLOW, slower_than_s=60.0, cap_micros_per_day=1_000)])

    def never(rule: str) -> int:
        raise AssertionError(rule)

    assert all_given_back(rules, SUBJECT, {SLOW: 500}, took_s=60.0, given_today=never) == ()
    (given,) = all_given_back(rules, SUBJECT, {SLOW: 500}, took_s=61.0, given_today=lambda _: 800)
    assert (given.micros, given.wanted_micros) == (200, 500)


def test_each_reason_of_a_charge_has_its_own_rule() -> None:
    """A part that was refused and one that was spoiled, of one generation."""
    rules = rules_of([Compensation(when=REFUSED, share=0.5), Compensation(when=FAILED, share=0.0)])
    given = all_given_back(rules, SUBJECT, {REFUSED: 100, FAILED: 100, EMPTY: 7}, took_s=1.0, given_today=lambda _: 0)
    assert [(each.rule, each.micros) for each in given] == [("refused", 50), ("empty", 7)]
