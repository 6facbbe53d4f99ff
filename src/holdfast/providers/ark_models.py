"""What each Seedream can do: pixels, reference images, file formats.

Pure: no I/O, clock or randomness. A picture that is smaller than any a model draws becomes the smallest that it does,
of the same ratio, since more pixels harm nobody; one that is larger than any is refused, since fewer would.

Source: docs.volcengine.com 82379/1541523; docs.byteplus.com, ModelArk 1824121; for 5.0 flash and 5.5 resellers of the
latter (2026-11).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import sqrt

from holdfast.errors import RequestError
from holdfast.policy.sizes import geometry_of
from holdfast.types import Geometry, Request, Tier

AREA_SHARE_MIN = 0.85
"""A picture of a class may be drawn with this share of its usual pixels: 4K at 16:9 is 0.8 % above what is allowed."""
INPUT_BYTES_MAX = 30 << 20
INPUT_PX_MAX = 36_000_000
_EDGE_STEP_PX = 16
"""Edges are multiples of it, as in the vendor's own table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seedream:
    """One model, or several that can do the same."""

    name: str
    pixels_min: int
    pixels_max: int
    inputs_max: int
    """Reference images."""
    formats: tuple[str, ...] = ()
    """What `output_format` may be; empty: the field is refused, and JPEG comes."""
    has_background: bool = False


_V4 = Seedream(name="Seedream 4.0", pixels_min=921_600, pixels_max=16_777_216, inputs_max=14)
_V45 = Seedream(name="Seedream 4.5", pixels_min=3_686_400, pixels_max=16_777_216, inputs_max=14)
_V5_LITE = Seedream(
    name="Seedream 5.0 lite", pixels_min=3_686_400, pixels_max=16_777_216, inputs_max=14, formats=("png", "jpeg")
)
_V5 = Seedream(name="Seedream 5.0", pixels_min=921_600, pixels_max=4_624_220, inputs_max=10, formats=("png", "jpeg"))
_V55 = Seedream(
    name="Seedream 5.5",
    pixels_min=921_600,
    pixels_max=4_194_304,
    inputs_max=10,
    formats=("png", "jpeg"),
    has_background=True,
)
_UNKNOWN = Seedream(name="this model", pixels_min=921_600, pixels_max=16_777_216, inputs_max=14)
"""Behind the id of an endpoint, or newer than this table: the sizes that most can do, and no field that one refuses."""
_NAME = re.compile(r"seedream-(\d)(?:[-.](\d)(?!\d))?(?:-(pro|flash|lite))?")


def model_of(*names: str) -> Seedream:
    """Find a model by its id, or by whatever else it is called.

    Args:
        names: The id there, then the public name: an endpoint's id (`ep-…`) says nothing of what is behind it.
    """
    for name in names:
        found = _NAME.search(name.lower())
        if found is None:
            continue
        match (found[1], found[2] or "0", found[3]):
            case ("4", "0", None):
                return _V4
            case ("4", "5", None):
                return _V45
            case ("5", "0", "pro" | "flash"):
                return _V5
            case ("5", "0", _):
                return _V5_LITE
            case ("5", "5", _):
                return _V55
    return _UNKNOWN


def fitted(model: Seedream, wanted: Geometry) -> Geometry | None:
    """Choose the picture that a model draws for one that was asked for; None: all that it draws are too small."""
    tiers = tuple(Tier)
    for tier in tiers[tiers.index(wanted.tier) :]:
        # The picture as it was resolved, or of a larger class where the model draws none so small.
        geometry = wanted if tier is wanted.tier else geometry_of(tier, wanted.aspect_ratio)
        area_px = geometry.width_px * geometry.height_px
        if area_px < model.pixels_min:
            continue
        if area_px <= model.pixels_max:
            return geometry
        return _shrunk(geometry, model) if area_px * AREA_SHARE_MIN <= model.pixels_max else None
    return None


def _shrunk(geometry: Geometry, model: Seedream) -> Geometry:
    """Make a picture of the same ratio whose edges are in step and whose area is allowed."""
    scale = sqrt(model.pixels_max / (geometry.width_px * geometry.height_px))
    short = min(geometry.width_px, geometry.height_px)
    long = max(geometry.width_px, geometry.height_px)
    short_px = int(short * scale) // _EDGE_STEP_PX * _EDGE_STEP_PX
    # The long edge follows the short one: cut on its own it would change the ratio by as much again.
    long_px = min(round(short_px * long / short), model.pixels_max // short_px) // _EDGE_STEP_PX * _EDGE_STEP_PX
    is_wide = geometry.width_px >= geometry.height_px
    return Geometry(
        tier=geometry.tier,
        aspect_ratio=geometry.aspect_ratio,
        width_px=long_px if is_wide else short_px,
        height_px=short_px if is_wide else long_px,
    )


def size_of(model: Seedream, wanted: Geometry) -> str:
    """Spell the size: `2048x2048`.

    Raises:
        RequestError: `unsupported_size`: the model draws none so large.
    """
    geometry = fitted(model, wanted)
    if geometry is None:
        raise RequestError(
            f"{model.name} draws at most {model.pixels_max:,} pixels; {wanted.width_px}x{wanted.height_px} "
            f"({wanted.tier.value}) is more. Ask for a smaller size.",
            code="unsupported_size",
            param="size",
        )
    return f"{geometry.width_px}x{geometry.height_px}"


def check_inputs(model: Seedream, request: Request) -> None:
    """See that a model takes the reference images of a request.

    Raises:
        RequestError: There are too many, or one is too large.
    """
    if len(request.inputs) > model.inputs_max:
        raise RequestError(
            f"{model.name} takes at most {model.inputs_max} reference images; {len(request.inputs)} were sent.",
            param="images",
        )
    for at, image in enumerate(request.inputs):
        if image.bytes > INPUT_BYTES_MAX or image.width_px * image.height_px > INPUT_PX_MAX:
            raise RequestError(
                f"{model.name} takes reference images of at most {INPUT_BYTES_MAX >> 20} MiB and "
                f"{INPUT_PX_MAX // 1_000_000} million pixels; image {at} is larger.",
                param="images",
            )
