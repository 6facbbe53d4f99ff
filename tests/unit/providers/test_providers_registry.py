"""Which conversation speaks to an upstream, and how many images one call of it makes."""

from __future__ import annotations

import base64
import json
from types import MappingProxyType
from typing import Any

import pytest

from holdfast.config import Flavor, Provider, Upstream, UpstreamApi, UpstreamChatForm, UpstreamStream
from holdfast.policy.latency import prior
from holdfast.providers.ark import ArkConversation
from holdfast.providers.background import BackgroundConversation
from holdfast.providers.chat import ChatConversation
from holdfast.providers.fal import FalConversation
from holdfast.providers.gemini import GeminiConversation
from holdfast.providers.http import Head
from holdfast.providers.openai import OpenAIConversation
from holdfast.providers.registry import (
    conversation_for,
    draws_drafts,
    idempotency_key_of,
    images_per_call,
    is_polled,
    streams,
)
from holdfast.providers.replicate import ReplicateConversation
from holdfast.providers.vertex import VertexConversation
from holdfast.types import Geometry, Request, Surface, Tier
from holdfast.wire.errors import WireError
from holdfast.wire.fal import Handle, encode_handle
from holdfast.wire.relay_chat import ChatForm


def an_upstream(**overrides: Any) -> Upstream:
    """A configured endpoint."""
    usual: dict[str, Any] = {"name": "up", "provider": Provider.OPENAI, "base_url": "https://up.example/v1"}
    return Upstream(**{**usual, **overrides})


ANSWERING = [provider for provider in Provider if not is_polled(an_upstream(provider=provider))]
"""Those whose answer to the request holds the images."""
IN_BACKGROUND = [
    {"api": UpstreamApi.RESPONSES, "outer_model": "gpt-5.5"},
    {"provider": Provider.GEMINI, "api": UpstreamApi.INTERACTIONS},
]


def a_request(**overrides: Any) -> Request:
    """What a caller asked for."""
    usual: dict[str, Any] = {
        "surface": Surface.OPENAI,
        "model": "m",
        "prompt": "a lighthouse",
        "geometry": Geometry(tier=Tier.K1, aspect_ratio="1:1", width_px=1024, height_px=1024),
    }
    return Request(**{**usual, **overrides})


def made(upstream: Upstream, request: Request | None = None, **overrides: Any) -> Any:
    """Its conversation."""
    usual: dict[str, Any] = {"model": "theirs", "key": "k", "idempotency_key": "gen_1.0.0", "timeout_s": 216.5}
    return conversation_for(upstream, request or a_request(), **{**usual, **overrides})


@pytest.mark.parametrize(
    ("setting", "caller_streams", "is_streamed"),
    [
        (UpstreamStream.AUTO, True, True),
        (UpstreamStream.AUTO, False, False),
        (UpstreamStream.ALWAYS, False, True),
        (UpstreamStream.NEVER, True, False),
    ],
)
@pytest.mark.parametrize("provider", ANSWERING)
def test_an_upstream_streams_as_its_caller_does_unless_told_otherwise(
    setting: UpstreamStream, caller_streams: bool, is_streamed: bool, provider: Provider
) -> None:
    """The operator has the last word."""
    upstream = an_upstream(provider=provider, stream=setting)
    assert streams(upstream, stream=caller_streams) is is_streamed
    assert made(upstream, a_request(stream=caller_streams)).stream is is_streamed


@pytest.mark.parametrize(
    ("options", "stream", "count"),
    [
        ({"provider": Provider.GEMINI}, False, 1),
        ({"provider": Provider.GEMINI, "flavor": Flavor.RELAY}, True, 1),
        ({}, False, 10),
        ({}, True, 1),
        ({"stream": UpstreamStream.NEVER}, True, 10),
        ({"stream": UpstreamStream.ALWAYS}, False, 1),
        ({"flavor": Flavor.RELAY}, False, 1),
        ({"provider": Provider.FAL}, False, 4),
        ({"provider": Provider.FAL}, True, 4),
        ({"provider": Provider.ARK}, False, 1),
        ({"provider": Provider.REPLICATE}, True, 1),
        *((options, stream, 1) for options in IN_BACKGROUND for stream in (False, True)),
    ],
)
def test_openai_and_fal_make_several_images_in_one_call(options: dict[str, Any], stream: bool, count: int) -> None:
    """`candidateCount` is not honoured by Gemini, `n` not by relays, and several in one stream are undocumented."""
    assert images_per_call(an_upstream(**options), stream=stream) == count


