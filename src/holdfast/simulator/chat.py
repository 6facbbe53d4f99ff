"""Chat completions as relays write them: a picture in any of the shapes that they use, plain and streamed.

Pure: no I/O, clock or randomness. Whoever writes as to OpenRouter gets its shape, others get new-api's, unless a wish
says which. Errors are those of the Images API.

Source: openrouter.ai/docs, image generation (2026); QuantumNous/new-api `to_oai_chat_resp.go`, `stream_scanner.go`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from holdfast.simulator import openai
from holdfast.simulator.replies import Making, Reply, Timed, plain, prompt_tokens, spliced
from holdfast.wire.relay_chat import ChatForm
from holdfast.wire.sse import event_of
from holdfast.wire.template import Template

IMAGE_TOKENS = 1120
INPUT_IMAGE_TOKENS = 258
PING = b": PING\n\n"
"""What new-api sends every ten seconds. Source: `stream_scanner.go`."""
_PINGS = (0.25, 0.5, 0.75)
_DONE = b"data: [DONE]\n\n"

error = openai.error
broken_stream = openai.broken_stream


def answer(making: Making, *, shape: str | None) -> Reply:
    """Write the whole answer.

    Args:
        making: What was drawn.
        shape: `images`, `parts`, `markdown`; None: as the relay that was written to.
    """
    is_openrouter = making.asked.chat_form is ChatForm.OPENROUTER
    shape = shape if shape in ("images", "parts") else "images" if shape is None and is_openrouter else "markdown"
    marks = [f"@@{slot}@@" for slot in range(len(making.drawn))]
    prefix = f"data:image/{making.declared_format};base64,".encode()
    around = (b"![image](" + prefix, b")") if shape == "markdown" else (prefix, b"")
    return _reply(making, _message(shape, marks), before=around[0], behind=around[1])


def linked(making: Making, urls: Mapping[int, str]) -> Reply:
    """Write an answer whose text links to its pictures."""
    text = "\n\n".join(f"![image]({url})" for url in urls.values())
    return _reply(making, {"content": text}, has_pictures=False)


def _message(shape: str, marks: Sequence[str]) -> dict[str, Any]:
    parts = [{"type": "image_url", "image_url": {"url": mark}} for mark in marks]
    if shape == "images":
        return {"content": "Here is your picture.", "images": parts}
    if shape == "parts":
        return {"content": [{"type": "text", "text": "Here is your picture."}, *parts]}
    return {"content": "\n\n".join(marks)}


def _reply(
    making: Making, message: dict[str, Any], *, before: bytes = b"", behind: bytes = b"", has_pictures: bool = True
) -> Reply:
    pictures = dict(enumerate(making.drawn)) if has_pictures else {}
    usage = _usage(making, images=len(making.drawn))
    if making.asked.stream:
        said = spliced(_chunk(making, {"role": "assistant", **message}), before=before, behind=behind)
        return _streamed([event_of(said)], making, finish="stop", usage=usage, pictures=pictures)
    whole = spliced(_completion(making, message, finish="stop", usage=usage), before=before, behind=behind)
    return Reply(
        status=200,
        content_type="application/json",
        parts=(Timed(share=1.0, template=whole),),
        pictures=pictures,
    )


def without_picture(making: Making, *, text: str | None) -> Reply:
    """Write an answer that holds no picture; with prose in its place, if any."""
    return _said(making, text or "", finish="stop")


def refusal(making: Making, *, stage: str, reason: str | None) -> Reply:
    """Write what a relay makes of a refusal: of the prompt an error, of the picture the end of a message."""
    if stage == "output":
        return _said(making, "", finish=reason or "content_filter")
    message = "request blocked by Gemini API: PROHIBITED_CONTENT"
    return plain(
        400,
        "application/json",
        openai.error_document(message, kind="upstream_error", code=reason or "prompt_blocked", param=""),
    )


def _said(making: Making, text: str, *, finish: str) -> Reply:
    usage = _usage(making, images=0)
    if making.asked.stream:
        said = event_of((_chunk(making, {"role": "assistant", "content": text}),))
        return _streamed([said], making, finish=finish, usage=usage)
    return plain(200, "application/json", _completion(making, {"content": text}, finish=finish, usage=usage))


def _streamed(
    events: Sequence[Template],
    making: Making,
    *,
    finish: str,
    usage: dict[str, Any],
    pictures: Mapping[int, Any] | None = None,
) -> Reply:
    last = event_of((_chunk(making, {}, finish=finish, usage=usage),))
    parts = [Timed(share=share, template=(PING,)) for share in _PINGS]
    parts += [Timed(share=1.0, template=template) for template in (*events, last, (_DONE,))]
    return Reply(
        status=200,
        content_type="text/event-stream; charset=utf-8",
        parts=tuple(parts),
        pictures=pictures or {},
        is_stream=True,
    )


def _completion(making: Making, message: dict[str, Any], *, finish: str, usage: dict[str, Any]) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return msgspec.json.encode({**_head(making, "chat.completion"), "choices": [choice], "usage": usage})


def _chunk(
    making: Making, delta: dict[str, Any], *, finish: str | None = None, usage: dict[str, Any] | None = None
) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return msgspec.json.encode({**_head(making, "chat.completion.chunk"), "choices": [choice], "usage": usage})


def _head(making: Making, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{making.created}", "object": kind, "created": making.created, "model": making.asked.model}


def _usage(making: Making, *, images: int) -> dict[str, Any]:
    asked = making.asked
    prompt = prompt_tokens(asked.prompt) + INPUT_IMAGE_TOKENS * asked.inputs
    completion = IMAGE_TOKENS * images + 8
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "completion_tokens_details": {"image_tokens": IMAGE_TOKENS * images},
    }
