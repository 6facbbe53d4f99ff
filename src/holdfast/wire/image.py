"""What an image says of itself: type and size from its first bytes, wholeness from its last; it is never decoded.

Pure: no I/O, clock or randomness. Memory is a few kilobytes, whatever the image: a JPEG's header is walked segment by
segment (a C2PA manifest or a colour profile before the size may be hundreds of kilobytes), and of the rest only the
tail is kept, because encoders and proxies append padding after the end mark.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from holdfast.types import ImageInfo

_TAIL_BYTES = 4096
_HEAD_BYTES = 64
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
_JPEG_END = b"\xff\xd9"
_SOF_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BARE_MARKERS = frozenset({0x01, *range(0xD0, 0xD9)})
_HEIF_BRANDS = {
    b"avif": "image/avif",
    b"avis": "image/avif",
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"hevc": "image/heic",
    b"heim": "image/heic",
    b"heis": "image/heic",
    b"mif1": "image/heif",
    b"msf1": "image/heif",
}
EXTENSIONS = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/webp": "webp",
    "image/gif": "gif",
    "image/avif": "avif",
    "image/heic": "heic",
    "image/heif": "heif",
}
"""How the files of each kind end, without the dot."""


def extension_of(mime: str | None) -> str:
    """Give the end of a file's name, without the dot; `bin` for what is no image that we know."""
    return EXTENSIONS.get(mime or "", "bin")


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """What the bytes of an image tell."""

    mime: str
    width_px: int
    height_px: int
    """Both 0 when the format's size is not read (heic, heif, avif)."""
    complete: bool
    """The end mark is there (always so for formats that have none)."""


class _JpegHeader:
    """Walks the segments of a JPEG up to its frame header."""

    __slots__ = ("_buffer", "_skip", "height_px", "offset", "width_px")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._skip = 2
        self.offset = 0
        """Bytes of the file that have been walked over."""
        self.width_px = 0
        self.height_px = 0

    def feed(self, data: bytes | memoryview) -> bool:
        """Take the next bytes; return True once no more are wanted."""
        at = 0
        while True:
            if self._skip:
                passed = min(self._skip, len(self._buffer) + len(data) - at)
                held = min(passed, len(self._buffer))
                del self._buffer[:held]
                at += passed - held
                self._skip -= passed
                self.offset += passed
                if self._skip:
                    return False
            # 11 bytes hold a marker, its length and, in a frame header, the size.
            wanted = 11 - len(self._buffer)
            if wanted > 0:
                self._buffer += data[at : at + wanted]
                at += min(wanted, len(data) - at)
            if len(self._buffer) < 4:
                return False
            if self._buffer[0] != 0xFF:
                return True
            marker = self._buffer[1]
            if marker == 0xFF or marker in _BARE_MARKERS:
                # Fill bytes may precede a marker; restart markers and TEM have no length.
                self._skip = 1 if marker == 0xFF else 2
                continue
            if marker in _SOF_MARKERS:
                if len(self._buffer) < 9:
                    return False
                self.height_px = int.from_bytes(self._buffer[5:7], "big")
                self.width_px = int.from_bytes(self._buffer[7:9], "big")
                return True
            if marker in (0xD9, 0xDA):
                return True
            self._skip = 2 + max(2, int.from_bytes(self._buffer[2:4], "big"))


class ImageProbe:
    """Looks at the bytes of one image as they pass."""

    __slots__ = ("_bytes", "_head", "_is_header_read", "_jpeg", "_tail")

    def __init__(self) -> None:
        self._head = b""
        self._tail = b""
        self._bytes = 0
        self._jpeg = _JpegHeader()
        self._is_header_read = False

    def __repr__(self) -> str:
        return f"<ImageProbe {_mime_of(self._head) or 'unknown'} {self._bytes}B>"

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes."""
        view = memoryview(data)
        if not self._is_header_read:
            self._read_header(view)
        self._bytes += len(view)
        if len(view) >= _TAIL_BYTES:
            self._tail = bytes(view[-_TAIL_BYTES:])
        else:
            self._tail = (self._tail + bytes(view))[-_TAIL_BYTES:]

    def finish(self) -> Probed | None:
        """Tell what was seen; None if it is no image of a kind we know, or ends within its header."""
        mime = _mime_of(self._head)
        head = self._head
        match mime:
            case "image/png":
                size = int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
                complete = _PNG_END in self._tail
            case "image/jpeg":
                size = self._jpeg.width_px, self._jpeg.height_px
                # A thumbnail in the header ends in the same mark: only one after the frame header counts.
                last = self._tail.rfind(_JPEG_END)
                complete = last >= 0 and self._bytes - len(self._tail) + last > self._jpeg.offset
            case "image/webp":
                size = _webp_size(head)
                complete = self._bytes >= int.from_bytes(head[4:8], "little") + 8
            case "image/gif":
                size = int.from_bytes(head[6:8], "little"), int.from_bytes(head[8:10], "little")
                # The trailer follows the terminator of the last block.
                complete = self._tail.rstrip(b"\x00").endswith(b"\x00;")
            case None:
                return None
            case _:
                return Probed(mime=mime, width_px=0, height_px=0, complete=True)
        if not all(size):
            return None
        return Probed(mime=mime, width_px=size[0], height_px=size[1], complete=complete)

    def _read_header(self, view: memoryview) -> None:
        missing = _HEAD_BYTES - len(self._head)
        fresh = len(self._head) < 3
        if missing > 0:
            before = self._head
            self._head = before + bytes(view[:missing])
            if len(self._head) < 3:
                return
            if fresh and self._head.startswith(b"\xff\xd8\xff"):
                self._is_header_read = self._jpeg.feed(before) or self._jpeg.feed(view)
                return
        if self._head.startswith(b"\xff\xd8\xff"):
            self._is_header_read = self._jpeg.feed(view)
        else:
            self._is_header_read = len(self._head) >= _HEAD_BYTES


class ImageMeter:
    """Learns all that is recorded of an image, from its bytes as they pass."""

    __slots__ = ("_digest", "_probe", "bytes")

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._probe = ImageProbe()
        self.bytes = 0
        """Seen so far."""

    def __repr__(self) -> str:
        return f"<ImageMeter {self._probe!r}>"

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes."""
        self._digest.update(data)
        self._probe.feed(data)
        self.bytes += len(data)

    def finish(self) -> tuple[ImageInfo | None, bool]:
        """Tell what was seen, None if it is no image of a kind we know; and whether its end mark was among it."""
        probed = self._probe.finish()
        if probed is None:
            return None, False
        info = ImageInfo(
            mime=probed.mime,
            width_px=probed.width_px,
            height_px=probed.height_px,
            bytes=self.bytes,
            sha256=self._digest.hexdigest(),
        )
        return info, probed.complete


def _mime_of(head: bytes) -> str | None:
    if head.startswith(_PNG):
        return "image/png"
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    if head[4:8] == b"ftyp":
        return _HEIF_BRANDS.get(head[8:12])
    return None


def _webp_size(head: bytes) -> tuple[int, int]:
    # RFC 9649 §2.4-2.7: the three kinds of first chunk, each with its own place for the size.
    match head[12:16]:
        case b"VP8X" if len(head) >= 30:
            return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
        case b"VP8L" if len(head) >= 25 and head[20] == 0x2F:
            bits = int.from_bytes(head[21:25], "little")
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8 " if len(head) >= 30 and head[23:26] == b"\x9d\x01\x2a":
            return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF
        case _:
            return 0, 0
