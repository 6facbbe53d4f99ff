"""OpenAI Images: answers of upstreams, plain, streamed and failed."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from holdfast.types import Usage
from holdfast.wire.answers import Answer, Reader, Role
from holdfast.wire.errors import WireError
from holdfast.wire.openai_answer import (
    OPENAI_ANSWER_IMAGE,
    ImagesReader,
    ImagesStreamReader,
    decode_error,
    links_of,
    usage_document,
)
from holdfast.wire.scan import ImageBegan, ImageBytes

USAGE = {
    "input_tokens": 50,
    "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
    "output_tokens": 4160,
    "output_tokens_details": {"image_tokens": 4100, "text_tokens": 60},
    "total_tokens": 4210,
}


def b64(raw: bytes) -> str:
    """Standard base64 as text."""
    return base64.b64encode(raw).decode()


def read(reader: Reader, body: bytes, *, step: int = 1 << 20) -> tuple[dict[int, bytes], Answer]:
    """Read a body in pieces; images by number."""
    images: dict[int, bytes] = {}
    for at in range(0, len(body), step):
        for event in reader.feed(body[at : at + step]):
            if isinstance(event, ImageBegan):
                images[event.index] = b""
            elif isinstance(event, ImageBytes):
                images[event.index] += event.data
    return images, reader.finish()


def plain(document: Any, *, step: int = 1 << 20) -> tuple[dict[int, bytes], Answer]:
    """Read a plain answer."""
    return read(ImagesReader(), json.dumps(document).encode(), step=step)


def event(name: str, **fields: Any) -> bytes:
    """One event of a stream."""
    return f"event: {name}\ndata: {json.dumps({'type': name, **fields})}\n\n".encode()


def test_an_answer_is_read_whole() -> None:
    """Images, usage and what the upstream says of them."""
    document = {
        "created": 1764000000,
        "background": "opaque",
        "output_format": "jpeg",
        "data": [{"b64_json": b64(b"one"), "revised_prompt": "r"}, {"b64_json": b64(b"two")}],
        "usage": USAGE,
        "model": "gpt-image-2",
        "id": "img_1",
    }
    for step in (1, 7, 1 << 20):
        images, answer = plain(document, step=step)
        assert images == {0: b"one", 1: b"two"}
        assert [(image.index, image.role, image.declared_mime, image.revised_prompt) for image in answer.images] == [
            (0, Role.RESULT, "image/jpeg", "r"),
            (1, Role.RESULT, "image/jpeg", None),
        ]
        assert answer.usage == Usage(
            input_tokens=50, input_image_tokens=40, output_tokens=4160, output_image_tokens=4100
        )
        assert (answer.model_version, answer.response_id) == ("gpt-image-2", "img_1")
        assert (answer.url_only, answer.error, answer.results) == (False, None, answer.images)
        assert json.loads(answer.document)["data"][1] == {"b64_json": "1"}


def test_a_relays_three_keys_are_one_image() -> None:
    """new-api always sends `url`, `b64_json` and `revised_prompt`; empty means absent."""
    images, answer = plain({"created": 1, "data": [{"url": "", "b64_json": b64(b"x"), "revised_prompt": ""}]})
    assert images == {0: b"x"}
    assert answer.images[0].revised_prompt is None
    assert not answer.url_only


def test_links_alone_are_told() -> None:
    """There is nothing to spool."""
    images, answer = plain({"created": 1, "data": [{"url": "https://x.test/1.png", "b64_json": ""}]})
    assert images == {}
    assert answer.images == ()
    assert answer.url_only


def test_an_image_beside_a_link_is_an_image() -> None:
    """Both were sent."""
    assert not plain({"data": [{"url": "https://x.test/1.png", "b64_json": b64(b"x")}]})[1].url_only


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_a_data_url_in_the_place_of_a_link_is_an_image(step: int) -> None:
    """Decoded as it comes, plain and streamed; a link beside it stays one."""
    url = f"data:image/png;base64,{b64(b'one')}"
    images, answer = plain({"data": [{"url": url}, {"url": "https://x.test/2.png"}]}, step=step)
    assert images == {0: b"one"}
    assert [(image.index, image.role) for image in answer.images] == [(0, Role.RESULT)]
    assert not answer.url_only
    assert links_of(answer.document) == ("https://x.test/2.png",)
    images, answer = read(ImagesStreamReader(), event("image_generation.completed", url=url), step=step)
    assert images == {0: b"one"}
    assert [image.role for image in answer.images] == [Role.RESULT]


def test_an_image_given_twice_counts_once() -> None:
    """As its own string; the data URL beside it is kept."""
    url = f"data:image/png;base64,{b64(b'two')}"
    images, answer = plain({"data": [{"b64_json": b64(b"one"), "url": url}]})
    assert images == {0: b"one", 1: b"two"}
    assert [image.role for image in answer.images] == [Role.RESULT, Role.DRAFT]


@pytest.mark.parametrize("url", ["", "0", "1", "ftp://x.test/1.png", "/files/1.png"])
def test_what_is_no_link_is_none(url: str) -> None:
    """A number that somebody writes there is not one of ours either."""
    images, answer = plain({"data": [{"url": url}]})
    assert (images, answer.images, answer.url_only) == ({}, (), False)
    assert links_of(answer.document) == ()


def test_a_number_in_the_place_of_a_link_takes_nobodys_image() -> None:
    """Each image is listed once, whatever stands elsewhere."""
    url = f"data:image/png;base64,{b64(b'one')}"
    _, answer = plain({"data": [{"url": url}, {"url": "0"}]})
    assert [(image.index, image.role) for image in answer.images] == [(0, Role.RESULT)]


def test_links_are_bounded() -> None:
    """More than can be asked for are not taken."""
    document = json.dumps({"data": [{"url": f"https://x.test/{index}.png"} for index in range(40)]}).encode()
    assert len(links_of(document)) == 16


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"reasons": ["violence"], "flagged_input": "a l…"}, "flagged_input"),
        ({"flagged_input": "a l…"}, "flagged_input"),
        ({"provider_name": "Google", "raw": "…"}, None),
        ("x", None),
        (None, None),
    ],
)
def test_what_openrouter_flagged_is_told_as_a_refusal(metadata: Any, reason: str | None) -> None:
    """With 403, which otherwise means a wrong key."""
    error = decode_error(403, json.dumps({"error": {"code": 403, "message": "m", "metadata": metadata}}).encode())
    assert (error.code, error.reason) == ("403", reason)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"data": []},
        {"data": None},
        {"data": "x"},
        {"data": [None, 1, "x"]},
        {"data": [{}]},
        {"data": [{"b64_json": 5}]},
        [],
    ],
)
def test_an_answer_without_images_is_an_answer(document: Any) -> None:
    """That there is none is for the provider to judge."""
    images, answer = plain(document)
    assert (images, answer.images, answer.usage, answer.url_only) == ({}, (), None, False)


def test_an_error_inside_a_200_is_told() -> None:
    """Some relays cannot do better."""
    _, answer = plain({"error": {"message": "no", "code": 500, "type": "new_api_error"}})
    assert answer.error is not None
    assert (answer.error.code, answer.error.type, answer.error.status) == ("500", "new_api_error", None)


def test_an_image_in_an_odd_place_is_kept_as_a_draft() -> None:
    """It was paid for."""
    body = b'{"data":[{"b64_json":"QUJD"}],"data":[{"b64_json":"REVG"}]}'
    images, answer = read(ImagesReader(), body)
    assert images == {0: b"ABC", 1: b"DEF"}
    assert [(image.index, image.role) for image in answer.images] == [(0, Role.DRAFT), (1, Role.RESULT)]


def test_usage_without_details_counts_all_output_as_image() -> None:
    """The endpoint makes nothing else."""
    _, answer = plain({"data": [], "usage": {"output_tokens": 10, "input_tokens": "x"}})
    assert answer.usage == Usage(output_tokens=10, output_image_tokens=10)


def test_usage_is_written_as_it_is_read() -> None:
    """One form, both ways."""
    _, answer = plain({"data": [], "usage": USAGE})
    assert answer.usage is not None
    assert usage_document(answer.usage) == USAGE


@pytest.mark.parametrize("body", [b"", b"<html></html>", b'{"data":[{"b64_json":"QUJ', b'{"data":[{"b64_json":"*"}]}'])
def test_a_broken_answer_is_refused(body: bytes) -> None:
    """HTML with 200, cut bodies, base64 that is none."""
    with pytest.raises(WireError):
        read(ImagesReader(), body)


def test_an_image_beyond_the_bound_is_refused() -> None:
    """The reader's limit is the operator's."""
    with pytest.raises(WireError):
        read(ImagesReader(image_bytes_max=2), b'{"data":[{"b64_json":"QUJD"}]}')


def test_complete_needs_no_end_of_the_transfer() -> None:
    """A relay that misses the last chunk has sent everything."""
    reader = ImagesReader()
    reader.feed(b'{"data":[]')
    assert not reader.complete
    reader.feed(b"}")
    assert reader.complete
    assert repr(reader).startswith("<ImagesReader <JsonReader after")


@pytest.mark.parametrize("family", ["image_generation", "image_edit"])
@pytest.mark.parametrize("step", [1, 5, 1 << 20])
def test_a_stream_becomes_one_answer(family: str, step: int) -> None:
    """Previews are told apart, the finished image makes up the document."""
    body = (
        event(f"{family}.partial_image", b64_json=b64(b"p0"), partial_image_index=0)
        + b"\n\n: ping\n\n"
        + event(f"{family}.partial_image", partial_image_index=1, b64_json=b64(b"p1"))
        + event(
            f"{family}.completed",
            b64_json=b64(b"done"),
            created_at=1764000000,
            size="1024x1024",
            quality="high",
            background="opaque",
            output_format="png",
            usage=USAGE,
        )
    )
    images, answer = read(ImagesStreamReader(), body, step=step)
    assert images == {0: b"p0", 1: b"p1", 2: b"done"}
    assert [(image.index, image.role) for image in answer.images] == [
        (0, Role.PARTIAL),
        (1, Role.PARTIAL),
        (2, Role.RESULT),
    ]
    assert json.loads(answer.document) == {
        "created": 1764000000,
        "size": "1024x1024",
        "quality": "high",
        "background": "opaque",
        "output_format": "png",
        "data": [{"b64_json": "2"}],
        "usage": USAGE,
    }
    assert answer.usage is not None
    assert answer.images[2].declared_mime == "image/png"


def test_a_preview_is_known_when_it_begins() -> None:
    """By the event's name, or by the type if that comes before the image."""
    named = ImagesStreamReader().feed(b'event: image_generation.partial_image\ndata: {"b64_json":"QUJD"}\n\n')
    typed = ImagesStreamReader().feed(b'data: {"type":"image_generation.partial_image","b64_json":"QUJD"}\n\n')
    final = ImagesStreamReader().feed(event("image_generation.completed", b64_json="QUJD"))
    for events, partial in ((named, True), (typed, True), (final, False)):
        assert isinstance(events[0], ImageBegan)
        assert events[0].partial is partial


