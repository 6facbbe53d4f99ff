"""Which conversation speaks to an upstream, and how many images one call of it can make.

Pure: no I/O, clock or randomness. A new provider is one file, one line in each function here, one folder of recordings
and one page of docs.
"""

from __future__ import annotations

from typing import TypedDict, assert_never

from holdfast.config import Flavor, Provider, Upstream, UpstreamApi, UpstreamStream
from holdfast.policy.latency import prior
from holdfast.providers import (
    ark,
    chat,
    fal,
    gemini,
    gemini_interactions,
    openai,
    openai_responses,
    replicate,
    vertex,
)
from holdfast.providers.ark import ArkConversation
from holdfast.providers.background import BackgroundApi, BackgroundConversation
from holdfast.providers.chat import ChatConversation
from holdfast.providers.conversation import Conversation
from holdfast.providers.fal import FalConversation
from holdfast.providers.gemini import GeminiConversation
from holdfast.providers.gemini_interactions import GeminiInteractions
from holdfast.providers.mapping import Mapping
from holdfast.providers.openai import OpenAIConversation
from holdfast.providers.openai_responses import OpenAIResponses
from holdfast.providers.replicate import ReplicateConversation
from holdfast.providers.vertex import VertexConversation
from holdfast.types import Request

MAPPINGS: tuple[Mapping, ...] = (
    gemini.MAPPING,
    gemini_interactions.MAPPING,
    vertex.MAPPING,
    openai.MAPPING,
    openai_responses.MAPPING,
    chat.MAPPING,
    fal.MAPPING,
    ark.MAPPING,
    replicate.MAPPING,
)
"""Every door, in the order of the page that is made of them."""
_IN_BACKGROUND = (UpstreamApi.RESPONSES, UpstreamApi.INTERACTIONS)


class _Asked(TypedDict):
    """What every conversation is given."""

    upstream: str
    base_url: str
    model: str
    key: str
    request: Request
    idempotency_key: str
    image_bytes_max: int


def mapping_of(upstream: Upstream) -> Mapping:
    """Give what an upstream does with each wish of a caller."""
    return next(each for each in MAPPINGS if (each.provider, each.api) == (upstream.provider, upstream.api))


def images_per_call(upstream: Upstream, *, stream: bool = False) -> int:
    """Say how many images one call can make; a generation of more is split into parts.

    Several images in one stream are undocumented, and relays ignore `n` as often as not: one by one there.
    """
    if upstream.api is UpstreamApi.RESPONSES:
        return openai_responses.IMAGES_PER_CALL
    if upstream.api is UpstreamApi.INTERACTIONS:
        return gemini_interactions.IMAGES_PER_CALL
    match upstream.provider:
        case Provider.GEMINI | Provider.VERTEX:
            return gemini.IMAGES_PER_CALL
        case Provider.OPENAI if upstream.api is UpstreamApi.CHAT:
            return chat.IMAGES_PER_CALL
        case Provider.OPENAI:
            is_plain = upstream.flavor is Flavor.VENDOR and not streams(upstream, stream=stream)
            return openai.IMAGES_PER_CALL if is_plain else 1
        case Provider.FAL:
            return fal.IMAGES_PER_CALL
        case Provider.ARK:
            return ark.IMAGES_PER_CALL
        case Provider.REPLICATE:
            return replicate.IMAGES_PER_CALL
        case _:
            assert_never(upstream.provider)


def is_polled(upstream: Upstream) -> bool:
    """Say whether an upstream gives a handle for what was sent, with which any process can go on.

    Ark does where it answers with links instead of images.
    """
    return upstream.provider in (Provider.FAL, Provider.ARK, Provider.REPLICATE) or upstream.api in _IN_BACKGROUND


def draws_drafts(upstream: Upstream) -> bool:
    """Say whether an upstream's model shows drafts on its way, and its result last."""
    is_gemini = upstream.provider in (Provider.GEMINI, Provider.VERTEX)
    return is_gemini or upstream.api is UpstreamApi.CHAT


def streams(upstream: Upstream, *, stream: bool) -> bool:
    """Say whether the upstream is asked for a stream, given whether the caller streams."""
    match upstream.stream:
        case UpstreamStream.AUTO:
            return stream
        case UpstreamStream.ALWAYS:
            return True
        case UpstreamStream.NEVER:
            return False
        case _:
            assert_never(upstream.stream)


