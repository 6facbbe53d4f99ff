"""What one image costs its customer: looked up, never computed from tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date

from holdfast.config import Price
from holdfast.errors import RequestError
from holdfast.policy.sizes import turned
from holdfast.types import Geometry, Tier

# The words of older OpenAI models, as their successors read them.
_OLD_QUALITIES = {"standard": "medium", "hd": "high"}


def price_in_force(prices: Sequence[Price], model: str, today: date) -> Price | None:
    """Find the newest price of a model that holds today."""
    held = [price for price in prices if price.model == model and price.valid_from <= today]
    return max(held, key=lambda price: price.valid_from, default=None)


def unit_price_micros(
    prices: Sequence[Price], *, model: str, tier: Tier, quality: str | None, geometry: Geometry, today: date
) -> int:
    """Give the list price of one image, micro-units.

    The most exact key of `micros` counts: `1K/low@3:2`, then `1K/low`, then `1K@3:2`, then `1K`; a ratio stands for
    its portrait form too. Where a model is priced by quality and the caller leaves the choice to the model, the
    dearest counts.

    Raises:
        RequestError: `price_missing`, 503, naming the setting that would give the price.
    """
    price = price_in_force(prices, model, today)
    if price is None:
        raise _missing(model, tier.value, why=f"The model {model} has no price that holds on {today.isoformat()}")
    stated = _OLD_QUALITIES.get(quality or "auto", quality or "auto")
    for key in _keys(tier, None if stated == "auto" else stated, geometry.aspect_ratio):
        if key in price.micros:
            return price.micros[key]
    if stated == "auto" and (dearest := _dearest(price, tier, geometry.aspect_ratio)) is not None:
        return dearest
    named = tier.value if stated == "auto" or _is_flat(price) else f"{tier}/{stated}"
    raise _missing(model, named, why=f"The model {model} has no price at {named}")


def _keys(tier: Tier, quality: str | None, ratio: str) -> Iterator[str]:
    qualities = ([f"/{quality}"] if quality is not None else []) + [""]
    shapes = (f"@{ratio}", f"@{turned(ratio)}", "")
    for with_quality in qualities:
        for shape in shapes:
            yield f"{tier}{with_quality}{shape}"


def _dearest(price: Price, tier: Tier, ratio: str) -> int | None:
    qualities = {key.partition("/")[2].partition("@")[0] for key in price.micros if key.startswith(f"{tier}/")}
    found = (
        next((price.micros[key] for key in _keys(tier, quality, ratio) if key in price.micros), None)
        for quality in qualities
    )
    return max((micros for micros in found if micros is not None), default=None)


def _is_flat(price: Price) -> bool:
    return not any("/" in key for key in price.micros)


def _missing(model: str, key: str, *, why: str) -> RequestError:
    return RequestError(
        f'{why}. Set micros."{key}" in a [[prices]] entry with model = "{model}" to offer it.',
        code="price_missing",
        status=503,
        param="model",
    )
