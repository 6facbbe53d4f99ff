"""Looking at images: the pieces mean nothing, arbitrary bytes do no harm."""

from __future__ import annotations

import io
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from holdfast.wire.image import ImageProbe, Probed

STARTS = [
    b"",
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"\xff\xd8\xff\xe0\x00\x10",
    b"GIF89a",
    b"RIFF\0\0\0\0WEBPVP8 ",
    b"\0\0\0 ftypheic",
]


def probe(data: bytes, borders: list[int]) -> Probed | None:
    """Feed an image in pieces."""
    looker = ImageProbe()
    for start, stop in pairwise(borders):
        looker.feed(data[start:stop])
    return looker.finish()


def cuts_of(data: bytes, cuts: list[int]) -> list[int]:
    """Borders within the data."""
    return sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})


@settings(deadline=None, max_examples=100)
@given(
    st.sampled_from(["PNG", "JPEG", "GIF", "WEBP"]),
    st.integers(1, 70),
    st.integers(1, 70),
    st.lists(st.integers(0, 800), max_size=10),
)
def test_real_images_are_known_however_they_come(kind: str, width: int, height: int, cuts: list[int]) -> None:
    """Type, size and wholeness."""
    out = io.BytesIO()
    Image.new("RGB", (width, height), (200, 30, 60)).save(out, kind)
    data = out.getvalue()
    expected = Probed(mime=f"image/{kind.lower()}", width_px=width, height_px=height, complete=True)
    assert probe(data, cuts_of(data, cuts)) == expected


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(STARTS), st.binary(max_size=200), st.lists(st.integers(0, 220), max_size=6))
def test_arbitrary_bytes_are_probed_alike_wherever_they_are_cut(start: bytes, rest: bytes, cuts: list[int]) -> None:
    """Never a crash, never another answer."""
    data = start + rest
    assert probe(data, cuts_of(data, cuts)) == probe(data, [0, len(data)])
    assert probe(data, list(range(len(data) + 1))) == probe(data, [0, len(data)])
