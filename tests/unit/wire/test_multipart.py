"""A form is read wherever it was cut, and each way to get one wrong has its own complaint."""

from __future__ import annotations

import pytest

from holdfast.errors import RequestError
from holdfast.wire.errors import WireError
from holdfast.wire.multipart import (
    HEADERS_BYTES_MAX,
    NAME_CHARS_MAX,
    PARTS_MAX,
    FormEvent,
    FormReader,
    PartBegan,
    PartBytes,
    PartEnded,
    boundary_of,
)

# As openai-python 3.54 sends it, save that its boundary is longer.
OF_PYTHON = (
    b'--b0\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na lighthouse\r\n'
    b'--b0\r\nContent-Disposition: form-data; name="n"\r\n\r\n1\r\n'
    b'--b0\r\nContent-Disposition: form-data; name="image[]"; filename="x.png"\r\nContent-Type: image/png\r\n\r\n'
    b"\x89PNG\r\n--b\r\n\r\n--b0-not\r\nend\r\n"
    b"--b0--\r\n"
).replace(b"--b0-not", b"--b1-not")
PARTS = [("prompt", b"a lighthouse"), ("n", b"1"), ("image[]", b"\x89PNG\r\n--b\r\n\r\n--b1-not\r\nend")]


def read(body: bytes, boundary: bytes = b"b0", *, cut: int | None = None) -> list[tuple[str, bytes]]:
    """Read a form in pieces of so many bytes; give its parts."""
    reader = FormReader(boundary)
    step = cut or max(1, len(body))
    events: list[FormEvent] = []
    for at in range(0, len(body), step):
        events += reader.feed(body[at : at + step])
    reader.finish()
    assert reader.complete
    return parts_of(events)


def parts_of(events: list[FormEvent]) -> list[tuple[str, bytes]]:
    """Put events together; each part begins once and ends once."""
    parts: list[tuple[str, bytes]] = []
    is_open = False
    for event in events:
        match event:
            case PartBegan(name=name):
                assert not is_open
                is_open = True
                parts.append((name, b""))
            case PartBytes(data=data):
                assert is_open
                assert data
                parts[-1] = (parts[-1][0], parts[-1][1] + data)
            case PartEnded():
                assert is_open
                is_open = False
    assert not is_open
    return parts


def a_part(headers: bytes, body: bytes = b"x") -> bytes:
    """Write a form of one part."""
    return b"--b0\r\n" + headers + b"\r\n\r\n" + body + b"\r\n--b0--\r\n"


def disposition(words: bytes) -> bytes:
    """Write the header that names a part."""
    return b"Content-Disposition: form-data; " + words


def complaint(body: bytes) -> WireError:
    """Read what is no form."""
    with pytest.raises(WireError) as caught:
        read(body)
    return caught.value


@pytest.mark.parametrize("cut", [1, 2, 3, 5, 7, 64, 10_000])
def test_a_form_of_an_sdk_is_read_in_pieces(cut: int) -> None:
    """Whatever a segment holds: the same parts, and what only looks like a boundary belongs to the file."""
    assert read(OF_PYTHON, cut=cut) == PARTS


def test_a_form_is_read_whole_wherever_it_is_cut_once() -> None:
    """Every place at which two segments may meet."""
    for at in range(len(OF_PYTHON)):
        reader = FormReader(b"b0")
        events = reader.feed(OF_PYTHON[:at]) + reader.feed(OF_PYTHON[at:])
        reader.finish()
        assert parts_of(events) == PARTS, at


def test_nothing_but_a_boundary_s_length_is_held_back() -> None:
    """A file of any size goes on as it comes; memory does not grow with it."""
    reader = FormReader(b"b0")
    reader.feed(b"--b0\r\n" + disposition(b'name="image"') + b"\r\n\r\n")
    given = 0
    for _ in range(50):
        given += sum(len(event.data) for event in reader.feed(b"\r" * 65536) if isinstance(event, PartBytes))
    assert 50 * 65536 - given < 10
    assert repr(reader) == "<FormReader body parts=1>"


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        (disposition(b'name="a"'), "a"),
        (disposition(b"name=a"), "a"),
        (b"content-disposition:form-data;NAME=a", "a"),
        (disposition(b'filename="x;name=b"; name="a"'), "a"),
        (disposition(b'name="a"; filename="C:\\x.png"'), "a"),
        (disposition(b'name="a%22b"'), 'a"b'),
        (disposition(rb'name="a\"b"'), 'a"b'),
        (disposition('name="bild[é]"'.encode()), "bild[é]"),
        (b"X-Other: 1\r\n" + disposition(b"name=\"a\"; filename*=UTF-8''x") + b"\r\nContent-Type: text/plain", "a"),
        (disposition(b'name="a"') + b"\r\nContent-Transfer-Encoding: binary", "a"),
    ],
)
def test_names_are_read_as_clients_write_them(headers: bytes, name: str) -> None:
    """Quoted, bare, with what browsers and httpx put in place of a quotation mark; other headers mean nothing."""
    assert read(a_part(headers)) == [(name, b"x")]


