"""OpenAI's image edits: what a caller asks of `POST /v1/images/edits`, as JSON and as a form.

Pure: no I/O, clock or randomness. A form becomes the JSON that says the same, so that there is one definition, one
check and one fingerprint of what was asked; in it each image is a number, as `wire.scan` leaves it.

Source: openai-python 3.54 `types/image_edit_params.py`; openai-openapi `EditImageBodyJsonParam` (2026-08-21).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from holdfast.errors import RequestError
from holdfast.types import InputImage
from holdfast.wire.errors import WireError
from holdfast.wire.fields import document_of, request_error_of
from holdfast.wire.misfit import misfit
from holdfast.wire.openai_request import ImagesRequest
from holdfast.wire.slots import check_numbers, is_number, texts_at

IMAGES_MAX = 16
IMAGE_BYTES_MAX = 50 << 20
MASK_BYTES_MAX = 4 << 20
_NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_INDEX = re.compile(r"\[([^\[\]]*)\]")
_DEPTH_MAX = 4
_SHOWN_CHARS = 64


class EditImage(msgspec.Struct, frozen=True, kw_only=True):
    """An image of an edit: one of both."""

    image_url: (
        Annotated[
            str, Meta(min_length=1, description="A `data:` URL, or an address that is fetched at once (https, public).")
        ]
        | None
    ) = None
    file_id: (
        Annotated[str, Meta(max_length=256, description="Refused: files of OpenAI's are out of reach here.")] | None
    ) = None


class EditsRequest(ImagesRequest, frozen=True, kw_only=True):
    """Create images from images and a prompt. `null` means absent for every field but `prompt` and `images`."""

    images: Annotated[
        list[EditImage], Meta(min_length=1, max_length=IMAGES_MAX, description="What to begin with, in order.")
    ]
    mask: EditImage | None = None
    """A PNG of the first image's size; what is transparent in it is drawn anew."""
    input_fidelity: (
        Annotated[Literal["high", "low"], Meta(description="How closely faces and logos are kept.")] | None
    ) = None


_KNOWN_FIELDS = frozenset(EditsRequest.__struct_fields__)
_FILE_FIELDS = frozenset({"image", "images", "mask"})


@dataclass(frozen=True, slots=True, kw_only=True)
class EditsView:
    """An edit, and where its images are: by number among those that came along, or by address."""

    request: EditsRequest
    images: tuple[int | str, ...]
    mask: int | str | None
    unknown: tuple[str, ...]
    """Fields that are not known here and have no effect, sorted."""


def EDITS_REQUEST_IMAGE(path: tuple[str, ...]) -> bool:
    """An image of a request: `images[].image_url` and `mask.image_url`."""
    return path in (("images", "image_url"), ("mask", "image_url"))


def decode_edits_request(skeleton: bytes, came_along: int, *, is_form: bool = False) -> EditsView:
    """Decode a request that was read with `EDITS_REQUEST_IMAGE`, addresses left in it.

    Args:
        skeleton: The JSON, or what `Fields` made of a form.
        came_along: How many images were cut out of the body.
        is_form: Numbers and booleans are text there.

    Raises:
        RequestError: Not JSON, a field is missing or of the wrong type; `param` names it.
    """
    try:
        document = document_of(skeleton)
    except WireError as exc:
        raise request_error_of(exc) from exc
    check_numbers((text for _, text in texts_at(document, EDITS_REQUEST_IMAGE) if is_number(text)), came_along)
    try:
        request = msgspec.convert(document, type=EditsRequest, strict=not is_form)
    except msgspec.ValidationError as exc:
        raise misfit(exc, document, EditsRequest) from exc
    if not request.prompt.strip():
        raise RequestError("prompt must be some text, not white space only.", param="prompt")
    images = tuple(_place_of(image, f"images[{index}]") for index, image in enumerate(request.images))
    return EditsView(
        request=request,
        images=images,
        mask=None if request.mask is None else _place_of(request.mask, "mask"),
        unknown=tuple(sorted(name[:_SHOWN_CHARS] for name in document if name not in _KNOWN_FIELDS)),
    )


