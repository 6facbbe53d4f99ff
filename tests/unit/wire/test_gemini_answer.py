"""Gemini: answers of upstreams, plain, streamed, refused and failed."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from holdfast.types import Usage
from holdfast.wire.answers import Answer, Reader, Role
from holdfast.wire.errors import WireError
from holdfast.wire.gemini_answer import (
    GEMINI_ANSWER_IMAGE,
    GenerateReader,
    GenerateStreamReader,
    decode_error,
    merged,
)
from holdfast.wire.scan import ImageBegan, ImageBytes

USAGE = {
    "promptTokenCount": 12,
    "candidatesTokenCount": 1209,
    "thoughtsTokenCount": 265,
    "totalTokenCount": 1486,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 5}, {"modality": "IMAGE", "tokenCount": 7}],
    "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1120}],
}


def picture(raw: bytes, mime: str = "image/png", **fields: Any) -> dict[str, Any]:
    """A part that holds an image."""
    return {"inlineData": {"mimeType": mime, "data": base64.b64encode(raw).decode()}, **fields}


def answer_with(*parts: Any, **fields: Any) -> dict[str, Any]:
    """An answer of one candidate."""
    candidate = {"content": {"role": "model", "parts": list(parts)}, "finishReason": "STOP", "index": 0}
    return {"candidates": [candidate], **fields}


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
    return read(GenerateReader(), json.dumps(document).encode(), step=step)


def streamed(*chunks: Any, step: int = 1 << 20) -> tuple[dict[int, bytes], Answer]:
    """Read a stream of chunks."""
    body = b"".join(b"data: " + json.dumps(chunk).encode() + b"\r\n\r\n" for chunk in chunks)
    return read(GenerateStreamReader(), body, step=step)


def roles(answer: Answer) -> list[Role]:
    """What each image is."""
    return [image.role for image in answer.images]


@pytest.mark.parametrize("step", [1, 11, 1 << 20])
def test_an_answer_is_read_whole(step: int) -> None:
    """Image, text, usage, and the upstream's names."""
    document = answer_with(
        {"text": "Here is"},
        picture(b"\xff\xd8 jpeg", "image/jpeg", thoughtSignature="Cs4B"),
        usageMetadata=USAGE,
        modelVersion="gemini-3-pro-image",
        responseId="r1",
    )
    images, answer = plain(document, step=step)
    assert images == {0: b"\xff\xd8 jpeg"}
    assert [(image.index, image.role, image.declared_mime) for image in answer.images] == [
        (0, Role.RESULT, "image/jpeg")
    ]
    assert answer.usage == Usage(input_tokens=12, input_image_tokens=7, output_tokens=1474, output_image_tokens=1120)
    assert (answer.finish_reason, answer.finish_message, answer.block_reason) == ("STOP", None, None)
    assert (answer.model_version, answer.response_id, answer.text_chars) == ("gemini-3-pro-image", "r1", 7)
    part = json.loads(answer.document)["candidates"][0]["content"]["parts"][1]
    assert part == {"inlineData": {"mimeType": "image/jpeg", "data": "0"}, "thoughtSignature": "Cs4B"}


def test_the_document_is_the_upstreams_own() -> None:
    """Byte for byte, save the image: unknown members and spacing included."""
    body = b'{ "candidates":[{"content":{"parts":[{"inlineData":{"data":"QUJD"}}]}}], "novel": [1, 2] }'
    _, answer = read(GenerateReader(), body)
    assert answer.document == body.replace(b"QUJD", b"0")


def test_the_last_image_is_the_result_and_the_others_are_drafts() -> None:
    """3-pro returns up to ten, most of them unmarked drafts."""
    images, answer = plain(answer_with(picture(b"1"), {"text": "t"}, picture(b"2"), picture(b"3"), {"text": "end"}))
    assert images == {0: b"1", 1: b"2", 2: b"3"}
    assert roles(answer) == [Role.DRAFT, Role.DRAFT, Role.RESULT]
    assert [image.index for image in answer.results] == [2]


def test_a_thought_is_a_draft_wherever_it_stands() -> None:
    """Even after the result."""
    _, answer = plain(answer_with(picture(b"1"), picture(b"2", thought=True), {"text": "hm", "thought": True}))
    assert roles(answer) == [Role.RESULT, Role.DRAFT]
    assert answer.text_chars == 0


