"""Writing a Template to a caller: text as it is, images encoded from their files while they are sent.

Memory is one piece (192 KiB raw, 256 KiB encoded) a caller, whatever the image weighs; in a crowd a quarter of it. A
piece that the page cache holds is read on the loop, without a hop to a thread; one that would wait for the disk is not
(`RWF_NOWAIT`).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

import pybase64

from holdfast.gateway.call import Call
from holdfast.wire.template import PIECE_BYTES, Slot, SplitSlot, Template

_NOWAIT = getattr(os, "RWF_NOWAIT", 0)


CROWD = 64
"""With more readers than this at once each gets smaller pieces: 2,000 that stall together would hold 900 MB."""


class FilePieces:
    """A file read in order, in pieces."""

    __slots__ = ("_buffer", "_fd", "_offset", "_piece_bytes", "_size")
    open_files = 0
    """How many there are, in this process."""

    def __init__(self, path: str | Path) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._offset = 0
        self._size = os.fstat(self._fd).st_size
        FilePieces.open_files += 1
        self._piece_bytes = PIECE_BYTES if FilePieces.open_files <= CROWD else PIECE_BYTES // 4
        self._buffer = memoryview(bytearray(self._piece_bytes))

    def __enter__(self) -> FilePieces:
        return self

    def __exit__(self, *_: object) -> None:
        FilePieces.open_files -= 1
        os.close(self._fd)

    def seek(self, offset: int) -> None:
        """Go on reading from here."""
        self._offset = offset

    def forget(self) -> None:
        """Give the pages of the file back to the system; the next image takes them.

        An image that has been sent is seldom read again, and a page cache that grows by 20 MB an image is memory too: a
        container is charged for it, and where a host takes free memory back, fresh pages are dear (a 20 MB file: 51 ms
        of CPU into fresh pages, 10 ms into these).
        """
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)

    async def read(self, size: int = PIECE_BYTES) -> memoryview:
        """Give the next piece, at most `size` bytes; empty at the end. Valid until the next call."""
        wanted = min(size, self._piece_bytes, self._size - self._offset)
        if wanted <= 0:
            return memoryview(b"")
        filled = self._read_cached(wanted)
        if filled < wanted:
            loop = asyncio.get_running_loop()
            filled += await loop.run_in_executor(None, self._read_waiting, filled, wanted)
        self._offset += filled
        return self._buffer[:filled]

    def _read_cached(self, wanted: int) -> int:
        if not _NOWAIT:
            return 0
        try:
            return os.preadv(self._fd, [self._buffer[:wanted]], self._offset, _NOWAIT)
        except OSError:
            # EAGAIN: not in the page cache. EOPNOTSUPP: not on this file system. Both mean: ask a thread.
            return 0

    def _read_waiting(self, filled: int, wanted: int) -> int:
        """Fill the rest of the piece, waiting for the disk; short only at the end of the file."""
        start = filled
        while filled < wanted:
            count = os.preadv(self._fd, [self._buffer[filled:wanted]], self._offset + filled)
            if count == 0:
                break
            filled += count
        return filled - start


async def write_parts(call: Call, template: Template, files: Mapping[int, str | Path | FilePieces]) -> None:
    """Write the whole template as body pieces; the last piece is left to the caller of this function.

    The text before the first image is one piece: it travels with the head. A file that is open already is left open:
    it is its opener's.
    """
    text = b""
    for part in template:
        if not isinstance(part, Slot):
            text += part
            continue
        if text:
            await call.write(text)
            text = b""
        if call.has_left or not await _write_image(call, files[part.index], part):
            return
    if text:
        await call.write(text)


async def _write_image(call: Call, file: str | Path | FilePieces, slot: Slot) -> bool:
    """Write an image as base64; False if its caller has left."""
    size, before, after = PIECE_BYTES, b"", b""
    if isinstance(slot, SplitSlot):
        size, before, after = slot.piece_bytes, slot.before, slot.after
    with nullcontext(file) if isinstance(file, FilePieces) else FilePieces(file) as pieces:
        while piece := await pieces.read(size):
            text = pybase64.b64encode(piece)
            await call.write(before + text + after if before else text)
            if call.has_left:
                return False
        pieces.forget()
    return True
