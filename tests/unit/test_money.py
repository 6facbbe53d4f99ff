"""Amounts: integers throughout, rounded in one place."""

from __future__ import annotations

import pytest

from holdfast.money import amount, share_of, spell, times, with_margin, with_share_added


def test_several_cost_as_many_times_one() -> None:
    """No rounding can come in."""
    assert times(240_000, 10) == 2_400_000
    assert times(1, 0) == times(0, 10) == 0


@pytest.mark.parametrize(("unit", "count"), [(-1, 1), (1, -1)])
def test_negative_prices_and_counts_are_our_mistake(unit: int, count: int) -> None:
    """Money flows back through the ledger, never through a price."""
    with pytest.raises(AssertionError):
        times(unit, count)


@pytest.mark.parametrize(
    ("micros", "margin", "price"),
    [
        (134_000, 1.0, 134_000),
        (1_000_000, 1.1, 1_100_000),
        (10_000_000_000_000_000, 1.1, 11_000_000_000_000_000),
        (5, 1.1, 6),
        (5, 1.09, 5),
        (1, 0.5, 1),
        (3, 0.5, 2),
        (240_000, 0.0, 0),
        (7, 1e-3, 0),
    ],
)
def test_a_margin_is_the_decimal_that_its_owner_wrote(micros: int, margin: float, price: int) -> None:
    """1.1 is not 1.100000000000000088; half a micro-unit goes up."""
    assert with_margin(micros, margin) == price


def test_a_negative_list_price_is_our_mistake() -> None:
    """A typing error in a price list never becomes a gift."""
    with pytest.raises(AssertionError):
        with_margin(-1, 1.0)


@pytest.mark.parametrize(
    ("micros", "text"),
    [
        (240_000, "0.24 USD"),
        (134_000, "0.134 USD"),
        (2_400_000, "2.40 USD"),
        (0, "0.00 USD"),
        (1, "0.000001 USD"),
        (1_000_000, "1.00 USD"),
        (-240_000, "-0.24 USD"),
        (-1, "-0.000001 USD"),
        (12_345_678_900_000, "12345678.90 USD"),
    ],
)
def test_an_amount_is_spelled_exactly(micros: int, text: str) -> None:
    """At least two decimals, never rounded, the sign in front."""
    assert spell(micros, "USD") == text


@pytest.mark.parametrize(
    ("micros", "share", "given"),
    [(240_000, 1.0, 240_000), (240_000, 0.0, 0), (240_000, 0.25, 60_000), (3, 0.5, 2), (10**17 + 1, 1.0, 10**17 + 1)],
)
def test_a_share_is_rounded_half_up_and_never_above_its_whole(micros: int, share: float, given: int) -> None:
    """The decimal that its owner wrote, as with the margin."""
    assert share_of(micros, share) == given


@pytest.mark.parametrize(("micros", "share"), [(-1, 0.5), (1, 1.01), (1, -0.1)])
def test_a_share_is_between_nothing_and_all(micros: int, share: float) -> None:
    """More than all would be money out of nothing."""
    with pytest.raises(AssertionError):
        share_of(micros, share)


@pytest.mark.parametrize(
    ("micros", "share", "price"),
    [(1000, 0.2, 1200), (1000, 0.0, 1000), (1000, 0.57, 1570), (3, 0.5, 5), (1000, -0.2, 800), (1000, -1.0, 0)],
)
def test_a_share_is_added_as_it_was_written(micros: int, share: float, price: int) -> None:
    """0.57 is no 0.56999999999999998, and half a micro-unit is rounded up."""
    assert with_share_added(micros, share) == price


def test_nobody_is_paid_for_taking_an_image() -> None:
    """A discount ends at nothing."""
    assert with_share_added(1000, -1.5) == 0


def test_a_table_names_its_currency_once() -> None:
    """The amount stands alone."""
    assert (amount(240_000), amount(-1), amount(0)) == ("0.24", "-0.000001", "0.00")
