"""Pictures of the true pixel size and of a true weight: drawn once for each size, and made unique by a comment.

A request must not wait for a picture longer than a real one would, and memory must stay flat: the file's base64 is kept
ready, and only the few bytes in front of it, where the comment lies, differ from one picture to the next. `Gallery`
keeps what was drawn within a bound and draws in a thread; the drawing itself is `scene`, the files are `film`.
"""

from __future__ import annotations

import asyncio
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass

import pybase64

from holdfast.simulator.replies import Drawn

GALLERY_BYTES_MAX = 192 << 20
"""Seven 4K pictures; beyond that, the one that was longest not asked for is drawn again when it is."""
SERIAL_CHARS = 40
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_IHDR_END = 33
_JFIF_END = 20
"""A JPEG of ours begins with SOI and an APP0 segment of 16 bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A picture whose bytes behind its comment are encoded already."""

    before: bytes
    """The file's bytes in front of the comment."""
    text: bytes
    """Base64 of all behind the comment."""
    format: str

    @property
    def weight_bytes(self) -> int:
        """Memory it takes."""
        return len(self.text)

    def with_serial(self, serial: str) -> Encoded:
        """Make one of its kind."""
        comment = png_comment(serial) if self.format == "png" else jpeg_comment(serial)
        return Encoded(front=pybase64.b64encode(self.before + comment), text=self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """The base64 of one picture, in two pieces that join without padding."""

    front: bytes
    text: bytes

    @property
    def text_bytes(self) -> int:
        """Its characters."""
        return len(self.front) + len(self.text)

    def pieces(self, start: int) -> Iterator[bytes | memoryview]:
        """Give its characters from `start`, which lies in the front."""
        assert start <= len(self.front)
        yield self.front[start:]
        yield memoryview(self.text)

    def file(self) -> bytes:
        """Give the file itself; for tests, which look into it."""
        return pybase64.b64decode(self.front + self.text)


def prepare(file: bytes, format_: str) -> Prepared:
    """Encode a file that has no comment yet.

    Args:
        file: As `film` wrote it.
        format_: `png` or `jpeg`.
    """
    at = _IHDR_END if format_ == "png" else _JFIF_END
    if format_ == "png":
        assert file.startswith(PNG_SIGNATURE)
    else:
        assert file.startswith(b"\xff\xd8\xff\xe0\x00\x10")
    assert (at + len(png_comment("") if format_ == "png" else jpeg_comment(""))) % 3 == 0
    return Prepared(before=file[:at], text=pybase64.b64encode(memoryview(file)[at:]), format=format_)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """Write a chunk. Source: PNG specification, third edition, §5.3."""
    checksum = zlib.crc32(data, zlib.crc32(kind))
    return len(data).to_bytes(4, "big") + kind + data + checksum.to_bytes(4, "big")


def png_comment(serial: str) -> bytes:
    """Write the serial as a tEXt chunk, of 60 bytes: with the 33 in front a multiple of three."""
    assert len(serial) <= SERIAL_CHARS
    return png_chunk(b"tEXt", b"Comment\0" + serial.ljust(SERIAL_CHARS).encode("ascii"))


def jpeg_comment(serial: str) -> bytes:
    """Write the serial as a COM segment, of 46 bytes: with the 20 in front a multiple of three."""
    assert len(serial) <= SERIAL_CHARS
    data = serial.ljust(SERIAL_CHARS + 2).encode("ascii")
    return b"\xff\xfe" + (len(data) + 2).to_bytes(2, "big") + data


Paint = Callable[[int, int, str], bytes]
"""Draws a file: width and height in pixels, `png` or `jpeg`."""


class Gallery:
    """Pictures that are ready, and those that are being drawn."""

    def __init__(self, paint: Paint, *, bytes_max: int = GALLERY_BYTES_MAX, executor: Executor | None = None) -> None:
        """Prepare to draw.

        Args:
            paint: What draws; `film.paint`.
            bytes_max: Memory that ready pictures may take; the newest is kept in any case.
            executor: Where to draw; None: the loop's own threads.
        """
        self._paint = paint
        self._bytes_max = bytes_max
        self._executor = executor
        self._ready: OrderedDict[tuple[int, int, str], Prepared] = OrderedDict()
        self._drawing: dict[tuple[int, int, str], asyncio.Future[Prepared]] = {}
        # One at a time: each takes a core and 100 MB while it lasts.
        self._turn = asyncio.Lock()

    def __repr__(self) -> str:
        weight_bytes = sum(picture.weight_bytes for picture in self._ready.values())
        return f"<Gallery ready={len(self._ready)} drawing={len(self._drawing)} {weight_bytes}B>"

    async def get(self, drawn: Drawn) -> Encoded:
        """Give one picture, drawing it first if its kind was never asked for."""
        key = (drawn.width_px, drawn.height_px, drawn.format)
        prepared = self._ready.get(key)
        if prepared is None:
            prepared = await asyncio.shield(self._begin(key))
        else:
            self._ready.move_to_end(key)
        return prepared.with_serial(drawn.serial)

    def _begin(self, key: tuple[int, int, str]) -> asyncio.Future[Prepared]:
        if key not in self._drawing:
            task = asyncio.ensure_future(self._draw(key))
            self._drawing[key] = task
            task.add_done_callback(lambda _: self._drawing.pop(key, None))
        return self._drawing[key]

    async def _draw(self, key: tuple[int, int, str]) -> Prepared:
        async with self._turn:
            loop = asyncio.get_running_loop()
            prepared = await loop.run_in_executor(self._executor, self._painted, key)
        self._ready[key] = prepared
        while len(self._ready) > 1 and sum(each.weight_bytes for each in self._ready.values()) > self._bytes_max:
            self._ready.popitem(last=False)
        return prepared

    def _painted(self, key: tuple[int, int, str]) -> Prepared:
        return prepare(self._paint(*key), key[2])

    def close(self) -> None:
        """Draw nothing any more; a thread that is at it ends by itself."""
        for drawing in tuple(self._drawing.values()):
            drawing.cancel()
