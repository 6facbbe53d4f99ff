"""From what a caller wrote about size to one picture: a size class, a ratio and its pixels.

Callers write pixels (`1536x1024`), a class (`4K`), `auto` or nothing, with or without a ratio. Upstreams draw from a
table. The nearest entry is taken when it is near; what is not near is refused before anything is paid for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import exp, log
from types import MappingProxyType

from holdfast.config import Flavor
from holdfast.errors import RequestError
from holdfast.types import Geometry, Tier

RATIO_TOLERANCE = 0.10
"""A ratio further off than this is another picture, not the one that was asked for."""
AREA_SHARE_MIN = 0.95
"""A class is large enough when it has this share of the pixels asked for: 4K at 16:9 stands for 5632x3168."""

# Width and height at 1K of each landscape or square ratio. 2K and 4K are two and four times that, edge by edge;
# portrait is the same turned. Source: ai.google.dev, pixels by aspect ratio, gemini-3-pro-image, 2026.
_LANDSCAPE_1K = {
    "1:1": (1024, 1024),
    "3:2": (1264, 848),
    "4:3": (1200, 896),
    "5:4": (1152, 928),
    "16:9": (1376, 768),
    "21:9": (1584, 672),
}
# Drawn by the flash models only: taken when a caller names the ratio, never guessed from pixels.
_EXTREME_1K = {"4:1": (2048, 512), "8:1": (3072, 384)}
_EDGES = {Tier.K1: 1, Tier.K2: 2, Tier.K4: 4}

# What OpenAI's images API draws: edges are multiples of 16, the longest at most 3840, at most 8,294,400 pixels.
_OPENAI = {
    "1:1": ("1024x1024", "2048x2048", "2880x2880"),
    "3:2": ("1248x832", "2496x1664", "3520x2352"),
    "4:3": ("1184x880", "2352x1776", "3312x2480"),
    "5:4": ("1136x912", "2288x1824", "3216x2576"),
    "16:9": ("1360x768", "2720x1536", "3840x2160"),
    "21:9": ("1552x672", "3120x1344", "3840x1648"),
}
_TIERS = tuple(Tier)


def edges_of(ratio: str) -> tuple[int, int]:
    """Read the width and the height of a ratio: `16:9`."""
    width, height = ratio.split(":")
    return int(width), int(height)


def turned(ratio: str) -> str:
    """Give the ratio of the same picture in portrait, or in landscape."""
    width, height = edges_of(ratio)
    return f"{height}:{width}"


def _with_portrait(landscape: Mapping[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    portrait = {turned(ratio): (height, width) for ratio, (width, height) in landscape.items()}
    return {**landscape, **portrait}


# 9:21 is in no vendor's table: a tall banner is refused rather than drawn by guesswork.
_COMMON = {ratio: edges for ratio, edges in _with_portrait(_LANDSCAPE_1K).items() if ratio != "9:21"}
PIXELS_1K: Mapping[str, tuple[int, int]] = MappingProxyType({**_COMMON, **_with_portrait(_EXTREME_1K)})
"""Width and height, pixels, at 1K of every ratio that can be named."""
RATIOS: tuple[str, ...] = tuple(PIXELS_1K)

_PIXELS = re.compile(r"([1-9][0-9]{0,5})\s*[xX×*]\s*([1-9][0-9]{0,5})")


def geometry_of(tier: Tier, aspect_ratio: str) -> Geometry:
    """Give the table's entry."""
    width_px, height_px = PIXELS_1K[aspect_ratio]
    edge = _EDGES[tier]
    return Geometry(tier=tier, aspect_ratio=aspect_ratio, width_px=width_px * edge, height_px=height_px * edge)


def nearest_ratio(width_px: float, height_px: float) -> tuple[str, float]:
    """Find the common ratio nearest to these edges by |log|, and how far off it is: 0.10 is ten per cent."""
    off, ratio = min((_off(ratio, width_px, height_px), ratio) for ratio in _COMMON)
    return ratio, off