@pytest.mark.parametrize("provider", ANSWERING)
def test_every_provider_has_its_conversation_with_everything_it_needs(provider: Provider) -> None:
    """The upstream's own name of the model, its credential, and who it is called in details."""
    conversation = made(an_upstream(provider=provider, flavor=Flavor.RELAY))
    assert isinstance(conversation, GeminiConversation | OpenAIConversation)
    assert (conversation.upstream, conversation.base_url) == ("up", "https://up.example/v1")
    # Vertex AI is Google's own: the settings refuse another flavor.
    is_relay = provider is not Provider.VERTEX
    assert (conversation.model, conversation.key, conversation.is_relay) == ("theirs", "k", is_relay)
    if isinstance(conversation, GeminiConversation):
        assert conversation.timeout_s == 216.5


def test_fals_conversation_has_everything_it_needs() -> None:
    """And goes on with a handle where there is one."""
    upstream = an_upstream(provider=Provider.FAL, base_url="https://queue.fal.run")
    handle = encode_handle(Handle(request_id="r-1"))
    conversation = made(upstream, n=3, image_bytes_max=30, handle=handle)
    assert isinstance(conversation, FalConversation)
    assert (conversation.upstream, conversation.base_url) == ("up", "https://queue.fal.run")
    assert (conversation.model, conversation.key, conversation.n) == ("theirs", "k", 3)
    assert (conversation.timeout_s, conversation.image_bytes_max, conversation.handle) == (216.5, 30, handle)


def test_a_relays_chat_has_everything_it_needs() -> None:
    """One image a call, streamed as its caller does, in the form that its address or the settings tell."""
    upstream = an_upstream(api=UpstreamApi.CHAT, flavor=Flavor.RELAY)
    assert [images_per_call(upstream, stream=stream) for stream in (False, True)] == [1, 1]
    talk = made(upstream, a_request(stream=True), image_bytes_max=30)
    assert isinstance(talk, ChatConversation)
    assert (talk.upstream, talk.base_url, talk.model, talk.key) == ("up", "https://up.example/v1", "theirs", "k")
    assert (talk.stream, talk.is_relay, talk.image_bytes_max) == (True, True, 30)
    assert talk.form is ChatForm.NEW_API
    form = UpstreamChatForm.OPENROUTER
    assert made(an_upstream(api=UpstreamApi.CHAT, chat_form=form)).form is ChatForm.OPENROUTER


def test_vertex_has_everything_it_needs() -> None:
    """Project and location of the settings; its address is Google's own unless another is written."""
    upstream = an_upstream(provider=Provider.VERTEX, base_url="", project="p", location="us-east1")
    talk = made(upstream, image_bytes_max=30)
    assert isinstance(talk, VertexConversation)
    assert talk.base_url == "https://us-east1-aiplatform.googleapis.com"
    assert (talk.project, talk.location, talk.is_express, talk.image_bytes_max) == ("p", "us-east1", False, 30)
    assert made(an_upstream(provider=Provider.VERTEX)).is_express


@pytest.mark.parametrize(
    ("options", "shows"),
    [
        ({"provider": Provider.GEMINI}, True),
        ({"provider": Provider.VERTEX}, True),
        ({"api": UpstreamApi.CHAT}, True),
        ({}, False),
        ({"provider": Provider.FAL}, False),
    ],
)
def test_who_shows_drafts_shows_the_result_last(options: dict[str, Any], shows: bool) -> None:
    """What of an answer that broke off is delivered goes by it."""
    assert draws_drafts(an_upstream(**options)) is shows


def test_the_conversations_of_links_have_everything_they_need() -> None:
    """And go on with a handle where there is one."""
    handle = '{"data":[{"url":"https://files.example/x"}]}'
    upstream = an_upstream(provider=Provider.ARK, flavor=Flavor.RELAY)
    talk = made(upstream, image_bytes_max=30, handle=handle)
    assert isinstance(talk, ArkConversation)
    assert (talk.upstream, talk.base_url, talk.model, talk.key) == ("up", "https://up.example/v1", "theirs", "k")
    assert (talk.is_relay, talk.image_bytes_max, talk.handle) == (True, 30, handle)
    talk = made(an_upstream(provider=Provider.REPLICATE), image_bytes_max=30, handle='{"id":"p-1"}')
    assert isinstance(talk, ReplicateConversation)
    assert (talk.upstream, talk.base_url, talk.model, talk.key) == ("up", "https://up.example/v1", "theirs", "k")
    assert (talk.timeout_s, talk.image_bytes_max, talk.handle) == (216.5, 30, '{"id":"p-1"}')


