"""Pictures that are drawn once and made unique by a comment."""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from collections.abc import Callable

import pybase64
import pytest

from holdfast.simulator.pictures import (
    PNG_SIGNATURE,
    SERIAL_CHARS,
    Encoded,
    Gallery,
    jpeg_comment,
    png_chunk,
    png_comment,
    prepare,
)
from holdfast.simulator.replies import Drawn
from holdfast.wire.image import ImageProbe

A_SERIAL = "0" * 39 + "."


def a_png(width_px: int = 40, height_px: int = 30, *, payload: bytes = b"") -> bytes:
    """Make a small PNG, and as heavy as its payload."""
    header = width_px.to_bytes(4, "big") + height_px.to_bytes(4, "big") + b"\x08\x00\x00\x00\x00"
    rows = zlib.compress((b"\0" + bytes(width_px)) * height_px)
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", rows) + png_chunk(b"teSt", payload)
    return PNG_SIGNATURE + chunks + png_chunk(b"IEND", b"")


def a_jpeg() -> bytes:
    """Make what begins and ends like a JPEG of 40 x 30."""
    jfif = b"\xff\xe0\x00\x10JFIF\0\x01\x01\x00\x00\x01\x00\x01\x00\x00"
    frame = b"\xff\xc0\x00\x0b\x08\x00\x1e\x00\x28\x01\x01\x11\x00"
    return b"\xff\xd8" + jfif + frame + b"\xff\xda\x00\x02" + b"\x12\x34" + b"\xff\xd9"


def drawn(width_px: int = 40, height_px: int = 30, format_: str = "png", serial: str = A_SERIAL) -> Drawn:
    """Ask for one."""
    return Drawn(width_px=width_px, height_px=height_px, format=format_, serial=serial)


class Painter:
    """Counts what it paints."""

    def __init__(self, *, payload_bytes: int = 0) -> None:
        self.painted: list[tuple[int, int, str]] = []
        self._payload = bytes(payload_bytes)

    def __call__(self, width_px: int, height_px: int, format_: str) -> bytes:
        self.painted.append((width_px, height_px, format_))
        return a_png(width_px, height_px, payload=self._payload) if format_ == "png" else a_jpeg()


FILES: list[tuple[str, Callable[[], bytes]]] = [("png", a_png), ("jpeg", a_jpeg)]


@pytest.mark.parametrize(("format_", "make"), FILES)
def test_a_serial_leaves_the_file_whole(format_: str, make: Callable[[], bytes]) -> None:
    """Same pixels, same type, an end mark, and a comment that names it."""
    file = prepare(make(), format_).with_serial(A_SERIAL).file()
    probe = ImageProbe()
    probe.feed(file)
    seen = probe.finish()
    assert seen is not None
    assert (seen.mime, seen.width_px, seen.height_px, seen.complete) == (f"image/{format_}", 40, 30, True)
    assert A_SERIAL.encode() in file


@pytest.mark.parametrize(("format_", "make"), FILES)
def test_every_serial_makes_another_file(format_: str, make: Callable[[], bytes]) -> None:
    """A store that knows images by their hash must not take two of ours for one."""
    prepared = prepare(make(), format_)
    digests = {hashlib.sha256(prepared.with_serial(f"{number:039d}.").file()).digest() for number in range(50)}
    assert len(digests) == 50


@pytest.mark.parametrize(("format_", "make"), FILES)
def test_pieces_join_without_padding(format_: str, make: Callable[[], bytes]) -> None:
    """They are one base64 text, of the length that was promised."""
    encoded = prepare(make(), format_).with_serial(A_SERIAL)
    text = b"".join(encoded.pieces(0))
    assert len(text) == encoded.text_bytes
    assert pybase64.b64decode(text, validate=True) == encoded.file()
    assert b"".join(encoded.pieces(4)) == text[4:]


def test_the_heavy_part_is_never_copied() -> None:
    """All pictures of a kind share it: that is what keeps memory flat."""
    prepared = prepare(a_png(payload=bytes(100_000)), "png")
    one, other = prepared.with_serial("1"), prepared.with_serial("2")
    assert one.text is other.text
    (_, piece) = one.pieces(0)
    assert isinstance(piece, memoryview)
    assert piece.obj is one.text


