"""What of `[[prices]]` contradicts itself or the rest of the settings. Pure.

Whether a price holds today, and whether a group of that label exists, is nothing that settings know by themselves:
`holdfast prices check` looks at both, and a start refuses a model that has no price that day.
"""

from __future__ import annotations

from holdfast.config.serving import Price
from holdfast.config.tree import Settings
from holdfast.config.words import nearest
from holdfast.errors import ConfigError


def check_prices(settings: Settings) -> None:
    """Find an entry that can never count, or two that contradict.

    Raises:
        ConfigError: With the entry to change.
    """
    named = [upstream.name for upstream in settings.upstreams]
    first: dict[tuple[str, str, str, object], int] = {}
    for at, price in enumerate(settings.prices):
        path = f"prices[{at}]"
        _check_price(price, path, currency=settings.money.currency, upstreams=named)
        place = (price.model, price.upstream, price.group, price.valid_from)
        if place in first:
            raise ConfigError(
                f"{path}: prices[{first[place]}] holds for the same from the same day, {price.valid_from.isoformat()}; "
                "put their micros into one entry.",
                key=path,
            )
        first[place] = at


def _check_price(price: Price, path: str, *, currency: str, upstreams: list[str]) -> None:
    if price.currency not in ("", currency):
        raise ConfigError(
            f"{path}.currency is {price.currency!r}, and the books are kept in money.currency, {currency!r}; nothing "
            "is converted here. Write the price in that, and leave currency out.",
            key=f"{path}.currency",
        )
    if price.valid_until < price.valid_from:
        raise ConfigError(
            f"{path}.valid_until, {price.valid_until.isoformat()}, is before valid_from, "
            f"{price.valid_from.isoformat()}: it would never hold.",
            key=f"{path}.valid_until",
        )
    if price.upstream and price.group:
        raise ConfigError(
            f"{path}: upstream is for what an upstream takes, group for what customers pay; make two entries of it.",
            key=f"{path}.group",
        )
    # Where none is written, those that keys in the environment make are not known yet; the start looks again.
    if price.upstream and upstreams and price.upstream not in upstreams:
        hint = nearest(price.upstream, upstreams)
        raise ConfigError(f"{path}.upstream: there is no upstream {price.upstream!r}. {hint}", key=f"{path}.upstream")
