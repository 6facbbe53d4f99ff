"""What one image costs: its customer, and us at an upstream. Looked up, never computed from tokens.

The list price of a model is what upstreams take and, with a margin, what customers pay. Beside it stand prices of
single upstreams (`prices.upstream`, then `config.provider_prices`), which are costs, and prices of groups of keys
(`prices.group`), which are what those pay as they stand.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

from holdfast.config import Price, Settings, Upstream
from holdfast.config.provider_prices import provider_price
from holdfast.errors import ConfigError, RequestError
from holdfast.money import with_margin, with_share_added
from holdfast.policy.sizes import turned
from holdfast.types import Geometry, Request, Tariff, Tier

# The words of older OpenAI models, as their successors read them.
_OLD_QUALITIES = {"standard": "medium", "hd": "high"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """As much of a request as has an influence on the price of one of its images."""

    tier: Tier
    aspect_ratio: str
    quality: str | None = None
    n: int = 1
    """How many images the call asks for."""

    @classmethod
    def of(cls, request: Request) -> Wanted:
        """Take it out of a request."""
        return cls(
            tier=request.geometry.tier,
            aspect_ratio=request.geometry.aspect_ratio,
            quality=request.quality,
            n=request.n,
        )

    @property
    def stated(self) -> str | None:
        """The quality in today's words; None: the model chooses."""
        quality = _OLD_QUALITIES.get(self.quality or "auto", self.quality or "auto")
        return None if quality == "auto" else quality


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """Both sides of an image."""

    list_micros: int
    """List price: what an upstream takes that has no price of its own."""
    unit_micros: int
    """What the customer pays."""


def price_in_force(
    prices: Iterable[Price], model: str, today: date, *, upstream: str = "", group: str = ""
) -> Price | None:
    """Find the newest price of a model that holds today: the list price, or that of an upstream or a group."""
    held = [
        price
        for price in prices
        if price.model == model
        and price.valid_from <= today <= price.valid_until
        and (price.upstream, price.group) == (upstream, group)
    ]
    return max(held, key=lambda price: price.valid_from, default=None)


def find_micros(micros: Mapping[str, int], wanted: Wanted) -> int | None:
    """Read the price of one image off a table; None: it is not there.

    The most exact key counts, by quality, then by ratio, then by number: `1K/low@3:2*4`, `1K/low@3:2`, `1K/low*4`,
    `1K/low`, `1K@3:2`, `1K`; a ratio stands for its portrait form too, and `*4` for four images or more. Where a model
    is priced by quality and the caller leaves the choice to the model, the dearest counts.
    """
    for key in _keys(wanted, wanted.stated):
        if key in micros:
            return micros[key]
    return _dearest(micros, wanted) if wanted.stated is None else None


def unit_price_micros(
    prices: Sequence[Price],
    *,
    model: str,
    tier: Tier,
    quality: str | None,
    geometry: Geometry,
    today: date,
    n: int = 1,
) -> int:
    """Give the list price of one image, micro-units; see `find_micros`.

    Raises:
        RequestError: `price_missing`, 503, naming the setting that would give the price.
    """
    wanted = Wanted(tier=tier, aspect_ratio=geometry.aspect_ratio, quality=quality, n=n)
    return list_price_micros(prices, model, wanted, today)


def list_price_micros(prices: Sequence[Price], model: str, wanted: Wanted, today: date) -> int:
    """Give the list price of one image, micro-units.

    Raises:
        RequestError: `price_missing`, 503, naming the setting that would give the price.
    """
    price = price_in_force(prices, model, today)
    if price is None:
        raise _missing(
            model, wanted.tier.value, why=f"The model {model} has no price that holds on {today.isoformat()}"
        )
    found = find_micros(price.micros, wanted)
    if found is not None:
        return found
    named = wanted.tier.value if wanted.stated is None or _is_flat(price) else f"{wanted.tier}/{wanted.stated}"
    raise _missing(model, named, why=f"The model {model} has no price at {named}")