def test_thoughts_alone_are_no_result() -> None:
    """The model never came to its picture."""
    assert roles(plain(answer_with(picture(b"1", thought=True)))[1]) == [Role.DRAFT]


def test_every_candidate_has_its_result() -> None:
    """Where the count is honoured."""
    document = answer_with(picture(b"1"), picture(b"2"))
    document["candidates"].append(answer_with(picture(b"3"))["candidates"][0])
    assert roles(plain(document)[1]) == [Role.DRAFT, Role.RESULT, Role.RESULT]


def test_snake_case_is_read() -> None:
    """Relays re-encode with their own serialiser."""
    document = {
        "candidates": [
            {
                "content": {"parts": [{"inline_data": {"mime_type": "image/png", "data": "QUJD"}}]},
                "finish_reason": "STOP",
                "finish_message": "m",
            }
        ],
        "usage_metadata": {"prompt_token_count": 3},
        "model_version": "v",
        "response_id": "r",
    }
    images, answer = plain(document)
    assert images == {0: b"ABC"}
    assert answer.results[0].declared_mime == "image/png"
    assert (answer.finish_reason, answer.finish_message) == ("STOP", "m")
    assert (answer.model_version, answer.response_id) == ("v", "r")
    assert answer.usage == Usage(input_tokens=3)


@pytest.mark.parametrize(
    "body",
    [
        b'{"candidates":[{"content":{"parts":[{"inlineData":{"data":"-_-_"}}]}}]}',
        b'{"candidates":[{"content":{"parts":[{"inlineData":{"data":"data:image/png;base64,+/+/"}}]}}]}',
        b'{"candidates":[{"content":{"parts":[{"inlineData":{"data":"+\\/+\\u002f"}}]}}]}',
        b'{"candidates":{"content":{"parts":{"inlineData":{"data":"+/+/"}}}}}',
    ],
)
def test_relays_spellings_are_survived(body: bytes) -> None:
    """Alphabets, prefixes, escapes, unwrapped arrays."""
    images, answer = read(GenerateReader(), body)
    assert images == {0: b"\xfb\xff\xbf"}
    assert roles(answer) == [Role.RESULT]


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        {"candidates": None},
        {"candidates": [None]},
        {"candidates": [{}]},
        {"candidates": [{"content": None}]},
        {"candidates": [{"content": {}}]},
        {"candidates": [{"content": {"parts": None}}]},
        {"candidates": [{"content": {"parts": [None, 5, {}, {"inlineData": None}, {"inlineData": {"data": ""}}]}}]},
        {"candidates": "x", "usageMetadata": []},
    ],
)
def test_missing_and_mistyped_members_are_survived(document: Any) -> None:
    """An answer without an image, for the provider to judge."""
    images, answer = plain(document)
    assert (images, answer.images, answer.usage) == ({}, (), None)


def test_a_refused_prompt_is_told() -> None:
    """No candidates, a reason."""
    _, answer = plain(
        {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 9}}
    )
    assert answer.block_reason == "PROHIBITED_CONTENT"
    assert answer.finish_reason is None
    assert answer.usage == Usage(input_tokens=9)


def test_a_refused_picture_is_told() -> None:
    """After the full wait, in a 200."""
    _, answer = plain({"candidates": [{"content": {}, "finishReason": "IMAGE_SAFETY", "finishMessage": "Unable."}]})
    assert (answer.finish_reason, answer.finish_message) == ("IMAGE_SAFETY", "Unable.")


def test_prose_instead_of_a_picture_is_counted() -> None:
    """A question back, or a refusal in words."""
    assert plain(answer_with({"text": "Which sky?"}))[1].text_chars == 10


def test_an_array_of_chunks_is_one_answer() -> None:
    """`streamGenerateContent` without `alt=sse`."""
    chunks = [answer_with({"text": "a"}), answer_with(picture(b"1"), usageMetadata=USAGE)]
    images, answer = plain(chunks)
    assert images == {0: b"1"}
    assert len(json.loads(answer.document)["candidates"][0]["content"]["parts"]) == 2
    assert answer.usage is not None


def test_an_error_inside_a_200_is_told() -> None:
    """In a document, and in an array of one."""
    envelope = {"error": {"code": 503, "message": "m", "status": "UNAVAILABLE"}}
    for document in (envelope, [envelope]):
        error = plain(document)[1].error
        assert error is not None
        assert (error.status, error.type, error.code) == (503, "UNAVAILABLE", "503")


