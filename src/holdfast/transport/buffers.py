"""Buffers for bodies, used again and again: fresh memory is dear, and so is giving it back."""

from __future__ import annotations

BUFFER_BYTES = 1_048_576
"""Handed to the sink at a time. Every hop between threads costs: with 256 KB a 4K image took 60 ms of CPU, with this
49, with twice this no less (lab/bench)."""
KEPT_MAX = 8
"""8 MB stay; what a burst needed beyond them goes back to the system."""


class BufferPool:
    """Whole buffers of `BUFFER_BYTES`; one event loop only. The byte budget bounds how many are out."""

    __slots__ = ("_free", "out")

    def __init__(self) -> None:
        self._free: list[bytearray] = []
        self.out = 0
        """Buffers in use."""

    def __repr__(self) -> str:
        return f"<BufferPool {self.out} in use, {len(self._free)} kept>"

    def take(self, bytes_: int) -> bytearray:
        """Give a buffer: a whole one, or a smaller one for a body that is known to be small."""
        self.out += 1
        if bytes_ < BUFFER_BYTES:
            return bytearray(bytes_)
        return self._free.pop() if self._free else bytearray(BUFFER_BYTES)

    def give_back(self, buffer: bytearray) -> None:
        """Take a buffer back; nobody may look at it any more."""
        self.out -= 1
        if len(buffer) == BUFFER_BYTES and len(self._free) < KEPT_MAX:
            self._free.append(buffer)