def test_an_empty_part_and_an_empty_form_are_whole() -> None:
    """A field may be empty, and a form may have none."""
    assert read(a_part(disposition(b'name="a"'), b"")) == [("a", b"")]
    assert read(b"--b0--") == []
    assert read(b"\r\n--b0--\r\n") == []


def test_what_stands_around_a_form_means_nothing() -> None:
    """RFC 2046: a preamble, white space behind a boundary, an epilogue of any length."""
    body = b"hello\r\n" + OF_PYTHON.replace(b"--b0\r\n", b"--b0 \t\r\n", 1) + b"bye" * 100_000
    assert read(body) == PARTS


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "the form is empty"),
        (b"--other\r\n", "lacks the boundary"),
        (b"x" * 5000, "does not begin with the boundary"),
        (OF_PYTHON.removesuffix(b"--b0--\r\n"), "its closing boundary is missing"),
        (OF_PYTHON.removesuffix(b"--\r\n"), "its closing boundary is missing"),
        (b"--b0\r\n", "its closing boundary is missing"),
        (b"--b0x\r\n\r\n", "followed by something else"),
        (b"--b0-x", "followed by something else"),
        (b"--b0" + b" " * 200 + b"\r\n", "too much white space"),
        (a_part(b""), "no Content-Disposition"),
        (a_part(b"Content-Type: text/plain"), "no Content-Disposition"),
        (a_part(disposition(b'name="a"') + b"\r\n" + disposition(b'name="b"')), "two Content-Disposition"),
        (a_part(b'Content-Disposition: attachment; name="a"'), "Content-Disposition is malformed"),
        (a_part(disposition(b'name="a')), "Content-Disposition is malformed"),
        (a_part(disposition(b"filename=x")), "1 to 128 characters"),
        (a_part(disposition(b'name=""')), "1 to 128 characters"),
        (a_part(disposition(b'name="' + b"a" * (NAME_CHARS_MAX + 1) + b'"')), "1 to 128 characters"),
        (a_part(disposition(b'name="a"') + b"\r\n folded"), "malformed header"),
        (a_part(disposition(b'name="a"') + b"\r\nno colon"), "malformed header"),
        (a_part(disposition(b'name="a"') + b"\r\nX: \x00"), "malformed header"),
        (a_part(disposition(b'name="a"\nX: y')), "malformed header"),
        (a_part(disposition(b'name="\xff"')), "not UTF-8"),
        (a_part(disposition(b'name="a"') + b"\r\nContent-Transfer-Encoding: base64"), "send its bytes as they are"),
    ],
)
def test_what_is_no_form_is_told_so(body: bytes, told: str) -> None:
    """In words that say what to change, and never with what stood there."""
    error = complaint(body)
    assert error.code == "form"
    assert told in error.message


def test_headers_and_parts_are_bounded() -> None:
    """Neither 100 KB of headers nor a million fields are read to their end."""
    reader = FormReader(b"b0")
    with pytest.raises(WireError, match="bytes of headers") as caught:
        for _ in range(HEADERS_BYTES_MAX):
            reader.feed(b"--b0\r\nX: " if repr(reader).startswith("<FormReader preamble") else b"aaaa")
    assert caught.value.code == "too_large"
    part = b"--b0\r\n" + disposition(b'name="a"') + b"\r\n\r\nx\r\n"
    assert len(read(part * PARTS_MAX + b"--b0--")) == PARTS_MAX
    error = complaint(part * (PARTS_MAX + 1) + b"--b0--")
    assert (error.code, "more than 64 parts" in error.message) == ("too_large", True)


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=b0", b"b0"),
        ('multipart/form-data; charset=utf-8; boundary="a b"', b"a b"),
        ("Multipart/Form-Data;BOUNDARY=----WebKitFormBoundary7MA4", b"----WebKitFormBoundary7MA4"),
        ("multipart/form-data; boundary=" + "b" * 70, b"b" * 70),
    ],
)
def test_the_boundary_is_read_from_the_content_type(content_type: str, boundary: bytes) -> None:
    """Quoted or not, among other parameters."""
    assert boundary_of(content_type) == boundary


@pytest.mark.parametrize(
    ("content_type", "told"),
    [
        ("multipart/form-data", "names no boundary"),
        ("multipart/form-data; boundary=", "names no boundary"),
        ('multipart/form-data; boundary=""', "names no boundary"),
        ("multipart/form-data; boundary=" + "b" * 71, "1 to 70"),
        ('multipart/form-data; boundary="a "', "1 to 70"),
        ('multipart/form-data; boundary="ä"', "1 to 70"),
    ],
)
def test_a_boundary_that_cannot_be_one_is_refused(content_type: str, told: str) -> None:
    """Before a byte of the body is read."""
    with pytest.raises(RequestError, match=told):
        boundary_of(content_type)
