"""The reader for answers that are no images: keeps the first part of the body, whatever it is.

Pure: no I/O, clock or randomness.
"""

from __future__ import annotations

from holdfast.wire.answers import Answer
from holdfast.wire.scan import Event

KEPT_BYTES_MAX = 1 << 20


class ErrorReader:
    """Reads an error envelope, a proxy's page of HTML or nothing at all; never complains."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept = bytearray()

    def __repr__(self) -> str:
        return f"<ErrorReader {len(self._kept)} bytes>"

    @property
    def complete(self) -> bool:
        """Read to the end, which is near."""
        return False

    def feed(self, chunk: bytes | bytearray | memoryview) -> list[Event]:
        """Keep the next bytes as long as there is room."""
        self._kept += chunk[: KEPT_BYTES_MAX - len(self._kept)]
        return []

    def finish(self) -> Answer:
        """Return the body as the document of an answer without images."""
        return Answer(images=(), document=bytes(self._kept))