def check_mask(mask: InputImage, first: InputImage) -> None:
    """See that a mask is one, before anything is paid: a PNG below 4 MB, of the first image's size.

    Raises:
        RequestError: It is not.
    """
    if mask.mime != "image/png":
        raise RequestError(f"mask must be a PNG with transparency, not {mask.mime}.", param="mask")
    if mask.bytes > MASK_BYTES_MAX:
        raise RequestError(
            f"mask must be at most {MASK_BYTES_MAX:,} bytes.", code="input_too_large", status=413, param="mask"
        )
    if first.width_px and (mask.width_px, mask.height_px) != (first.width_px, first.height_px):
        raise RequestError(
            f"mask must be of the first image's size, {first.width_px}x{first.height_px}, not "
            f"{mask.width_px}x{mask.height_px}.",
            param="mask",
        )


def _place_of(image: EditImage, where: str) -> int | str:
    if image.file_id is not None:
        raise RequestError(
            f"{where}.file_id: files that were uploaded to OpenAI take a credential of OpenAI's. Send the image "
            "itself, as a data: URL in image_url or in a form.",
            param=f"{where}.file_id",
        )
    if image.image_url is None:
        raise RequestError(f"{where} takes an image_url.", param=where)
    return int(image.image_url) if is_number(image.image_url) else image.image_url


class Kind(Enum):
    """What a part of a form is."""

    IMAGE = auto()
    MASK = auto()
    TEXT = auto()
    UNKNOWN = auto()


@dataclass(slots=True)
class Fields:
    """Makes JSON of a form's parts, in any order."""

    document: dict[str, Any] = field(default_factory=dict)
    images: int = 0
    has_mask: bool = False

    def kind_of(self, name: str) -> Kind:
        """Say what a part is, by its name; to be called once for each.

        Raises:
            RequestError: It is one too many, or no name of a field.
        """
        match = _NAME.fullmatch(name)
        if match is None or len(steps := _INDEX.findall(match.group(2))) > _DEPTH_MAX:
            raise RequestError(f"{name[:_SHOWN_CHARS]!r} is no name of a field: image[], mask, prompt, …")
        base = match.group(1)
        if base not in _FILE_FIELDS:
            return Kind.TEXT if base in _KNOWN_FIELDS else Kind.UNKNOWN
        if base == "mask" and not steps:
            if self.has_mask:
                raise RequestError("mask stands twice in the form.", param="mask")
            self.has_mask = True
            return Kind.MASK
        if base != "image" or len(steps) > 1 or not "".join(steps).isascii() or not ("0" + "".join(steps)).isdigit():
            raise RequestError("A form carries its images as files named image[], and a mask as mask.", param="image")
        self.images += 1
        if self.images > IMAGES_MAX:
            raise RequestError(f"At most {IMAGES_MAX} images are taken.", param="image")
        return Kind.IMAGE

    def put(self, name: str, value: str) -> None:
        """Take a part that is text.

        Raises:
            RequestError: It stands there already.
        """
        match = _NAME.fullmatch(name)
        assert match is not None, "`kind_of` has seen it"
        steps = (match.group(1), *_INDEX.findall(match.group(2)))
        place: Any = self.document
        for step, following in zip(steps, (*steps[1:], None), strict=True):
            if isinstance(place, list):
                if step or following is not None:
                    raise _twice(name)
                place.append(value)
                return
            if not isinstance(place, dict) or (following is None and step in place):
                raise _twice(name)
            if following is None:
                place[step] = value
                return
            place = place.setdefault(step, [] if following == "" else {})

    def put_unknown(self, name: str, digest: str) -> None:
        """Take a part that means nothing here, by the SHA-256 of its bytes: repeats are recognised by it."""
        self.document.setdefault(name[:_SHOWN_CHARS], []).append(digest)

    def finish(self) -> bytes:
        """Say that the form has ended; give the JSON, in which images and mask are numbers in this order."""
        document = dict(self.document)
        if self.images:
            document["images"] = [{"image_url": str(number)} for number in range(self.images)]
        if self.has_mask:
            document["mask"] = {"image_url": str(self.images)}
        return msgspec.json.encode(document)


def _twice(name: str) -> RequestError:
    return RequestError(f"{name[:_SHOWN_CHARS]} stands twice in the form.", param=name[:_SHOWN_CHARS])
