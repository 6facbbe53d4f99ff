"""What a notebook makes of a result: asked of IPython's own display formatter, as a cell's last line is."""

from __future__ import annotations

import io
import os
from base64 import b64decode
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from IPython.core.formatters import DisplayFormatter

from holdfast.client import preview
from holdfast.client.address import Server
from holdfast.client.results import Image, Images
from holdfast.client.spool import Spool
from holdfast.types import Charge
from holdfast.wire.image import ImageMeter


def an_image(width_px: int = 64, height_px: int = 48, kind: str = "PNG") -> Image:
    """Make a result as a call does: bytes in a spool, and what they say of themselves."""
    buffer = io.BytesIO()
    noise = os.urandom(width_px * height_px * 3)
    PIL.Image.frombytes("RGB", (width_px, height_px), noise).save(buffer, kind)
    spool, meter = Spool(), ImageMeter()
    spool.write(buffer.getvalue())
    meter.feed(buffer.getvalue())
    info, is_whole = meter.finish()
    assert info is not None
    assert is_whole
    return Image(spool, info, name="gen_1")


def images(*several: Image) -> Images:
    """Put a result together."""
    return Images(
        several,
        paid=Charge.YES,
        idempotency_key="k",
        generation_id="gen_1",
        server=Server.HOLDFAST,
        model=None,
        served_by=None,
        generation=None,
        sends=1,
    )


def shown(result: object) -> dict[str, Any]:
    """Ask IPython what a cell would show."""
    data, _ = DisplayFormatter().format(result)
    return dict(data)


def opened(bundle: dict[str, Any]) -> PIL.Image.Image:
    """Read the picture that would be shown."""
    return PIL.Image.open(io.BytesIO(b64decode(bundle["image/png"])))


def test_an_image_shows_a_small_picture_of_itself() -> None:
    """The preview once, and the words for a terminal."""
    bundle = shown(an_image(2000, 1000))
    assert set(bundle) == {"text/plain", "image/png"}
    assert max(opened(bundle).size) <= 1024
    assert len(bundle["image/png"]) < 600_000
    assert bundle["text/plain"].startswith("<Image 2000x1000 image/png")


def test_a_result_shows_all_of_its_images() -> None:
    """On one sheet."""
    bundle = shown(images(an_image(), an_image(), an_image()))
    assert set(bundle) == {"text/plain", "image/png"}
    assert "<Images 3 of gen_1" in bundle["text/plain"]
    assert opened(bundle).size[0] > 512


def test_whoever_asks_for_png_gets_bytes() -> None:
    """Front ends that know no bundle call this one; bytes, as IPython documents."""
    png = an_image()._repr_png_()
    assert png is not None
    assert png.startswith(b"\x89PNG")
    assert images(an_image())._repr_png_() is not None


def test_without_pillow_a_small_image_is_shown_and_a_large_one_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra that is missing is named."""
    monkeypatch.setattr(preview.importlib.util, "find_spec", lambda _: None)
    small, large = shown(an_image(kind="JPEG")), shown(an_image(1000, 1000))
    assert set(small) == {"text/plain", "image/jpeg"}
    assert set(large) == {"text/plain"}
    assert "pip install pillow" in large["text/plain"]
    assert "pip install pillow" in shown(images(an_image(), an_image()))["text/plain"]


@pytest.mark.parametrize("has_pillow", [True, False])
def test_an_image_that_was_closed_shows_words(has_pillow: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its bytes are gone; a notebook that is run again is shown no traceback."""
    if not has_pillow:
        monkeypatch.setattr(preview.importlib.util, "find_spec", lambda _: None)
    image = an_image()
    image.close()
    assert set(shown(image)) == {"text/plain"}


def test_an_image_shown_can_still_be_saved(tmp_path: Path) -> None:
    """Looking at it takes nothing away."""
    image = an_image()
    shown(image)
    assert image.save(tmp_path / "x.png").read_bytes() == image.bytes


def test_showing_loads_pillow_and_nothing_else_does() -> None:
    """The client's import stays cheap: the preview is loaded when it is wanted."""
    import subprocess
    import sys

    code = "import holdfast.client.results, sys; print('PIL' in sys.modules, 'holdfast.client.preview' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
