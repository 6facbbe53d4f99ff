"""A JSON document of any size, read as it comes: images leave as decoded bytes, all else stays as a small skeleton.

Pure: no I/O, clock or randomness.

What makes this fast is that Python never looks at image text: the end of an image string is one `find`, its decoding
one call per piece. What makes it safe is that an image is known by its path alone, and that *every* non-empty string at
such a path is cut out: a number in the skeleton at an image path is therefore always one of ours, no body can forge it.

The scanner is not a validator: it follows strings and nesting, and leaves numbers, literals and separators to the JSON
decoder that checks the finished skeleton. The two agree on every valid document: between two tokens of an object the
run of other bytes holds a comma exactly if a key follows.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from holdfast.wire.base64_stream import Base64Decoder
from holdfast.wire.errors import EndsEarly, WireError

if TYPE_CHECKING:
    from holdfast.wire.prose import Found, Prose

__all__ = ["Event", "ImageBegan", "ImageBytes", "ImageEnded", "JsonReader", "Nesting", "WireError"]

_TOKEN = re.compile(rb'["{}\[\]]')
_SPACE = re.compile(rb"[ \t\r\n]*+")
_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_ESCAPES = re.compile(
    rb"(\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
)
_DATA = b"data:"
"""How an image begins where an address may stand."""
_BOM = b"\xef\xbb\xbf"
_KEY_BYTES_MAX = 256
"""Longer keys name no image (escaped, `inlineData` is 60 bytes) and are not remembered."""
_QUOTE, _BACKSLASH = ord('"'), ord("\\")


@dataclass(frozen=True, slots=True)
class ImageBegan:
    """An image's first character has come."""

    index: int
    path: tuple[str, ...]
    """Object keys from the root; arrays add nothing."""
    partial: bool = False
    """Known already to be a preview (OpenAI streams that name their events)."""


@dataclass(frozen=True, slots=True)
class ImageBytes:
    """The next bytes of an image, decoded."""

    index: int
    data: bytes


@dataclass(frozen=True, slots=True)
class ImageEnded:
    """An image's string has closed."""

    index: int


Event = ImageBegan | ImageBytes | ImageEnded


class Nesting:
    """Where in a document the scanner is: containers, current keys, and whether the next string is a key."""

    __slots__ = ("_are_objects", "_depth_max", "_keys", "expects_key")

    def __init__(self, *, depth_max: int) -> None:
        self._are_objects: list[bool] = []
        self._keys: list[str] = []
        self._depth_max = depth_max
        self.expects_key = False

    @property
    def depth(self) -> int:
        """How many containers are open."""
        return len(self._are_objects)

    @property
    def path(self) -> tuple[str, ...]:
        """Keys from the root to the current value; arrays add nothing."""
        return tuple([key for key, is_object in zip(self._keys, self._are_objects, strict=True) if is_object])

    def open(self, bracket: bytes) -> None:
        """Enter an object or an array."""
        if len(self._are_objects) >= self._depth_max:
            raise WireError("too_large", f"the document is nested deeper than {self._depth_max} levels")
        is_object = bracket == b"{"
        self._are_objects.append(is_object)
        self._keys.append("")
        self.expects_key = is_object

    def close(self, bracket: bytes) -> None:
        """Leave the container that `bracket` closes."""
        if not self._are_objects or self._are_objects.pop() is not (bracket == b"}"):
            raise WireError("json", "the document is not valid JSON: brackets do not match")
        self._keys.pop()
        self.expects_key = False

    def separate(self) -> None:
        """Pass a comma."""
        self.expects_key = bool(self._are_objects) and self._are_objects[-1]

    def name(self, raw: bytes) -> None:
        """Pass a key, given as written, without its quotes.

        Escapes are undone: a decoder of the skeleton would read the key so, and both must see the same path.
        """
        self.expects_key = False
        if len(raw) > _KEY_BYTES_MAX:
            self._keys[-1] = ""
        elif b"\\" in raw:
            try:
                self._keys[-1] = msgspec.json.decode(b'"' + _mended(raw) + b'"', type=str)
            except (msgspec.DecodeError, UnicodeDecodeError) as exc:
                raise WireError("json", "the document is not valid JSON: a key has a malformed escape") from exc
        else:
            self._keys[-1] = raw.decode("utf-8", "replace")


# States. Plain numbers: in Python 3.11 a member of an Enum costs a call, and a document of 2 MB changes state 40 times.
# Up to `_IMAGE_OPENED` what is passed belongs to the skeleton.
_STRUCTURE, _KEY, _TEXT, _IMAGE_OPENED, _IMAGE, _BEFORE, _AFTER, _PROSE = range(8)
_STATE_NAMES = ("structure", "key", "text", "image_opened", "image", "before", "after", "prose")


