"""Who serves what, and for how much: upstreams, routes and prices, as settings."""

# ruff: noqa: RUF009 - `key` and `required` give a dataclass field, not a shared value.
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from holdfast.config.keys import key, required
from holdfast.types import Tier


class Provider(StrEnum):
    """An API family that we can speak."""

    GEMINI = "gemini"
    OPENAI = "openai"
    FAL = "fal"


class Flavor(StrEnum):
    """Whether an upstream is the vendor itself or a reseller, which takes sizes and bills by its own rules."""

    VENDOR = "vendor"
    RELAY = "relay"


class UpstreamStream(StrEnum):
    """When an upstream is asked to stream its answer."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class Join(StrEnum):
    """Whose repeats join an earlier generation instead of buying another."""

    ALL = "all"
    RETRIES = "retries"
    KEYED = "keyed"
    OFF = "off"


class RouteHold(StrEnum):
    """The same for a route, which may leave it to the gateway."""

    GATEWAY = "gateway"
    BEATS = "beats"
    REDIRECTS = "redirects"


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """A configured endpoint with its credentials."""

    name: str = required("Your name for it; routes refer to it", source="shown in records and logs")
    provider: Provider = required("The API it speaks", source="one adapter each")
    base_url: str = required(
        "Its address; for openai with the version: `https://api.openai.com/v1`; for fal `https://queue.fal.run`",
        source="as its SDK takes it",
    )
    keys: tuple[str, ...] = key(
        (),
        "Credentials; `env:NAME` reads the environment, which keeps them out of the file",
        source="a secret does not belong in a file that is shared",
        secret=True,
    )
    stream: UpstreamStream = key(
        UpstreamStream.AUTO,
        "Whether to ask it for a stream; auto: when the caller streams",
        source="a plain call costs less; a stream carries thoughts and partial images",
    )
    flavor: Flavor = key(
        Flavor.VENDOR,
        "`relay` for a reseller: it gets `size` as the caller wrote it",
        source="resellers have sizes of their own",
    )
    ca_file: str = key(
        "",
        "PEM file of the authorities to trust; empty: the system's",
        source="the system's are right for public hosts",
    )
    concurrency: int = key(
        0,
        "Most calls in flight there at once; further ones wait in line; 0: no limit",
        source="vendors limit calls a minute, and say so by 429; some resellers allow only so many at once",
        at_least=0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteUpstream:
    """One entry of a route's list: which upstream, and what the model is called there."""

    upstream: str = required("Name of an entry of `upstreams`", source="checked at start")
    model: str = required("The model's name there", source="as the vendor spells it")


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A public model name and the upstreams that can serve it, first choice first."""

    model: str = required("The public model name", source="what callers write; needs a price")
    aliases: tuple[str, ...] = key(
        (), "Other names callers may write", source="vendors rename models, programs keep the old name"
    )
    upstreams: tuple[RouteUpstream, ...] = required("Who serves it, first choice first", source="at least one")
    size_default: Tier = key(Tier.K1, "Size when the caller names none", source="Gemini's own default")
    tls_required: bool = key(False, "Refuse callers who come without TLS", source="plain HTTP on loopback is safe")
    join: Join = key(
        Join.ALL, "Whose repeats join: see `joining.join`", source="the key and the gateway may be stricter"
    )
    hold: RouteHold = key(
        RouteHold.GATEWAY,
        "How callers of this model are held: `beats`, `redirects`, or as `heartbeat.hold` says",
        source="a caller's own `Prefer: hold=` counts first",
    )
    default: bool = key(
        False, "Serves requests that name no model", source="else nano-banana-pro, else the first route"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What one image of a model costs, by size and quality, from a day on."""

    model: str = required("The public model name", source="matches `routes.model`")
    micros: Mapping[str, int] = required(
        'Micro-units an image: by size, quality and ratio as far as they matter: `"4K"`, `"1K/low"`, `"1K/low@3:2"`',
        source="240000 is 0.24 of the currency",
    )
    source: str = required("Where the figure comes from", source="a price without a source is a guess")
    valid_from: date = required("First day (UTC) on which it holds", source="a later entry takes over on its day")