def test_a_type_without_an_event_name_is_enough() -> None:
    """Some relays drop the `event:` lines."""
    body = b'data: {"b64_json":"QUJD","type":"image_generation.completed"}\n\ndata: [DONE]\n\n'
    images, answer = read(ImagesStreamReader(), body)
    assert images == {0: b"ABC"}
    assert answer.results[0].index == 0


def test_several_completed_events_are_several_images() -> None:
    """One event an image; usage adds up."""
    body = event("image_generation.completed", b64_json=b64(b"a"), usage=USAGE) * 2
    reader = ImagesStreamReader(expected=2)
    images, answer = read(reader, body)
    assert len(images) == len(answer.results) == 2
    assert answer.usage is not None
    assert answer.usage.output_tokens == 8320


def test_complete_waits_for_every_expected_event() -> None:
    """And for the event's end."""
    reader = ImagesStreamReader(expected=2)
    done = event("image_generation.completed", b64_json=b64(b"a"))
    reader.feed(done)
    assert not reader.complete
    reader.feed(done[:-1])
    assert not reader.complete
    reader.feed(done[-1:])
    assert reader.complete
    assert repr(reader) == "<ImagesStreamReader completed=2/2 images=2>"


def test_a_stream_cut_before_its_end_is_refused() -> None:
    """Previews are no answer."""
    for body in (b"", b"\n\n", event("image_generation.partial_image", b64_json=b64(b"p"))):
        with pytest.raises(WireError, match="cut"):
            read(ImagesStreamReader(), body)


