"""Who serves what, and for how much: upstreams, routes and prices, as settings."""

# ruff: noqa: RUF009 - `key` and `required` give a dataclass field, not a shared value.
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from holdfast.config.keys import key, required
from holdfast.types import Tier

NO_END = date(9999, 12, 31)
"""Of a price that holds until another takes over."""


class Provider(StrEnum):
    """An API family that we can speak."""

    GEMINI = "gemini"
    OPENAI = "openai"
    FAL = "fal"
    VERTEX = "vertex"
    ARK = "ark"
    REPLICATE = "replicate"


class Flavor(StrEnum):
    """Whether an upstream is the vendor itself or a reseller, which takes sizes and bills by its own rules."""

    VENDOR = "vendor"
    RELAY = "relay"


class UpstreamStream(StrEnum):
    """When an upstream is asked to stream its answer."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class UpstreamApi(StrEnum):
    """Which of its provider's APIs an upstream is asked through."""

    AUTO = "auto"
    """The provider's usual one: `generateContent`, the Images API, the queue."""
    RESPONSES = "responses"
    """OpenAI's Responses in the background: a handle, and questions."""
    INTERACTIONS = "interactions"
    """Google's Interactions in the background: the same."""
    CHAT = "chat"
    """Chat completions of a relay, whose answers hold the image."""


class UpstreamChatForm(StrEnum):
    """How a relay's chat completions are told ratio and size."""

    AUTO = "auto"
    OPENROUTER = "openrouter"
    NEW_API = "new-api"


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


class OnUnknown(StrEnum):
    """What follows an attempt of which nobody knows whether it was charged."""

    BUY_ONCE_MORE = "buy_once_more"
    FAIL = "fail"


