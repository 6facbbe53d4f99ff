"""Buffers are used again, and no more of them are kept than a burst leaves."""

from __future__ import annotations

import pytest

from holdfast.transport.buffers import BUFFER_BYTES, KEPT_MAX, BufferPool, cut


def test_a_buffer_that_came_back_is_used_again() -> None:
    """Fresh memory is dear: each page of it is a fault."""
    pool = BufferPool()
    first = pool.take(BUFFER_BYTES)
    assert pool.take(BUFFER_BYTES) is not first
    assert pool.out == 2
    pool.give_back(first)
    assert pool.take(1 << 40) is first
    assert pool.out == 2


def test_a_small_body_takes_no_more_than_it_needs() -> None:
    """And its buffer is not kept: the next one is of another size."""
    pool = BufferPool()
    small = pool.take(100)
    assert len(small) == 100
    pool.give_back(small)
    assert repr(pool) == "<BufferPool 0 in use, 0 kept>"
    assert len(pool.take(BUFFER_BYTES - 1)) == BUFFER_BYTES - 1


def test_what_a_burst_needed_is_given_back_to_the_system() -> None:
    """All but a few."""
    pool = BufferPool()
    taken = [pool.take(BUFFER_BYTES) for _ in range(KEPT_MAX + 3)]
    assert repr(pool) == f"<BufferPool {KEPT_MAX + 3} in use, 0 kept>"
    for buffer in taken:
        pool.give_back(buffer)
    assert repr(pool) == f"<BufferPool 0 in use, {KEPT_MAX} kept>"


@pytest.mark.parametrize("count", [1, 4096, BUFFER_BYTES // 2, BUFFER_BYTES // 2 + 1, BUFFER_BYTES - 1, BUFFER_BYTES])
def test_a_buffer_that_was_cut_is_whole_when_it_comes_back(count: int) -> None:
    """What is in it is what was there; then it takes a whole megabyte again."""
    pool = BufferPool()
    buffer = pool.take(BUFFER_BYTES)
    buffer[:] = bytes(range(256)) * (BUFFER_BYTES // 256)
    wanted = bytes(buffer[:count])
    piece = cut(buffer, count)
    assert bytes(piece) == wanted
    assert isinstance(piece, bytearray) == (count > BUFFER_BYTES // 2), "more than half is not copied by its reader"
    del piece
    pool.give_back(buffer)
    assert repr(pool) == "<BufferPool 0 in use, 1 kept>"
    assert len(pool.take(BUFFER_BYTES)) == BUFFER_BYTES