def test_a_stream_cut_inside_its_last_event_is_refused() -> None:
    """Half an image is none."""
    body = event("image_generation.completed", b64_json=b64(b"x" * 100))
    with pytest.raises(WireError):
        read(ImagesStreamReader(), body[:-40])


def test_an_error_event_is_told() -> None:
    """Named or not, it ends the stream."""
    for prefix in (b"", b"event: error\n"):
        reader = ImagesStreamReader()
        body = prefix + b'data: {"error":{"message":"m","type":"server_error","param":null,"code":"c"}}\n\n'
        images, answer = read(reader, body)
        assert reader.complete
        assert images == {}
        assert answer.error is not None
        assert (answer.error.code, answer.error.type, answer.error.message) == ("c", "server_error", "m")


def test_a_plain_answer_as_the_only_event_is_taken() -> None:
    """A relay that was asked for a stream and does not know how."""
    body = b'data: {"created":5,"data":[{"b64_json":"QUJD"}]}\n\ndata: [DONE]\n\n'
    images, answer = read(ImagesStreamReader(), body)
    # The path of a plain answer is an image's path, too.
    assert images == {0: b"ABC"}
    assert answer.results[0].index == 0
    assert json.loads(answer.document) == {"created": 5, "data": [{"b64_json": "0"}]}


