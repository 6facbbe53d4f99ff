"""A notebook is shown a small picture of a large one, and told in words what it cannot be shown."""

from __future__ import annotations

import io
import os
from base64 import b64decode

import pytest
from PIL import Image

from holdfast.client import preview
from holdfast.client.preview import PREVIEW_BYTES_MAX, PREVIEW_PX_MAX, SHEET_MAX, Shown, bundle_of, png_of


def drawn(width_px: int, height_px: int, kind: str = "PNG", mode: str = "RGB") -> bytes:
    """Draw noise, which no format makes smaller than it is."""
    noise = Image.frombytes(mode, (width_px, height_px), os.urandom(width_px * height_px * len(mode)))
    buffer = io.BytesIO()
    noise.save(buffer, kind)
    return buffer.getvalue()


def shown(data: bytes, width_px: int = 0, height_px: int = 0, mime: str = "image/png") -> Shown:
    """Say of bytes what an image says of itself."""
    return Shown(
        mime=mime,
        width_px=width_px,
        height_px=height_px,
        size_bytes=len(data),
        read=lambda: data,
    )


def opened(png: bytes | None) -> Image.Image:
    """Read a preview."""
    assert png is not None
    assert len(png) <= PREVIEW_BYTES_MAX
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    return image


@pytest.fixture
def without_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be where the extra is not installed."""
    monkeypatch.setattr(preview.importlib.util, "find_spec", lambda _: None)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_large_image_becomes_a_small_one(kind: str) -> None:
    """Even of noise: within a thousand pixels and some hundred kilobytes, in its own ratio."""
    image = opened(png_of([shown(drawn(2400, 1200, kind), 2400, 1200)]))
    assert max(image.size) <= PREVIEW_PX_MAX
    assert image.width == pytest.approx(2 * image.height, abs=2)


def test_a_small_image_keeps_its_size() -> None:
    """Nothing is made larger."""
    assert opened(png_of([shown(drawn(64, 48), 64, 48)])).size == (64, 48)


def test_a_plain_picture_is_shown_at_full_preview_size() -> None:
    """Only what weighs too much is made smaller than 1024."""
    buffer = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").resize((4096, 4096)).save(buffer, "PNG")
    assert opened(png_of([shown(buffer.getvalue(), 4096, 4096)])).size == (1024, 1024)


def test_what_is_transparent_stays_so() -> None:
    """A sticker is shown on the notebook's own ground."""
    image = opened(png_of([shown(drawn(64, 64, mode="RGBA"), 64, 64)]))
    assert image.has_transparency_data


def test_several_images_are_one_sheet() -> None:
    """Side by side, each in a cell, within the bounds of one."""
    image = opened(png_of([shown(drawn(700, 300), 700, 300), shown(drawn(300, 700), 300, 700)]))
    assert image.width > image.height
    assert max(image.size) <= PREVIEW_PX_MAX


def test_more_images_than_fit_are_counted() -> None:
    """A sheet of sixteen is the largest; how many there are is said."""
    tiny = [shown(drawn(8, 8), 8, 8)] * (SHEET_MAX + 4)
    assert "(16 of 20 shown)" in bundle_of(tiny, "<Images 20>")["text/plain"]


def test_what_is_too_large_to_decode_is_not_read() -> None:
    """The header says so; a few kilobytes can claim a gigapixel."""

    def never() -> bytes:
        raise AssertionError

    giant = Shown(mime="image/png", width_px=40_000, height_px=40_000, size_bytes=1, read=never)
    assert png_of([giant]) is None


@pytest.mark.parametrize("data", [b"", b"no picture", drawn(64, 64)[:200]])
def test_what_cannot_be_read_is_told_in_words(data: bytes) -> None:
    """A damaged file shows no traceback in a notebook."""
    bundle = bundle_of([shown(data, 64, 64, "image/heic")], "<Image 64x64>")
    assert bundle == {"text/plain": "<Image 64x64>\nNo preview can be made of it; save() writes it to a file."}


def test_nothing_is_shown_of_nothing() -> None:
    """An empty result says so."""
    assert png_of([]) is None
    assert "There is no image." in bundle_of([], "<Images 0>")["text/plain"]


def test_the_bundle_holds_the_preview_and_the_words() -> None:
    """Text for a terminal, base64 for a page."""
    bundle = bundle_of([shown(drawn(64, 48), 64, 48)], "<Image 64x48>")
    assert bundle["text/plain"] == "<Image 64x48>"
    assert opened(b64decode(bundle["image/png"])).size == (64, 48)


@pytest.mark.parametrize(("kind", "mime"), [("PNG", "image/png"), ("JPEG", "image/jpeg"), ("WEBP", "image/webp")])
@pytest.mark.usefixtures("without_pillow")
def test_without_pillow_a_small_image_is_shown_as_it_is(kind: str, mime: str) -> None:
    """Byte for byte, under its own type."""
    data = drawn(64, 48, kind)
    bundle = bundle_of([shown(data, 64, 48, mime)], "<Image>")
    assert b64decode(bundle[mime]) == data
    assert png_of([shown(data, 64, 48, mime)]) is None


@pytest.mark.parametrize(
    "several",
    [
        [shown(drawn(600, 600), 600, 600)],
        [shown(drawn(8, 8), 8, 8, "image/heic")],
        [shown(drawn(8, 8), 8, 8)] * 2,
    ],
)
@pytest.mark.usefixtures("without_pillow")
def test_without_pillow_the_rest_says_what_to_install(several: list[Shown]) -> None:
    """Too heavy, of a kind that notebooks do not show, or several."""
    bundle = bundle_of(several, "<Image>")
    assert list(bundle) == ["text/plain"]
    assert "pip install pillow" in bundle["text/plain"]
