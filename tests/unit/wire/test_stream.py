"""Documents of an event stream, images numbered through."""

from __future__ import annotations

import pytest

from holdfast.wire.errors import WireError
from holdfast.wire.scan import Event, ImageBegan, ImageBytes, ImageEnded
from holdfast.wire.stream import Document, StreamDocuments


def is_image(path: tuple[str, ...]) -> bool:
    """The path used throughout."""
    return path == ("b64",)


def read(stream: bytes, *, step: int = 1 << 20, documents: StreamDocuments | None = None) -> list[Event | Document]:
    """Read a stream in pieces, data of one image joined."""
    documents = documents or StreamDocuments(is_image)
    events: list[Event | Document] = []
    for at in range(0, len(stream), step):
        events += documents.feed(stream[at : at + step])
    events += documents.finish()
    out: list[Event | Document] = []
    for event in events:
        if isinstance(event, ImageBytes) and isinstance(out[-1], ImageBytes):
            out[-1] = ImageBytes(event.index, out[-1].data + event.data)
        else:
            out.append(event)
    return out


STREAM = b'event: a\ndata: {"b64":"QUJD"}\n\n\n: beat\n\ndata: {"t":1}\r\n\r\n'
STREAM += b'event: b\ndata: {"b64":"REVG"}\n\ndata: [DONE]\n\n'


@pytest.mark.parametrize("step", [1, 2, 3, 5, 1000])
def test_documents_and_images_come_in_order(step: int) -> None:
    """Numbers run on from document to document."""
    assert read(STREAM, step=step) == [
        ImageBegan(0, ("b64",)),
        ImageBytes(0, b"ABC"),
        ImageEnded(0),
        Document("a", b'{"b64":"0"}'),
        Document("", b'{"t":1}'),
        ImageBegan(1, ("b64",)),
        ImageBytes(1, b"DEF"),
        ImageEnded(1),
        Document("b", b'{"b64":"1"}'),
    ]


@pytest.mark.parametrize("data", [b"[DONE]", b" [DONE] ", b"", b" "])
@pytest.mark.parametrize("step", [1, 1000])
def test_done_and_empty_data_are_passed_over(data: bytes, step: int) -> None:
    """Some relays end every dialect's stream with `[DONE]`."""
    assert read(b"data: " + data + b"\n\n", step=step) == []


@pytest.mark.parametrize("data", [b"[DONE", b"[", b"[D", b"hello", b"[DONE]x", b"{", b'{"b64":"QUJD'])
@pytest.mark.parametrize("step", [1, 1000])
def test_data_that_is_no_document_is_refused(data: bytes, step: int) -> None:
    """An event that was cut, too."""
    with pytest.raises(WireError) as raised:
        read(b"data: " + data + b"\n\n", step=step)
    assert raised.value.code == "json"


def test_an_array_that_begins_like_done_is_a_document() -> None:
    """The beginning is held, not lost."""
    assert read(b"data: [1]\n\n", step=1) == [Document("", b"[1]")]


def test_data_of_nothing_but_blanks_is_bounded() -> None:
    """What is held has a limit."""
    documents = StreamDocuments(is_image)
    with pytest.raises(WireError):
        documents.feed(b"data: " + b" " * 2000)


def test_a_stream_cut_inside_an_event_is_refused() -> None:
    """Its document has not closed."""
    with pytest.raises(WireError):
        read(b'data: {"a":1')


def test_a_stream_that_lacks_its_last_blank_line_counts() -> None:
    """Its document has closed."""
    assert read(b'data: {"a":1}') == [Document("", b'{"a":1}')]


def test_all_documents_share_one_bound() -> None:
    """A stream of small events is no way around it."""
    documents = StreamDocuments(is_image, skeleton_bytes_max=100)
    with pytest.raises(WireError) as raised:
        documents.feed(b'data: {"a":1}\n\n' * 20)
    assert raised.value.code == "too_large"


def test_all_images_share_one_bound() -> None:
    """Their number is counted over all documents."""
    documents = StreamDocuments(is_image, images_max=2)
    with pytest.raises(WireError):
        documents.feed(b'data: {"b64":"QUJD"}\n\n' * 3)


def test_each_image_is_bounded() -> None:
    """As in a plain document."""
    documents = StreamDocuments(is_image, image_bytes_max=2)
    with pytest.raises(WireError):
        documents.feed(b'data: {"b64":"QUJD"}\n\n')


def test_a_preview_is_known_by_its_event_or_its_document() -> None:
    """The caller's test sees the name and what came before the image."""
    seen: list[tuple[str, bytes]] = []

    def is_partial(name: str, skeleton: bytes) -> bool:
        seen.append((name, skeleton))
        return name == "p"

    documents = StreamDocuments(is_image, is_partial=is_partial)
    events = documents.feed(b'event: p\ndata: {"b64":"QUJD"}\n\nevent: c\ndata: {"t":1,"b64":"QUJD"}\n\n')
    assert [event.partial for event in events if isinstance(event, ImageBegan)] == [True, False]
    assert [name for name, _ in seen] == ["p", "c"]
    assert seen[1][1].startswith(b'{"t":1,')


def test_it_is_between_documents_only_when_nothing_has_begun() -> None:
    """A missing end of the transfer is survivable then."""
    documents = StreamDocuments(is_image)
    assert documents.is_between_documents
    documents.feed(b'data: {"a":1}')
    assert not documents.is_between_documents
    documents.feed(b"\n\n")
    assert documents.is_between_documents