@pytest.mark.parametrize("step", [1, 9, 1 << 20])
def test_a_stream_becomes_one_document(step: int) -> None:
    """Parts are strung together; usage and reason are the last."""
    images, answer = streamed(
        {
            "candidates": [{"content": {"role": "model", "parts": [{"text": "a", "thought": True}]}, "index": 0}],
            "responseId": "r",
        },
        {
            "candidates": [{"content": {"parts": [picture(b"draft")], "role": "model"}, "index": 0}],
            "usageMetadata": {"promptTokenCount": 1},
        },
        {"candidates": [{"content": {"parts": [picture(b"result", thoughtSignature="s")]}}]},
        {
            "candidates": [{"content": {"parts": [{"text": ""}]}, "finishReason": "STOP", "index": 0}],
            "usageMetadata": USAGE,
            "modelVersion": "v",
        },
        step=step,
    )
    assert images == {0: b"draft", 1: b"result"}
    assert roles(answer) == [Role.DRAFT, Role.RESULT]
    assert (answer.finish_reason, answer.model_version, answer.response_id) == ("STOP", "v", "r")
    assert answer.usage is not None
    assert answer.usage.input_tokens == 12
    assert json.loads(answer.document) == {
        "candidates": [
            {
                "index": 0,
                "content": {
                    "role": "model",
                    "parts": [
                        {"text": "a", "thought": True},
                        {"inlineData": {"mimeType": "image/png", "data": "0"}},
                        {"inlineData": {"mimeType": "image/png", "data": "1"}, "thoughtSignature": "s"},
                        {"text": ""},
                    ],
                },
                "finishReason": "STOP",
            }
        ],
        "responseId": "r",
        "usageMetadata": USAGE,
        "modelVersion": "v",
    }


def test_a_stream_of_one_chunk_is_its_chunk() -> None:
    """Nothing is added."""
    document = answer_with(picture(b"1"), usageMetadata=USAGE)
    _, answer = streamed(document)
    document["candidates"][0]["content"]["parts"][0]["inlineData"]["data"] = "0"
    assert json.loads(answer.document) == document


def test_candidates_of_a_stream_are_merged_by_their_index() -> None:
    """In the order of the index."""
    images, answer = streamed(
        {"candidates": [{"index": 1, "content": {"parts": [picture(b"b")]}}]},
        {"candidates": [{"index": 0, "content": {"parts": [picture(b"a")]}}]},
    )
    assert images == {0: b"b", 1: b"a"}
    assert roles(answer) == [Role.RESULT, Role.RESULT]
    assert [item["index"] for item in json.loads(answer.document)["candidates"]] == [0, 1]


def test_a_refusal_in_a_stream_is_told() -> None:
    """Either way."""
    assert streamed({"promptFeedback": {"blockReason": "SAFETY"}})[1].block_reason == "SAFETY"
    assert streamed({"candidates": [{"finishReason": "NO_IMAGE"}]})[1].finish_reason == "NO_IMAGE"


def test_an_error_in_a_stream_is_told() -> None:
    """After parts, too."""
    _, answer = streamed(answer_with({"text": "a"}), {"error": {"code": 500, "status": "INTERNAL", "message": "m"}})
    assert answer.error is not None
    assert answer.error.status == 500


def test_a_stream_is_complete_once_a_reason_has_come() -> None:
    """And its event has ended."""
    reader = GenerateStreamReader()
    reader.feed(b'data: {"candidates":[{"content":{"parts":[{"text":"a"}]}}]}\r\n\r\n')
    assert not reader.complete
    reader.feed(b'data: {"candidates":[{"finishReason":"STOP"}]}')
    assert not reader.complete
    reader.feed(b"\r\n\r\n")
    assert reader.complete
    assert repr(reader) == "<GenerateStreamReader chunks=2 images=0 finished=True>"
    blocked = GenerateStreamReader()
    blocked.feed(b'data: {"promptFeedback":{"blockReason":"OTHER"}}\n\n')
    assert blocked.complete


def test_a_plain_answer_is_complete_once_its_document_has_closed() -> None:
    """A missing end of the transfer is survivable."""
    reader = GenerateReader()
    reader.feed(b"{")
    assert not reader.complete
    reader.feed(b"}")
    assert reader.complete
    assert repr(reader).startswith("<GenerateReader <JsonReader after")


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"{", b'{"candidates":[{"content":{"parts":[{"inlineData":{"data":"QU']
)
def test_a_broken_answer_is_refused(body: bytes) -> None:
    """Plain and streamed."""
    for reader, text in ((GenerateReader(), body), (GenerateStreamReader(), b"data: " + body if body else b"")):
        with pytest.raises(WireError):
            read(reader, text)  # type: ignore[arg-type]


