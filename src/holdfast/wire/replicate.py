"""Replicate, for either side: this module is the whole dialect, the others hold its halves.

Pure: no I/O, clock or randomness. What is written here is the vendor's side: the simulator answers with it, and tests
read back what was written.

Source: replicate.com/docs, HTTP reference (2026); replicate Python `prediction.py`, Node `index.js`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast.wire.fal_answer import Link
from holdfast.wire.replicate_answer import (
    IMAGES_MAX,
    REPLICATE_OUTPUT_IMAGE,
    Handle,
    Prediction,
    PredictionReader,
    PredictionState,
    decode_error,
    decode_file,
    decode_handle,
    decode_prediction,
    encode_handle,
    is_prediction_id,
)
from holdfast.wire.replicate_request import (
    FORMATS,
    INPUTS_MAX,
    REPLICATE_REQUEST_IMAGE,
    ImageInput,
    PredictionRequest,
    decode_prediction_request,
    encode_prediction,
    encode_upload,
)

__all__ = [
    "FORMATS",
    "IMAGES_MAX",
    "INPUTS_MAX",
    "REPLICATE_OUTPUT_IMAGE",
    "REPLICATE_REQUEST_IMAGE",
    "Handle",
    "ImageInput",
    "Link",
    "Prediction",
    "PredictionReader",
    "PredictionRequest",
    "PredictionState",
    "decode_error",
    "decode_file",
    "decode_handle",
    "decode_prediction",
    "decode_prediction_request",
    "encode_handle",
    "encode_prediction",
    "encode_upload",
    "is_prediction_id",
    "render_error",
    "render_file",
    "render_prediction",
]


def render_prediction(
    prediction: Prediction,
    *,
    model: str,
    created_at: str,
    echo: dict[str, Any] | None = None,
    predict_s: float | None = None,
) -> bytes:
    """Write a prediction; one picture is one URI, several are a list.

    Args:
        prediction: Where it stands.
        model: `google/nano-banana-pro`.
        created_at: RFC 3339.
        echo: Its input, which every answer says again.
        predict_s: How long it was worked at, once it has ended.
    """
    handle, urls = prediction.handle, [link.url for link in prediction.links]
    output: Any = (urls[0] if len(urls) == 1 else urls) or None
    body = {
        "id": handle.id,
        "model": model,
        "version": "hidden",
        "status": prediction.state.value,
        "input": echo or {},
        "output": output if prediction.state is PredictionState.SUCCEEDED else None,
        "error": prediction.error,
        "logs": "",
        "metrics": {"predict_time": predict_s} if predict_s is not None else {},
        "data_removed": False,
        "created_at": created_at,
        "started_at": created_at if prediction.has_started else None,
        "completed_at": created_at if prediction.state.is_end else None,
        "urls": {"get": handle.get_url, "cancel": handle.cancel_url},
    }
    return msgspec.json.encode(body)


def render_file(id_: str, url: str, *, bytes_: int, content_type: str) -> bytes:
    """Write the answer to an upload."""
    return msgspec.json.encode({"id": id_, "size": bytes_, "content_type": content_type, "urls": {"get": url}})


def render_error(status: int, detail: str, *, title: str) -> bytes:
    """Write a problem document."""
    return msgspec.json.encode({"title": title, "detail": detail, "status": status, "type": "about:blank"})
