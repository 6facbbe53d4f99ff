"""What one image costs."""

from __future__ import annotations

from datetime import date

import pytest

from holdfast.config import LIST_PRICES, Price
from holdfast.errors import RequestError
from holdfast.policy.prices import unit_price_micros
from holdfast.policy.sizes import geometry_of, resolve
from holdfast.types import Tier

TODAY = date(2026, 11, 24)


def price_of(
    model: str,
    size: str = "1K",
    quality: str | None = None,
    *,
    ratio: str | None = None,
    prices: tuple[Price, ...] = LIST_PRICES,
    today: date = TODAY,
) -> int:
    geometry = resolve(size, aspect_ratio=ratio)
    return unit_price_micros(prices, model=model, tier=geometry.tier, quality=quality, geometry=geometry, today=today)


def a_price(model: str = "m", *, valid_from: date = date(2026, 1, 1), **micros: int) -> Price:
    return Price(model=model, micros=micros or {"1K": 1}, source="a test", valid_from=valid_from)


@pytest.mark.parametrize(
    ("model", "size", "micros"),
    [
        ("nano-banana-pro", "1K", 134000),
        ("nano-banana-pro", "2048x2048", 134000),
        ("nano-banana-pro", "4096x4096", 240000),
        ("nano-banana-2", "1K", 67000),
        ("nano-banana-2", "2K", 101000),
        ("nano-banana-2", "4K", 151000),
        ("nano-banana", "1K", 39000),
        ("seedream-4.5", "4K", 40000),
    ],
)
def test_list_prices_are_as_published(model: str, size: str, micros: int) -> None:
    """What is held is what the vendor asks."""
    assert price_of(model, size) == micros


@pytest.mark.parametrize(
    ("quality", "square", "wide"), [("low", 6000, 5000), ("medium", 53000, 41000), ("high", 211000, 165000)]
)
def test_gpt_image_is_priced_by_quality_and_shape(quality: str, square: int, wide: int) -> None:
    """1024x1024 and 1536x1024 are the two that OpenAI lists; portrait costs as landscape."""
    assert price_of("gpt-image-2", "1024x1024", quality) == square
    assert price_of("gpt-image-2", "1536x1024", quality) == wide
    assert price_of("gpt-image-2", "1024x1536", quality) == wide


@pytest.mark.parametrize("quality", [None, "auto"])
def test_a_quality_left_to_the_model_is_held_at_its_dearest(quality: str | None) -> None:
    """The hold covers whatever the model chooses."""
    assert price_of("gpt-image-2", "1024x1024", quality) == 211000
    assert price_of("gpt-image-2", "1536x1024", quality) == 165000


def test_old_words_for_quality_are_read_as_their_successors() -> None:
    """A program written for dall-e-3 goes on working."""
    assert price_of("gpt-image-2", "1024x1024", "standard") == 53000
    assert price_of("gpt-image-2", "1024x1024", "hd") == 211000


def test_quality_is_ignored_where_it_does_not_change_the_price() -> None:
    """Gemini's price goes by size alone."""
    assert price_of("nano-banana-pro", "1K", "high") == 134000


@pytest.mark.parametrize(
    ("model", "size", "quality", "named"),
    [
        ("unheard-of", "1K", None, '"1K"'),
        ("nano-banana", "2K", None, '"2K"'),
        ("gpt-image-2", "2048x2048", "high", '"2K/high"'),
        ("gpt-image-2", "4K", None, '"4K"'),
        ("gpt-image-2", "1024x1024", "max", '"1K/max"'),
    ],
)
def test_a_missing_price_names_the_key_to_set(model: str, size: str, quality: str | None, named: str) -> None:
    """Nothing is sold at a guess; the operator reads what to write."""
    with pytest.raises(RequestError) as told:
        price_of(model, size, quality)
    assert (told.value.code, told.value.status) == ("price_missing", 503)
    assert f"micros.{named}" in told.value.message
    assert f'model = "{model}"' in told.value.message


def test_a_new_price_takes_over_on_its_day() -> None:
    """A price can be announced in advance; yesterday's is kept until then."""
    old = a_price(**{"1K": 10})
    new = a_price(valid_from=date(2026, 12, 1), **{"1K": 20})
    for prices in ((old, new), (new, old)):
        assert price_of("m", prices=prices, today=date(2026, 11, 30)) == 10
        assert price_of("m", prices=prices, today=date(2026, 12, 1)) == 20
    with pytest.raises(RequestError, match="no price that holds on 2025-12-31"):
        price_of("m", prices=(old, new), today=date(2025, 12, 31))


def test_the_most_exact_key_counts() -> None:
    """Shape and quality refine a size's price; the bare size is the last resort."""
    prices = (a_price(**{"1K": 1, "1K@3:2": 2, "1K/low": 3, "1K/low@3:2": 4}),)
    asked = [("1:1", None), ("3:2", None), ("1:1", "low"), ("2:3", "low"), ("1:1", "medium"), ("3:2", "medium")]
    found = [
        unit_price_micros(
            prices, model="m", tier=Tier.K1, quality=quality, geometry=geometry_of(Tier.K1, ratio), today=TODAY
        )
        for ratio, quality in asked
    ]
    assert found == [1, 2, 3, 4, 1, 2]


def test_every_shipped_price_tells_its_source() -> None:
    """A figure without a source is a guess."""
    assert all(price.source and price.valid_from and price.micros for price in LIST_PRICES)
