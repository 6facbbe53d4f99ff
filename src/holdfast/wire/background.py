"""What APIs that work in the background have in common: an object with an `id` and a `status`, asked for until it ends.

Pure: no I/O, clock or randomness. The object that tells of the end also holds the image, as 27 MB of base64 somewhere
among reasoning, texts and other items, in whatever order: it leaves the document as it comes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from holdfast.wire.answers import Answer
from holdfast.wire.errors import WireError
from holdfast.wire.scan import Event, JsonReader

_HANDLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.=-]{0,399}")
_EARLY = re.compile(rb'\s*\{\s*"id"\s*:\s*"([^"\\]{1,400})"')


class Standing(Enum):
    """Where a request stands."""

    QUEUED = auto()
    """Taken, and not begun."""
    AT_WORK = auto()
    ENDED = auto()
    """Well or not: the object tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What an object says of its request."""

    handle: str | None
    """Its name; None where it has none that could be asked for."""
    standing: Standing
    word: str
    """The status as it is spelled there."""


class BackgroundReader:
    """Reads one object."""

    def __init__(
        self,
        is_image: Callable[[tuple[str, ...]], bool],
        answer_of: Callable[[bytes, int], Answer],
        *,
        image_bytes_max: int = 64 << 20,
    ) -> None:
        """Prepare to read.

        Args:
            is_image: See `JsonReader`.
            answer_of: Makes the answer of the skeleton and the number of images that were cut out of it.
            image_bytes_max: Bound on each image.
        """
        self._json = JsonReader(is_image, image_bytes_max=image_bytes_max)
        self._answer_of = answer_of
        self._has_image = False

    def __repr__(self) -> str:
        return f"<BackgroundReader {self._json!r}>"

    @property
    def complete(self) -> bool:
        """The document has closed."""
        return self._json.complete

    @property
    def has_image(self) -> bool:
        """Whether an image has begun to come: then it is made, whatever becomes of this answer."""
        return self._has_image

    @property
    def handle_so_far(self) -> str | None:
        """The object's name, if it stands first in what has come: known even where the rest is lost."""
        match = _EARLY.match(self._json.skeleton_so_far)
        handle = match[1].decode("utf-8", "replace") if match is not None else ""
        return handle if is_handle(handle) else None

    def feed(self, chunk: bytes | bytearray | memoryview) -> list[Event]:
        """Take the next bytes; see `answers.Reader`."""
        events = self._json.feed(chunk)
        self._has_image = self._has_image or bool(events)
        return events

    def finish(self) -> Answer:
        """Return the answer; see `answers.Reader`."""
        return self._answer_of(self._json.finish(), self._json.next_index)


def is_handle(text: str) -> bool:
    """Whether it may stand in a path as it is."""
    return _HANDLE.fullmatch(text) is not None and ".." not in text


def decode_handle(text: str) -> str:
    """Read a handle from the record of its attempt.

    Raises:
        WireError: It is none that could be asked for.
    """
    if not is_handle(text):
        raise WireError("json", "the handle cannot be read")
    return text
