"""What is to be written: bytes as they are, and slots that stand for an image, in base64 or as it is.

Pure: no I/O, clock or randomness. The shell streams each slot from the image's file, `PIECE_BYTES` at a time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pybase64

from holdfast.wire.errors import WireError
from holdfast.wire.scan import Nesting

PIECE_BYTES = 196_608
"""Raw bytes encoded at a time: a multiple of 3, so that pieces join without padding; 262,144 characters."""


@dataclass(frozen=True, slots=True)
class Slot:
    """The standard base64 of image `index`, without quotes; or its bytes."""

    index: int
    is_raw: bool = False
    """The bytes themselves, as a part of a form has them."""


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
    return sum(_length_of(part, image_bytes) for part in template)


def _length_of(part: bytes | Slot, image_bytes: Mapping[int, int]) -> int:
    if not isinstance(part, Slot):
        return len(part)
    return image_bytes[part.index] if part.is_raw else encoded_bytes(image_bytes[part.index])


def filled(template: Template, images: Mapping[int, bytes]) -> bytes:
    """Write a template out in memory; for small images and tests, the shell streams big ones from their files."""
    return b"".join(_filled(part, images) for part in template)


def _filled(part: bytes | Slot, images: Mapping[int, bytes]) -> bytes:
    if not isinstance(part, Slot):
        return part
    return images[part.index] if part.is_raw else pybase64.b64encode(images[part.index])
