"""An answer is read piece by piece, each with its moment; how it ended is told apart."""

from __future__ import annotations

import pytest

from holdfast.doctor.http1 import (
    BODY_BYTES_MAX,
    HEAD_BYTES_MAX,
    INTERIMS_MAX,
    End,
    Exchange,
    Piece,
    Reading,
    head_of,
    request_bytes,
)

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def read(*came: tuple[float, bytes], end: End = End.SILENT, end_s: float = 99.0) -> Exchange:
    """Read what came, each with its moment; b"" is the peer's end."""
    reading = Reading()
    for at_s, data in came:
        reading.feed(data, at_s)
    return reading.result(end, end_s)


def test_a_request_is_spelled() -> None:
    """One Host, no connection kept; a length only where there is a body."""
    spelled = request_bytes("GET", "/v1/probe/echo", host="a:1", headers=(("Authorization", "Bearer k"),))
    assert spelled == (
        b"GET /v1/probe/echo HTTP/1.1\r\nHost: a:1\r\nConnection: close\r\nAuthorization: Bearer k\r\n\r\n"
    )
    assert b"Content-Length: 0\r\n" in request_bytes("POST", "/", host="a", content_bytes=0)


def test_a_whole_answer() -> None:
    """By its length."""
    seen = read((0.1, b"HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Length: 2\r\n\r\nok"))
    assert (seen.end, seen.status, seen.body, seen.head_s) == (End.WHOLE, 200, b"ok", 0.1)
    assert seen.head is not None
    assert seen.head.get("server") == "nginx"
    assert seen.head.get("via") is None
    assert seen.pieces == (Piece(at_s=0.1, bytes=2),)


def test_beats_are_pieces_with_their_moments() -> None:
    """What chunks carry is counted, their framing is not; a head alone is no piece."""
    seen = read((1.0, CHUNKED + b"1\r\n\n\r\n"), (2.0, b"1\r\n\n\r\n"), (3.0, b"2\r\n{}\r\n0\r\n\r\n"))
    assert [(piece.at_s, piece.bytes) for piece in seen.pieces] == [(1.0, 1), (2.0, 1), (3.0, 2)]
    assert (seen.end, seen.body) == (End.WHOLE, b"\n\n{}")
    assert read((1.0, CHUNKED), (2.0, b"1\r\n\n\r\n")).pieces == (Piece(at_s=2.0, bytes=1),)


def test_a_body_without_a_length_ends_with_its_connection() -> None:
    """As answers to HTTP/1.0 do: an end is then no cut."""
    assert read((1.0, b"HTTP/1.0 200 OK\r\n\r\n{}"), (2.0, b"")).end is End.WHOLE
    assert read((1.0, b"HTTP/1.0 200 OK\r\n\r\n{}")).end is End.SILENT


@pytest.mark.parametrize("came", [b"", b"HTTP/1.1 200 OK\r\n", CHUNKED, CHUNKED + b"5\r\nab"])
def test_an_end_before_the_end_is_a_cut(came: bytes) -> None:
    """Nothing, half a head, no chunk, half a chunk."""
    seen = read((1.0, came), (2.0, b"")) if came else read((2.0, b""))
    assert seen.end is End.FIN


def test_a_length_that_is_not_reached_is_a_cut() -> None:
    """Whoever joins pieces would take it for whole."""
    assert read((1.0, b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok"), (2.0, b"")).end is End.FIN


def test_interim_answers_are_kept_apart() -> None:
    """They are no final status, however many there are."""
    seen = read((0.5, b"HTTP/1.1 102 Processing\r\n\r\n"), (1.0, b"HTTP/1.1 204 No Content\r\n\r\n"))
    assert [(each.at_s, each.status) for each in seen.interims] == [(0.5, 102)]
    assert (seen.end, seen.status) == (End.WHOLE, 204)
    many = read((0.5, b"HTTP/1.1 102 Processing\r\n\r\n" * 500))
    assert len(many.interims) == INTERIMS_MAX


def test_a_trailer_is_passed_over() -> None:
    """It is no piece of the body."""
    assert read((1.0, CHUNKED + b"1;x=y\r\na\r\n0\r\nDigest: x\r\n\r\n")).body == b"a"


@pytest.mark.parametrize(
    "came",
    [
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nnonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: ten\r\n\r\n",
        CHUNKED + b"zz\r\n",
        CHUNKED + b"1" * 5000,
        b"HTTP/1.1 200 OK\r\n" + b"a" * (HEAD_BYTES_MAX + 1),
    ],
)
def test_what_is_no_answer_is_garbled(came: bytes) -> None:
    """And its first bytes are kept: they tell TLS."""
    seen = read((1.0, came))
    assert seen.end is End.GARBLED
    assert seen.raw == came[:512]


def test_an_answer_is_kept_in_part_only() -> None:
    """A body of any size is counted, its beginning is kept."""
    seen = read((1.0, b"HTTP/1.1 200 OK\r\n\r\n"), *((2.0, b"a" * 60_000) for _ in range(5)), (3.0, b""))
    assert (seen.body_bytes, len(seen.body)) == (300_000, BODY_BYTES_MAX)


def test_nothing_counts_behind_the_end() -> None:
    """A second answer on the connection is nobody's."""
    seen = read((1.0, b"HTTP/1.1 204 No\r\n\r\n"), (2.0, b"HTTP/1.1 500 No\r\n\r\n"), (3.0, b""))
    assert (seen.end, seen.status) == (End.WHOLE, 204)


def test_header_values_are_joined() -> None:
    """Two hops write two Via lines."""
    head = head_of(b"HTTP/1.1 200 OK\r\nVia: 1.1 a\r\nVIA: 1.1 b")
    assert head is not None
    assert head.get("via") == "1.1 a, 1.1 b"
