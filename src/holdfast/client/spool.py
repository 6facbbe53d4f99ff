"""Where the bytes of an image go: into memory while they are few, then into a file, at once into its own where one was
named. Memory does not grow with the image.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO

from holdfast.client.defaults import MEMORY_BYTES_MAX
from holdfast.errors import RequestError
from holdfast.wire.image import extension_of

_COPY_BYTES = 1 << 20


class DiskError(OSError):
    """This machine's own disk does not take, or give, what has come: no fault of the line, which a second try mends."""


@contextmanager
def own_disk() -> Iterator[None]:
    """Tell an error of the disk from one of a connection: both are an `OSError`, and only one is worth another try.

    Raises:
        DiskError: With the number, the words and the file of the error that it was.
    """
    try:
        yield
    except OSError as exc:
        raise DiskError(exc.errno, exc.strerror or str(exc), exc.filename) from exc


class Target:
    """The place that a caller has named for the images of one call, found to be writable before anything is paid."""

    def __init__(self, path: Path, *, tag: str) -> None:
        """Look at a place.

        Args:
            path: A file, whether it is there or not; or a folder, which then is.
            tag: Makes the names of this call's own, for folders and for what is not whole yet.

        Raises:
            RequestError: Nothing can be written there; nothing was sent.
        """
        self._is_folder = path.is_dir()
        self._folder = path if self._is_folder else path.parent
        self._path = path
        self._tag = tag
        try:
            probe = self.part(0)
            with probe.open("xb"):
                pass
            probe.unlink()
        except OSError as exc:
            raise RequestError(
                f"{path} cannot be written: {exc.strerror or exc}. Nothing was sent and nothing is paid; "
                "name a file in a folder that exists and is yours.",
                param="save_to",
            ) from exc

    def __repr__(self) -> str:
        return f"<Target {self._path}>"

    def part(self, index: int) -> Path:
        """Name the file of an image that is not whole yet; beside its place, so that it moves there in one step."""
        return self._folder / f".holdfast-{self._tag}-{index}.part"

    def place(self, rank: int, mime: str, *, name: str) -> Path:
        """Name the file of an image: as the caller has named it, numbered from the second on."""
        if self._is_folder:
            ending = f"-{rank}" if rank else ""
            return self._folder / f"{name}{ending}.{extension_of(mime)}"
        if rank == 0:
            return self._path
        return self._path.with_name(f"{self._path.stem}-{rank + 1}{self._path.suffix}")


class Spool:
    """The bytes of one image, as they come."""

    def __init__(self, part: Path | None = None, *, memory_bytes_max: int = MEMORY_BYTES_MAX) -> None:
        self._part: Path | None = None
        self._memory_bytes_max = memory_bytes_max
        with own_disk():
            self._file: IO[bytes] = BytesIO() if part is None else part.open("w+b")
        self._part = part
        self._is_in_memory = part is None
        self.bytes = 0
        """Written so far."""
        self.path: Path | None = None
        """Where it lies, once it was kept under a name."""

    def __repr__(self) -> str:
        where = self.path or ("memory" if self._is_in_memory else "a file")
        return f"<Spool {self.bytes} bytes in {where}>"

    def write(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            DiskError: They cannot be written.
        """
        with own_disk():
            if self._is_in_memory and self.bytes + len(data) > self._memory_bytes_max:
                file = tempfile.TemporaryFile("w+b")  # noqa: SIM115 - it lives as long as the image
                file.write(self._file.getbuffer() if isinstance(self._file, BytesIO) else b"")
                self._file, self._is_in_memory = file, False
            self._file.write(data)
        self.bytes += len(data)

    def restart(self) -> None:
        """Forget what was written."""
        with own_disk():
            self._file.seek(0)
            self._file.truncate()
        self.bytes = 0

    def __del__(self) -> None:
        # An image that nobody closes ends with its last reference, as a text does. One that could not be opened has
        # nothing to close.
        if hasattr(self, "_file"):
            self.close()

    def read(self) -> bytes:
        """Give all of it.

        Raises:
            OSError: It was given a name, and is not there any more.
        """
        if self.path is not None:
            return self.path.read_bytes()
        self._file.seek(0)
        return self._file.read()

    def save(self, path: Path) -> None:
        """Copy it to a file, which is whole or not there.

        Raises:
            OSError: It cannot be written.
        """
        part = path.with_name(f".{path.name[:200]}.{os.getpid()}.part")
        try:
            with part.open("wb") as to, self._opened() as file:
                shutil.copyfileobj(file, to, _COPY_BYTES)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    @contextmanager
    def _opened(self) -> Iterator[IO[bytes]]:
        if self.path is not None:
            with self.path.open("rb") as file:
                yield file
        else:
            self._file.seek(0)
            yield self._file

    def keep(self, path: Path) -> None:
        """Give the file that it was written into its name.

        Raises:
            OSError: It cannot be renamed.
        """
        assert self._part is not None
        self._file.close()
        self._part.replace(path)
        self._part, self.path = None, path

    def close(self) -> None:
        """Let go of it; what has no name is gone."""
        # What a full disk did not take stands in the buffer, and is tried once more here: nobody wants it any longer,
        # and who is told of the disk is to hear that with his call's key.
        with contextlib.suppress(OSError):
            self._file.close()
        if self._part is not None:
            self._part.unlink(missing_ok=True)
            self._part = None
