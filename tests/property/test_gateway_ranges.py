"""Ranges of an image: whatever is asked for, what comes is a stretch of the file, or a plain no."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holdfast.gateway.generations import wanted_range

ETAG = '"etag"'
sizes = st.integers(1, 10_000)
positions = st.none() | st.integers(0, 20_000)


@given(positions, positions, sizes)
def test_a_range_is_the_stretch_that_the_rfc_names(first: int | None, last: int | None, size: int) -> None:
    """RFC 9110 §14.1.2, computed on the bytes themselves."""
    data = bytes(number % 251 for number in range(size))
    header = f"bytes={'' if first is None else first}-{'' if last is None else last}"
    span = wanted_range({"range": header}, size, ETAG)
    if first is None and last is None:
        wanted: bytes | None = data
    elif first is None:
        assert last is not None
        wanted = data[max(0, size - last) :] if last else None
    elif first >= size:
        wanted = None
    elif last is not None and last < first:
        wanted = data
    else:
        wanted = data[first : size if last is None else last + 1]
    assert (None if span is None else data[span.first : span.last + 1]) == wanted
    if span is not None:
        assert span.length == len(wanted or b"")


@given(st.text(max_size=40) | st.from_regex(r"bytes=[\d, -]{0,30}", fullmatch=True), sizes)
def test_any_header_gives_a_stretch_inside_the_file(header: str, size: int) -> None:
    """No header reads outside, and none raises."""
    span = wanted_range({"range": header}, size, ETAG)
    if span is None:
        return
    assert 0 <= span.first <= span.last < size
    assert span.is_part or span.length == size


@given(st.text(max_size=20), sizes)
def test_another_version_is_always_sent_whole(if_range: str, size: int) -> None:
    """Unless If-Range names exactly this file."""
    span = wanted_range({"range": "bytes=0-0", "if-range": if_range}, size, ETAG)
    assert span is not None
    assert span.is_part is (if_range == ETAG)
