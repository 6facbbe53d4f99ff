"""What is to be written: bytes as they are, and slots that stand for an image, in base64 or as it is.

Pure: no I/O, clock or randomness. The shell streams each slot from the image's file, `PIECE_BYTES` at a time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pybase64

from holdfast.wire.errors import WireError
from holdfast.wire.scan import Nesting

PIECE_BYTES = 196_608
"""Raw bytes encoded at a time: a multiple of 3, so that pieces join without padding; 262,144 characters."""


@dataclass(frozen=True, slots=True)
class Slot:
    """The standard base64 of image `index`, without quotes; or its bytes."""

    index: int
    is_raw: bool = field(default=False, kw_only=True)
    """The bytes themselves, as a part of a form has them."""


@dataclass(frozen=True, slots=True)
class SplitSlot(Slot):
    """The same in pieces, each with something around it: for readers that cannot take 27 MB in one line."""

    before: bytes
    after: bytes
    piece_bytes: int
    """Raw bytes of a piece: a multiple of 3, at most a quarter of `PIECE_BYTES`, the least that a file is read in."""

    def __post_init__(self) -> None:
        assert self.piece_bytes % 3 == 0
        assert 0 < self.piece_bytes <= PIECE_BYTES // 4

    def around(self, raw_bytes: int) -> int:
        """Count the bytes around the pieces of an image."""
        return -(-raw_bytes // self.piece_bytes) * (len(self.before) + len(self.after))


Template = tuple[bytes | Slot, ...]

# A whole string (its escapes skipped), or one of the bytes that change the nesting.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[{}\[\],]', re.DOTALL)


def template_of(skeleton: bytes, is_image: Callable[[tuple[str, ...]], bool]) -> Template:
    """Put slots into a skeleton, where `scan.JsonReader` with the same `is_image` left their numbers.

    Raises:
        WireError: The skeleton holds something else than a number where an image belongs: it is none of ours.
    """
    parts: list[bytes | Slot] = []
    nesting = Nesting(depth_max=1 << 16)
    done = 0
    for match in _TOKEN.finditer(skeleton):
        token = match.group()
        if token in b"{[":
            nesting.open(token)
        elif token in b"}]":
            nesting.close(token)
        elif token == b",":
            nesting.separate()
        elif nesting.expects_key:
            nesting.name(token[1:-1])
        elif len(token) > 2 and is_image(nesting.path):
            if not token[1:-1].isdigit():
                raise WireError(
                    "json", "an image stands where its number was expected; read with scan.JsonReader first"
                )
            parts += (skeleton[done : match.start() + 1], Slot(int(token[1:-1])))
            done = match.end() - 1
    parts.append(skeleton[done:])
    return tuple(parts)


def slots_of(template: Template) -> tuple[int, ...]:
    """List the image numbers that a template needs, in order."""
    return tuple(part.index for part in template if isinstance(part, Slot))


def encoded_bytes(raw_bytes: int) -> int:
    """Count the base64 characters of so many bytes, padding included."""
    return (raw_bytes + 2) // 3 * 4


def length_of(template: Template, image_bytes: Mapping[int, int]) -> int:
    """Count the bytes that a template will put on the wire: the Content-Length.

    Args:
        template: What will be written.
        image_bytes: Raw size of each image by its number.
    """
    return sum(_length(part, image_bytes) for part in template)


def _length(part: bytes | Slot, image_bytes: Mapping[int, int]) -> int:
    match part:
        case SplitSlot(index=index):
            return encoded_bytes(image_bytes[index]) + part.around(image_bytes[index])
        case Slot(index=index, is_raw=is_raw):
            return image_bytes[index] if is_raw else encoded_bytes(image_bytes[index])
        case text:
            return len(text)


def filled(template: Template, images: Mapping[int, bytes]) -> bytes:
    """Write a template out in memory; for small images and tests, the shell streams big ones from their files."""
    return b"".join(_filled(part, images) for part in template)


def _filled(part: bytes | Slot, images: Mapping[int, bytes]) -> bytes:
    match part:
        case SplitSlot(index=index, before=before, after=after, piece_bytes=size):
            image = images[index]
            pieces = (image[at : at + size] for at in range(0, len(image), size))
            return b"".join(before + pybase64.b64encode(piece) + after for piece in pieces)
        case Slot(index=index, is_raw=is_raw):
            return images[index] if is_raw else pybase64.b64encode(images[index])
        case text:
            return text
