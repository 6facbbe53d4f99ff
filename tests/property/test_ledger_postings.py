"""Money is conserved: whatever is held, captured and voided, the lines add up to zero."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.ledger.postings import (
    EXTRA_IMAGES,
    HELD,
    PROVIDER_COST,
    REVENUE,
    UNKNOWN_EXPOSURE,
    Posting,
    Transaction,
    Verb,
    capture,
    compensate,
    customer,
    hold,
    of_attempt,
    provider,
    void,
)
from holdfast.types import Charge

amounts = st.integers(0, 10**15)
keys = st.sampled_from(["key_1", "key_2", "held", "revenue"])


@st.composite
def resolved(draw: st.DrawFn) -> tuple[str, int, int | None]:
    """A hold and its end: key, what was held, what was captured (None: voided)."""
    held = draw(amounts)
    return draw(keys), held, draw(st.none() | st.integers(0, held))


def postings_of(key_id: str, held: int, captured: int | None) -> tuple[Transaction, Transaction]:
    """Both transactions of one generation."""
    end = void(key_id, held) if captured is None else capture(key_id, held_micros=held, micros=captured)
    return hold(key_id, held), end


@given(st.lists(resolved(), max_size=30), st.randoms())
def test_any_story_sums_to_zero_and_leaves_nothing_held(
    stories: list[tuple[str, int, int | None]], random: Random
) -> None:
    """Interleaved in any order: at the end each customer owes what was captured of him, and that is what was earned."""
    transactions = [each for story in stories for each in postings_of(*story)]
    random.shuffle(transactions)
    balance: Counter[str] = Counter()
    for transaction in transactions:
        for posting in transaction.postings:
            balance[posting.account] += posting.micros
        assert sum(balance.values()) == 0
    assert balance[HELD] == 0
    captured: Counter[str] = Counter()
    for key_id, _, micros in stories:
        captured[customer(key_id)] += micros or 0
    assert all(balance[account] == owed for account, owed in captured.items())
    assert balance[REVENUE] == -sum(captured.values())


@given(keys, amounts, amounts)
def test_a_capture_is_within_its_hold_or_is_not_made(key_id: str, held: int, micros: int) -> None:
    """For every pair of amounts one of the two is the case."""
    if micros > held:
        with pytest.raises(AssertionError):
            capture(key_id, held_micros=held, micros=micros)
        return
    made = capture(key_id, held_micros=held, micros=micros)
    owed = sum(
        each.micros for each in (*hold(key_id, held).postings, *made.postings) if each.account == customer(key_id)
    )
    assert owed == micros


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(-5, 5)), max_size=6))
def test_only_balanced_transactions_exist(lines: list[tuple[str, int]]) -> None:
    """Any lines at all: they are refused, or they sum to zero and name each account once."""
    postings = tuple(Posting(account=account, micros=micros) for account, micros in lines)
    is_good = sum(micros for _, micros in lines) == 0 and len({account for account, _ in lines}) == len(lines)
    if is_good:
        assert Transaction(verb=Verb.VOID, postings=postings).postings == postings
    else:
        with pytest.raises(AssertionError):
            Transaction(verb=Verb.VOID, postings=postings)


@given(keys, amounts, amounts)
def test_a_compensation_is_within_its_capture_or_is_not_made(key_id: str, captured: int, micros: int) -> None:
    """For every pair of amounts one of the two is the case."""
    if micros > captured:
        with pytest.raises(AssertionError):
            compensate(key_id, captured_micros=captured, micros=micros)
        return
    owed = [each.micros for each in compensate(key_id, captured_micros=captured, micros=micros).postings]
    assert sum(owed) == 0


@given(st.booleans(), st.booleans(), amounts, amounts)
def test_an_attempt_costs_the_same_however_it_became_known(
    is_exposed: bool, is_late: bool, estimated: int, cost: int
) -> None:
    """At once, or by way of an exposure: nothing is left of that, and the upstream takes what it took."""
    terms = {"is_late": is_late, "estimated_micros": estimated, "cost_micros": cost}
    made: list[Transaction] = []
    if is_exposed:
        made += of_attempt("u", Charge.UNKNOWN, was_exposed=False, **terms)  # type: ignore[arg-type]
    made += of_attempt("u", Charge.YES, was_exposed=is_exposed, **terms)  # type: ignore[arg-type]
    balance: Counter[str] = Counter()
    for transaction in made:
        for posting in transaction.postings:
            balance[posting.account] += posting.micros
    asked_for = 0 if is_late else min(estimated, cost)
    assert balance[UNKNOWN_EXPOSURE] == 0
    assert (balance[PROVIDER_COST], balance[EXTRA_IMAGES]) == (asked_for, cost - asked_for)
    assert balance[provider("u")] == -cost