def idempotency_key_of(generation_id: str, *, part: int, drive: int) -> str:
    """Name what is asked for: an upstream that honours it turns a second asking after a lost reply into a resume.

    Args:
        generation_id: The generation.
        part: Which of its parts.
        drive: How often the generation was driven again.
    """
    return f"{generation_id}.{part}.{drive}"


def conversation_for(
    upstream: Upstream,
    request: Request,
    *,
    model: str,
    key: str,
    idempotency_key: str,
    timeout_s: float,
    n: int = 1,
    image_bytes_max: int = 64 << 20,
    handle: str | None = None,
    expected_s: float | None = None,
) -> Conversation:
    """Make the conversation of one attempt.

    Args:
        upstream: Where to ask.
        request: What the caller asked for.
        model: The model's name there.
        key: The credential, resolved.
        idempotency_key: `idempotency_key_of` its part.
        timeout_s: How long the attempt may take.
        n: Images to ask for, at most `images_per_call`.
        image_bytes_max: Largest image taken of the answer.
        handle: What an upstream that is polled has named the request, which is then not sent again.
        expected_s: Seconds after which half of such images are there, which paces questions; None: the published ones.
    """
    assert handle is None or is_polled(upstream), "only a provider that is polled has handles"
    assert 1 <= n <= images_per_call(upstream, stream=request.stream)
    asked: _Asked = {
        "upstream": upstream.name,
        "base_url": upstream.base_url,
        "model": model,
        "key": key,
        "request": request,
        "idempotency_key": idempotency_key,
        "image_bytes_max": image_bytes_max,
    }
    if upstream.api in _IN_BACKGROUND:
        return BackgroundConversation(
            upstream=upstream.name,
            base_url=upstream.base_url,
            api=_background_api(upstream, asked, timeout_s),
            idempotency_key=idempotency_key,
            expected_s=prior(request.geometry.tier).expected_s if expected_s is None else expected_s,
            handle=handle,
        )
    is_relay = upstream.flavor is Flavor.RELAY
    stream = streams(upstream, stream=request.stream)
    if upstream.provider is Provider.VERTEX or upstream.api is UpstreamApi.CHAT:
        return _described(upstream, asked, timeout_s, stream=stream)
    match upstream.provider:
        case Provider.GEMINI:
            return GeminiConversation(**asked, timeout_s=timeout_s, stream=stream, is_relay=is_relay)
        case Provider.OPENAI:
            return OpenAIConversation(**asked, n=n, stream=stream, is_relay=is_relay)
        case Provider.FAL:
            return FalConversation(**asked, timeout_s=timeout_s, n=n, handle=handle)
        case Provider.ARK:
            return ArkConversation(**asked, is_relay=is_relay, handle=handle)
        case Provider.REPLICATE:
            return ReplicateConversation(**asked, timeout_s=timeout_s, handle=handle)
        case _:
            assert_never(upstream.provider)


def _described(upstream: Upstream, asked: _Asked, timeout_s: float, *, stream: bool) -> Conversation:
    """Make one that has settings of its own."""
    request, model, key = asked["request"], asked["model"], asked["key"]
    idempotency_key, image_bytes_max = asked["idempotency_key"], asked["image_bytes_max"]
    if upstream.provider is Provider.VERTEX:
        return VertexConversation.at(
            upstream,
            request,
            model=model,
            key=key,
            idempotency_key=idempotency_key,
            timeout_s=timeout_s,
            stream=stream,
            image_bytes_max=image_bytes_max,
        )
    return ChatConversation.at(
        upstream,
        request,
        model=model,
        key=key,
        idempotency_key=idempotency_key,
        stream=stream,
        image_bytes_max=image_bytes_max,
    )


def _background_api(upstream: Upstream, asked: _Asked, timeout_s: float) -> BackgroundApi:
    """Make what a background conversation speaks."""
    is_relay = upstream.flavor is Flavor.RELAY
    if upstream.api is UpstreamApi.RESPONSES:
        return OpenAIResponses(**asked, outer_model=upstream.outer_model, is_relay=is_relay)
    return GeminiInteractions(**asked, timeout_s=timeout_s, is_relay=is_relay)