def resolve(
    size: str | None,
    *,
    aspect_ratio: str | None = None,
    last_input_px: tuple[int, int] | None = None,
    size_default: Tier = Tier.K1,
    flavor: Flavor = Flavor.VENDOR,
) -> Geometry:
    """Decide which picture a caller asked for.

    Args:
        size: `1024x1536`, `1K`, `2K`, `4K`, `auto` or None, as the caller wrote it.
        aspect_ratio: `16:9`, or None.
        last_input_px: Width and height of the last reference image; the ratio follows it when the caller names none.
        size_default: The route's size for callers who name none.
        flavor: A relay gets the caller's own words and decides itself, so an odd ratio is not refused here.

    Raises:
        RequestError: `unsupported_size`: no class or ratio stands for it. `invalid_request`: size and ratio disagree.
    """
    ratio = _named_ratio(aspect_ratio)
    stated = (size or "").strip() or "auto"
    pixels = _PIXELS.fullmatch(stated)
    if pixels is not None:
        return _from_pixels(int(pixels[1]), int(pixels[2]), ratio, stated, flavor)
    tier = _named_tier(stated, size_default)
    if ratio is None and last_input_px is not None and min(last_input_px) > 0:
        ratio, _ = nearest_ratio(*last_input_px)
    return geometry_of(tier, ratio or "1:1")


def _named_ratio(aspect_ratio: str | None) -> str | None:
    if aspect_ratio is None or aspect_ratio.strip().lower() in ("", "auto"):
        return None
    ratio = aspect_ratio.replace(" ", "")
    if ratio not in PIXELS_1K:
        raise RequestError(
            f"The aspect ratio {aspect_ratio[:20]!r} is not offered. Choose one of {', '.join(RATIOS)}.",
            code="unsupported_size",
            param="aspect_ratio",
        )
    return ratio


def _named_tier(stated: str, size_default: Tier) -> Tier:
    if stated.lower() == "auto":
        return size_default
    tier = next((tier for tier in _TIERS if stated.upper() == tier.value), None)
    if tier is None:
        raise RequestError(
            f"The size {stated[:20]!r} is not offered. Write 1K, 2K, 4K, auto, or pixels such as 1024x1536.",
            code="unsupported_size",
            param="size",
        )
    return tier


def _from_pixels(width_px: int, height_px: int, ratio: str | None, stated: str, flavor: Flavor) -> Geometry:
    nearest, off = nearest_ratio(width_px, height_px)
    if ratio is not None and _is_extreme(ratio):
        nearest, off = ratio, _off(ratio, width_px, height_px)
        if off > RATIO_TOLERANCE:
            raise _disagree(stated, ratio)
    elif ratio is not None and ratio != nearest:
        raise _disagree(stated, ratio)
    if off > RATIO_TOLERANCE and flavor is Flavor.VENDOR:
        raise RequestError(
            f"The size {stated} has a ratio more than 10 % away from any that is offered. "
            f"The nearest is {nearest}, at 1K {geometry_of(Tier.K1, nearest).width_px}x"
            f"{geometry_of(Tier.K1, nearest).height_px}.",
            code="unsupported_size",
            param="size",
        )
    for tier in _TIERS:
        geometry = geometry_of(tier, nearest)
        if geometry.width_px * geometry.height_px >= AREA_SHARE_MIN * width_px * height_px:
            return geometry
    largest = geometry_of(Tier.K4, nearest)
    raise RequestError(
        f"The size {stated} is larger than any that is offered. The largest of this ratio is "
        f"{largest.width_px}x{largest.height_px} (4K).",
        code="unsupported_size",
        param="size",
    )


def _is_extreme(ratio: str) -> bool:
    return ratio not in _COMMON


def _off(ratio: str, width_px: float, height_px: float) -> float:
    width, height = edges_of(ratio)
    return exp(abs(log(width / height) - log(width_px / height_px))) - 1.0


def _disagree(stated: str, ratio: str) -> RequestError:
    return RequestError(
        f"The size {stated} and the aspect ratio {ratio} disagree. Send one of them, or a size of that ratio.",
        param="aspect_ratio",
    )


def to_openai(geometry: Geometry) -> str:
    """Spell a picture as OpenAI's images API takes it: `3840x2160`.

    Ratios beyond 3:1, which that API does not draw, become the widest it does.
    """
    width, height = edges_of(geometry.aspect_ratio)
    at = _TIERS.index(geometry.tier)
    landscape = geometry.aspect_ratio if width >= height else turned(geometry.aspect_ratio)
    wide = _OPENAI.get(landscape, _OPENAI["21:9"])[at]
    return wide if width >= height else "x".join(reversed(wide.split("x")))
