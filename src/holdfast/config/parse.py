"""From a mapping, as TOML gives it, to the frozen tree; every complaint says what to write instead."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from datetime import date
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

from holdfast.config.chains import check_fallbacks, check_retry, check_steps
from holdfast.config.compensating import check_compensation
from holdfast.config.database import check_database
from holdfast.config.google_keys import check_vertex
from holdfast.config.hedging import check_hedge
from holdfast.config.keys import ByTier, Key
from holdfast.config.list_prices import LIST_CURRENCY, LIST_PRICES
from holdfast.config.objects import check_objects
from holdfast.config.observing import check_traces
from holdfast.config.pricing import check_prices
from holdfast.config.serving import (
    Flavor,
    Provider,
    Route,
    RouteUpstream,
    Upstream,
    UpstreamApi,
    UpstreamChatForm,
    UpstreamStream,
)
from holdfast.config.sharing import check_cors
from holdfast.config.tree import Server, Settings
from holdfast.config.words import nearest
from holdfast.errors import ConfigError
from holdfast.types import Tier

T = TypeVar("T")

QUALITIES = ("low", "medium", "high", "xhigh", "max")
"""Words that may follow the size in a key of `prices.micros`."""
_PRICE_KEY = re.compile(rf"({'|'.join(Tier)})(/({'|'.join(QUALITIES)}))?(@[1-9][0-9]?:[1-9][0-9]?)?(\*([2-9]|10))?")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
"""Underscores are in no host name of RFC 1123, but in the service names of many a container network."""
_EXAMPLES: Mapping[type[Any], str] = {RouteUpstream: '{ upstream = "NAME", model = "…" }'}
"""What to write where a name alone looks as if it were enough."""
_APIS: Mapping[Provider, tuple[UpstreamApi, ...]] = MappingProxyType(
    {
        Provider.OPENAI: (UpstreamApi.RESPONSES, UpstreamApi.CHAT),
        Provider.GEMINI: (UpstreamApi.INTERACTIONS,),
    }
)
"""What each provider can be asked through besides its usual API."""
_IN_BACKGROUND = (UpstreamApi.RESPONSES, UpstreamApi.INTERACTIONS)


def parse(mapping: Mapping[str, Any]) -> Settings:
    """Read settings from a mapping.

    List prices hold for every model that the mapping does not price itself, as long as the currency is theirs.

    Raises:
        ConfigError: A key is unknown, a value is of the wrong kind or out of range, or two settings contradict.
    """
    settings = _table(Settings, mapping, "")
    own = {price.model for price in settings.prices if price.is_general}
    in_their_currency = settings.money.currency == LIST_CURRENCY
    shipped = tuple(price for price in LIST_PRICES if in_their_currency and price.model not in own)
    settings = replace(settings, prices=(*settings.prices, *shipped))
    check(settings)
    return settings


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one mapping of sections over another, key by key; neither is changed."""
    result = dict(below)
    for name, value in above.items():
        under = result.get(name)
        if isinstance(value, Mapping) and isinstance(under, Mapping):
            result[name] = merged(under, value)
        else:
            result[name] = value
    return result


def _table(cls: type[T], mapping: Any, path: str) -> T:
    if not isinstance(mapping, Mapping):
        example = f" such as {_EXAMPLES[cls]}" if cls in _EXAMPLES else ""
        raise ConfigError(f"{path} must be a table{example}, not {_kind(mapping)}.", key=path)
    known = {item.name: item for item in fields(cast("Any", cls))}
    for name in mapping:
        if name not in known:
            dotted = f"{path}.{name}" if path else str(name)
            raise ConfigError(f"Unknown setting {dotted}. {nearest(str(name), known)}", key=dotted)
    hints = get_type_hints(cls)
    values: dict[str, Any] = {}
    for name, item in known.items():
        dotted = f"{path}.{name}" if path else name
        if name in mapping:
            values[name] = _value(hints[name], mapping[name], dotted, item)
        elif item.default is MISSING and item.default_factory is MISSING:
            raise ConfigError(f"{dotted} is missing: {_declared(item).means}.", key=dotted)
    return cls(**values)


