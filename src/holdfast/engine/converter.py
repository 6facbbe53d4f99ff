"""Another file format than the upstream has: made by one child process, bounded in memory and time.

Only where the caller named a format, and the image came in another one. The original is kept beside it, as a draft.
What cannot be converted is delivered as it came, and told as what it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from holdfast.engine import convert_child
from holdfast.log import emit
from holdfast.policy.mishaps import reason_of
from holdfast.store.spool import READ_BYTES, SpooledImage
from holdfast.threads import Threads
from holdfast.types import ImageInfo, Request
from holdfast.wire.answers import Role
from holdfast.wire.image import ImageMeter

TIMEOUT_S = 60.0
"""A PNG of 4096x4096 takes 2 to 5 s on a slow core; its caller waits."""
WAIT_S = 120.0
"""For its turn and the work together: others are converted before it, and the image itself is here."""
FIRST_INDEX = 1000
"""Of what is made here, behind the images of any answer: an answer holds at most 64."""
QUALITY = 90
"""Of JPEG and WebP where the caller names no `output_compression`."""
_MIMES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFormat:
    """What a caller wants images to be."""

    name: str
    """`png`, `jpeg` or `webp`."""
    quality: int = QUALITY

    @classmethod
    def of(cls, request: Request) -> FileFormat | None:
        """Give what a request names; None if it leaves that to the upstream."""
        if request.output_format not in _MIMES:
            return None
        quality = QUALITY if request.output_compression is None else max(1, request.output_compression)
        return cls(name=request.output_format, quality=quality)

    @property
    def mime(self) -> str:
        """Of its files."""
        return _MIMES[self.name]


def is_available() -> bool:
    """Whether images can be converted here: Pillow is an extra (`pip install holdfast[convert]`)."""
    return importlib.util.find_spec("PIL") is not None


class Convert(Protocol):
    """Converts one file."""

    async def __call__(self, source: Path, target: Path, wanted: FileFormat) -> bool:
        """Say whether the target is whole."""


class Converter:
    """Converts images, one at a time."""

    def __init__(self, spool: Path, threads: Threads, *, convert: Convert | None = None) -> None:
        """Prepare.

        Args:
            spool: Where what is made lies until it has its place.
            threads: For files.
            convert: Converts one; a child process of its own by default.
        """
        self._spool = spool
        self._threads = threads
        self._convert = convert or in_a_child
        self._one = asyncio.Semaphore(1)

    @contextlib.asynccontextmanager
    async def converted(
        self, images: tuple[SpooledImage, ...], wanted: FileFormat, attempt_id: str, *, within_s: float = WAIT_S
    ) -> AsyncIterator[tuple[SpooledImage, ...]]:
        """Convert what has another format; what was made of it lies in the spool until this is left.

        Args:
            images: What is delivered.
            wanted: The format.
            attempt_id: Whose they are.
            within_s: What is not converted by then stays as it is; never more than `WAIT_S`.
        """
        until = asyncio.get_running_loop().time() + min(within_s, WAIT_S)
        made: list[SpooledImage] = []
        paths: list[Path] = []
        try:
            for image in images:
                assert image.info is not None, "what is no image is not delivered"
                if image.info.mime == wanted.mime:
                    made.append(image)
                    continue
                # A start removes what is called so: no row knows it.
                path = self._spool / f"input-{attempt_id}-{image.index}-converted.part"
                paths.append(path)
                made.append(await self._one_of(image, path, wanted, until) or image)
            yield tuple(made)
        finally:
            for path in paths:
                try:
                    await asyncio.shield(self._threads.run(_remove, path))
                except OSError as exc:
                    # A start removes it; what was made of it has its place.
                    emit("storage.failed", level="error", attempt_id=attempt_id, message=reason_of(exc))

    async def _one_of(self, image: SpooledImage, path: Path, wanted: FileFormat, until: float) -> SpooledImage | None:
        if until <= asyncio.get_running_loop().time():
            emit("image.not_converted", level="warning", wanted=wanted.name, message="no time was left for it")
            return None
        try:
            async with asyncio.timeout_at(until), self._one:
                is_made = await self._convert(image.path, path, wanted)
            info = await self._threads.run(_kept, path) if is_made else None
        except OSError as exc:
            emit("image.not_converted", level="warning", wanted=wanted.name, message=type(exc).__name__)
            return None
        if info is None or info.mime != wanted.mime:
            emit("image.not_converted", level="warning", wanted=wanted.name, message="the child made no whole image")
            return None
        return replace(image, index=FIRST_INDEX + image.index, role=Role.RESULT, path=path, info=info)


async def in_a_child(source: Path, target: Path, wanted: FileFormat) -> bool:
    """Convert a file in a process that may be killed; it is, when its time is over or ours is."""
    return await run_child([str(source), str(target), wanted.name, str(wanted.quality)], timeout_s=TIMEOUT_S) == 0


async def run_child(words: list[str], *, timeout_s: float) -> int | None:
    """Run the child with its words; give its exit code, or None where its time was over and it was killed."""
    script, null = convert_child.__file__, asyncio.subprocess.DEVNULL
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-I", script, *words, stdin=null, stdout=null, stderr=null, env={}, start_new_session=True
    )
    try:
        async with asyncio.timeout(timeout_s):
            return await child.wait()
    except TimeoutError:
        return None
    finally:
        if child.returncode is None:
            child.kill()
            await asyncio.shield(child.wait())


def _kept(path: Path) -> ImageInfo | None:
    """Make a file durable, and say what it is; None if it is no whole image."""
    meter = ImageMeter()
    with path.open("rb") as file:
        os.fsync(file.fileno())
        while piece := file.read(READ_BYTES):
            meter.feed(piece)
    info, complete = meter.finish()
    return info if complete else None


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
