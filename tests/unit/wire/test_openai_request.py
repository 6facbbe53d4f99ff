"""OpenAI Images: requests, read from callers and written to upstreams."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from holdfast.errors import RequestError
from holdfast.types import Geometry, InputImage, Request, Surface, Tier
from holdfast.wire.openai_request import (
    ImagesRequest,
    decode_images_request,
    encode_images_request,
)
from holdfast.wire.template import filled, slots_of

FULL: dict[str, Any] = {
    "model": "gpt-image-2",
    "prompt": "a lighthouse",
    "n": 2,
    "size": "1536x1024",
    "aspect_ratio": "3:2",
    "quality": "high",
    "output_format": "png",
    "output_compression": 100,
    "background": "auto",
    "moderation": "low",
    "response_format": "url",
    "stream": True,
    "partial_images": 3,
    "user": "u-123",
    "safety_identifier": "s-1",
    "metadata": {"a": "b"},
}


def decode(**fields: object) -> ImagesRequest:
    """Decode a request with a prompt."""
    return decode_images_request(json.dumps({"prompt": "p", **fields}).encode())[0]


def refused(**fields: object) -> RequestError:
    """Decode a request that must be refused."""
    with pytest.raises(RequestError) as raised:
        decode(**fields)
    assert (raised.value.code, raised.value.status) == ("invalid_request", 400)
    return raised.value


def a_request(**overrides: Any) -> Request:
    """A request of the OpenAI surface."""
    fields: dict[str, Any] = {
        "surface": Surface.OPENAI,
        "model": "gpt-image-2",
        "prompt": 'a "lighthouse"\n',
        "geometry": Geometry(tier=Tier.K1, aspect_ratio="1:1", width_px=1024, height_px=1024),
    }
    return Request(**(fields | overrides))


def test_every_field_is_read() -> None:
    """All parameters of the reference."""
    request, ignored = decode_images_request(json.dumps(FULL).encode())
    assert msgspec.to_builtins(request) == FULL
    assert ignored == ()


def test_only_the_prompt_is_needed() -> None:
    """All else is absent, not defaulted: defaults are the route's."""
    assert msgspec.to_builtins(decode()) == dict.fromkeys(ImagesRequest.__struct_fields__) | {"prompt": "p"}


def test_null_means_absent() -> None:
    """SDKs in other languages send every field."""
    assert decode(**dict.fromkeys(set(FULL) - {"prompt"})) == decode()


def test_unknown_fields_are_named_not_refused() -> None:
    """New parameters of the SDKs must not break old gateways."""
    body = b'{"prompt":"p","style":"vivid","complexity":"low","svg":{"a":[1]}}'
    assert decode_images_request(body)[1] == ("complexity", "style", "svg")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 0),
        ("n", 11),
        ("n", "1"),
        ("n", 1.5),
        ("n", True),
        ("prompt", ""),
        ("prompt", 5),
        ("prompt", None),
        ("prompt", "x" * 32_001),
        ("prompt", " \n\t"),
        ("size", 1024),
        ("size", "x" * 33),
        ("quality", "ultra"),
        ("output_format", "bmp"),
        ("output_compression", 101),
        ("output_compression", -1),
        ("background", "blue"),
        ("moderation", "none"),
        ("response_format", "file"),
        ("stream", "yes"),
        ("partial_images", 4),
        ("user", 7),
        ("metadata", {"a": 1}),
        ("metadata", {str(number): "" for number in range(17)}),
        ("model", ["x"]),
    ],
)
def test_a_wrong_value_is_refused_and_its_field_named(field: str, value: object) -> None:
    """The caller is told where to look."""
    error = refused(**{field: value})
    assert error.param is not None
    assert error.param.split("[")[0] == field
    assert error.message.startswith(field)


def test_a_missing_prompt_is_named() -> None:
    """The one required field."""
    with pytest.raises(RequestError) as raised:
        decode_images_request(b"{}")
    assert raised.value.param == "prompt"


def test_a_prompt_of_the_longest_length_is_taken() -> None:
    """Counted in characters, not bytes."""
    assert decode(prompt="é" * 32_000).prompt == "é" * 32_000


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"', b'{"prompt":"\xff"}'])
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    """Never a crash."""
    with pytest.raises(RequestError):
        decode_images_request(body)


def test_a_json_schema_can_be_made() -> None:
    """The OpenAPI document comes from the definitions that validate."""
    schema = msgspec.json.schema(ImagesRequest)
    properties = schema["$defs"]["ImagesRequest"]["properties"]
    assert set(properties) == set(FULL)
    assert properties["prompt"]["maxLength"] == 32_000


def written(request: Request, *, size: str | None = None, **options: Any) -> Any:
    """The body of a request without input images."""
    return json.loads(filled(encode_images_request(request, model="up", size=size, **options), {}))


def test_a_request_is_written_with_what_was_asked() -> None:
    """Absent fields stay absent: GPT image models refuse what they do not know."""
    body = written(a_request(), size="1024x1024")
    assert body == {"model": "up", "prompt": 'a "lighthouse"\n', "n": 1, "size": "1024x1024"}


def test_every_option_is_written() -> None:
    """Names as the API has them."""
    request = a_request(
        output_format="webp",
        output_compression=50,
        quality="high",
        background="opaque",
        moderation="low",
        end_user="u",
        partial_images=2,
    )
    body = written(request, n=3, stream=True, response_format="b64_json")
    assert body == {
        "model": "up",
        "prompt": request.prompt,
        "n": 3,
        "quality": "high",
        "output_format": "webp",
        "output_compression": 50,
        "background": "opaque",
        "moderation": "low",
        "response_format": "b64_json",
        "user": "u",
        "stream": True,
        "partial_images": 2,
    }


def test_previews_are_asked_for_only_when_streaming() -> None:
    """The API refuses them otherwise."""
    body = written(a_request(partial_images=2))
    assert "partial_images" not in body
    assert "stream" not in body


def test_what_is_written_can_be_read() -> None:
    """Both sides of the dialect are one."""
    body = encode_images_request(a_request(quality="low"), model="up", size="auto", n=2)
    request, ignored = decode_images_request(filled(body, {}))
    assert (request.prompt, request.model, request.n, request.quality) == ('a "lighthouse"\n', "up", 2, "low")
    assert ignored == ()


def test_an_edit_carries_its_images_as_data_urls() -> None:
    """Each slot is the input of the same number, streamed in when sent."""
    images = tuple(
        InputImage(sha256="0" * 64, mime=mime, bytes=3, store_key="k") for mime in ("image/png", "image/jpeg")
    )
    template = encode_images_request(a_request(inputs=images, prompt='{"images":"0"}'), model="up", size="1024x1024")
    assert slots_of(template) == (0, 1)
    body = json.loads(filled(template, {0: b"ABC", 1: b"DEF"}))
    assert body == {
        "model": "up",
        "prompt": '{"images":"0"}',
        "n": 1,
        "size": "1024x1024",
        "images": [
            {"image_url": "data:image/png;base64,QUJD"},
            {"image_url": "data:image/jpeg;base64,REVG"},
        ],
    }
