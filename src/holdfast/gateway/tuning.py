"""What is told to the interpreter and to the C library once, at start: both are made for programs that end soon."""

from __future__ import annotations

import ctypes
import gc

# malloc.h of the GNU C library.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
TRIM_BYTES = 16 << 20
MMAP_BYTES = 4 << 20
ARENAS = 2


def tune_gc() -> None:
    """Collect rarely: a full collection over 9,000 held callers stops the loop for 170 ms."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 1000)


def tune_malloc() -> bool:
    """Keep freed memory for the next piece of an image; False where the C library is another one.

    A 4K image passes in hundreds of pieces of 200 KB. Left alone, glibc maps each from the kernel and gives it back:
    3,000 to 4,800 page faults an image, 10 ms of CPU (lab/bench). Few arenas: each keeps freed memory of its own.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    options = ((_M_MMAP_THRESHOLD, MMAP_BYTES), (_M_TRIM_THRESHOLD, TRIM_BYTES), (_M_ARENA_MAX, ARENAS))
    return all(mallopt(option, value) for option, value in options)
