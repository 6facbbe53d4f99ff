"""Type, size and wholeness of images, from their bytes alone."""

from __future__ import annotations

import hashlib
import io
import struct

import pytest
from PIL import Image

from holdfast.types import ImageInfo
from holdfast.wire.image import ImageMeter, ImageProbe, Probed, extension_of


def probe(data: bytes, *, step: int = 1 << 20) -> Probed | None:
    """Feed an image in pieces."""
    looker = ImageProbe()
    for at in range(0, len(data), step):
        looker.feed(data[at : at + step])
    return looker.finish()


def picture(kind: str, width: int = 37, height: int = 21, **options: object) -> bytes:
    """A real image of the kind."""
    out = io.BytesIO()
    Image.radial_gradient("L").resize((width, height)).convert("RGB").save(out, kind, **options)  # type: ignore[arg-type]
    return out.getvalue()


KINDS = [
    ("PNG", {}, "image/png"),
    ("JPEG", {}, "image/jpeg"),
    ("JPEG", {"progressive": True}, "image/jpeg"),
    ("GIF", {}, "image/gif"),
    ("WEBP", {}, "image/webp"),
    ("WEBP", {"lossless": True}, "image/webp"),
    ("WEBP", {"exif": b"Exif\x00\x00II*\x00"}, "image/webp"),
]


@pytest.mark.parametrize(("kind", "options", "mime"), KINDS)
@pytest.mark.parametrize("step", [1, 2, 3, 7, 64, 1 << 20])
def test_real_images_tell_their_type_and_size(kind: str, options: dict[str, object], mime: str, step: int) -> None:
    """However their bytes are cut."""
    data = picture(kind, **options)
    assert probe(data, step=step) == Probed(mime=mime, width_px=37, height_px=21, complete=True)


@pytest.mark.parametrize(("kind", "options", "mime"), KINDS)
def test_a_truncated_image_is_not_complete(kind: str, options: dict[str, object], mime: str) -> None:
    """Cut anywhere: never complete, and never a wrong size."""
    data = picture(kind, **options)
    for cut in range(len(data)):
        found = probe(data[:cut])
        if found is not None:
            assert not found.complete, cut
            assert (found.mime, found.width_px, found.height_px) == (mime, 37, 21)


@pytest.mark.parametrize(("kind", "options", "mime"), KINDS)
def test_padding_after_the_end_is_forgiven(kind: str, options: dict[str, object], mime: str) -> None:
    """Encoders and proxies append zeros."""
    found = probe(picture(kind, **options) + bytes(1000))
    assert found is not None
    assert found.complete


@pytest.mark.parametrize(
    "data", [b"", b"\x89PNG", b"<html>", b"GIF89", b"\xff\xd8", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBP", b"x" * 5000]
)
def test_what_is_no_image_is_none(data: bytes) -> None:
    """Nor is a header that was cut."""
    for step in (1, 1000):
        assert probe(data, step=step) is None


def test_a_png_of_4k_is_read_from_its_header() -> None:
    """The size needs no decoding."""
    head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 5504, 3072) + b"\x08\x02\x00\x00\x00" + bytes(100)
    assert probe(head) == Probed(mime="image/png", width_px=5504, height_px=3072, complete=False)
    assert probe(head + b"\x00\x00\x00\x00IEND\xaeB`\x82") == Probed(
        mime="image/png", width_px=5504, height_px=3072, complete=True
    )


def test_a_size_of_zero_is_no_image() -> None:
    """A header can lie; this lie is seen."""
    assert probe(b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 0, 3072) + bytes(100)) is None


def jpeg_with(*segments: bytes) -> bytes:
    """A real JPEG with segments of ours before its own."""
    data = picture("JPEG")
    return data[:2] + b"".join(segments) + data[2:]


def segment(marker: int, payload: bytes) -> bytes:
    """One JPEG segment."""
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


@pytest.mark.parametrize("step", [1, 13, 1000, 1 << 20])
def test_a_long_header_of_a_jpeg_is_walked(step: int) -> None:
    """A C2PA manifest of half a megabyte may come before the size."""
    data = jpeg_with(*[segment(0xEB, bytes(65_000))] * 2)
    assert probe(data, step=step) == Probed(mime="image/jpeg", width_px=37, height_px=21, complete=True)


