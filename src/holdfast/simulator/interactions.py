"""Google's Interactions as the vendor writes them: a resource that is queued, in progress, and then ended.

Pure: no I/O, clock or randomness. What becomes of a request meanwhile is `background.py`'s. How a refusal is spelled is
written nowhere: here its code is `generateContent`'s reason, in lower case.

Source: google-genai 3.4 `_gaos/types/interactions`; ai.google.dev, Interactions API (2026).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from holdfast.errors import RequestError
from holdfast.simulator import gemini
from holdfast.simulator.replies import Headers, Making, Reply, Timed, html, plain, prompt_tokens
from holdfast.wire.interactions import render_interaction

_WORDS: dict[int, tuple[str, str]] = {
    400: ("invalid_request", "The request is not valid."),
    401: ("unauthenticated", "API key not valid. Please pass a valid API key."),
    402: ("payment_required", "Your prepayment credits are depleted."),
    403: ("permission_denied", "Permission denied on this resource."),
    404: ("not_found", "The interaction is not found."),
    405: ("method_not_allowed", "Method not allowed."),
    429: ("rate_limit_exceeded", "You exceeded your current quota."),
    500: ("internal", "An internal error has occurred. Please retry."),
    503: ("unavailable", "The model is overloaded. Please try again later."),
    504: ("deadline_exceeded", "The request timed out. Please try again."),
}
_SIGNATURE = "dGhlIHNpbXVsYXRvciBzaWducyBpdHMgdGhvdWdodHMgd2l0aCB0aGlz"
_HTML_STATUSES = frozenset({502, *range(520, 528)})
_JSON = "application/json; charset=UTF-8"


def handle_of(seed: int, number: int) -> str:
    """Name a request."""
    return f"int_{seed & (1 << 64) - 1:016x}{number:016d}"


def standing(handle: str, status: str, making: Making) -> Reply:
    """Write one that has not ended, or was cancelled."""
    return _interaction(handle, status, making)


def answer(making: Making, handle: str) -> Reply:
    """Write one that has drawn: what was sent, a thought with a sketch's words, and what came of it."""
    mime = f"image/{making.declared_format}"
    contents: list[dict[str, Any]] = [{"type": "text", "text": "Here is your picture."}]
    contents += [{"type": "image", "mime_type": mime, "data": str(slot)} for slot in range(len(making.drawn))]
    image_tokens = gemini.IMAGE_TOKENS[making.asked.geometry.tier] * (len(making.drawn) - making.drafts)
    image_tokens += gemini.DRAFT_TOKENS * making.drafts
    steps = [_sent(making), _thought(), {"type": "model_output", "content": contents}]
    usage = _usage(making, image_tokens)
    return _interaction(handle, "completed", making, steps=steps, extra={"usage": usage}, with_pictures=True)


def without_picture(making: Making, handle: str, *, text: str | None, reason: str | None) -> Reply:
    """Write one that holds no picture: words in its place, or another end, which `reason` names."""
    contents = [{"type": "text", "text": text}] if text else []
    steps = [_sent(making), _thought(), {"type": "model_output", "content": contents}]
    return _interaction(handle, reason or "completed", making, steps=steps, extra={"usage": _usage(making, 0)})


def refusal(making: Making, handle: str, *, stage: str, reason: str | None) -> Reply:
    """Write one that was blocked."""
    code = reason or ("prohibited_content" if stage == "input" else "image_safety")
    errors = [{"code": code, "message": "The content was blocked. You will not be charged for this request."}]
    steps = [_sent(making)]
    return _interaction(handle, "failed", making, steps=steps, extra={"errors": errors, "usage": _usage(making, 0)})


def failed(making: Making, handle: str, status: int) -> Reply:
    """Write one that came to nothing."""
    code, message = _WORDS.get(status, _WORDS[500])
    extra = {"errors": [{"code": code, "message": message}]}
    return _interaction(handle, "failed", making, steps=[_sent(making)], extra=extra)


def error(status: int, *, retry_after: str | None = None, http_status: int | None = None) -> Reply:
    """Write the error that goes with a status; a front end's are HTML."""
    headers: Headers = (("retry-after", retry_after),) if retry_after is not None else ()
    if status in _HTML_STATUSES:
        return html(http_status or status, headers=headers)
    code, message = _WORDS.get(status, _WORDS[500] if status >= 500 else _WORDS[400])
    return plain(http_status or status, _JSON, _envelope(code, message), headers=headers)


def mistake(problem: RequestError) -> Reply:
    """Tell a caller what is wrong with the request."""
    return plain(problem.status, _JSON, _envelope("invalid_request", str(problem)))


def models(name: str | None) -> Reply:
    """Write the list of models, or one of them."""
    return gemini.models(name)


def _envelope(code: str, message: str) -> bytes:
    return msgspec.json.encode({"error": {"code": code, "message": message}})


def _interaction(
    handle: str,
    status: str,
    making: Making,
    *,
    steps: list[dict[str, Any]] | None = None,
    extra: dict[str, Any] | None = None,
    with_pictures: bool = False,
) -> Reply:
    created = datetime.fromtimestamp(making.created, UTC).isoformat().replace("+00:00", "Z")
    template = render_interaction(handle, status, model=making.asked.model, created=created, steps=steps, extra=extra)
    return Reply(
        status=200,
        content_type=_JSON,
        parts=(Timed(share=1.0, template=template),),
        pictures=dict(enumerate(making.drawn)) if with_pictures else {},
        is_chunked=True,
    )


def _sent(making: Making) -> dict[str, Any]:
    return {"type": "user_input", "content": [{"type": "text", "text": making.asked.prompt}]}


def _thought() -> dict[str, Any]:
    summary = [{"type": "text", "text": "The subject stands left of the middle."}]
    return {"type": "thought", "signature": _SIGNATURE, "summary": summary}


def _usage(making: Making, image_tokens: int) -> dict[str, Any]:
    asked = making.asked
    text_tokens, thoughts = prompt_tokens(asked.prompt), gemini.THOUGHT_TOKENS
    input_image_tokens = gemini.INPUT_IMAGE_TOKENS * asked.inputs
    inputs: list[dict[str, Any]] = [{"modality": "text", "tokens": text_tokens}]
    if asked.inputs:
        inputs.append({"modality": "image", "tokens": input_image_tokens})
    input_tokens = text_tokens + input_image_tokens
    usage: dict[str, Any] = {
        "total_input_tokens": input_tokens,
        "input_tokens_by_modality": inputs,
        "total_output_tokens": image_tokens,
        "total_thought_tokens": thoughts,
        "total_tokens": input_tokens + image_tokens + thoughts,
    }
    if image_tokens:
        usage["output_tokens_by_modality"] = [{"modality": "image", "tokens": image_tokens}]
    return usage
