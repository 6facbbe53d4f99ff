"""What a notebook shows of an image: small enough to be kept inside it, whatever the image weighs.

A 4K picture is 20 MB, and a notebook keeps what it shows as text, a third longer. So it is given a preview, made with
Pillow, which is an extra. Without it a small image is shown as it is, and of a large one is said what would show it.
"""

from __future__ import annotations

import importlib.util
import io
import math
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import PIL.Image

PREVIEW_PX_MAX = 1024
"""Longer side: as wide as a notebook's column on a dense screen."""
PREVIEW_BYTES_MAX = 400_000
"""A notebook with fifty pictures stays below 30 MB, where Git hosts and editors begin to refuse."""
DECODED_PX_MAX = 64_000_000
"""192 MB while a preview is made; 4K has 17 million. What is larger is not decoded."""
SHOWN = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""What notebooks show as it is."""
SHEET_MAX = 16
"""Images on one sheet; the others are counted in words."""
_PALETTE = 256
_SHRINKS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One image, as far as showing it needs."""

    mime: str
    width_px: int
    height_px: int
    size_bytes: int
    read: Callable[[], bytes]
    """Gives all of it; called only if it is decoded or shown as it is."""


def png_of(shown: Sequence[Shown]) -> bytes | None:
    """Make a preview of one image, or a sheet of several.

    Returns:
        PNG of at most `PREVIEW_PX_MAX` pixels a side and `PREVIEW_BYTES_MAX` bytes; None where none can be made: Pillow
        is missing, or does not know the format, or an image is damaged or too large to decode.
    """
    if not _has_pillow() or not shown:
        return None
    from PIL import Image

    several = shown[:SHEET_MAX]
    columns = math.ceil(math.sqrt(len(several)))
    cell = PREVIEW_PX_MAX // columns
    small = [_small(each, cell) for each in several]
    if any(each is None for each in small):
        return None
    found = [each for each in small if each is not None]
    if len(found) == 1:
        return _encoded(found[0])
    rows = math.ceil(len(found) / columns)
    sheet = Image.new("RGBA", (columns * cell, rows * cell))
    for at, each in enumerate(found):
        row, column = divmod(at, columns)
        # In the middle of its cell: ratios may differ.
        sheet.paste(each, (column * cell + (cell - each.width) // 2, row * cell + (cell - each.height) // 2))
    return _encoded(sheet)


def bundle_of(shown: Sequence[Shown], words: str) -> dict[str, str]:
    """Give what a notebook shows, by MIME type; binary data in base64, as the protocol has it.

    Args:
        shown: The images.
        words: What is said where no picture is shown.

    Source: IPython 9, `IPython.display.display`, "Custom display methods".
    """
    png = png_of(shown)
    if png is not None:
        more = f" ({SHEET_MAX} of {len(shown)} shown)" if len(shown) > SHEET_MAX else ""
        return {"text/plain": f"{words}{more}", "image/png": b64encode(png).decode("ascii")}
    whole = _as_it_is(shown)
    if whole is not None:
        return {"text/plain": words, shown[0].mime: b64encode(whole).decode("ascii")}
    return {"text/plain": f"{words}\n{_why_not(shown)}"}


def _as_it_is(shown: Sequence[Shown]) -> bytes | None:
    """Read one small image of a kind that notebooks show; None for any other, and for one that was closed."""
    if len(shown) != 1 or shown[0].mime not in SHOWN or shown[0].size_bytes > PREVIEW_BYTES_MAX:
        return None
    try:
        return shown[0].read()
    except (OSError, ValueError):
        return None


def _why_not(shown: Sequence[Shown]) -> str:
    if not _has_pillow():
        return "Previews need Pillow: pip install pillow. Without it, save() writes the image to a file."
    return "No preview can be made of it; save() writes it to a file." if shown else "There is no image."


def _has_pillow() -> bool:
    return importlib.util.find_spec("PIL") is not None


def _small(shown: Shown, edge_px: int) -> PIL.Image.Image | None:
    """Decode an image and make it at most so large; None if that cannot be done."""
    if shown.width_px * shown.height_px > DECODED_PX_MAX:
        return None
    from PIL import Image

    try:
        with Image.open(io.BytesIO(shown.read())) as opened:
            if opened.width * opened.height > DECODED_PX_MAX:
                return None
            # JPEG is then decoded at a fraction of its size.
            opened.draft("RGB", (edge_px, edge_px))
            opened.thumbnail((edge_px, edge_px))
            return opened.convert("RGBA" if opened.has_transparency_data else "RGB")
    # What Pillow raises for what it does not know, what is damaged, and what is larger than its head says.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None


def _encoded(image: PIL.Image.Image) -> bytes | None:
    """Write PNG within the bound: as it is, else with 256 colours, else smaller and smaller."""
    for _ in range(_SHRINKS):
        for candidate in (image, image.quantize(_PALETTE)):
            buffer = io.BytesIO()
            candidate.save(buffer, "PNG")
            if buffer.tell() <= PREVIEW_BYTES_MAX:
                return buffer.getvalue()
        image = image.resize((max(1, image.width * 3 // 4), max(1, image.height * 3 // 4)))
    return None
