"""Event streams, read in pieces of any size, and written."""

from __future__ import annotations

import pytest

from holdfast.wire.errors import WireError
from holdfast.wire.sse import SseData, SseDispatch, SseEvent, SseName, SseReader, event_of
from holdfast.wire.template import Slot, filled


def read(stream: bytes, *, step: int = 1 << 20, finish: bool = True) -> list[SseEvent]:
    """Read a stream in pieces; data of neighbouring events joined."""
    reader = SseReader()
    events: list[SseEvent] = []
    for at in range(0, len(stream), step):
        events += reader.feed(stream[at : at + step])
    if finish:
        events += reader.finish()
    out: list[SseEvent] = []
    for event in events:
        if isinstance(event, SseData) and out and isinstance(out[-1], SseData):
            out[-1] = SseData(out[-1].data + event.data)
        else:
            out.append(event)
    return out


def both(stream: bytes) -> list[SseEvent]:
    """Read whole and byte by byte: the same must come out."""
    whole = read(stream)
    for step in (1, 2, 3, 7):
        assert read(stream, step=step) == whole
    return whole


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_all_line_ends_are_read(end: bytes) -> None:
    """Gemini ends lines with CRLF, OpenAI with LF, the standard allows CR."""
    stream = b"event: a" + end + b"data: 1" + end + end + b"data: 2" + end + end
    assert both(stream) == [SseName("a"), SseData(b"1"), SseDispatch(), SseData(b"2"), SseDispatch()]


def test_line_ends_may_be_mixed() -> None:
    """A proxy may append its own."""
    assert both(b"data: 1\r\n\ndata: 2\n\r\n") == [SseData(b"1"), SseDispatch(), SseData(b"2"), SseDispatch()]


def test_one_space_after_the_colon_is_dropped_and_none_is_needed() -> None:
    """Relays write `data:{...}`."""
    assert both(b"data:1\n\ndata:  2\n\n") == [SseData(b"1"), SseDispatch(), SseData(b" 2"), SseDispatch()]


def test_data_on_several_lines_is_joined_by_line_feeds() -> None:
    """As the standard says; JSON takes them for white space."""
    assert both(b"data: {\ndata: }\r\ndata:\ndata: x\n\n") == [SseData(b"{\n}\n\nx"), SseDispatch()]


def test_blank_lines_are_heartbeats() -> None:
    """Ours, and anybody's."""
    assert both(b"\n\n\r\n\rdata: 1\n\n\n\n\n") == [SseData(b"1"), SseDispatch()]


@pytest.mark.parametrize(
    "line", [b": ka", b":", b": data: x", b"id: 7", b"retry: 2000", b"foo: bar", b"foo", b"datax: 1"]
)
def test_comments_and_other_fields_say_nothing(line: bytes) -> None:
    """They are dropped, before and within an event."""
    assert both(line + b"\n\ndata: 1\n" + line + b"\n\n") == [SseData(b"1"), SseDispatch()]


def test_a_comment_may_be_endless() -> None:
    """What is dropped is not held."""
    reader = SseReader(line_bytes_max=100)
    for _ in range(50):
        assert reader.feed(b": " + b"x" * 100) == []


def test_a_name_without_data_is_no_event() -> None:
    """Only its name is told."""
    assert both(b"event: ping\n\n") == [SseName("ping")]


def test_a_name_may_hold_colons_and_any_text() -> None:
    """Only the first colon separates."""
    assert both("event: a:b:é\ndata: 1\n\n".encode()) == [SseName("a:b:é"), SseData(b"1"), SseDispatch()]


def test_an_empty_data_line_is_an_event() -> None:
    """`data` and `data:` alone count as empty data."""
    assert both(b"data\n\n") == [SseDispatch()]
    assert both(b"data:\n\n") == [SseDispatch()]
    assert both(b"data: \n\n") == [SseDispatch()]


def test_done_is_data_like_any_other() -> None:
    """What it means is the reader's user's business."""
    assert both(b"data: [DONE]\n\n") == [SseData(b"[DONE]"), SseDispatch()]


def test_a_byte_order_mark_is_skipped() -> None:
    """At the very start only."""
    assert both(b"\xef\xbb\xbfdata: 1\n\n") == [SseData(b"1"), SseDispatch()]
    assert both(b"\n\xef\xbb\xbfdata: 1\n\n") == []


def test_a_missing_last_blank_line_is_forgiven() -> None:
    """The stream's end ends the event; its JSON tells whether it was cut."""
    assert both(b"data: 1") == [SseData(b"1"), SseDispatch()]
    assert both(b"data: 1\r") == [SseData(b"1"), SseDispatch()]
    assert both(b"event: x") == [SseName("x")]
    assert both(b"") == []


def test_data_is_passed_on_without_waiting_for_the_line_to_end() -> None:
    """A line of 27 MB is never held."""
    reader = SseReader(line_bytes_max=16)
    reader.feed(b"data: ")
    for _ in range(100):
        assert reader.feed(b"x" * 1000) == [SseData(b"x" * 1000)]
    assert not reader.is_between_events
    assert reader.feed(b"\n\n") == [SseDispatch()]
    assert reader.is_between_events


def test_a_piece_of_data_is_not_copied() -> None:
    """The very bytes that came are handed on."""
    reader = SseReader()
    reader.feed(b"data: ")
    piece = b"x" * 1000
    (event,) = reader.feed(piece)
    assert isinstance(event, SseData)
    assert event.data is piece


@pytest.mark.parametrize("line", [b"event: " + b"x" * 200, b"x" * 200, b"event: " + b":" * 200])
def test_lines_that_are_held_are_bounded(line: bytes) -> None:
    """Names are short."""
    for step in (1, 50, 1000):
        reader = SseReader(line_bytes_max=100)
        with pytest.raises(WireError) as raised:
            for at in range(0, len(line), step):
                reader.feed(line[at : at + step])
        assert raised.value.code == "too_large"


def test_the_reader_tells_where_it_stands() -> None:
    """A status line."""
    reader = SseReader()
    reader.feed(bytearray(b"data: 1"))
    assert repr(reader) == "<SseReader data in_event=True>"


def test_an_event_is_written_with_its_name() -> None:
    """OpenAI's form."""
    assert event_of((b'{"a":1}',), name="x.completed") == (b'event: x.completed\ndata: {"a":1}\n\n',)


def test_an_event_without_a_name_ends_with_crlf_when_asked() -> None:
    """Gemini's form."""
    assert event_of((b"{}",), crlf=True) == (b"data: {}\r\n\r\n",)


def test_an_event_may_carry_an_id() -> None:
    """For resuming."""
    assert event_of((b"{}",), name="n", id="7") == (b"id: 7\nevent: n\ndata: {}\n\n",)


def test_a_document_on_several_lines_becomes_one() -> None:
    """A pretty-printed answer of an upstream would end the event too soon."""
    event = event_of((b'{\r\n "a":"', Slot(0), b'"\n}'))
    assert event == (b'data: {   "a":"', Slot(0), b'" }\n\n')
    assert read(filled(event, {0: b"A"})) == [SseData(b'{   "a":"QQ==" }'), SseDispatch()]


def test_an_event_may_end_in_a_slot() -> None:
    """The end of the line is then a part of its own."""
    assert event_of((Slot(0), Slot(1))) == (b"data: ", Slot(0), Slot(1), b"\n\n")
