"""Where a backup goes: a folder, with its bytes shared where that is possible, or a stream that is a tar archive.

Neither has its name before all of it is there. A folder that was not finished is gone on with: what lies in it is
whole, since every file is given its name last.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from holdfast.errors import StorageError
from holdfast.store.lock import fsync_folder
from holdfast.store.manifest import DATABASE, MANIFEST, End, Entry, Head, line_of
from holdfast.store.spool import write_all

PIECE_BYTES = 1024 * 1024
HEAD = "head.jsonl"
"""First member of an archive: whoever reads it knows at once what comes."""
_NO_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EACCES, errno.ENOTSUP})


class Taken(StrEnum):
    """What became of a file."""

    COPIED = "copied"
    LINKED = "linked"
    GONE = "gone"
    DAMAGED = "damaged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """A file that is to be taken."""

    path: Path
    data: bytes | None = None
    """Instead of what is in the file."""
    bytes: int = -1
    """How long it must be; -1: nobody noted it."""
    sha256: str = ""
    """What it must be; empty: nobody noted it."""
    moves: bool = False
    """It was made for this backup, and needs no second copy."""


class Notes:
    """The manifest of a backup, as it is made."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._files = self._bytes = 0

    def begin(self, head: Head) -> None:
        """Write the first line."""
        self._file.write(line_of(head))

    def note(self, name: str, bytes_: int, sha256: str) -> None:
        """Write the line of a file."""
        self._files += 1
        self._bytes += bytes_
        self._file.write(line_of(Entry(name=name, bytes=bytes_, sha256=sha256)))

    def finish(self) -> End:
        """Write the last line."""
        end = End(files=self._files, bytes=self._bytes)
        self._file.write(line_of(end))
        self._file.flush()
        return end


