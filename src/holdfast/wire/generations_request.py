"""The native request, `POST /v1/generations`: what a caller asks who waits for no image on this connection.

Pure: no I/O, clock or randomness. The definitions validate requests and are the source of the OpenAPI document. Nothing
else is known here, so a field that is not defined is refused: it would be a wish that nobody hears.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from holdfast.errors import RequestError
from holdfast.wire.errors import WireError
from holdfast.wire.fields import document_of, mapping_of, request_error_of
from holdfast.wire.misfit import misfit
from holdfast.wire.nearest import nearest
from holdfast.wire.openai_request import PROMPT_CHARS_MAX

IMAGES_MAX = 14
METADATA_KEY_CHARS_MAX = 64
_QUOTED_CHARS_MAX = 40


class InputReference(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An image to start from: its bytes, one that an earlier generation of the same key made, or where it lies."""

    b64: Annotated[str, Meta(description="The image, base64; a `data:` prefix is passed over.")] | None = None
    generation_id: Annotated[str, Meta(max_length=64, description="A generation of the same key.")] | None = None
    index: Annotated[int, Meta(ge=0, le=999, description="Which of its images, from 0; 0 if left out.")] | None = None
    url: (
        Annotated[str, Meta(min_length=1, max_length=2048, description="Fetched at once; https, a public host.")] | None
    ) = None


class WebhookTarget(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who is told of the end of this one, besides the key's webhooks."""

    url: Annotated[str, Meta(max_length=2048, description="Where the end is told.")]


class GenerationsRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Create images without waiting for them. `null` means absent for every field but `prompt`."""

    prompt: Annotated[
        str, Meta(min_length=1, max_length=PROMPT_CHARS_MAX, description="What to draw, at most 32,000 characters.")
    ]
    model: Annotated[str, Meta(max_length=128, description="Public model name or alias.")] | None = None
    size: (
        Annotated[str, Meta(max_length=32, description="`WIDTHxHEIGHT` in pixels, `1K`, `2K`, `4K`, or `auto`.")] | None
    ) = None
    aspect_ratio: (
        Annotated[str, Meta(max_length=16, description="`16:9`; beside a `size` of `1K`, `2K`, `4K`.")] | None
    ) = None
    n: Annotated[int, Meta(ge=1, le=10, description="How many images.")] | None = None
    images: (
        Annotated[list[InputReference], Meta(max_length=IMAGES_MAX, description="Images to start from, in order.")]
        | None
    ) = None
    webhook: WebhookTarget | None = None
    metadata: (
        Annotated[
            dict[str, Annotated[str, Meta(max_length=512)]],
            Meta(max_length=16, description="Kept and given back, not sent on; names of at most 64 characters."),
        ]
        | None
    ) = None


def is_input_image(path: tuple[str, ...]) -> bool:
    """Whether the string at this path is an image that is cut out of the body as it comes."""
    return path == ("images", "b64")


def decode_generations_request(skeleton: bytes) -> GenerationsRequest:
    """Decode a request whose images have been cut out.

    Raises:
        RequestError: Not JSON, a field is unknown, missing or of the wrong type; `param` names it.
    """
    try:
        document = document_of(skeleton)
        _refuse_unknown(document)
        request = msgspec.convert(document, type=GenerationsRequest)
    except WireError as exc:
        raise request_error_of(exc) from exc
    except msgspec.ValidationError as exc:
        raise misfit(exc, document, GenerationsRequest) from exc
    if not request.prompt.strip():
        raise RequestError("prompt must be some text, not white space only.", param="prompt")
    for index, image in enumerate(request.images or ()):
        _check_reference(image, f"images[{index}]")
    if any(not 1 <= len(name) <= METADATA_KEY_CHARS_MAX for name in request.metadata or ()):
        raise RequestError(f"metadata: names have 1 to {METADATA_KEY_CHARS_MAX} characters.", param="metadata")
    return request


def _check_reference(image: InputReference, where: str) -> None:
    """See that an image is named in one way, and in one that is served."""
    stated = [name for name in ("b64", "generation_id", "url") if getattr(image, name) is not None]
    if len(stated) != 1:
        came = " and ".join(stated) if stated else "none of them"
        raise RequestError(f"{where} takes one of b64, generation_id (with index) and url, not {came}.", param=where)
    if image.b64 == "":
        raise RequestError(f"{where}.b64 is empty.", param=f"{where}.b64")
    if image.index is not None and image.generation_id is None:
        raise RequestError(f"{where}.index goes with generation_id.", param=f"{where}.index")


def _refuse_unknown(document: Any) -> None:
    """See that every field is one of ours; the validator's own message cannot be told from a caller's words."""
    whole = mapping_of(document)
    _refuse_others(whole, GenerationsRequest, "")
    _refuse_others(mapping_of(whole.get("webhook")), WebhookTarget, "webhook.")
    images = whole.get("images")
    for index, image in enumerate(images if isinstance(images, list) else ()):
        _refuse_others(mapping_of(image), InputReference, f"images[{index}].")


def _refuse_others(fields: Mapping[str, Any], kind: type[msgspec.Struct], where: str) -> None:
    known = kind.__struct_fields__
    for name in fields:
        if name not in known:
            path = where + name[:_QUOTED_CHARS_MAX]
            raise RequestError(f"There is no field {path!r}. {nearest(name, known)}", param=path)
