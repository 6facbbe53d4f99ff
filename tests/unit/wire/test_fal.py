"""fal's queue: documents of both sides, links and data URIs, and whatever may come in place of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from holdfast.errors import RequestError
from holdfast.types import Geometry, InputImage, Request, Surface, Tier
from holdfast.wire.answers import Role
from holdfast.wire.errors import WireError
from holdfast.wire.fal import (
    Detail,
    Handle,
    Link,
    QueueReader,
    QueueState,
    QueueStatus,
    ResultImage,
    ResultReader,
    decode_error,
    decode_handle,
    decode_input,
    decode_status,
    decode_submitted,
    encode_input,
    is_request_id,
    links_of,
    render_cancel,
    render_details,
    render_error,
    render_result,
    render_status,
    render_submitted,
)
from holdfast.wire.scan import ImageBegan, ImageBytes, ImageEnded
from holdfast.wire.template import Slot, filled

URL = "https://v3b.fal.media/files/x/y.png"


def a_request(**overrides: Any) -> Request:
    """What a caller asked for."""
    usual: dict[str, Any] = {
        "surface": Surface.OPENAI,
        "model": "nano-banana-pro",
        "prompt": "a lighthouse",
        "geometry": Geometry(tier=Tier.K4, aspect_ratio="16:9", width_px=5504, height_px=3072),
    }
    return Request(**usual | overrides)


def an_input(index: int) -> InputImage:
    """A reference image."""
    return InputImage(sha256=str(index), mime="image/png", bytes=3, store_key=f"inputs/{index}")


# Requests


def test_a_request_says_size_ratio_and_number() -> None:
    """The model's own words: `resolution`, `aspect_ratio`, `num_images`; nothing that was not asked for."""
    (body,) = encode_input(a_request(quality="high"), n=2)
    assert isinstance(body, bytes)
    assert json.loads(body) == {
        "prompt": "a lighthouse",
        "num_images": 2,
        "aspect_ratio": "16:9",
        "resolution": "4K",
    }


def test_a_model_of_one_size_is_not_told_one() -> None:
    """A field that it does not know might be refused."""
    (body,) = encode_input(a_request(output_format="webp"), states_resolution=False)
    assert isinstance(body, bytes)
    assert json.loads(body).keys() == {"prompt", "num_images", "aspect_ratio", "output_format"}


def test_reference_images_go_along_as_data_uris() -> None:
    """Each in its slot, which is streamed from its file."""
    template = encode_input(a_request(inputs=(an_input(0), an_input(1))))
    assert [part for part in template if isinstance(part, Slot)] == [Slot(0), Slot(1)]
    body = json.loads(filled(template, {0: b"one", 1: b"two"}))
    assert body["image_urls"] == ["data:image/png;base64,b25l", "data:image/png;base64,dHdv"]


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": 3}, "prompt"),
        ({"prompt": "a", "num_images": 0}, "num_images"),
        ({"prompt": "a", "num_images": 5}, "num_images"),
        ({"prompt": "a", "image_urls": ["x"] * 15}, "image_urls"),
    ],
)
def test_an_input_that_no_model_takes_is_refused_by_its_field(body: dict[str, Any], word: str) -> None:
    """As the vendor does, before anything is made."""
    with pytest.raises(RequestError, match=word):
        decode_input(json.dumps(body).encode())


def test_an_input_that_is_no_json_is_told_as_such() -> None:
    """The same for one that is no text at all."""
    for body in (b"{", b'{"prompt": "\xff"}'):
        with pytest.raises(WireError):
            decode_input(body)


# The queue


def test_the_answer_to_a_submission_names_the_request_and_its_urls() -> None:
    """They are taken as given; whether they are followed is not decided here."""
    handle = Handle(request_id="req-1", status_url="s", response_url="r", cancel_url="c")
    document = render_submitted(handle, queue_position=3)
    assert json.loads(document)["queue_position"] == 3
    assert decode_submitted(document) == handle


@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"request_id":""}', b'{"request_id":"../x"}', b'{"request_id":7}'])
def test_a_submission_without_a_usable_id_is_lost(body: bytes) -> None:
    """It goes into a path: what would lead elsewhere is no id."""
    with pytest.raises(WireError):
        decode_submitted(body)


def test_ids_are_words() -> None:
    """No slash, no dot, no query."""
    assert is_request_id("764cabcf-b745-4b3e-ae38-1200304cf45b")
    assert not any(is_request_id(text) for text in ("", "a/b", "..", "a?b", "a b", "a" * 201, "a\n"))


def test_each_state_is_told_with_what_the_vendors_client_needs() -> None:
    """`queue_position` while it waits, `logs` from then on: its Python client ends in a KeyError without."""
    handle = Handle(request_id="r")
    told = {
        state: json.loads(render_status(handle, QueueStatus(state=state, queue_position=2), inference_s=1.5))
        for state in QueueState
    }
    assert told[QueueState.IN_QUEUE]["queue_position"] == 2
    assert told[QueueState.IN_PROGRESS]["logs"] is None
    assert told[QueueState.COMPLETED]["metrics"] == {"inference_time": 1.5}
    assert "error" not in told[QueueState.COMPLETED]


@pytest.mark.parametrize(
    "body", [b"{}", b'{"status":"DREAMING"}', b'{"status":null}', b"[1]", b'{"status":["COMPLETED"]}']
)
def test_a_status_that_is_none_is_refused(body: bytes) -> None:
    """Nothing is concluded from what nobody knows."""
    with pytest.raises(WireError):
        decode_status(body)


