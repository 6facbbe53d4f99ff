"""A request on its way out: its head to the byte, its pieces in order, and a proof of what has not left."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from holdfast import __version__
from holdfast.providers.http import HttpRequest
from holdfast.transport import body as body_module
from holdfast.transport.body import RequestBody, measure, request_body, request_head
from holdfast.wire.template import PIECE_BYTES, Slot, Template

ANSWER = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n"


def a_request(**overrides: Any) -> HttpRequest:
    """A usual one."""
    usual: dict[str, Any] = {
        "method": "POST",
        "url": "https://up.example/v1/images/generations",
        "headers": (("Authorization", "Bearer sk-secret"),),
        "body": (b"{}",),
    }
    return HttpRequest(**{**usual, **overrides})


@pytest.fixture
def readers() -> Iterator[ThreadPoolExecutor]:
    """One thread that reads files."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


async def a_body(readers: Any, template: Template = (b"{}",), *inputs: Path) -> RequestBody:
    """A body that has not begun."""
    return await request_body(template, inputs=inputs, readers=readers)


async def test_the_head_to_the_byte(readers: ThreadPoolExecutor) -> None:
    """One line, the upstream's own headers as given, ours after them, one exchange a connection."""
    head = request_head(a_request(), body=await a_body(readers, (b'{"n":1}',)))
    assert head == (
        b"POST /v1/images/generations HTTP/1.1\r\n"
        b"Host: up.example\r\n"
        b"Authorization: Bearer sk-secret\r\n"
        b"User-Agent: holdfast/" + __version__.encode() + b"\r\n"
        b"Accept: */*\r\n"
        b"Accept-Encoding: identity\r\n"
        b"Content-Type: application/json\r\n"
        b"Content-Length: 7\r\n"
        b"Connection: close\r\n"
        b"\r\n"
    )


def test_a_request_without_a_body_announces_none() -> None:
    """A GET with `Content-Length: 0` puzzles some servers."""
    head = request_head(a_request(method="GET", headers=()), body=None)
    assert head.startswith(b"GET /v1/images/generations HTTP/1.1\r\n")
    assert b"Content-" not in head


async def test_what_the_upstream_wants_said_takes_the_place_of_ours(readers: ThreadPoolExecutor) -> None:
    """Once, in whatever case it is written."""
    headers = (("content-type", "text/plain"), ("USER-AGENT", "x"), ("Accept", "text/event-stream"))
    lines = request_head(a_request(headers=headers), body=await a_body(readers)).split(b"\r\n")
    names = [line.partition(b":")[0].lower() for line in lines[1:-2]]
    assert len(names) == len(set(names))
    assert {b"content-type: text/plain", b"USER-AGENT: x", b"Accept: text/event-stream"} <= set(lines)


@pytest.mark.parametrize(
    ("url", "line", "host"),
    [
        ("http://up.example", "/", "up.example"),
        ("http://up.example:8080/", "/", "up.example:8080"),
        ("http://[::1]:81/v1", "/v1", "[::1]:81"),
        ("http://user:word@up.example/v1", "/v1", "up.example"),
        ("http://up.example/v1beta/models/a:generateContent?alt=sse", "/v1beta/models/a:generateContent?alt=sse", None),
        ("http://up.example/a%20b/c%2Fd?x=%26", "/a%20b/c%2Fd?x=%26", None),
        ("http://up.example/a b/ü?q=a b&r=ü#fragment", "/a%20b/%C3%BC?q=a%20b&r=%C3%BC", None),
        ("http://up.example/a?b=1/2?3,[4]", "/a?b=1/2?3,%5B4%5D", None),
        ('http://up.example/"<>\\^`{|}', "/%22%3C%3E%5C%5E%60%7B%7C%7D", None),
        ("http://up.example/a\r\nX-Evil: 1/b", "/aX-Evil:%201/b", None),
        ("http://up.example/a?b\x00c\x7f HTTP/1.1", "/a?b%00c%7F%20HTTP/1.1", None),
    ],
)
def test_a_target_is_one_word(url: str, line: str, host: str | None) -> None:
    """What is encoded stays so, and what is not cannot end the line."""
    head = request_head(a_request(url=url), body=None).decode("latin-1").split("\r\n")
    assert head[0] == f"POST {line} HTTP/1.1"
    assert head[1] == f"Host: {host or 'up.example'}"


@pytest.mark.parametrize("unfit", ["\r", "\n", "\r\nX-Evil: 1", "\0"])
@pytest.mark.parametrize("where", ["name", "value"])
def test_a_header_cannot_begin_another(unfit: str, where: str) -> None:
    """A key with a line break in it is a slip of whoever copied it; its words are not repeated."""
    header = (f"X-Key{unfit}", "1") if where == "name" else ("X-Key", f"sk-secret{unfit}")
    with pytest.raises(ValueError, match="line break") as told:
        request_head(a_request(headers=(header,)), body=None)
    assert "sk-secret" not in str(told.value)


def test_a_header_holds_latin_letters_only() -> None:
    """As HTTP has them; anything else is an error before anybody is asked."""
    assert b"X-Name: caf\xe9\r\n" in request_head(a_request(headers=(("X-Name", "café"),)), body=None)
    with pytest.raises(ValueError, match="latin-1"):
        request_head(a_request(headers=(("X-Name", "雪"),)), body=None)


# Bodies


