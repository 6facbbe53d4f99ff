"""What a picture costs, and the record of what was charged."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from holdfast.config import LIST_PRICES
from holdfast.policy.sizes import geometry_of
from holdfast.simulator.charges import Charge, Charges, Outcome, price_micros
from holdfast.types import Geometry, Tier

NOW = datetime(2026, 11, 24, 12, 0, 0, 123_000, tzinfo=UTC)


def a_charge(**changes: object) -> Charge:
    """Make a row."""
    usual = Charge(
        idempotency_key="gen_1.0.0",
        model="gemini-3-pro-image",
        size="4096x4096",
        micros=240_000,
        outcome=Outcome.MADE,
        at=NOW,
    )
    return replace(usual, **changes)


def list_price(model: str, key: str) -> int:
    """Look up what the gateway starts from."""
    return next(price.micros[key] for price in LIST_PRICES if price.model == model)


@pytest.mark.parametrize(
    ("model", "public"),
    [
        ("gemini-3-pro-image", "nano-banana-pro"),
        ("gemini-3-pro-image-preview", "nano-banana-pro"),
        ("nano-banana-pro", "nano-banana-pro"),
        ("gemini-3.1-flash-image", "nano-banana-2"),
        ("seedream-4.5", "seedream-4.5"),
        ("a-model-nobody-knows", "nano-banana-pro"),
    ],
)
@pytest.mark.parametrize("tier", list(Tier))
def test_prices_are_those_of_the_gateway(model: str, public: str, tier: Tier) -> None:
    """So that both books can be compared to the micro."""
    assert price_micros(model, geometry_of(tier, "1:1"), None, at=NOW) == list_price(public, tier.value)


@pytest.mark.parametrize(("quality", "key"), [("low", "1K/low"), ("medium", "1K/medium"), ("high", "1K/high")])
def test_quality_sets_the_price_of_gpt_image(quality: str, key: str) -> None:
    """As the vendor's list has it."""
    assert price_micros("gpt-image-2", geometry_of(Tier.K1, "1:1"), quality, at=NOW) == list_price("gpt-image-2", key)


def test_what_has_no_list_price_costs_by_area() -> None:
    """A 2880x2880 picture of gpt-image-2 is not free: nothing that is made is."""
    large = Geometry(tier=Tier.K4, aspect_ratio="1:1", width_px=2880, height_px=2880)
    small = list_price("gpt-image-2", "1K/low")
    assert price_micros("gpt-image-2", large, "low", at=NOW) == small * 2880 * 2880 // (1024 * 1024)


def test_the_record_is_told_as_documented() -> None:
    """The fields of `GET /_sim/charges`, oldest first."""
    charges = Charges()
    charges.add(a_charge())
    charges.add(a_charge(idempotency_key=None, micros=0, outcome=Outcome.REFUSED))
    assert json.loads(charges.document()) == {
        "charges": [
            {
                "idempotency_key": "gen_1.0.0",
                "model": "gemini-3-pro-image",
                "size": "4096x4096",
                "micros": 240_000,
                "outcome": "made",
                "at": "2026-11-24T12:00:00.123Z",
            },
            {
                "idempotency_key": None,
                "model": "gemini-3-pro-image",
                "size": "4096x4096",
                "micros": 0,
                "outcome": "refused",
                "at": "2026-11-24T12:00:00.123Z",
            },
        ]
    }
    assert repr(charges) == "<Charges 2 generations, 240000 micros>"


def test_the_oldest_rows_are_forgotten_first() -> None:
    """A simulator that runs for a week does not grow."""
    charges = Charges(records_max=3)
    for number in range(5):
        charges.add(a_charge(micros=number))
    assert [row.micros for row in charges.rows] == [2, 3, 4]
    assert charges.count == 5