def test_a_thumbnail_in_the_header_is_not_the_picture() -> None:
    """Its size and its end mark lie inside a segment that is skipped."""
    data = jpeg_with(segment(0xE1, b"Exif" + picture("JPEG", 8, 8)))
    assert probe(data) == Probed(mime="image/jpeg", width_px=37, height_px=21, complete=True)
    frame = data.index(b"\xff\xc0", 700)
    cut = probe(data[: frame + 30])
    assert cut == Probed(mime="image/jpeg", width_px=37, height_px=21, complete=False)


@pytest.mark.parametrize("filler", [b"\xff", b"\xff\xff\xff", b"\xff\xd0", b"\xff\x01"])
def test_fill_bytes_and_bare_markers_are_passed(filler: bytes) -> None:
    """The standard allows them before any marker."""
    data = jpeg_with(filler)
    for step in (1, 1000):
        found = probe(data, step=step)
        assert found is not None
        assert (found.width_px, found.height_px) == (37, 21)


def test_a_jpeg_whose_segments_make_no_sense_is_none() -> None:
    """No frame header, no size."""
    assert probe(b"\xff\xd8\xff\xe0\x00\x04ab" + b"zzzz" * 10 + b"\xff\xd9") is None
    assert probe(b"\xff\xd8\xff\xda\x00\x04ab" + b"\xff\xd9") is None
    assert probe(b"\xff\xd8\xff\xd9") is None


def test_a_segment_length_below_two_does_not_loop() -> None:
    """A length counts itself; less is nonsense and is passed over."""
    assert probe(b"\xff\xd8\xff\xe0\x00\x00" + b"\xff\xe0\x00\x00" * 1000, step=7) is None


@pytest.mark.parametrize(
    ("brand", "mime"),
    [(b"avif", "image/avif"), (b"heic", "image/heic"), (b"heix", "image/heic"), (b"mif1", "image/heif")],
)
def test_heif_kinds_are_known_by_name_only(brand: bytes, mime: str) -> None:
    """Accepted as inputs; their size is not read."""
    data = b"\x00\x00\x00\x20ftyp" + brand + bytes(100)
    assert probe(data, step=3) == Probed(mime=mime, width_px=0, height_px=0, complete=True)


def test_an_unknown_brand_is_none() -> None:
    """A film is no image."""
    assert probe(b"\x00\x00\x00\x20ftypisom" + bytes(100)) is None


def test_memory_does_not_grow_with_the_image() -> None:
    """Only the head and the tail are kept."""
    looker = ImageProbe()
    looker.feed(picture("PNG"))
    for _ in range(100):
        looker.feed(bytes(100_000))
    held = sum(len(getattr(looker, name)) for name in ("_head", "_tail"))
    assert held <= 4096 + 64
    assert repr(looker).startswith("<ImageProbe image/png 100")


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_is_accepted(kind: type) -> None:
    """The spool feeds what the reader gives."""
    looker = ImageProbe()
    looker.feed(kind(picture("PNG")))
    assert looker.finish() is not None


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
@pytest.mark.parametrize("cut_bytes", [0, 20])
def test_all_that_is_recorded_is_learnt_in_one_pass(step: int, cut_bytes: int) -> None:
    """Type, size, length and digest are those of the bytes that came; a cut image shows no end."""
    data = picture("PNG")
    data = data[: len(data) - cut_bytes]
    meter = ImageMeter()
    for at in range(0, len(data), step):
        meter.feed(memoryview(data)[at : at + step])
        assert meter.bytes == min(len(data), at + step)
    sha256 = hashlib.sha256(data).hexdigest()
    expected = ImageInfo(mime="image/png", width_px=37, height_px=21, bytes=len(data), sha256=sha256)
    assert meter.finish() == (expected, cut_bytes == 0)
    assert repr(meter) == f"<ImageMeter <ImageProbe image/png {len(data)}B>>"


def test_what_is_no_image_has_nothing_to_record() -> None:
    """Not even a length: it is never delivered."""
    meter = ImageMeter()
    meter.feed(b"<html>")
    assert meter.finish() == (None, False)


def test_every_type_that_is_told_names_its_files() -> None:
    """An image is found by its extension in a file manager; only what is none of ours is `bin`."""
    brands = (b"avif", b"heic", b"mif1")
    seen = [*(probe(picture(kind)) for kind, _, _ in KINDS), *(probe(b"\0\0\0\x20ftyp" + brand) for brand in brands)]
    assert {extension_of(each.mime) for each in seen if each is not None} == {
        *("png", "jpg", "gif", "webp", "avif", "heic", "heif")
    }
    assert extension_of("text/html") == extension_of(None) == "bin"
