"""Small pictures of images, for lists that people look at: made when they are asked for, kept in a bounded folder.

An image has up to 20 MB, a page shows dozens. Each is made small by a child process, as formats are converted: what
others drew is decoded there, in little memory and time, and after everybody who works. A file is nothing but a copy of
what its image says: it may be lost at any moment, and goes with its image.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Literal
from weakref import WeakValueDictionary

from holdfast.engine.converter import is_available, run_child
from holdfast.log import emit
from holdfast.policy.mishaps import reason_of
from holdfast.threads import Threads

WIDTHS = (320, 640)
"""Pixels: a tile of the gallery, on a plain screen and on a dense one."""
AT_ONCE = 2
"""Children; each is a core at most, and nobody's call waits for one."""
CROWD_MAX = 64
"""That wait for their turn: a page shows 24 to each of two people and some more."""
WITHIN_S = 30.0
"""For its turn and the work; who looks has scrolled on by then."""
TIMEOUT_S = 15.0
"""For the work alone: 4096x4096 take about 1 s."""
QUALITY = 78
"""Of WebP."""
FILE_BYTES_MAX = 512 << 10
"""Of one; 640 pixels of noise take less."""
BYTES_MAX = 128 << 20
"""Of all on disk: the last few thousand that were looked at."""
BLOCK_BYTES = 4096
"""What a file takes at least."""
HOPELESS_MAX = 1000
"""Images that are known to give none, so that no child tries again."""
SUFFIX = ".webp"
MIME = b"image/webp"
_RIFF_HEAD = 8

Make = Callable[[Path, Path, int], Awaitable[bool]]
"""Makes the picture of a file, so many pixels wide; says whether the target is whole."""
Whyever = Literal["unavailable", "crowded", "impossible"]


class NoThumbnail(Exception):
    """There is none: Pillow is not installed, too many are wanted at this moment, or none can be made of the image."""

    def __init__(self, why: Whyever) -> None:
        super().__init__(why)
        self.why: Whyever = why