@pytest.mark.parametrize("position", ["null", '"2"', "true", "-1", "[]"])
def test_an_odd_position_is_no_reason_to_complain(position: str) -> None:
    """It is told to people only."""
    status = decode_status(b'{"status":"IN_QUEUE","queue_position":%s}' % position.encode())
    assert status.queue_position in (None, 0)


def test_a_request_that_ended_without_a_result_says_so() -> None:
    """Either of the two fields."""
    assert not QueueStatus(state=QueueState.COMPLETED).has_failed
    assert QueueStatus(state=QueueState.COMPLETED, error="x").has_failed
    assert QueueStatus(state=QueueState.COMPLETED, error_type="x").has_failed


def test_the_queues_documents_are_small() -> None:
    """An endless one does not fill the memory."""
    reader = QueueReader()
    with pytest.raises(WireError, match="larger"):
        reader.feed(b'{"logs":"' + b"x" * (300 << 10))


def test_a_handle_of_another_version_or_none_is_refused() -> None:
    """What cannot be polled is told as unknown, by whoever finds it."""
    for text in ("", "{}", "[]", '{"request_id":"a/b"}', '{"request_id":1}'):
        with pytest.raises(WireError):
            decode_handle(text)


def test_answers_to_a_cancel_are_words() -> None:
    """As documented."""
    assert json.loads(render_cancel("CANCELLATION_REQUESTED")) == {"status": "CANCELLATION_REQUESTED"}


# Results


def read(body: bytes, step: int = 1 << 20) -> tuple[dict[int, bytes], Any]:
    """Read a result in pieces: its pictures and its answer."""
    reader = ResultReader()
    images: dict[int, bytes] = {}
    for at in range(0, len(body), step):
        for event in reader.feed(body[at : at + step]):
            match event:
                case ImageBegan(index=index):
                    images[index] = b""
                case ImageBytes(index=index, data=data):
                    images[index] += data
                case ImageEnded(index=index):
                    assert index in images
    return images, reader.finish()


@pytest.mark.parametrize("step", [1, 2, 7, 1000])
def test_links_stay_in_the_document(step: int) -> None:
    """Nothing is decoded of them, wherever the pieces are cut."""
    body = b'{"images":[{"url":"%s","content_type":"image/png"},{"url":"http://x/d"}],"seed":1}' % URL.encode()
    images, answer = read(body, step)
    assert (images, answer.images, answer.url_only) == ({}, (), True)
    assert links_of(answer.document) == (Link(url=URL, declared_mime="image/png"), Link(url="http://x/d"))


@pytest.mark.parametrize("step", [1, 2, 7, 1000])
def test_data_uris_leave_the_document(step: int) -> None:
    """As they come; their type is told, not trusted."""
    template = render_result(
        [ResultImage(content_type="image/png", slot=0), ResultImage(content_type="image/x", slot=1)]
    )
    images, answer = read(filled(template, {0: b"first", 1: b"second"}), step)
    assert images == {0: b"first", 1: b"second"}
    assert [(each.role, each.declared_mime) for each in answer.images] == [
        (Role.RESULT, "image/png"),
        (Role.RESULT, "image/x"),
    ]
    assert links_of(answer.document) == ()
    assert not answer.url_only


def test_one_picture_may_stand_alone() -> None:
    """`image` in the place of `images`."""
    _, answer = read(b'{"image":{"url":"%s"}}' % URL.encode())
    assert links_of(answer.document) == (Link(url=URL),)


@pytest.mark.parametrize("body", [b"{}", b'{"images":null}', b'{"images":[]}', b'{"images":[{"url":null},7]}', b"[]"])
def test_a_result_without_a_picture_has_none(body: bytes) -> None:
    """And no odd type makes one."""
    images, answer = read(body)
    assert (images, answer.images, links_of(answer.document)) == ({}, (), ())


@pytest.mark.parametrize("url", ["0", "ftp://x/y", "/etc/passwd", "javascript:x", "file:///x", "//x/y", " https://x"])
def test_only_web_links_are_links(url: str) -> None:
    """A number that somebody writes where a slot's number would stand is none of ours."""
    images, answer = read(json.dumps({"images": [{"url": url}]}).encode())
    assert (images, answer.images, links_of(answer.document)) == ({}, (), ())


def test_what_begins_like_a_data_uri_and_is_none_is_refused() -> None:
    """It is malformed, and asked for again."""
    with pytest.raises(WireError):
        read(b'{"images":[{"url":"data:image/png;base64,*"}]}')


# Errors


def test_the_queues_errors_have_a_type() -> None:
    """Infrastructure: a sentence and a word."""
    error = decode_error(render_error("Request timed out", error_type="request_timeout"))
    assert (error.message, error.type, error.is_input, error.is_json) == (
        "Request timed out",
        "request_timeout",
        False,
        True,
    )


def test_of_several_details_a_refusal_counts() -> None:
    """Whatever stands before it; where the complaint points says whether it is about the input."""
    details = [Detail(type="missing", msg="m", loc=("body",)), Detail(type="content_policy_violation", msg="no")]
    error = decode_error(render_details(details))
    assert (error.type, error.message, error.is_input) == ("content_policy_violation", "no", True)
    about_output = decode_error(render_details([Detail(type="content_policy_violation", msg="no", loc=("output",))]))
    assert not about_output.is_input


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b"[]", b'{"detail":{}}', b'{"detail":[]}', b'{"detail":[7]}'])
def test_no_error_body_is_too_odd(body: bytes) -> None:
    """There is always something to tell."""
    assert decode_error(body).message


def test_a_page_is_no_error_of_theirs() -> None:
    """Nor is a document that says nothing."""
    assert not decode_error(b"<html>").is_json
    assert not decode_error(b"{}").is_json
    assert decode_error(b'{"detail":"x"}').is_json
    assert decode_error(b'{"error_type":"x"}').is_json
