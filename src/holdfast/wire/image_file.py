"""An answer whose body is one picture, as a file server gives it.

Pure: no I/O, clock or randomness.
"""

from __future__ import annotations

from holdfast.wire.answers import Answer
from holdfast.wire.errors import EndsEarly, WireError
from holdfast.wire.image import ImageProbe
from holdfast.wire.scan import Event, ImageBegan, ImageBytes


class ImageFileReader:
    """Reads a picture that an answer has named by a link; one that is none, or ends in its middle, is refused."""

    def __init__(self, *, index: int, answer: Answer, image_bytes_max: int = 64 << 20) -> None:
        """Prepare to read.

        Args:
            index: The picture's number in the answer that named it.
            answer: That answer: what is stored beside the file, so that each tells all of it.
            image_bytes_max: Bound on the file.
        """
        self._index = index
        self._answer = answer
        self._bytes_max = image_bytes_max
        self._probe = ImageProbe()
        self._bytes = 0

    def __repr__(self) -> str:
        return f"<ImageFileReader image={self._index} {self._bytes}B>"

    @property
    def complete(self) -> bool:
        """Only the transfer's end tells that nothing follows."""
        return False

    def feed(self, chunk: bytes | bytearray | memoryview) -> list[Event]:
        """Take the next bytes; see `answers.Reader`."""
        if not chunk:
            return []
        began = [] if self._bytes else [ImageBegan(self._index, ())]
        self._bytes += len(chunk)
        if self._bytes > self._bytes_max:
            raise WireError("too_large", f"an image is larger than {self._bytes_max} bytes")
        self._probe.feed(chunk)
        return [*began, ImageBytes(self._index, bytes(chunk))]

    def finish(self) -> Answer:
        """Return the answer that named the picture; see `answers.Reader`."""
        seen = self._probe.finish()
        if seen is None:
            raise WireError("encoding", "the file is no image" if self._bytes else "the file is empty")
        if not seen.complete:
            raise EndsEarly("encoding", "the file ends early: it was cut on its way")
        return self._answer
