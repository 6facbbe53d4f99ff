"""Any form, cut anywhere: its parts come out as they went in; anything else is refused, never a crash."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from holdfast.wire.errors import WireError
from holdfast.wire.multipart import FormReader, PartBegan, PartBytes, PartEnded

BOUNDARY = b"-b0"
DELIMITER = b"\r\n--" + BOUNDARY
# Mostly of what a boundary is made of, so that bodies look like one.
TRICKY = st.lists(st.sampled_from([b"\r", b"\n", b"-", b"b", b"0", b"\r\n--", b"--b0", b"-b", b"x"]), max_size=12)
BODIES = st.binary(max_size=40) | TRICKY.map(b"".join)
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=20)
PARTS = st.lists(st.tuples(NAMES, BODIES), max_size=5)


def quoted(name: str) -> str:
    """Write a name as browsers do; a backslash is not one's own there."""
    return name.replace('"', "%22")


def written(parts: list[tuple[str, bytes]], preamble: bytes, epilogue: bytes) -> bytes:
    """Write a form."""
    made = preamble
    for name, body in parts:
        made += b"--" + BOUNDARY + b'\r\nContent-Disposition: form-data; name="' + quoted(name).encode() + b'"'
        made += b"\r\n\r\n" + body + b"\r\n"
    return made + b"--" + BOUNDARY + b"--" + epilogue


def read(pieces: list[bytes]) -> list[tuple[str, bytes]]:
    """Read pieces."""
    reader = FormReader(BOUNDARY)
    parts: list[tuple[str, bytes]] = []
    for piece in pieces:
        for event in reader.feed(piece):
            match event:
                case PartBegan(name=name):
                    parts.append((name, b""))
                case PartBytes(data=data):
                    parts[-1] = (parts[-1][0], parts[-1][1] + data)
                case PartEnded():
                    pass
    reader.finish()
    return parts


@st.composite
def pieces_of(draw: st.DrawFn, whole: bytes) -> list[bytes]:
    """Cut bytes anywhere."""
    cuts = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    return [whole[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(whole)], strict=True)]


@given(data=st.data(), parts=PARTS, preamble=st.sampled_from([b"", b"\r\n", b"hello\r\n"]), epilogue=BODIES)
def test_a_form_comes_out_as_it_went_in(
    data: st.DataObject, parts: list[tuple[str, bytes]], preamble: bytes, epilogue: bytes
) -> None:
    """Whatever the bodies look like, as long as they hold no boundary: that is what one is chosen for."""
    assume(all(DELIMITER not in b"\r\n" + body for _, body in parts))
    assume(all("\\" not in name and "%" not in name for name, _ in parts))
    assert read(data.draw(pieces_of(written(parts, preamble, epilogue)))) == parts


@given(data=st.data(), parts=PARTS, at=st.integers(0, 400))
def test_a_form_that_was_cut_is_never_whole(data: st.DataObject, parts: list[tuple[str, bytes]], at: int) -> None:
    """Half an image must not pass for one because its connection ended well."""
    whole = written(parts, b"", b"")
    assume(at < len(whole) - 1 and all(DELIMITER not in b"\r\n" + body for _, body in parts))
    pieces = data.draw(pieces_of(whole[:at]))
    try:
        read(pieces)
    except WireError as exc:
        assert exc.code in ("form", "too_large")
    else:
        raise AssertionError("a cut form passed for a whole one")


@given(data=st.data(), body=st.binary(max_size=200) | TRICKY.map(b"".join))
def test_anything_at_all_is_a_form_or_refused_wherever_it_is_cut(data: st.DataObject, body: bytes) -> None:
    """And the cuts decide nothing."""

    def outcome(pieces: list[bytes]) -> object:
        try:
            return read(pieces)
        except WireError as exc:
            return exc.code

    whole = b"--" + BOUNDARY + body
    assert outcome([whole]) == outcome(data.draw(pieces_of(whole)))