class JsonReader:
    """Reads one JSON document (an object or an array) that arrives in pieces cut anywhere.

    A string value at a path for which `is_image` holds becomes events; in the skeleton its place is taken by a JSON
    string holding the image's number. An empty string and `null` there are no image: they stay as they are, without an
    event (relays send `"b64_json":""` beside a `url`). White space around the document is dropped, however much of it
    comes: heartbeats are white space.

    With `links_stay` only a string that begins like a data URI is an image; a link to one stays in the skeleton. It may
    be so at some paths only: then it is told of each.

    Strings that `prose` wants are texts that may hold images as data URLs; those leave likewise.
    """

    def __init__(
        self,
        is_image: Callable[[tuple[str, ...]], bool],
        *,
        skeleton_bytes_max: int = 4 << 20,
        image_bytes_max: int = 64 << 20,
        images_max: int = 64,
        depth_max: int = 64,
        first_index: int = 0,
        links_stay: bool | Callable[[tuple[str, ...]], bool] = False,
        prose: Prose | None = None,
    ) -> None:
        self._is_image = is_image
        self._links_stay = links_stay
        self._prose = prose
        self._skeleton_bytes_max = skeleton_bytes_max
        self._image_bytes_max = image_bytes_max
        self._images_max = images_max
        self._nesting = Nesting(depth_max=depth_max)
        self._skeleton = bytearray()
        self._unkept = 0
        """Where in the piece that is being read the skeleton goes on: it is kept in long runs, not token by token."""
        self._state = _BEFORE
        self._bom_bytes = 0
        self._key = bytearray()
        self._is_escaped = False
        self._index = first_index
        self._held = b""
        """The beginning of what may be a link, or an image behind `data:`."""
        self._decoder = Base64Decoder()
        self._image_bytes = 0

    def __repr__(self) -> str:
        return f"<JsonReader {_STATE_NAMES[self._state]} skeleton={len(self._skeleton)}B images={self._index}>"

    @property
    def complete(self) -> bool:
        """The top-level value has closed; only white space may follow."""
        return self._state == _AFTER

    @property
    def next_index(self) -> int:
        """The number that the next image would get."""
        return self._index

    @property
    def skeleton_so_far(self) -> bytes:
        """What has been read, images cut out; not yet checked."""
        return bytes(self._skeleton)

    def feed(self, chunk: bytes | bytearray | memoryview) -> list[Event]:
        """Take the next bytes of the document; return what became known of its images.

        Raises:
            WireError: Not JSON, not base64, or beyond a bound. The reader is of no further use.
        """
        # Searched and cut as it is: a copy of each piece of 27 MB would cost more than decoding it.
        data = bytes(chunk) if isinstance(chunk, memoryview) else chunk
        events: list[Event] = []
        self._unkept = at = 0
        end = len(data)
        while at < end:
            state = self._state
            if state == _STRUCTURE:
                at = self._pass_structure(data, at)
            elif state <= _TEXT:
                at = self._pass_string(data, at)
            elif state == _IMAGE:
                at = self._pass_image(data, at, events)
            elif state == _IMAGE_OPENED:
                at = self._begin_image(data, at, events)
            elif state == _PROSE:
                at = self._pass_prose(data, at, events)
            else:
                at = self._pass_border(data, at)
        if self._state <= _IMAGE_OPENED:
            self._keep(data, self._unkept, end)
        return events

    def finish(self) -> bytes:
        """Say that the document has ended; return its skeleton, valid JSON in UTF-8.

        Raises:
            WireError: The document ended early, or is not valid.
        """
        if self._state == _BEFORE:
            raise WireError("json", "the document is empty")
        if self._state != _AFTER:
            raise EndsEarly("json", "the document ends early: it was cut on its way")
        return _checked(bytes(self._skeleton))

    def _pass_border(self, data: bytes | bytearray, at: int) -> int:
        space = _SPACE.match(data, at)
        assert space is not None
        at = space.end()
        if at == len(data):
            return at
        if self._state == _AFTER:
            raise WireError("json", "the document is followed by something else")
        if self._bom_bytes < len(_BOM) and data[at] == _BOM[self._bom_bytes]:
            self._bom_bytes += 1
            return at + 1
        if self._bom_bytes in (1, 2) or data[at] not in b"{[":
            raise WireError("json", "the body is not a JSON document: it begins with neither { nor [")
        self._state = _STRUCTURE
        self._unkept = at
        return at

    def _pass_structure(self, data: bytes | bytearray, at: int) -> int:
        token = _TOKEN.search(data, at)
        stop = token.start() if token else len(data)
        if stop > at and data.find(b",", at, stop) >= 0:
            self._nesting.separate()
        if token is None:
            return stop
        byte = token.group()
        if byte == b'"':
            if self._nesting.expects_key:
                self._state = _KEY
            elif self._is_image(self._nesting.path):
                self._state = _IMAGE_OPENED
            elif self._prose is not None and self._prose.is_prose(self._nesting.path):
                self._keep(data, self._unkept, stop + 1)
                self._state = _PROSE
            else:
                self._state = _TEXT
        elif byte in b"{[":
            self._nesting.open(byte)
        else:
            self._nesting.close(byte)
            if not self._nesting.depth:
                self._keep(data, self._unkept, stop + 1)
                self._state = _AFTER
        return stop + 1

    def _pass_string(self, data: bytes | bytearray, at: int) -> int:
        stop, is_closed = self._end_of_string(data, at)
        if self._state == _KEY and len(self._key) <= _KEY_BYTES_MAX:
            self._key += data[at:stop]
        if not is_closed:
            return stop
        if self._state == _KEY:
            self._nesting.name(bytes(self._key))
            self._key.clear()
        self._state = _STRUCTURE
        return stop + 1

    def _end_of_string(self, data: bytes | bytearray, at: int) -> tuple[int, bool]:
        """Find the closing quote, or the end of the piece; whether it is the quote."""
        if self._is_escaped:
            # The last piece ended in the backslash of this character.
            self._is_escaped = False
            at += 1
        match = _STRING.match(data, at)
        assert match is not None
        at = match.end()
        if at < len(data) and data[at] == _QUOTE:
            return at, True
        if at < len(data):
            assert data[at] == _BACKSLASH
            self._is_escaped = True
        return len(data), False

    def _pass_prose(self, data: bytes | bytearray, at: int, events: list[Event]) -> int:
        assert self._prose is not None
        stop, is_closed = self._end_of_string(data, at)
        path = self._nesting.path
        self._take(self._prose.feed(data[at:stop], path=path, next_index=self._index), events)
        if not is_closed:
            return stop
        self._take(self._prose.close_text(self._index), events)
        self._unkept = stop
        self._state = _STRUCTURE
        return stop + 1

    def _take(self, found: Found, events: list[Event]) -> None:
        for kept in found.kept:
            self._keep(kept, 0, len(kept))
        events += found.events
        self._index = found.next_index

    def _begin_image(self, data: bytes | bytearray, at: int, events: list[Event]) -> int:
        if data[at] == _QUOTE and not self._held:
            self._state = _STRUCTURE
            return at + 1
        links_stay = self._links_stay if isinstance(self._links_stay, bool) else self._links_stay(self._nesting.path)
        if links_stay:
            beginning = self._held + bytes(data[at : at + len(_DATA) - len(self._held)])
            if not _DATA.startswith(beginning.lower()):
                # A number that somebody writes here is his: see whoever reads them.
                self._keep(self._held, 0, len(self._held))
                self._held = b""
                self._state = _TEXT
                return at
            if len(beginning) < len(_DATA):
                # It says in the next piece whether it is a link.
                self._keep(data, self._unkept, at)
                self._held, self._unkept = beginning, len(data)
                return len(data)
        if self._index >= self._images_max:
            raise WireError("too_large", f"the document holds more than {self._images_max} images")
        if self._prose is not None:
            # One at a time: a text that was to go on does not.
            events += self._prose.close()
        self._decoder = Base64Decoder()
        # All of it is what the decoder passes over.
        self._decoder.feed(self._held)
        self._held = b""
        self._image_bytes = 0
        self._keep(data, self._unkept, at)
        number = b"%d" % self._index
        self._keep(number, 0, len(number))
        events.append(ImageBegan(self._index, self._nesting.path))
        self._state = _IMAGE
        return at

    def _pass_image(self, data: bytes | bytearray, at: int, events: list[Event]) -> int:
        # An escaped quote would be taken for the end; base64 holds none, and the backslash before it is refused.
        quote = data.find(b'"', at)
        stop = len(data) if quote < 0 else quote
        text = memoryview(data)[at:stop]
        self._put(self._decoder.feed(text), events)
        if quote < 0:
            return stop
        self._put(self._decoder.finish(), events)
        events.append(ImageEnded(self._index))
        self._index += 1
        self._unkept = stop
        self._state = _STRUCTURE
        return stop + 1

    def _put(self, pieces: list[bytes], events: list[Event]) -> None:
        for piece in pieces:
            if piece:
                self._image_bytes += len(piece)
                events.append(ImageBytes(self._index, piece))
        if self._image_bytes > self._image_bytes_max:
            raise WireError("too_large", f"an image is larger than {self._image_bytes_max} bytes")

    def _keep(self, data: bytes | bytearray, start: int, stop: int) -> None:
        if len(self._skeleton) + stop - start > self._skeleton_bytes_max:
            raise WireError("too_large", f"the document is larger than {self._skeleton_bytes_max} bytes, images aside")
        self._skeleton += data[start:stop]


def _checked(skeleton: bytes) -> bytes:
    try:
        skeleton.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise WireError("encoding", "the document is not UTF-8") from exc
    try:
        msgspec.json.decode(skeleton, type=msgspec.Raw)
    except msgspec.DecodeError:
        # Text that was cut inside an emoji leaves half a surrogate pair. It is no reason to lose a picture.
        skeleton = _mended(skeleton)
    else:
        return skeleton
    try:
        msgspec.json.decode(skeleton, type=msgspec.Raw)
    except msgspec.DecodeError as exc:
        raise WireError("json", "the document is not valid JSON") from exc
    return skeleton


def _mended(raw: bytes) -> bytes:
    return _ESCAPES.sub(lambda match: match.group(1) or rb"\ufffd", raw)
