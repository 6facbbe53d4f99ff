"""The JSON documents of an event stream, each read as `scan` reads one, images numbered through.

Pure: no I/O, clock or randomness.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from holdfast.wire.errors import WireError
from holdfast.wire.prose import Prose
from holdfast.wire.scan import Event, ImageBegan, JsonReader
from holdfast.wire.sse import SseData, SseDispatch, SseName, SseReader

_DONE = b"[DONE]"


@dataclass(frozen=True, slots=True)
class Document:
    """One event's document has ended."""

    name: str
    """The event's name; empty when it had none."""
    skeleton: bytes


class StreamDocuments:
    """Reads the documents of an event stream; `[DONE]` and events without data are passed over."""

    def __init__(
        self,
        is_image: Callable[[tuple[str, ...]], bool],
        *,
        is_partial: Callable[[str, bytes], bool] | None = None,
        skeleton_bytes_max: int = 4 << 20,
        image_bytes_max: int = 64 << 20,
        images_max: int = 64,
        links_stay: bool | Callable[[tuple[str, ...]], bool] = False,
        prose: Prose | None = None,
    ) -> None:
        """Prepare to read.

        Args:
            is_image: See `JsonReader`.
            is_partial: Told an event's name and what of its document came before the image: is the image a preview?
            skeleton_bytes_max: Bound on all documents together.
            image_bytes_max: Bound on each image.
            images_max: Bound on all images together.
            links_stay: See `JsonReader`.
            prose: See `JsonReader`; one that spans, since a text comes in the pieces that many events bring.
        """
        self._is_image = is_image
        self._is_partial = is_partial
        self._image_bytes_max = image_bytes_max
        self._images_max = images_max
        self._links_stay = links_stay
        self._prose = prose
        self._bytes_left = skeleton_bytes_max
        self._next_index = 0
        self._sse = SseReader()
        self._name = ""
        self._held: bytes | None = b""
        """The first bytes of an event's data while they may still be `[DONE]`; None once they are not."""
        self._reader = self._reader_for_next()

    @property
    def is_between_documents(self) -> bool:
        """No event has begun that would be lost if the stream ended here."""
        return self._sse.is_between_events

    def feed(self, chunk: bytes | bytearray | memoryview) -> list[Event | Document]:
        """Take the next bytes of the stream; return image events and finished documents, in order."""
        out: list[Event | Document] = []
        for event in self._sse.feed(chunk):
            self._take(event, out)
        return out

    def finish(self) -> list[Event | Document]:
        """Say that the stream has ended; an event that was cut raises, one that only lacks its blank line counts."""
        out: list[Event | Document] = []
        for event in self._sse.finish():
            self._take(event, out)
        return out

    def _take(self, event: SseName | SseData | SseDispatch, out: list[Event | Document]) -> None:
        match event:
            case SseName():
                self._name = event.name
            case SseData():
                self._take_data(event.data, out)
            case SseDispatch():
                self._end_document(out)

    def _take_data(self, data: bytes, out: list[Event | Document]) -> None:
        if self._held is not None:
            data = self._held + data
            text = data.strip()
            if _DONE.startswith(text):
                self._held = data
                if len(data) > 1024:
                    raise WireError("json", "an event's data is white space only")
                return
            self._held = None
        for event in self._reader.feed(data):
            if isinstance(event, ImageBegan) and self._is_partial:
                event = replace(event, partial=self._is_partial(self._name, self._reader.skeleton_so_far))
            out.append(event)

    def _end_document(self, out: list[Event | Document]) -> None:
        if self._held is None:
            skeleton = self._reader.finish()
            self._bytes_left -= len(skeleton)
            self._next_index = self._reader.next_index
            out.append(Document(self._name, skeleton))
            self._reader = self._reader_for_next()
        elif self._held.strip() not in (b"", _DONE):
            raise WireError("json", "an event's data is not a JSON document")
        self._held = b""
        self._name = ""

    def _reader_for_next(self) -> JsonReader:
        return JsonReader(
            self._is_image,
            skeleton_bytes_max=max(self._bytes_left, 0),
            image_bytes_max=self._image_bytes_max,
            images_max=self._images_max,
            first_index=self._next_index,
            links_stay=self._links_stay,
            prose=self._prose,
        )