def _declared(item: Field[Any]) -> Key:
    return cast("Key", item.metadata["key"])


def _value(hint: Any, raw: Any, path: str, item: Field[Any]) -> Any:
    if is_dataclass(hint) and hint is not ByTier:
        return _table(cast("type[Any]", hint), raw, path)
    if get_origin(hint) is tuple:
        (inner, _) = get_args(hint)
        if isinstance(raw, str | bytes | Mapping) or not isinstance(raw, Iterable):
            # `[upstreams]` and `[upstreams.google]` are how most other files are written.
            are_tables = is_dataclass(inner) and isinstance(raw, Mapping) and "[" not in path
            how = f"write [[{path}]] over each of its tables" if are_tables else "put it in [ ]"
            raise ConfigError(f"{path} must be a list, not {_kind(raw)}; {how}.", key=path)
        return tuple(_value(inner, entry, f"{path}[{at}]", item) for at, entry in enumerate(raw))
    value = _scalar(hint, raw, path)
    if "key" in item.metadata:
        _in_range(value, path, _declared(item))
    return value


def _scalar(hint: Any, raw: Any, path: str) -> Any:
    if hint is ByTier:
        return _by_tier(raw, path)
    if get_origin(hint) is not None:
        return _micros(raw, path)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return _one_of(hint, raw, path)
    if hint is bool and isinstance(raw, bool):
        return raw
    if hint is int and isinstance(raw, int) and not isinstance(raw, bool):
        return raw
    if hint is float and isinstance(raw, int | float) and not isinstance(raw, bool) and math.isfinite(raw):
        return float(raw)
    if hint is str and isinstance(raw, str):
        return raw
    if hint is Path and isinstance(raw, str) and raw:
        return Path(raw)
    if hint is date:
        return _date(raw, path)
    if isinstance(raw, float) and not math.isfinite(raw):
        raise ConfigError(f"{path} must be a finite number, not {raw}.", key=path)
    if hint is Path and raw == "":
        raise ConfigError(f'{path} is empty; name a folder, or leave it out. "." is this folder.', key=path)
    wanted = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path as text"}[
        hint
    ]
    raise ConfigError(f"{path} must be {wanted}, not {_kind(raw)}.", key=path)


def _kind(raw: Any) -> str:
    match raw:
        case bool():
            return "true or false"
        case int() | float():
            return f"the number {raw}"
        case str():
            # Never the text itself: it may be a credential in the wrong place.
            return "text"
        case Mapping():
            return "a table"
        case list() | tuple():
            return "a list"
        case _:
            return type(raw).__name__


def _one_of(hint: type[StrEnum], raw: Any, path: str) -> StrEnum:
    words = [member.value for member in hint]
    if raw not in words:
        said = raw if isinstance(raw, str) else _kind(raw)
        # All of them stand in the sentence already.
        near = nearest(str(raw), words)
        meant = f" {near}" if near.startswith("Did you mean") else ""
        raise ConfigError(f"{path} must be one of {', '.join(words)}, not {said!r}.{meant}", key=path)
    return hint(raw)


def _date(raw: Any, path: str) -> date:
    if type(raw) is date:
        return raw
    try:
        return date.fromisoformat(raw)
    except (TypeError, ValueError) as exc:
        raise ConfigError(f"{path} must be a day such as 2026-05-28.", key=path) from exc


