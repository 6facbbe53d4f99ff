"""Taking a body in: what comes is decoded as it comes, and written where it belongs. Shared by both clients.

Writing happens where reading does, on the loop of an asyncio client too: a piece is 64 KB into the page cache, some
50 µs, which a thread would cost as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.client.defaults import ANSWER_BYTES_MAX, IMAGE_BYTES_MAX
from holdfast.client.spool import Spool, Target
from holdfast.client.steps import Form, Reading, Received, Taken
from holdfast.wire.errors import WireError

if TYPE_CHECKING:
    from holdfast.types import ImageInfo
    from holdfast.wire.answers import Answer, Reader
    from holdfast.wire.image import ImageMeter


class Held:
    """One image on its way into its spool."""

    __slots__ = ("meter", "spool")

    def __init__(self, spool: Spool) -> None:
        from holdfast.wire.image import ImageMeter

        self.spool = spool
        self.meter: ImageMeter = ImageMeter()

    def __repr__(self) -> str:
        return f"<Held {self.meter!r}>"

    def write(self, data: bytes) -> None:
        """Take the next bytes."""
        self.spool.write(data)
        self.meter.feed(data)


class Catch:
    """All that arrives in one call: the images in hand, and the body that is being read."""

    def __init__(self, target: Target | None = None) -> None:
        self._target = target
        self._held: dict[int, Held] = {}
        self._reading = Reading(form=Form.DOCUMENT)
        self._reader: Reader | None = None
        self._document = bytearray()
        self._mishap: str | None = None

    def __repr__(self) -> str:
        return f"<Catch {self._reading.form} images={len(self._held)}>"

    @property
    def received_bytes(self) -> int:
        """Of a file that broke off: how much of it is in hand."""
        if self._reading.form is not Form.FILE:
            return 0
        held = self._held.get(self._reading.index)
        return 0 if held is None else held.spool.bytes

    def begin(self, reading: Reading) -> None:
        """Prepare for a body; images of an answer that broke off before are dropped."""
        self._reading, self._mishap = reading, None
        self._document.clear()
        self._reader = _reader_of(reading.form)
        if reading.form is Form.FILE:
            held = self._held.get(reading.index)
            if held is None or held.spool.bytes != reading.at:
                self._hold(reading.index)
        elif reading.form is not Form.DOCUMENT:
            self.close()

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the body. What cannot be read is passed over to its end, so that its end is told."""
        if self._mishap is not None:
            return
        try:
            self._take(chunk)
        except WireError as exc:
            self._mishap = exc.message

    def finish(self) -> Received:
        """Say that the body has ended."""
        form = self._reading.form
        if form is Form.DOCUMENT:
            return Received(document=bytes(self._document))
        if form is Form.FILE:
            index = self._reading.index
            return Received(taken=((index, self._taken(index)),), mishap=self._mishap)
        assert self._reader is not None
        answer: Answer | None = None
        if self._mishap is None:
            try:
                answer = self._reader.finish()
            except WireError as exc:
                self._mishap = exc.message
        if answer is None:
            return Received(mishap=self._mishap)
        prompts = {image.index: image.revised_prompt for image in answer.images}
        taken = tuple((index, self._taken(index, prompts.get(index))) for index in self._held)
        return Received(document=answer.document, answer=answer, taken=taken)

    def image(self, index: int) -> tuple[Spool, ImageInfo]:
        """Hand an image over; it is the caller's from here on."""
        held = self._held.pop(index)
        info, _ = held.meter.finish()
        assert info is not None, "only images that were found whole are handed over"
        return held.spool, info

    def keep(self, spool: Spool, rank: int, info: ImageInfo, *, name: str) -> None:
        """Give an image the name that its caller has chosen, if one was.

        Raises:
            OSError: It cannot be renamed.
        """
        if self._target is not None:
            spool.keep(self._target.place(rank, info.mime, name=name))

    def close(self) -> None:
        """Drop what nobody has taken."""
        for held in self._held.values():
            held.spool.close()
        self._held.clear()

    def _take(self, chunk: bytes) -> None:
        if self._reading.form is Form.DOCUMENT:
            self._document += chunk[: ANSWER_BYTES_MAX - len(self._document)]
        elif self._reading.form is Form.FILE:
            held = self._held[self._reading.index]
            if held.spool.bytes + len(chunk) > IMAGE_BYTES_MAX:
                raise WireError("too_large", f"the image is larger than {IMAGE_BYTES_MAX} bytes")
            held.write(chunk)
        else:
            self._decode(chunk)

    def _decode(self, chunk: bytes) -> None:
        from holdfast.wire.scan import ImageBegan, ImageBytes

        assert self._reader is not None
        for event in self._reader.feed(chunk):
            if isinstance(event, ImageBegan):
                self._hold(event.index)
            elif isinstance(event, ImageBytes):
                self._held[event.index].write(event.data)

    def _hold(self, index: int) -> None:
        old = self._held.pop(index, None)
        if old is not None:
            old.spool.close()
        self._held[index] = Held(Spool(None if self._target is None else self._target.part(index)))

    def _taken(self, index: int, revised_prompt: str | None = None) -> Taken:
        info, is_whole = self._held[index].meter.finish()
        return Taken(info=info, is_whole=is_whole, revised_prompt=revised_prompt)


def _reader_of(form: Form) -> Reader | None:
    match form:
        case Form.OPENAI:
            from holdfast.wire.openai_answer import ImagesReader

            return ImagesReader(image_bytes_max=IMAGE_BYTES_MAX)
        case Form.OPENAI_STREAM:
            from holdfast.wire.openai_answer import ImagesStreamReader

            return ImagesStreamReader(image_bytes_max=IMAGE_BYTES_MAX)
        case Form.GEMINI:
            from holdfast.wire.gemini_answer import GenerateReader

            return GenerateReader(image_bytes_max=IMAGE_BYTES_MAX)
        case Form.DOCUMENT | Form.FILE:
            return None
