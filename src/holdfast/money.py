"""Integer micro-units and their currency; the only place where amounts are multiplied or rounded. Pure."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

MICROS_PER_UNIT = 1_000_000


def times(unit_micros: int, count: int) -> int:
    """Price of several."""
    assert unit_micros >= 0
    assert count >= 0
    return unit_micros * count


def with_margin(list_micros: int, margin: float) -> int:
    """The customer's price: the list price times the margin, rounded half up to a micro-unit.

    The margin is read as the decimal that its owner wrote, so that 1.1 is not 1.100000000000000088.
    """
    assert list_micros >= 0
    return int((Decimal(list_micros) * Decimal(repr(margin))).to_integral_value(ROUND_HALF_UP))


def with_share_added(list_micros: int, share: float) -> int:
    """The customer's price where a share is added to the list price (0.2: a fifth), rounded half up; never below 0."""
    assert list_micros >= 0
    added = Decimal(list_micros) * (1 + Decimal(repr(share)))
    return max(0, int(added.to_integral_value(ROUND_HALF_UP)))


def share_of(micros: int, share: float) -> int:
    """A share of an amount, rounded half up to a micro-unit; never more than the amount."""
    assert micros >= 0
    assert 0.0 <= share <= 1.0
    return min(micros, with_margin(micros, share))


def spell(micros: int, currency: str) -> str:
    """`0.24 USD`; at least two decimals, never rounded."""
    return f"{amount(micros)} {currency}"


def amount(micros: int) -> str:
    """`0.24`: the same without its currency, for tables that name it once."""
    sign = "-" if micros < 0 else ""
    whole, rest = divmod(abs(micros), MICROS_PER_UNIT)
    decimals = f"{rest:06d}".rstrip("0").ljust(2, "0")
    return f"{sign}{whole}.{decimals}"