def test_images_beyond_the_bound_are_refused() -> None:
    """The reader's limit is the operator's."""
    body = json.dumps(answer_with(picture(b"ABC"))).encode()
    with pytest.raises(WireError):
        read(GenerateReader(image_bytes_max=2), body)
    with pytest.raises(WireError):
        read(GenerateStreamReader(image_bytes_max=2), b"data: " + body + b"\n\n")


def test_merging_nothing_gives_nothing() -> None:
    """And members of odd types are passed over."""
    assert merged([]) == {}
    assert merged([None, 5, {"candidates": [None], "a": 1}]) == {"candidates": [{}], "a": 1}


def test_the_image_path_is_that_of_parts() -> None:
    """Either spelling, this one place."""
    assert GEMINI_ANSWER_IMAGE(("candidates", "content", "parts", "inlineData", "data"))
    assert GEMINI_ANSWER_IMAGE(("candidates", "content", "parts", "inline_data", "data"))
    assert not GEMINI_ANSWER_IMAGE(("candidates", "content", "parts", "text"))
    assert not GEMINI_ANSWER_IMAGE(("contents", "parts", "inlineData", "data"))


def quota_error(*details: dict[str, Any]) -> bytes:
    """A 429 with details."""
    rows = [{**detail, "@type": f"type.googleapis.com/google.rpc.{detail['@type']}"} for detail in details]
    error = {"code": 429, "message": "quota", "status": "RESOURCE_EXHAUSTED", "details": rows}
    return json.dumps({"error": error}).encode()


@pytest.mark.parametrize(
    ("delay", "seconds"),
    [
        ("34s", 34.0),
        ("34.074824224s", 34.074824224),
        ({"seconds": 3, "nanos": 500_000_000}, 3.5),
        ("soon", None),
        (5, None),
        ("1e9s", None),
    ],
)
def test_a_hint_when_to_retry_is_read(delay: object, seconds: float | None) -> None:
    """`RetryInfo`, in the forms in which it comes."""
    error = decode_error(429, quota_error({"@type": "RetryInfo", "retryDelay": delay}))
    assert error.retry_after_s == seconds
    assert (error.status, error.type, error.quota_per_day) == (429, "RESOURCE_EXHAUSTED", False)


def test_a_quota_of_the_day_is_told_apart() -> None:
    """Waiting a minute does not help."""
    day = {"@type": "QuotaFailure", "violations": [{"quotaId": "GenerateRequestsPerDayPerProject-FreeTier"}]}
    minute = {"@type": "QuotaFailure", "violations": [{"quotaId": "GenerateRequestsPerMinutePerProject"}]}
    assert decode_error(429, quota_error(minute, day)).quota_per_day
    assert decode_error(429, quota_error(day, minute)).quota_per_day
    assert not decode_error(429, quota_error(minute)).quota_per_day


def test_the_reason_of_an_error_is_read() -> None:
    """A bad key is a 400 at Google; only the reason tells."""
    error = decode_error(400, quota_error({"@type": "ErrorInfo", "reason": "API_KEY_INVALID"}))
    assert error.reason == "API_KEY_INVALID"


def test_an_error_in_an_array_is_read() -> None:
    """Streams without `alt=sse`."""
    assert decode_error(400, b"[" + quota_error() + b"]").type == "RESOURCE_EXHAUSTED"
    assert not decode_error(400, b"[]").is_json


@pytest.mark.parametrize("body", [b"", b"<html>secret</html>", b"\xff", b"{"])
def test_an_error_that_is_no_json_is_told_without_its_text(body: bytes) -> None:
    """A proxy's page."""
    error = decode_error(502, body)
    assert (error.status, error.is_json) == (502, False)
    assert "secret" not in error.message


def test_details_of_odd_types_are_survived() -> None:
    """Nothing in an error may raise."""
    body = {
        "error": {"code": "x", "details": [None, 5, {"@type": 7}, {"@type": "a.QuotaFailure", "violations": [None]}]}
    }
    error = decode_error(None, json.dumps(body).encode())
    assert (error.status, error.code, error.message) == (None, "x", "")
    assert decode_error(500, b'{"error":"text"}').message == "text"
