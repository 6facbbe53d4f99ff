"""Frozen values that every part shares.

Pure: no I/O, clock or randomness. Seconds are floats, sizes are bytes or pixels, money is integer micro-units
(`holdfast.money`). Ids are a prefix and a 26-character ULID (`gen_…`, `att_…`, `img_…`), made by `holdfast.clock`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Self


class Tier(StrEnum):
    """A size class; latency, price and deadlines go by it."""

    K1 = "1K"
    K2 = "2K"
    K4 = "4K"


class Surface(StrEnum):
    """Whose API the caller speaks."""

    OPENAI = "openai"
    GEMINI = "gemini"
    GENERATIONS = "generations"
    CHAT = "chat"
    """OpenAI's chat completions: its errors are OpenAI's, its answers are not."""


class Charge(StrEnum):
    """What an upstream may have charged for an attempt; told on the wire as `paid`, never guessed."""

    NO = "no"
    YES = "yes"
    UNKNOWN = "unknown"


def worst_charge(charges: Iterable[Charge]) -> Charge:
    """Say what several attempts together may have cost: yes over unknown over no."""
    seen = set(charges)
    return next((charge for charge in (Charge.YES, Charge.UNKNOWN) if charge in seen), Charge.NO)


class Phase(StrEnum):
    """Where in an exchange something happened."""

    CONNECT = "connect"
    SEND = "send"
    WAIT = "wait"
    RECEIVE = "receive"
    DECODE = "decode"


class FailureKind(StrEnum):
    """Why an attempt brought no image; `policy.failures` gives each its charge, reaction and rendering."""

    BAD_REQUEST = "bad_request"
    CREDENTIAL = "credential"
    QUOTA_SPENT = "quota_spent"
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    UNREACHABLE = "unreachable"
    SERVER_FAULT = "server_fault"
    REFUSED_INPUT = "refused_input"
    REFUSED_OUTPUT = "refused_output"
    NO_IMAGE = "no_image"
    MALFORMED = "malformed"
    UPSTREAM_TIMEOUT = "upstream_timeout"
    LOST_REPLY = "lost_reply"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """How one attempt ended without an image. Data, never raised."""

    kind: FailureKind
    phase: Phase
    charge: Charge
    detail: str
    """For the operator and the caller: what happened, without secrets, prompts or bodies."""
    retry_after_s: float | None = None
    """The upstream's own hint, seconds from the moment it was read."""
    status: int | None = None
    """HTTP status, when a head had arrived."""
    reason: str | None = None
    """The upstream's own word: Gemini's finishReason or blockReason, OpenAI's error code."""

    def __post_init__(self) -> None:
        assert self.retry_after_s is None or self.retry_after_s >= 0.0
        assert len(self.detail) <= 2000, "a detail is a sentence, not a body"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds granted to each phase of one exchange."""

    connect_s: float
    """Name, TCP and TLS together."""
    write_s: float
    """From the first byte of the request to the last one handed to the kernel."""
    read_idle_s: float
    """The longest silence accepted, before the head and inside the body. An attempt grants it all its time: an upstream
    is silent for as long as it draws."""
    total_s: float
    """From the start to the head of the answer; our own waiting for memory and disk does not count."""
    body_s: float = 120.0
    """Granted to the body from its head on, even past `total_s`: an answer that begins just before its deadline is
    paid for and is taken in. Published responses take 1-5 s, 50-100 s over poor international paths."""

    def __post_init__(self) -> None:
        assert min(self.connect_s, self.write_s, self.read_idle_s, self.total_s, self.body_s) > 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """The picture that a caller asked for, resolved: `policy.sizes.resolve`."""

    tier: Tier
    aspect_ratio: str
    """`16:9`; one of the table in `policy.sizes`."""
    width_px: int
    height_px: int

    def __post_init__(self) -> None:
        assert self.width_px > 0
        assert self.height_px > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class InputImage:
    """A reference image of the caller, already in the blob store."""

    sha256: str
    """Hex digest of the decoded bytes."""
    mime: str
    bytes: int
    store_key: str
    """Key in the blob store; the engine opens it when an attempt is sent."""
    width_px: int = 0
    height_px: int = 0
    """0 when the header tells none (heic)."""

    @classmethod
    def of(cls, info: ImageInfo, *, store_key: str) -> Self:
        """Name an image whose bytes were read."""
        return cls(
            sha256=info.sha256,
            mime=info.mime,
            bytes=info.bytes,
            store_key=store_key,
            width_px=info.width_px,
            height_px=info.height_px,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Tariff:
    """At what prices somebody buys who does not at the usual ones: those of his group of keys."""

    group: str
    """Its label; prices that name it are its own."""
    margin_share: float | None = None
    """Added to list prices, 0.2 is a fifth; None: `money.margin` counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a caller asked for, in no dialect: the row `generation.request` keeps it as JSON."""

    surface: Surface
    model: str
    """Public model name, aliases resolved: `nano-banana-pro`."""
    prompt: str
    geometry: Geometry
    n: int = 1
    inputs: tuple[InputImage, ...] = ()
    output_format: str | None = None
    """`png`, `jpeg`, `webp` when the caller named one."""
    quality: str | None = None
    background: str | None = None
    moderation: str | None = None
    output_compression: int | None = None
    is_edit: bool = False
    """OpenAI surface: it came as an edit, and its stream has the events of one."""
    mask: InputImage | None = None
    """What of the first input is drawn anew; only some upstreams take one."""
    input_fidelity: str | None = None
    response_format: str = "b64_json"
    """What the answer looks like: OpenAI surface `b64_json` or `url`, chat surface a `wire.chat.Shape`."""
    stream: bool = False
    partial_images: int = 0
    tells_usage: bool = False
    """Chat surface, streamed: tokens are told in an event of their own."""
    size_as_asked: str | None = None
    """The caller's own words, for relays that get them unchanged."""
    end_user: str | None = None
    metadata: Mapping[str, str] | None = None
    """Kept beside the generation and given back; nothing here looks into it."""
    purchases_max: int | None = None
    """Most calls for one image that may be charged, `Holdfast-Purchases`; None: as the settings have it."""
    may_degrade: bool = False
    """`Holdfast-Degrade: size`: a smaller size may be served when nothing else can."""
    tariff: Tariff | None = None
    """By which it is priced, as it was when it came; None: the usual prices. Not the caller's word: its key's."""
    dialect_body: str | None = None
    """Gemini surface: the caller's JSON skeleton, images replaced by slot numbers (`wire.scan`), sent on verbatim."""

    def __post_init__(self) -> None:
        assert 1 <= self.n <= 10
        assert 0 <= self.partial_images <= 3
        assert self.purchases_max is None or self.purchases_max >= 1
        assert self.mask is None or self.inputs, "a mask is of an image"

    @property
    def files(self) -> tuple[InputImage, ...]:
        """Every image that goes along, by the number of its slot: the inputs, and the mask behind them."""
        return self.inputs if self.mask is None else (*self.inputs, self.mask)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageInfo:
    """What the bytes themselves say of an image; never decoded (`wire.image`)."""

    mime: str
    width_px: int
    height_px: int
    bytes: int
    sha256: str

    @property
    def size(self) -> str:
        """`4096x4096`, as `data[].size` has it."""
        return f"{self.width_px}x{self.height_px}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens as the upstream counted them; 0 where it said nothing."""

    input_tokens: int = 0
    input_image_tokens: int = 0
    output_tokens: int = 0
    """Candidates and thoughts together."""
    output_image_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens


def total_usage(usages: Iterable[Usage]) -> Usage | None:
    """Add up what several answers used; None if there is none."""
    used = tuple(usages)
    if not used:
        return None
    return Usage(
        input_tokens=sum(each.input_tokens for each in used),
        input_image_tokens=sum(each.input_image_tokens for each in used),
        output_tokens=sum(each.output_tokens for each in used),
        output_image_tokens=sum(each.output_image_tokens for each in used),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedCharge:
    """One charge, as a provider lists it."""

    number: int
    """Of its line or entry, from 1; a CSV's heading is line 1."""
    reference: str | None
    """What the provider calls it by: perhaps one of our ids, or the handle that we have of it."""
    at: datetime | None
    model: str | None
    micros: int | None
    """None: the list has no amounts."""
