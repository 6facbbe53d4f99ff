"""Pictures in prose: a text of a JSON document that holds them as data URLs, `![image](data:image/png;base64,…)`.

Pure: no I/O, clock or randomness. The text is searched as it comes, in the raw form of a JSON string, and cut anywhere,
also between two messages of a stream: the 36 million characters of one picture leave as decoded bytes, what stays is a
small text with the picture's number behind `;base64,`.

The strategy: only `data:image/…;base64,` begins a picture, wherever in the text it stands (Markdown, HTML, or bare). It
ends at the first character that stands around a URL and in no base64. Each such character is one `find`; the text of
the picture itself is looked at by the decoder only, which refuses whatever else is in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from holdfast.wire.base64_stream import Base64Decoder
from holdfast.wire.errors import WireError
from holdfast.wire.scan import Event, ImageBegan, ImageBytes, ImageEnded

_SLASH = rb"(?:/|\\/|\\u002[fF])"
_PREFIX = re.compile(rb"data:image" + _SLASH + rb"([A-Za-z0-9.+-]{1,40})(?:;[A-Za-z0-9=._-]{1,60}){0,2};base64,")
PREFIX_IN_TEXT = r"data:image/[A-Za-z0-9.+-]{1,40}(?:;[A-Za-z0-9=._-]{1,60}){0,2};base64,"
"""The same in a text whose escapes are undone: behind it stands the number of a picture that was cut out."""
_HALF = re.compile(rb"(?:d|da|dat|data|data:[^,\"()<> ]{0,250})\Z")
_HELD_BYTES_MAX = 256
"""No prefix is longer; a text that merely looks like the beginning of one is let go of."""
_BEGINS = re.compile(rb"[A-Za-z0-9+/_-]|\\(?:/|u00(?:2[bBfF]|3[dD])|(?:u(?:0(?:0[23]?)?)?)?\Z)")
"""Of base64 in either alphabet, or of an escaped letter of it. Seen at once, since where a picture ends is looked for
in all that has come."""
_STOPS = (b")", b" ", b"<", b">", b"'", b"]", b"(", b"[", b"`", b",")
_AROUND = re.compile(rb"[)\\\x80-\xff <>'\](\[`,]")
"""What stands around a picture, or begins an escape of it: there is none here."""
_FOREIGN = re.compile(rb"[\x80-\xff]")
# Not possessive: Python 3.11.2 loses the second branch of a group that is. Nothing follows, so it never goes back.
_RUN = re.compile(rb"(?:[^\\]+|\\/|\\u00(?:2[bBfF]|3[dD]))*")
_CUT_ESCAPE = re.compile(rb"\\(?:u(?:0(?:0[23]?)?)?)?\Z")


@dataclass(frozen=True, slots=True)
class Found:
    """What a piece of text came to."""

    kept: tuple[bytes, ...]
    """What stays of it, raw, pictures cut out."""
    events: list[Event]
    next_index: int
    """The number that the next picture would get."""


class Prose:
    """Reads texts of a document, or of several in turn: `spans` says that a text goes on where the last one ended.

    With `is_talk` people wrote them, who may write of pictures: a prefix without base64 behind it is words. In an
    answer it is a picture that is none.
    """

    def __init__(
        self,
        is_prose: Callable[[tuple[str, ...]], bool],
        *,
        spans: bool = False,
        is_talk: bool = False,
        image_bytes_max: int = 64 << 20,
        images_max: int = 64,
    ) -> None:
        self.is_prose = is_prose
        """Tells by its path whether a string is such a text."""
        self.mimes: dict[int, str] = {}
        """What each picture is called, by its number."""
        self._spans = spans
        self._is_talk = is_talk
        self._image_bytes_max = image_bytes_max
        self._images_max = images_max
        self._held = b""
        """The beginning of a prefix, or of an escape in a picture, that the last piece ended in."""
        self._told = 0
        """So much of it stands in what was kept: the text it belongs to has ended."""
        self._decoder: Base64Decoder | None = None
        """None: in the text around."""
        self._mime = ""
        self._index: int | None = None
        """Of the picture, once its first character has come."""
        self._image_bytes = 0

    def __repr__(self) -> str:
        where = "text" if self._decoder is None else f"image {self._index}"
        return f"<Prose in {where}, held={len(self._held)}B>"

    def feed(self, raw: bytes | bytearray, *, path: tuple[str, ...], next_index: int) -> Found:
        """Take the next piece of a text.

        Args:
            raw: Of the contents of a JSON string, escapes and all.
            path: Where the string stands.
            next_index: The number for the next picture.

        Raises:
            WireError: A picture is no base64, or beyond a bound.
        """
        data: bytes | bytearray = self._held + raw if self._held else raw
        self._held = b""
        kept: list[bytes] = []
        events: list[Event] = []
        at = 0
        while at < len(data):
            if self._decoder is None:
                at = self._pass_text(data, at, kept)
                continue
            if self._index is None and not _BEGINS.match(data, at) and (self._is_talk or _AROUND.match(data, at)):
                self._end(events)
                continue
            stop = self._pass_run(data, at)
            if stop > at:
                if self._index is None:
                    next_index = self._begin(next_index, path, kept, events)
                self._put(self._decoder.feed(memoryview(data)[at:stop]), events)
                at = stop
            if at == len(data) or _CUT_ESCAPE.fullmatch(data, at):
                self._held = bytes(data[at:])
                break
            self._end(events)
        return Found(tuple(kept), events, next_index)

    def close_text(self, next_index: int) -> Found:
        """Say that a string has ended; a picture in it ends with it, unless texts go on in the next one."""
        kept = () if self._decoder is not None else (self._held[self._told :],)
        self._told = len(self._held)
        return Found(kept, [] if self._spans else self.close(), next_index)

    def close(self) -> list[Event]:
        """Say that no text follows: a picture that is open has ended."""
        events: list[Event] = []
        if self._decoder is not None:
            self._end(events)
        self._held, self._told = b"", 0
        return events

    def _pass_text(self, data: bytes | bytearray, at: int, kept: list[bytes]) -> int:
        told, self._told = self._told, 0
        match = _PREFIX.search(data, at)
        if match is not None:
            kept.append(bytes(data[max(at, told) : match.end()]))
            self._mime = f"image/{match[1].decode('ascii').lower()}"
            self._decoder = Base64Decoder()
            return match.end()
        half = _HALF.search(data, max(at, len(data) - _HELD_BYTES_MAX))
        stop = half.start() if half else len(data)
        kept.append(bytes(data[max(at, told) : stop]))
        self._held, self._told = bytes(data[stop:]), max(0, told - stop)
        return len(data)

    @staticmethod
    def _pass_run(data: bytes | bytearray, at: int) -> int:
        """Find where the base64 that begins at `at` ends, or is interrupted by a cut."""
        stop = len(data)
        for mark in _STOPS:
            found = data.find(mark, at, stop)
            stop = found if found >= 0 else stop
        if not data[at:stop].isascii():
            # Other scripts write on without a space.
            letter = _FOREIGN.search(data, at, stop)
            assert letter is not None
            stop = letter.start()
        if data.find(b"\\", at, stop) < 0:
            return stop
        # `\/` is a letter of it, as PHP writes them; any other escape ends it.
        run = _RUN.match(data, at, stop)
        assert run is not None
        return run.end()

    def _begin(self, index: int, path: tuple[str, ...], kept: list[bytes], events: list[Event]) -> int:
        if index >= self._images_max:
            raise WireError("too_large", f"the document holds more than {self._images_max} images")
        self._index, self._image_bytes = index, 0
        self.mimes[index] = self._mime
        kept.append(b"%d" % index)
        events.append(ImageBegan(index, path))
        return index + 1

    def _put(self, pieces: list[bytes], events: list[Event]) -> None:
        assert self._index is not None
        for piece in pieces:
            if piece:
                self._image_bytes += len(piece)
                events.append(ImageBytes(self._index, piece))
        if self._image_bytes > self._image_bytes_max:
            raise WireError("too_large", f"an image is larger than {self._image_bytes_max} bytes")

    def _end(self, events: list[Event]) -> None:
        assert self._decoder is not None
        decoder, self._decoder = self._decoder, None
        if self._index is not None:
            self._put(decoder.finish(), events)
            events.append(ImageEnded(self._index))
            self._index = None
