"""List prices as shipped, micro-USD an image. Data: each row says where it comes from; `[[prices]]` replaces by model.

Sources: Google's and OpenAI's price pages and the litellm price map, read in 2026; where two disagree, the higher.
"""

from __future__ import annotations

from datetime import date
from types import MappingProxyType

from holdfast.config.serving import Price

LIST_CURRENCY = "USD"


def _price(model: str, valid_from: date, source: str, **micros: int) -> Price:
    return Price(model=model, micros=MappingProxyType(micros), source=source, valid_from=valid_from)


# OpenAI prices two shapes, 1024x1024 and 1536x1024. The second is a 2K picture by our size table, so its price stands
# under both classes at that ratio; larger squares have no list price and are refused until an operator sets one.
_GPT_IMAGE_2 = {
    **{f"1K/{quality}": micros for quality, micros in (("low", 6000), ("medium", 53000), ("high", 211000))},
    **{
        f"{tier}/{quality}@3:2": micros
        for tier in ("1K", "2K")
        for quality, micros in (("low", 5000), ("medium", 41000), ("high", 165000))
    },
}

LIST_PRICES: tuple[Price, ...] = (
    _price(
        "nano-banana-pro",
        date(2026, 5, 28),
        "Google list price: 1120 output tokens (2000 at 4K) at 120 USD per million",
        **{"1K": 134000, "2K": 134000, "4K": 240000},
    ),
    _price(
        "nano-banana-2",
        date(2026, 7, 1),
        "Google list price, two sources disagree on 2K and 4K: the higher",
        **{"1K": 67000, "2K": 101000, "4K": 151000},
    ),
    _price("nano-banana", date(2026, 7, 1), "Google list price", **{"1K": 39000}),
    _price(
        "seedream-4.5",
        date(2026, 7, 1),
        "BytePlus list price, the same for every size",
        **{"1K": 40000, "2K": 40000, "4K": 40000},
    ),
    _price("gpt-image-2", date(2026, 7, 1), "OpenAI list price by quality, 1024x1024 and 1536x1024", **_GPT_IMAGE_2),
)
