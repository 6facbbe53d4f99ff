"""OpenAI Images: what a caller asks, and what we ask of an upstream that speaks it.

Pure: no I/O, clock or randomness. The definitions validate requests and are the source of the OpenAPI document.

Source: openai-python 3.54 `types/image_generate_params.py`; openai-openapi `EditImageBodyJsonParam` (2026-08-21).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from holdfast.errors import RequestError
from holdfast.types import Request
from holdfast.wire.errors import WireError
from holdfast.wire.fields import document_of, request_error_of
from holdfast.wire.misfit import misfit
from holdfast.wire.template import Template, template_of

PROMPT_CHARS_MAX = 32_000


class ImagesRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Create one or more images from a prompt. `null` means absent for every field."""

    prompt: Annotated[
        str, Meta(min_length=1, max_length=PROMPT_CHARS_MAX, description="What to draw, at most 32,000 characters.")
    ]
    model: Annotated[str, Meta(max_length=128, description="Public model name or alias.")] | None = None
    n: Annotated[int, Meta(ge=1, le=10, description="How many images.")] | None = None
    size: (
        Annotated[str, Meta(max_length=32, description="`WIDTHxHEIGHT` in pixels, `1K`, `2K`, `4K`, or `auto`.")] | None
    ) = None
    aspect_ratio: (
        Annotated[str, Meta(max_length=16, description="`16:9`; beside a `size` of `1K`, `2K`, `4K`.")] | None
    ) = None
    quality: (
        Annotated[
            Literal["auto", "low", "medium", "high", "xhigh", "max", "standard", "hd"],
            Meta(description="Sets the price of gpt-image models; never changes the size."),
        ]
        | None
    ) = None
    output_format: Annotated[Literal["png", "jpeg", "webp"], Meta(description="File format wished for.")] | None = None
    output_compression: Annotated[int, Meta(ge=0, le=100, description="For jpeg and webp, in percent.")] | None = None
    background: Annotated[Literal["auto", "transparent", "opaque"], Meta(description="Background.")] | None = None
    moderation: Annotated[Literal["auto", "low"], Meta(description="Strictness of the upstream's filter.")] | None = (
        None
    )
    response_format: (
        Annotated[
            Literal["b64_json", "url"],
            Meta(description="`url`: links only. Otherwise every item carries `b64_json` and `url`."),
        ]
        | None
    ) = None
    stream: Annotated[bool, Meta(description="Answer as server-sent events.")] | None = None
    partial_images: Annotated[int, Meta(ge=0, le=3, description="Previews while streaming.")] | None = None
    user: Annotated[str, Meta(max_length=512, description="The end user, told apart when repeats join.")] | None = None
    safety_identifier: Annotated[str, Meta(max_length=512, description="Replaces `user`.")] | None = None
    metadata: (
        Annotated[
            dict[str, Annotated[str, Meta(max_length=512)]], Meta(max_length=16, description="Kept, not sent on.")
        ]
        | None
    ) = None


_KNOWN_FIELDS = frozenset(ImagesRequest.__struct_fields__)


def decode_images_request(skeleton: bytes) -> tuple[ImagesRequest, tuple[str, ...]]:
    """Decode a request; also return the fields that are not known here and have no effect, sorted.

    Raises:
        RequestError: Not JSON, a field is missing or of the wrong type; `param` names it.
    """
    try:
        document = document_of(skeleton)
        request = msgspec.convert(document, type=ImagesRequest)
    except WireError as exc:
        raise request_error_of(exc) from exc
    except msgspec.ValidationError as exc:
        raise misfit(exc, document, ImagesRequest) from exc
    if not request.prompt.strip():
        raise RequestError("prompt must be some text, not white space only.", param="prompt")
    return request, tuple(sorted(name[:64] for name in document if name not in _KNOWN_FIELDS))


def encode_images_request(
    request: Request,
    *,
    model: str,
    size: str | None,
    n: int = 1,
    stream: bool = False,
    response_format: str | None = None,
) -> Template:
    """Write the body of `POST /v1/images/generations` towards an upstream, or of `/edits` if there are input images.

    Slot i is the request's input image i; a mask's follows them.

    Args:
        request: What the caller asked for.
        model: The upstream's name of the model.
        size: In the upstream's words; None leaves it out.
        n: Images to ask for in this one call.
        stream: Ask for events; previews only then.
        response_format: None for GPT image models, which refuse the field; `b64_json` for relays that need it.
    """
    body = _fields(request, model, size, n, stream, response_format)
    if not request.inputs:
        return (msgspec.json.encode(body),)
    # The number becomes a slot only in front of its prefix, so the skeleton holds it in a field of its own.
    body["images"] = [{"image_url": str(index)} for index in range(len(request.inputs))]
    if request.mask is not None:
        body["mask"] = {"image_url": str(len(request.inputs))}
    parts = list(template_of(msgspec.json.encode(body), _is_edit_image))
    for index, image in enumerate(request.files):
        before = parts[2 * index]
        assert isinstance(before, bytes)
        parts[2 * index] = before + f"data:{image.mime};base64,".encode()
    return tuple(parts)


def _is_edit_image(path: tuple[str, ...]) -> bool:
    return path in (("images", "image_url"), ("mask", "image_url"))


def _fields(
    request: Request, model: str, size: str | None, n: int, stream: bool, response_format: str | None
) -> dict[str, Any]:
    body: dict[str, Any] = {"model": model, "prompt": request.prompt, "n": n}
    wanted = {
        "size": size,
        "quality": request.quality,
        "output_format": request.output_format,
        "output_compression": request.output_compression,
        "background": request.background,
        "moderation": request.moderation,
        "input_fidelity": request.input_fidelity,
        "response_format": response_format,
        "user": request.end_user,
    }
    body.update({name: value for name, value in wanted.items() if value is not None})
    if stream:
        body["stream"] = True
        if request.partial_images:
            body["partial_images"] = request.partial_images
    return body
