"""Disks for tests: one that fills, and one that takes nothing. They need root, and say so where there is none."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def _mount(*words: str) -> None:
    if os.geteuid() != 0:
        pytest.fail(f"this test mounts a disk of its own, which needs root: run it as root (mount {' '.join(words)})")
    done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.fail(f"this machine lets not even root mount (is CAP_SYS_ADMIN missing?): {done.stderr.strip()}")


def _unmount(folder: Path) -> None:
    # Lazily: a gateway that a failed test left running still has files open there.
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def small_disk(folder: Path, bytes_: int) -> Iterator[Path]:
    """A disk of its own for a folder."""
    folder.mkdir(parents=True)
    _mount("-t", "tmpfs", "-o", f"size={bytes_}", "tmpfs", str(folder))
    try:
        yield folder
    finally:
        _unmount(folder)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Let nothing more be made, linked or removed in a folder, whoever has it open already."""
    _mount("--bind", str(folder), str(folder))
    try:
        _mount("-o", "remount,bind,ro", str(folder))
        yield
    finally:
        _unmount(folder)


def fill(folder: Path) -> Path:
    """Take all the room that is left; give the file that has it."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            for piece in (b"\0" * 65536, b"\0" * 4096):
                while True:
                    file.write(piece)
                    if os.statvfs(folder).f_bavail == 0:
                        break
        except OSError:
            # There is no more.
            return filler
    return filler
