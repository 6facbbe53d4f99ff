"""fal's queue: what a request for images says, written and read.

Pure: no I/O, clock or randomness.

Source: fal.ai model pages of nano-banana, nano-banana-2 and nano-banana-pro (2026).
"""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast.errors import RequestError
from holdfast.types import Request
from holdfast.wire.errors import WireError
from holdfast.wire.template import Template, template_of

IMAGES_MAX = 4
"""`num_images` is at most this."""
INPUTS_MAX = 14
PROMPT_CHARS_MAX = 50_000


class ImageInput(msgspec.Struct, frozen=True, kw_only=True):
    """The input of a model that makes images; what is not listed is passed over, as there."""

    prompt: str
    num_images: int = 1
    aspect_ratio: str | None = None
    resolution: str | None = None
    output_format: str | None = None
    sync_mode: bool = False
    image_urls: tuple[str, ...] = ()


def FAL_REQUEST_IMAGE(path: tuple[str, ...]) -> bool:
    """A reference image of a request: `image_urls[]`."""
    return path == ("image_urls",)


def encode_input(request: Request, *, n: int = 1, states_resolution: bool = True) -> Template:
    """Write the body of a submission; slot i is the request's input image i.

    Args:
        request: What the caller asked for.
        n: Images to ask for in this one call.
        states_resolution: Whether the model has a field for it; the first nano-banana draws one size.
    """
    body: dict[str, Any] = {"prompt": request.prompt, "num_images": n, "aspect_ratio": request.geometry.aspect_ratio}
    if states_resolution:
        body["resolution"] = request.geometry.tier.value
    if request.output_format is not None:
        body["output_format"] = request.output_format
    if not request.inputs:
        return (msgspec.json.encode(body),)
    # The number becomes a slot only in front of its prefix, so the skeleton holds it alone.
    body["image_urls"] = [str(index) for index in range(len(request.inputs))]
    parts = list(template_of(msgspec.json.encode(body), FAL_REQUEST_IMAGE))
    for index, image in enumerate(request.inputs):
        before = parts[2 * index]
        assert isinstance(before, bytes)
        parts[2 * index] = before + f"data:{image.mime};base64,".encode()
    return tuple(parts)


def decode_input(skeleton: bytes) -> ImageInput:
    """Read the body of a submission, its images cut out.

    Raises:
        RequestError: It is none; the message names the field.
        WireError: It is no JSON.
    """
    try:
        read = msgspec.json.decode(skeleton, type=ImageInput)
    except msgspec.ValidationError as exc:
        raise RequestError(f"The input is not valid: {exc}", param="body") from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise WireError("json", "the document is not valid JSON") from exc
    if not 1 <= len(read.prompt) <= PROMPT_CHARS_MAX:
        raise RequestError(f"prompt has 1 to {PROMPT_CHARS_MAX} characters.", param="prompt")
    if not 1 <= read.num_images <= IMAGES_MAX:
        raise RequestError(f"num_images is 1 to {IMAGES_MAX}.", param="num_images")
    if len(read.image_urls) > INPUTS_MAX:
        raise RequestError(f"image_urls holds at most {INPUTS_MAX}.", param="image_urls")
    return read
