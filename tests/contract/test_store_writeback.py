"""Writing out ahead of the sync: a hint that changes nothing but the time the sync takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.store import writeback
from holdfast.store.writeback import STEP_BYTES, Writeback


class Calls:
    """Stands in for the system call."""

    def __init__(self, result: int = 0) -> None:
        self.ranges: list[tuple[int, int]] = []
        self._result = result

    def __call__(self, fd: int, offset: int, count: int, flags: int) -> int:
        """Note the range."""
        self.ranges.append((offset, count))
        return self._result


@pytest.mark.parametrize("result", [0, -1], ids=["taken", "refused"])
def test_ranges_follow_one_another_without_gap(monkeypatch: pytest.MonkeyPatch, result: int) -> None:
    """Every byte is begun once, in steps worth a disk's while, whatever the system says to it."""
    calls = Calls(result)
    monkeypatch.setattr(writeback, "_sync_file_range", calls)
    follower = Writeback()
    for written in range(0, 3 * STEP_BYTES + 1, STEP_BYTES // 4):
        follower.advance(3, written)
    assert calls.ranges == [(step * STEP_BYTES, STEP_BYTES) for step in range(3)]


def test_a_small_file_is_left_to_its_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture of 1 MB is synced in one go."""
    calls = Calls()
    monkeypatch.setattr(writeback, "_sync_file_range", calls)
    Writeback().advance(3, STEP_BYTES - 1)
    assert calls.ranges == []


def test_a_system_without_it_is_none_the_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS has no such call."""
    monkeypatch.setattr(writeback, "_sync_file_range", None)
    Writeback().advance(3, 10 * STEP_BYTES)


def test_the_real_call_takes_a_real_file(tmp_path: Path) -> None:
    """The arguments are what the kernel expects: it would answer EBADF or EINVAL otherwise."""
    assert writeback._sync_file_range is not None
    file = tmp_path / "image"
    file.write_bytes(bytes(STEP_BYTES))
    with file.open("rb+") as stream:
        assert writeback._sync_file_range(stream.fileno(), 0, STEP_BYTES, 2) == 0
    assert writeback._sync_file_range(-1, 0, 1, 2) == -1
    assert file.read_bytes() == bytes(STEP_BYTES)
