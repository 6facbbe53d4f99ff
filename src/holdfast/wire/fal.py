"""fal's queue, for either side: this module is the whole dialect, the others hold its halves.

Pure: no I/O, clock or randomness. What is written here is the queue's side: the simulator answers with it, and tests
read back what was written.

Source: docs.fal.ai, queue, errors, request errors (2026); fal_client `client.py`: `queue_position` must be there when
IN_QUEUE, and `logs` otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from holdfast.wire.fal_answer import (
    FAL_RESULT_IMAGE,
    FalError,
    Handle,
    Link,
    QueueReader,
    QueueState,
    QueueStatus,
    ResultReader,
    decode_error,
    decode_handle,
    decode_status,
    decode_submitted,
    encode_handle,
    is_request_id,
    links_of,
)
from holdfast.wire.fal_request import FAL_REQUEST_IMAGE, IMAGES_MAX, ImageInput, decode_input, encode_input
from holdfast.wire.template import Slot, Template

__all__ = [
    "FAL_REQUEST_IMAGE",
    "FAL_RESULT_IMAGE",
    "IMAGES_MAX",
    "Detail",
    "FalError",
    "Handle",
    "ImageInput",
    "Link",
    "QueueReader",
    "QueueState",
    "QueueStatus",
    "ResultImage",
    "ResultReader",
    "decode_error",
    "decode_handle",
    "decode_input",
    "decode_status",
    "decode_submitted",
    "encode_handle",
    "encode_input",
    "is_request_id",
    "links_of",
    "render_cancel",
    "render_details",
    "render_error",
    "render_result",
    "render_status",
    "render_submitted",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultImage:
    """One picture of a result: a link to it, or its bytes in a slot."""

    content_type: str
    url: str | None = None
    slot: int | None = None
    file_name: str | None = None
    width: int | None = None
    height: int | None = None

    def __post_init__(self) -> None:
        assert (self.url is None) is not (self.slot is None), "a picture is a link or a data URI"


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """One complaint of a model about its input, or about what it made."""

    type: str
    msg: str
    loc: tuple[str | int, ...] = ("body", "prompt")


def render_submitted(handle: Handle, *, queue_position: int = 0) -> bytes:
    """Write the answer to a submission."""
    body = {"status": QueueState.IN_QUEUE.value, **_named(handle), "queue_position": queue_position}
    return msgspec.json.encode(body)


def render_status(handle: Handle, status: QueueStatus, *, inference_s: float | None = None) -> bytes:
    """Write what the queue says of a request."""
    body: dict[str, Any] = {"status": status.state.value, **_named(handle)}
    if status.state is QueueState.IN_QUEUE:
        body["queue_position"] = status.queue_position or 0
    else:
        body["logs"] = None
    if status.state is QueueState.COMPLETED:
        body["metrics"] = {"inference_time": inference_s}
        told = {"error": status.error, "error_type": status.error_type}
        body.update({name: value for name, value in told.items() if value is not None})
    return msgspec.json.encode(body)


def _named(handle: Handle) -> dict[str, Any]:
    return {
        "request_id": handle.request_id,
        "gateway_request_id": handle.request_id,
        "response_url": handle.response_url,
        "status_url": handle.status_url,
        "cancel_url": handle.cancel_url,
    }


def render_result(images: Sequence[ResultImage], *, description: str = "") -> Template:
    """Write a model's output."""
    parts: list[bytes | Slot] = []
    text = b'{"images":['
    for image in images:
        about = {
            "content_type": image.content_type,
            "file_name": image.file_name,
            "file_size": None,
            "width": image.width,
            "height": image.height,
        }
        if image.slot is not None:
            parts += (text + f'{{"url":"data:{image.content_type};base64,'.encode(), Slot(image.slot))
            text = b'",' + msgspec.json.encode(about)[1:] + b","
        else:
            text += msgspec.json.encode({"url": image.url, **about}) + b","
    rest = msgspec.json.encode({"description": description})[1:]
    parts.append(text.removesuffix(b",") + b"]," + rest)
    return tuple(parts)


def render_error(message: str, *, error_type: str | None = None) -> bytes:
    """Write an error of the queue itself."""
    body = {"detail": message} | ({"error_type": error_type} if error_type is not None else {})
    return msgspec.json.encode(body)


def render_details(details: Sequence[Detail]) -> bytes:
    """Write a model's error (422)."""
    entries = [
        {"loc": list(each.loc), "msg": each.msg, "type": each.type, "url": f"https://docs.fal.ai/errors/#{each.type}"}
        for each in details
    ]
    return msgspec.json.encode({"detail": entries})


def render_cancel(status: str) -> bytes:
    """Write the answer to a cancel: `CANCELLATION_REQUESTED`, `ALREADY_COMPLETED` or `NOT_FOUND`."""
    return msgspec.json.encode({"status": status})
