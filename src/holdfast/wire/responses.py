"""OpenAI's Responses with the image tool, for either side: the object that a response is, read and written.

Pure: no I/O, clock or randomness. A text model calls the tool: its call is an item of `output` and holds the image in
`result`; beside it stand reasoning, messages, and whatever else the model did.

Source: openai-python 3.54 `types/responses/response.py`, `response_output_item.py`, `response_error.py`,
`response_status.py`; developers.openai.com, background mode (2026).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from holdfast.types import Usage
from holdfast.wire.answers import Answer, AnswerImage, Role, UpstreamError
from holdfast.wire.background import BackgroundReader, Standing, Told, is_handle
from holdfast.wire.errors import WireError
from holdfast.wire.fields import count_of, document_of, list_of, mapping_of, slot_of, text_of
from holdfast.wire.openai_answer import error_of
from holdfast.wire.template import Template, template_of

_STANDINGS: Mapping[str, Standing] = {
    "queued": Standing.QUEUED,
    "in_progress": Standing.AT_WORK,
    "completed": Standing.ENDED,
    "failed": Standing.ENDED,
    "incomplete": Standing.ENDED,
    "cancelled": Standing.ENDED,
}
REFUSAL = "refusal"
"""`Answer.block_reason` where the text model declined to call the tool."""


def RESPONSE_IMAGE(path: tuple[str, ...]) -> bool:
    """An image of a response: `output[].result`."""
    return path == ("output", "result")


def response_reader(*, image_bytes_max: int = 64 << 20) -> BackgroundReader:
    """Make what reads a response, whether it was created, asked for, or cancelled."""
    return BackgroundReader(RESPONSE_IMAGE, _answer_of, image_bytes_max=image_bytes_max)


def told_of(document: bytes) -> Told:
    """Read where a response stands.

    Raises:
        WireError: It is none, or of a status that is not known.
    """
    fields = mapping_of(document_of(document))
    word, handle = text_of(fields.get("status")), text_of(fields.get("id"))
    if word is None or word not in _STANDINGS:
        raise WireError("json", "the answer names no status that is known")
    return Told(handle=handle if handle and is_handle(handle) else None, standing=_STANDINGS[word], word=word)


def _answer_of(skeleton: bytes, cut: int) -> Answer:
    document = mapping_of(document_of(skeleton))
    items = [mapping_of(item) for item in list_of(document.get("output"))]
    calls = [item for item in items if item.get("type") == "image_generation_call"]
    # An image in an odd place (a key given twice, an item of another type) is not lost: it was paid for.
    images = {index: AnswerImage(index=index, role=Role.DRAFT) for index in range(cut)}
    last: int | None = None
    for call in calls:
        index = slot_of(call.get("result"))
        if index is not None:
            images[index] = _image_of(index, call, Role.DRAFT)
            last = index
    for call in calls:
        # Called several times, the model meant the last one.
        if last is not None and slot_of(call.get("result")) == last:
            images[last] = _image_of(last, call, Role.RESULT)
    texts = [mapping_of(each) for item in items for each in list_of(item.get("content"))]
    incomplete = mapping_of(document.get("incomplete_details"))
    return Answer(
        images=tuple(images[index] for index in sorted(images)),
        document=skeleton,
        usage=_usage_of(document),
        finish_reason=text_of(incomplete.get("reason")),
        block_reason=REFUSAL if any(text_of(each.get("refusal")) for each in texts) else None,
        model_version=text_of(document.get("model")),
        response_id=text_of(document.get("id")),
        text_chars=sum(len(text_of(each.get("text")) or "") for each in texts),
        error=_error_of(document, calls),
    )


def _image_of(index: int, call: Mapping[str, Any], role: Role) -> AnswerImage:
    format_ = text_of(call.get("output_format"))
    return AnswerImage(
        index=index,
        role=role,
        declared_mime=f"image/{format_}" if format_ else None,
        revised_prompt=text_of(call.get("revised_prompt")),
    )


def _error_of(document: Mapping[str, Any], calls: list[Mapping[str, Any]]) -> UpstreamError | None:
    """What went wrong: the tool's own word first, since it says at which stage something was refused."""
    for holder in (*reversed(calls), document):
        if isinstance(holder.get("error"), dict):
            return error_of(holder, status=None)
    return None


def _usage_of(document: Mapping[str, Any]) -> Usage | None:
    """Tokens of the image tool where they are told apart; else those of the text model that called it."""
    drawn = mapping_of(mapping_of(document.get("tool_usage")).get("image_gen"))
    usage = drawn or document.get("usage")
    if not isinstance(usage, dict):
        return None
    details = mapping_of(drawn.get("output_tokens_details"))
    output_tokens = count_of(usage.get("output_tokens"))
    return Usage(
        input_tokens=count_of(usage.get("input_tokens")),
        input_image_tokens=count_of(mapping_of(usage.get("input_tokens_details")).get("image_tokens")),
        output_tokens=output_tokens,
        # Without details all output of the image tool is image.
        output_image_tokens=count_of(details.get("image_tokens")) if details else output_tokens if drawn else 0,
    )


def render_response(
    handle: str,
    status: str,
    *,
    model: str,
    created_at: int,
    output: list[dict[str, Any]] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Template:
    """Write a response; a call's `result` is the number of its image.

    Args:
        handle: `resp_…`.
        status: One of the six words.
        model: The text model.
        created_at: Unix seconds.
        output: Its items, in order.
        extra: Further members: `error`, `incomplete_details`, `usage`, `tool_usage`.
    """
    body: dict[str, Any] = {
        "id": handle,
        "object": "response",
        "created_at": created_at,
        "status": status,
        "background": True,
        "error": None,
        "incomplete_details": None,
        "model": model,
        "output": output or [],
        "parallel_tool_calls": False,
        "tool_choice": {"type": "image_generation"},
        "tools": [{"type": "image_generation"}],
        "usage": None,
    }
    body.update(extra or {})
    return template_of(msgspec.json.encode(body), RESPONSE_IMAGE)
