"""Request bodies in bounded memory: reference images are cut out of the JSON and written to files as they come."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

from holdfast import faults
from holdfast.errors import RequestError, is_disk_full
from holdfast.gateway.call import Call
from holdfast.policy.admission import storage_low
from holdfast.store.blob_port import Blobs
from holdfast.store.records import BlobRow
from holdfast.store.spool import write_all
from holdfast.threads import Threads
from holdfast.types import InputImage
from holdfast.wire.fields import request_error_of
from holdfast.wire.image import ImageMeter
from holdfast.wire.prose import Prose
from holdfast.wire.scan import Event, ImageBegan, ImageBytes, ImageEnded, JsonReader, WireError

INLINE_BYTES_MAX = 64 * 1024
"""Bodies up to this size are read on the loop; a hop to a thread would cost more than the work."""

JSON_TYPES = ("application/json", "text/json")


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonBody:
    """A request body, read whole."""

    skeleton: bytes
    """The JSON with each image replaced by its index in `inputs`."""
    inputs: tuple[InputImage, ...]


@dataclass(slots=True)
class OpenInput:
    """An image on its way to the blob store; all of this may wait for the disk: never on the loop."""

    path: Path
    file: BinaryIO
    meter: ImageMeter = field(default_factory=ImageMeter)

    @classmethod
    def at(cls, path: Path) -> OpenInput:
        """Begin one."""
        return cls(path, path.open("wb", buffering=0))

    def write(self, data: bytes) -> None:
        """Take the next bytes."""
        write_all(self.file, data)
        self.meter.feed(data)

    def keep(self, blobs: Blobs, *, what: str, param: str) -> InputImage:
        """Make it durable under its digest.

        Raises:
            RequestError: It is no whole image; `what` begins the sentence.
        """
        os.fsync(self.file.fileno())
        self.file.close()
        info, complete = self.meter.finish()
        if info is None or not complete:
            self.path.unlink()
            raise RequestError(f"{what} is not a whole PNG, JPEG, WebP, GIF, HEIC or HEIF file.", param=param)
        key = f"inputs/{info.sha256}"
        faults.point_sync("accept.before_input")
        blobs.put_shared(key, self.path)
        faults.point_sync("accept.after_input")
        self.path.unlink()
        return InputImage.of(info, store_key=key)

    def discard(self) -> None:
        """Remove it; what its disk did not take is wanted by nobody."""
        self.path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.file.close()


class Sink(Protocol):
    """Takes a body piece by piece; in one thread at a time."""

    @property
    def has_ended(self) -> bool:
        """Whether there are images to `keep`."""

    def feed(self, piece: bytes) -> None:
        """Take the next piece."""

    def keep(self) -> None:
        """Make the images that have ended durable. Waits for the disk: never on the loop."""

    def discard(self) -> None:
        """Remove what a request that failed half-way left open."""


class _InputSink:
    """Writes the images of one request; runs in one thread at a time."""

    def __init__(self, reader: JsonReader, blobs: Blobs, spool: Path, name: str) -> None:
        self._reader = reader
        self._blobs = blobs
        self._spool = spool
        self._name = name
        self._open: OpenInput | None = None
        self._ended: list[tuple[int, OpenInput]] = []
        self.inputs: list[InputImage] = []

    @property
    def has_ended(self) -> bool:
        """Whether there are images to `keep`."""
        return bool(self._ended)

    def feed(self, piece: bytes) -> None:
        """Take the next piece of the body."""
        for event in self._reader.feed(piece):
            self._take(event)

    def _take(self, event: Event) -> None:
        match event:
            case ImageBegan(index=index):
                path = self._spool / f"input-{self._name}-{index}.part"
                self._open = OpenInput.at(path)
            case ImageBytes(data=data):
                assert self._open is not None
                self._open.write(data)
            case ImageEnded(index=index):
                assert self._open is not None
                self._ended.append((index, self._open))
                self._open = None

    def keep(self) -> None:
        """Make the images that have ended durable. Waits for the disk: never on the loop."""
        while self._ended:
            self._keep(*self._ended[0])
            del self._ended[0]

    def _keep(self, index: int, image: OpenInput) -> None:
        self.inputs.append(image.keep(self._blobs, what=f"Input image {index}", param="image"))

    def discard(self) -> None:
        """Remove what a request that failed half-way left open."""
        left = [image for _, image in self._ended]
        if self._open is not None:
            left.append(self._open)
        with contextlib.ExitStack() as stack:
            for image in left:
                stack.callback(image.discard)
        self._ended.clear()
        self._open = None


def check_json(call: Call) -> None:
    """See that a body calls itself JSON.

    Raises:
        RequestError: 415.
    """
    if call.content_type() not in JSON_TYPES:
        raise RequestError(
            "Send the body as `Content-Type: application/json`.", code="unsupported_media_type", status=415
        )


def expired(where: str) -> RequestError:
    """Tell that an image to start from is gone; `where` names it."""
    return RequestError(f"{where}: the image has been deleted.", code="image_expired", status=410, param=where)


class BodyReader:
    """Reads JSON bodies for every surface."""

    def __init__(self, *, blobs: Blobs, spool: Path, threads: Threads, image_bytes_max: int) -> None:
        self.blobs = blobs
        self.spool = spool
        self.image_bytes_max = image_bytes_max
        self._threads = threads

    async def keep_again(self, blob: BlobRow, *, where: str) -> InputImage:
        """Keep an image of an earlier generation as an input of its own, which outlives the other's retention.

        Raises:
            RequestError: 410 `image_expired`: its file is gone; 503 `storage_low`. `where` names it.
        """
        key = f"inputs/{blob.sha256}"
        try:
            await self._threads.run(self.blobs.put_again, key, blob.store_key)
        except FileNotFoundError as exc:
            raise expired(where) from exc
        except OSError as exc:
            if exc.errno == errno.ETIMEDOUT:
                raise storage_low("does not answer at this moment") from exc
            if not is_disk_full(exc):
                raise
            raise storage_low() from exc
        return InputImage(
            sha256=blob.sha256,
            mime=blob.mime,
            bytes=blob.bytes,
            store_key=key,
            width_px=blob.width_px,
            height_px=blob.height_px,
        )

    async def read_json(
        self,
        call: Call,
        is_image: Callable[[tuple[str, ...]], bool],
        *,
        links_stay: bool = False,
        is_prose: Callable[[tuple[str, ...]], bool] | None = None,
        image_bytes_max: int | None = None,
        pieces: AsyncIterator[bytes] | None = None,
    ) -> JsonBody:
        """Read a body; images at the paths of `is_image` are stored by their digest.

        Args:
            call: Whose body it is.
            is_image: See `wire.scan.JsonReader`.
            links_stay: An image may be named by its address there, which stays where it is.
            is_prose: An image may stand within a text there; see `wire.prose`.
            pieces: The body, where it has been read from the connection before.
            image_bytes_max: Bound on each image, where it is below `store.image_bytes_max`.

        Raises:
            RequestError: 415, 400 or 413, saying what to change; 503 `storage_low`.
            CallerLeft: The connection ended first.
        """
        check_json(call)
        bytes_max = min(image_bytes_max or self.image_bytes_max, self.image_bytes_max)
        prose = None if is_prose is None else Prose(is_prose, is_talk=True, image_bytes_max=bytes_max)
        reader = JsonReader(is_image, image_bytes_max=bytes_max, links_stay=links_stay, prose=prose)
        sink = _InputSink(reader, self.blobs, self.spool, call.request_id)
        await self.take(call, sink, pieces)
        try:
            return JsonBody(skeleton=reader.finish(), inputs=tuple(sink.inputs))
        except WireError as exc:
            raise request_error_of(exc) from exc

    async def take(self, call: Call, sink: Sink, pieces: AsyncIterator[bytes] | None = None) -> None:
        """Hand a body to whoever reads it, small ones on the loop, and make the images in it durable.

        Raises:
            RequestError: 415, 400 or 413, saying what to change; 503 `storage_low`.
            CallerLeft: The connection ended first.
        """
        coding = call.headers.get("content-encoding", "identity").strip().lower()
        if coding not in ("", "identity"):
            raise RequestError(
                f"Send the body as it is: Content-Encoding {coding[:20]} is not taken (images do not shrink).",
                code="unsupported_media_type",
                status=415,
            )
        try:
            seen = 0
            async for piece in call.body() if pieces is None else pieces:
                seen += len(piece)
                if seen <= INLINE_BYTES_MAX:
                    sink.feed(piece)
                else:
                    await self._threads.run(sink.feed, piece)
                if sink.has_ended:
                    await self._threads.run(sink.keep)
        except WireError as exc:
            raise request_error_of(exc) from exc
        except OSError as exc:
            if not is_disk_full(exc):
                raise
            raise storage_low() from exc
        finally:
            sink.discard()
