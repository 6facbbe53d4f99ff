"""However an answer is cut into pieces, it is the same answer."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from holdfast.doctor.http1 import End, Reading

ANSWERS = [
    b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n\n\r\n4;a=b\r\nello\r\n0\r\nX: y\r\n\r\n",
    b"HTTP/1.1 504 Gateway Time-out\r\nServer: nginx\r\nContent-Length: 0\r\n\r\n",
]


@given(answer=st.sampled_from(ANSWERS), cuts=st.lists(st.integers(0, 130), max_size=12))
def test_pieces_do_not_matter(answer: bytes, cuts: list[int]) -> None:
    """Status, headers, body and end are those of the whole."""
    whole, parts = Reading(), Reading()
    whole.feed(answer, 0.0)
    places = sorted({0, len(answer), *(cut for cut in cuts if cut < len(answer))})
    for at_s, (begin, end) in enumerate(itertools.pairwise(places)):
        parts.feed(answer[begin:end], float(at_s))
    once, again = whole.result(End.SILENT, 1.0), parts.result(End.SILENT, 1.0)
    assert (once.end, once.head, once.body) == (again.end, again.head, again.body)
    assert once.end is End.WHOLE
    assert sum(piece.bytes for piece in again.pieces) == again.body_bytes


@given(noise=st.lists(st.binary(max_size=300), max_size=20))
def test_nothing_that_comes_breaks_it(noise: list[bytes]) -> None:
    """Whatever a port says, the doctor has something to say of it."""
    reading = Reading()
    for at_s, data in enumerate(noise):
        reading.feed(data, float(at_s))
    assert reading.result(End.SILENT, 1.0).end in End
