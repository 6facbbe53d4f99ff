"""Whether an answer is whole, however it is cut into pieces."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.client.whole import HEAD_BYTES, Document, EventEnd, Events, Piece

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(st.text(max_size=8), VALUES, max_size=5) | st.lists(VALUES, max_size=5)


def cut(data: bytes, borders: list[int]) -> list[bytes]:
    """Cut bytes at borders that lie anywhere."""
    at = sorted({0, len(data), *(border % (len(data) + 1) for border in borders)})
    return [data[start:end] for start, end in itertools.pairwise(at)]


def read(pieces: list[bytes]) -> tuple[Document, bytes]:
    """Feed them all; give what is kept."""
    document = Document()
    return document, b"".join(document.feed(piece) for piece in pieces)


@given(DOCUMENTS, st.lists(st.integers(0, 400), max_size=6), st.booleans(), st.integers(0, 3))
def test_a_document_is_whole_at_its_last_bracket(value: object, borders: list[int], ascii_: bool, beats: int) -> None:
    """Whatever its strings hold, and wherever it is cut into pieces; beats before it are left out."""
    text = json.dumps(value, ensure_ascii=ascii_).encode("utf-8", "surrogatepass")
    document, kept = read(cut(b"\n" * beats + text + b"\n", borders))
    assert document.is_whole
    assert not document.has_more
    assert kept == text + b"\n"
    shorter, _ = read(cut(text[:-1], borders))
    assert not shorter.is_whole


def test_every_prefix_of_an_answer_is_not_whole() -> None:
    """Also one that ends behind a bracket, or inside an escape."""
    text = b'{"data": [{"b64_json": "AAAA"}, {"url": "a\\"}b\\\\"}], "usage": {"n": 1}}'
    assert [at for at in range(len(text) + 1) if read([text[:at]])[0].is_whole] == [len(text)]


def test_what_stands_behind_a_document_is_noticed() -> None:
    """Blanks are nothing; a line of text is a failure told late."""
    assert not read([b"{} \r\n\t"])[0].has_more
    assert read([b"{}\n", b"holdfast: failed"])[0].has_more


@pytest.mark.parametrize(
    ("body", "is_late"),
    [
        (b"\n\nholdfast: generation gen_1 failed: overloaded: no\n", True),
        (b'\n{"error": {"code": "overloaded"}}', True),
        (b'{"error":{"code":"x"}}', True),
        (b'{"data": []}', False),
        (b'[{"error": 1}]', False),
        (b'{"errors": []}', False),
        (b"\n\n", False),
        (b"", False),
    ],
)
def test_a_failure_inside_a_200_is_told_from_an_answer(body: bytes, is_late: bool) -> None:
    """By how it begins: with text, or with an error alone. Beats and nothing else are a cut."""
    document, _ = read([body])
    assert document.is_late_failure is is_late


def test_a_document_costs_no_memory() -> None:
    """What is remembered of 4 MB is its beginning."""
    document = Document()
    for piece in (b'{"b64_json": "', *[b"A" * 65_536] * 64, b'"}'):
        document.feed(piece)
    assert document.is_whole
    assert len(document.head) == HEAD_BYTES


def events(pieces: list[bytes]) -> tuple[Events, list[tuple[bytes, EventEnd]], bytes]:
    """Feed a stream; give its whole events, and what has come of one more."""
    stream, whole, current = Events(), [], b""
    for piece in pieces:
        for part in stream.feed(piece):
            if isinstance(part, Piece):
                current += part.data
            else:
                whole.append((current, part))
                current = b""
    return stream, whole, current


TEXTS = st.text(st.characters(blacklist_characters="\r\n", blacklist_categories=("Cs",)), min_size=1, max_size=30)


@given(
    st.lists(st.lists(TEXTS, min_size=1, max_size=3), max_size=4),
    st.sampled_from([b"\n", b"\r\n"]),
    st.lists(st.integers(0, 600), max_size=8),
    st.integers(0, 2),
)
def test_a_stream_is_cut_at_its_events(texts: list[list[str]], end: bytes, borders: list[int], beats: int) -> None:
    """Every event is given whole with its blank line, beats between them are left out."""
    written = [b"".join(b"data: " + line.encode() + end for line in lines) + end for lines in texts]
    stream, whole, rest = events(cut(b"".join(end * beats + each for each in written), borders))
    assert [data for data, _ in whole] == written
    assert rest == b""
    assert stream.is_between


def test_an_event_without_its_blank_line_has_not_ended() -> None:
    """It is what a cut leaves, and is not handed on."""
    stream, whole, rest = events([b"event: a\ndata: 1\n\n", b"event: b\ndata: 2\n"])
    assert [data for data, _ in whole] == [b"event: a\ndata: 1\n\n"]
    assert rest == b"event: b\ndata: 2\n"
    assert not stream.is_between


@pytest.mark.parametrize(
    ("event", "is_partial", "is_error"),
    [
        (b'event: image_generation.partial_image\ndata: {"b64_json": "AA"}\n\n', True, False),
        (b'event: image_edit.partial_image\r\ndata: {"b64_json": "AA"}\r\n\r\n', True, False),
        (b'event: image_generation.completed\ndata: {"b64_json": "AA"}\n\n', False, False),
        (b'data: {"candidates": []}\r\n\r\n', False, False),
        (b'event: error\ndata: {"error": {"code": "overloaded"}}\n\n', False, True),
        (b'data: {"error": {"code": 503}}\r\n\r\n', False, True),
    ],
)
def test_an_event_is_known_by_its_beginning(event: bytes, is_partial: bool, is_error: bool) -> None:
    """A preview is not repeated, a failure is none of the images."""
    for borders in ([], [1], [7, 20], [len(event) - 1]):
        _, whole, _ = events(cut(event, borders))
        assert whole == [(event, EventEnd(is_partial, is_error))]
