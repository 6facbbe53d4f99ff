"""Vertex AI's conversation: where it asks, with what, and how its 429 differs from the Developer API's."""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import Any

import pytest

from holdfast.config import Provider, Upstream
from holdfast.providers.conversation import Done, Failed, Send
from holdfast.providers.http import Head
from holdfast.providers.vertex import MAPPING, VertexConversation, base_url_of
from holdfast.types import FailureKind, Geometry, Request, Surface, Tier
from holdfast.wire.template import filled

TOKEN = "ya29.the-token"
PROMPT = "a lighthouse at the end of the world"
PNG = "iVBORw0KGgo="


def an_upstream(**overrides: Any) -> Upstream:
    """A project on `global`."""
    usual: dict[str, Any] = {"name": "vertex", "provider": Provider.VERTEX, "project": "my-project"}
    return Upstream(**{**usual, **overrides})


def a_request(**overrides: Any) -> Request:
    """What a caller asked for."""
    usual: dict[str, Any] = {
        "surface": Surface.OPENAI,
        "model": "nano-banana-pro",
        "prompt": PROMPT,
        "geometry": Geometry(tier=Tier.K4, aspect_ratio="16:9", width_px=5504, height_px=3072),
    }
    return Request(**{**usual, **overrides})


def a_conversation(**overrides: Any) -> VertexConversation:
    """One attempt."""
    upstream = overrides.pop("upstream", an_upstream())
    request = overrides.pop("request", a_request())
    usual: dict[str, Any] = {
        "model": "gemini-3-pro-image",
        "key": TOKEN,
        "idempotency_key": "gen_1.0.0",
        "timeout_s": 299.5,
        "stream": False,
        "image_bytes_max": 1 << 20,
    }
    return VertexConversation.at(upstream, request, **{**usual, **overrides})


def sent_by(conversation: VertexConversation) -> tuple[str, dict[str, str], dict[str, Any]]:
    """URL, headers and body of its request."""
    step = conversation.start()
    assert isinstance(step, Send)
    request = step.request
    return request.url, dict(request.headers), json.loads(filled(request.body, {}))


def judged(status: int, body: Any, headers: dict[str, str] | None = None) -> Done | Failed:
    """Feed an answer; give the verdict."""
    conversation = a_conversation()
    named = {name: (value,) for name, value in {"content-type": "application/json", **(headers or {})}.items()}
    head = Head(status=status, headers=MappingProxyType(named))
    reader = conversation.head(head)
    reader.feed(json.dumps(body).encode())
    step = conversation.received(head, reader.finish())
    assert isinstance(step, Done | Failed)
    return step


PATH = "publishers/google/models/gemini-3-pro-image:generateContent"


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({}, f"https://aiplatform.googleapis.com/v1beta1/projects/my-project/locations/global/{PATH}"),
        (
            {"location": "us-central1"},
            f"https://us-central1-aiplatform.googleapis.com/v1beta1/projects/my-project/locations/us-central1/{PATH}",
        ),
        (
            {"project": "example.com:old", "base_url": "http://127.0.0.1:16900/"},
            f"http://127.0.0.1:16900/v1beta1/projects/example.com:old/locations/global/{PATH}",
        ),
        (
            {"base_url": "https://psc.example/v1"},
            f"https://psc.example/v1/projects/my-project/locations/global/{PATH}",
        ),
        ({"project": ""}, f"https://aiplatform.googleapis.com/v1beta1/{PATH}"),
    ],
)
def test_the_address_goes_by_project_and_location(settings: dict[str, Any], url: str) -> None:
    """Regional, global, an operator's own, and express mode."""
    assert sent_by(a_conversation(upstream=an_upstream(**settings)))[0] == url


def test_a_token_is_a_bearers_and_an_api_key_has_its_own_header() -> None:
    """Never both, and neither in the address or a `repr`."""
    url, headers, _ = sent_by(a_conversation())
    assert headers == {
        "Authorization": f"Bearer {TOKEN}",
        "Content-Type": "application/json",
        "Accept": "application/json",
        "X-Server-Timeout": "300",
        "Idempotency-Key": "gen_1.0.0",
    }
    express = a_conversation(upstream=an_upstream(project=""), key="AIza-key")
    url_express, headers, _ = sent_by(express)
    assert headers["x-goog-api-key"] == "AIza-key"
    assert "Authorization" not in headers
    assert "AIza" not in url_express + repr(express)
    assert TOKEN not in url + repr(a_conversation())


def test_a_stream_has_its_own_method() -> None:
    """As the Developer API's."""
    url, headers, _ = sent_by(a_conversation(stream=True))
    assert url.endswith("/gemini-3-pro-image:streamGenerateContent?alt=sse")
    assert headers["Accept"] == "text/event-stream"


