"""What was charged: one row for every generation that ended, whether or not anybody was left to hear of it.

Prices are the list prices that the gateway itself starts from, so that its books and these can be compared.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

import orjson

from holdfast.clock import rfc3339
from holdfast.config import LIST_PRICES, Price
from holdfast.config.provider_prices import PROVIDER_PRICES
from holdfast.errors import RequestError
from holdfast.money import times
from holdfast.policy.prices import unit_price_micros
from holdfast.policy.sizes import geometry_of
from holdfast.types import Geometry, Tier

RECORDS_MAX = 100_000
"""Older rows are forgotten: half a day at two images a second."""

_PUBLIC_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "gemini-3-pro-image": "nano-banana-pro",
        "gemini-3-pro-image-preview": "nano-banana-pro",
        "gemini-3.1-flash-image": "nano-banana-2",
        "gemini-2.5-flash-image": "nano-banana",
        "seedream-4-5-251128": "seedream-4.5",
        "doubao-seedream-4-5-251128": "seedream-4.5",
    }
)
"""What list prices call an upstream's model."""


class Outcome(StrEnum):
    """How a generation ended."""

    MADE = "made"
    """There is a picture."""
    REFUSED = "refused"
    """The content was declined."""
    EMPTY = "empty"
    """The model made no picture."""
    FAILED = "failed"
    """An error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """One generation that ended."""

    idempotency_key: str | None
    model: str
    size: str
    """True pixels asked for: `4096x4096`."""
    micros: int
    """Micro-USD; 0: not charged."""
    outcome: Outcome
    at: datetime


def price_micros(model: str, geometry: Geometry, quality: str | None, *, at: datetime) -> int:
    """Give the price of one picture, micro-USD.

    What has no list price costs what the nearest picture that has one costs, by area; an unknown model costs what
    nano-banana-pro costs: nothing that is made here is free.
    """
    own = next((row for row in PROVIDER_PRICES if not row.host and model.removesuffix("/edit") in row.models), None)
    model = model.removeprefix("fal-ai/").removeprefix("google/").removesuffix("/edit")
    public = _PUBLIC_NAMES.get(model, model)
    known = public if any(price.model == public for price in LIST_PRICES) else "nano-banana-pro"
    today = at.date()
    prices = LIST_PRICES
    if own is not None:
        prices = (Price(model=known, micros=own.micros, source=own.source, valid_from=today),)
    for shape in (geometry, geometry_of(Tier.K1, "1:1")):
        for stated in (quality, None):
            try:
                micros = unit_price_micros(
                    prices, model=known, tier=shape.tier, quality=stated, geometry=shape, today=today
                )
            except RequestError:
                continue
            if shape is geometry:
                return micros
            area_px = geometry.width_px * geometry.height_px
            return max(1, micros * area_px // (shape.width_px * shape.height_px))
    raise AssertionError(f"no list price of {known} holds at 1K on {today}")


class Charges:
    """The record."""

    def __init__(self, *, records_max: int = RECORDS_MAX) -> None:
        self._rows: deque[Charge] = deque(maxlen=records_max)
        self._count = 0
        self._micros = 0

    def __repr__(self) -> str:
        return f"<Charges {self._count} generations, {self._micros} micros>"

    def add(self, charge: Charge) -> None:
        """Write one down."""
        self._rows.append(charge)
        self._count += 1
        self._micros = self._micros + times(charge.micros, 1)

    @property
    def rows(self) -> tuple[Charge, ...]:
        """The last ones, oldest first."""
        return tuple(self._rows)

    @property
    def count(self) -> int:
        """All of them, those that are forgotten included."""
        return self._count

    def document(self) -> bytes:
        """Write the answer of `GET /_sim/charges`."""
        rows = [
            {
                "idempotency_key": row.idempotency_key,
                "model": row.model,
                "size": row.size,
                "micros": row.micros,
                "outcome": row.outcome.value,
                "at": rfc3339(row.at),
            }
            for row in self._rows
        ]
        return orjson.dumps({"charges": rows})