@pytest.mark.parametrize("options", IN_BACKGROUND, ids=lambda options: options["api"].value)
def test_what_works_in_the_background_has_everything_it_needs(options: dict[str, Any]) -> None:
    """Names, credential, bounds, and the time that paces its questions: the published one unless a better is known."""
    upstream = an_upstream(**options, flavor=Flavor.RELAY)
    assert is_polled(upstream)
    assert not is_polled(an_upstream(provider=upstream.provider))
    talk = made(upstream, image_bytes_max=30, handle="handle_1")
    assert isinstance(talk, BackgroundConversation)
    assert (talk.upstream, talk.base_url, talk.handle) == ("up", "https://up.example/v1", "handle_1")
    api: Any = talk.api
    assert (api.model, api.key, api.is_relay, api.image_bytes_max) == ("theirs", "k", True, 30)
    assert getattr(api, "outer_model", "gpt-5.5") == "gpt-5.5"
    assert getattr(api, "timeout_s", 216.5) == 216.5
    assert talk.expected_s == prior(Tier.K1).expected_s
    assert made(upstream, expected_s=7.0).expected_s == 7.0
    assert dict(made(upstream).start().request.headers)["Idempotency-Key"] == "gen_1.0.0"


@pytest.mark.parametrize("provider", ANSWERING)
def test_only_what_is_polled_has_a_handle(provider: Provider) -> None:
    """Another would ask for nothing that anybody has."""
    with pytest.raises(AssertionError):
        made(an_upstream(provider=provider), handle="{}")


def test_the_idempotency_key_tells_generation_part_and_drive() -> None:
    """The same when asked again after a lost reply, so that an upstream may resume; otherwise never repeated."""
    keys = [
        idempotency_key_of(generation, part=part, drive=drive)
        for generation in ("gen_1", "gen_2")
        for part in (0, 1)
        for drive in (0, 1)
    ]
    assert keys[0] == "gen_1.0.0"
    assert len(set(keys)) == 8


@pytest.mark.parametrize("provider", list(Provider))
def test_the_idempotency_key_is_sent(provider: Provider) -> None:
    """As it stands in the record."""
    talk = made(an_upstream(provider=provider), idempotency_key="gen_1.2.1")
    assert dict(talk.start().request.headers)["Idempotency-Key"] == "gen_1.2.1"


@pytest.mark.parametrize("n", [0, 2])
def test_asking_one_call_for_more_than_it_makes_is_our_mistake(n: int) -> None:
    """The rest would be lost without a word."""
    with pytest.raises(AssertionError):
        made(an_upstream(provider=Provider.GEMINI), n=n)


def test_n_images_are_asked_for_in_one_call_where_that_works() -> None:
    """And told to the conversation, which judges the answer by it."""
    assert made(an_upstream(), n=10).n == 10


@pytest.mark.parametrize("provider", ANSWERING)
@pytest.mark.parametrize("media_type", ["application/json", "text/event-stream"])
def test_the_operators_bound_on_images_reaches_the_reader(provider: Provider, media_type: str) -> None:
    """`store.image_bytes_max` is what an answer is held to, plain or streamed."""
    base_url = "http://127.0.0.1:1/v1"
    talk = made(an_upstream(provider=provider, base_url=base_url), image_bytes_max=30)
    reader = talk.head(Head(status=200, headers=MappingProxyType({"content-type": (media_type,)})))
    text = base64.b64encode(bytes(90)).decode()
    part = {"inlineData": {"mimeType": "image/png", "data": text}}
    document: dict[str, Any] = {"data": [{"b64_json": text}]}
    if provider in (Provider.GEMINI, Provider.VERTEX):
        document = {"candidates": [{"content": {"parts": [part]}}]}
    elif media_type == "text/event-stream":
        document = {"type": "image_generation.completed", "b64_json": text}
    body = json.dumps(document).encode()
    with pytest.raises(WireError) as refused:
        reader.feed(b"data: " + body + b"\n\n" if media_type == "text/event-stream" else body)
    assert refused.value.code == "too_large"
