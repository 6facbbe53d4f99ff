"""Base64 in every spelling, cut anywhere: the bytes come back."""

from __future__ import annotations

import base64
import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.wire.base64_stream import Base64Decoder
from holdfast.wire.errors import WireError


@st.composite
def spellings(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Some bytes, and one of the ways to write them."""
    raw = draw(st.binary(max_size=200))
    text = base64.b64encode(raw)
    if draw(st.booleans()):
        text = text.rstrip(b"=")
    if draw(st.booleans()):
        text = text.replace(b"+", b"-")
    if draw(st.booleans()):
        text = text.replace(b"/", b"_")
    text = text.replace(b"/", draw(st.sampled_from([b"/", rb"\/", rb"\u002f", rb"\u002F"])))
    text = text.replace(b"+", draw(st.sampled_from([b"+", rb"\u002b"])))
    text = text.replace(b"=", draw(st.sampled_from([b"=", rb"\u003d"])))
    if draw(st.booleans()):
        width = draw(st.integers(12, 80))
        end = draw(st.sampled_from([b"\n", b"\r\n", rb"\n", rb"\r\n", b" "]))
        # An escape is not broken by a line break: only its encoder writes both, one character after the other.
        if b"\\" not in text:
            text = end.join(text[at : at + width] for at in range(0, len(text), width)) + end
    return raw, draw(st.sampled_from([b"", b"data:image/png;base64,"])) + text


@settings(deadline=None, max_examples=300)
@given(spellings(), st.lists(st.integers(0, 400), max_size=12))
def test_every_spelling_decodes_wherever_it_is_cut(spelling: tuple[bytes, bytes], cuts: list[int]) -> None:
    """The pieces of a transfer mean nothing."""
    raw, text = spelling
    borders = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    decoder = Base64Decoder()
    out: list[bytes] = []
    for start, stop in itertools.pairwise(borders):
        out += decoder.feed(memoryview(text)[start:stop])
    out += decoder.finish()
    assert b"".join(out) == raw


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=60), st.integers(0, 60))
def test_arbitrary_bytes_decode_alike_or_not_at_all_wherever_they_are_cut(text: bytes, cut: int) -> None:
    """No border turns garbage into data, or data into other data."""

    def decode(*pieces: bytes) -> bytes | None:
        decoder = Base64Decoder()
        try:
            out = [part for piece in pieces for part in decoder.feed(piece)]
            return b"".join(out + decoder.finish())
        except WireError:
            return None

    assert decode(text) == decode(text[:cut], text[cut:])


ODD = st.lists(
    st.sampled_from(
        [b"QUJD", b"Q", b"=", b"==", b"-", b"+", b"/", rb"\/", b"\\", b"u002f", b"\n", b"$", b"data:", b","]
    )
)


@settings(deadline=None, max_examples=500)
@given(ODD, st.data())
def test_odd_mixtures_decode_alike_or_not_at_all(tokens: list[bytes], data: st.DataObject) -> None:
    """The same, aimed at the places where the ways of decoding change."""
    text = b"".join(tokens)
    results = set()
    for _ in range(4):
        cut = data.draw(st.integers(0, len(text)))
        decoder = Base64Decoder()
        try:
            out = [*decoder.feed(text[:cut]), *decoder.feed(text[cut:]), *decoder.finish()]
            results.add(b"".join(out))
        except WireError:
            results.add(None)  # type: ignore[arg-type]
    assert len(results) == 1
