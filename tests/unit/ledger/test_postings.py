"""What is written down when money moves."""

from __future__ import annotations

from collections import Counter

import pytest

from holdfast.ledger.postings import HELD, REVENUE, Posting, Transaction, Verb, capture, customer, hold, void


def lines_of(transaction: Transaction) -> dict[str, int]:
    """Postings by account."""
    return {posting.account: posting.micros for posting in transaction.postings}


def total(*transactions: Transaction) -> dict[str, int]:
    """Balances after several, those of zero left out."""
    sums: Counter[str] = Counter()
    for transaction in transactions:
        sums.update(lines_of(transaction))
    return {account: micros for account, micros in sums.items() if micros}


def test_a_hold_takes_from_the_customer_into_held() -> None:
    """The customer owes the worst case from the moment of acceptance; that is what a cap is checked against."""
    made = hold("key_1", 240_000)
    assert made.verb is Verb.HOLD
    assert lines_of(made) == {"customer:key_1": 240_000, HELD: -240_000}


def test_a_capture_charges_what_was_delivered_and_gives_back_the_rest() -> None:
    """After it the customer owes what came, the house has earned it, and nothing is held."""
    taken = capture("key_1", held_micros=960_000, micros=240_000)
    assert taken.verb is Verb.CAPTURE
    assert lines_of(taken) == {HELD: 960_000, REVENUE: -240_000, "customer:key_1": -720_000}
    assert total(hold("key_1", 960_000), taken) == {"customer:key_1": 240_000, REVENUE: -240_000}


@pytest.mark.parametrize("delivered", [0, 960_000])
def test_a_capture_may_take_nothing_or_all(delivered: int) -> None:
    """Both ends of the range balance and empty the hold."""
    left = total(hold("key_1", 960_000), capture("key_1", held_micros=960_000, micros=delivered))
    assert left == ({"customer:key_1": delivered, REVENUE: -delivered} if delivered else {})


def test_a_void_leaves_nothing_behind() -> None:
    """The customer of a failure owes what he owed before."""
    given_back = void("key_1", 240_000)
    assert given_back.verb is Verb.VOID
    assert total(hold("key_1", 240_000), given_back) == {}


def test_a_capture_never_exceeds_its_hold() -> None:
    """Whatever the upstream cost, the customer pays at most what was agreed; nor does he get money out."""
    for micros in (240_001, -1):
        with pytest.raises(AssertionError):
            capture("key_1", held_micros=240_000, micros=micros)


@pytest.mark.parametrize("verb", [hold, void])
def test_a_negative_hold_is_our_mistake(verb: object) -> None:
    """It would pay the customer for asking."""
    assert callable(verb)
    with pytest.raises(AssertionError):
        verb("key_1", -1)


def test_a_free_model_balances_too() -> None:
    """A price of zero goes the same way."""
    assert total(hold("key_1", 0), void("key_1", 0)) == {}
    assert total(hold("key_1", 0), capture("key_1", held_micros=0, micros=0)) == {}


def test_a_transaction_that_does_not_balance_cannot_be_made() -> None:
    """The rule is checked where the record is built."""
    with pytest.raises(AssertionError, match="balance"):
        Transaction(verb=Verb.HOLD, postings=(Posting(account="a", micros=1), Posting(account="b", micros=-2)))


def test_a_transaction_names_an_account_once() -> None:
    """Two lines of one account would say that nobody thought about it."""
    with pytest.raises(AssertionError, match="twice"):
        Transaction(verb=Verb.HOLD, postings=(Posting(account="a", micros=1), Posting(account="a", micros=-1)))


def test_accounts_of_customers_are_apart_from_the_houses() -> None:
    """No key id can name an account of ours."""
    assert customer("held") not in (HELD, REVENUE)
    assert customer("key_1") != customer("key_2")
