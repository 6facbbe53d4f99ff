"""Gemini `generateContent`, for either side: this module is the whole dialect, the others hold its halves.

Pure: no I/O, clock or randomness. What is written here goes to callers; every answer is a template whose slots are the
numbers of the images to be streamed into it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from holdfast.types import Usage
from holdfast.wire.fields import document_of, list_of, mapping_of
from holdfast.wire.gemini_answer import (
    GEMINI_ANSWER_IMAGE,
    GenerateReader,
    GenerateStreamReader,
    decode_error,
    error_of,
    merged,
)
from holdfast.wire.gemini_request import (
    GEMINI_REQUEST_IMAGE,
    GenerateContentRequest,
    GenerateView,
    InlineImage,
    decode_generate_request,
    encode_generate_request,
    normalised,
    with_inlined,
)
from holdfast.wire.sse import event_of
from holdfast.wire.template import Template, template_of

__all__ = [
    "GEMINI_ANSWER_IMAGE",
    "GEMINI_REQUEST_IMAGE",
    "GenerateContentRequest",
    "GenerateReader",
    "GenerateStreamReader",
    "GenerateView",
    "InlineImage",
    "PlainImage",
    "decode_error",
    "decode_generate_request",
    "encode_generate_request",
    "error_of",
    "merged",
    "normalised",
    "plain_document",
    "render_answer",
    "render_answer_events",
    "render_error_event",
    "render_model",
    "render_models",
    "render_refusal",
    "with_inlined",
]

_METHODS = ("generateContent", "streamGenerateContent")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainImage:
    """One image for an answer of our own making."""

    slot: int
    mime: str
    """True type."""


def render_answer(document: bytes) -> Template:
    """Write an upstream's document on as it came, its images in their places.

    Args:
        document: `Answer.document` of a reader of this dialect.
    """
    return template_of(document, GEMINI_ANSWER_IMAGE)


def plain_document(images: Sequence[PlainImage], *, usage: Usage | None, model: str, response_id: str) -> bytes:
    """Make the document that `render_answer` and `render_answer_events` take, for images of another dialect."""
    parts = [{"inlineData": {"mimeType": image.mime, "data": str(image.slot)}} for image in images]
    candidate = {"content": {"role": "model", "parts": parts}, "finishReason": "STOP", "index": 0}
    return msgspec.json.encode({"candidates": [candidate], **_ending(usage, model, response_id)})


def render_answer_events(document: bytes) -> list[Template]:
    """Write a document as the events of `streamGenerateContent?alt=sse`: a chunk for each part, the ending in the last.

    Args:
        document: `Answer.document` of a reader of this dialect, or `plain_document`.
    """
    whole = mapping_of(normalised(document_of(document)))
    shared = {name: whole[name] for name in ("modelVersion", "responseId") if name in whole}
    chunks: list[dict[str, Any]] = []
    for candidate in map(mapping_of, list_of(whole.get("candidates"))):
        content = mapping_of(candidate.get("content"))
        rest = {name: value for name, value in candidate.items() if name != "content"}
        parts = list_of(content.get("parts"))
        for part in parts[:-1]:
            turn = {"content": {**content, "parts": [part]}, "index": candidate.get("index", 0)}
            chunks.append({"candidates": [turn], **shared})
        last = {"content": {**content, "parts": parts[-1:]}, **rest} if parts else dict(candidate)
        chunks.append({"candidates": [last], **shared})
    ending = {name: value for name, value in whole.items() if name != "candidates"}
    if chunks:
        chunks[-1].update(ending)
    else:
        chunks.append(ending)
    return [event_of(render_answer(msgspec.json.encode(chunk)), crlf=True) for chunk in chunks]


def render_refusal(
    *,
    block_reason: str | None,
    finish_reason: str | None,
    message: str,
    usage: Usage | None,
    model: str,
    response_id: str,
) -> bytes:
    """Write a refusal, or an answer without a picture, the Gemini way: a 200 that says why there is no image.

    Args:
        block_reason: The prompt was refused: `promptFeedback.blockReason`.
        finish_reason: The picture was refused or never made: `candidates[0].finishReason`; `NO_IMAGE` if both are None.
        message: For people.
        usage: What the upstream counted.
        model: What was asked.
        response_id: Our generation's id.
    """
    if block_reason is not None:
        told: dict[str, Any] = {"promptFeedback": {"blockReason": block_reason, "blockReasonMessage": message}}
    else:
        reason = finish_reason or "NO_IMAGE"
        told = {"candidates": [{"content": {}, "finishReason": reason, "finishMessage": message, "index": 0}]}
    return msgspec.json.encode({**told, **_ending(usage, model, response_id)})


def render_error_event(error_document: bytes) -> Template:
    """Write an error into a stream that has begun: both SDKs raise on it.

    Args:
        error_document: What `failures.render_error` made for the Gemini surface.
    """
    return event_of((error_document,), crlf=True)


def render_models(names: Sequence[str]) -> bytes:
    """Write the answer of `GET /v1beta/models`."""
    return msgspec.json.encode({"models": [_model(name) for name in names]})


def render_model(name: str) -> bytes:
    """Write the answer of `GET /v1beta/models/{name}`."""
    return msgspec.json.encode(_model(name))


def _model(name: str) -> Mapping[str, Any]:
    return {
        "name": f"models/{name}",
        "baseModelId": name,
        "version": "001",
        "displayName": name,
        "supportedGenerationMethods": _METHODS,
    }


def _ending(usage: Usage | None, model: str, response_id: str) -> dict[str, Any]:
    ending: dict[str, Any] = {"modelVersion": model, "responseId": response_id}
    if usage is not None:
        ending["usageMetadata"] = {
            "promptTokenCount": usage.input_tokens,
            "candidatesTokenCount": usage.output_tokens,
            "totalTokenCount": usage.total_tokens,
            "promptTokensDetails": _details(usage.input_tokens, usage.input_image_tokens),
            "candidatesTokensDetails": _details(usage.output_tokens, usage.output_image_tokens),
        }
    return ending


def _details(tokens: int, image_tokens: int) -> list[dict[str, Any]]:
    rows = [("TEXT", tokens - image_tokens), ("IMAGE", image_tokens)]
    return [{"modality": modality, "tokenCount": count} for modality, count in rows if count > 0]
