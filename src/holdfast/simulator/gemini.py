"""Gemini's `generateContent` as the vendor writes it: answers plain and streamed, refusals, errors.

Pure: no I/O, clock or randomness.

Source: google-genai 3.4; ai.google.dev/api/generate-content (2026-10); irregularities as relays measured them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from holdfast.errors import RequestError
from holdfast.simulator.replies import Headers, Making, Reply, Timed, html, plain, prompt_tokens
from holdfast.types import Tier
from holdfast.wire.gemini import (
    render_answer,
    render_answer_events,
    render_error_event,
    render_model,
    render_models,
)
from holdfast.wire.template import Template

MODELS = ("gemini-3-pro-image", "gemini-3.1-flash-image", "gemini-2.5-flash-image")
IMAGE_TOKENS = {Tier.K1: 1120, Tier.K2: 1120, Tier.K4: 2000}
DRAFT_TOKENS = 1120
INPUT_IMAGE_TOKENS = 258
THOUGHT_TOKENS = 265
_SIGNATURE = "dGhlIHNpbXVsYXRvciBzaWducyBpdHMgdGhvdWdodHMgd2l0aCB0aGlz"
"""Opaque to everybody but its maker, and base64; it has to come back unchanged."""
_THOUGHTS = (
    "**Composing the scene**\n\nThe subject stands left of the middle, the light comes from behind the clouds.",
    "**Checking the details**\n\nThe perspective holds; the highlights are not blown out.",
)

_STATUSES: Mapping[int, tuple[str, str]] = MappingProxyType(
    {
        400: ("INVALID_ARGUMENT", "Request contains an invalid argument."),
        401: ("UNAUTHENTICATED", "Request had invalid authentication credentials."),
        402: ("RESOURCE_EXHAUSTED", "Your prepayment credits are depleted."),
        403: ("PERMISSION_DENIED", "Permission denied on this resource."),
        404: ("NOT_FOUND", "The model is not found for this API version, or does not support generateContent."),
        405: ("UNIMPLEMENTED", "Method not allowed."),
        409: ("ABORTED", "The operation was aborted."),
        413: ("INVALID_ARGUMENT", "Request payload size exceeds the limit."),
        429: ("RESOURCE_EXHAUSTED", "You exceeded your current quota, please check your plan and billing details."),
        499: ("CANCELLED", "The operation was cancelled."),
        500: ("INTERNAL", "An internal error has occurred. Please retry."),
        503: ("UNAVAILABLE", "The model is overloaded. Please try again later."),
        504: ("DEADLINE_EXCEEDED", "The request timed out. Please try again."),
    }
)
_HTML_STATUSES = frozenset({502, *range(520, 528)})


def answer(making: Making, *, response_id: str, surplus_tokens: int) -> Reply:
    """Write the whole answer.

    Args:
        making: What was drawn.
        response_id: The upstream's own name for it.
        surplus_tokens: By how much its count exceeds its details.
    """
    if not making.asked.stream:
        thoughts = _thought_parts() if making.asked.wants_thoughts else []
        document = _document(making, thoughts, response_id, surplus_tokens)
        return _reply((Timed(share=1.0, template=render_answer(document)),), is_stream=False, making=making)
    thoughts = _thought_parts()
    events = render_answer_events(_document(making, thoughts, response_id, surplus_tokens))
    shares = [(index + 1) / (len(thoughts) + 2) for index in range(len(thoughts))]
    parts = [
        Timed(share=shares[index] if index < len(shares) else 1.0, template=event) for index, event in enumerate(events)
    ]
    return _reply(tuple(parts), is_stream=True, making=making)


def _reply(parts: tuple[Timed, ...], *, is_stream: bool, making: Making | None = None) -> Reply:
    return Reply(
        status=200,
        content_type="text/event-stream" if is_stream else "application/json; charset=UTF-8",
        parts=parts,
        pictures=dict(enumerate(making.drawn)) if making is not None else {},
        is_stream=is_stream,
        is_chunked=True,
    )


def _thought_parts() -> list[dict[str, Any]]:
    return [{"text": text, "thought": True} for text in _THOUGHTS]


def _document(making: Making, thoughts: list[dict[str, Any]], response_id: str, surplus_tokens: int) -> bytes:
    mime = f"image/{making.declared_format}"
    parts: list[dict[str, Any]] = [*thoughts, {"text": "Here is your picture."}]
    for slot in range(len(making.drawn)):
        part: dict[str, Any] = {"inlineData": {"mimeType": mime, "data": str(slot)}}
        is_draft = slot < making.drafts
        # Half of all drafts say what they are, the other half do not.
        if is_draft and slot % 2 == 0:
            part["thought"] = True
        if not is_draft:
            part["thoughtSignature"] = _SIGNATURE
        parts.append(part)
    candidate = {"content": {"role": "model", "parts": parts}, "finishReason": "STOP", "index": 0}
    images = IMAGE_TOKENS[making.asked.geometry.tier] * (len(making.drawn) - making.drafts)
    image_tokens = images + DRAFT_TOKENS * making.drafts
    usage = _usage(making, image_tokens=image_tokens, candidates_tokens=image_tokens + surplus_tokens)
    return msgspec.json.encode({"candidates": [candidate], **_ending(making, usage, response_id)})


def _usage(making: Making, *, image_tokens: int, candidates_tokens: int) -> dict[str, Any]:
    asked = making.asked
    text_tokens = prompt_tokens(asked.prompt)
    input_tokens = text_tokens + INPUT_IMAGE_TOKENS * asked.inputs
    inputs = [{"modality": "TEXT", "tokenCount": text_tokens}]
    if asked.inputs:
        inputs.append({"modality": "IMAGE", "tokenCount": INPUT_IMAGE_TOKENS * asked.inputs})
    usage: dict[str, Any] = {
        "promptTokenCount": input_tokens,
        "candidatesTokenCount": candidates_tokens,
        "thoughtsTokenCount": THOUGHT_TOKENS,
        "totalTokenCount": input_tokens + candidates_tokens + THOUGHT_TOKENS,
        "promptTokensDetails": inputs,
    }
    if image_tokens:
        usage["candidatesTokensDetails"] = [{"modality": "IMAGE", "tokenCount": image_tokens}]
    return usage


def _ending(making: Making, usage: dict[str, Any], response_id: str) -> dict[str, Any]:
    return {"usageMetadata": usage, "modelVersion": making.asked.model, "responseId": response_id}


def refused_input(making: Making, *, reason: str | None, response_id: str) -> Reply:
    """Write the refusal of a prompt: a 200 without candidates."""
    tokens = prompt_tokens(making.asked.prompt)
    body: dict[str, Any] = {
        "promptFeedback": {"blockReason": reason or "OTHER"},
        **_ending(making, {"promptTokenCount": tokens, "totalTokenCount": tokens}, response_id),
    }
    return _short(making, body)


def refused_output(making: Making, *, reason: str | None, response_id: str) -> Reply:
    """Write the refusal of a picture: a 200 with a finishReason and an empty content."""
    candidate = {
        "content": {},
        "finishReason": reason or "IMAGE_SAFETY",
        "finishMessage": "Unable to show the generated image. You will not be charged for this request.",
        "index": 0,
    }
    return _short(making, {"candidates": [candidate], **_ending(making, _thought_usage(making), response_id)})


def without_picture(making: Making, *, text: str | None, reason: str | None, response_id: str) -> Reply:
    """Write an answer that holds no picture; with prose in its place, if any."""
    parts = [{"text": text}] if text else None
    candidate = {
        "content": {"role": "model", "parts": parts},
        "finishReason": reason or ("STOP" if text else "NO_IMAGE"),
        "index": 0,
    }
    return _short(making, {"candidates": [candidate], **_ending(making, _thought_usage(making), response_id)})


def _thought_usage(making: Making) -> dict[str, Any]:
    tokens = prompt_tokens(making.asked.prompt)
    # Of a refusal both counts are the same, and the total counts them once: so relays measured it.
    return {
        "promptTokenCount": tokens,
        "candidatesTokenCount": THOUGHT_TOKENS,
        "thoughtsTokenCount": THOUGHT_TOKENS,
        "totalTokenCount": tokens + THOUGHT_TOKENS,
    }


def _short(making: Making, body: dict[str, Any]) -> Reply:
    document = msgspec.json.encode(body)
    if not making.asked.stream:
        return _reply((Timed(share=1.0, template=(document,)),), is_stream=False)
    events = render_answer_events(document)
    return _reply(tuple(Timed(share=1.0, template=event) for event in events), is_stream=True)


def error(
    status: int, *, retry_after: str | None = None, http_status: int | None = None, model: str | None = None
) -> Reply:
    """Write the error that goes with a status; a front end's are HTML.

    Args:
        status: What the envelope says.
        retry_after: A hint, as it stands in the header; seconds also become a `RetryInfo`.
        http_status: What the head says, if something else.
        model: Named by a quota.
    """
    headers: Headers = (("retry-after", retry_after),) if retry_after is not None else ()
    if status in _HTML_STATUSES:
        return html(http_status or status, headers=headers)
    body = error_document(status, retry_after=retry_after, model=model)
    return plain(http_status or status, "application/json; charset=UTF-8", body, headers=headers)


def exhausted() -> Reply:
    """Write what Vertex AI says when the capacity that its customers share is used up."""
    told = {"code": 429, "message": "Resource exhausted. Please try again later.", "status": "RESOURCE_EXHAUSTED"}
    return plain(429, "application/json; charset=UTF-8", msgspec.json.encode({"error": told}))


def error_event(status: int) -> Template:
    """Write an error into a stream that has begun."""
    return render_error_event(error_document(status))


def broken_stream(status: int) -> Reply:
    """Write a stream that ends in an error."""
    return _reply((Timed(share=1.0, template=error_event(status)),), is_stream=True)


def error_document(
    status: int, *, message: str | None = None, retry_after: str | None = None, model: str | None = None
) -> bytes:
    """Write an envelope."""
    word, usual = _words_of(status)
    told: dict[str, Any] = {"code": status, "message": message or usual, "status": word}
    if status == 429:
        violation = {
            "quotaMetric": "generativelanguage.googleapis.com/generate_requests_per_model",
            "quotaId": "GenerateRequestsPerMinutePerProjectPerModel",
            "quotaDimensions": {"model": model or MODELS[0], "location": "global"},
            "quotaValue": "20",
        }
        told["details"] = [{"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]}]
        if retry_after is not None and retry_after.replace(".", "", 1).isdigit():
            hint = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{retry_after}s"}
            told["details"].append(hint)
    return msgspec.json.encode({"error": told})


def mistake(problem: RequestError) -> Reply:
    """Tell a caller what is wrong with the request."""
    body = error_document(problem.status, message=str(problem))
    return plain(problem.status, "application/json; charset=UTF-8", body)


def models(name: str | None) -> Reply:
    """Write the list of models, or one of them; every name is taken."""
    return plain(200, "application/json; charset=UTF-8", render_model(name) if name else render_models(MODELS))


def _words_of(status: int) -> tuple[str, str]:
    if status in _STATUSES:
        return _STATUSES[status]
    return _STATUSES[500] if status >= 500 else _STATUSES[400]
