"""Replicate's documents of both sides: predictions in every state, files, errors, and whatever may come instead."""

from __future__ import annotations

import json
from typing import Any

import pytest

from holdfast.errors import RequestError
from holdfast.types import Geometry, InputImage, Request, Surface, Tier
from holdfast.wire.answers import Answer
from holdfast.wire.errors import WireError
from holdfast.wire.replicate import (
    IMAGES_MAX,
    INPUTS_MAX,
    Handle,
    Link,
    Prediction,
    PredictionReader,
    PredictionState,
    decode_error,
    decode_file,
    decode_handle,
    decode_prediction,
    decode_prediction_request,
    encode_handle,
    encode_prediction,
    encode_upload,
    is_prediction_id,
    render_error,
    render_file,
    render_prediction,
)
from holdfast.wire.scan import ImageBytes
from holdfast.wire.template import Slot, filled, length_of

URL = "https://api.replicate.com/v1/predictions/p-1"
HANDLE = Handle(id="p-1", get_url=URL, cancel_url=f"{URL}/cancel")
FILE = "https://replicate.delivery/xezq/out-0.jpg"


def a_request(*inputs: InputImage, **overrides: Any) -> Request:
    """What a caller asked for."""
    usual: dict[str, Any] = {
        "surface": Surface.OPENAI,
        "model": "nano-banana-pro",
        "prompt": 'a "lighthouse"',
        "geometry": Geometry(tier=Tier.K4, aspect_ratio="16:9", width_px=5504, height_px=3072),
        "inputs": inputs,
    }
    return Request(**usual | overrides)


def an_input(index: int) -> InputImage:
    """A reference image."""
    return InputImage(sha256=str(index) * 64, mime="image/png", bytes=3, store_key=f"inputs/{index}")


def read(body: bytes) -> tuple[dict[int, bytes], Answer]:
    """Read a prediction; images by number."""
    reader, images = PredictionReader(), {}
    for event in reader.feed(body):
        if isinstance(event, ImageBytes):
            images[event.index] = images.get(event.index, b"") + event.data
    return images, reader.finish()


# Requests


def test_an_input_says_size_ratio_and_format() -> None:
    """In the model's own words."""
    (body,) = encode_prediction(a_request(output_format="jpeg"))
    assert isinstance(body, bytes)
    assert json.loads(body) == {
        "input": {
            "prompt": 'a "lighthouse"',
            "aspect_ratio": "16:9",
            "resolution": "4K",
            "output_format": "jpg",
        }
    }


def test_images_are_links_or_slots_in_their_order() -> None:
    """What was handed over is named, the others go along."""
    template = encode_prediction(
        a_request(an_input(0), an_input(1), an_input(2)), version="v", uploaded={1: 'https://x/"1"'}
    )
    assert [part.index for part in template if isinstance(part, Slot)] == [0, 2]
    body = filled(template, {0: b"zero", 2: b"two"})
    assert length_of(template, {0: 4, 2: 3}) == len(body)
    document = json.loads(body)
    assert document["version"] == "v"
    assert document["input"]["image_input"] == [
        "data:image/png;base64,emVybw==",
        'https://x/"1"',
        "data:image/png;base64,dHdv",
    ]


def test_images_that_were_all_handed_over_are_all_named() -> None:
    """No slot is left."""
    template = encode_prediction(a_request(an_input(0)), uploaded={0: "https://x/0"}, states_resolution=False)
    document = json.loads(filled(template, {}))
    assert document["input"]["image_input"] == ["https://x/0"]
    assert "resolution" not in document["input"]


def test_what_is_written_is_read() -> None:
    """By the other side."""
    template = encode_prediction(a_request(an_input(0)), uploaded={0: "https://x/0"})
    read_ = decode_prediction_request(filled(template, {}))
    assert (read_.input.prompt, read_.input.resolution, read_.version) == ('a "lighthouse"', "4K", None)
    assert read_.input.image_input == ("https://x/0",)


@pytest.mark.parametrize(
    ("document", "param"),
    [
        ({}, "input"),
        ({"input": {"prompt": ""}}, "input.prompt"),
        ({"input": {"prompt": "p", "image_input": ["x"] * (INPUTS_MAX + 1)}}, "input.image_input"),
    ],
)
def test_what_is_no_input_is_refused(document: Any, param: str) -> None:
    """422, naming the field."""
    with pytest.raises(RequestError) as refused:
        decode_prediction_request(json.dumps(document).encode())
    assert (refused.value.param, refused.value.status) == (param, 422)
    with pytest.raises(WireError):
        decode_prediction_request(b"{")


def test_a_form_holds_the_bytes_as_they_are() -> None:
    """Its length is known beforehand."""
    content_type, template = encode_upload(an_input(3), index=2)
    body = filled(template, {2: b"\x00\xff"})
    assert length_of(template, {2: 2}) == len(body)
    boundary = content_type.partition("boundary=")[2].encode()
    assert body.startswith(b"--" + boundary + b"\r\n")
    assert body.endswith(b"\x00\xff\r\n--" + boundary + b"--\r\n")
    assert b'name="content"; filename="input-2.png"' in body


# Predictions


