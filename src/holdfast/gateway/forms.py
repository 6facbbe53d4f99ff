"""Forms in bounded memory: files go to the blob store as they come, the rest becomes the JSON that says the same."""

from __future__ import annotations

import contextlib
import hashlib
from typing import Any

from holdfast.errors import RequestError
from holdfast.gateway.bodies import BodyReader, JsonBody, OpenInput
from holdfast.gateway.call import Call
from holdfast.types import InputImage
from holdfast.wire.errors import WireError
from holdfast.wire.fields import request_error_of
from holdfast.wire.multipart import FormReader, PartBegan, PartBytes, PartEnded, boundary_of
from holdfast.wire.openai_edits import IMAGE_BYTES_MAX, Fields, Kind

FORM = "multipart/form-data"
TEXT_BYTES_MAX = 1 << 20
"""All fields together that are no files; a prompt of 32,000 characters has at most 128 KB."""


async def read_form(bodies: BodyReader, call: Call) -> JsonBody:
    """Read the form of an edit; `inputs` are its images in their order, and the mask behind them.

    Raises:
        RequestError: 400, 413 or 415, saying what to change; 503 `storage_low`.
        CallerLeft: The connection ended first.
    """
    reader = FormReader(boundary_of(call.headers.get("content-type", "")))
    sink = _FormSink(reader, bodies, call.request_id)
    await bodies.take(call, sink)
    try:
        reader.finish()
    except WireError as exc:
        raise request_error_of(exc) from exc
    return JsonBody(skeleton=sink.fields.finish(), inputs=sink.inputs)


class _FormSink:
    """Takes the parts of one form; runs in one thread at a time."""

    def __init__(self, reader: FormReader, bodies: BodyReader, name: str) -> None:
        self._reader = reader
        self._bodies = bodies
        self._name = name
        self._bytes_max = min(bodies.image_bytes_max, IMAGE_BYTES_MAX)
        self.fields = Fields()
        self._part = ""
        self._kind = Kind.UNKNOWN
        self._image: OpenInput | None = None
        self._image_bytes = 0
        self._text = bytearray()
        self._text_bytes = 0
        self._unknown: Any = None
        self._ended: list[tuple[bool, int, OpenInput]] = []
        self._images: dict[int, InputImage] = {}
        self._mask: InputImage | None = None

    @property
    def inputs(self) -> tuple[InputImage, ...]:
        """What has been kept."""
        images = tuple(self._images[number] for number in sorted(self._images))
        return images if self._mask is None else (*images, self._mask)

    @property
    def has_ended(self) -> bool:
        """Whether there are images to `keep`."""
        return bool(self._ended)

    def feed(self, piece: bytes) -> None:
        """Take the next piece of the body."""
        for event in self._reader.feed(piece):
            match event:
                case PartBegan(name=name):
                    self._begin(name)
                case PartBytes(data=data):
                    self._take(data)
                case PartEnded():
                    self._end()

    def _begin(self, name: str) -> None:
        self._part, self._kind = name, self.fields.kind_of(name)
        match self._kind:
            case Kind.IMAGE | Kind.MASK:
                number = self.fields.images + self.fields.has_mask
                self._image = OpenInput.at(self._bodies.spool / f"input-{self._name}-{number}.part")
                self._image_bytes = 0
            case Kind.UNKNOWN:
                self._unknown = hashlib.sha256()
            case Kind.TEXT:
                self._text.clear()

    def _take(self, data: bytes) -> None:
        if self._image is not None:
            self._image_bytes += len(data)
            if self._image_bytes > self._bytes_max:
                param = "mask" if self._kind is Kind.MASK else "image"
                message = f"{self._where()} is larger than {self._bytes_max:,} bytes."
                raise RequestError(message, code="input_too_large", status=413, param=param)
            self._image.write(data)
        elif self._kind is Kind.UNKNOWN:
            # It has no effect, but it was asked: another value is another request.
            self._unknown.update(data)
        else:
            self._text_bytes += len(data)
            if self._text_bytes > TEXT_BYTES_MAX:
                message = f"The form's fields hold more than {TEXT_BYTES_MAX:,} bytes, files aside."
                raise RequestError(message, code="input_too_large", status=413, param=self._part)
            self._text += data

    def _end(self) -> None:
        if self._image is not None:
            self._ended.append((self._kind is Kind.MASK, self.fields.images - 1, self._image))
            self._image = None
        elif self._kind is Kind.UNKNOWN:
            self.fields.put_unknown(self._part, self._unknown.hexdigest())
        else:
            try:
                text = self._text.decode("utf-8")
            except UnicodeDecodeError as exc:
                raise RequestError(f"{self._part} is not UTF-8.", param=self._part) from exc
            self.fields.put(self._part, text)

    def keep(self) -> None:
        """Make the images that have ended durable. Waits for the disk: never on the loop."""
        while self._ended:
            is_mask, number, image = self._ended[0]
            what = "mask" if is_mask else f"image[{number}]"
            kept = image.keep(self._bodies.blobs, what=what, param="mask" if is_mask else "image")
            if is_mask:
                self._mask = kept
            else:
                self._images[number] = kept
            del self._ended[0]

    def discard(self) -> None:
        """Remove what a request that failed half-way left open."""
        left = [image for _, _, image in self._ended]
        if self._image is not None:
            left.append(self._image)
        with contextlib.ExitStack() as stack:
            for image in left:
                stack.callback(image.discard)
        self._ended.clear()
        self._image = None

    def _where(self) -> str:
        return "mask" if self._kind is Kind.MASK else f"image[{self.fields.images - 1}]"
