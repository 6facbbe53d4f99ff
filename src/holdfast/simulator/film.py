"""From a drawing to a file of the true pixel size and of a true weight: enlarged, grained, and packed in bands.

A real 4K PNG weighs 15 to 25 MB because a generated picture is noisy. Film grain brings the same weight: its strength
is computed from the bits that each sample may take. All is done in bands of a few hundred rows, with Pillow and zlib
only: memory stays flat, every step is short, and both let other threads run meanwhile. Pillow's own PNG writer was
tried first: it needs three times as long, and the whole picture at once.
"""

from __future__ import annotations

import io
import math
import random
import zlib
from collections.abc import Iterator
from functools import lru_cache
from statistics import NormalDist

from PIL import Image, ImageChops

from holdfast.simulator.pictures import PNG_SIGNATURE, png_chunk
from holdfast.simulator.scene import draw

BAND_ROWS = 256
_DRAWN_PX_MAX = 4_194_304
"""The drawing itself has at most four megapixels: larger ones take longer and show no more."""
_MARGIN_ROWS = 8
"""Enlarging looks at some rows above and below."""
_SEED = 16888
_JPEG_QUALITIES = (70, 78, 84, 88, 91, 93, 95, 96, 97)
_JPEG_PROBE_PX = 512


def png_bytes_wanted(pixels: int) -> int:
    """Give the weight of a PNG: 1.6 MB at 1K, 5.7 at 2K, 20 at 4K. Source: wire formats of 2026, payload sizes."""
    return round(1_600_000 * math.pow(pixels / 1_048_576, 0.91))


def jpeg_bytes_wanted(pixels: int) -> int:
    """Give the weight of a JPEG: 0.7 MB at 1K, 2.3 at 2K, 7.8 at 4K. Source: the same."""
    return round(700_000 * math.pow(pixels / 1_048_576, 0.87))


def paint(width_px: int, height_px: int, format_: str) -> bytes:
    """Make a file.

    Args:
        width_px: True pixels.
        height_px: The same.
        format_: `png` or `jpeg`.
    """
    pixels = width_px * height_px
    shrink = min(1.0, math.sqrt(_DRAWN_PX_MAX / pixels))
    drawing = draw(max(1, round(width_px * shrink)), max(1, round(height_px * shrink)))
    if format_ == "jpeg":
        return _jpeg(drawing, width_px, height_px, jpeg_bytes_wanted(pixels))
    return _png(drawing, width_px, height_px, png_bytes_wanted(pixels))


def _bands(drawing: Image.Image, width_px: int, height_px: int, sigma: float) -> Iterator[Image.Image]:
    """Enlarge and grain, band by band."""
    grain = _grain(width_px, sigma)
    across = drawing.width / width_px
    down = drawing.height / height_px
    for number, top in enumerate(range(0, height_px, BAND_ROWS)):
        rows = min(BAND_ROWS, height_px - top)
        above, below = max(0, top - _MARGIN_ROWS), min(height_px, top + rows + _MARGIN_ROWS)
        if across == 1.0:
            band = drawing.crop((0, top, width_px, top + rows))
        else:
            box = (0.0, above * down, drawing.width, min(drawing.height, below * down))
            larger = drawing.resize((width_px, below - above), Image.Resampling.BICUBIC, box=box)
            band = larger.crop((0, top - above, width_px, top - above + rows))
        # The same strip of grain, moved a prime number of pixels from band to band: nothing repeats within sight.
        moved = ImageChops.offset(grain, number * 379 % width_px, number * 97 % BAND_ROWS)
        yield ImageChops.add(band, moved.crop((0, 0, width_px, rows)), scale=1, offset=-128)


@lru_cache(maxsize=2)
def _grain(width_px: int, sigma: float) -> Image.Image:
    """Gaussian noise around 128 in each channel: uniform bytes, bent by a table."""
    normal = NormalDist(128.0, sigma)
    table = bytes(min(255, max(0, round(normal.inv_cdf((level + 0.5) / 256)))) for level in range(256))
    noise = random.Random(_SEED).randbytes(width_px * BAND_ROWS * 3).translate(table)
    return Image.frombytes("RGB", (width_px, BAND_ROWS), noise)


def _png(drawing: Image.Image, width_px: int, height_px: int, bytes_wanted: int) -> bytes:
    # Entropy of a difference of two Gaussians, bits a sample: log2(sigma * sqrt(2) * sqrt(2 pi e)).
    bits = bytes_wanted * 8 / (width_px * height_px * 3)
    sigma = 2**bits / math.sqrt(4 * math.pi * math.e)
    header = width_px.to_bytes(4, "big") + height_px.to_bytes(4, "big") + b"\x08\x02\x00\x00\x00"
    parts = [PNG_SIGNATURE, png_chunk(b"IHDR", header)]
    # Noise has no repetitions to look for: only its bytes are coded, at five times the speed.
    packer = zlib.compressobj(1, zlib.DEFLATED, 15, 9, zlib.Z_HUFFMAN_ONLY)
    for band in _bands(drawing, width_px, height_px, sigma):
        packed = packer.compress(_filtered(band))
        if packed:
            parts.append(png_chunk(b"IDAT", packed))
    parts += [png_chunk(b"IDAT", packer.flush()), png_chunk(b"IEND", b"")]
    return b"".join(parts)


def _filtered(band: Image.Image) -> bytes:
    """Write each row as differences to the pixel on its left: PNG's filter 1, Sub."""
    left = Image.new("RGB", band.size)
    left.paste(band, (1, 0))
    differences = ImageChops.subtract_modulo(band, left).tobytes()
    row_bytes = band.width * 3
    return b"".join(b"\x01" + differences[at : at + row_bytes] for at in range(0, len(differences), row_bytes))


def _jpeg(drawing: Image.Image, width_px: int, height_px: int, bytes_wanted: int) -> bytes:
    whole = Image.new("RGB", (width_px, height_px))
    top = 0
    for band in _bands(drawing, width_px, height_px, 2.0):
        whole.paste(band, (0, top))
        top += band.height
    # The quality is found on a piece of the middle, where there is something to see.
    side_x, side_y = min(_JPEG_PROBE_PX, width_px), min(_JPEG_PROBE_PX, height_px)
    x, y = (width_px - side_x) // 2, (height_px - side_y) // 2
    probe = whole.crop((x, y, x + side_x, y + side_y))
    share = side_x * side_y / (width_px * height_px)
    sizes = {quality: len(_written(probe, quality)) for quality in _JPEG_QUALITIES}
    best = min(sizes, key=lambda quality: abs(sizes[quality] - bytes_wanted * share))
    return _written(whole, best)


def _written(image: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, subsampling=0)
    return file.getvalue()
