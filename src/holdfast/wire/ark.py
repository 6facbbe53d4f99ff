"""Seedream on Ark, for either side: this module is the whole dialect, the others hold its halves.

Pure: no I/O, clock or randomness. What is written here is the vendor's side: the simulator answers with it, and tests
read back what was written.

Source: volcengine-python-sdk `types/images/*.py` (2026-07-23); docs.volcengine.com 82379/1541523, 1824137, 1299023.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from holdfast.wire.ark_answer import (
    ARK_ANSWER_IMAGE,
    IMAGES_MAX,
    ArkReader,
    ArkStreamReader,
    Contents,
    contents_of,
    decode_handle,
    encode_handle,
)
from holdfast.wire.ark_request import ARK_REQUEST_IMAGE, INPUTS_MAX, ArkRequest, decode_request, encode_request
from holdfast.wire.fal_answer import Link
from holdfast.wire.openai_answer import decode_error
from holdfast.wire.sse import event_of
from holdfast.wire.template import Template, template_of

__all__ = [
    "ARK_ANSWER_IMAGE",
    "ARK_REQUEST_IMAGE",
    "IMAGES_MAX",
    "INPUTS_MAX",
    "ArkReader",
    "ArkRequest",
    "ArkStreamReader",
    "Contents",
    "Link",
    "Made",
    "Unmade",
    "contents_of",
    "decode_error",
    "decode_handle",
    "decode_request",
    "encode_handle",
    "encode_request",
    "render_answer",
    "render_error",
    "render_events",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """One picture of an answer: a link to it, or its bytes in a slot."""

    size: str
    """True pixels, `2048x2048`."""
    slot: int | None = None
    url: str | None = None
    output_format: str | None = None
    """Told by the models that can be asked for one."""

    def __post_init__(self) -> None:
        assert (self.url is None) is not (self.slot is None), "a picture is a link or bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmade:
    """What stands in the place of a picture that was not made."""

    code: str
    message: str


def render_answer(items: Sequence[Made | Unmade], *, model: str, created: int, output_tokens: int) -> Template:
    """Write the answer of `POST /images/generations`, not streamed.

    Args:
        items: In the order of `data`.
        model: As it was asked for.
        created: Unix seconds.
        output_tokens: Of all pictures together: their pixels by 256.
    """
    body = {"model": model, "created": created, "data": [_item(item) for item in items]}
    body["usage"] = _usage(items, output_tokens)
    return template_of(msgspec.json.encode(body), ARK_ANSWER_IMAGE)


def render_events(items: Sequence[Made | Unmade], *, model: str, created: int, output_tokens: int) -> list[Template]:
    """Write the same as events: one for each picture, and the last."""
    about = {"model": model, "created": created}
    events: list[dict[str, Any]] = [
        {
            "type": f"image_generation.partial_{'succeeded' if isinstance(item, Made) else 'failed'}",
            **about,
            "image_index": index,
            **_item(item),
        }
        for index, item in enumerate(items)
    ]
    events.append({"type": "image_generation.completed", **about, "usage": _usage(items, output_tokens)})
    return [event_of(template_of(msgspec.json.encode(event), ARK_ANSWER_IMAGE), name=event["type"]) for event in events]


def render_error(message: str, *, code: str, type_: str, param: str = "") -> bytes:
    """Write an error envelope."""
    return msgspec.json.encode({"error": {"code": code, "message": message, "param": param, "type": type_}})


def _item(item: Made | Unmade) -> dict[str, Any]:
    if isinstance(item, Unmade):
        return {"error": {"code": item.code, "message": item.message}}
    told: dict[str, Any] = {"b64_json": str(item.slot)} if item.slot is not None else {"url": item.url}
    told["size"] = item.size
    if item.output_format is not None:
        told["output_format"] = item.output_format
    return told


def _usage(items: Sequence[Made | Unmade], output_tokens: int) -> dict[str, int]:
    made = sum(isinstance(item, Made) for item in items)
    return {"generated_images": made, "output_tokens": output_tokens, "total_tokens": output_tokens}
