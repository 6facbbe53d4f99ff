"""Images on the local disk that lie in a bucket too: bounded, and lost without harm.

An image is read minutes after it came, and mostly once; then its file is still here, under a second name that cost no
copy. What is not is brought whole before a byte of it is sent: what arrived is checked by then, and a slow reader holds
a file, not a connection to the store and a megabyte of memory (2,000 of them wait at once).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path

from holdfast.store.objects.mishaps import ObjectError, Trouble

FILES_MIN = 16
"""So many are kept whatever they weigh: one that was brought a moment ago is about to be opened."""
_PART = ".part"


class Cache:
    """A folder of files named by the last word of their keys. Any thread may use it."""

    def __init__(self, folder: Path, bytes_max: int) -> None:
        """Take over what an earlier process left, the oldest first to go.

        Raises:
            OSError: The folder cannot be made or read.
        """
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._bytes_max = bytes_max
        self._sizes: OrderedDict[str, int] = OrderedDict()
        """By name, the one that was used longest ago first."""
        self._bytes = 0
        self._lock = threading.Lock()
        self._parts = 0
        found = []
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith(_PART):
                    (folder / entry.name).unlink()
                else:
                    stat = entry.stat()
                    found.append((stat.st_mtime, entry.name, stat.st_size))
        for _, name, size in sorted(found):
            self._take(name, size)
        self._make_room()

    def __repr__(self) -> str:
        return f"<Cache {len(self._sizes)} files, {self._bytes} of {self._bytes_max} bytes>"

    def __contains__(self, key: str) -> bool:
        return _name_of(key) in self._sizes

    def path_of(self, key: str) -> str | None:
        """Where it lies, if it does; it counts as used now."""
        name = _name_of(key)
        with self._lock:
            if name not in self._sizes:
                return None
            self._sizes.move_to_end(name)
        return str(self._folder / name)

    def link(self, key: str, source: Path) -> None:
        """Give a file that lies on this disk a name here too."""
        name = _name_of(key)
        target = self._folder / name
        with contextlib.suppress(FileExistsError):
            target.hardlink_to(source)
        self._add(name, target.stat().st_size)

    def fill(self, key: str, pieces: Iterable[memoryview], sha256: str) -> str:
        """Write what comes from the store, and say where it lies.

        Raises:
            ObjectError: The bytes are not those that were put.
            OSError: The disk has no room, or whatever `pieces` raises; nothing is left.
        """
        name, digest, size = _name_of(key), hashlib.sha256(), 0
        with self._lock:
            self._parts += 1
            part = self._folder / f"{name}.{self._parts}{_PART}"
        try:
            with part.open("wb", buffering=0) as file:
                for piece in pieces:
                    digest.update(piece)
                    size += len(piece)
                    while piece:
                        piece = piece[file.write(piece) :]
            if digest.hexdigest() != sha256:
                raise ObjectError(Trouble.DAMAGED)
            part.rename(self._folder / name)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        self._add(name, size)
        return str(self._folder / name)

    def drop(self, key: str) -> None:
        """Forget a file: it was deleted, or is gone."""
        with self._lock:
            self._remove(_name_of(key))

    def _add(self, name: str, size: int) -> None:
        with self._lock:
            self._take(name, size)
            self._make_room()

    def _take(self, name: str, size: int) -> None:
        self._bytes += size - self._sizes.pop(name, 0)
        self._sizes[name] = size

    def _make_room(self) -> None:
        while self._bytes > self._bytes_max and len(self._sizes) > FILES_MIN:
            self._remove(next(iter(self._sizes)))

    def _remove(self, name: str) -> None:
        self._bytes -= self._sizes.pop(name, 0)
        (self._folder / name).unlink(missing_ok=True)


def _name_of(key: str) -> str:
    """Attempts and digests are in no two folders."""
    name = key.rpartition("/")[2]
    assert name not in ("", ".", ".."), "keys are ours, never a caller's"
    return name
