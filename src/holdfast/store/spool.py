"""From an upstream's body to durable files, in one pass and in bounded memory.

    spool/<attempt_id>-<i>.part      an image on its way
    spool/<attempt_id>-<i>.done      an image that came to its end, synced
    spool/<attempt_id>-<i>.preview   a preview: shown, never kept
    spool/<attempt_id>.answer        what else the answer said, where it does not fit on the last image as an attribute;
                                     written last, so that it means "all of it is here"

A crash leaves some of these; `recover` finds what can be settled. Everything here runs in a worker thread.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import msgspec

from holdfast import faults
from holdfast.errors import failure_of
from holdfast.store.writeback import Writeback
from holdfast.types import ImageInfo
from holdfast.wire.answers import Answer, Reader, Role
from holdfast.wire.image import ImageMeter
from holdfast.wire.scan import Event, ImageBegan, ImageBytes, ImageEnded

ANSWER_BYTES_MAX = 4 << 20
ANSWER_ATTRIBUTE = "user.holdfast.answer"
"""Extended attribute of an answer's last image: a file of its own would cost a second create, sync and delete, which on
ext4 without a journal were a quarter of the CPU of a 1 MB image (lab/bench)."""
READ_BYTES = 1 << 20
_WITH_END_MARK = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SpooledImage:
    """One image in the spool."""

    index: int
    role: Role
    """As the answer tells it; a draft where there is none."""
    path: Path
    info: ImageInfo | None
    """None: the bytes are no image that we know."""
    complete: bool
    """Whether its end mark is there."""

    @property
    def is_whole(self) -> bool:
        """Whether it may be delivered."""
        return self.info is not None and self.complete


@dataclass(frozen=True, slots=True, kw_only=True)
class Spooled:
    """A whole answer, durable."""

    answer: Answer
    images: tuple[SpooledImage, ...]
    files: tuple[Path, ...] = field(compare=False)
    """All that it left in the spool, previews included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartialReady:
    """A preview that can be shown; its file lives until the attempt ends."""

    index: int
    path: Path
    info: ImageInfo


@dataclass(slots=True)
class _Open:
    index: int
    partial: bool
    path: Path
    file: BinaryIO
    meter: ImageMeter = field(default_factory=ImageMeter)
    writeback: Writeback = field(default_factory=Writeback)


@dataclass(slots=True)
class _Closed:
    index: int
    path: Path
    info: ImageInfo | None
    complete: bool


