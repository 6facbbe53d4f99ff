"""Prices side by side, as JSON. Pure: no I/O, clock or randomness. Money is integer micro-units."""

from __future__ import annotations

from typing import Literal

import msgspec


class PriceRow(msgspec.Struct, frozen=True, kw_only=True):
    """One image of a model, priced for everybody."""

    model: str
    key: str
    """As in `prices.micros`: `4K`, `1K/low@3:2`."""
    list_micros: int
    unit_micros: int
    """What keys without a group pay."""
    groups: dict[str, int]
    """What those of each group pay, by its label."""
    costs: dict[str, int]
    """What each upstream of the route takes; empty: the model is not served."""
    source: str
    valid_from: str
    valid_until: str | None
    """The last day; None: no end is set."""


class PriceFinding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that an operator should know, as `holdfast prices check` tells it."""

    weight: Literal["error", "warning"]
    rule: str
    """`missing`, `missing_size`, `unknown_group`, `unserved`, `below_cost`, `ends_soon`, `unlisted_cost`."""
    model: str
    message: str


class PriceReport(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /admin/v1/prices`."""

    day: str
    """The day whose prices these are, UTC."""
    currency: str
    margin: float
    """`money.margin`: what a list price is multiplied by where no group says otherwise."""
    groups: tuple[str, ...]
    """Labels of all of them, in their order."""
    prices: tuple[PriceRow, ...]
    """Models that are served first."""
    findings: tuple[PriceFinding, ...]
    """The worst first."""
