"""Replicate: what a prediction is asked for with, and how a file is handed over before it; written and read.

Pure: no I/O, clock or randomness.

Source: replicate.com/docs, HTTP reference (2026); replicate.com/google/nano-banana-pro/api; replicate Python
`helpers.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from holdfast.errors import RequestError
from holdfast.types import InputImage, Request
from holdfast.wire.errors import WireError
from holdfast.wire.template import Slot, Template

INPUTS_MAX = 14
PROMPT_CHARS_MAX = 50_000
FORMATS: Mapping[str, str] = {"png": "png", "jpeg": "jpg"}
"""What `output_format` may be, and how it is called there."""


class ImageInput(msgspec.Struct, frozen=True, kw_only=True):
    """The input of a model that makes images; what is not listed is passed over."""

    prompt: str
    image_input: tuple[str, ...] = ()
    aspect_ratio: str | None = None
    resolution: str | None = None
    output_format: str | None = None
    safety_filter_level: str | None = None


class PredictionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a create call."""

    input: ImageInput
    version: str | None = None


def REPLICATE_REQUEST_IMAGE(path: tuple[str, ...]) -> bool:
    """A reference image of a request: `input.image_input[]`, a link or a data URI."""
    return path == ("input", "image_input")


def encode_prediction(
    request: Request,
    *,
    version: str | None = None,
    uploaded: Mapping[int, str] | None = None,
    states_resolution: bool = True,
) -> Template:
    """Write the body of a create call; slot i is the request's input image i, of those that were not uploaded.

    Args:
        request: What the caller asked for.
        version: Of the model, where it is not named by the path.
        uploaded: Links to input images by their index.
        states_resolution: Whether the model has a field for it; the first nano-banana draws one size.
    """
    uploaded = uploaded or {}
    body: dict[str, Any] = {"prompt": request.prompt, "aspect_ratio": request.geometry.aspect_ratio}
    if states_resolution:
        body["resolution"] = request.geometry.tier.value
    output_format = FORMATS.get(request.output_format or "")
    if output_format is not None:
        body["output_format"] = output_format
    document: dict[str, Any] = {"version": version} if version is not None else {}
    text = msgspec.json.encode({**document, "input": body})
    if not request.inputs:
        return (text,)
    parts: list[bytes | Slot] = []
    text = text.removesuffix(b"}}") + b',"image_input":['
    for index, image in enumerate(request.inputs):
        if index in uploaded:
            text += msgspec.json.encode(uploaded[index]) + b","
        else:
            parts += (text + f'"data:{image.mime};base64,'.encode(), Slot(index))
            text = b'",'
    return (*parts, text.removesuffix(b",") + b"]}}")


def encode_upload(image: InputImage, *, index: int) -> tuple[str, Template]:
    """Write a form with one file, `content`, as `POST /v1/files` takes it: the content type, and the body.

    Args:
        image: Its hash makes the boundary, which its bytes can therefore not hold but by breaking the hash.
        index: Its slot.
    """
    boundary = f"holdfast-{image.sha256[:40]}"
    suffix = image.mime.rpartition("/")[2]
    head = (
        f"--{boundary}\r\n"
        f'Content-Disposition: form-data; name="content"; filename="input-{index}.{suffix}"\r\n'
        f"Content-Type: {image.mime}\r\n\r\n"
    )
    body: Template = (head.encode(), Slot(index, is_raw=True), f"\r\n--{boundary}--\r\n".encode())
    return f"multipart/form-data; boundary={boundary}", body


def decode_prediction_request(skeleton: bytes) -> PredictionRequest:
    """Read the body of a create call, its images cut out.

    Raises:
        RequestError: It is none; the message names the field.
        WireError: It is no JSON.
    """
    try:
        read = msgspec.json.decode(skeleton, type=PredictionRequest)
    except msgspec.ValidationError as exc:
        raise RequestError(f"The input is not valid: {exc}", param="input", status=422) from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise WireError("json", "the document is not valid JSON") from exc
    if not 1 <= len(read.input.prompt) <= PROMPT_CHARS_MAX:
        raise RequestError(f"prompt has 1 to {PROMPT_CHARS_MAX} characters.", param="input.prompt", status=422)
    if len(read.input.image_input) > INPUTS_MAX:
        raise RequestError(f"image_input holds at most {INPUTS_MAX}.", param="input.image_input", status=422)
    return read