@pytest.mark.parametrize("size", [0, 1, 2, 3, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 2 * PIECE_BYTES])
async def test_files_are_written_as_base64_of_the_announced_length(
    rig: Any, readers: ThreadPoolExecutor, tmp_path: Path, size: int
) -> None:
    """Padding stands at their end only, wherever the pieces are cut."""
    path = tmp_path / "image"
    path.write_bytes(bytes(range(256)) * (size // 256) + bytes(size % 256))
    template: Template = (b'{"a":"', Slot(0), b'","b":"', Slot(0), b'"}')
    body, made = await a_body(readers, template, path), rig()
    await body.write(made.connection, b"HEAD")
    text = base64.b64encode(path.read_bytes())
    assert made.wire.written == b'HEAD{"a":"' + text + b'","b":"' + text + b'"}'
    assert body.size == len(made.wire.written) - len(b"HEAD") == measure(template, (path,))


@pytest.mark.parametrize("template", [(), (b"",), (b"", b"")])
async def test_an_empty_body_is_a_head_alone(rig: Any, readers: ThreadPoolExecutor, template: Template) -> None:
    """It is written all the same."""
    body, made = await a_body(readers, template), rig()
    await body.write(made.connection, b"HEAD")
    assert made.wire.written == b"HEAD"
    assert body.size == 0
    assert body.ended_at is not None


async def test_head_and_first_piece_leave_together(rig: Any, readers: ThreadPoolExecutor) -> None:
    """Two segments would be two round trips of a slow start, and some servers look at the first alone."""
    body, made = await a_body(readers, (b"one", b"two")), rig()
    writes: list[bytes] = []
    made.wire.write = writes.append
    await body.write(made.connection, b"HEAD")
    assert writes == [b"HEADone", b"two"]


async def test_nothing_has_left_before_the_first_write(rig: Any, readers: ThreadPoolExecutor) -> None:
    """The proof that a failed call is free; and once it has ended, the prompt is let go of."""
    body, made = await a_body(readers, (b"a prompt",)), rig()
    assert body.began_at is None
    made.connection.pause_writing()
    task = asyncio.create_task(body.write(made.connection, b"HEAD"))
    await made.turn()
    assert body.began_at is not None
    assert body.ended_at is None
    made.connection.resume_writing()
    await task
    assert body.ended_at is not None
    assert body.ended_at >= body.began_at
    assert body._template == body._inputs == ()


@pytest.mark.parametrize("how", ["answer", "eof", "lost"])
async def test_writing_stops_when_the_upstream_answers_or_leaves(
    rig: Any, readers: ThreadPoolExecutor, how: str
) -> None:
    """20 MB more would not change its mind."""
    body, made = await a_body(readers, (b"a", b"b", b"c")), rig()
    made.connection.pause_writing()
    task = asyncio.create_task(body.write(made.connection, b"HEAD"))
    await made.turn()
    match how:
        case "answer":
            made.deliver(ANSWER)
        case "eof":
            made.connection.eof_received()
        case _:
            made.connection.connection_lost(None)
    await task
    assert made.wire.written == b"HEADa"
    assert body.ended_at is None


async def test_a_peer_that_leaves_while_a_file_is_read_is_no_error(rig: Any, tmp_path: Path) -> None:
    """The piece comes back to a connection that is gone."""
    path = tmp_path / "image"
    path.write_bytes(b"image")
    made = rig()
    reading: list[tuple[Future[bytes], Any]] = []

    class Slow(ThreadPoolExecutor):
        def submit(self, work: Any, /, *args: Any, **_: Any) -> Future[Any]:
            result: Future[Any] = Future()
            if work is measure:
                result.set_result(work(*args))
            else:
                reading.append((result, lambda: work(*args)))
            return result

    body = await a_body(Slow(1), (b'"', Slot(0), b'"'), path)
    task = asyncio.create_task(body.write(made.connection, b"HEAD"))
    await made.turn()
    made.connection.connection_lost(ConnectionResetError("gone"))
    result, read = reading.pop()
    result.set_result(read())
    await made.turn()
    await task
    assert made.wire.written == b'HEAD"'
    assert body.ended_at is None


async def test_a_file_that_is_gone_is_ours(rig: Any, readers: ThreadPoolExecutor, tmp_path: Path) -> None:
    """Told as what it is, before and in the middle of writing."""
    path = tmp_path / "image"
    with pytest.raises(FileNotFoundError):
        await a_body(readers, (Slot(0),), path)
    path.write_bytes(b"image")
    body, made = await a_body(readers, (Slot(0),), path), rig()
    path.unlink()
    with pytest.raises(FileNotFoundError):
        await body.write(made.connection, b"HEAD")
    assert made.wire.written == b""


async def test_a_cancelled_write_leaves_no_file_open(
    rig: Any, readers: ThreadPoolExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A descriptor closed under a reading thread may be somebody else's socket by then."""
    path = tmp_path / "image"
    path.write_bytes(b"image")
    begun, go_on = threading.Event(), threading.Event()
    read: list[bytes] = []
    original = body_module._read_encoded

    def slowly(path: Path, at: int) -> bytes:
        begun.set()
        assert go_on.wait(10.0)
        read.append(original(path, at))
        return read[-1]

    monkeypatch.setattr(body_module, "_read_encoded", slowly)
    body, made = await a_body(readers, (Slot(0),), path), rig()
    task = asyncio.create_task(body.write(made.connection, b"HEAD"))
    await asyncio.to_thread(begun.wait, 10.0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    await asyncio.to_thread(readers.shutdown)
    assert read == [base64.b64encode(b"image")]