class Thumbnails:
    """Makes them, keeps them, lets go of them."""

    def __init__(
        self,
        folder: Path,
        threads: Threads,
        find: Callable[[str, str], Awaitable[Path]],
        *,
        make: Make | None = None,
        bytes_max: int = BYTES_MAX,
    ) -> None:
        """Prepare; the folder is made with the first picture.

        Args:
            folder: Where they lie.
            threads: For files.
            find: Sees that an image lies on this disk, by its key and its SHA-256, and says where.
            make: Makes one; a child process of its own by default.
            bytes_max: Of all of them; those nobody looked at for longest go first.
        """
        self.is_available = make is not None or is_available()
        self._folder = folder
        self._threads = threads
        self._find = find
        self._make = make or make_small
        self._bytes_max = bytes_max
        self._room = asyncio.Semaphore(AT_ONCE)
        self._doors: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._waiting = 0
        self._known: OrderedDict[str, int] | None = None
        """Bytes by name, the one that was looked at longest ago first; None: not read yet."""
        self._bytes = 0
        self._hopeless: OrderedDict[str, None] = OrderedDict()
        self._numbers = count(1)

    def __repr__(self) -> str:
        known = 0 if self._known is None else len(self._known)
        return f"<Thumbnails {known} of {self._bytes / 1e6:.1f} MB, {self._waiting} wanted>"

    async def of(self, store_key: str, width: int, *, sha256: str, is_wanted: Callable[[], bool]) -> bytes:
        """Give the picture of an image, as WebP.

        Args:
            store_key: Of the image, which is there.
            width: One of `WIDTHS`; no higher than twice that, and never larger than the image.
            sha256: Of the image, hexadecimal.
            is_wanted: Whether somebody still waits when its turn comes.

        Raises:
            NoThumbnail: And why.
        """
        assert width in WIDTHS
        name = f"{_name_of(store_key)}.{width}{SUFFIX}"
        await self._learn()
        if (kept := await self._kept(name)) is not None:
            return kept
        if not self.is_available:
            raise NoThumbnail("unavailable")
        if name in self._hopeless:
            raise NoThumbnail("impossible")
        if self._waiting >= CROWD_MAX:
            raise NoThumbnail("crowded")
        self._waiting += 1
        try:
            async with asyncio.timeout(WITHIN_S):
                # The same one is made once: whoever asks for it meanwhile waits at its own door, in nobody's way.
                async with self._doors.setdefault(name, asyncio.Lock()), self._room:
                    return await self._made((store_key, sha256), name, width, is_wanted)
        except TimeoutError as exc:
            raise NoThumbnail("crowded") from exc
        finally:
            self._waiting -= 1

    async def forget(self, store_keys: Sequence[str]) -> None:
        """Remove what was made of images that are deleted."""
        names = [f"{_name_of(key)}.{width}{SUFFIX}" for key in store_keys for width in WIDTHS]
        await self._drop(names)

    async def _made(self, image: tuple[str, str], name: str, width: int, is_wanted: Callable[[], bool]) -> bytes:
        # Whoever was before may have made it, or asked for by the same browser that has gone since.
        if (kept := await self._kept(name)) is not None:
            return kept
        if not is_wanted():
            raise NoThumbnail("crowded")
        target = self._folder / f"{next(self._numbers)}.part"
        try:
            source = await self._find(*image)
            await self._threads.run(_make_folder, self._folder)
            is_made = await self._make(source, target, width)
            found = await self._threads.run(_settled, target, self._folder / name) if is_made else None
        except TimeoutError:
            # It is an OSError too, and says nothing of the image.
            raise
        except OSError as exc:
            emit("image.no_thumbnail", level="warning", message=reason_of(exc))
            raise NoThumbnail("impossible") from exc
        finally:
            await asyncio.shield(self._threads.run(_remove, [target]))
        if found is None:
            self._give_up_on(name)
            raise NoThumbnail("impossible")
        self._note(name, len(found))
        # One that was deleted meanwhile leaves no picture behind: the sweeper looked for one before there was any.
        if not await self._threads.run(source.exists):
            await self._drop([name])
        await self._make_room()
        return found

    async def _learn(self) -> None:
        """Read once what an earlier process left."""
        if self._known is not None:
            return
        found = await self._threads.run(_listed, self._folder)
        if self._known is None:
            self._known = OrderedDict()
            for name, size in found:
                self._note(name, size)
            await self._make_room()

    async def _kept(self, name: str) -> bytes | None:
        assert self._known is not None
        if name not in self._known:
            return None
        try:
            found = await self._threads.run(_read, self._folder / name)
        except OSError:
            # Deleted by hand, or a disk that fails: it is made anew, which tells what is wrong.
            found = None
        if found is None:
            self._unnote(name)
        elif name in self._known:
            self._known.move_to_end(name)
        return found

    def _note(self, name: str, size: int) -> None:
        assert self._known is not None
        self._unnote(name)
        self._known[name] = max(size, BLOCK_BYTES)
        self._bytes += self._known[name]

    def _unnote(self, name: str) -> None:
        if self._known is not None:
            self._bytes -= self._known.pop(name, 0)

    def _give_up_on(self, name: str) -> None:
        self._hopeless[name] = None
        while len(self._hopeless) > HOPELESS_MAX:
            self._hopeless.popitem(last=False)

    async def _make_room(self) -> None:
        assert self._known is not None
        names: list[str] = []
        while self._bytes > self._bytes_max and self._known:
            name, size = self._known.popitem(last=False)
            self._bytes -= size
            names.append(name)
        if names:
            await self._drop(names)

    async def _drop(self, names: Sequence[str]) -> None:
        for name in names:
            self._unnote(name)
            self._hopeless.pop(name, None)
        try:
            await self._threads.run(_remove, [self._folder / name for name in names])
        except OSError as exc:
            # What is left lies there until it is walked past as a leftover.
            emit("storage.failed", level="error", message=reason_of(exc))


async def make_small(source: Path, target: Path, width: int) -> bool:
    """Make a picture in a process that may be killed.

    Raises:
        TimeoutError: It was: the machine has too much to do, which says nothing of the image.
    """
    words = [str(source), str(target), "webp", str(QUALITY), str(width)]
    ended = await run_child(words, timeout_s=TIMEOUT_S)
    if ended is None:
        raise TimeoutError
    return ended == 0


def _name_of(store_key: str) -> str:
    """The name of an image's file, which has its attempt and its place in it: no two share one."""
    return store_key.rpartition("/")[2]


def _make_folder(folder: Path) -> None:
    folder.mkdir(exist_ok=True)


def _listed(folder: Path) -> list[tuple[str, int]]:
    """Name what lies in the folder, the oldest first; what was never finished is removed."""
    found: list[tuple[float, str, int]] = []
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(SUFFIX):
                told = entry.stat()
                found.append((told.st_mtime, entry.name, told.st_size))
            elif entry.name.endswith(".part"):
                Path(entry.path).unlink(missing_ok=True)
    return [(name, size) for _, name, size in sorted(found)]


def _read(path: Path) -> bytes | None:
    """Read a picture; None if it is not whole, as after a loss of power: it was never synced."""
    if path.stat().st_size > FILE_BYTES_MAX:
        return None
    data = path.read_bytes()
    is_whole = data[:4] == b"RIFF" and int.from_bytes(data[4:_RIFF_HEAD], "little") + _RIFF_HEAD == len(data)
    return data if is_whole else None


def _settled(made: Path, target: Path) -> bytes | None:
    """Give a picture its place, if it is one."""
    found = _read(made)
    if found is not None:
        made.replace(target)
    return found


def _remove(paths: Sequence[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