class RouteOnUnknown(StrEnum):
    """The same for a route, which may leave it to the gateway."""

    GATEWAY = "gateway"
    BUY_ONCE_MORE = "buy_once_more"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """A configured endpoint with its credentials."""

    name: str = required("Your name for it; routes refer to it", source="shown in records and logs")
    provider: Provider = required("The API it speaks", source="one adapter each")
    base_url: str = key(
        "",
        "Its address; for openai with the version: `https://api.openai.com/v1`; for fal `https://queue.fal.run`; for "
        "ark with `/api/v3`; for replicate `https://api.replicate.com`; for vertex left out, unless it is not Google's "
        "own. All others need it",
        source="as its SDK takes it",
    )
    project: str = key(
        "",
        "For vertex: the project's id; without it express mode, which takes an API key",
        source="whom Google bills",
    )
    location: str = key(
        "global",
        "For vertex: `global` or a region",
        source="image models are mostly on `global`, whose capacity is shared",
    )
    keys: tuple[str, ...] = key(
        (),
        "Credentials; `env:NAME` reads the environment, `file:PATH` a file that holds nothing else. For vertex `adc`, "
        "`file:/path.json` of a service account, or a variable that holds such a path, its text, or an API key",
        source="a secret does not belong in a file that is shared",
        secret=True,
    )
    stream: UpstreamStream = key(
        UpstreamStream.AUTO,
        "Whether to ask it for a stream; auto: when the caller streams",
        source="a plain call costs less; a stream carries thoughts and partial images",
    )
    api: UpstreamApi = key(
        UpstreamApi.AUTO,
        "Which API of the provider to use: `responses` (openai) and `interactions` (gemini) work in the background, "
        "and a restart goes on with what they gave a handle for; `chat` (openai) is for relays that draw in chat "
        "completions; auto: the usual one",
        source="the usual one costs the least; one with a handle loses nothing that was bought",
    )
    chat_form: UpstreamChatForm = key(
        UpstreamChatForm.AUTO,
        'For `api = "chat"`: how ratio and size are told. `openrouter`: `image_config`; `new-api`: '
        "`extra_body.google.image_config`; auto: the one at openrouter.ai, the other elsewhere",
        source="most relays run new-api, which refuses other spellings",
    )
    outer_model: str = key(
        "",
        'The text model that calls the image tool, such as `gpt-5.5`; for `api = "responses"`, which needs it',
        source="its tokens are billed beside the image: whose they are is for you to say",
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
        "Most calls in flight there at once with each of its keys; further ones wait in line; 0: no limit",
        source="some resellers allow only so many at once; Google and OpenAI count by the minute",
        at_least=0,
    )
    per_minute: int = key(
        0,
        "Most calls sent there in a minute with each of its keys, spread evenly; others wait in line; 0: no limit",
        source="what the vendor grants (AI Studio and OpenAI show it as RPM), so that its 429 is never met",
        at_least=0,
    )
    per_day: int = key(
        0,
        "Most calls sent there in a UTC day with each of its keys; further ones wait for the next; 0: no limit",
        source="vendors count by the day as well (RPD); a call for which the next day is too late is told so at once",
        at_least=0,
    )
    traces: bool = key(
        False,
        "Whether it is told which trace a call belongs to (`traceparent`): for a gateway or a relay of your own",
        source="a third party has no use for it, and could tell by it which calls are of one program",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteUpstream:
    """One entry of a route's list: which upstream, and what the model is called there."""

    upstream: str = required("Name of an entry of `upstreams`", source="checked at start")
    model: str = required("The model's name there", source="as the vendor spells it")
    weight: int = key(
        0,
        "Share of what comes to it, beside neighbours that have a weight too; 0: it stands for itself, in its order",
        source="one upstream is the first choice, the others are for when it fails",
        at_least=0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A public model name and the upstreams that can serve it, first choice first."""

    model: str = required("The public model name", source="what callers write; needs a price")
    aliases: tuple[str, ...] = key(
        (), "Other names callers may write", source="vendors rename models, programs keep the old name"
    )
    upstreams: tuple[RouteUpstream, ...] = required("Who serves it, first choice first", source="at least one")
    fallback: tuple[str, ...] = key(
        (),
        "Models whose upstreams are asked when none of its own can bring the image soon; the answer says what served "
        "it, and the lower of the two prices is charged",
        source="another model is another picture: only who runs the gateway knows whether that will do",
    )
    on_unknown: RouteOnUnknown = key(
        RouteOnUnknown.GATEWAY,
        "What follows an attempt of unknown outcome: `buy_once_more`, `fail`, or as `retry.on_unknown` says",
        source="a dear model may be worth more care",
    )
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
    """What one image of a model costs, by size, quality and number, from a day on.

    A plain entry is the list price: what upstreams take, and with `money.margin` what customers pay. With `upstream` it
    says what that one takes, with `group` what keys of that group pay.
    """

    model: str = required("The public model name", source="matches `routes.model`")
    micros: Mapping[str, int] = required(
        'Micro-units an image: by size, quality, ratio and number as far as they matter: `"4K"`, `"1K/low"`, '
        '`"1K/low@3:2"`, `"4K*4"` for each of at least 4 images of one call',
        source="240000 is 0.24 of the currency",
    )
    source: str = required("Where the figure comes from", source="a price without a source is a guess")
    valid_from: date = required("First day (UTC) on which it holds", source="a later entry takes over on its day")
    valid_until: date = key(
        NO_END, "Last day (UTC) on which it holds", source="9999-12-31: until a later entry takes over"
    )
    currency: str = key(
        "",
        "What the micro-units are of; empty: `money.currency`",
        source="another is refused: nothing is converted here",
    )
    upstream: str = key(
        "",
        "The entry of `upstreams` that takes this for an image: its cost, where that is not the list price",
        source="relays and contracts have prices of their own",
    )
    group: str = key(
        "",
        "The label of the key group whose keys pay this: as it stands, without a margin",
        source="a reseller's customers have prices of their own",
    )

    @property
    def is_general(self) -> bool:
        """Whether it is a list price."""
        return not self.upstream and not self.group
