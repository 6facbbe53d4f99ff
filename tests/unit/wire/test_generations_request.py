"""The native request: every field is known, or named with the one that was probably meant."""

from __future__ import annotations

import json
from typing import Any

import pytest

from holdfast.errors import RequestError
from holdfast.wire.generations_request import (
    GenerationsRequest,
    InputReference,
    WebhookTarget,
    decode_generations_request,
    is_input_image,
)


def decode(**fields: Any) -> GenerationsRequest:
    """Read a request with a prompt and these fields."""
    return decode_generations_request(json.dumps({"prompt": "a lighthouse", **fields}).encode())


def refused(**fields: Any) -> RequestError:
    """Have one refused."""
    with pytest.raises(RequestError) as told:
        decode(**fields)
    return told.value


def test_a_prompt_is_enough() -> None:
    """All else has a default, or is the route's to choose; null is absent."""
    assert decode() == GenerationsRequest(prompt="a lighthouse")
    nulls = dict.fromkeys(("model", "size", "aspect_ratio", "n", "images", "webhook", "metadata"))
    assert decode(**nulls) == GenerationsRequest(prompt="a lighthouse")


def test_every_field_is_read() -> None:
    """As the contract names them."""
    images = [{"b64": "0"}, {"generation_id": "gen_1", "index": 3}, {"generation_id": "gen_2"}]
    request = decode(
        model="nano-banana-pro",
        size="4K",
        aspect_ratio="16:9",
        n=10,
        images=images,
        webhook={"url": "https://app.example/hook"},
        metadata={"order": "7", "who": ""},
    )
    assert (request.model, request.size, request.aspect_ratio, request.n) == ("nano-banana-pro", "4K", "16:9", 10)
    assert request.images == [
        InputReference(b64="0"),
        InputReference(generation_id="gen_1", index=3),
        InputReference(generation_id="gen_2"),
    ]
    assert request.webhook == WebhookTarget(url="https://app.example/hook")
    assert request.metadata == {"order": "7", "who": ""}


@pytest.mark.parametrize(
    ("fields", "param", "near"),
    [
        ({"modle": "x"}, "modle", "Did you mean 'model'?"),
        ({"aspectRatio": "1:1"}, "aspectRatio", "Did you mean 'aspect_ratio'?"),
        ({"metadata": {}, "meta_data": {}}, "meta_data", "Did you mean 'metadata'?"),
        ({"zzz": 1}, "zzz", "Known here: aspect_ratio, images, metadata, model, n, prompt, size, webhook."),
        ({"images": [{"b64": "0"}, {"base64": "1"}]}, "images[1].base64", "Did you mean 'b64'?"),
        ({"images": [{"generationId": "g"}]}, "images[0].generationId", "Did you mean 'generation_id'?"),
        ({"webhook": {"uri": "x"}}, "webhook.uri", "Did you mean 'url'?"),
        ({"x` - at `$.webhook": 1}, "x` - at `$.webhook", "Known here: aspect_ratio"),
        ({"q" * 9999: 1}, "q" * 40, "Known here: "),
    ],
)
def test_an_unknown_field_is_named_with_the_near_one(fields: dict[str, Any], param: str, near: str) -> None:
    """A wish that nobody hears would be an image paid for and not wanted."""
    error = refused(**fields)
    assert (error.code, error.status, error.param) == ("invalid_request", 400, param)
    assert near in error.message
    assert len(error.message) < 250


def test_a_misspelt_prompt_is_told_as_such() -> None:
    """And not as a prompt that is missing."""
    with pytest.raises(RequestError, match="Did you mean 'prompt'"):
        decode_generations_request(b'{"promt": "a lighthouse"}')
    with pytest.raises(RequestError, match=r"prompt is missing"):
        decode_generations_request(b"{}")


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({"prompt": "x" * 32_001}, "prompt", "of 1 to 32000 characters, not 32001 characters"),
        ({"prompt": ""}, "prompt", "of 1 to 32000 characters"),
        ({"prompt": " \n"}, "prompt", "white space"),
        ({"n": 0}, "n", "from 1 to 10, not 0"),
        ({"n": "2"}, "n", "a whole number"),
        ({"images": [{"b64": "0"}] * 15}, "images", "at most 14 items"),
        ({"images": {"b64": "0"}}, "images", "a list"),
        ({"images": ["0"]}, "images[0]", "an object"),
        ({"images": [{}]}, "images[0]", "not none of them"),
        ({"images": [{"b64": "0", "generation_id": "gen_1"}]}, "images[0]", "not b64 and generation_id"),
        ({"images": [{"b64": ""}]}, "images[0].b64", "is empty"),
        ({"images": [{"b64": "0", "index": 0}]}, "images[0].index", "goes with generation_id"),
        ({"images": [{"generation_id": "gen_1", "index": -1}]}, "images[0].index", "from 0 to 999"),
        ({"images": [{"url": ""}]}, "images[0].url", "1 to 2048"),
        ({"images": [{"url": "x" * 2049}]}, "images[0].url", "2048"),
        ({"images": [{"url": "https://x.example/y.png", "b64": "0"}]}, "images[0]", "b64 and url"),
        ({"images": [{"url": "https://x.example/y.png", "index": 0}]}, "images[0].index", "goes with generation_id"),
        ({"webhook": "https://x.example"}, "webhook", "an object"),
        ({"webhook": {}}, "webhook.url", "is missing"),
        ({"metadata": {str(n): "" for n in range(17)}}, "metadata", "at most 16 members"),
        ({"metadata": {"a": "x" * 513}}, "metadata[...]", "at most 512 characters"),
        ({"metadata": {"a": 1}}, "metadata[...]", "text"),
        ({"metadata": {"": "x"}}, "metadata", "1 to 64 characters"),
        ({"metadata": {"a" * 65: "x"}}, "metadata", "1 to 64 characters"),
    ],
)
def test_what_does_not_fit_is_told_with_its_place(fields: dict[str, Any], param: str, message: str) -> None:
    """Which field, and what it must be."""
    error = refused(**fields)
    assert error.param == param
    assert message in error.message


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"\xff", b'{"prompt": 1e999}'])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    """In words, and without quoting it."""
    with pytest.raises(RequestError) as told:
        decode_generations_request(body)
    assert told.value.status == 400


def test_a_prompt_is_never_quoted() -> None:
    """It may be anything, and an error may be logged."""
    assert "secret" not in refused(prompt="secret" * 6000).message
    assert "secret" not in refused(prompt=["secret"]).message


def test_images_are_cut_out_at_one_place() -> None:
    """Nothing else in a body is taken for an image."""
    assert is_input_image(("images", "b64"))
    assert not any(is_input_image(path) for path in [("b64",), ("images",), ("metadata", "b64"), ("images", "url")])
