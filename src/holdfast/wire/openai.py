"""OpenAI Images, for either side: this module is the whole dialect, the others hold its halves.

Pure: no I/O, clock or randomness. What is written here goes to callers; every answer is a template whose slots are the
numbers of the images to be streamed into it.

Source: openai-python 3.54 `types/images_response.py`, `types/image_gen_*_event.py`; openai-openapi (2026-08-21).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from holdfast.types import Usage
from holdfast.wire.openai_answer import (
    OPENAI_ANSWER_IMAGE,
    ImagesReader,
    ImagesStreamReader,
    decode_error,
    error_of,
    usage_document,
)
from holdfast.wire.openai_request import (
    PROMPT_CHARS_MAX,
    ImagesRequest,
    decode_images_request,
    encode_images_request,
)
from holdfast.wire.sse import event_of
from holdfast.wire.template import Slot, Template, template_of

__all__ = [
    "OPENAI_ANSWER_IMAGE",
    "PROMPT_CHARS_MAX",
    "ImageView",
    "ImagesReader",
    "ImagesRequest",
    "ImagesStreamReader",
    "ModelView",
    "decode_error",
    "decode_images_request",
    "encode_images_request",
    "error_of",
    "render_completed_event",
    "render_error_event",
    "render_images",
    "render_model",
    "render_models",
    "render_partial_event",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageView:
    """One image as a caller sees it."""

    slot: int | None
    """Its number in the template; None: a link only."""
    url: str | None
    """Signed link."""
    size: str
    """True pixels, `4096x4096`."""
    revised_prompt: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelView:
    """One row of a list of models."""

    id: str
    created: int = 0
    owned_by: str = "holdfast"


def render_images(
    *,
    created: int,
    images: Sequence[ImageView],
    usage: Usage | None,
    model: str,
    generation_id: str,
    output_format: str | None = None,
    background: str | None = None,
    quality: str | None = None,
    size: str | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Template:
    """Write the answer of `POST /v1/images/generations`.

    Args:
        created: Unix seconds.
        images: In the order of `data`.
        usage: None where the upstream told none.
        model: What served it.
        generation_id: For asking again at `/v1/generations/{id}`.
        output_format: True format of the files: `png`.
        background: As asked for.
        quality: As asked for.
        size: True pixels of the first image.
        extra: Further top-level members; they win.
    """
    body: dict[str, Any] = {"created": created}
    body.update(_settings(background=background, output_format=output_format, quality=quality, size=size))
    body["model"] = model
    body["generation_id"] = generation_id
    if usage is not None:
        body["usage"] = usage_document(usage)
    body.update(extra or {})
    parts: list[bytes | Slot] = []
    text = msgspec.json.encode(body)[:-1] + b',"data":['
    for image in images:
        item = msgspec.json.encode(_about(image))
        if image.slot is not None:
            parts += (text + b'{"b64_json":"', Slot(image.slot))
            text, item = b"", b'",' + item[1:]
        text += item + b","
    parts.append(text.removesuffix(b",") + b"]}")
    return tuple(parts)


def render_partial_event(
    *,
    slot: int,
    partial_image_index: int,
    created_at: int,
    size: str,
    output_format: str | None = None,
    background: str | None = None,
    quality: str | None = None,
    family: str = "image_generation",
) -> Template:
    """Write one preview of a stream; `family` is `image_edit` for edits."""
    name = f"{family}.partial_image"
    body: dict[str, Any] = {"type": name, "partial_image_index": partial_image_index, "created_at": created_at}
    body.update(_settings(background=background, output_format=output_format, quality=quality, size=size))
    body["b64_json"] = str(slot)
    return event_of(template_of(msgspec.json.encode(body), OPENAI_ANSWER_IMAGE), name=name)


def render_completed_event(
    *,
    image: ImageView,
    created_at: int,
    usage: Usage | None,
    model: str,
    generation_id: str,
    output_format: str | None = None,
    background: str | None = None,
    quality: str | None = None,
    family: str = "image_generation",
    extra: Mapping[str, Any] | None = None,
) -> Template:
    """Write the event that carries a finished image; one for each image."""
    name = f"{family}.completed"
    body: dict[str, Any] = {"type": name, "created_at": created_at}
    body.update(_settings(background=background, output_format=output_format, quality=quality, size=image.size))
    body["model"] = model
    body["generation_id"] = generation_id
    # The SDKs' type has usage as required; an unknown one is told as zeros.
    body["usage"] = usage_document(usage or Usage())
    body.update(extra or {})
    if image.slot is not None:
        body["b64_json"] = str(image.slot)
    body.update(_about(image))
    return event_of(template_of(msgspec.json.encode(body), OPENAI_ANSWER_IMAGE), name=name)


def render_error_event(error_document: bytes) -> Template:
    """Write an error into a stream that has begun: both SDKs raise `APIError` on it.

    Args:
        error_document: What `failures.render_error` made for the OpenAI surface.
    """
    return event_of((error_document,), name="error")


def render_models(models: Sequence[ModelView]) -> bytes:
    """Write the answer of `GET /v1/models`."""
    return msgspec.json.encode({"object": "list", "data": [_model(model) for model in models]})


def render_model(model: ModelView) -> bytes:
    """Write the answer of `GET /v1/models/{id}`."""
    return msgspec.json.encode(_model(model))


def _model(model: ModelView) -> dict[str, Any]:
    return {"id": model.id, "object": "model", "created": model.created, "owned_by": model.owned_by}


def _about(image: ImageView) -> dict[str, Any]:
    """What is told of an image besides its bytes."""
    item: dict[str, Any] = {}
    if image.url is not None:
        item["url"] = image.url
    item["size"] = image.size
    if image.revised_prompt is not None:
        item["revised_prompt"] = image.revised_prompt
    return item


def _settings(**values: str | None) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
