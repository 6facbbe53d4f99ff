"""The files of a batch: its journal, which is on disk before anything is sent, and the folder of what is not whole."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from holdfast.batch import journal
from holdfast.batch.journal import Record, Told
from holdfast.batch.prompts import FILE_BYTES_MAX, decode_text
from holdfast.cli.exits import Exit, Stop
from holdfast.cli.files import Received, set_ordinary_mode
from holdfast.wire.image import extension_of

STANDARD_INPUT = "-"
_RECORDS_MAX = 1_000_000
"""A journal of 10,000 lines has 20,000; each run adds what it asks."""


def read_prompts(source: str) -> str:
    """Read a file of prompts, or standard input.

    Raises:
        OSError: It cannot be read.
        RequestError: It is too large, or no UTF-8.
    """
    if source == STANDARD_INPUT:
        return decode_text(sys.stdin.buffer.read(FILE_BYTES_MAX + 1), "standard input")
    with Path(source).open("rb") as file:
        return decode_text(file.read(FILE_BYTES_MAX + 1), source)


def journal_path(folder: Path, source: str) -> Path:
    """Name the journal of a file of prompts: beside the images, and one for each file."""
    return folder / f"{'stdin' if source == STANDARD_INPUT else Path(source).name}.journal"


def see_that_it_began(journal: Path) -> None:
    """Refuse to go on with a batch that never began: somebody has slipped, and would pay for all of it.

    Raises:
        Stop: There is no journal.
    """
    if not journal.exists():
        raise Stop(
            Exit.USAGE,
            f"There is no batch to go on with: {journal} does not exist. "
            "See to the names of the prompts' file and of the folder (-o); without --resume a new batch begins.",
        )


class JournalFile:
    """A journal that is being written. One process has it at a time."""

    def __init__(self, path: Path) -> None:
        """Open it, read it, and cut off a line that was not written to its end.

        Args:
            path: Where it is, or will be.

        Raises:
            Stop: Another process has it.
            RequestError: It is no journal.
            OSError: It cannot be written.
        """
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            self._lock()
            self.told = self._read()
            os.ftruncate(self._fd, self.told.whole_bytes)
            os.lseek(self._fd, 0, os.SEEK_END)
            _sync_folder(path.parent)
        except BaseException:
            os.close(self._fd)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if os.fstat(self._fd).st_size == 0:
            # Nothing began: a mistake on the command line leaves nothing behind.
            self.path.unlink(missing_ok=True)
        os.close(self._fd)

    def write(self, record: Record) -> None:
        """Append a record; it is on disk when this returns.

        Raises:
            OSError: It is not; what it speaks of must not be done.
        """
        data = journal.spell(record)
        begun_at = os.lseek(self._fd, 0, os.SEEK_END)
        try:
            while data:
                data = data[os.write(self._fd, data) :]
            os.fsync(self._fd)
        except OSError:
            # Half a line before the next one would spoil both.
            os.ftruncate(self._fd, begun_at)
            raise

    def _lock(self) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Stop(
                Exit.FOLDER_LOCKED, f"Another holdfast is at work on this batch: it has {self.path}. Let it end first."
            ) from error
        if not stat.S_ISREG(os.fstat(self._fd).st_mode):
            raise Stop(Exit.USAGE, f"{self.path} is no file. Choose another folder with -o.")

    def _read(self) -> Told:
        with os.fdopen(os.dup(self._fd), "rb") as file:
            file.seek(0)
            return journal.read(iter(lambda: file.readline(journal.RECORD_BYTES_MAX + 1), b""), str(self.path))


class Folder:
    """Where the images of a batch go. What is not whole yet lies in a folder of its own, so that nothing is left."""

    def __init__(self, path: Path, journal_file: Path) -> None:
        self.path = path
        self.parts = path / f".{journal_file.name}.parts"

    def prepare(self) -> None:
        """Make the folder of parts, and clear it of what a dead run left. For the one that has the journal.

        Raises:
            OSError: It cannot be made: nothing could be kept.
        """
        shutil.rmtree(self.parts, ignore_errors=True)
        self.parts.mkdir()

    def close(self) -> None:
        """Take the folder of parts away."""
        shutil.rmtree(self.parts, ignore_errors=True)

    def names(self) -> list[str]:
        """List the files that are there."""
        return [entry.name for entry in os.scandir(self.path) if not entry.is_dir()]

    def has(self, name: str) -> bool:
        """Whether a file is there."""
        return (self.path / name).is_file()

    def keep(self, received: Received, stem: str) -> str:
        """Give an image its name, on disk for good: the journal is about to say so.

        Args:
            received: The image, in the folder of parts.
            stem: Its name, without the suffix that its bytes tell.

        Returns:
            The whole name.
        """
        name = f"{stem}.{extension_of(received.info.mime if received.info is not None else None)}"
        set_ordinary_mode(received.path)
        with received.path.open("rb") as file:
            os.fsync(file.fileno())
        received.path.replace(self.path / name)
        _sync_folder(self.path)
        return name


def _sync_folder(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Some file systems have no fsync for folders; then there is nothing more to be done.
        with suppress(OSError):
            os.fsync(fd)
    finally:
        os.close(fd)
