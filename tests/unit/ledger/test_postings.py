"""What is written down when money moves."""

from __future__ import annotations

from collections import Counter

import pytest

from holdfast.ledger.postings import (
    COMPENSATION,
    EXTRA_IMAGES,
    HELD,
    PROVIDER_COST,
    RESOLVING,
    REVENUE,
    UNKNOWN_EXPOSURE,
    Posting,
    Transaction,
    Verb,
    capture,
    compensate,
    cost,
    customer,
    exposure,
    extra,
    hold,
    of_attempt,
    provider,
    resolve,
    void,
)
from holdfast.types import Charge

PRICE = 240_000


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


def booked(charge: Charge, **overrides: object) -> list[tuple[Verb, dict[str, int]]]:
    """What is booked for an attempt of one image at `u`, in time and for the first time unless said otherwise."""
    usual = {"was_exposed": False, "is_late": False, "estimated_micros": PRICE, "cost_micros": PRICE}
    made = of_attempt("u", charge, **usual | overrides)  # type: ignore[arg-type]
    return [(each.verb, lines_of(each)) for each in made]


def test_a_compensation_gives_back_some_of_what_was_captured() -> None:
    """The revenue stays as it was: what is given back stands on an account of its own."""
    given = compensate("key_1", captured_micros=PRICE, micros=60_000)
    assert given.verb is Verb.COMPENSATE
    assert lines_of(given) == {COMPENSATION: 60_000, "customer:key_1": -60_000}
    story = (hold("key_1", PRICE), capture("key_1", held_micros=PRICE, micros=PRICE), given)
    assert total(*story) == {"customer:key_1": 180_000, REVENUE: -PRICE, COMPENSATION: 60_000}


@pytest.mark.parametrize("micros", [-1, PRICE + 1])
def test_a_compensation_never_exceeds_its_capture(micros: int) -> None:
    """Nobody gets more back than he was charged."""
    with pytest.raises(AssertionError, match="never exceeds"):
        compensate("key_1", captured_micros=PRICE, micros=micros)


@pytest.mark.parametrize(
    ("book", "verb", "account"),
    [
        (cost, Verb.COST, PROVIDER_COST),
        (exposure, Verb.EXPOSURE, UNKNOWN_EXPOSURE),
        (extra, Verb.EXTRA, EXTRA_IMAGES),
    ],
)
def test_what_an_upstream_takes_says_why(book: object, verb: Verb, account: str) -> None:
    """From its account to the one of the reason; a negative cost is our mistake."""
    assert callable(book)
    assert book("google", PRICE).verb is verb
    assert lines_of(book("google", PRICE)) == {account: PRICE, "provider:google": -PRICE}
    with pytest.raises(AssertionError):
        book("google", -1)


def test_an_exposure_that_turns_out_leaves_nothing_behind() -> None:
    """It is moved, and the upstream's account says what was really taken."""
    found = resolve("u", exposed_micros=PRICE, cost_micros=PRICE, extra_micros=0)
    assert lines_of(found) == {UNKNOWN_EXPOSURE: -PRICE, PROVIDER_COST: PRICE}
    assert total(exposure("u", PRICE), found) == {PROVIDER_COST: PRICE, "provider:u": -PRICE}
    dearer = resolve("u", exposed_micros=PRICE, cost_micros=PRICE, extra_micros=2 * PRICE)
    assert total(exposure("u", PRICE), dearer) == {
        PROVIDER_COST: PRICE,
        EXTRA_IMAGES: 2 * PRICE,
        "provider:u": -3 * PRICE,
    }
    assert total(exposure("u", 0), resolve("u", exposed_micros=0, cost_micros=0, extra_micros=0)) == {}


def test_an_attempt_that_cost_nothing_is_not_booked() -> None:
    """`no` means no line at all, whenever it ended."""
    assert booked(Charge.NO) == booked(Charge.NO, is_late=True) == []


def test_an_attempt_that_nobody_knows_of_is_an_exposure_at_its_estimate() -> None:
    """In time or after the end: what may be owed does not depend on who was told."""
    expected = [(Verb.EXPOSURE, {UNKNOWN_EXPOSURE: PRICE, "provider:u": -PRICE})]
    assert booked(Charge.UNKNOWN) == booked(Charge.UNKNOWN, is_late=True, cost_micros=5) == expected


def test_an_attempt_that_was_paid_is_a_cost_and_what_was_not_asked_for_is_extra() -> None:
    """Fewer than asked for cost less; more are booked beside it."""
    assert booked(Charge.YES) == [(Verb.COST, {PROVIDER_COST: PRICE, "provider:u": -PRICE})]
    assert booked(Charge.YES, cost_micros=5) == [(Verb.COST, {PROVIDER_COST: 5, "provider:u": -5})]
    assert booked(Charge.YES, cost_micros=PRICE + 7) == [
        (Verb.COST, {PROVIDER_COST: PRICE, "provider:u": -PRICE}),
        (Verb.EXTRA, {EXTRA_IMAGES: 7, "provider:u": -7}),
    ]
    assert booked(Charge.YES, estimated_micros=0, cost_micros=0) == [(Verb.COST, {PROVIDER_COST: 0, "provider:u": 0})]


def test_what_is_paid_after_the_end_is_extra_whole() -> None:
    """Its customer was told an end without it, and pays nothing for it."""
    assert booked(Charge.YES, is_late=True) == [(Verb.EXTRA, {EXTRA_IMAGES: PRICE, "provider:u": -PRICE})]


@pytest.mark.parametrize(("is_late", "account"), [(False, PROVIDER_COST), (True, EXTRA_IMAGES)])
def test_an_exposure_is_resolved_by_one_move(is_late: bool, account: str) -> None:
    """To the cost of a generation that goes on, to the extras of one that has ended."""
    moved = booked(Charge.YES, was_exposed=True, is_late=is_late)
    assert moved == [(Verb.RESOLVE, {UNKNOWN_EXPOSURE: -PRICE, account: PRICE})]


@pytest.mark.parametrize("charge", [Charge.NO, Charge.UNKNOWN])
def test_only_a_known_charge_resolves_an_exposure(charge: Charge) -> None:
    """No second failure makes the first one milder."""
    with pytest.raises(AssertionError):
        booked(charge, was_exposed=True)


def test_accounts_of_upstreams_are_apart_from_all_others() -> None:
    """Whatever an operator calls his upstream."""
    assert provider("held") not in (HELD, customer("held"))
    assert {Verb.CAPTURE, Verb.VOID} == RESOLVING