class SpoolWriter:
    """Takes one answer in."""

    def __init__(self, folder: Path, attempt_id: str, reader: Reader) -> None:
        self._folder = folder
        self._attempt_id = attempt_id
        self._reader = reader
        self._open: _Open | None = None
        self._closed: list[_Closed] = []
        self._files: list[Path] = []

    @property
    def complete(self) -> bool:
        """Whether the document has closed, even if the transfer has not."""
        return self._reader.complete

    def feed(self, pieces: Sequence[bytes | bytearray | memoryview]) -> list[PartialReady]:
        """Decode and write the next pieces; return the previews that became whole.

        Raises:
            WireError: The answer is malformed or too large.
            OSError: The disk is full or broken.
        """
        ready: list[PartialReady] = []
        for piece in pieces:
            for event in self._reader.feed(piece):
                partial = self._take(event)
                if partial is not None:
                    ready.append(partial)
        return ready

    def _take(self, event: Event) -> PartialReady | None:
        match event:
            case ImageBegan(index=index, partial=partial):
                assert self._open is None
                path = self._folder / f"{self._attempt_id}-{index}.{'preview' if partial else 'part'}"
                self._files.append(path)
                self._open = _Open(index, partial, path, path.open("wb", buffering=0))
                faults.point_sync("spool.image_began")
            case ImageBytes(data=data):
                image = self._open
                assert image is not None
                self._go_on(image)
                write_all(image.file, data)
                image.meter.feed(data)
                image.writeback.advance(image.file.fileno(), image.meter.bytes)
            case ImageEnded():
                assert self._open is not None
                return self._close(self._open)
        return None

    def rest(self) -> None:
        """Close the file of an image that makes a pause: thousands may, and descriptors are bounded."""
        if self._open is not None:
            self._open.file.close()

    @staticmethod
    def _go_on(image: _Open) -> None:
        if image.file.closed:
            image.file = image.path.open("ab", buffering=0)

    def _close(self, image: _Open) -> PartialReady | None:
        self._open = None
        self._go_on(image)
        with image.file:
            if not image.partial:
                os.fsync(image.file.fileno())
        info, complete = image.meter.finish()
        if image.partial:
            return PartialReady(index=image.index, path=image.path, info=info) if info and complete else None
        faults.point_sync("spool.image_synced")
        done = image.path.rename(self._folder / f"{self._attempt_id}-{image.index}.done")
        self._files[-1] = done
        faults.point_sync("spool.renamed")
        self._closed.append(_Closed(image.index, done, info, complete))
        return None

    def finish(self) -> Spooled:
        """Say that the body has ended; make what was received durable.

        Raises:
            WireError: The body ended early.
        """
        answer = self._reader.finish()
        if self._open is not None:
            # Of a body that is nothing but an image only the end of the transfer tells that it is whole.
            self._close(self._open)
        roles = {image.index: image.role for image in answer.images}
        images = tuple(
            SpooledImage(
                index=closed.index,
                role=roles.get(closed.index, Role.DRAFT),
                path=closed.path,
                info=closed.info,
                complete=closed.complete,
            )
            for closed in self._closed
            # Some streams tell only behind an image that it was a preview.
            if roles.get(closed.index) is not Role.PARTIAL
        )
        if images:
            self._keep_answer(answer, images[-1].path)
            faults.point_sync("spool.finished")
        return Spooled(answer=answer, images=images, files=tuple(self._files))

    def _keep_answer(self, answer: Answer, image: Path) -> None:
        """Put the answer on its last image, or beside it where it does not fit.

        Neither is synced: it is needed between here and the settling commit, milliseconds away, and a process that is
        killed loses no written page. After a power failure the images, which are synced, speak for themselves.
        So they do where the disk has no room for it: the answer itself goes on in memory.
        """
        if len(answer.document) > ANSWER_BYTES_MAX:
            return
        data = msgspec.json.encode(answer)
        faults.point_sync("spool.before_answer")
        if not _set_attribute(image, data):
            path = self._folder / f"{self._attempt_id}.answer"
            try:
                path.write_bytes(data)
            except OSError:
                _unlink((path,))
            else:
                self._files.append(path)

    def discard(self) -> Spooled | None:
        """Let go of an answer that broke off, but for images in it that had come to their end: those are durable, and
        paid for. Give them; None if there are none. May be called again.
        """
        if self._open is not None:
            self._open.file.close()
            self._open = None
        whole = [closed for closed in self._closed if closed.info is not None and closed.complete]
        kept = tuple(closed.path for closed in whole)
        for path in self._files:
            # A disk that turned read-only keeps it for a start or the sweeper: why the answer broke off is to be told,
            # and not that.
            if path not in kept:
                with contextlib.suppress(OSError):
                    path.unlink()
        self._files = list(kept)
        if not whole:
            return None
        # What the answer would have said of them never came.
        images = tuple(
            SpooledImage(index=each.index, role=Role.DRAFT, path=each.path, info=each.info, complete=True)
            for each in whole
        )
        return Spooled(answer=Answer(images=(), document=b"{}"), images=images, files=kept)


def _set_attribute(image: Path, data: bytes) -> bool:
    """Set the attribute; False where it is longer than the file system takes (often 4 KB), or there are none."""
    if not hasattr(os, "setxattr"):
        return False
    try:
        os.setxattr(image, ANSWER_ATTRIBUTE, data)
    except OSError:
        return False
    return True


def write_all(file: BinaryIO, data: bytes) -> None:
    """Write to an unbuffered file, which may take less than it is given at a time.

    Raises:
        OSError: The disk is full or broken; nothing is left in a buffer for `close` to fail on.
    """
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def clear(spooled: Spooled) -> None:
    """Remove the files of an answer that is settled, by name: listing a spool of thousands takes milliseconds."""
    _release(spooled.files)


def clear_all(answers: Sequence[Spooled]) -> list[OSError | None]:
    """Remove the files of several answers; tell of each whether that failed, and how."""
    return [failure_of(clear, spooled) for spooled in answers]