def quote(settings: Settings, model: str, wanted: Wanted, today: date, tariff: Tariff | None) -> Quote:
    """Price one image for a customer.

    A group's own price counts as it stands; what it does not name, and everybody else, is priced by the list with the
    margin of the group, else that of the settings.

    Raises:
        RequestError: `price_missing`, 503: neither has it.
    """
    own = None
    if tariff is not None and (price := price_in_force(settings.prices, model, today, group=tariff.group)) is not None:
        own = find_micros(price.micros, wanted)
    try:
        list_micros = list_price_micros(settings.prices, model, wanted, today)
    except RequestError:
        if own is None:
            raise
        # Nothing is known of what upstreams take: then not less than what comes in is at stake.
        return Quote(list_micros=own, unit_micros=own)
    if own is not None:
        unit = own
    elif tariff is not None and tariff.margin_share is not None:
        unit = with_share_added(list_micros, tariff.margin_share)
    else:
        unit = with_margin(list_micros, settings.money.margin)
    return Quote(list_micros=list_micros, unit_micros=unit)


def priced_by(tariff: Tariff | None, request: Request) -> Request:
    """Note with a request by whose prices it is bought: whatever becomes of it, a restart included."""
    return request if tariff is None else replace(request, tariff=tariff)


def cost_of(settings: Settings, upstream: Upstream, model: str, route: str, wanted: Wanted, today: date) -> int | None:
    """Say what an upstream takes for an image by a price of its own; None: the list price of its model.

    Args:
        settings: With the prices that operators wrote.
        upstream: Where it is bought.
        model: Its name there.
        route: The public model.
        wanted: Size, ratio, quality and number.
        today: By which prices hold.
    """
    written = price_in_force(settings.prices, route, today, upstream=upstream.name)
    if written is not None and (found := find_micros(written.micros, wanted)) is not None:
        return found
    listed = provider_price(upstream, model, currency=settings.money.currency)
    return None if listed is None else find_micros(listed.micros, wanted)


def check_priced(settings: Settings, today: date) -> None:
    """Refuse to start with a model that nobody could buy on this day.

    Raises:
        ConfigError: Naming it, and the day from which or until which it has a price.
    """
    for route in settings.routes:
        if price_in_force(settings.prices, route.model, today) is not None:
            continue
        of_it = [price for price in settings.prices if price.model == route.model and price.is_general]
        begins = min((price.valid_from for price in of_it if price.valid_from > today), default=None)
        ended = max((price.valid_until for price in of_it if price.valid_until < today), default=None)
        known = f"it has one from {begins.isoformat()} on" if begins else f"its last one held until {ended}"
        raise ConfigError(
            f"The model {route.model!r} has no price that holds on {today.isoformat()}: {known}. Add [[prices]] with "
            f'model = "{route.model}" and a valid_from that has come, or take the route out.',
            key="prices",
        )


def _keys(wanted: Wanted, quality: str | None) -> Iterator[str]:
    ratio = wanted.aspect_ratio
    numbers = [*(f"*{n}" for n in range(wanted.n, 1, -1)), ""]
    for with_quality in ([f"/{quality}"] if quality is not None else []) + [""]:
        for shape in (f"@{ratio}", f"@{turned(ratio)}", ""):
            for number in numbers:
                yield f"{wanted.tier}{with_quality}{shape}{number}"


def _dearest(micros: Mapping[str, int], wanted: Wanted) -> int | None:
    tier = wanted.tier
    qualities = {
        key.partition("/")[2].partition("@")[0].partition("*")[0] for key in micros if key.startswith(f"{tier}/")
    }
    found = (next((micros[key] for key in _keys(wanted, quality) if key in micros), None) for quality in qualities)
    return max((each for each in found if each is not None), default=None)


def _is_flat(price: Price) -> bool:
    return not any("/" in key for key in price.micros)


def _missing(model: str, key: str, *, why: str) -> RequestError:
    return RequestError(
        f'{why}. Set micros."{key}" in a [[prices]] entry with model = "{model}" to offer it.',
        code="price_missing",
        status=503,
        param="model",
    )
