"""Google's Interactions, for either side: the resource that an interaction is, read and written.

Pure: no I/O, clock or randomness. What the model did is told in `steps`: thoughts, with summaries that may hold images
of their own, and outputs; what the caller sent may be among them, and is none of the model's. An older revision of the
API told its `outputs` alone; both are read.

Source: google-genai 3.4 `_gaos/types/interactions/interaction.py`, `modeloutputstep.py`, `thoughtstep.py`,
`userinputstep.py`, `usage.py`, `error.py`, `status.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from holdfast.types import Usage
from holdfast.wire.answers import Answer, AnswerImage, Role, UpstreamError
from holdfast.wire.background import BackgroundReader, Standing, Told, is_handle
from holdfast.wire.errors import WireError
from holdfast.wire.fields import count_of, document_of, list_of, mapping_of, slot_of, text_of, word_of
from holdfast.wire.gemini_answer import error_of
from holdfast.wire.template import Template, template_of

_STANDINGS: Mapping[str, Standing] = {
    "queued": Standing.QUEUED,
    "in_progress": Standing.AT_WORK,
    # Whoever made it is to go on with it: without him it has ended.
    "requires_action": Standing.ENDED,
    "requires_continuation": Standing.ENDED,
    "completed": Standing.ENDED,
    "failed": Standing.ENDED,
    "cancelled": Standing.ENDED,
    "incomplete": Standing.ENDED,
    "budget_exceeded": Standing.ENDED,
}
_IMAGES = frozenset({("steps", "content", "data"), ("steps", "summary", "data"), ("outputs", "data")})
_RPC_STATUSES: Mapping[int, int] = {1: 499, 3: 400, 4: 504, 5: 404, 7: 403, 8: 429, 9: 400, 14: 503, 16: 401}
"""What `google.rpc.Code` is over HTTP; what is not listed is 500. Source: google/rpc/code.proto."""
_MESSAGE_CHARS_MAX = 2_000


def INTERACTION_IMAGE(path: tuple[str, ...]) -> bool:
    """An image of an interaction: `steps[].content[].data`, `steps[].summary[].data`, `outputs[].data`."""
    return path in _IMAGES


def interaction_reader(*, image_bytes_max: int = 64 << 20) -> BackgroundReader:
    """Make what reads an interaction, whether it was created, asked for, or cancelled."""
    return BackgroundReader(INTERACTION_IMAGE, _answer_of, image_bytes_max=image_bytes_max)


def told_of(document: bytes) -> Told:
    """Read where an interaction stands.

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
    # An image in an odd place (a key given twice, a step of another type) is not lost: it was paid for.
    images = {index: AnswerImage(index=index, role=Role.DRAFT) for index in range(cut)}
    text_chars, result, has_link = 0, None, False
    for is_output, item in _contents_of(document):
        index = slot_of(item.get("data"))
        if is_output is None:
            # The caller's own, given back.
            if index is not None:
                images[index] = AnswerImage(index=index, role=Role.PARTIAL)
        elif index is not None:
            image = AnswerImage(index=index, role=Role.DRAFT, declared_mime=text_of(item.get("mime_type")))
            images[index] = image
            result = image if is_output else result
        elif is_output:
            text_chars += len(text_of(item.get("text")) or "")
            has_link = has_link or (item.get("type") == "image" and text_of(item.get("uri")) is not None)
    if result is not None:
        # Several images: the last is what was meant, the others are drafts.
        images[result.index] = AnswerImage(index=result.index, role=Role.RESULT, declared_mime=result.declared_mime)
    return Answer(
        images=tuple(images[index] for index in sorted(images)),
        document=skeleton,
        usage=_usage_of(document),
        finish_reason=text_of(document.get("status")),
        model_version=text_of(document.get("model")),
        response_id=text_of(document.get("id")),
        url_only=has_link and result is None,
        text_chars=text_chars,
        error=_error_of(document),
    )


def _contents_of(document: Mapping[str, Any]) -> Iterator[tuple[bool | None, Mapping[str, Any]]]:
    """List all contents, in order: an output's (True), a thought's (False), the caller's (None)."""
    for step in map(mapping_of, list_of(document.get("steps"))):
        kind = step.get("type")
        is_output = None if kind == "user_input" else kind == "model_output"
        yield from ((is_output, mapping_of(item)) for item in list_of(step.get("content")))
        yield from ((False, mapping_of(item)) for item in list_of(step.get("summary")))
    yield from ((True, mapping_of(item)) for item in list_of(document.get("outputs")))


def _error_of(document: Mapping[str, Any]) -> UpstreamError | None:
    """What went wrong: the resource's own list first, then the error of a step, then an envelope."""
    for error in map(mapping_of, list_of(document.get("errors"))):
        word = word_of(error.get("code"))
        if word is not None:
            return UpstreamError(status=None, message=_message_of(error), code=word)
    for step in map(mapping_of, list_of(document.get("steps"))):
        if isinstance(step.get("error"), dict):
            code = count_of(step["error"].get("code"))
            status = _RPC_STATUSES.get(code, 500)
            return UpstreamError(status=status, message=_message_of(step["error"]), code=str(code))
    return error_of(document, status=None) if isinstance(document.get("error"), dict) else None


def _message_of(error: Mapping[str, Any]) -> str:
    return (text_of(error.get("message")) or "")[:_MESSAGE_CHARS_MAX]


def _usage_of(document: Mapping[str, Any]) -> Usage | None:
    usage = document.get("usage")
    if not isinstance(usage, dict):
        return None
    return Usage(
        input_tokens=count_of(usage.get("total_input_tokens")),
        input_image_tokens=_image_tokens(usage.get("input_tokens_by_modality")),
        output_tokens=count_of(usage.get("total_output_tokens")) + count_of(usage.get("total_thought_tokens")),
        output_image_tokens=_image_tokens(usage.get("output_tokens_by_modality")),
    )


def _image_tokens(rows: object) -> int:
    found = [mapping_of(row) for row in list_of(rows)]
    return sum(count_of(row.get("tokens")) for row in found if str(row.get("modality")).upper() == "IMAGE")


def render_interaction(
    handle: str,
    status: str,
    *,
    model: str,
    created: str,
    steps: list[dict[str, Any]] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Template:
    """Write an interaction; an image's `data` is its number.

    Args:
        handle: Its name.
        status: One of the nine words.
        model: What draws.
        created: RFC 3339.
        steps: In order; None leaves them out.
        extra: Further members: `errors`, `usage`.
    """
    body: dict[str, Any] = {
        "id": handle,
        "object": "interaction",
        "model": model,
        "status": status,
        "created": created,
        "updated": created,
    }
    if steps is not None:
        body["steps"] = steps
    body.update(extra or {})
    return template_of(msgspec.json.encode(body), INTERACTION_IMAGE)