def test_events_of_unknown_type_are_passed_over() -> None:
    """An image in one is kept as a draft."""
    body = event("image_generation.novel", b64_json=b64(b"n")) + event("image_generation.completed", b64_json=b64(b"c"))
    images, answer = read(ImagesStreamReader(), body)
    assert images == {0: b"n", 1: b"c"}
    assert [image.role for image in answer.images] == [Role.DRAFT, Role.RESULT]


def test_the_image_paths_are_those_of_answers_and_events() -> None:
    """Nothing else is cut out."""
    assert OPENAI_ANSWER_IMAGE(("data", "b64_json"))
    assert OPENAI_ANSWER_IMAGE(("b64_json",))
    assert not OPENAI_ANSWER_IMAGE(("data", "url"))
    assert not OPENAI_ANSWER_IMAGE(())


def test_an_error_body_is_decoded() -> None:
    """Type, code, and the stage of moderation."""
    body = {
        "error": {
            "message": "rejected",
            "type": "image_generation_user_error",
            "param": None,
            "code": "moderation_blocked",
            "moderation_details": {"moderation_stage": "output", "categories": ["violence"]},
        }
    }
    error = decode_error(400, json.dumps(body).encode())
    assert (error.status, error.type, error.code, error.reason) == (
        400,
        "image_generation_user_error",
        "moderation_blocked",
        "output",
    )
    assert error.is_json


@pytest.mark.parametrize("body", [b"", b"<html>secret</html>", b"\xff\xfe", b"{"])
def test_a_body_that_is_no_json_is_told_without_its_text(body: bytes) -> None:
    """A CDN's page is no message."""
    error = decode_error(524, body)
    assert (error.status, error.is_json, error.code) == (524, False, None)
    assert "secret" not in error.message


@pytest.mark.parametrize(
    ("body", "message", "is_json"),
    [
        (b'{"error":"plain text"}', "plain text", True),
        (b'{"message":"m"}', "m", True),
        (b'{"detail":"d"}', "d", True),
        (b"{}", "the body has no error object", False),
        (b"[]", "the body has no error object", False),
        (b'{"error":{}}', "", True),
    ],
)
def test_other_envelopes_are_read_as_far_as_they_go(body: bytes, message: str, is_json: bool) -> None:
    """Proxies have forms of their own."""
    error = decode_error(500, body)
    assert (error.message, error.is_json) == (message, is_json)


def test_a_long_message_is_cut() -> None:
    """It goes into a record of ours."""
    assert len(decode_error(500, json.dumps({"error": {"message": "x" * 9000}}).encode()).message) == 2000
