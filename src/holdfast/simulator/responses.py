"""OpenAI's Responses as the vendor writes them: an object that is queued, at work, and then ended, well or not.

Pure: no I/O, clock or randomness. What becomes of a request meanwhile is `background.py`'s. A GET of one that has ended
gives the same object every time.

Source: openai-python 3.54 `types/responses`; developers.openai.com, background mode (2026).
"""

from __future__ import annotations

from typing import Any

from holdfast.errors import RequestError
from holdfast.simulator import openai
from holdfast.simulator.replies import Making, Reply, Timed, prompt_tokens
from holdfast.wire.openai_answer import usage_document
from holdfast.wire.responses import render_response

OUTER_MODEL = "gpt-5.5"
REASONING_TOKENS = 16
_MODERATED = "Your request was rejected by the safety system. If you believe this is an error, contact us."


def handle_of(seed: int, number: int) -> str:
    """Name a request."""
    return f"resp_{seed & (1 << 64) - 1:016x}{number:016d}"


def standing(handle: str, status: str, making: Making) -> Reply:
    """Write one that has not ended, or was cancelled."""
    return _response(handle, status, making)


def answer(making: Making, handle: str) -> Reply:
    """Write one that has drawn: reasoning, a call of the tool for each picture, and words at the end."""
    output = [_reasoning(handle), *(_call(making, handle, slot) for slot in range(len(making.drawn)))]
    output.append(_message(handle, "Here is your picture."))
    extra = {"usage": _usage(making), "tool_usage": {"image_gen": _tool_usage(making), "web_search": _NO_SEARCHES}}
    return _response(handle, "completed", making, output=output, extra=extra, with_pictures=True)


_NO_SEARCHES = {"num_requests": 0}


def without_picture(making: Making, handle: str, *, text: str | None, reason: str | None) -> Reply:
    """Write one that holds no picture: words in its place, or an end before its time, which `reason` names."""
    output = [_reasoning(handle)] + ([_message(handle, text)] if text else [])
    extra: dict[str, Any] = {"usage": _usage(making)}
    if reason is not None:
        extra["incomplete_details"] = {"reason": reason}
    return _response(handle, "incomplete" if reason else "completed", making, output=output, extra=extra)


def refusal(making: Making, handle: str, *, stage: str, reason: str | None) -> Reply:
    """Write one whose call of the tool was blocked."""
    call = {
        "id": f"ig_{handle[5:]}0",
        "type": "image_generation_call",
        "status": "failed",
        "result": None,
        "error": {
            "message": _MODERATED,
            "type": "image_generation_user_error",
            "param": None,
            "code": reason or "moderation_blocked",
            "moderation_details": {"moderation_stage": stage, "categories": ["violence"]},
        },
    }
    return _response(handle, "completed", making, output=[_reasoning(handle), call], extra={"usage": _usage(making)})


def failed(making: Making, handle: str, status: int) -> Reply:
    """Write one that came to nothing."""
    code = {429: "rate_limit_exceeded"}.get(status, "server_error")
    error = {"code": code, "message": "An error occurred while processing your request."}
    return _response(handle, "failed", making, extra={"error": error})


def error(status: int, *, retry_after: str | None = None, http_status: int | None = None) -> Reply:
    """Write the error that goes with a status: the same envelopes as everywhere at OpenAI."""
    return openai.error(status, retry_after=retry_after, http_status=http_status)


def mistake(problem: RequestError) -> Reply:
    """Tell a caller what is wrong with the request."""
    return openai.mistake(problem)


def models(name: str | None) -> Reply:
    """Write the list of models, or one of them."""
    return openai.models(name)


def _response(
    handle: str,
    status: str,
    making: Making,
    *,
    output: list[dict[str, Any]] | None = None,
    extra: dict[str, Any] | None = None,
    with_pictures: bool = False,
) -> Reply:
    outer_model = making.asked.outer_model or OUTER_MODEL
    template = render_response(handle, status, model=outer_model, created_at=making.created, output=output, extra=extra)
    return Reply(
        status=200,
        content_type="application/json",
        parts=(Timed(share=1.0, template=template),),
        pictures=dict(enumerate(making.drawn)) if with_pictures else {},
    )


def _reasoning(handle: str) -> dict[str, Any]:
    return {"id": f"rs_{handle[5:]}", "type": "reasoning", "summary": []}


def _message(handle: str, text: str) -> dict[str, Any]:
    content = {"type": "output_text", "text": text, "annotations": []}
    return {
        "id": f"msg_{handle[5:]}",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [content],
    }


def _call(making: Making, handle: str, slot: int) -> dict[str, Any]:
    drawn = making.drawn[slot]
    return {
        "id": f"ig_{handle[5:]}{slot}",
        "type": "image_generation_call",
        "status": "completed",
        "action": "edit" if making.asked.is_edit else "generate",
        "background": making.asked.background or "opaque",
        "output_format": making.declared_format,
        "quality": making.asked.quality or "high",
        # Behind half of the fields and before the others: whoever reads it must not rely on an order.
        "result": str(slot),
        "revised_prompt": f"A photograph of {making.asked.prompt[:200]}",
        "size": f"{drawn.width_px}x{drawn.height_px}",
    }


def _usage(making: Making) -> dict[str, Any]:
    """The text model's own."""
    asked = making.asked
    input_tokens, output_tokens = prompt_tokens(asked.prompt) + 40, REASONING_TOKENS + 24
    return {
        "input_tokens": input_tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": output_tokens,
        "output_tokens_details": {"reasoning_tokens": REASONING_TOKENS},
        "total_tokens": input_tokens + output_tokens,
    }


def _tool_usage(making: Making) -> dict[str, Any]:
    return usage_document(openai.usage_of(making))
