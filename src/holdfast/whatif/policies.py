"""A policy file: a `holdfast.toml`, which is played as the gateway, or a client that repeats on a timer.

    kind = "client_loop"                  # left out: "gateway", and the rest is a holdfast.toml
    upstream = "google"
    model = "nano-banana-pro"             # whose prices count
    timeout_s = { "1K" = 300, "2K" = 300, "4K" = 600 }
    pauses_s = [5, 10, 15]                # before each repeat
    stops_at = ["credential"]             # kinds of failure that it does not repeat

Pure: text in, values out.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import Any

from holdfast.config import LIST_CURRENCY, LIST_PRICES, Price, Route, Settings
from holdfast.config.parse import parse as parse_settings
from holdfast.config.words import nearest
from holdfast.errors import ConfigError, RequestError
from holdfast.policy.prices import unit_price_micros
from holdfast.policy.sizes import geometry_of
from holdfast.simulator.scenarios import known, number
from holdfast.types import FailureKind, Tier
from holdfast.whatif.client_loop import ClientLoop

KINDS = ("gateway", "client_loop")
REPEATS_MAX = 100
_LOOP = ("kind", "upstream", "model", "timeout_s", "pauses_s", "stops_at")
_LIST_MODELS = tuple(dict.fromkeys(price.model for price in LIST_PRICES))


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayPolicy:
    """The gateway, by its settings."""

    name: str
    settings: Settings
    route: Route
    """The one that is played."""


Policy = GatewayPolicy | ClientLoop


def parse(text: str, *, name: str) -> Policy:
    """Read a policy file.

    Args:
        text: TOML.
        name: How the policy is called in tables, and its file in errors.

    Raises:
        ConfigError: It is no TOML, or a setting is wrong; with the key.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError(f"{name} is not valid TOML: {exc}.") from exc
    kind = document.get("kind", "gateway")
    if kind not in KINDS:
        raise ConfigError(f"{name}: kind must be one of {', '.join(KINDS)}. {nearest(str(kind), KINDS)}", key="kind")
    return _loop(document, name) if kind == "client_loop" else _gateway(document, name)


def _gateway(document: Mapping[str, Any], name: str) -> GatewayPolicy:
    try:
        settings = parse_settings({key: value for key, value in document.items() if key != "kind"})
    except ConfigError as exc:
        raise ConfigError(f"{name}: {exc}", key=exc.key) from exc
    if not settings.routes:
        raise ConfigError(
            f"{name} has no route: add [[upstreams]] and [[routes]], whose route is played.", key="routes"
        )
    chosen = next((route for route in settings.routes if route.default), None)
    usual = next((route for route in settings.routes if route.model == "nano-banana-pro"), settings.routes[0])
    return GatewayPolicy(name=name, settings=settings, route=chosen or usual)


def _loop(document: Mapping[str, Any], name: str) -> ClientLoop:
    known(document, _LOOP, name)
    upstream, model = document.get("upstream", "google"), document.get("model", "nano-banana-pro")
    if not isinstance(upstream, str) or not upstream:
        raise ConfigError(f"{name}: upstream must be a name, as scenarios have it.", key="upstream")
    if model not in _LIST_MODELS:
        raise ConfigError(
            f"{name}: model {model!r} has no list price. {nearest(str(model), _LIST_MODELS)}", key="model"
        )
    pauses = document.get("pauses_s")
    if not isinstance(pauses, list) or len(pauses) > REPEATS_MAX:
        told = f"{name}: pauses_s must be a list of seconds, one for each repeat, {REPEATS_MAX} at most."
        raise ConfigError(told, key="pauses_s")
    return ClientLoop(
        name=name,
        upstream=upstream,
        model=model,
        timeout_s=_timeouts(document.get("timeout_s"), f"{name}: timeout_s"),
        pauses_s=tuple(number(raw, f"{name}: pauses_s[{at}]", 0.0, 86_400.0) for at, raw in enumerate(pauses)),
        stops_at=_kinds(document.get("stops_at", []), f"{name}: stops_at"),
    )


def _timeouts(table: object, where: str) -> Mapping[Tier, float]:
    sizes = [tier.value for tier in Tier]
    if not isinstance(table, dict):
        raise ConfigError(f'{where} must be {{ "1K" = …, "2K" = …, "4K" = … }}, seconds.', key="timeout_s")
    known(table, tuple(sizes), where)
    for size in sizes:
        if size not in table:
            raise ConfigError(f'{where} lacks "{size}": give all of {", ".join(sizes)}.', key=f"timeout_s.{size}")
    return MappingProxyType({tier: number(table[tier.value], f"{where}.{tier}", 0.1, 86_400.0) for tier in Tier})


def _kinds(raw: object, where: str) -> frozenset[FailureKind]:
    words = [kind.value for kind in FailureKind]
    if not isinstance(raw, list):
        raise ConfigError(f"{where} must be a list of kinds of failure.", key="stops_at")
    for word in raw:
        if word not in words:
            raise ConfigError(f"{where}: unknown kind {word!r}. {nearest(str(word), words)}", key="stops_at")
    return frozenset(FailureKind(word) for word in raw)


def prices_of(policy: Policy, model: str) -> Mapping[Tier, int]:
    """Give the list price of an image of a model by size, micro-units; the newest that is known.

    Raises:
        ConfigError: A size has no price.
    """
    prices: tuple[Price, ...] = policy.settings.prices if isinstance(policy, GatewayPolicy) else LIST_PRICES
    try:
        return MappingProxyType({tier: _price_of(prices, model, tier) for tier in Tier})
    except RequestError as exc:
        raise ConfigError(f"{policy.name}: {exc.message}", key="prices") from exc


def _price_of(prices: Sequence[Price], model: str, tier: Tier) -> int:
    geometry = geometry_of(tier, "1:1")
    return unit_price_micros(prices, model=model, tier=tier, quality=None, geometry=geometry, today=date.max)


def currency_of(policy: Policy) -> str:
    """Name the currency of its prices."""
    return policy.settings.money.currency if isinstance(policy, GatewayPolicy) else LIST_CURRENCY