def _by_tier(raw: Any, path: str) -> ByTier:
    if isinstance(raw, int | float) and not isinstance(raw, bool):
        raw = {tier.value: raw for tier in Tier}
    if not isinstance(raw, Mapping):
        raise ConfigError(f'{path} must be {{ "1K" = …, "2K" = …, "4K" = … }}, not {_kind(raw)}.', key=path)
    tiers = [tier.value for tier in Tier]
    for name in raw:
        if name not in tiers:
            raise ConfigError(f"Unknown size {path}.{name}. {nearest(str(name), tiers)}", key=f"{path}.{name}")
    for tier in tiers:
        if tier not in raw:
            raise ConfigError(f'{path} lacks "{tier}": give all of {", ".join(tiers)}.', key=f"{path}.{tier}")
    k1, k2, k4 = (float(_scalar(float, raw[tier], f"{path}.{tier}")) for tier in tiers)
    return ByTier(k1=k1, k2=k2, k4=k4)


def _micros(raw: Any, path: str) -> Mapping[str, int]:
    if not isinstance(raw, Mapping) or not raw:
        raise ConfigError(f'{path} must be a table such as {{ "1K" = 134000 }}, not {_kind(raw)}.', key=path)
    for name, micros in raw.items():
        dotted = f'{path}."{name}"'
        if not _PRICE_KEY.fullmatch(str(name)):
            raise ConfigError(
                f'{dotted} is no size: write "1K", "2K" or "4K", then if needed "/" and one of {", ".join(QUALITIES)}, '
                'then if needed "@" and a ratio: "1K/low@3:2", then if needed "*" and from how many images on: "4K*4".',
                key=dotted,
            )
        if not isinstance(micros, int) or isinstance(micros, bool) or micros < 0:
            raise ConfigError(f"{dotted} must be a whole number of micro-units, 0 or more.", key=dotted)
    return MappingProxyType(dict(raw))


def _in_range(value: Any, path: str, declared: Key) -> None:
    numbers = [number for _, number in value.items()] if isinstance(value, ByTier) else [value]
    for number in numbers:
        if not isinstance(number, int | float):
            continue
        if declared.at_least is not None and number < declared.at_least:
            raise ConfigError(f"{path} is {number:g}; it must be at least {declared.at_least:g}.", key=path)
        if declared.at_most is not None and number > declared.at_most:
            raise ConfigError(f"{path} is {number:g}; it must be at most {declared.at_most:g}.", key=path)


def check(settings: Settings) -> None:
    """Find settings that contradict one another; `parse` has done it, call it for a tree made by hand.

    Raises:
        ConfigError: With the key to change.
    """
    _check_server(settings.server)
    check_cors(settings.cors)
    store = settings.store
    check_database(store)
    if store.image_bytes_max > store.response_bytes_max:
        raise ConfigError(
            "store.image_bytes_max is above store.response_bytes_max: an answer holds its image and is larger.",
            key="store.image_bytes_max",
        )
    check_objects(store.blobs, settings.objects)
    check_retry(settings.retry)
    check_hedge(settings.hedge, settings.retry, settings.routes)
    check_traces(settings.traces)
    currency = settings.money.currency
    if len(currency) != 3 or not (currency.isascii() and currency.isalpha() and currency.isupper()):
        raise ConfigError('money.currency must be a three-letter code such as "USD".', key="money.currency")
    names = [upstream.name for upstream in settings.upstreams]
    for at, upstream in enumerate(settings.upstreams):
        _check_upstream(upstream, at, names)
    _check_routes(settings, names)
    check_prices(settings)
    _check_passthrough(settings, names)
    check_compensation(settings.compensation, settings.routes)


def _check_server(server: Server) -> None:
    if bool(server.tls_cert) != bool(server.tls_key):
        missing = "tls_key" if server.tls_cert else "tls_cert"
        raise ConfigError(f"server.{missing} is missing: TLS needs a certificate and its key.", key=f"server.{missing}")
    if server.tls_cert and server.port and server.tls_port == server.port:
        raise ConfigError(
            "server.tls_port is the same as server.port; give TLS a port of its own.", key="server.tls_port"
        )
    if server.public_url:
        _check_url(server.public_url, "server.public_url")
    for at, network in enumerate(server.trusted_proxies):
        try:
            ipaddress.ip_network(network)
        except ValueError as exc:
            path = f"server.trusted_proxies[{at}]"
            raise ConfigError(f"{path} must be a network such as 10.0.0.0/8: {exc}.", key=path) from exc


