"""Images straight from the socket into files: decoded as they come, a few hundred kilobytes in memory at any time."""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile, gettempdir
from typing import IO

from holdfast.cli.exits import Exit, Stop
from holdfast.transport.exchange import Piece, Sink
from holdfast.types import ImageInfo, InputImage
from holdfast.wire.answers import Answer, Reader
from holdfast.wire.image import EXTENSIONS, ImageMeter, extension_of
from holdfast.wire.scan import ImageBegan, ImageBytes, ImageEnded

READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One image, whole, still under a temporary name."""

    index: int
    path: Path
    info: ImageInfo | None
    """None: the bytes are no image of a kind we know."""
    is_complete: bool
    """The format's end mark is there."""


class _Writing:
    """One image on its way to disk."""

    def __init__(self, index: int, folder: Path) -> None:
        self._index = index
        self.file: IO[bytes] = NamedTemporaryFile(dir=folder, prefix=".holdfast-", suffix=".part", delete=False)  # noqa: SIM115
        self._meter = ImageMeter()

    def write(self, data: bytes) -> None:
        self.file.write(data)
        self._meter.feed(data)

    def end(self) -> Received:
        self.file.close()
        info, is_complete = self._meter.finish()
        return Received(index=self._index, path=Path(self.file.name), info=info, is_complete=is_complete)


class ImageFiles(Sink):
    """Keeps the images of an answer as files beside their destination."""

    def __init__(self, folder: Path, reader: Reader) -> None:
        self._folder = folder
        self._reader = reader
        self._writing: dict[int, _Writing] = {}
        self.received: list[Received] = []
        self.received_bytes = 0
        """Of images, decoded; read by the progress bar while a thread writes."""

    def feed(self, pieces: list[Piece]) -> bool:
        """Take the next pieces of the body; True once the document has closed."""
        for piece in pieces:
            for event in self._reader.feed(piece):
                match event:
                    case ImageBegan():
                        self._writing[event.index] = _Writing(event.index, self._folder)
                    case ImageBytes():
                        self._writing[event.index].write(event.data)
                        self.received_bytes += len(event.data)
                    case ImageEnded():
                        self.received.append(self._writing.pop(event.index).end())
        return self._reader.complete

    def finish(self) -> Answer:
        """Say that the body has ended.

        Raises:
            WireError: It ended early, or is no answer.
        """
        return self._reader.finish()

    def close(self) -> None:
        """Remove what has not been kept."""
        with ExitStack() as stack:
            for writing in self._writing.values():
                stack.callback(Path(writing.file.name).unlink, missing_ok=True)
                stack.callback(writing.file.close)
            for received in self.received:
                stack.callback(received.path.unlink, missing_ok=True)


class ErrorText(Sink):
    """Takes the body of an error answer; the transport bounds it."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def feed(self, pieces: list[Piece]) -> bool:
        """Keep the next pieces."""
        self._pieces += map(bytes, pieces)
        return False

    def close(self) -> None:
        """Keep what came: a status with half a body still tells something."""

    @property
    def body(self) -> bytes:
        """What came."""
        return b"".join(self._pieces)


class Destination:
    """Where images are kept: `-o FILE`, `-o DIR`, or this folder; written into what is neither, such as /dev/null."""

    def __init__(self, output: str | Path | None) -> None:
        """Understand `-o` as it was typed: a name that ends in a slash is a folder, there or not."""
        self._output = Path() if output is None else Path(output).expanduser()
        self._is_folder = output is None or str(output).endswith("/") or self._output.is_dir()
        self._is_special = not self._is_folder and self._output.exists() and not self._output.is_file()

    @property
    def folder(self) -> Path:
        """The folder that the files end up in; temporary ones lie there too, so that keeping is a rename."""
        if self._is_special:
            return Path(gettempdir())
        return self._output if self._is_folder else self._output.parent

    def prepare(self) -> None:
        """Make the folder, and find out before anything is paid that it takes files.

        Raises:
            OSError: It does not; the folder is named, and no temporary file.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with NamedTemporaryFile(dir=self.folder, prefix=".holdfast-"):
                pass
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.folder.resolve())) from error

    def keep(self, received: Received, *, name: str, index: int, count: int) -> Path:
        """Give an image its name; a named FILE is replaced, a name of ours never replaces anything.

        Args:
            received: The image.
            name: For a folder: the stem.
            index: Its place among those asked for.
            count: How many there are.
        """
        if self._is_special:
            with received.path.open("rb") as source, self._output.open("wb") as target_file:
                shutil.copyfileobj(source, target_file, READ_BYTES)
            received.path.unlink()
            return self._output
        suffix = f".{extension_of(received.info.mime if received.info is not None else None)}"
        numbered = f"-{index}" if count > 1 else ""
        if not self._is_folder:
            target = self._output.with_name(f"{self._output.stem}{numbered}{self._output.suffix or suffix}")
        else:
            target = _free_name(self._output, f"{name}{numbered}", suffix)
        set_ordinary_mode(received.path)
        received.path.replace(target)
        return target


def misnamed(path: Path, received: Received) -> bool:
    """Whether a file's name promises another kind of picture than it holds."""
    promised = path.suffix.lower().removeprefix(".").replace("jpeg", "jpg")
    return (
        received.info is not None and promised in EXTENSIONS.values() and promised != extension_of(received.info.mime)
    )


def _free_name(folder: Path, stem: str, suffix: str) -> Path:
    target, number = folder / f"{stem}{suffix}", 1
    while target.exists():
        number += 1
        target = folder / f"{stem}-{number}{suffix}"
    return target


def set_ordinary_mode(path: Path) -> None:
    """Give a file the mode that any program's new file has; a temporary one is 0600."""
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)


def read_input(path: Path) -> InputImage:
    """Learn what a request must say of a reference image.

    Raises:
        OSError: It cannot be read.
        Stop: It is no image.
    """
    meter = ImageMeter()
    with path.open("rb") as file:
        while piece := file.read(READ_BYTES):
            meter.feed(piece)
    info, _ = meter.finish()
    if info is None:
        raise Stop(Exit.USAGE, f"{path} is not a picture (PNG, JPEG, WebP, GIF, HEIC or AVIF).")
    return InputImage.of(info, store_key=str(path))
