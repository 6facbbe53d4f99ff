"""The connection's own rules on real sockets: framing, timers, limits, upgrades, half-close, one segment."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvicorn

from holdfast.gateway.protocol import ConnectionLimits, HoldProtocol

LIMITS = ConnectionLimits(
    header_bytes_max=4096,
    header_timeout_s=0.4,
    body_gap_s=0.4,
    idle_timeout_s=0.6,
    caller_dead_s=7.0,
    discard_bytes_max=1_000_000,
)


@dataclass
class Seen:
    """What reached the application."""

    paths: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[bytes, bytes]] = field(default_factory=list)
    lost: int = 0
    protocols: list[HoldProtocol] = field(default_factory=list)


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield


App = Callable[[Any, Any, Any], Awaitable[None]]


def echo(seen: Seen, hold_s: float = 0.0) -> App:
    """An application that reads the body, waits, and answers with its length."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        protocol = scope["extensions"]["holdfast"]
        seen.protocols.append(protocol)
        seen.paths.append(scope["path"])
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            if not message["more_body"]:
                break
        seen.bodies.append(body)
        seen.headers.append(dict(scope["headers"]))

        def lost() -> None:
            seen.lost += 1

        protocol.on_lost = lost
        await asyncio.sleep(hold_s)
        answer = b"got %d" % len(body)
        length = [(b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": length})
        await send({"type": "http.response.body", "body": answer, "more_body": False})

    return app


@contextlib.asynccontextmanager
async def serving(app: App) -> AsyncIterator[int]:
    """Serve `app` through the protocol on a free port."""
    config = uvicorn.Config(
        app,
        http=HoldProtocol.bound_to(LIMITS),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        timeout_keep_alive=1,
    )
    server = _Server(config)
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    task = asyncio.create_task(server.serve(sockets=[sock]))
    while not server.started:
        await asyncio.sleep(0.005)
    try:
        yield sock.getsockname()[1]
    finally:
        server.should_exit = True
        server.force_exit = True
        await task


async def exchange(port: int, *pieces: bytes, gap_s: float = 0.02, within_s: float = 3.0) -> bytes:
    """Send the pieces, then read until the server closes; the connection is never closed by us first."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            with contextlib.suppress(RuntimeError, BrokenPipeError):
                # A server that has refused already has closed; what it said is still to be read.
                writer.write(piece)
            await asyncio.sleep(gap_s)
        return await asyncio.wait_for(reader.read(-1), within_s)
    except (ConnectionResetError, BrokenPipeError):
        return b"RESET"
    finally:
        writer.close()
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            await writer.wait_closed()


POST = b"POST /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"


async def test_h2c_upgrade_is_ignored_and_the_body_is_read_whole() -> None:
    """Java's HttpClient offers h2c on every plain POST; its body may come in the same segment or in the next."""
    for split in (True, False):
        seen = Seen()
        head = (
            b"POST /a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
            b"HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\nContent-Length: 27\r\n\r\n"
        )
        body = b"GET /smuggled HTTP/1.1\r\n\r\n."
        async with serving(echo(seen)) as port:
            answer = await exchange(port, *([head, body] if split else [head + body]))
        assert b"200 OK" in answer
        assert answer.endswith(b"got 27")
        assert seen.paths == ["/a"]
        assert seen.bodies == [body]
        assert b"upgrade" not in seen.headers[0]


async def test_websocket_upgrade_of_a_get_is_answered_as_a_plain_get() -> None:
    """Any upgrade is ignored, as HTTP allows."""
    seen = Seen()
    async with serving(echo(seen)) as port:
        head = b"GET /w HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        answer = await exchange(port, head)
    assert b"200 OK" in answer
    assert seen.paths == ["/w"]


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: user@a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a?b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400),
        (POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
        (POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (POST + b"Transfer-Encoding: identity\r\n\r\n", 501),
        (POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 405),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 5000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X-N: 1\r\n" * 700 + b"\r\n", 431),
        (b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: a\n\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n folded\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
    ],
)
async def test_malformed_requests_are_refused_once_and_never_reach_the_application(
    request_bytes: bytes, status: int
) -> None:
    """Each gets a JSON error with its own status, then the connection ends."""
    seen = Seen()
    async with serving(echo(seen)) as port:
        answer = await exchange(port, request_bytes)
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b'{"error":{"message":' in answer
    assert seen.bodies == []


@pytest.mark.parametrize(
    "host", [b"", b"a", b"a_b.example:8080", b"127.0.0.1:", b"[::1]", b"[fe80::1]:16888", b"xn--e1a%41"]
)
async def test_every_host_that_is_one_is_served(host: bytes) -> None:
    """A name, an address, a port or none of them: RFC 9110 §7.2 allows even an empty one."""
    seen = Seen()
    async with serving(echo(seen)) as port:
        answer = await exchange(port, b"GET /h HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n\r\n")
    assert b"200 OK" in answer
    assert seen.headers[0][b"host"] == host


async def test_chunk_extensions_are_bounded() -> None:
    """Two hundred kilobytes of chunk extension for one byte of body are refused."""
    seen = Seen()
    chunk = b"1;" + b"x" * 200_000 + b"\r\na\r\n0\r\n\r\n"
    async with serving(echo(seen)) as port:
        answer = await exchange(port, POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunk)
    assert b"200 OK" not in answer
    assert seen.bodies == []


async def test_a_head_that_never_ends_is_answered_408() -> None:
    """Slowloris: a byte now and then does not extend the head's time."""
    async with serving(echo(Seen())) as port:
        pieces = [b"GET / HTTP/1.1\r\n"] + [b"X: 1\r\n"] * 8
        answer = await exchange(port, *pieces, gap_s=0.08)
    assert answer.startswith(b"HTTP/1.1 408 ") or answer == b"RESET"


async def test_a_stalled_body_is_answered_408() -> None:
    """The gap between body bytes is bounded."""
    seen = Seen()
    async with serving(echo(seen)) as port:
        answer = await exchange(port, POST + b"Content-Length: 10\r\n\r\nabc")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert seen.bodies == []


async def test_a_slow_but_moving_body_is_read_whole() -> None:
    """Only silence counts, not the whole time."""
    seen = Seen()
    async with serving(echo(seen)) as port:
        answer = await exchange(port, POST + b"Content-Length: 8\r\n\r\n", *[b"a"] * 8, gap_s=0.1)
    assert b"got 8" in answer


async def test_a_connection_that_asks_nothing_is_closed() -> None:
    """Idle connections end by themselves, and say nothing."""
    async with serving(echo(Seen())) as port:
        assert await exchange(port) == b""


async def test_pipelined_request_is_not_served_while_the_first_is_held_and_a_leaver_is_still_noticed() -> None:
    """Whether it comes in the same read or later, the second request goes unanswered and the connection closes."""
    get = b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\n"
    second = b"GET /2 HTTP/1.1\r\nHost: x\r\n\r\n"
    for pieces in ([get + second], [get, second], [get + second[:9], second[9:]], [get, b"\x00garbage"]):
        seen = Seen()
        async with serving(echo(seen, hold_s=0.3)) as port:
            answer = await exchange(port, *pieces)
        assert answer.count(b"200 OK") == 1, answer
        assert answer.count(b"HTTP/1.1 ") == 1
        assert seen.paths == ["/1"]
    seen = Seen()
    async with serving(echo(seen, hold_s=1.0)) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(get + second)
        await asyncio.sleep(0.1)
        writer.close()
        await asyncio.sleep(0.2)
        assert seen.lost == 0 or seen.lost == 1
        writer.transport.abort()


async def test_half_closing_caller_gets_its_answer() -> None:
    """A caller that shuts its write side down is still owed what it asked for."""
    seen = Seen()
    async with serving(echo(seen, hold_s=0.2)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(POST + b"Content-Length: 2\r\n\r\nab")
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(-1), 3)
        writer.close()
    assert answer.endswith(b"got 2")


async def test_reset_by_the_caller_is_reported_at_once() -> None:
    """`on_lost` fires while the application waits, without a beat being written."""
    seen = Seen()
    async with serving(echo(seen, hold_s=5.0)) as port:
        sock = socket.create_connection(("127.0.0.1", port))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        sock.sendall(POST + b"Content-Length: 0\r\n\r\n")
        async with asyncio.timeout(5):
            # A reset takes away what has not been read yet.
            while not seen.bodies:
                await asyncio.sleep(0.01)
            sock.close()
            while not seen.lost:
                await asyncio.sleep(0.01)
        assert seen.lost == 1


async def test_head_and_first_body_byte_leave_in_one_segment() -> None:
    """nginx forwards no head before the first body byte, so they travel together."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"\n", "more_body": True})
        await asyncio.sleep(0.2)
        await send({"type": "http.response.body", "body": b"{}", "more_body": False})

    async with serving(app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        first = await reader.read(65536)
        writer.close()
    assert first.startswith(b"HTTP/1.1 200")
    assert first.endswith(b"\r\n\r\n1\r\n\n\r\n")


async def test_a_head_without_a_body_leaves_by_itself() -> None:
    """The head waits for a body byte at most until the loop's next turn."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async with serving(app) as port:
        answer = await exchange(port, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 204")


async def test_early_answer_survives_an_upload_in_progress() -> None:
    """A caller in mid-upload reads the 413 because the rest is read and thrown away."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 413, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"no", "more_body": False})

    async with serving(app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\n")
        for _ in range(50):
            writer.write(b"x" * 10_000)
            await writer.drain()
        answer = await asyncio.wait_for(reader.read(1000), 3)
        assert answer.startswith(b"HTTP/1.1 413")
        # The connection is whole: the next request on it is served.
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await asyncio.wait_for(reader.read(1000), 3)).startswith(b"HTTP/1.1 413")
        writer.close()


async def test_discarding_after_an_early_answer_is_bounded() -> None:
    """Beyond the bound the connection is closed."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 413, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"no", "more_body": False})

    async with serving(app) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n\r\n")
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            for _ in range(500):
                writer.write(b"x" * 10_000)
                await writer.drain()
                await asyncio.sleep(0)
        writer.close()
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            await writer.wait_closed()


async def test_trailers_never_become_headers() -> None:
    """What follows the last chunk is read and forgotten."""
    seen = Seen()
    async with serving(echo(seen)) as port:
        answer = await exchange(port, POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n0\r\nX-Evil: 1\r\n\r\n")
    assert b"got 1" in answer
    assert b"x-evil" not in seen.headers[0]


async def test_break_off_truncates_without_a_word() -> None:
    """A broken-off body lacks its last chunk, so the caller sees a truncated answer."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"\n", "more_body": True})
        scope["extensions"]["holdfast"].break_off()

    async with serving(app) as port:
        answer = await exchange(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.endswith(b"1\r\n\n\r\n")


async def test_unacknowledged_bytes_fall_to_zero_when_the_caller_has_read_all() -> None:
    """The send queue tells whether the last byte arrived."""
    counts: list[int | None] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        protocol = scope["extensions"]["holdfast"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x" * 8_000_000, "more_body": False})
        for _ in range(200):
            counts.append(protocol.unacknowledged_bytes())
            if not counts[-1]:
                break
            await asyncio.sleep(0.01)

    async with serving(app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(0.1)
        received = 0
        while received < 8_000_000:
            received += len(await reader.read(1 << 20))
        await asyncio.sleep(0.1)
        writer.close()
    assert counts[0]
    assert counts[0] > 0
    assert counts[-1] == 0


@pytest.mark.parametrize(("reads_all", "is_awaited"), [(True, True), (False, True), (True, False)])
async def test_a_caller_that_hangs_up_with_all_of_it_has_got_it(reads_all: bool, is_awaited: bool) -> None:
    """Many close at their last byte; whoever closes before it has read everything has not got it.

    Where nobody waits for the last byte, nobody is asked.
    """
    counts: list[int | None] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x" * 3_000_000, "more_body": False})
        protocol = scope["extensions"]["holdfast"]
        protocol.is_awaited = is_awaited
        while not protocol.transport.is_closing():
            await asyncio.sleep(0.01)
        counts.append(protocol.unacknowledged_bytes())

    async with serving(app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        received = await reader.read(1 << 16)
        while reads_all and not received.endswith(b"0\r\n\r\n"):
            received += await reader.read(1 << 16)
        writer.close()
        with contextlib.suppress(ConnectionResetError):
            await writer.wait_closed()
        while not counts:
            await asyncio.sleep(0.01)
    assert counts == [0 if reads_all and is_awaited else None]


async def test_an_empty_line_alone_does_not_hold_a_connection() -> None:
    """No request has begun with it; it is told so, and closed, when its time is over."""
    async with serving(echo(Seen())) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\r\n")
        answer = await asyncio.wait_for(reader.read(), LIMITS.header_timeout_s + 10)
        writer.close()
        await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 408 ")


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this system has no such option")
async def test_the_time_of_a_body_ends_with_its_request() -> None:
    """A reader that pauses is waited for; the same connection's next request has the short time for beats again."""
    seen_ms: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        protocol = scope["extensions"]["holdfast"]

        def note() -> None:
            sock = protocol.transport.get_extra_info("socket")
            seen_ms.append(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))

        note()
        if scope["path"] == "/image":
            protocol.set_user_timeout(99.0)
            note()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async with serving(app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for path in (b"/image", b"/image", b"/other", b"/other"):
            writer.write(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
        writer.close()
    inherited = seen_ms[0]
    assert seen_ms == [inherited, 99_000, 7_000, 99_000, 7_000, 7_000]