class ToFolder:
    """A backup in a folder of its own."""

    def __init__(self, folder: Path, *, previous: Path | None = None, links: bool = True) -> None:
        """Make room for it.

        Args:
            folder: Its name, which must be free.
            previous: An earlier backup, whose files are shared where it has them.
            links: Share bytes with the data folder where both are on one disk; else copy what `previous` has not.

        Raises:
            StorageError: The name is taken, or another process makes the same backup.
        """
        if folder.exists():
            raise StorageError(f"{folder} exists. Give the backup a name of its own.", reason="broken")
        if previous is not None and not (previous / MANIFEST).is_file():
            raise StorageError(f"{previous} is no backup: it has no {MANIFEST}.", reason="missing")
        self._folder, self._previous, self._links = folder, previous, links
        self._root = folder.with_name(f"{folder.name}.partial")
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._fd = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            os.close(self._fd)
            raise StorageError(f"Another process is writing {self._root}.", reason="locked") from exc
        # The spool is another one by now.
        shutil.rmtree(self._root / "spool", ignore_errors=True)
        self._folders: set[Path] = {self._root}
        self._file = (self._root / f"{MANIFEST}.part").open("wb")
        self._notes = Notes(self._file)

    def close(self) -> None:
        """Let go; what is not finished stays, and is gone on with."""
        self._file.close()
        os.close(self._fd)

    def place(self) -> Path:
        """In the backup itself: it is moved nowhere."""
        return self._root / DATABASE

    def begin(self, head: Head) -> None:
        """Begin the manifest."""
        self._notes.begin(head)

    def put(self, name: str, origin: Origin) -> Taken:
        """Share a file or copy it, unless it lies here already."""
        target = self._root / name
        if target.parent not in self._folders:
            self._make_folder(target.parent)
        if origin.moves:
            self._notes.note(name, target.stat().st_size, _digest_of(target))
            return Taken.COPIED
        try:
            if self._is_shared(name, target, origin):
                self._notes.note(name, target.stat().st_size, origin.sha256)
                return Taken.LINKED
            return self._copy(name, target, origin)
        except FileNotFoundError:
            return Taken.GONE

    def _make_folder(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        while folder != self._root:
            self._folders.add(folder)
            folder = folder.parent

    def _is_shared(self, name: str, target: Path, origin: Origin) -> bool:
        """Have the file here without copying it; False: it must be copied."""
        # Only of what is never changed under its name is the sum on record.
        if not origin.sha256:
            return False
        if _has(target, origin.bytes):
            return True
        target.unlink(missing_ok=True)
        before = None if self._previous is None else self._previous / name
        sources = [] if before is None or not _has(before, origin.bytes) else [before]
        if self._links and _has(origin.path, origin.bytes):
            sources.append(origin.path)
        return any(_link(source, target) for source in sources)

    def _copy(self, name: str, target: Path, origin: Origin) -> Taken:
        part = target.with_name(f"{target.name}.part")
        with _opened(origin) as source, part.open("wb", buffering=0) as file:
            size, sha256 = pour(source, file)
            if not _is_as_noted(origin, size, sha256):
                part.unlink()
                return Taken.DAMAGED
            os.fchmod(file.fileno(), 0o600)
            os.fsync(file.fileno())
        part.rename(target)
        self._notes.note(name, size, sha256)
        return Taken.COPIED

    def finish(self, is_wanted: Callable[[str], bool]) -> End:
        """Sync, remove what an earlier try took and this one does not name, and give the folder its name."""
        end = self._notes.finish()
        os.fsync(self._file.fileno())
        self._drop_strays(is_wanted)
        (self._root / f"{MANIFEST}.part").rename(self._root / MANIFEST)
        for folder in self._folders:
            if folder.exists():
                fsync_folder(folder)
        self._root.rename(self._folder)
        fsync_folder(self._folder.parent)
        return end

    def _drop_strays(self, is_wanted: Callable[[str], bool]) -> None:
        for top in ("blobs", "inputs"):
            for folder, _, names in os.walk(self._root / top):
                for name in names:
                    path = Path(folder, name)
                    if not is_wanted(str(path.relative_to(self._root))):
                        path.unlink()


class ToTar:
    """A backup as one archive, written from its beginning to its end: into a file, or down a pipe."""

    def __init__(self, file: BinaryIO, scratch: Path | None = None) -> None:
        """Write into an open file.

        Args:
            file: Taken as it is, and not closed.
            scratch: Where the copy of the database is made; None: where temporary files go.
        """
        self._file = file
        self._folder = tempfile.TemporaryDirectory(prefix=".holdfast-backup-", dir=scratch)
        self._listed = (Path(self._folder.name) / MANIFEST).open("w+b")
        self._notes = Notes(self._listed)

    def close(self) -> None:
        """Remove what was made on the way."""
        self._listed.close()
        self._folder.cleanup()

    def place(self) -> Path:
        """In a folder of temporary files."""
        return Path(self._folder.name) / DATABASE

    def begin(self, head: Head) -> None:
        """Begin the archive and its manifest."""
        line = line_of(head)
        self._header(HEAD, len(line))
        self._file.write(line)
        self._pad(len(line))
        self._notes.begin(head)

    def put(self, name: str, origin: Origin) -> Taken:
        """Write a file into the archive; one that turns out damaged is in it, and not in its manifest."""
        try:
            source = _opened(origin)
        except FileNotFoundError:
            return Taken.GONE
        with source:
            size = len(origin.data) if origin.data is not None else os.fstat(source.fileno()).st_size
            if origin.bytes >= 0 and size != origin.bytes:
                return Taken.DAMAGED
            self._header(name, size)
            read, sha256 = pour(source, self._file, size)
            # A file that became shorter: what follows must stand where it belongs.
            self._file.write(bytes(size - read))
            self._pad(size)
        if read != size or not _is_as_noted(origin, size, sha256):
            return Taken.DAMAGED
        self._notes.note(name, size, sha256)
        return Taken.COPIED

    def finish(self, is_wanted: Callable[[str], bool]) -> End:
        """Write the manifest and the archive's end."""
        end = self._notes.finish()
        size = self._listed.tell()
        self._listed.seek(0)
        self._header(MANIFEST, size)
        pour(self._listed, self._file)
        self._pad(size)
        self._file.write(bytes(2 * tarfile.BLOCKSIZE))
        self._file.flush()
        return end

    def _header(self, name: str, size: int) -> None:
        info = tarfile.TarInfo(name)
        info.size, info.mode = size, 0o600
        self._file.write(info.tobuf(tarfile.GNU_FORMAT))

    def _pad(self, size: int) -> None:
        self._file.write(bytes(-size % tarfile.BLOCKSIZE))


def _has(path: Path, bytes_: int) -> bool:
    try:
        return bytes_ in (path.stat().st_size, -1)
    except FileNotFoundError:
        return False


def _link(source: Path, target: Path) -> bool:
    try:
        os.link(source, target)
    except OSError as exc:
        if exc.errno in _NO_LINK:
            return False
        raise
    return True


def _opened(origin: Origin) -> BinaryIO:
    if origin.data is not None:
        return io.BytesIO(origin.data)
    return origin.path.open("rb", buffering=0)


def _is_as_noted(origin: Origin, size: int, sha256: str) -> bool:
    return origin.bytes in (size, -1) and origin.sha256 in (sha256, "")


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def pour(source: BinaryIO, target: BinaryIO, most: int | None = None) -> tuple[int, str]:
    """Copy from one file into the other, `most` bytes at most; give how many, and their SHA-256."""
    digest, size = hashlib.sha256(), 0
    while most is None or size < most:
        piece = source.read(PIECE_BYTES if most is None else min(PIECE_BYTES, most - size))
        if not piece:
            break
        digest.update(piece)
        write_all(target, piece)
        size += len(piece)
    return size, digest.hexdigest()
