"""Server-sent events, read in pieces and written as templates.

Pure: no I/O, clock or randomness. An image comes as one `data:` line of 27 MB, on which readers that buffer lines
break; here the data of an event is passed on as it arrives, and only the short lines are held.

Source: WHATWG HTML, "Server-sent events", §9.2.6; line ends are LF, CRLF or CR.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from holdfast.wire.errors import WireError
from holdfast.wire.template import Slot, Template

_LINE_BYTES_MAX = 65_536
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class SseName:
    """The event that is being read has this name (`event:`)."""

    name: str


@dataclass(frozen=True, slots=True)
class SseData:
    """The next bytes of the event's data; a line feed stands between two `data:` lines."""

    data: bytes


@dataclass(frozen=True, slots=True)
class SseDispatch:
    """The event that had data is over."""


SseEvent = SseName | SseData | SseDispatch


class _State(Enum):
    FIELD = auto()
    """In a line's field name, or in the value of a field that is held until the line ends."""
    DATA_BEGINS = auto()
    """After `data:`, where one space is dropped."""
    DATA = auto()
    IGNORED = auto()
    """In a comment, or in a field that says nothing to us."""


class SseReader:
    """Reads an event stream that arrives in pieces cut anywhere.

    Blank lines that end no event (heartbeats) and comments are dropped. An event without data is none, named or not.
    """

    def __init__(self, *, line_bytes_max: int = _LINE_BYTES_MAX) -> None:
        self._line_bytes_max = line_bytes_max
        self._state = _State.FIELD
        self._line = bytearray()
        self._is_after_cr = False
        self._has_data = False
        self._is_at_start = True

    def __repr__(self) -> str:
        return f"<SseReader {self._state.name.lower()} in_event={self._has_data}>"

    @property
    def is_between_events(self) -> bool:
        """Nothing has begun that would be lost if the stream ended here."""
        return not self._has_data and self._state is _State.FIELD and not self._line

    def feed(self, chunk: bytes | bytearray | memoryview) -> list[SseEvent]:
        """Take the next bytes of the stream; return what became known.

        Raises:
            WireError: `too_large`, a line that must be held exceeds the bound.
        """
        data = chunk if isinstance(chunk, bytes) else bytes(chunk)
        events: list[SseEvent] = []
        at, end = 0, len(data)
        # The two ends of line are looked for again only once they have been passed: a data line is scanned once.
        line_feed = carriage_return = -1
        while at < end:
            if self._is_after_cr:
                self._is_after_cr = False
                if data[at] == 0x0A:
                    at += 1
                    continue
            if line_feed < at:
                line_feed = _found(data, b"\n", at)
            if carriage_return < at:
                carriage_return = _found(data, b"\r", at)
            stop = min(line_feed, carriage_return)
            if self._state is _State.FIELD:
                at = self._take_field(data, at, stop)
            if at < stop:
                self._take_value(data, at, stop, events)
            if stop < end:
                self._end_line(events)
                self._is_after_cr = data[stop] == 0x0D
            at = stop + 1
        return events

    def finish(self) -> list[SseEvent]:
        """Say that the stream has ended: an event whose blank line is missing is dispatched all the same."""
        events: list[SseEvent] = []
        if self._state is not _State.FIELD or self._line:
            self._end_line(events)
        if self._has_data:
            self._end_line(events)
        return events

    def _take_field(self, data: bytes, at: int, stop: int) -> int:
        # Holds the line up to its colon; the rest of `data:` and of comments is not held.
        colon = data.find(b":", at, stop)
        upto = stop if colon < 0 else colon + 1
        if len(self._line) + upto - at > self._line_bytes_max:
            raise WireError("too_large", f"a line of the event stream is longer than {self._line_bytes_max} bytes")
        self._line += data[at:upto]
        if self._is_at_start and len(self._line) >= len(_BOM):
            self._is_at_start = False
            if self._line.startswith(_BOM):
                del self._line[: len(_BOM)]
        if colon < 0:
            return stop
        if self._line == b"data:":
            self._begin_data()
        elif self._line == b"event:":
            pass
        elif self._line.find(b":") == len(self._line) - 1:
            self._state = _State.IGNORED
        return upto

    def _begin_data(self) -> None:
        self._state = _State.DATA_BEGINS
        self._line.clear()

    def _take_value(self, data: bytes, at: int, stop: int, events: list[SseEvent]) -> None:
        match self._state:
            case _State.FIELD:
                if len(self._line) + stop - at > self._line_bytes_max:
                    raise WireError("too_large", f"an event's name is longer than {self._line_bytes_max} bytes")
                self._line += data[at:stop]
            case _State.DATA_BEGINS | _State.DATA:
                if self._state is _State.DATA_BEGINS:
                    self._state = _State.DATA
                    if self._has_data:
                        events.append(SseData(b"\n"))
                    self._has_data = True
                    if data[at] == 0x20:
                        at += 1
                if at < stop:
                    events.append(SseData(data if at == 0 and stop == len(data) else data[at:stop]))
            case _State.IGNORED:
                pass

    def _end_line(self, events: list[SseEvent]) -> None:
        state, self._state = self._state, _State.FIELD
        line = bytes(self._line)
        self._line.clear()
        self._is_at_start = False
        if state is _State.DATA_BEGINS or (state is _State.FIELD and line == b"data"):
            # An empty data line: nothing but, perhaps, the line feed before it.
            if self._has_data:
                events.append(SseData(b"\n"))
            self._has_data = True
        elif state is _State.FIELD and line.startswith(b"event:"):
            name = line[6:].removeprefix(b" ")
            events.append(SseName(name.decode("utf-8", "replace")))
        elif state is _State.FIELD and not line and self._has_data:
            self._has_data = False
            events.append(SseDispatch())


def _found(data: bytes, wanted: bytes, at: int) -> int:
    found = data.find(wanted, at)
    return len(data) if found < 0 else found


def event_of(template: Template, *, name: str | None = None, crlf: bool = False, id: str | None = None) -> Template:
    """Make one event of a JSON document.

    Line breaks outside the document's strings (there are none inside) become spaces, so that the data is one line.

    Args:
        template: The document.
        name: The event's name; Gemini's streams have none.
        crlf: End lines as Gemini does.
        id: For resuming with `Last-Event-ID`.
    """
    end = b"\r\n" if crlf else b"\n"
    head = b""
    if id is not None:
        head += b"id: " + id.encode() + end
    if name is not None:
        head += b"event: " + name.encode() + end
    parts: list[bytes | Slot] = [head + b"data: "]
    for part in template:
        if isinstance(part, Slot):
            parts.append(part)
        elif isinstance(parts[-1], bytes):
            parts[-1] += _on_one_line(part)
        else:
            parts.append(_on_one_line(part))
    if isinstance(parts[-1], bytes):
        parts[-1] += end + end
    else:
        parts.append(end + end)
    return tuple(parts)


def _on_one_line(text: bytes) -> bytes:
    return text.replace(b"\r", b" ").replace(b"\n", b" ")
