"""Bytes of bodies in flight: who may read next.

A thousand answers that fall due at once would otherwise fill the process, or, left unread, the kernel: finished bodies
waiting in socket buffers once passed `net.ipv4.tcp_mem`, after which the bodies being read could no longer receive and
no place was ever freed. So bodies are admitted by bytes, first come first served, and the rest wait behind their small
receive windows.

Whoever has begun goes before whoever has not. Bodies pause, and give their place back while they do; were they sent to
the end of the queue, thousands would be begun and none finished, each with a file open and a connection gone cold.
"""

from __future__ import annotations

import asyncio
from collections import deque

_Entry = tuple[int, asyncio.Future[None]]


class ByteBudget:
    """A counter of bytes with a queue. One event loop only."""

    __slots__ = ("_begun", "_bytes_free", "_bytes_max", "_waiting")

    def __init__(self, bytes_max: int) -> None:
        assert bytes_max > 0
        self._bytes_max = bytes_max
        self._bytes_free = bytes_max
        self._begun: deque[_Entry] = deque()
        self._waiting: deque[_Entry] = deque()

    def __repr__(self) -> str:
        used_bytes = self._bytes_max - self._bytes_free
        waiting = len(self._begun) + len(self._waiting)
        return f"<ByteBudget {used_bytes} of {self._bytes_max} bytes used, {waiting} waiting>"

    @property
    def bytes_used(self) -> int:
        """Granted now."""
        return self._bytes_max - self._bytes_free

    @property
    def bytes_max(self) -> int:
        """Most that is granted at once."""
        return self._bytes_max

    def clamp(self, bytes_: int) -> int:
        """Cut a wish down to what the whole budget holds, so that it can be granted at all."""
        return max(1, min(bytes_, self._bytes_max))

    def has_room(self, bytes_: int, *, has_begun: bool = False) -> bool:
        """Whether `acquire` would return at once."""
        return not self._begun and (has_begun or not self._waiting) and self._bytes_free >= bytes_

    async def acquire(self, bytes_: int, *, has_begun: bool = False) -> None:
        """Wait until these bytes are granted. Whoever acquires, releases the same number.

        Args:
            bytes_: At most `bytes_max`; see `clamp`.
            has_begun: It had a grant before, and comes for the rest.
        """
        assert bytes_ <= self._bytes_max
        if self.has_room(bytes_, has_begun=has_begun):
            self._bytes_free -= bytes_
            return
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (bytes_, granted)
        queue = self._begun if has_begun else self._waiting
        queue.append(entry)
        try:
            await granted
        except asyncio.CancelledError:
            # Granted and cancelled in the same turn of the loop: the bytes are ours and go back.
            if granted.done() and not granted.cancelled():
                self.release(bytes_)
            else:
                # A release in the same turn of the loop may have passed over it already.
                if entry in queue:
                    queue.remove(entry)
                self._grant()
            raise

    def release(self, bytes_: int) -> None:
        """Give bytes back."""
        self._bytes_free += bytes_
        assert self._bytes_free <= self._bytes_max, "released more than was acquired"
        self._grant()

    def _grant(self) -> None:
        # Strictly in order: a large body is never starved by small ones that would still fit.
        while (queue := self._begun or self._waiting) and queue[0][0] <= self._bytes_free:
            bytes_, granted = queue.popleft()
            if not granted.done():
                self._bytes_free -= bytes_
                granted.set_result(None)