def test_a_png_comment_is_a_chunk_with_a_true_checksum() -> None:
    """Viewers check it."""
    chunk = png_comment("abc")
    length, kind, data, checksum = chunk[:4], chunk[4:8], chunk[8:-4], chunk[-4:]
    assert int.from_bytes(length, "big") == len(data)
    assert kind == b"tEXt"
    assert data.startswith(b"Comment\0abc")
    assert int.from_bytes(checksum, "big") == zlib.crc32(kind + data)


def test_a_jpeg_comment_states_its_length() -> None:
    """Its own two bytes included."""
    segment = jpeg_comment("abc")
    assert segment[:2] == b"\xff\xfe"
    assert int.from_bytes(segment[2:4], "big") == len(segment) - 2


@pytest.mark.parametrize("serial", ["", "x", "x" * SERIAL_CHARS])
def test_comments_are_of_one_length(serial: str) -> None:
    """What stands in front of the heavy part must stay a multiple of three."""
    assert len(png_comment(serial)) == len(png_comment("abc"))
    assert len(jpeg_comment(serial)) == len(jpeg_comment("abc"))


async def test_a_kind_is_painted_once() -> None:
    """However many ask at the same time."""
    painter = Painter()
    gallery = Gallery(painter)
    serials = [f"{number:039d}." for number in range(20)]
    pictures = await asyncio.gather(*(gallery.get(drawn(serial=serial)) for serial in serials))
    assert painter.painted == [(40, 30, "png")]
    assert len({picture.front for picture in pictures}) == 20
    await gallery.get(drawn())
    assert len(painter.painted) == 1


async def test_each_size_and_format_is_a_kind() -> None:
    """Nothing is scaled afterwards."""
    painter = Painter()
    gallery = Gallery(painter)
    for asked in (drawn(), drawn(width_px=50), drawn(format_="jpeg"), drawn()):
        await gallery.get(asked)
    assert painter.painted == [(40, 30, "png"), (50, 30, "png"), (40, 30, "jpeg")]
    assert repr(gallery).startswith("<Gallery ready=3 drawing=0 ")


async def test_what_was_longest_not_asked_for_makes_room() -> None:
    """The bound holds, and what is in use stays."""
    painter = Painter(payload_bytes=30_000)
    gallery = Gallery(painter, bytes_max=100_000)
    for width_px in (41, 42, 41, 43):
        await gallery.get(drawn(width_px=width_px))
    assert len(painter.painted) == 3
    await gallery.get(drawn(width_px=41))
    assert len(painter.painted) == 3, "41 was asked for last before 43 came"
    await gallery.get(drawn(width_px=42))
    assert painter.painted[-1] == (42, 30, "png")


async def test_one_picture_beyond_the_bound_is_kept() -> None:
    """Else it would be painted for every request."""
    painter = Painter(payload_bytes=30_000)
    gallery = Gallery(painter, bytes_max=10)
    await gallery.get(drawn())
    await gallery.get(drawn())
    assert len(painter.painted) == 1


async def test_who_leaves_does_not_stop_the_brush() -> None:
    """Others wait for the same picture."""
    painter = Painter()
    gallery = Gallery(painter)
    first = asyncio.ensure_future(gallery.get(drawn()))
    second = asyncio.ensure_future(gallery.get(drawn()))
    await asyncio.sleep(0)
    first.cancel()
    assert isinstance(await second, Encoded)
    assert len(painter.painted) == 1


async def test_a_brush_that_breaks_is_told_and_tried_again() -> None:
    """A failure is not kept as if it were a picture."""
    broken = [True]

    def paint(width_px: int, height_px: int, format_: str) -> bytes:
        if broken:
            raise ValueError("no paint")
        return a_png(width_px, height_px)

    gallery = Gallery(paint)
    with pytest.raises(ValueError, match="no paint"):
        await gallery.get(drawn())
    broken.clear()
    assert isinstance(await gallery.get(drawn()), Encoded)


async def test_nothing_is_painted_after_the_end() -> None:
    """What waits for its turn is let go."""
    gallery = Gallery(Painter())
    waiting = asyncio.ensure_future(gallery.get(drawn()))
    await asyncio.sleep(0)
    gallery.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
