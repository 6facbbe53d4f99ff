"""Gemini: what is written to callers, checked with our own readers and the SDK's types."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.genai.types import FinishReason, GenerateContentResponse

from holdfast.types import Surface, Usage
from holdfast.wire.failures import render_error
from holdfast.wire.gemini import (
    GenerateReader,
    GenerateStreamReader,
    PlainImage,
    plain_document,
    render_answer,
    render_answer_events,
    render_error_event,
    render_model,
    render_models,
    render_refusal,
)
from holdfast.wire.template import Template, filled, slots_of

USAGE = Usage(input_tokens=12, input_image_tokens=2, output_tokens=1474, output_image_tokens=1120)
DOCUMENT: dict[str, Any] = {
    "candidates": [
        {
            "content": {
                "role": "model",
                "parts": [
                    {"text": "thinking", "thought": True},
                    {"inlineData": {"mimeType": "image/png", "data": "0"}, "thought": True},
                    {"text": "Here"},
                    {"inlineData": {"mimeType": "image/jpeg", "data": "1"}, "thoughtSignature": "c2ln"},
                ],
            },
            "finishReason": "STOP",
            "index": 0,
        }
    ],
    "usageMetadata": {"promptTokenCount": 12, "totalTokenCount": 12},
    "modelVersion": "gemini-3-pro-image",
    "responseId": "r1",
}
IMAGES = {0: b"draft", 1: b"result"}


def as_bytes(document: Any) -> bytes:
    """Encode a document."""
    return json.dumps(document).encode()


def sdk(template: Template | bytes) -> GenerateContentResponse:
    """Read as google-genai does."""
    body = template if isinstance(template, bytes) else filled(template, IMAGES)
    return GenerateContentResponse.model_validate_json(body)


def chunks_of(document: Any) -> list[dict[str, Any]]:
    """The events of a document, decoded."""
    out = []
    for event in render_answer_events(as_bytes(document)):
        text = filled(event, IMAGES)
        assert text.startswith(b"data: {")
        assert text.endswith(b"}\r\n\r\n")
        assert text.count(b"\n") == 2
        out.append(json.loads(text[6:]))
    return out


def test_an_upstreams_document_goes_on_as_it_came() -> None:
    """All parts, thought signatures included; images in their places."""
    template = render_answer(as_bytes(DOCUMENT))
    assert slots_of(template) == (0, 1)
    response = sdk(template)
    assert response.parts is not None
    assert [part.inline_data.data for part in response.parts if part.inline_data] == [b"draft", b"result"]
    assert response.parts[3].thought_signature == b"sig"


def test_snake_case_documents_find_their_slots() -> None:
    """The upstream's spelling is kept."""
    body = b'{"candidates":[{"content":{"parts":[{"inline_data":{"mime_type":"image/png","data":"1"}}]}}]}'
    assert filled(render_answer(body), IMAGES) == body.replace(b'"1"', b'"cmVzdWx0"')


def test_images_of_another_dialect_become_an_answer() -> None:
    """One model turn, a part for each image."""
    images = [PlainImage(slot=1, mime="image/png"), PlainImage(slot=0, mime="image/webp")]
    template = render_answer(plain_document(images, usage=USAGE, model="gpt-image-2", response_id="gen_1"))
    assert slots_of(template) == (1, 0)
    response = sdk(template)
    assert response.parts is not None
    assert [(part.inline_data.mime_type, part.inline_data.data) for part in response.parts if part.inline_data] == [
        ("image/png", b"result"),
        ("image/webp", b"draft"),
    ]
    assert response.candidates is not None
    assert response.candidates[0].finish_reason is FinishReason.STOP
    assert (response.model_version, response.response_id) == ("gpt-image-2", "gen_1")
    assert response.usage_metadata is not None
    assert response.usage_metadata.total_token_count == 1486


def test_our_reader_reads_what_we_write() -> None:
    """Usage survives the way there and back."""
    reader = GenerateReader()
    document = plain_document([PlainImage(slot=0, mime="image/png")], usage=USAGE, model="m", response_id="r")
    reader.feed(filled(render_answer(document), IMAGES))
    answer = reader.finish()
    assert answer.usage == USAGE
    assert answer.results[0].declared_mime == "image/png"
    assert answer.document == document


def test_unknown_usage_is_left_out() -> None:
    """Zeros would be a claim."""
    assert b"usageMetadata" not in plain_document([], usage=None, model="m", response_id="r")