def remove(folder: Path, attempt_id: str) -> None:
    """Remove whatever an attempt left in the spool: it is settled, or nothing of it is whole."""
    _release(_files_of(folder, attempt_id))


def _files_of(folder: Path, attempt_id: str) -> tuple[Path, ...]:
    return tuple(folder.glob(f"{attempt_id}[-.]*"))


def _release(paths: Collection[Path]) -> None:
    """Remove files whose images may live on under another name: what the model said of them is not theirs to carry."""
    for path in paths:
        if path.suffix == ".done" and hasattr(os, "removexattr"):
            # Most carry none, and not every file system has them.
            with contextlib.suppress(OSError):
                os.removexattr(path, ANSWER_ATTRIBUTE)
    _unlink(paths)


def _unlink(paths: Iterable[Path]) -> None:
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()


def remove_inputs(folder: Path) -> int:
    """Remove what request bodies left in the spool when the process died while it read them; return how many.

    Nothing refers to them: an image of a request gets its place in the blob store before the request is accepted. To
    be called before any request is read.
    """
    left = list(folder.glob("input-*.part"))
    for path in left:
        path.unlink()
    return len(left)


def attempts_in(folder: Path) -> set[str]:
    """The attempts that left files in the spool."""
    names = (path.name for path in folder.iterdir() if path.name.startswith("att_"))
    return {name.partition("-")[0].partition(".")[0] for name in names}


def recover(folder: Path, attempt_id: str) -> Spooled | None:
    """Find what a process that died had received whole; None if that is nothing.

    With the answer all of it is here. Without it the images that came to their end are whole all the same, and
    paid for; nothing names their roles then.
    """
    images = [_probe(path) for path in folder.glob(f"{attempt_id}-*.done")]
    # The crash may have come between the sync and the rename: an image that shows its end is whole under either name.
    ending = [_probe(path) for path in folder.glob(f"{attempt_id}-*.part")]
    images += [image for image in ending if image.info is not None and image.info.mime in _WITH_END_MARK]
    whole = sorted((image for image in images if image.is_whole), key=lambda image: image.index)
    if not whole:
        return None
    # On the last image that came to its end, which is not always whole.
    answer = next(filter(None, map(_answer_on, sorted(folder.glob(f"{attempt_id}-*.done")))), None)
    if answer is None:
        answer = _answer_in(folder / f"{attempt_id}.answer")
    if answer is None:
        answer = Answer(images=(), document=b"{}")
    roles = {image.index: image.role for image in answer.images}
    named = (dataclasses.replace(image, role=roles.get(image.index, Role.DRAFT)) for image in whole)
    images = [image for image in named if image.role is not Role.PARTIAL]
    if not images:
        return None
    return Spooled(answer=answer, images=tuple(images), files=_files_of(folder, attempt_id))


def _answer_on(image: Path) -> Answer | None:
    if not hasattr(os, "getxattr"):
        return None
    try:
        return msgspec.json.decode(os.getxattr(image, ANSWER_ATTRIBUTE), type=Answer)
    except (OSError, msgspec.DecodeError):
        # It did not fit, or the crash came before it.
        return None


def said_with(image: Path) -> bytes | None:
    """What the model said along with an image, as it stands on the file for `recover`; None: nothing, or elsewhere.

    A copy of the file does not have it; beside the copy it is `ATTEMPT.answer`.
    """
    if not hasattr(os, "getxattr"):
        return None
    try:
        return os.getxattr(image, ANSWER_ATTRIBUTE)
    except OSError:
        return None


def _answer_in(path: Path) -> Answer | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Answer)
    except (FileNotFoundError, msgspec.DecodeError):
        # A torn answer is the crash's doing; the images speak for themselves.
        return None


def _probe(path: Path) -> SpooledImage:
    meter = ImageMeter()
    with path.open("rb") as file:
        while piece := file.read(READ_BYTES):
            meter.feed(piece)
    info, complete = meter.finish()
    index = int(path.stem.rpartition("-")[2])
    return SpooledImage(index=index, role=Role.DRAFT, path=path, info=info, complete=complete)
