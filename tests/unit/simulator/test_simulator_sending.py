"""The bytes of a body, whole or spoilt; what travels is tested on real sockets."""

from __future__ import annotations

import pybase64
import pytest

from holdfast.simulator.faults import Fault
from holdfast.simulator.pictures import PNG_SIGNATURE, Encoded, png_chunk, prepare
from holdfast.simulator.replies import Timed
from holdfast.simulator.sending import NOT_AN_IMAGE, Body, clipped, cut_up
from holdfast.wire.template import Slot

PAYLOAD = bytes(range(256)) * 40


def a_picture() -> Encoded:
    """Make a picture whose base64 has every character."""
    header = (40).to_bytes(4, "big") * 2 + b"\x08\x00\x00\x00\x00"
    file = PNG_SIGNATURE + png_chunk(b"IHDR", header) + png_chunk(b"teSt", PAYLOAD) + png_chunk(b"IEND", b"")
    return prepare(file, "png").with_serial("x")


PARTS = (
    Timed(share=0.5, template=(b"early",)),
    Timed(share=1.0, template=(b'{"b64_json":"', Slot(0), b'"}')),
)


def texts(fault: Fault | None) -> tuple[Encoded, bytes]:
    """Write the second part; return the picture and its text in there."""
    picture = a_picture()
    body = Body({0: picture}, fault)
    written = b"".join(body.pieces(PARTS[1:]))
    assert len(written) == body.length(PARTS[1:]), "the length is told before the bytes are sent"
    assert body.length(PARTS) == len(written) + 5
    return picture, written.removeprefix(b'{"b64_json":"').removesuffix(b'"}')


@pytest.mark.parametrize("fault", [None, Fault.NONE, Fault.TRUNCATE, Fault.DRIP, Fault.OTHER_SIZE])
def test_most_faults_leave_the_text_alone(fault: Fault | None) -> None:
    """They are in the way it travels, or were decided before."""
    picture, text = texts(fault)
    assert pybase64.b64decode(text, validate=True) == picture.file()


def test_bad_base64_is_found_only_by_decoding() -> None:
    """Its length is the usual one, and most of it is right."""
    picture, text = texts(Fault.BAD_BASE64)
    assert len(text) == picture.text_bytes
    assert text[4:] == b"".join(picture.pieces(4))
    with pytest.raises(ValueError, match=r"base64|character|encoded"):
        pybase64.b64decode(text, validate=True)


def test_the_other_alphabet_holds_the_same_file() -> None:
    """And really is the other one."""
    picture, text = texts(Fault.URL_SAFE)
    assert b"-" in text
    assert b"_" in text
    assert b"+" not in text
    assert pybase64.b64decode(text, altchars=b"-_", validate=True) == picture.file()


def test_what_is_no_image_is_good_base64() -> None:
    """Only its bytes tell."""
    _, text = texts(Fault.NOT_IMAGE)
    assert pybase64.b64decode(text, validate=True) == NOT_AN_IMAGE


def test_a_cut_image_is_good_base64_of_half_a_file() -> None:
    """It ends within, without its end mark."""
    picture, text = texts(Fault.CUT_IMAGE)
    cut = pybase64.b64decode(text, validate=True)
    assert picture.file().startswith(cut)
    assert len(cut) == pytest.approx(len(picture.file()) / 2, rel=0.01)
    assert not cut.endswith(b"IEND\xaeB`\x82")


@pytest.mark.parametrize("piece_bytes", [1, 3, 10, 100])
def test_pieces_are_cut_without_changing_a_byte(piece_bytes: int) -> None:
    """None is longer than it may be."""
    pieces = [b"", b"abc", memoryview(b"defghijklmnopq"), b"r"]
    cut = list(cut_up(iter(pieces), piece_bytes))
    assert b"".join(cut) == b"abcdefghijklmnopqr"
    assert max(map(len, cut)) <= piece_bytes


@pytest.mark.parametrize("bytes_max", range(8))
def test_clipping_ends_where_it_should(bytes_max: int) -> None:
    """At a border of pieces or within one."""
    assert b"".join(clipped(iter([b"ab", memoryview(b"cde"), b"f"]), bytes_max)) == b"abcdef"[:bytes_max]
