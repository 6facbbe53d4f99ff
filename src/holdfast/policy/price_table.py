"""All prices side by side, and what is wrong with them: for `holdfast prices`. Pure.

A row is one key of a model's price that holds on a day, with what everybody pays and what every upstream takes for
it. A finding is what an operator should know before his customers do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

from holdfast.config import LIST_PRICES, NO_END, Price, Route, Settings
from holdfast.config.provider_prices import is_listed
from holdfast.errors import RequestError
from holdfast.money import spell
from holdfast.policy.prices import Wanted, cost_of, price_in_force, quote
from holdfast.types import Tariff, Tier

SOON = timedelta(days=30)
"""Before the last day of a price is told: a month's bill is still to come."""


class Weight(StrEnum):
    """How bad it is."""

    ERROR = "error"
    """Calls are refused, or a price never counts."""
    WARNING = "warning"
    """It works, and costs money or will stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that an operator should know."""

    weight: Weight
    rule: str
    """One word for a program, such as `below_cost`."""
    model: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One image of a model, priced for everybody."""

    model: str
    key: str
    """As in `prices.micros`: `4K`, `1K/low@3:2`."""
    list_micros: int
    unit_micros: int
    """What keys without a group pay."""
    groups: Mapping[str, int]
    """What those of each group pay, by its label."""
    costs: Mapping[str, int]
    """What each upstream of the route takes."""
    source: str
    valid_from: date
    valid_until: date


def wanted_by(key: str) -> Wanted:
    """Read a key of `prices.micros` back: what is asked for at that price, at 1:1 where it names no ratio."""
    rest, _, number = key.partition("*")
    rest, _, ratio = rest.partition("@")
    tier, _, quality = rest.partition("/")
    return Wanted(tier=Tier(tier), aspect_ratio=ratio or "1:1", quality=quality or None, n=int(number) if number else 1)


def rows_of(settings: Settings, today: date, groups: Sequence[Tariff]) -> tuple[Row, ...]:
    """Lay out every list price that holds on a day; models that are served come first.

    Args:
        settings: With upstreams and routes, those of the environment included.
        today: The day, UTC.
        groups: Every group of keys.
    """
    served = [route.model for route in settings.routes]
    known = dict.fromkeys([*served, *(price.model for price in settings.prices if price.is_general)])
    return tuple(row for model in known for row in _rows_of(settings, model, today, groups))


def _rows_of(settings: Settings, model: str, today: date, groups: Sequence[Tariff]) -> Iterator[Row]:
    price = price_in_force(settings.prices, model, today)
    if price is None:
        return
    route = next((route for route in settings.routes if route.model == model), None)
    for key, list_micros in price.micros.items():
        wanted = wanted_by(key)
        yield Row(
            model=model,
            key=key,
            list_micros=list_micros,
            unit_micros=quote(settings, model, wanted, today, None).unit_micros,
            groups={each.group: quote(settings, model, wanted, today, each).unit_micros for each in groups},
            costs={} if route is None else costs_of(settings, route, wanted, today, list_micros),
            source=price.source,
            valid_from=price.valid_from,
            valid_until=price.valid_until,
        )


def costs_of(settings: Settings, route: Route, wanted: Wanted, today: date, list_micros: int) -> dict[str, int]:
    """Say what each upstream of a route takes for an image; the dearest, where one is named with several models."""
    costs: dict[str, int] = {}
    for entry in route.upstreams:
        upstream = settings.upstream(entry.upstream)
        cost = cost_of(settings, upstream, entry.model, route.model, wanted, today)
        costs[upstream.name] = max(costs.get(upstream.name, 0), list_micros if cost is None else cost)
    return costs


def findings(settings: Settings, today: date, groups: Sequence[Tariff] | None) -> tuple[Finding, ...]:
    """Look for everything that an operator should know, the worst first.

    Args:
        settings: With upstreams and routes, those of the environment included.
        today: The day, UTC.
        groups: Every group of keys; None: nobody knows, there is no data folder yet.
    """
    found = [
        *_missing(settings, today),
        *_strange(settings, groups),
        *_below_cost(rows_of(settings, today, groups or ()), settings),
        *_ending(settings, today),
        *_unlisted(settings, today),
    ]
    return tuple(sorted(found, key=lambda each: list(Weight).index(each.weight)))


def losses(settings: Settings, today: date) -> tuple[Finding, ...]:
    """Say where an image may cost more than it brings, or nobody knows: what is told at every start.

    A caller pays for what he asked for, whoever serves it: a route to a dearer upstream is the operator's to know of.
    """
    return (*_below_cost(rows_of(settings, today, ()), settings), *_unlisted(settings, today))


def _missing(settings: Settings, today: date) -> Iterator[Finding]:
    for route in settings.routes:
        if price_in_force(settings.prices, route.model, today) is None:
            told = f"{route.model} has no price that holds on {today.isoformat()}: a start refuses it, every call fails"
            yield Finding(weight=Weight.ERROR, rule="missing", model=route.model, message=told)
            continue
        for tier in Tier:
            try:
                quote(settings, route.model, Wanted(tier=tier, aspect_ratio="1:1"), today, None)
            except RequestError as refused:
                yield Finding(
                    weight=Weight.WARNING,
                    rule="missing_size",
                    model=route.model,
                    message=f"{refused.message} Until then {tier} is refused with price_missing.",
                )


def _strange(settings: Settings, groups: Sequence[Tariff] | None) -> Iterator[Finding]:
    labels = None if groups is None else {each.group for each in groups}
    models = {route.model for route in settings.routes}
    for price in settings.prices:
        if price in LIST_PRICES:
            continue
        if price.group and labels is not None and price.group not in labels:
            told = f"the price of {price.model} for the group {price.group!r} never counts: there is no such group"
            yield Finding(weight=Weight.ERROR, rule="unknown_group", model=price.model, message=told)
        if price.model not in models:
            told = f"{price.model} has a price and no route; served are {', '.join(sorted(models)) or 'none'}"
            yield Finding(weight=Weight.WARNING, rule="unserved", model=price.model, message=told)


def _below_cost(rows: Sequence[Row], settings: Settings) -> Iterator[Finding]:
    currency = settings.money.currency
    for row in rows:
        paid = {"keys without a group": row.unit_micros, **{f"group {name}": each for name, each in row.groups.items()}}
        for upstream, cost in row.costs.items():
            losing = {who: unit for who, unit in paid.items() if unit < cost}
            if losing:
                brings = ", ".join(f"{spell(unit, currency)} ({who})" for who, unit in losing.items())
                told = f"{row.model} {row.key} costs {spell(cost, currency)} at {upstream} and brings {brings}"
                yield Finding(weight=Weight.WARNING, rule="below_cost", model=row.model, message=told)


def _ending(settings: Settings, today: date) -> Iterator[Finding]:
    for price in settings.prices:
        last = price.valid_until
        if last == NO_END or not today <= last <= today + SOON:
            continue
        following = last + timedelta(days=1)
        if price_in_force(settings.prices, price.model, following, upstream=price.upstream, group=price.group) is None:
            told = f"the price of {_whose(price)} ends on {last.isoformat()}, and none follows it"
            yield Finding(weight=Weight.WARNING, rule="ends_soon", model=price.model, message=told)


def _whose(price: Price) -> str:
    whose = f" at {price.upstream}" if price.upstream else f" for the group {price.group!r}" if price.group else ""
    return f"{price.model}{whose}"


def _unlisted(settings: Settings, today: date) -> Iterator[Finding]:
    currency = settings.money.currency
    for route in settings.routes:
        for entry in route.upstreams:
            upstream = settings.upstream(entry.upstream)
            written = price_in_force(settings.prices, route.model, today, upstream=upstream.name)
            if written is None and not is_listed(upstream, entry.model, currency=currency):
                yield Finding(
                    weight=Weight.WARNING,
                    rule="unlisted_cost",
                    model=route.model,
                    message=f"nothing is known of what {upstream.name} takes for {entry.model}: the list price of "
                    f"{route.model} is booked as its cost. Say it in [[prices]] with upstream = {upstream.name!r}",
                )
