"""Any JSON document with images in it, spelled anyhow and cut anywhere: the same events, the same document."""

from __future__ import annotations

import base64
import itertools
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.wire.errors import WireError
from holdfast.wire.scan import ImageBegan, ImageBytes, ImageEnded, JsonReader
from holdfast.wire.template import filled, template_of

PATH = ("data", "b64")
TEXT = st.text(max_size=12)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 40), 1 << 40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)
KEYS = st.sampled_from(["data", "b64", "a", 'q"', "\\", "é"]) | TEXT


def is_image(path: tuple[str, ...]) -> bool:
    """The path used throughout."""
    return path == PATH


class Picture:
    """A place where an image stands, with its bytes."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw

    def __repr__(self) -> str:
        return f"Picture({self.raw!r})"


PICTURES = st.binary(min_size=1, max_size=30).map(Picture)
PLAIN = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(KEYS.filter(lambda key: key != "data"), inner, max_size=4)
    ),
)
ITEMS = st.fixed_dictionaries({"b64": PICTURES}, optional={"a": PLAIN, "z": PLAIN})
DOCUMENTS = st.fixed_dictionaries(
    {"data": st.lists(ITEMS, max_size=4) | ITEMS}, optional={"a": PLAIN, "z": PLAIN, "é\\": PLAIN}
)


def spelled(value: Any, draw: st.DrawFn, pictures: list[bytes]) -> str:
    """Write a document with white space, escapes and field order drawn at random."""
    gap = draw(st.sampled_from(["", "", " ", "\n", "\t\r\n "]))
    if isinstance(value, Picture):
        pictures.append(value.raw)
        text = base64.b64encode(value.raw).decode()
        text = text.replace("/", draw(st.sampled_from(["/", "\\/", "\\u002f"])))
        return f'"{text}"'
    if isinstance(value, dict):
        names = draw(st.permutations(list(value)))
        rows = [f"{word(name, draw)}{gap}:{gap}{spelled(value[name], draw, pictures)}" for name in names]
        return "{" + gap + f"{gap},{gap}".join(rows) + gap + "}"
    if isinstance(value, list):
        return "[" + gap + f"{gap},{gap}".join(spelled(item, draw, pictures) for item in value) + gap + "]"
    if isinstance(value, str):
        return word(value, draw)
    return json.dumps(value)


def word(text: str, draw: st.DrawFn) -> str:
    """Write a string, with or without escapes that are not needed."""
    if draw(st.integers(0, 3)) == 0:
        return '"' + "".join(f"\\u{unit:04x}" for unit in units(text)) + '"'
    return json.dumps(text, ensure_ascii=draw(st.booleans()))


def units(text: str) -> list[int]:
    """UTF-16 code units."""
    raw = text.encode("utf-16-be", "surrogatepass")
    return [int.from_bytes(raw[at : at + 2], "big") for at in range(0, len(raw), 2)]


@st.composite
def bodies(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """A body and the images in it, in order."""
    pictures: list[bytes] = []
    text = spelled(draw(DOCUMENTS), draw, pictures)
    lead = draw(st.sampled_from(["", "\n\n", " \r\n", "\ufeff"]))
    return (lead + text + draw(st.sampled_from(["", "\n"]))).encode("utf-8", "surrogatepass"), pictures


def read(body: bytes, borders: list[int]) -> tuple[list[tuple[str, int]], dict[int, bytes], bytes]:
    """Read in pieces: the order of events, the data by image, the skeleton."""
    reader = JsonReader(is_image)
    order: list[tuple[str, int]] = []
    data: dict[int, bytes] = {}
    for start, stop in itertools.pairwise(borders):
        for event in reader.feed(body[start:stop]):
            match event:
                case ImageBegan(index=index, path=path):
                    assert path == PATH
                    data[index] = b""
                    order.append(("began", index))
                case ImageBytes(index=index, data=piece):
                    assert piece
                    data[index] += piece
                case ImageEnded(index=index):
                    order.append(("ended", index))
    return order, data, reader.finish()


@settings(deadline=None, max_examples=200)
@given(bodies(), st.lists(st.integers(0, 2000), max_size=8))
def test_any_spelling_and_any_cut_give_the_same_events(sample: tuple[bytes, list[bytes]], cuts: list[int]) -> None:
    """Order of fields, white space, escapes, borders: none of them matters."""
    body, pictures = sample
    whole = read(body, [0, len(body)])
    assert whole[0] == [pair for index in range(len(pictures)) for pair in (("began", index), ("ended", index))]
    assert list(whole[1].values()) == pictures
    assert read(body, sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})) == whole
    assert read(body, list(range(len(body) + 1))) == whole


@settings(deadline=None, max_examples=200)
@given(bodies())
def test_a_document_read_and_written_again_means_the_same(sample: tuple[bytes, list[bytes]]) -> None:
    """decode(encode(x)) == x, images included."""
    body, pictures = sample
    _, data, skeleton = read(body, [0, len(body)])
    written = filled(template_of(skeleton, is_image), data)
    assert json.loads(written) == json.loads(body.decode("utf-8-sig"))
    again = read(written, [0, len(written)])
    assert list(again[1].values()) == pictures


@settings(deadline=None, max_examples=200)
@given(bodies(), st.data())
def test_a_truncated_document_is_never_taken_for_a_whole_one(
    sample: tuple[bytes, list[bytes]], data: st.DataObject
) -> None:
    """Cut anywhere before its last bracket."""
    body = sample[0].rstrip()
    cut = data.draw(st.integers(0, len(body) - 1))
    reader = JsonReader(is_image)
    reader.feed(body[:cut])
    assert not reader.complete
    try:
        reader.finish()
    except WireError as error:
        assert error.code == "json"
    else:
        raise AssertionError("a truncated document was taken")


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=80) | st.text(alphabet='{}[]":,\\datb64 0', max_size=60).map(str.encode), st.integers(0, 80))
def test_arbitrary_bytes_are_read_alike_or_refused_alike(body: bytes, cut: int) -> None:
    """Never a crash, never another meaning by another border, and what is taken is JSON."""

    def outcome(*pieces: bytes) -> bytes | str:
        reader = JsonReader(is_image)
        try:
            for piece in pieces:
                reader.feed(piece)
            return reader.finish()
        except WireError as error:
            return error.code

    whole = outcome(body)
    assert outcome(body[:cut], body[cut:]) == whole
    if isinstance(whole, bytes):
        json.loads(whole)
        template_of(whole, is_image)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 40), st.integers(1, 20))
def test_memory_is_bounded_by_the_limits_whatever_comes(depth: int, step: int) -> None:
    """The skeleton never grows past its bound."""
    reader = JsonReader(is_image, skeleton_bytes_max=64, depth_max=8)
    body = b"[" * depth + b'"' + b"x" * 200
    try:
        for at in range(0, len(body), step):
            reader.feed(body[at : at + step])
    except WireError as error:
        assert error.code == "too_large"
    assert len(reader.skeleton_so_far) <= 64
