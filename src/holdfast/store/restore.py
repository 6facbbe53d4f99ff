"""A data folder out of a backup: whole, or none.

All of it is made below one name, `restoring`, in the folder that it is for; a gateway refuses a folder that has that.
Nothing is taken on trust: every file is read, and is what the manifest says of it. Only then do the files move to their
places, which takes no time, and the name goes last. Killed anywhere, the same command begins anew.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from holdfast.errors import StorageError
from holdfast.store.backup_files import HEAD, pour
from holdfast.store.lock import RESTORING, SECRET_BYTES, Paths, fsync_folder
from holdfast.store.manifest import (
    DATABASE,
    LINE_BYTES_MAX,
    MANIFEST,
    SECRET,
    End,
    Entry,
    Head,
    broken,
    check_head,
    checked_name,
    line_of,
    read_line,
)
from holdfast.store.queries import migrations

NAMED_MAX = 20
_FOLDERS = ("blobs", "inputs", "spool")
_RECEIVED = "received.jsonl"
_OURS = (*_FOLDERS, SECRET, DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm")
_NO_MATTER = frozenset({"lock", "lost+found", RESTORING})


class Member(NamedTuple):
    """A file of a backup."""

    name: str
    file: BinaryIO | None
    """None: it is missing."""


class Source(Protocol):
    """A backup: `FromFolder`, `FromTar`."""

    def head(self) -> Head:
        """What it is."""

    def members(self) -> Iterator[Member]:
        """Its files, each to be read before the next one is asked for."""

    def lines(self) -> Iterator[Entry | End]:
        """What its manifest says of them, in the same order; to be asked for after them."""


@dataclass(slots=True, kw_only=True)
class Taken:
    """What was read."""

    head: Head
    files: int = 0
    bytes: int = 0
    damaged: int = 0
    """Images that are missing in the backup, or not what they were."""
    named: list[str] = field(default_factory=list)
    """Of those, the first ones."""


Tell = Callable[[tuple[int, int]], None]
"""Files and bytes so far."""


class FromFolder:
    """A backup that is a folder."""

    def __init__(self, folder: Path) -> None:
        """Open it.

        Raises:
            StorageError: It is none, or was not finished.
        """
        if not (folder / MANIFEST).is_file():
            raise StorageError(f"{folder} is no backup, or was not finished: it has no {MANIFEST}.", reason="missing")
        self._folder = folder

    def _all(self) -> Iterator[Head | Entry | End]:
        with (self._folder / MANIFEST).open("rb") as file:
            while line := file.readline(LINE_BYTES_MAX):
                yield read_line(line)

    def head(self) -> Head:
        """What it is."""
        return check_head(next(self._all(), None), schema=len(migrations()))

    def members(self) -> Iterator[Member]:
        """Its files, missing ones too."""
        for line in self._all():
            if isinstance(line, Entry):
                try:
                    file = (self._folder / line.name).open("rb", buffering=0)
                except FileNotFoundError:
                    yield Member(line.name, None)
                    continue
                with file:
                    yield Member(line.name, file)

    def lines(self) -> Iterator[Entry | End]:
        """What its manifest says of them."""
        return (line for line in self._all() if not isinstance(line, Head))


class FromTar:
    """A backup that is an archive, read once from its beginning to its end."""

    def __init__(self, file: BinaryIO) -> None:
        """Read from an open file, which need not be one that can be sought in."""
        try:
            self._tar = tarfile.open(fileobj=file, mode="r|")  # noqa: SIM115 - it lives as long as the file
            self._first = self._tar.next()
        except tarfile.TarError as exc:
            raise broken(f"it is no archive ({exc})") from exc
        self._head: Head | None = None
        self._manifest: BinaryIO | None = None

    def head(self) -> Head:
        """What it is: its first member."""
        if self._head is None:
            if self._first is None or self._first.name != HEAD:
                raise broken(f"the archive does not begin with {HEAD}")
            line = _content(self._tar, self._first).read(LINE_BYTES_MAX)
            self._head = check_head(read_line(line), schema=len(migrations()))
        return self._head

    def members(self) -> Iterator[Member]:
        """Its files up to the manifest."""
        while (info := self._tar.next()) is not None:
            # It remembers every member that it has passed, which a stream never asks for.
            self._tar.members = []  # type: ignore[attr-defined]
            if info.name == MANIFEST:
                self._manifest = _content(self._tar, info)
                return
            yield Member(checked_name(info.name), _content(self._tar, info))
        raise broken("the archive ends before its manifest")

    def lines(self) -> Iterator[Entry | End]:
        """What its manifest says of them."""
        assert self._manifest is not None, "it comes after the files"
        while line := self._manifest.readline(LINE_BYTES_MAX):
            told = read_line(line)
            if not isinstance(told, Head):
                yield told


def _content(tar: tarfile.TarFile, info: tarfile.TarInfo) -> BinaryIO:
    file = tar.extractfile(info) if info.isfile() else None
    if file is None:
        raise broken(f"{info.name[:80]!r} in it is no file")
    return file  # type: ignore[return-value]  # an `IO[bytes]` that is read only


@contextmanager
def staging(root: Path) -> Iterator[Path]:
    """Give the place in which a folder is made, until `settle_in`; whatever fails before that leaves nothing.

    Raises:
        StorageError: The folder is in use or not empty.
    """
    root.mkdir(parents=True, exist_ok=True)
    fd = os.open(Paths(root=root).lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise StorageError(f"{root} is in use by another process.", reason="locked") from exc
        place = root / RESTORING
        if place.exists():
            # Of a restore that was killed: the folder was empty before it, and no gateway has taken it since.
            _clear(root)
        elif strange := sorted(path.name for path in root.iterdir() if path.name not in _NO_MATTER):
            raise StorageError(f"{root} is not empty ({strange[0]}). Restore into a new folder.", reason="broken")
        place.mkdir(mode=0o700)
        fsync_folder(root)
        try:
            yield place
        except BaseException:
            _clear(root)
            raise
    finally:
        os.close(fd)


def _clear(root: Path) -> None:
    for name in _OURS:
        path = root / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    shutil.rmtree(root / RESTORING, ignore_errors=True)


def take_in(source: Source, place: Path, *, keeps_images: bool, tell: Tell) -> Taken:
    """Read all of a backup, and keep it in a place, of the images only if they are wanted.

    Raises:
        StorageError: The database or the secret is damaged, or it is no backup.
    """
    taken = Taken(head=source.head())
    try:
        _take_all(source, place, taken, keeps_images=keeps_images, tell=tell)
    except tarfile.TarError as exc:
        raise broken(f"the archive breaks off ({exc})") from exc
    if not (place / DATABASE).is_file() or _size(place / SECRET) != SECRET_BYTES:
        raise broken(f"it has no {DATABASE}, or no {SECRET}")
    return taken


def _take_all(source: Source, place: Path, taken: Taken, *, keeps_images: bool, tell: Tell) -> None:
    with (place / _RECEIVED).open("w+b") as received:
        for name, file in source.members():
            entry = _received(name, file, place, keeps_images=keeps_images)
            received.write(line_of(entry))
            taken.files, taken.bytes = taken.files + 1, taken.bytes + max(0, entry.bytes)
            tell((taken.files, taken.bytes))
        received.seek(0)
        _compare(source, received, place, taken)
    (place / _RECEIVED).unlink()


def _received(name: str, file: BinaryIO | None, place: Path, *, keeps_images: bool) -> Entry:
    if file is None:
        return Entry(name=name, bytes=-1, sha256="")
    if not keeps_images and name not in (DATABASE, SECRET):
        with Path(os.devnull).open("wb") as nowhere:
            size, sha256 = pour(file, nowhere)
        return Entry(name=name, bytes=size, sha256=sha256)
    target = place / name
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        into = target.open("xb", buffering=0)
    except FileExistsError as exc:
        raise broken(f"it holds {name} twice") from exc
    with into:
        os.fchmod(into.fileno(), 0o600)
        size, sha256 = pour(file, into)
        os.fsync(into.fileno())
    return Entry(name=name, bytes=size, sha256=sha256)


def _compare(source: Source, received: BinaryIO, place: Path, taken: Taken) -> None:
    """Hold what came against the manifest. Both are in one order; an archive may hold files that turned out damaged
    while they were written, which its manifest does not name.
    """
    end: End | None = None
    named = named_bytes = 0
    for told in source.lines():
        if isinstance(told, End):
            end = told
            break
        named, named_bytes = named + 1, named_bytes + told.bytes
        came = _next(received)
        while came is not None and came.name != told.name:
            _drop(place, came.name)
            came = _next(received)
        if came != told:
            _note_damage(place, told, taken)
    while (came := _next(received)) is not None:
        _drop(place, came.name)
    if end is None or (end.files, end.bytes) != (named, named_bytes):
        raise broken("its manifest is not whole")


def _next(received: BinaryIO) -> Entry | None:
    line = received.readline()
    if not line:
        return None
    entry = read_line(line)
    assert isinstance(entry, Entry)
    return entry


def _note_damage(place: Path, told: Entry, taken: Taken) -> None:
    if not told.is_image:
        raise broken(f"{told.name} is missing or damaged")
    _drop(place, told.name)
    taken.damaged += 1
    if len(taken.named) < NAMED_MAX:
        taken.named.append(told.name)


def _drop(place: Path, name: str) -> None:
    (place / name).unlink(missing_ok=True)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1


def settle_in(root: Path) -> None:
    """Give everything its place in the folder that it is for, the database last; then the folder is whole."""
    place = root / RESTORING
    for name in _FOLDERS:
        (place / name).mkdir(exist_ok=True)
        for folder, _, _ in os.walk(place / name):
            fsync_folder(folder)
    fsync_folder(place)
    for name in (*_FOLDERS, SECRET, DATABASE):
        (place / name).rename(root / name)
    fsync_folder(root)
    place.rmdir()
    fsync_folder(root)
    fsync_folder(root.parent)