def test_a_stream_has_a_chunk_for_each_part() -> None:
    """The ending comes with the last; no image is in a chunk with another."""
    chunks = chunks_of(DOCUMENT)
    assert [len(chunk["candidates"][0]["content"]["parts"]) for chunk in chunks] == [1, 1, 1, 1]
    assert ["finishReason" in chunk["candidates"][0] for chunk in chunks] == [False, False, False, True]
    assert ["usageMetadata" in chunk for chunk in chunks] == [False, False, False, True]
    assert all(chunk["modelVersion"] == "gemini-3-pro-image" and chunk["responseId"] == "r1" for chunk in chunks)
    for chunk in chunks:
        assert sdk(as_bytes(chunk)).candidates is not None


def test_our_reader_merges_the_stream_into_the_document() -> None:
    """Splitting and merging are inverse."""
    body = b"\r\n".join(filled(event, IMAGES) for event in render_answer_events(as_bytes(DOCUMENT)))
    reader = GenerateStreamReader()
    reader.feed(body)
    assert reader.complete
    assert json.loads(reader.finish().document) == DOCUMENT


@pytest.mark.parametrize(
    "document",
    [
        {"promptFeedback": {"blockReason": "SAFETY"}, "responseId": "r"},
        {"candidates": [{"finishReason": "NO_IMAGE", "index": 0}]},
        {"candidates": [{"content": {}, "finishReason": "IMAGE_SAFETY"}]},
        {},
    ],
)
def test_a_document_without_parts_is_one_chunk(document: dict[str, Any]) -> None:
    """Nothing is lost of a refusal."""
    assert chunks_of(document) == [document]


def test_candidates_are_streamed_one_after_the_other() -> None:
    """Each with its index."""
    second = {"content": {"parts": [{"text": "b"}]}, "index": 1, "finishReason": "STOP"}
    chunks = chunks_of({**DOCUMENT, "candidates": [*DOCUMENT["candidates"], second]})
    assert [chunk["candidates"][0]["index"] for chunk in chunks] == [0, 0, 0, 0, 1]


def test_a_document_on_several_lines_is_streamed_on_one() -> None:
    """Google pretty-prints."""
    body = json.dumps(DOCUMENT, indent=2).encode()
    assert len(render_answer_events(body)) == 4


def test_a_refused_prompt_is_told_the_gemini_way() -> None:
    """A 200 without candidates, as the SDK expects."""
    body = render_refusal(
        block_reason="PROHIBITED_CONTENT", finish_reason=None, message="no", usage=USAGE, model="m", response_id="gen_1"
    )
    response = sdk(body)
    assert response.candidates is None
    assert response.prompt_feedback is not None
    assert response.prompt_feedback.block_reason == "PROHIBITED_CONTENT"
    assert response.prompt_feedback.block_reason_message == "no"
    assert response.response_id == "gen_1"


@pytest.mark.parametrize(("given", "told"), [("IMAGE_SAFETY", "IMAGE_SAFETY"), (None, "NO_IMAGE")])
def test_a_refused_or_missing_picture_is_told_the_gemini_way(given: str | None, told: str) -> None:
    """A 200 whose candidate says why."""
    body = render_refusal(
        block_reason=None, finish_reason=given, message="why", usage=None, model="m", response_id="gen_1"
    )
    response = sdk(body)
    assert response.candidates is not None
    assert response.candidates[0].finish_reason == told
    assert response.candidates[0].finish_message == "why"
    assert response.parts is None or response.parts == []


def test_our_reader_reads_our_refusals() -> None:
    """One gateway may stand behind another."""
    reader = GenerateReader()
    reader.feed(
        render_refusal(
            block_reason=None, finish_reason="IMAGE_SAFETY", message="w", usage=USAGE, model="m", response_id="r"
        )
    )
    answer = reader.finish()
    assert (answer.finish_reason, answer.finish_message, answer.images, answer.usage) == (
        "IMAGE_SAFETY",
        "w",
        (),
        USAGE,
    )


def test_an_error_event_holds_the_envelope() -> None:
    """Without a name, with CRLF: anything else breaks the Python SDK."""
    envelope = render_error(Surface.GEMINI, code="overloaded", message="busy")
    assert render_error_event(envelope) == (b"data: " + envelope + b"\r\n\r\n",)


def test_models_are_listed() -> None:
    """Names with their prefix, methods told."""
    listed = json.loads(render_models(["a", "b"]))
    assert [row["name"] for row in listed["models"]] == ["models/a", "models/b"]
    assert listed["models"][0] == json.loads(render_model("a"))
    assert "generateContent" in listed["models"][0]["supportedGenerationMethods"]
