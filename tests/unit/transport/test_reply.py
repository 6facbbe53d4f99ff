"""Heads and framing: what real upstreams send is read, what would eat memory or pass for another answer is not."""

from __future__ import annotations

import gc

import pytest

from holdfast.transport.reply import HEAD_BYTES_MAX, HEADERS_MAX, Framing, Garbage, ReplyParser

OK = b"HTTP/1.1 200 OK\r\n"
LENGTH_2 = OK + b"Content-Length: 2\r\n\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


class Read:
    """A parser and what it passed on."""

    def __init__(self, *pieces: bytes) -> None:
        self.body = b""
        self.parser = ReplyParser(self._keep)
        for piece in pieces:
            self.parser.feed(memoryview(bytearray(piece)))

    def _keep(self, body: bytes) -> None:
        self.body += body

    @property
    def told(self) -> tuple[int, Framing, bytes, bool]:
        """Status, framing, body and whether it has ended."""
        assert self.parser.head is not None
        return self.parser.head.status, self.parser.framing, self.body, self.parser.is_complete


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (LENGTH_2 + b"{}", (200, Framing.LENGTH, b"{}", True)),
        (LENGTH_2 + b"{", (200, Framing.LENGTH, b"{", False)),
        (CHUNKED + b"1\r\n{\r\n1;x=y\r\n}\r\n0\r\nX-Sum: 1\r\n\r\n", (200, Framing.CHUNKED, b"{}", True)),
        (CHUNKED + b"2\r\n{}\r\n", (200, Framing.CHUNKED, b"{}", False)),
        (OK + b"\r\n{}", (200, Framing.CLOSE, b"{}", False)),
        (b"HTTP/1.0 200 OK\r\n\r\n{}", (200, Framing.CLOSE, b"{}", False)),
        (b"HTTP/1.1 503\r\nContent-Length: 0\r\n\r\n", (503, Framing.NONE, b"", True)),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n", (204, Framing.NONE, b"", True)),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n", (304, Framing.NONE, b"", True)),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nraw", (101, Framing.NONE, b"", True)),
    ],
    ids=["length", "short", "chunked", "no-end", "close", "http-1.0", "empty", "204", "304", "101"],
)
def test_each_framing_is_read_however_it_is_cut(
    answer: bytes, told: tuple[int, Framing, bytes, bool], step: int
) -> None:
    """The end of a body is told by its head alone; statuses without a body have none, whatever they announce."""
    assert Read(*[answer[at : at + step] for at in range(0, len(answer), step)]).told == told


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}",
        OK + b"X: a\r\n folded\r\nContent-Length: 2\r\n\r\n{}",
        OK + b"X: caf\xe9 \x01\r\nContent-Length: 2\r\n\r\n{}",
        OK + b"Transfer-Encoding: chunked\r\n\r\n2  \r\n{}\r\n0\r\n\r\n",
        OK + b"Content-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\nConnection: close\r\n\r\n" + LENGTH_2 + b"{}",
        b"HTTP/1.0 100 Continue\r\n\r\nHTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"\r\n\r\n" + LENGTH_2 + b"{}",
    ],
    ids=["bare-lf", "folded", "odd-value", "padded-chunk", "both", "both-2", "100-close", "100-http-1.0", "blank"],
)
def test_what_is_untidy_is_read_all_the_same(answer: bytes) -> None:
    """Relays and old servers are not strict; the picture behind their head is paid for."""
    read = Read(answer)
    assert read.body == b"{}"
    assert read.parser.is_complete
    assert read.parser.head is not None
    assert read.parser.head.status == 200


@pytest.mark.parametrize("codings", ["identity", "chunked, gzip", "gzip", "xchunked"])
def test_without_a_last_coding_of_chunks_the_end_is_the_close(codings: str) -> None:
    """As llhttp counts: a length beside another coding is none (RFC 9112 §6.3)."""
    read = Read(OK + f"Transfer-Encoding: {codings}\r\n\r\n{{}}".encode())
    assert read.told == (200, Framing.CLOSE, b"{}", False)


@pytest.mark.parametrize("codings", ["chunked", "Chunked", "gzip, chunked", "gzip,\tchunked"])
def test_chunks_are_known_by_the_last_coding(codings: str) -> None:
    """In any case of letters, with other codings before it."""
    read = Read(OK + f"Transfer-Encoding: {codings}\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n".encode())
    assert read.told == (200, Framing.CHUNKED, b"{}", True)


