"""Settings of the chat surface."""

# ruff: noqa: RUF009 - `key` gives a dataclass field, not a shared value.

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from holdfast.config.keys import key


class ChatImages(StrEnum):
    """Where an answer of the chat surface carries its images; the words are `wire.chat.Shape`'s."""

    CONTENT = "content"
    IMAGES = "images"
    LINK = "link"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """`POST /v1/chat/completions`: image models as chat programs ask for them."""

    images: ChatImages = key(
        ChatImages.CONTENT,
        "Where an answer carries its images: `content`: Markdown in the text; `images`: in `message.images`; `link`: "
        "Markdown with a signed link. Whoever asks with `modalities` that hold `image` gets `message.images`",
        source="relays answer so; OpenRouter's callers send `modalities` and read `images`",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PassThrough:
    """Models that are no images, passed through: `POST /v1/chat/completions` for these goes on to one upstream.

    Neither durable nor held nor booked; off as long as `models` is empty.
    """

    upstream: str = key(
        "", "Name of an entry of `upstreams` that speaks openai", source="its address and its first key are used"
    )
    models: tuple[str, ...] = key(
        (), "Names that are passed through as they are; empty: none", source="whoever pays for them names them"
    )
    at_once: int = key(
        64,
        "Most of them under way at once; further ones are told 503",
        source="each is a connection and no money of the ledger's: a bound of their own keeps room for images",
        at_least=1,
    )
    with_budget: bool = key(
        False,
        "Whether keys that have a budget, or whose group has one, may use them all the same: what they cost there "
        "counts against no budget",
        source="nobody here knows what they cost, and a budget that one way leads around is none",
    )
    connect_s: float = key(
        10.0, "For name, TCP and TLS", unit="seconds", source="as `deadlines.connect_s`", at_least=0.1
    )
    silence_s: float = key(
        300.0,
        "Without a byte in either direction, after which one ends",
        unit="seconds",
        source="models that think say nothing for minutes; undici waits 300 s for a head",
        at_least=0.1,
    )
