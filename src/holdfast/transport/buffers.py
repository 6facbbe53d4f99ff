"""Buffers for bodies, used again and again: fresh memory is dear, and so is giving it back."""

from __future__ import annotations

BUFFER_BYTES = 1_048_576
"""Handed to the sink at a time. Every hop between threads costs: with 256 KB a 4K image took 60 ms of CPU, with this
49, with twice this no less (lab/bench)."""
KEPT_MAX = 32
"""As many as the shipped byte budget lets out: clearing a new one costs as much as hashing 200 KB."""
SCRATCH_BYTES = 8192
"""Room for a head and the beginning of a body: the most that an answer holds while it waits to be admitted."""
CHUNKS_BYTES = 262_144


def cut(buffer: bytearray, count: int) -> bytearray | memoryview:
    """Cut a buffer to its first bytes, without copying them where that costs less than a view does its reader.

    A reader that searches needs bytes or a bytearray, and copies a view. A bytearray that is cut by less than half
    stays where it is.
    """
    if count > len(buffer) // 2:
        del buffer[count:]
        return buffer
    return memoryview(buffer)[:count]


class BufferPool:
    """Whole buffers of `BUFFER_BYTES`; one event loop only. The byte budget bounds how many are out."""

    __slots__ = ("_free", "_zeros", "chunks", "out", "scratch")

    def __init__(self) -> None:
        self._free: list[bytearray] = []
        self._zeros = memoryview(bytes(BUFFER_BYTES))
        self.out = 0
        """Buffers in use."""
        self.scratch = memoryview(bytearray(SCRATCH_BYTES))
        """For bytes that nobody has taken yet. Shared by all connections: reading and parsing it do not wait."""
        self.chunks = memoryview(bytearray(CHUNKS_BYTES))
        """For bytes whose framing is still around them, chunks or TLS records; shared likewise."""

    def __repr__(self) -> str:
        return f"<BufferPool {self.out} in use, {len(self._free)} kept>"

    def take(self, bytes_: int) -> bytearray:
        """Give a buffer: a whole one, or a smaller one for a body that is known to be small."""
        self.out += 1
        if bytes_ < BUFFER_BYTES:
            return bytearray(bytes_)
        return self._free.pop() if self._free else bytearray(BUFFER_BYTES)

    def give_back(self, buffer: bytearray) -> None:
        """Take a buffer back, whole or cut to what was in it; nobody may look at it any more."""
        self.out -= 1
        if buffer.__alloc__() > BUFFER_BYTES:
            # A whole one that was `cut`.
            buffer += self._zeros[len(buffer) :]
        if len(buffer) == BUFFER_BYTES and len(self._free) < KEPT_MAX:
            self._free.append(buffer)