@pytest.mark.parametrize(
    "answer",
    [LENGTH_2 + b"{}", CHUNKED + b"2\r\n{}\r\n0\r\n\r\n", OK + b"Connection: close\r\nContent-Length: 2\r\n\r\n{}"],
    ids=["length", "chunked", "close"],
)
@pytest.mark.parametrize(
    "behind",
    [b"GARBAGE", b"\r\n", b"HTTP/1.1 500 No\r\nContent-Length: 1\r\n\r\nx", b"HTTP/1.1 200 OK\r\n\r\nmore"],
    ids=["garbage", "crlf", "another", "endless"],
)
def test_nothing_behind_the_end_counts(answer: bytes, behind: bytes) -> None:
    """A second answer must not take the place of the first, nor garbage the picture that came before it."""
    for pieces in ([answer + behind], [answer, behind]):
        read = Read(*pieces)
        assert read.body == b"{}"
        assert read.parser.is_complete
        assert read.parser.head is not None
        assert read.parser.head.status == 200


def test_interim_answers_leave_no_header_behind() -> None:
    """A 103 brings links for browsers; they are not the answer's."""
    read = Read(
        b"HTTP/1.1 103 Early Hints\r\nX-A: 1\r\n\r\n", OK + b"X-B:  2 \r\nx-b: 3\r\nContent-Length: 2\r\n\r\n{}"
    )
    assert read.parser.head is not None
    assert dict(read.parser.head.headers) == {"x-b": ("2", "3"), "content-length": ("2",)}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 2OO OK\r\n\r\n", "not HTTP"),
        (OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", "not HTTP"),
        (OK + b"Content-Length: -2\r\n\r\n{}", "not HTTP"),
        (OK + b"Content-Length: 99999999999999999999999\r\n\r\n{}", "not HTTP"),
        (CHUNKED + b"zz\r\n", "a chunk is broken"),
        (CHUNKED + b"fffffffffffffffff\r\n", "a chunk is broken"),
        (OK + b"X: " + b"a" * 20_000 + b"\r\n\r\n", "beyond all bounds"),
        (OK + b"".join(b"X-%d: 1\r\n" % i for i in range(HEADERS_MAX + 2)), "beyond all bounds"),
        (OK + b"A: 1\r\n" * (HEADERS_MAX + 2), "beyond all bounds"),
    ],
    ids=["ssh", "status", "lengths", "negative", "huge", "chunk", "huge-chunk", "long", "many", "same"],
)
def test_garbage_is_told_as_what_it_is(answer: bytes, words: str) -> None:
    """With words of ours, since they are shown to operators."""
    with pytest.raises(Garbage, match=words):
        Read(answer)


@pytest.mark.parametrize(
    ("before", "unit"),
    [
        (OK + b"X: ", b"a" * 1000),
        (b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
        (CHUNKED + b"1\r\n{\r\n0\r\nX: ", b"a" * 1000),
        (CHUNKED + b"1;", b"a" * 1000),
    ],
    ids=["line", "interim", "trailer", "extension"],
)
def test_what_never_gets_to_a_body_ends_at_a_bound(before: bytes, unit: bytes) -> None:
    """Each of these would be kept by the parser, or read, for ever."""
    read = Read(before)
    with pytest.raises(Garbage, match="without end"):
        for _ in range(HEAD_BYTES_MAX // len(unit) + 2):
            read.parser.feed(unit)


def test_a_body_of_many_chunks_is_no_head_without_end() -> None:
    """The bound counts what comes between bytes of a body, not the framing of all of them."""
    read = Read(CHUNKED)
    for _ in range(HEAD_BYTES_MAX // 4):
        read.parser.feed(b"1\r\nx\r\n")
    assert len(read.body) == HEAD_BYTES_MAX // 4


def test_a_mistake_of_ours_is_not_the_upstreams_garbage() -> None:
    """llhttp reports what a callback raised as a parse error; taken for one, a paid answer would be called broken."""

    def fail(_: bytes) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ReplyParser(fail).feed(LENGTH_2 + b"{}")


def test_a_parser_that_was_let_go_of_is_gone_at_once() -> None:
    """It and the parser below hold one another: 2,000 answers would wait for the collector."""

    def alive() -> int:
        return sum(isinstance(each, ReplyParser) for each in gc.get_objects())

    gc.disable()
    try:
        before = alive()
        read = Read(LENGTH_2 + b"{}")
        assert alive() == before + 1
        read.parser.release()
        assert read.parser.head is not None, "what was learnt stays"
        del read
        assert alive() == before
    finally:
        gc.enable()
