"""Event streams written with any line ends and cut anywhere give the same events."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.wire.scan import ImageBytes
from holdfast.wire.sse import SseData, SseDispatch, SseEvent, SseName, SseReader, event_of
from holdfast.wire.stream import Document, StreamDocuments
from holdfast.wire.template import Slot, filled

NAMES = st.none() | st.text(
    alphabet=st.characters(exclude_characters="\r\n\0", exclude_categories=("Cs",)), min_size=1, max_size=8
)
LINES = st.lists(st.binary(max_size=12).filter(lambda line: not set(line) & {10, 13}), min_size=1, max_size=3)
NOISE = st.sampled_from([b"", b": beat\n", b"\n", b"\r\n", b"id: 5\n", b"retry: 10\r\n", b"foo\n"])


def read(stream: bytes, borders: list[int]) -> list[SseEvent]:
    """Read in pieces; data of neighbouring events joined."""
    reader = SseReader()
    events = [event for start, stop in pairwise(borders) for event in reader.feed(stream[start:stop])]
    out: list[SseEvent] = []
    for event in events + reader.finish():
        if isinstance(event, SseData) and out and isinstance(out[-1], SseData):
            out[-1] = SseData(out[-1].data + event.data)
        else:
            out.append(event)
    return out


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.tuples(NAMES, LINES, NOISE), max_size=4),
    st.sampled_from([b"\n", b"\r\n", b"\r"]),
    st.booleans(),
    st.lists(st.integers(0, 300), max_size=8),
)
def test_streams_are_read_as_they_were_written(
    events: list[tuple[str | None, list[bytes], bytes]], end: bytes, spaced: bool, cuts: list[int]
) -> None:
    """Line ends, spaces, noise, borders: none of them matters."""
    stream = b""
    expected: list[SseEvent] = []
    for name, lines, noise in events:
        stream += noise
        if name is not None:
            stream += b"event:" + b" " + name.encode() + end
            expected.append(SseName(name))
        stream += (
            b"".join(b"data:" + (b" " if spaced or line[:1] == b" " else b"") + line + end for line in lines) + end
        )
        text = b"\n".join(lines)
        if text:
            expected.append(SseData(text))
        expected.append(SseDispatch())
    whole = read(stream, [0, len(stream)])
    assert whole == expected
    assert read(stream, sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})) == expected
    assert read(stream, list(range(len(stream) + 1))) == expected


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.sampled_from([b"data", b":", b" ", b"\n", b"\r", b"event", b"x", b"\xef\xbb\xbf"]), max_size=30),
    st.integers(0, 90),
)
def test_arbitrary_streams_are_read_alike_wherever_they_are_cut(tokens: list[bytes], cut: int) -> None:
    """No border makes or loses an event."""
    stream = b"".join(tokens)
    cut = min(cut, len(stream))
    assert read(stream, sorted({0, cut, len(stream)})) == read(stream, [0, len(stream)] if stream else [0])


@settings(deadline=None, max_examples=200)
@given(st.lists(st.binary(min_size=1, max_size=40), max_size=4), st.booleans(), st.integers(1, 50))
def test_documents_written_as_events_are_read_back(images: list[bytes], crlf: bool, step: int) -> None:
    """decode(encode(x)) == x for a stream of images."""
    stream = b"".join(
        filled(event_of((b'{"b64":"', Slot(index), b'"}'), name="e", crlf=crlf), dict(enumerate(images)))
        for index in range(len(images))
    )
    documents = StreamDocuments(lambda path: path == ("b64",))
    data: dict[int, bytes] = {}
    skeletons: list[bytes] = []
    events = [event for at in range(0, len(stream), step) for event in documents.feed(stream[at : at + step])]
    for event in events + documents.finish():
        if isinstance(event, ImageBytes):
            data[event.index] = data.get(event.index, b"") + event.data
        elif isinstance(event, Document):
            assert event.name == "e"
            skeletons.append(event.skeleton)
    assert list(data.values()) == images
    assert skeletons == [b'{"b64":"%d"}' % index for index in range(len(images))]
