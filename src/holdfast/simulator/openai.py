"""OpenAI's Images API as the vendor writes it: answers plain and streamed, refusals, errors.

Pure: no I/O, clock or randomness.

Source: openai-python 3.54 `types/images_response.py`, `types/image_gen_*_event.py`; openai-openapi (2026-08-21);
platform.openai.com/docs/guides/error-codes (2026).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from holdfast.errors import RequestError
from holdfast.simulator.asked import Asked
from holdfast.simulator.replies import Drawn, Headers, Making, Reply, Timed, html, plain, prompt_tokens, spliced
from holdfast.types import Usage
from holdfast.wire.openai import OPENAI_ANSWER_IMAGE, ModelView, render_error_event, render_model, render_models
from holdfast.wire.openai_answer import usage_document
from holdfast.wire.sse import event_of
from holdfast.wire.template import Template, template_of

MODELS = ("gpt-image-2", "gpt-image-2.5-sunburst", "gpt-image-2.5-flare", "nano-banana-pro", "seedream-4.5")
INPUT_IMAGE_TOKENS = 40
PARTIAL_TOKENS = 100
"""Each preview adds so many output tokens. Source: image generation guide, 2026."""
MICROS_PER_OUTPUT_TOKEN = 30
"""30 USD per million tokens of image output."""

_TYPES: Mapping[int, tuple[str, str | None, str]] = MappingProxyType(
    {
        400: ("invalid_request_error", "invalid_value", "Invalid request."),
        401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
        402: ("insufficient_quota", "credit_balance_exhausted", "Your credit balance is exhausted."),
        403: ("invalid_request_error", "unsupported_country_region_territory", "Country not supported."),
        404: ("invalid_request_error", "model_not_found", "The model does not exist or you do not have access to it."),
        405: ("invalid_request_error", "method_not_allowed", "Not allowed to use this method here."),
        409: ("invalid_request_error", "conflict", "A request with the same key is in flight."),
        413: ("invalid_request_error", "request_too_large", "The request is too large."),
        429: ("requests", "rate_limit_exceeded", "Rate limit reached for images per minute."),
        500: ("server_error", None, "The server had an error while processing your request."),
        503: ("service_unavailable_error", "server_is_overloaded", "The server is overloaded. Try again later."),
        504: ("server_error", "timeout", "The request timed out."),
    }
)
_CDN_STATUSES = frozenset({502, *range(520, 528)})


def answer(making: Making) -> Reply:
    """Write the whole answer of a generation or an edit."""
    return _stream(making) if making.asked.stream else _plain(making)


def _plain(making: Making) -> Reply:
    items = [{"b64_json": str(slot), "revised_prompt": _revised(making.asked)} for slot in range(len(making.drawn))]
    body: dict[str, Any] = {"created": making.created, "background": making.asked.background or "opaque"}
    body |= {"data": items, **_settings(making), "usage": usage_document(usage_of(making))}
    template = template_of(msgspec.json.encode(body), OPENAI_ANSWER_IMAGE)
    return Reply(
        status=200,
        content_type="application/json",
        parts=(Timed(share=1.0, template=template),),
        pictures=dict(enumerate(making.drawn)),
    )


def linked(making: Making, urls: Mapping[int, str]) -> Reply:
    """Write an answer as relays do whose pictures lie elsewhere: all three keys, the image's own one empty."""
    items = [{"url": urls[slot], "b64_json": "", "revised_prompt": ""} for slot in range(len(making.drawn))]
    body = msgspec.json.encode({"created": making.created, "data": items})
    return plain(200, "application/json", body)


def inlined(making: Making) -> Reply:
    """Write an answer that has data URLs where links belong."""
    items = [{"url": f"@@{slot}@@"} for slot in range(len(making.drawn))]
    body = msgspec.json.encode({"created": making.created, "data": items})
    prefix = f"data:image/{making.declared_format};base64,".encode()
    return Reply(
        status=200,
        content_type="application/json",
        parts=(Timed(share=1.0, template=spliced(body, before=prefix)),),
        pictures=dict(enumerate(making.drawn)),
    )


def _stream(making: Making) -> Reply:
    asked = making.asked
    family = "image_edit" if asked.is_edit else "image_generation"
    pictures = dict(enumerate(making.drawn))
    parts: list[Timed] = []
    for index in range(asked.partial_images):
        slot = len(pictures)
        last = making.drawn[-1]
        pictures[slot] = Drawn(
            width_px=last.width_px,
            height_px=last.height_px,
            format=last.format,
            serial=last.serial[:-1] + "pqr"[index],
        )
        event = {**_event(making, f"{family}.partial_image", slot), "partial_image_index": index}
        parts.append(Timed(share=(index + 1) / (asked.partial_images + 1), template=_written(event)))
    for slot in range(len(making.drawn)):
        event = {**_event(making, f"{family}.completed", slot), "usage": usage_document(usage_of(making))}
        parts.append(Timed(share=1.0, template=_written(event)))
    return _streamed(tuple(parts), pictures)


