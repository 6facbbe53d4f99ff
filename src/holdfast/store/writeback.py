"""Sending written pages to the disk while the rest is still coming, so that the sync at the end finds little to do.

A 4K image's `fsync` waited 15 ms for the disk; with this it waits 4 ms: the whole answer takes 36 ms in place of 45
(lab/bench).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

STEP_BYTES = 2 << 20
"""Large enough for the disk to write in long runs."""
# linux/fs.h: begin to write what is dirty in the range, wait for nothing, drop nothing.
_SYNC_FILE_RANGE_WRITE = 2


def _find() -> Callable[[int, int, int, int], int] | None:
    try:
        function = ctypes.CDLL(None).sync_file_range
    except (AttributeError, OSError):
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    function.restype = ctypes.c_int
    return function


_sync_file_range = _find()


class Writeback:
    """Follows one file as it grows."""

    __slots__ = ("_begun_bytes",)

    def __init__(self) -> None:
        self._begun_bytes = 0

    def advance(self, fd: int, written_bytes: int) -> None:
        """Begin to write out what was added since the last step, if it is enough for one.

        A hint: where the system lacks it or refuses, the sync at the end does all of the work.
        """
        count = written_bytes - self._begun_bytes
        if _sync_file_range is not None and count >= STEP_BYTES:
            _sync_file_range(fd, self._begun_bytes, count, _SYNC_FILE_RANGE_WRITE)
            self._begun_bytes = written_bytes
