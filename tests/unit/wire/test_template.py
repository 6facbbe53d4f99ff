"""Templates: what is written, and how long it will be."""

from __future__ import annotations

import base64

import pytest

from holdfast.wire.errors import WireError
from holdfast.wire.scan import JsonReader
from holdfast.wire.template import (
    PIECE_BYTES,
    Slot,
    SplitSlot,
    encoded_bytes,
    filled,
    length_of,
    slots_of,
    template_of,
)


def is_image(path: tuple[str, ...]) -> bool:
    """The path used throughout."""
    return path == ("data", "b64_json")


def test_numbers_at_image_paths_become_slots() -> None:
    """The quotes stay with the bytes around them."""
    template = template_of(b'{"data":[{"b64_json":"0"},{"b64_json":"12"}],"x":"3"}', is_image)
    assert template == (b'{"data":[{"b64_json":"', Slot(0), b'"},{"b64_json":"', Slot(12), b'"}],"x":"3"}')
    assert slots_of(template) == (0, 12)


def test_a_document_without_images_is_one_piece() -> None:
    """Nothing is split in vain."""
    assert template_of(b'{"a":1}', is_image) == (b'{"a":1}',)


@pytest.mark.parametrize("value", [b'""', b"null", b"0", b"[1]"])
def test_empty_and_other_values_stay(value: bytes) -> None:
    """As the reader left them."""
    skeleton = b'{"data":{"b64_json":' + value + b"}}"
    assert template_of(skeleton, is_image) == (skeleton,)


def test_text_that_looks_like_structure_is_text() -> None:
    """Quotes and brackets in strings do not move the path."""
    skeleton = b'{"a":"}\\"],{","data":[{"b64_json":"0","c":"\\\\"}]}'
    template = template_of(skeleton, is_image)
    assert slots_of(template) == (0,)
    assert filled(template, {0: b""}) == skeleton.replace(b'"0"', b'""')


def test_a_document_that_was_not_read_first_is_refused() -> None:
    """Base64 left in place means that somebody skipped the reader."""
    with pytest.raises(WireError, match="JsonReader") as raised:
        template_of(b'{"data":{"b64_json":"QUJD"}}', is_image)
    assert "QUJD" not in str(raised.value)


def test_keys_are_matched_by_meaning() -> None:
    """An escaped key leads to the same path as in the reader."""
    assert slots_of(template_of(b'{"d\\u0061ta":{"b64_json":"5"}}', is_image)) == (5,)


def test_a_body_read_and_written_again_is_the_same_body() -> None:
    """Reader and template are each other's inverse."""
    body = b'{"data": [ {"b64_json": "QUJDRA=="} ], "b": [1, 2]}'
    reader = JsonReader(is_image)
    reader.feed(body)
    assert filled(template_of(reader.finish(), is_image), {0: b"ABCD"}) == body


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 6, 100, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1])
def test_length_is_what_will_be_written(size: int) -> None:
    """Content-Length is promised before the image is read."""
    template = (b'{"a":"', Slot(3), b'"}')
    assert length_of(template, {3: size}) == len(filled(template, {3: bytes(size)}))
    assert encoded_bytes(size) == len(base64.b64encode(bytes(size)))


def test_pieces_join_without_padding() -> None:
    """A piece is a multiple of three bytes, so encoded pieces can be set end to end."""
    assert PIECE_BYTES % 3 == 0
    assert encoded_bytes(PIECE_BYTES) == 262_144


def test_an_image_may_be_written_twice() -> None:
    """A slot names an image, it does not consume it."""
    assert filled((Slot(0), b",", Slot(0)), {0: b"AB"}) == b"QUI=,QUI="


def test_a_raw_slot_is_the_bytes_themselves() -> None:
    """As a part of a form has them; both kinds may stand in one body."""
    template = (b"--x\r\n", Slot(0, is_raw=True), b"\r\n", Slot(0))
    assert filled(template, {0: b"\x00AB"}) == b"--x\r\n\x00AB\r\nAEFC"
    assert length_of(template, {0: 3}) == len(filled(template, {0: b"\x00AB"}))
    assert slots_of(template) == (0, 0)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 6, 7])
def test_a_split_slot_is_written_in_pieces(size: int) -> None:
    """Each with what is around it; the length is foretold, and without that it is the image."""
    image = bytes(range(size))
    template = (b"[", SplitSlot(0, b"<", b">", 3), b"]")
    made = filled(template, {0: image})
    assert len(made) == length_of(template, {0: size})
    assert made == b"[" + b"".join(b"<%b>" % base64.b64encode(image[at : at + 3]) for at in range(0, size, 3)) + b"]"
    assert base64.b64decode(made.strip(b"[]").replace(b"<", b"").replace(b">", b"")) == image
    assert slots_of(template) == (0,)


@pytest.mark.parametrize("piece_bytes", [0, 4, PIECE_BYTES])
def test_a_piece_joins_without_padding_and_is_read_at_once(piece_bytes: int) -> None:
    """Else the pieces would not be one base64, or a crowd's shorter reads would make more of them than foretold."""
    with pytest.raises(AssertionError):
        SplitSlot(0, b"<", b">", piece_bytes)