def _streamed(parts: tuple[Timed, ...], pictures: Mapping[int, Drawn] | None = None) -> Reply:
    return Reply(
        status=200,
        content_type="text/event-stream; charset=utf-8",
        parts=parts,
        pictures=pictures or {},
        is_stream=True,
    )


def _event(making: Making, name: str, slot: int) -> dict[str, Any]:
    background = making.asked.background or "opaque"
    head = {"type": name, "b64_json": str(slot), "created_at": making.created, "background": background}
    return {**head, **_settings(making)}


def _written(event: dict[str, Any]) -> Template:
    return event_of(template_of(msgspec.json.encode(event), OPENAI_ANSWER_IMAGE), name=event["type"])


def _settings(making: Making) -> dict[str, Any]:
    first = making.drawn[-1]
    return {
        "output_format": making.declared_format,
        "quality": making.asked.quality or "high",
        "size": f"{first.width_px}x{first.height_px}",
    }


def _revised(asked: Asked) -> str:
    return f"A photograph of {asked.prompt[:200]}"


def usage_of(making: Making) -> Usage:
    """Count the tokens of what was drawn."""
    asked = making.asked
    image_tokens = making.micros * len(making.drawn) // MICROS_PER_OUTPUT_TOKEN
    input_image_tokens = INPUT_IMAGE_TOKENS * asked.inputs
    output_tokens = image_tokens + PARTIAL_TOKENS * asked.partial_images
    return Usage(
        input_tokens=prompt_tokens(asked.prompt) + input_image_tokens,
        input_image_tokens=input_image_tokens,
        output_tokens=output_tokens,
        output_image_tokens=output_tokens,
    )


def without_picture(making: Making, *, text: str | None) -> Reply:
    """Write an answer that holds no picture; with prose in its place, if any."""
    items = [{"revised_prompt": text}] if text else []
    body: dict[str, Any] = {"created": making.created, "data": items}
    if making.asked.stream:
        # A stream that ends without its completed event.
        return _streamed(())
    return plain(200, "application/json", msgspec.json.encode(body))


def refusal(*, stage: str, reason: str | None, stream: bool = False) -> Reply:
    """Write what the safety system says.

    Args:
        stage: `input` or `output`.
        reason: Another code than the usual one.
        stream: Say it in a stream that has begun, as after a preview.
    """
    told = {
        "message": "Your request was rejected by the safety system. If you believe this is an error, contact us.",
        "type": "image_generation_user_error",
        "param": None,
        "code": reason or "moderation_blocked",
        "moderation_details": {"moderation_stage": stage, "categories": ["violence"]},
    }
    document = msgspec.json.encode({"error": told})
    if stream:
        return _streamed((Timed(share=1.0, template=render_error_event(document)),))
    return plain(400, "application/json", document)


def error(status: int, *, retry_after: str | None = None, http_status: int | None = None) -> Reply:
    """Write the error that goes with a status; a CDN's are HTML.

    Args:
        status: What the envelope says.
        retry_after: A hint, as it stands in the header.
        http_status: What the head says, if something else.
    """
    headers = _hints(retry_after)
    if status in _CDN_STATUSES:
        return html(http_status or status, headers=headers)
    kind, code, message = _words_of(status)
    return plain(
        http_status or status, "application/json", error_document(message, kind=kind, code=code), headers=headers
    )


def broken_stream(status: int) -> Reply:
    """Write a stream that ends in an error."""
    kind, code, message = _words_of(status)
    event = render_error_event(error_document(message, kind=kind, code=code))
    return _streamed((Timed(share=1.0, template=event),))


def mistake(problem: RequestError) -> Reply:
    """Tell a caller what is wrong with the request."""
    code = problem.code if problem.code != "invalid_request" else "invalid_value"
    body = error_document(str(problem), kind="invalid_request_error", code=code, param=problem.param)
    return plain(problem.status, "application/json", body)


def error_document(message: str, *, kind: str, code: str | None, param: str | None = None) -> bytes:
    """Write an envelope."""
    return msgspec.json.encode({"error": {"message": message, "type": kind, "param": param, "code": code}})


def models(name: str | None) -> Reply:
    """Write the list of models, or one of them; every name is taken."""
    body = render_model(_view(name)) if name is not None else render_models([_view(each) for each in MODELS])
    return plain(200, "application/json", body)


def _view(name: str) -> ModelView:
    return ModelView(id=name, created=1_764_000_000, owned_by="simulator")


def _hints(retry_after: str | None) -> Headers:
    return (("retry-after", retry_after),) if retry_after is not None else ()


def _words_of(status: int) -> tuple[str, str | None, str]:
    if status in _TYPES:
        return _TYPES[status]
    return _TYPES[500] if status >= 500 else _TYPES[400]
