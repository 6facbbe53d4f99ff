"""What is counted, and what it is summed up to."""

from __future__ import annotations

from types import MappingProxyType

import pytest

from holdfast.types import Charge, Failure, FailureKind, Phase, Tier
from holdfast.whatif.book import Book, Order, Percentiles

PATIENCE_S = MappingProxyType({Tier.K1: 300.0, Tier.K2: 300.0, Tier.K4: 600.0})
PRICE = 134_000


def a_failure(charge: Charge) -> Failure:
    """Of which only the charge counts here."""
    return Failure(kind=FailureKind.LOST_REPLY, phase=Phase.WAIT, charge=charge, detail="lost")


def test_percentiles_are_the_nearest_ranks() -> None:
    """Of a hundred the 50th, the 95th, the 99th; of one that one; of none nothing."""
    assert Percentiles.of([float(at) for at in range(100, 0, -1)]) == Percentiles(p50_s=50.0, p95_s=95.0, p99_s=99.0)
    assert Percentiles.of([7.0]) == Percentiles(p50_s=7.0, p95_s=7.0, p99_s=7.0)
    assert Percentiles.of([]) == Percentiles(p50_s=0.0, p95_s=0.0, p99_s=0.0)


def test_a_load_is_summed_up() -> None:
    """One in time at once, one late after a purchase that was lost, one told that there is none."""
    book = Book(PATIENCE_S)
    first, second, third = (Order(number, Tier.K1, 10.0 * number) for number in range(3))
    book.sent(PRICE, is_charged=True)
    book.delivered(first, PRICE, 45.0)
    book.sent(PRICE, is_charged=True)
    book.failed(a_failure(Charge.UNKNOWN), PRICE)
    book.sent(PRICE, is_charged=True)
    book.delivered(second, PRICE, 400.0)
    book.sent(PRICE, is_charged=False)
    book.failed(a_failure(Charge.NO), PRICE)
    book.told(third, "overloaded", 25.0)
    book.queue_of(3)
    book.queue_of(1)
    book.waited(12.0)
    figures = book.figures("mine")
    assert (figures.policy, figures.generations, figures.delivered, figures.in_time) == ("mine", 3, 2, 1)
    assert (figures.success, figures.success_in_time) == (pytest.approx(2 / 3), pytest.approx(1 / 3))
    assert (figures.sends, figures.purchases) == (4, 3)
    assert (figures.sends_per_image, figures.purchases_per_image) == (2.0, 1.5)
    assert (figures.at_risk_micros, figures.lost_micros, figures.spent_micros) == (PRICE, PRICE, 3 * PRICE)
    assert figures.told == {"overloaded": 1}
    assert (figures.to_image.p50_s, figures.to_failure.p50_s) == (45.0, 5.0)
    assert (figures.queued, figures.queue_max, figures.in_queue.p99_s) == (1, 3, 12.0)
    assert figures.seconds == 25.0


def test_an_image_that_was_certainly_paid_and_did_not_come_is_at_risk_too() -> None:
    """`at_risk` is everything but certain nothing."""
    book = Book(PATIENCE_S)
    for charge in Charge:
        book.sent(PRICE, is_charged=charge is Charge.YES)
        book.failed(a_failure(charge), PRICE)
    book.told(Order(0, Tier.K1, 0.0), "status 500", 1.0)
    figures = book.figures("mine")
    assert figures.at_risk_micros == 2 * PRICE
    assert (figures.lost_micros, figures.purchases_per_image, figures.sends_per_image) == (PRICE, None, None)


def test_the_curve_climbs_to_the_share_that_was_served() -> None:
    """Thinned out, never falling, and never above what is true."""
    book = Book(PATIENCE_S)
    for number in range(10_000):
        order = Order(number, Tier.K1, 0.0)
        if number % 4:
            book.delivered(order, PRICE, float(number))
        else:
            book.told(order, "overloaded", float(number))
    curve = book.figures("mine").curve
    assert 150 <= len(curve) <= 201
    assert curve == tuple(sorted(curve))
    assert curve[-1] == (9999.0, 0.75)
    for seconds, share in curve:
        assert share == pytest.approx(0.75 * seconds / 10_000, abs=0.001)


def test_an_empty_curve_is_none() -> None:
    """Nobody was served."""
    book = Book(PATIENCE_S)
    book.told(Order(0, Tier.K1, 0.0), "overloaded", 1.0)
    assert book.figures("mine").curve == ()
