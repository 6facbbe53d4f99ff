"""What the simulated Seedream models take, each by its own rules: pixels, and fields that some of them refuse.

Pure: no I/O, clock or randomness. Written from the vendor's page, as the gateway's own table is, and not from it.

Source: docs.volcengine.com 82379/1541523; docs.byteplus.com, ModelArk 1824121; 2026.
"""

from __future__ import annotations

import re

from holdfast.errors import RequestError
from holdfast.wire.ark import ArkRequest

_FAMILY = re.compile(r"seedream-(\d)-(\d)(-pro|-flash)?")
_FEW_PIXELS = (921_600, 4_624_220)
_MANY_PIXELS = (3_686_400, 16_777_216)


def pixels_of(model: str) -> tuple[int, int]:
    """Say how many pixels a model draws: at least, and at most."""
    found = _FAMILY.search(model)
    if found is None or (found[1], found[2]) == ("4", "0"):
        return _FEW_PIXELS[0], _MANY_PIXELS[1]
    return _FEW_PIXELS if found[3] or (found[1], found[2]) == ("5", "5") else _MANY_PIXELS


def check(request: ArkRequest) -> None:
    """Refuse what a model does not take.

    Raises:
        RequestError: With the parameter's name.
    """
    found = _FAMILY.search(request.model)
    is_strict = found is not None and found[1] == "5" and (found[3] is not None or found[2] == "5")
    for name in ("stream", "sequential_image_generation"):
        if is_strict and getattr(request, name) is not None:
            raise RequestError(f"The parameter `{name}` is not supported by this model.", param=name)
    if request.output_format is not None and (found is None or found[1] == "4"):
        raise RequestError("The parameter `output_format` is not supported by this model.", param="output_format")