@pytest.mark.parametrize(
    ("wished", "options"),
    [
        ({}, None),
        ({"output_format": "png"}, {"mimeType": "image/png"}),
        ({"output_format": "jpeg"}, {"mimeType": "image/jpeg"}),
        ({"output_format": "jpeg", "output_compression": 80}, {"mimeType": "image/jpeg", "compressionQuality": 80}),
        ({"output_format": "png", "output_compression": 80}, {"mimeType": "image/png"}),
        ({"output_compression": 80}, {"compressionQuality": 80}),
        ({"output_format": "webp", "output_compression": 80}, None),
    ],
)
def test_the_file_format_is_asked_for(wished: dict[str, Any], options: dict[str, Any] | None) -> None:
    """Here it can be chosen; what it cannot be is left out, and the caller is told."""
    _, _, body = sent_by(a_conversation(request=a_request(**wished)))
    config = body["generationConfig"]["imageConfig"]
    assert config.get("imageOutputOptions") == options
    assert (config["aspectRatio"], config["imageSize"]) == ("16:9", "4K")
    if "output_format" in wished:
        assert MAPPING.ignores("output_format", wished["output_format"]) is (options is None)


def test_a_request_of_the_gemini_surface_is_sent_on_with_what_only_vertex_takes() -> None:
    """`personGeneration` and its kin are the caller's own words."""
    config = {"imageConfig": {"imageSize": "4K", "personGeneration": "ALLOW_ADULT", "prominentPeople": "BLOCK"}}
    asked = {"contents": [{"role": "user", "parts": [{"text": PROMPT}]}], "generationConfig": config}
    _, _, body = sent_by(a_conversation(request=a_request(dialect_body=json.dumps(asked))))
    assert body == asked


def test_a_turn_without_a_role_is_the_user_s() -> None:
    """Gemini's own documentation leaves it out; Vertex AI answers that with 400 (`Please use a valid role`)."""
    turn = {"parts": [{"text": PROMPT}]}
    asked = {"contents": [turn, {"role": "model", **turn}, {"role": "", **turn}], "labels": {"a": "b"}}
    _, _, body = sent_by(a_conversation(request=a_request(dialect_body=json.dumps(asked))))
    assert [each.pop("role") for each in body["contents"]] == ["user", "model", "user"]
    assert (body["contents"], body["labels"]) == ([turn] * 3, {"a": "b"})


def test_an_older_model_is_told_no_size() -> None:
    """It would refuse the field."""
    _, _, body = sent_by(a_conversation(model="gemini-2.5-flash-image"))
    assert body["generationConfig"]["imageConfig"] == {"aspectRatio": "16:9"}


def exhausted(*details: dict[str, Any]) -> dict[str, Any]:
    """A 429's envelope."""
    return {"error": {"code": 429, "message": "…", "status": "RESOURCE_EXHAUSTED", "details": list(details)}}


def detail(kind: str, **fields: Any) -> dict[str, Any]:
    """An entry of its `details`."""
    return {"@type": f"type.googleapis.com/google.rpc.{kind}", **fields}


@pytest.mark.parametrize(
    ("body", "headers", "kind"),
    [
        (exhausted(), {}, FailureKind.OVERLOADED),
        (exhausted(detail("RetryInfo", retryDelay="7s")), {}, FailureKind.RATE_LIMITED),
        (exhausted(), {"retry-after": "7"}, FailureKind.RATE_LIMITED),
        (exhausted(detail("ErrorInfo", reason="RATE_LIMIT_EXCEEDED")), {}, FailureKind.RATE_LIMITED),
        (exhausted(detail("ErrorInfo", reason="MODEL_CAPACITY_EXHAUSTED")), {}, FailureKind.OVERLOADED),
        (exhausted(detail("QuotaFailure", violations=[{"quotaId": "PerDayX"}])), {}, FailureKind.QUOTA_SPENT),
        ({"error": {"message": "a proxy's"}}, {}, FailureKind.RATE_LIMITED),
    ],
)
def test_a_429_without_a_hint_tells_of_shared_capacity(body: Any, headers: dict[str, str], kind: FailureKind) -> None:
    """Nothing that one key's rest would bring back; with a hint it is the project's own quota."""
    step = judged(429, body, headers)
    assert isinstance(step, Failed)
    assert step.failure.kind is kind
    assert step.failure.charge.value == "no"


def test_an_image_is_an_image() -> None:
    """As the Developer API gives it."""
    part = {"inlineData": {"mimeType": "image/png", "data": PNG}}
    step = judged(200, {"candidates": [{"content": {"parts": [part, part]}, "finishReason": "STOP"}]})
    assert isinstance(step, Done)
    assert (step.results, step.drafts) == ((1,), (0,))


def test_a_region_has_its_own_host() -> None:
    """And `global` none in its name."""
    assert base_url_of("global") == "https://aiplatform.googleapis.com"
    assert base_url_of("europe-west4") == "https://europe-west4-aiplatform.googleapis.com"
