"""Seedream on Ark: what a request for images says, written and read.

Pure: no I/O, clock or randomness.

Source: volcengine-python-sdk `resources/images/images.py` (2026-07-23); docs.byteplus.com, ModelArk 1824121.
"""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast.errors import RequestError
from holdfast.types import Request
from holdfast.wire.errors import WireError
from holdfast.wire.template import Template, template_of

INPUTS_MAX = 14


class SequentialOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How long a group of pictures may become."""

    max_images: int | None = None


class ArkRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `POST /images/generations`. `null` means absent for every field: the SDK writes all of them."""

    model: str
    prompt: str
    image: str | tuple[str, ...] | None = None
    size: str | None = None
    response_format: str | None = None
    output_format: str | None = None
    background: str | None = None
    watermark: bool | None = None
    stream: bool | None = None
    sequential_image_generation: str | None = None
    sequential_image_generation_options: SequentialOptions | None = None

    @property
    def images(self) -> tuple[str, ...]:
        """The reference images, or the numbers that were left in their places."""
        if self.image is None:
            return ()
        return (self.image,) if isinstance(self.image, str) else self.image


def ARK_REQUEST_IMAGE(path: tuple[str, ...]) -> bool:
    """A reference image of a request: `image`, one or a list."""
    return path == ("image",)


def encode_request(
    request: Request, *, model: str, size: str, output_format: str | None = None, background: str | None = None
) -> Template:
    """Write the body of a call for one image; slot i is the request's input image i.

    Neither `stream` nor `sequential_image_generation` is ever written: some models refuse a call that holds them at
    all, and for the others what happens without them is what is wanted.

    Args:
        request: What the caller asked for.
        model: The model's id, or that of an endpoint (`ep-…`).
        size: `2048x2048`.
        output_format: `png` or `jpeg`, where the model takes it.
        background: Where the model takes it.
    """
    body: dict[str, Any] = {"model": model, "prompt": request.prompt, "size": size, "response_format": "b64_json"}
    # It is true where nothing is said.
    body["watermark"] = False
    stated = {"output_format": output_format, "background": background}
    body.update({name: value for name, value in stated.items() if value is not None})
    if not request.inputs:
        return (msgspec.json.encode(body),)
    # The number becomes a slot only in front of its prefix, so the skeleton holds it alone.
    body["image"] = [str(index) for index in range(len(request.inputs))]
    parts = list(template_of(msgspec.json.encode(body), ARK_REQUEST_IMAGE))
    for index, image in enumerate(request.inputs):
        before = parts[2 * index]
        assert isinstance(before, bytes)
        parts[2 * index] = before + f"data:{image.mime};base64,".encode()
    return tuple(parts)


def decode_request(skeleton: bytes) -> ArkRequest:
    """Read the body of a call, its images cut out.

    Raises:
        RequestError: It is none; the message names the field.
        WireError: It is no JSON.
    """
    try:
        read = msgspec.json.decode(skeleton, type=ArkRequest)
    except msgspec.ValidationError as exc:
        raise RequestError(f"The request is not valid: {exc}", param="body") from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise WireError("json", "the document is not valid JSON") from exc
    if not read.prompt.strip():
        raise RequestError("prompt must be some text.", param="prompt")
    if len(read.images) > INPUTS_MAX:
        raise RequestError(f"image holds at most {INPUTS_MAX}.", param="image")
    return read
