"""Files of true size and weight, opened with Pillow as a person's viewer would."""

from __future__ import annotations

import io
from itertools import pairwise

import pytest
from PIL import Image, ImageChops, ImageStat

from holdfast.simulator.film import jpeg_bytes_wanted, paint, png_bytes_wanted
from holdfast.simulator.scene import draw

MB = 1_000_000


def opened(file: bytes) -> Image.Image:
    """Decode a whole file."""
    image = Image.open(io.BytesIO(file))
    image.load()
    return image


@pytest.mark.parametrize(
    ("pixels", "least", "most"),
    [
        ((1024, 1024), 1.3 * MB, 2.0 * MB),
        ((2048, 2048), 4.0 * MB, 9.0 * MB),
        ((4096, 4096), 15.0 * MB, 25.0 * MB),
    ],
)
def test_a_png_has_its_true_size_and_weight(pixels: tuple[int, int], least: float, most: float) -> None:
    """What was reported of real ones; every row and every checksum is right."""
    file = paint(*pixels, "png")
    assert least <= len(file) <= most
    image = opened(file)
    assert (image.format, image.size, image.mode) == ("PNG", pixels, "RGB")


@pytest.mark.parametrize(
    ("pixels", "least", "most"),
    [((1024, 1024), 0.5 * MB, 0.9 * MB), ((2048, 2048), 1.8 * MB, 3.2 * MB)],
)
def test_a_jpeg_has_its_true_size_and_weight(pixels: tuple[int, int], least: float, most: float) -> None:
    """The same for the other format."""
    file = paint(*pixels, "jpeg")
    assert least <= len(file) <= most
    image = opened(file)
    assert (image.format, image.size, image.mode) == ("JPEG", pixels, "RGB")


@pytest.mark.parametrize(
    ("pixels", "format_"),
    [
        ((1, 1), "png"),
        ((16, 16), "jpeg"),
        ((17, 300), "png"),
        ((300, 17), "jpeg"),
        ((257, 255), "png"),
        ((672, 1584), "png"),
    ],
)
def test_any_size_can_be_painted(pixels: tuple[int, int], format_: str) -> None:
    """Odd ones, tiny ones, and those with more or fewer rows than a band."""
    assert opened(paint(*pixels, format_)).size == pixels


def test_the_same_picture_is_painted_every_time() -> None:
    """Runs are repeatable to the byte."""
    assert paint(300, 200, "png") == paint(300, 200, "png")


def test_bands_join_without_a_seam() -> None:
    """A 4K picture is enlarged in bands: where two meet, rows differ no more than elsewhere."""
    image = opened(paint(2560, 2560, "png")).convert("L")
    steps = []
    for y in range(500, 530):
        upper, lower = (image.crop((0, row, 2560, row + 1)) for row in (y, y + 1))
        steps.append(ImageStat.Stat(ImageChops.difference(upper, lower)).mean[0])
    at_border = steps[512 - 1 - 500]
    assert at_border < 1.5 * sorted(steps)[len(steps) // 2]


def test_grain_is_fine() -> None:
    """It gives the weight, and must not be seen: no sample is moved by more than a few levels."""
    drawing = draw(512, 512)
    grained = opened(paint(512, 512, "png"))
    difference = ImageStat.Stat(ImageChops.difference(drawing, grained))
    assert max(difference.rms) < 6.0
    assert min(difference.rms) > 1.0
    assert ImageStat.Stat(grained).mean == pytest.approx(ImageStat.Stat(drawing).mean, abs=1.0)


@pytest.mark.parametrize("pixels", [(512, 512), (688, 384), (384, 688), (792, 336), (128, 768)])
def test_the_scene_fits_every_ratio(pixels: tuple[int, int]) -> None:
    """The lamp is the brightest thing in it, at its place; the bottom is the dark sea."""
    image = draw(*pixels).convert("L")
    width_px, height_px = pixels
    unit_px = min(pixels)
    x, y = 0.66 * width_px, 0.60 * height_px + (0.055 - 0.475) * unit_px
    lamp = image.crop((round(x - 3), round(y - 3), round(x + 3), round(y + 3)))
    assert ImageStat.Stat(lamp).mean[0] > 200
    bottom = image.crop((0, height_px - 8, width_px, height_px))
    assert ImageStat.Stat(bottom).mean[0] < 60


def test_the_scene_is_drawn_alike_at_every_size() -> None:
    """A larger one is the same picture, not another."""
    small = draw(256, 256).convert("L")
    large = draw(512, 512).convert("L").resize((256, 256))
    assert ImageStat.Stat(ImageChops.difference(small, large)).mean[0] < 22


def test_weights_grow_with_the_pixels() -> None:
    """Less than in proportion, as real ones do."""
    pixels = [1 << 20, 1 << 22, 1 << 24]
    for wanted in (png_bytes_wanted, jpeg_bytes_wanted):
        weights = [wanted(count) for count in pixels]
        assert all(one < other < 4 * one for one, other in pairwise(weights))
