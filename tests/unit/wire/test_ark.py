"""Ark's documents of both sides: pictures, links and errors in their places, plain and streamed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from holdfast.errors import RequestError
from holdfast.types import Geometry, InputImage, Request, Surface, Tier
from holdfast.wire.answers import Answer, Reader, Role
from holdfast.wire.ark import (
    INPUTS_MAX,
    ArkReader,
    ArkStreamReader,
    Link,
    Made,
    Unmade,
    contents_of,
    decode_handle,
    decode_request,
    encode_handle,
    encode_request,
    render_answer,
    render_error,
    render_events,
)
from holdfast.wire.errors import WireError
from holdfast.wire.openai import decode_error
from holdfast.wire.scan import ImageBytes
from holdfast.wire.template import Slot, filled

LINK = "https://ark-content.example/x.jpeg?sig=1"
ABOUT: dict[str, Any] = {"model": "seedream-4-5-251128", "created": 7, "output_tokens": 16384}


def a_request(**overrides: Any) -> Request:
    """What a caller asked for."""
    usual: dict[str, Any] = {
        "surface": Surface.OPENAI,
        "model": "seedream-4.5",
        "prompt": "a lighthouse",
        "geometry": Geometry(tier=Tier.K2, aspect_ratio="1:1", width_px=2048, height_px=2048),
    }
    return Request(**usual | overrides)


def read(reader: Reader, body: bytes) -> tuple[dict[int, bytes], Answer]:
    """Read to the end; images by number."""
    images: dict[int, bytes] = {}
    for event in reader.feed(body):
        if isinstance(event, ImageBytes):
            images[event.index] = images.get(event.index, b"") + event.data
    return images, reader.finish()


def streamed(*items: Made | Unmade, images: dict[int, bytes] | None = None) -> bytes:
    """Write a stream."""
    return b"".join(filled(event, images or {}) for event in render_events(items, **ABOUT))


# Requests


def test_a_request_says_what_it_must() -> None:
    """Base64, no watermark, and nothing that was not asked for."""
    (body,) = encode_request(a_request(quality="high"), model="m", size="2K")
    assert isinstance(body, bytes)
    assert json.loads(body) == {
        "model": "m",
        "prompt": "a lighthouse",
        "size": "2K",
        "response_format": "b64_json",
        "watermark": False,
    }


def test_reference_images_become_slots() -> None:
    """Each behind its prefix."""
    image = InputImage(sha256="0", mime="image/webp", bytes=3, store_key="x")
    template = encode_request(a_request(inputs=(image, image)), model="m", size="2K")
    assert [part for part in template if isinstance(part, Slot)] == [Slot(0), Slot(1)]
    body = json.loads(filled(template, {0: b"a", 1: b"b"}))
    assert body["image"] == ["data:image/webp;base64,YQ==", "data:image/webp;base64,Yg=="]


def test_null_means_absent() -> None:
    """The SDK writes every parameter that it knows."""
    names = ("image", "size", "response_format", "watermark", "stream", "sequential_image_generation", "output_format")
    document = {"model": "m", "prompt": "p", "seed": None, **dict.fromkeys(names)}
    request = decode_request(json.dumps(document).encode())
    assert all(getattr(request, name) is None for name in names)
    assert request.images == ()


@pytest.mark.parametrize(("image", "images"), [("0", ("0",)), (["0", LINK], ("0", LINK)), (None, ())])
def test_one_image_or_a_list(image: Any, images: tuple[str, ...]) -> None:
    """Both are taken."""
    document = {"model": "m", "prompt": "p", "image": image}
    assert decode_request(json.dumps(document).encode()).images == images


@pytest.mark.parametrize(
    ("document", "param"),
    [
        ({}, "body"),
        ({"model": "m", "prompt": " "}, "prompt"),
        ({"model": "m", "prompt": 7}, "body"),
        ({"model": "m", "prompt": "p", "image": ["0"] * (INPUTS_MAX + 1)}, "image"),
    ],
)
def test_what_is_no_request_is_refused(document: Any, param: str) -> None:
    """Naming the field."""
    with pytest.raises(RequestError) as refused:
        decode_request(json.dumps(document).encode())
    assert refused.value.param == param


def test_what_is_no_json_is_refused() -> None:
    """As everywhere."""
    with pytest.raises(WireError):
        decode_request(b"{")


# Answers


def test_pictures_links_and_errors_stand_side_by_side() -> None:
    """Each found where it is."""
    items = [Made(size="2x2", slot=0, output_format="png"), Unmade(code="X", message="no"), Made(size="2x2", url=LINK)]
    images, answer = read(ArkReader(), filled(render_answer(items, **ABOUT), {0: b"img"}))
    assert images == {0: b"img"}
    assert [(image.index, image.role, image.declared_mime) for image in answer.images] == [
        (0, Role.RESULT, "image/png")
    ]
    contents = contents_of(answer.document)
    assert contents.links == (Link(url=LINK),)
    assert [(error.code, error.message) for error in contents.errors] == [("X", "no")]
    assert contents.generated_images == 2
    assert not answer.url_only
    assert answer.usage is not None
    assert answer.usage.output_image_tokens == 16384


def test_a_stream_makes_up_the_document_of_a_plain_answer() -> None:
    """Told apart by names of their own; the end carries no picture."""
    items = (Made(size="2x2", slot=0), Unmade(code="X", message="no"), Made(size="2x2", url=LINK))
    reader = ArkStreamReader()
    images, answer = read(reader, streamed(*items, images={0: b"img"}))
    assert reader.complete
    assert images == {0: b"img"}
    plain = json.loads(filled(render_answer(items, **ABOUT), {0: b"x"}))
    plain["data"][0]["b64_json"] = "0"
    assert json.loads(answer.document) == plain
    assert contents_of(answer.document).generated_images == 2


def test_a_stream_is_whole_behind_its_last_event_only() -> None:
    """A picture may follow another."""
    reader = ArkStreamReader()
    body = streamed(Made(size="2x2", url=LINK))
    at = body.index(b"event: image_generation.completed")
    reader.feed(body[:at])
    assert not reader.complete
    reader.feed(body[at:])
    assert reader.complete
    assert repr(reader) == "<ArkStreamReader pictures=1 ended>"


@pytest.mark.parametrize("body", [b"", b": ping\n\n", b"data: [DONE]\n\n", b'event: x\ndata: {"type":"other"}\n\n'])
def test_a_stream_that_tells_nothing_was_cut(body: bytes) -> None:
    """Nobody knows what it would have said."""
    with pytest.raises(WireError):
        read(ArkStreamReader(), body)


def test_an_error_ends_a_stream() -> None:
    """With or without a name."""
    for name in (b"event: error\n", b""):
        reader = ArkStreamReader()
        _, answer = read(reader, name + b'data: {"error":{"code":"ServerOverloaded","message":"m"}}\n\n')
        assert reader.complete
        assert answer.error is not None
        assert answer.error.code == "ServerOverloaded"


@pytest.mark.parametrize(
    ("usage", "count"),
    [({"generated_images": 0}, 0), ({"generated_images": 2.0}, 2), ({"generated_images": "2"}, None), (None, None)],
)
def test_the_vendors_own_count_is_read_where_it_is_one(usage: Any, count: int | None) -> None:
    """What it bills."""
    assert contents_of(json.dumps({"data": [], "usage": usage}).encode()).generated_images == count


def test_odd_documents_hold_nothing() -> None:
    """Every field may be of another type."""
    for document in ([], {"data": "x"}, {"data": [7, None, {"url": 7}]}, {"data": [{"url": "ftp://x"}]}):
        contents = contents_of(json.dumps(document).encode())
        assert (contents.links, contents.errors) == ((), ())


def test_a_link_beside_a_picture_says_nothing_new() -> None:
    """Relays give both."""
    body = json.dumps({"data": [{"b64_json": "aW1n", "url": LINK}]}).encode()
    images, answer = read(ArkReader(), body)
    assert images == {0: b"img"}
    assert contents_of(answer.document).links == ()


def test_a_handle_is_the_answer_that_named_the_links() -> None:
    """Read back by another process."""
    _, answer = read(ArkReader(), filled(render_answer([Made(size="2x2", url=LINK)], **ABOUT), {}))
    assert answer.url_only
    handle = encode_handle(answer.document)
    assert handle is not None
    assert decode_handle(handle) == answer
    assert encode_handle(b"x" * (1 << 17)) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"data":[]}', '{"data":[{"b64_json":"0"}]}'])
def test_a_handle_that_names_no_picture_is_refused(text: str) -> None:
    """It would be followed nowhere."""
    with pytest.raises(WireError):
        decode_handle(text)


def test_an_error_is_told_in_openais_form() -> None:
    """With codes of its own."""
    error = decode_error(429, render_error("slow down", code="RateLimitExceeded", type_="TooManyRequests"))
    assert (error.code, error.type, error.message) == ("RateLimitExceeded", "TooManyRequests", "slow down")


def test_an_answer_has_its_bound() -> None:
    """A picture larger than is taken."""
    with pytest.raises(WireError) as refused:
        ArkReader(image_bytes_max=2).feed(b'{"data":[{"b64_json":"aW1nYWdl')
    assert refused.value.code == "too_large"
    assert repr(ArkReader()) == "<ArkReader <JsonReader before skeleton=0B images=0>>"
