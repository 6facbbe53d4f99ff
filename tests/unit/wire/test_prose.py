"""Pictures in prose: found wherever they stand in a text, however it is cut, and nothing else is taken for one."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from holdfast.wire.errors import EndsEarly, WireError
from holdfast.wire.prose import Prose
from holdfast.wire.scan import Event, ImageBegan, ImageBytes, ImageEnded, JsonReader

STEPS = (1, 2, 3, 7, 64, 1 << 20)
RAW = bytes(range(256)) * 3
TEXT = base64.b64encode(RAW).decode()
URL = f"data:image/png;base64,{TEXT}"


def reader_of(**bounds: Any) -> JsonReader:
    """Read a document whose `text` is prose."""
    return JsonReader(lambda path: path == ("image",), prose=Prose(lambda path: path == ("text",), **bounds))


def read(body: str | bytes, step: int = 1 << 20, **bounds: Any) -> tuple[dict[int, bytes], Any, list[Event]]:
    """Feed it in pieces; give images by number, the skeleton, and all events."""
    data = body.encode() if isinstance(body, str) else body
    reader = reader_of(**bounds)
    events: list[Event] = []
    for at in range(0, len(data), step):
        events += reader.feed(data[at : at + step])
    images: dict[int, bytes] = {}
    for event in events:
        if isinstance(event, ImageBytes):
            images[event.index] = images.get(event.index, b"") + event.data
    return images, json.loads(reader.finish()), events


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    ("before", "behind"),
    [
        ("![image](", ")"),
        ('Here it is:\n\n![a "lighthouse"](', ") Do you like it?"),
        ("<img src='", "'>"),
        ("", ""),
        ("", "\n\nDone."),
        ("図：", "。終わり"),
        ("d da dat data data: data:text/plain,x ![i](", ")"),
        ("é 🌊 \\ \u0000 [", "](x)"),
    ],
)
def test_a_picture_is_found_wherever_it_stands(before: str, behind: str, step: int) -> None:
    """What is around it stays as it was, and its number stands in its place."""
    for is_escaped in (True, False):
        body = json.dumps({"text": before + URL + behind, "n": 1}, ensure_ascii=is_escaped)
        images, document, events = read(body, step)
        check_one(images, document, events, f"{before}data:image/png;base64,0{behind}")


def check_one(images: dict[int, bytes], document: Any, events: list[Event], text: str) -> None:
    """One picture, and the text around it."""
    assert images == {0: RAW}
    assert document == {"text": text, "n": 1}
    assert isinstance(events[0], ImageBegan)
    assert events[0].path == ("text",)
    assert events[-1] == ImageEnded(0)


@pytest.mark.parametrize("step", STEPS)
def test_several_pictures_are_numbered_through_with_those_in_strings_of_their_own(step: int) -> None:
    """One count for the whole document."""
    body = json.dumps({"text": f"![]({URL}) ![]({URL})", "image": TEXT})
    images, document, _ = read(body, step)
    assert images == {0: RAW, 1: RAW, 2: RAW}
    assert document == {"text": "![](data:image/png;base64,0) ![](data:image/png;base64,1)", "image": "2"}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("escaped", ["\\/", "\\u002f", "\\u002F"])
def test_slashes_may_be_escaped(step: int, escaped: str) -> None:
    """As PHP writes them, in the prefix and in the picture."""
    raw = b"\xff\xff\xff" * 100
    body = json.dumps({"text": f"![](data:image/png;base64,{base64.b64encode(raw).decode()}) a/b"})
    images, document, _ = read(body.replace("/", escaped), step)
    assert images == {0: raw}
    assert document == {"text": "![](data:image/png;base64,0) a/b"}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    "text",
    [
        "",
        "no picture at all",
        "data:",
        "data:image/png;base64,",
        "![](data:image/png;base64,)",
        "data:image/png,abc",
        "data:text/html;base64,QUJD",
        "metadata: imaged",
        "data:image/" + "x" * 300 + ";base64,QUJD",
        "\u00da \u000d \u0dda",
    ],
)
def test_what_only_looks_like_one_stays(text: str, step: int) -> None:
    """Not one byte of a text is lost, and nothing is taken out of it."""
    images, document, events = read(json.dumps({"text": text}), step)
    assert (images, document, events) == ({}, {"text": text}, [])


def test_what_a_picture_is_called_is_kept() -> None:
    """In lower case, as MIME types are compared."""
    prose = Prose(lambda path: True)
    prose.feed(b"data:image/SVG+xml;charset=utf-8;base64,QUJD)", path=(), next_index=4)
    assert prose.mimes == {4: "image/svg+xml"}
    assert repr(prose) == "<Prose in text, held=0B>"


@pytest.mark.parametrize("step", STEPS)
def test_a_picture_that_is_no_base64_is_refused(step: int) -> None:
    """Whatever stands in it."""
    with pytest.raises(WireError) as refused:
        read(json.dumps({"text": "![](data:image/png;base64,QUJD!!!!)"}), step)
    assert refused.value.code == "base64"


def test_bounds_hold_inside_a_text() -> None:
    """On each picture, and on their number."""
    with pytest.raises(WireError) as large:
        read(json.dumps({"text": f"![]({URL})"}), image_bytes_max=100)
    assert large.value.code == "too_large"
    with pytest.raises(WireError) as many:
        read(json.dumps({"text": f"![]({URL})" * 3}), images_max=2)
    assert many.value.code == "too_large"


def test_a_text_that_ends_inside_a_picture_ends_it() -> None:
    """Its string has closed; whether the picture is whole is for its bytes to say."""
    images, _, events = read(json.dumps({"text": URL, "more": [1]}))
    assert images == {0: RAW}
    assert events[-1] == ImageEnded(0)


def test_a_document_that_ends_inside_a_picture_was_cut() -> None:
    """And the beginning of the picture is worth nothing."""
    reader = reader_of()
    reader.feed(json.dumps({"text": URL}).encode()[:-20])
    assert "prose" in repr(reader)
    with pytest.raises(EndsEarly):
        reader.finish()


@pytest.mark.parametrize("cut", range(1, 60))
def test_a_text_that_spans_goes_on_in_the_next_string(cut: int) -> None:
    """As the pieces of a stream do: also where the cut is inside the prefix. No string's text is spoilt by it."""
    text = f"Here: ![image](data:image/png;base64,{base64.b64encode(b'0123456789').decode()}) done"
    prose = Prose(lambda path: path == ("text",), spans=True)
    images: dict[int, bytes] = {}
    told = ""
    index = 0
    for piece in (text[:cut], text[cut:]):
        reader = JsonReader(lambda path: False, prose=prose, first_index=index)
        for event in reader.feed(json.dumps({"text": piece}).encode()):
            if isinstance(event, ImageBytes):
                images[event.index] = images.get(event.index, b"") + event.data
        index = reader.next_index
        told += json.loads(reader.finish())["text"]
    assert images == {0: b"0123456789"}
    assert told == "Here: ![image](data:image/png;base64,0) done"
    assert prose.close() == []