def _check_url(url: str, path: str) -> None:
    try:
        parts = urlsplit(url)
        wrong = parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0
    except ValueError as exc:
        raise ConfigError(f"{path} is no address: {exc}.", key=path) from exc
    if wrong and "://" not in url:
        raise ConfigError(f"{path} must begin with http:// or https://.", key=path)
    if wrong:
        raise ConfigError(f"{path} must be a whole address such as https://host:443.", key=path)
    host = parts.hostname or ""
    if not host.isascii():
        raise ConfigError(f"{path}: write the host {host!r} in its punycode form, xn--…, as DNS has it.", key=path)
    if not _is_host(host):
        raise ConfigError(f"{path}: {host!r} is no valid host name.", key=path)
    if parts.query or parts.fragment or parts.username or parts.password:
        raise ConfigError(f"{path} must end with its path: no query, fragment or credential in it.", key=path)


def _is_host(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return len(text) <= 253 and all(_LABEL.fullmatch(label) for label in text.removesuffix(".").split("."))
    return True


def _check_upstream(upstream: Upstream, at: int, names: list[str]) -> None:
    path = f"upstreams[{at}]"
    if not upstream.name:
        raise ConfigError(f"{path}.name is empty; routes refer to it.", key=f"{path}.name")
    if names.count(upstream.name) > 1:
        raise ConfigError(f"{path}.name: two upstreams are called {upstream.name!r}; rename one.", key=f"{path}.name")
    check_vertex(upstream, path)
    if not upstream.base_url and upstream.provider is not Provider.VERTEX:
        means = "its address, such as https://api.openai.com/v1"
        raise ConfigError(f"{path}.base_url is missing: {means}.", key=f"{path}.base_url")
    if upstream.base_url:
        _check_url(upstream.base_url, f"{path}.base_url")
    if not upstream.keys or not all(upstream.keys):
        raise ConfigError(
            f'{path}.keys needs a credential: keys = ["env:NAME"] reads it from NAME.', key=f"{path}.keys"
        )
    for place, named in enumerate(upstream.keys):
        if named in upstream.keys[:place]:
            # Never the text itself: it may be the credential.
            dotted = f"{path}.keys[{place}]"
            told = "stands in this list already; limits are kept for each key, so a key twice would be twice as much"
            raise ConfigError(f"{dotted} {told}. Leave it out.", key=dotted)
    _check_api(upstream, path)


def _check_api(upstream: Upstream, path: str) -> None:
    known = (UpstreamApi.AUTO, *_APIS.get(upstream.provider, ()))
    if upstream.api not in known:
        words = " or ".join(f'"{api}"' for api in known)
        raise ConfigError(
            f'{path}.api: the provider {upstream.provider} has no "{upstream.api}"; write {words}.', key=f"{path}.api"
        )
    if upstream.chat_form is not UpstreamChatForm.AUTO and upstream.api is not UpstreamApi.CHAT:
        raise ConfigError(f'{path}.chat_form is for api = "chat"; leave it out.', key=f"{path}.chat_form")
    if upstream.provider is Provider.VERTEX and upstream.flavor is not Flavor.VENDOR:
        raise ConfigError(f"{path}.flavor: Vertex AI is Google's own; leave it out.", key=f"{path}.flavor")
    if (upstream.api is UpstreamApi.RESPONSES) is not bool(upstream.outer_model):
        told = (
            f'{path}.outer_model is for api = "responses"; leave it out.'
            if upstream.outer_model
            else f'{path}.outer_model is missing: name the text model that calls the image tool, such as "gpt-5.5".'
        )
        raise ConfigError(told, key=f"{path}.outer_model")
    if upstream.api in _IN_BACKGROUND and upstream.stream is UpstreamStream.ALWAYS:
        raise ConfigError(
            f'{path}.stream: api = "{upstream.api}" is asked again and again, and streams nothing; leave it out.',
            key=f"{path}.stream",
        )


def _check_routes(settings: Settings, upstream_names: list[str]) -> None:
    taken: dict[str, str] = {}
    for at, route in enumerate(settings.routes):
        path = f"routes[{at}]"
        for name in (route.model, *route.aliases):
            if not name:
                raise ConfigError(f"{path}: a model name is empty.", key=f"{path}.model")
            if name in taken:
                where = f"the route {taken[name]!r}, which is above"
                told = "; put its upstreams into one route" if name == route.model == taken[name] else ""
                raise ConfigError(f"{path}: {name!r} already leads to {where}; a name has one route{told}.", key=path)
            taken[name] = route.model
        if not route.upstreams:
            raise ConfigError(f"{path}.upstreams is empty: name at least one upstream.", key=f"{path}.upstreams")
        for place, target in enumerate(route.upstreams):
            if target.upstream not in upstream_names:
                dotted = f"{path}.upstreams[{place}].upstream"
                hint = nearest(target.upstream, upstream_names) if upstream_names else "Add it under [[upstreams]]."
                raise ConfigError(f"{dotted}: there is no upstream {target.upstream!r}. {hint}", key=dotted)
        check_steps(route, path)
        _check_route_price(settings, route)
        _check_route_tls(settings, route, path)
    check_fallbacks(settings.routes)
    if sum(route.default for route in settings.routes) > 1:
        raise ConfigError("Two routes are marked default; keep one.", key="routes.default")


def _check_passthrough(settings: Settings, upstream_names: list[str]) -> None:
    passed = settings.passthrough
    key = "passthrough.upstream"
    if not passed.models and not passed.upstream:
        return
    if not passed.models:
        raise ConfigError(
            "passthrough.models is empty: name the models that are passed through.", key="passthrough.models"
        )
    if not passed.upstream:
        raise ConfigError(f"{key} is missing: name the entry of upstreams that serves them.", key=key)
    if passed.upstream not in upstream_names:
        hint = nearest(passed.upstream, upstream_names) if upstream_names else "Add it under [[upstreams]]."
        raise ConfigError(f"{key}: there is no upstream {passed.upstream!r}. {hint}", key=key)
    if settings.upstream(passed.upstream).provider is not Provider.OPENAI:
        raise ConfigError(f"{key}: {passed.upstream!r} does not speak openai; only that is passed through.", key=key)
    drawn = {name for route in settings.routes for name in (route.model, *route.aliases)}
    for at, model in enumerate(passed.models):
        path = f"passthrough.models[{at}]"
        if not model:
            raise ConfigError(f"{path} is empty.", key=path)
        if model in drawn:
            raise ConfigError(f"{path}: {model!r} is a model of a route, which makes images; rename one.", key=path)


def _check_route_price(settings: Settings, route: Route) -> None:
    if not any(price.model == route.model and price.is_general for price in settings.prices):
        foreign = f" (list prices are in {LIST_CURRENCY})" if settings.money.currency != LIST_CURRENCY else ""
        raise ConfigError(
            f'The model {route.model!r} has no price{foreign}. Add [[prices]] with model = "{route.model}", '
            'micros = { "1K" = … }, source and valid_from.',
            key="prices",
        )


def _check_route_tls(settings: Settings, route: Route, path: str) -> None:
    if route.tls_required and not settings.server.tls_cert and not settings.server.trusted_proxies:
        raise ConfigError(
            f"{path}.tls_required can never be met: set server.tls_cert, or server.trusted_proxies if a proxy does it.",
            key=f"{path}.tls_required",
        )
