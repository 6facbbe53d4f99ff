"""Readers give the same whatever kind of memory their pieces lie in, and keep none of it.

The transport's buffers are bytearrays that the next body is read into as soon as `feed` has returned.
"""

from __future__ import annotations

import base64
import json
from itertools import pairwise
from typing import Any, Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.wire.base64_stream import Base64Decoder
from holdfast.wire.gemini import GenerateReader, GenerateStreamReader
from holdfast.wire.openai import ImagesReader, ImagesStreamReader
from holdfast.wire.scan import ImageBytes, JsonReader
from holdfast.wire.sse import SseReader
from holdfast.wire.stream import StreamDocuments

KINDS = ["bytearray", "memoryview", "part"]


class Reads(Protocol):
    """What all readers can do."""

    def feed(self, chunk: Any) -> list[Any]:
        """Take a piece."""

    def finish(self) -> Any:
        """End."""


def told(reader: Reads, pieces: list[bytes]) -> tuple[list[Any], Any]:
    """Events, images joined, and the end of a reading from plain bytes."""
    events: list[Any] = []
    for piece in pieces:
        events += reader.feed(piece)
    return joined(events), reader.finish()


def told_of_spoiled(reader: Reads, pieces: list[bytes], kind: str) -> tuple[list[Any], Any]:
    """The same from memory of another kind, which is overwritten as soon as a piece has been taken."""
    events: list[Any] = []
    for piece in pieces:
        memory = bytearray(piece)
        match kind:
            case "bytearray":
                events += reader.feed(memory)
            case "memoryview":
                events += reader.feed(memoryview(memory))
            case _:
                # As from a buffer that was not full.
                memory += b"left over"
                events += reader.feed(memoryview(memory)[: len(piece)])
        memory[:] = b'"' * len(memory)
    return joined(events), reader.finish()


def joined(events: list[Any]) -> list[Any]:
    """Take the image bytes of one image together: where they are cut is nobody's business."""
    out: list[Any] = []
    for event in events:
        if isinstance(event, ImageBytes) and out and isinstance(out[-1], ImageBytes) and out[-1].index == event.index:
            out[-1] = ImageBytes(event.index, out[-1].data + event.data)
        else:
            out.append(event)
    return out


def cut(text: bytes, at: list[int]) -> list[bytes]:
    """Cut a text at these places."""
    places = sorted({0, len(text), *(place % (len(text) + 1) for place in at)})
    return [text[start:end] for start, end in pairwise(places)]


images = st.binary(min_size=1, max_size=60).map(lambda data: base64.b64encode(data).decode())
texts = st.text(max_size=20)
gemini = st.builds(
    lambda parts: {"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}]},
    st.lists(
        st.one_of(
            texts.map(lambda text: {"text": text}),
            images.map(lambda data: {"inlineData": {"mimeType": "image/png", "data": data}}),
        ),
        max_size=4,
    ),
)
openai = st.builds(
    lambda data, more: {"created": 1, "data": [{"b64_json": image} for image in data], "note": more},
    st.lists(images, max_size=3),
    texts,
)
cuts = st.lists(st.integers(0, 1 << 16), max_size=12)
escaped = st.booleans()


def dumped(document: Any, *, is_escaped: bool) -> bytes:
    """Write JSON as PHP does, or as everybody else."""
    text = json.dumps(document, ensure_ascii=is_escaped).encode()
    return text.replace(b"/", b"\\/") if is_escaped else text


@pytest.mark.parametrize("kind", KINDS)
@given(document=openai, is_escaped=escaped, at=cuts)
def test_json(kind: str, document: Any, is_escaped: bool, at: list[int]) -> None:
    """The scanner below them all."""

    def reader() -> JsonReader:
        return JsonReader(lambda path: path == ("data", "b64_json"))

    pieces = cut(dumped(document, is_escaped=is_escaped), at)
    assert told_of_spoiled(reader(), pieces, kind) == told(reader(), pieces)


@pytest.mark.parametrize("kind", KINDS)
@given(document=openai, is_escaped=escaped, at=cuts)
def test_openais_answer(kind: str, document: Any, is_escaped: bool, at: list[int]) -> None:
    """Images, and what was said beside them."""
    pieces = cut(dumped(document, is_escaped=is_escaped), at)
    assert told_of_spoiled(ImagesReader(), pieces, kind) == told(ImagesReader(), pieces)


@pytest.mark.parametrize("kind", KINDS)
@given(document=gemini, is_escaped=escaped, at=cuts)
def test_geminis_answer(kind: str, document: Any, is_escaped: bool, at: list[int]) -> None:
    """Likewise."""
    pieces = cut(dumped(document, is_escaped=is_escaped), at)
    assert told_of_spoiled(GenerateReader(), pieces, kind) == told(GenerateReader(), pieces)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.binary(max_size=120), at=cuts, way=st.sampled_from(["standard", "url", "breaks", "prefix", "bare"]))
def test_base64(kind: str, data: bytes, at: list[int], way: str) -> None:
    """In each of the ways in which people write it."""
    text = base64.urlsafe_b64encode(data) if way == "url" else base64.b64encode(data)
    match way:
        case "breaks":
            text = b"\\n".join(text[at : at + 19] for at in range(0, len(text), 19))
        case "prefix":
            text = b"data:image/png;base64," + text
        case "bare":
            text = text.rstrip(b"=")
    pieces = cut(text, at)
    decoded, rest = told_of_spoiled(Base64Decoder(), pieces, kind)
    assert b"".join([*decoded, *rest]) == data


def streamed(events: list[tuple[str, Any]], *, is_escaped: bool) -> bytes:
    """Write an event stream."""
    return b"".join(
        b"event: %b\ndata: %b\n\n" % (name.encode(), dumped(document, is_escaped=is_escaped))
        for name, document in events
    )


@pytest.mark.parametrize("kind", KINDS)
@given(documents=st.lists(gemini, min_size=1, max_size=3), is_escaped=escaped, at=cuts)
def test_streams(kind: str, documents: list[Any], is_escaped: bool, at: list[int]) -> None:
    """Events, their documents, and the answer that Gemini's make together."""

    def is_image(path: tuple[str, ...]) -> bool:
        return path[-2:] == ("inlineData", "data")

    pieces = cut(streamed([("message", document) for document in documents], is_escaped=is_escaped), at)
    assert told_of_spoiled(SseReader(), pieces, kind) == told(SseReader(), pieces)
    assert told_of_spoiled(StreamDocuments(is_image), pieces, kind) == told(StreamDocuments(is_image), pieces)
    assert told_of_spoiled(GenerateStreamReader(), pieces, kind) == told(GenerateStreamReader(), pieces)


@pytest.mark.parametrize("kind", KINDS)
@given(previews=st.lists(images, max_size=2), final=images, is_escaped=escaped, at=cuts)
def test_openais_stream(kind: str, previews: list[str], final: str, is_escaped: bool, at: list[int]) -> None:
    """Previews and the picture."""
    events = [(f"image_generation.{name}", image) for name, image in [*(("partial_image", p) for p in previews)]]
    events.append(("image_generation.completed", final))
    body = streamed([(name, {"type": name, "b64_json": image}) for name, image in events], is_escaped=is_escaped)
    pieces = cut(body, at)
    assert told_of_spoiled(ImagesStreamReader(), pieces, kind) == told(ImagesStreamReader(), pieces)