def test_a_spanning_text_is_closed_by_whoever_knows_its_end() -> None:
    """A picture that nothing follows has come to its end then."""
    prose = Prose(lambda path: True, spans=True)
    found = prose.feed(URL.encode(), path=("text",), next_index=0)
    assert prose.close_text(1).events == []
    assert found.next_index == 1
    assert "image 0" in repr(prose)
    assert prose.close() == [ImageEnded(0)]
    assert prose.close() == []


def test_another_picture_ends_one_that_was_to_go_on() -> None:
    """Images of an answer are written one at a time."""
    prose = Prose(lambda path: path == ("text",), spans=True)
    reader = JsonReader(lambda path: path == ("image",), prose=prose)
    events = reader.feed(json.dumps({"text": URL, "image": TEXT}).encode())
    kinds = [(type(event), event.index) for event in events if not isinstance(event, ImageBytes)]
    assert kinds == [(ImageBegan, 0), (ImageEnded, 0), (ImageBegan, 1), (ImageEnded, 1)]
    reader.finish()


def test_a_large_picture_leaves_as_it_comes() -> None:
    """Nothing of 27 MB stays: what is held between two pieces is a few bytes, and the skeleton is small."""
    raw = bytes(range(256)) * 1024 * 8
    body = json.dumps({"text": f"![]({'data:image/png;base64,' + base64.b64encode(raw).decode()})"}).encode()
    reader = reader_of()
    seen = 0
    for at in range(0, len(body), 65_536):
        for event in reader.feed(body[at : at + 65_536]):
            if isinstance(event, ImageBytes):
                assert len(event.data) <= 65_536
                seen += len(event.data)
        assert len(reader.skeleton_so_far) < 200
    assert seen == len(raw)
    reader.finish()


def test_talk_about_pictures_is_read_once() -> None:
    """Where a picture would end is not looked for in all that follows, a hundred thousand times over."""

    class Counted(bytes):
        looks = 0

        def find(self, *args: Any) -> int:
            """Count."""
            Counted.looks += 1
            return super().find(*args)

    prose = Prose(lambda path: True)
    found = prose.feed(Counted(b"data:image/png;base64,\\n" * 1000), path=("text",), next_index=0)
    assert (Counted.looks, found.events, found.next_index) == (0, [], 0)
    assert b"".join(found.kept) == b"data:image/png;base64,\\n" * 1000
