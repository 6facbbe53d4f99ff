"""Whether a picture is what the simulated upstream made: drawn again, and compared to the last byte."""

from __future__ import annotations

from functools import cache
from io import BytesIO

from PIL import Image

from holdfast.simulator.film import paint
from holdfast.simulator.pictures import Prepared, prepare


@cache
def _prepared(width_px: int, height_px: int) -> Prepared:
    return prepare(paint(width_px, height_px, "png"), "png")


def warm(sizes: tuple[str, ...]) -> None:
    """Draw once what will be compared, before anybody waits for it."""
    for size in sizes:
        width_px, _, height_px = size.partition("x")
        _prepared(int(width_px), int(height_px))


def serial_of(picture: bytes, size: str) -> str | None:
    """Give what makes a picture unique; None if it is not, to the last byte, what was asked for and made."""
    try:
        with Image.open(BytesIO(picture)) as opened:
            width_px, height_px = opened.size
            serial = str(opened.info.get("Comment", ""))
    except OSError:
        return None
    if f"{width_px}x{height_px}" != size:
        return None
    return serial if _prepared(width_px, height_px).with_serial(serial).file() == picture else None