@pytest.mark.parametrize("state", list(PredictionState))
def test_a_prediction_written_is_the_prediction_read(state: PredictionState) -> None:
    """In every state."""
    is_there = state is PredictionState.SUCCEEDED
    prediction = Prediction(
        handle=HANDLE,
        state=state,
        error="it failed" if state is PredictionState.FAILED else None,
        links=(Link(url=FILE),) if is_there else (),
        has_started=state not in (PredictionState.STARTING, PredictionState.ABORTED),
    )
    _, answer = read(render_prediction(prediction, model="m", created_at="2026", predict_s=1.0))
    assert decode_prediction(answer.document) == prediction
    assert answer.url_only is is_there
    assert state.is_end is (state not in (PredictionState.STARTING, PredictionState.PROCESSING))


def test_several_pictures_are_a_list() -> None:
    """As many as are taken."""
    body = json.dumps({"id": "p-1", "status": "succeeded", "output": [FILE] * (IMAGES_MAX + 1)}).encode()
    _, answer = read(body)
    assert decode_prediction(answer.document).links == (Link(url=FILE),) * IMAGES_MAX


def test_a_data_uri_leaves_the_document() -> None:
    """It is no link, and its number is none either."""
    output = ["data:image/png;base64,aW1n", FILE]
    images, answer = read(json.dumps({"id": "p-1", "status": "succeeded", "output": output}).encode())
    assert images == {0: b"img"}
    assert [image.index for image in answer.images] == [0]
    assert decode_prediction(answer.document).links == (Link(url=FILE),)


def test_what_was_asked_for_is_not_kept_again() -> None:
    """Neither prompt nor images nor logs; images that were sent are no results."""
    document = {
        "id": "p-1",
        "status": "processing",
        "input": {"prompt": "a secret", "image_input": ["data:image/png;base64,aW1n"], "output": "data:x;base64,aW1n"},
        "logs": "a secret",
        "urls": {"get": URL, "stream": "https://stream.example/secret"},
    }
    images, answer = read(json.dumps(document).encode())
    assert images == {}
    assert b"secret" not in answer.document
    assert decode_prediction(answer.document).handle == Handle(id="p-1", get_url=URL)


@pytest.mark.parametrize(
    "document",
    [{}, [], {"id": "p-1"}, {"id": "p-1", "status": "new"}, {"id": "../x", "status": "starting"}, {"id": 7}],
)
def test_what_is_no_prediction_is_refused(document: Any) -> None:
    """It cannot be asked for, or says nothing."""
    with pytest.raises(WireError):
        decode_prediction(json.dumps(document).encode())


@pytest.mark.parametrize(
    ("members", "has_started"),
    [
        ({"status": "starting"}, False),
        ({"status": "processing"}, True),
        ({"status": "canceled", "started_at": None}, False),
        ({"status": "canceled", "started_at": "2026-11-23T10:00:00Z"}, True),
    ],
)
def test_whether_it_was_begun(members: dict[str, Any], has_started: bool) -> None:
    """From then on it costs."""
    document = json.dumps({"id": "p-1", **members}).encode()
    assert decode_prediction(document).has_started is has_started


# Files, errors, handles


def test_a_file_is_named_by_where_it_lies() -> None:
    """`urls.get`."""
    assert decode_file(render_file("f-1", "https://x/f-1", bytes_=3, content_type="image/png")) == "https://x/f-1"


@pytest.mark.parametrize(
    "urls", [None, {}, {"get": ""}, {"get": "ftp://x"}, {"get": 7}, {"get": "https://x/" + "y" * 2048}]
)
def test_a_file_that_lies_nowhere_is_refused(urls: Any) -> None:
    """It could not be named."""
    with pytest.raises(WireError):
        decode_file(json.dumps({"id": "f-1", "urls": urls}).encode())


@pytest.mark.parametrize(
    ("detail", "hint_s"),
    [
        ("Request was throttled. Your rate limit resets in ~30s.", 30.0),
        ("Your rate limit reset in 5 s", 5.0),
        ("Your rate limit resets in ~99999999s.", None),
        ("Your rate limit resets in ~-3s.", None),
        ("Your rate limit resets in ~5min.", None),
        ("Request was throttled.", None),
    ],
)
def test_a_hint_stands_in_the_text(detail: str, hint_s: float | None) -> None:
    """Of a 429, and nowhere else."""
    body = render_error(429, detail, title="Too many requests")
    assert decode_error(429, body).retry_after_s == hint_s
    assert decode_error(503, body).retry_after_s is None


@pytest.mark.parametrize(
    ("body", "is_json"), [(b"", False), (b"<html>", False), (b"[]", False), (b'{"detail":"x"}', True)]
)
def test_whatever_comes_in_place_of_an_error_is_read(body: bytes, is_json: bool) -> None:
    """A proxy's page says nothing of the API."""
    error = decode_error(404, body)
    assert (error.is_json, error.status, bool(error.message)) == (is_json, 404, True)


def test_a_handle_is_kept_as_it_is() -> None:
    """And one that is none of ours is refused."""
    assert decode_handle(encode_handle(HANDLE)) == HANDLE
    for text in ("", "{", "{}", '{"id":"../x"}'):
        with pytest.raises(WireError):
            decode_handle(text)


def test_ids_that_may_stand_in_a_path() -> None:
    """And none that leads elsewhere."""
    assert is_prediction_id("ufawqhfynnddngldkgtslldrkq")
    assert not any(is_prediction_id(text) for text in ("", "-x", "a/b", "a?b", "a" * 201))
