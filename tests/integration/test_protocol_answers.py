"""What is written of an answer, on real sockets: its head as uvicorn spells it, its pieces as the head said."""

from __future__ import annotations

import asyncio
import importlib.util
import re
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast.gateway.call import Call

# Tests are no package, so that nothing imports them by accident; what they share is loaded from its file.
_spec = importlib.util.spec_from_file_location("protocol_serving", Path(__file__).with_name("test_protocol.py"))
assert _spec is not None
assert _spec.loader is not None
_shared = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = _shared
_spec.loader.exec_module(_shared)
exchange, serving = _shared.exchange, _shared.serving

App = Callable[[Any, Any, Any], Awaitable[None]]


def writing(
    pieces: list[bytes], headers: list[tuple[bytes, bytes]], broken: list[Exception], turns: bool = True
) -> App:
    """An application that answers in pieces, as an image is written."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        call = Call(scope, receive, send, request_id="req_1", body_bytes_max=1)
        await call.start(200, list(headers))
        try:
            for piece in pieces:
                if turns:
                    await asyncio.sleep(0.01)
                await call.write(piece)
            await call.finish()
        except Exception as exc:  # noqa: BLE001 - the test looks at it
            broken.append(exc)
            call.break_off()

    return app


async def body_of(app: App, request: bytes = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") -> bytes:
    """Ask once and give what came behind the head."""
    async with serving(app) as port:
        answer = await exchange(port, request)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), answer[:100]
    return body


@pytest.mark.parametrize("turns", [True, False])
async def test_pieces_are_framed_as_the_head_said(turns: bool) -> None:
    """Counted where a length was announced, else as chunks; an empty piece is nothing, and ends nothing."""
    broken: list[Exception] = []
    large = b"x" * 200_000
    pieces = [b"one", b"", b"twenty-two characters.", large]
    length = b"%d" % sum(map(len, pieces))
    assert await body_of(writing(pieces, [(b"content-length", length)], broken, turns)) == b"".join(pieces)
    chunked = await body_of(writing(pieces, [], broken, turns))
    assert chunked == b"3\r\none\r\n16\r\ntwenty-two characters.\r\n30d40\r\n" + large + b"\r\n0\r\n\r\n"
    assert broken == []


async def test_the_first_chunk_leaves_with_its_head() -> None:
    """One segment, however the piece is framed."""
    reads: list[bytes] = []
    async with serving(writing([b"{", b"}"], [], [], turns=False)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        reads.append(await reader.read(1 << 16))
        writer.close()
    assert b"\r\n\r\n1\r\n{\r\n" in reads[0]


async def test_a_head_is_answered_with_no_piece() -> None:
    """Whatever is written, HEAD has no body."""
    app = writing([b"abc"], [(b"content-length", b"3")], [])
    assert await body_of(app, b"HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") == b""


@pytest.mark.parametrize(("length", "sent"), [(b"5", b"abc"), (b"8", b"abcdef")])
async def test_a_body_of_another_length_than_announced_is_cut(length: bytes, sent: bytes) -> None:
    """A piece too many is not written, and a body that ends too early is not taken for whole."""
    broken: list[Exception] = []
    assert await body_of(writing([b"abc", b"def"], [(b"content-length", length)], broken)) == sent
    assert [type(each) for each in broken] == [RuntimeError]


async def test_whoever_reads_slowly_is_written_to_slowly() -> None:
    """Pieces wait while the connection is full: memory is bounded by what the kernel and one piece hold."""
    written: list[int] = []
    piece = b"x" * 262_144

    async def app(scope: Any, receive: Any, send: Any) -> None:
        call = Call(scope, receive, send, request_id="req_1", body_bytes_max=1)
        await call.start(200, [(b"content-length", b"%d" % (100 * len(piece)))])
        for _ in range(100):
            await call.write(piece)
            written.append(int(call.protocol.transport.get_write_buffer_size()))
        await call.finish()

    async with serving(app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 16)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.1)
        assert len(written) < 100
        received = 0
        while received < 100 * len(piece):
            received += len(await reader.read(1 << 20))
        writer.close()
    # The transport asks for a pause above 64 KiB; what was below it is still there when the next piece comes.
    assert max(written) <= len(piece) + 65536


async def test_a_piece_for_a_caller_that_left_goes_nowhere() -> None:
    """Neither an error nor a wait that never ends."""
    ended = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        call = Call(scope, receive, send, request_id="req_1", body_bytes_max=1)
        await call.start(200, [])
        for _ in range(100):
            await call.write(b"x" * 262_144)
        ended.set()

    async with serving(app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()
        await asyncio.wait_for(ended.wait(), 5.0)


Heads = list[tuple[bytes, bytes]]
ANSWERS: list[tuple[int, Heads]] = [
    (200, [(b"content-type", b"image/png"), (b"content-length", b"3"), (b"x-a", b"caf\xe9 \t~")]),
    (200, []),
    (404, [(b"content-length", b"3"), (b"connection", b"close")]),
    (503, [(b"connection", b"close")]),
    (204, []),
    (304, [(b"etag", b'"1"')]),
    (
        206,
        [(b"content-range", b"bytes 0-2/9"), (b"content-length", b"3"), (b"set-cookie", b"a"), (b"set-cookie", b"b")],
    ),
]
REQUESTS = [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.0\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n",
]


async def test_a_head_is_what_uvicorn_would_have_written() -> None:
    """The same bytes, and the same framing of what follows, for every kind of answer and of request."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        _, who, number = scope["path"].split("/")
        status, headers = ANSWERS[int(number)]
        if who == "ours":
            assert scope["extensions"]["holdfast"].write_head(status, headers)
        else:
            await send({"type": "http.response.start", "status": status, "headers": headers})
        body = b"" if status in {204, 304} else b"abc"
        await send({"type": "http.response.body", "body": body, "more_body": False})

    async with serving(app) as port:

        async def ask(request: bytes, who: bytes, number: int) -> bytes:
            answer = await exchange(port, request.replace(b" / ", b" /%b/%d " % (who, number)))
            return re.sub(rb"date: [^\r]*", b"date: -", answer)

        asked = [(request, number) for request in REQUESTS for number in range(len(ANSWERS))]
        ours = await asyncio.gather(*(ask(request, b"ours", number) for request, number in asked))
        theirs = await asyncio.gather(*(ask(request, b"theirs", number) for request, number in asked))
    assert ours == theirs
    for answer, (_, number) in zip(ours, asked, strict=True):
        assert answer.startswith(b"HTTP/1.1 %d " % ANSWERS[number][0])


@pytest.mark.parametrize("value", [b"a\r\nb: c", b"a\nb", b"a\rb", b"\0", b"\x7f", b"a\r\n", b"\x0b"])
async def test_a_header_that_would_be_two_is_never_written(value: bytes) -> None:
    """A mistake of ours, told as one: nothing of the head is out, so the caller still gets an answer."""
    broken: list[Exception] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        call = Call(scope, receive, send, request_id="req_1", body_bytes_max=1)
        try:
            await call.start(200, [(b"content-length", b"3"), (b"x-word", value)])
        except RuntimeError as exc:
            broken.append(exc)
            raise

    async with serving(app) as port:
        answer = await exchange(port, REQUESTS[1])
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"x-word" not in answer
    assert len(broken) == 1
