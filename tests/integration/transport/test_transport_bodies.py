"""What arrives: every shape of a good answer, in batches, admitted by bytes, and what is written to get it."""

from __future__ import annotations

import asyncio
import gzip
import socket
import threading
import zlib
from collections.abc import Callable
from typing import Any

import pybase64
import pytest

from holdfast.transport.buffers import BUFFER_BYTES
from holdfast.transport.exchange import Exchange
from holdfast.transport.pump import GRANT_BYTES
from holdfast.types import Charge, Failure, FailureKind
from holdfast.wire.template import PIECE_BYTES, Slot

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def whole(outcome: Exchange | Failure) -> Exchange:
    """Insist on success."""
    assert isinstance(outcome, Exchange), outcome
    return outcome


def chunk(data: bytes) -> bytes:
    """Frame one chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def bare(text: bytes) -> bytes:
    """Deflate without a wrapper."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(text) + packer.flush()


async def test_interim_answers_are_passed_over(lab: Any) -> None:
    """100, 102 and 103 are no answer; the 200 is."""
    noise = (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    )
    peer = await lab.answering(noise, noise + OK + b"X-Two: 1\r\nx-two: 2\r\nContent-Length: 2\r\n\r\n{}", pause_s=0.05)
    sink = lab.Collector()
    exchange = whole(await lab.ask(peer.url, sink=sink))
    assert sink.body == b"{}"
    assert exchange.head.status == 200
    assert exchange.head.headers["x-two"] == ("1", "2")
    assert exchange.head.media_type == "application/json"


async def test_leading_white_space_is_no_document(lab: Any) -> None:
    """A relay's heartbeats reach the sink; the document's first byte is timed apart from them."""
    peer = await lab.answering(CHUNKED + chunk(b" \n"), chunk(b"\n\n"), chunk(b'{"a":1}') + chunk(b""), pause_s=0.1)
    sink = lab.Collector()
    timings = whole(await lab.ask(peer.url, sink=sink)).timings
    assert sink.body.strip() == b'{"a":1}'
    assert timings.first_byte_s is not None
    assert timings.first_byte_s - timings.head_s > 0.15
    assert timings.sent_s is not None
    assert 0.0 <= timings.connected_s <= timings.sent_s <= timings.head_s <= timings.first_byte_s <= timings.body_s


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_large_body_arrives_whole_and_in_batches(lab: Any, framing: str) -> None:
    """Nothing is lost, reordered or handed over in crumbs, however the end of the body is told."""
    body = bytes(range(256)) * 20_000
    pieces = [body[at : at + 70_000] for at in range(0, len(body), 70_000)]
    head = {
        "length": OK + b"Content-Length: %d\r\n\r\n" % len(body),
        "chunked": CHUNKED,
        "close": OK + b"\r\n",
    }[framing]
    if framing == "chunked":
        pieces = [*map(chunk, pieces), chunk(b"")]
    peer = await lab.answering(head, *pieces)
    sink = lab.Collector()
    exchange = whole(await lab.ask(peer.url, sink=sink))
    assert sink.body == body
    assert exchange.timings.body_bytes == len(body)
    assert max(sink.batches) < 3 * BUFFER_BYTES
    assert not sink.is_closed, "the caller finishes a sink that succeeded"


async def test_unasked_gzip_is_decoded(lab: Any) -> None:
    """Some hop compressed it although identity was asked for; the image is paid for."""
    body = b'{"data":[]}' * 50_000
    packed = gzip.compress(body)
    peer = await lab.answering(OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed), packed)
    sink = lab.Collector()
    whole(await lab.ask(peer.url, sink=sink))
    assert sink.body == body
    assert b"Accept-Encoding: identity\r\n" in peer.requests[0]


@pytest.mark.parametrize("packed", [zlib.compress, bare], ids=["zlib", "bare"])
async def test_unasked_deflate_is_decoded(lab: Any, packed: Callable[[bytes], bytes]) -> None:
    """With the wrapper that the standard asks for, or without it, as some servers understood the name."""
    body = b'{"data":[]}' * 50_000
    peer = await lab.answering(OK + b"Content-Encoding: deflate\r\n\r\n" + packed(body))
    sink = lab.Collector()
    assert whole(await lab.ask(peer.url, sink=sink)).timings.body_bytes == len(body)
    assert sink.body == body


async def test_coding_that_nobody_asked_for_is_told_by_its_name(lab: Any) -> None:
    """The image was made, and cannot be read; the status of an error is known all the same."""
    peer = await lab.answering(OK + b"Content-Encoding: br\r\nContent-Length: 3\r\n\r\nabc", then="stall")
    sink = lab.Collector()
    outcome = await lab.ask(peer.url, sink=sink)
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.charge) == (FailureKind.MALFORMED, Charge.YES)
    assert "'br'" in outcome.detail
    assert sink.is_closed
    busy = await lab.answering(b"HTTP/1.1 503 No\r\nContent-Encoding: br\r\nContent-Length: 3\r\n\r\nabc")
    exchange = whole(await lab.ask(busy.url))
    assert exchange.head.status == 503
    assert exchange.cut is not None


@pytest.mark.parametrize("behind", [b"\r\n", b"GARBAGE", b"HTTP/1.1 500 No\r\nContent-Length: 1\r\n\r\nx"])
@pytest.mark.parametrize("bytes_", [2, 20_000])
async def test_what_follows_an_announced_body_is_no_part_of_it(lab: Any, bytes_: int, behind: bytes) -> None:
    """Nor of its head: the status that counts is the first."""
    body = b"x" * bytes_
    peer = await lab.answering(OK + b"Content-Length: %d\r\n\r\n" % bytes_ + body + behind, then="stall")
    sink = lab.Collector()
    exchange = whole(await lab.ask(peer.url, sink=sink))
    assert exchange.head.status == 200
    assert sink.body == body


async def test_untidy_answers_are_read(lab: Any) -> None:
    """Bare line feeds, padded chunk sizes, a length beside chunks: each has been seen, and each is paid for."""
    for answer in (
        b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}",
        CHUNKED + b"2   \r\n{}\r\n0\r\n\r\n",
        OK + b"Content-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\nConnection: close\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\n{}",
    ):
        peer = await lab.answering(answer)
        sink = lab.Collector()
        whole(await lab.ask(peer.url, sink=sink))
        assert sink.body == b"{}", answer


async def test_gzip_bomb_ends_at_the_bound(lab: Any) -> None:
    """The bound counts decoded bytes, and the bomb is not unpacked beyond it."""
    packed = gzip.compress(bytes(50_000_000))
    peer = await lab.answering(OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed), packed)
    sink = lab.Collector()
    outcome = await lab.ask(peer.url, sink=sink, transport=lab.transport(response_bytes_max=1_000_000))
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.charge) == (FailureKind.MALFORMED, Charge.YES)
    assert len(sink.body) <= 1_000_000


async def test_broken_gzip_is_malformed(lab: Any) -> None:
    """A body that does not unpack is a broken one."""
    peer = await lab.answering(OK + b"Content-Encoding: gzip\r\nContent-Length: 9\r\n\r\nnot gzip!")
    outcome = await lab.ask(peer.url)
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.charge) == (FailureKind.MALFORMED, Charge.YES)


@pytest.mark.parametrize("then", ["close", "reset", "stall"])
async def test_document_that_has_closed_needs_no_last_chunk(lab: Any, then: str) -> None:
    """Some relays never send the end of the transfer; the image is there all the same, and at once."""
    document = b'{"data":[' + b"1," * 40_000 + b"1]}"
    peer = await lab.answering(CHUNKED + chunk(document), then=then)
    sink = lab.Collector(complete_at=len(document))
    began_at = asyncio.get_running_loop().time()
    whole(await lab.ask(peer.url, sink=sink))
    assert asyncio.get_running_loop().time() - began_at < 10.0, "read_idle_s is 20 s here"
    assert sink.body == document


async def test_early_429_while_a_large_body_is_written(lab: Any) -> None:
    """The upstream turns us away before it has read the images: its status is heard, not a broken pipe."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: Any) -> None:
        await reader.readexactly(1000)
        writer.write(b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\n{}")
        await writer.drain()
        await reader.read(1000)
        await asyncio.sleep(0.5)

    peer = await lab.peer(script, reads_request=False)
    exchange = whole(await lab.ask(peer.url, body=(b"x" * 20_000_000,)))
    assert exchange.head.status == 429
    assert exchange.head.header("retry-after") == "7"
    assert exchange.timings.sent_s is None


async def test_slow_but_steady_body_is_taken(lab: Any) -> None:
    """read_idle_s counts silence, not the whole body."""
    peer = await lab.answering(CHUNKED, *[chunk(b"1")] * 8, chunk(b""), pause_s=0.1)
    sink = lab.Collector()
    whole(await lab.ask(peer.url, sink=sink, read_idle_s=0.5))
    assert sink.body == b"1" * 8


async def test_answer_that_begins_before_its_deadline_is_taken_in(lab: Any) -> None:
    """total_s ends the wait for an answer; an image whose bytes are coming is not thrown away."""
    peer = await lab.answering(CHUNKED, *[chunk(b"1")] * 8, chunk(b""), pause_s=0.1)
    whole(await lab.ask(peer.url, total_s=0.4, body_s=20.0))


async def test_a_sink_has_taken_its_last_piece_before_it_is_closed(lab: Any) -> None:
    """The time is up while the piece that makes it whole is being written: whoever asks the sink finds all of it."""
    body, given_up = b'{"data":[]}', threading.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: Any) -> None:
        writer.write(CHUNKED + chunk(body))
        try:
            await reader.read()
        finally:
            given_up.set()

    class Slow(type(lab.Collector())):  # type: ignore[misc]
        """Is at it until the exchange has been given up."""

        def feed(self, pieces: list[bytes]) -> bool:
            assert given_up.wait(20)
            assert not self.is_closed
            return bool(super().feed(pieces))

    sink = Slow(complete_at=len(body))
    outcome = await lab.ask((await lab.peer(script)).url, sink=sink, total_s=0.3, body_s=0.3)
    assert isinstance(outcome, Failure)
    assert sink.body == body
    assert sink.is_closed


async def test_small_pieces_are_not_kept_waiting_for_a_batch(lab: Any) -> None:
    """A preview in a stream reaches its reader while the next one is still being drawn."""
    peer = await lab.answering(CHUNKED + chunk(b"data: preview\n\n"), then="stall")
    sink = lab.Collector()
    task = asyncio.create_task(lab.ask(peer.url, sink=sink))
    async with asyncio.timeout(10):
        while not sink.body:
            await asyncio.sleep(0.01)
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_files_are_written_as_base64_in_their_slots(lab: Any) -> None:
    """The wire gets what the template says, with the right Content-Length, from files read piece by piece."""
    first, second = lab.tmp_path / "a.png", lab.tmp_path / "b.png"
    first.write_bytes(b"\x89PNG" * (PIECE_BYTES // 2) + b"!")
    second.write_bytes(b"B")
    peer = await lab.answering(OK + b"Content-Length: 2\r\n\r\n{}")
    body = (b'{"a":"', Slot(1), b'","b":"', Slot(0), b'"}')
    whole(await lab.ask(peer.url, body=body, inputs=(first, second)))
    head, _, sent = peer.requests[0].partition(b"\r\n\r\n")
    expected = b'{"a":"Qg==","b":"' + pybase64.b64encode(first.read_bytes()) + b'"}'
    assert sent == expected
    assert b"Content-Length: %d" % len(expected) in head


async def test_a_file_is_written_as_it_is_in_a_raw_slot(lab: Any) -> None:
    """A part of a form: its bytes, read piece by piece, and a Content-Length that counts them."""
    file = lab.tmp_path / "a.png"
    file.write_bytes(b"\x89PNG" * PIECE_BYTES + b"!")
    peer = await lab.answering(OK + b"Content-Length: 2\r\n\r\n{}")
    whole(await lab.ask(peer.url, body=(b"--x\r\n\r\n", Slot(0, is_raw=True), b"\r\n--x--"), inputs=(file,)))
    head, _, sent = peer.requests[0].partition(b"\r\n\r\n")
    expected = b"--x\r\n\r\n" + file.read_bytes() + b"\r\n--x--"
    assert sent == expected
    assert b"Content-Length: %d" % len(expected) in head


async def test_head_of_the_request(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP/1.1, one exchange a connection, our name, no proxy and no secret from the environment."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    peer = await lab.answering(OK + b"Set-Cookie: a=b\r\nContent-Length: 2\r\n\r\n{}")
    transport = lab.transport()
    for _ in range(2):
        whole(await lab.ask(peer.url, transport=transport))
    assert peer.connections == 2
    head = peer.requests[1].partition(b"\r\n\r\n")[0].decode().split("\r\n")
    assert head[0] == "POST /v1/images/generations HTTP/1.1"
    names = {line.partition(":")[0].lower() for line in head[1:]}
    assert names == {
        *("host", "authorization", "user-agent", "accept-encoding"),
        *("accept", "content-length", "content-type", "connection"),
    }  # fmt: skip
    assert "Connection: close" in head
    assert "Content-Type: application/json" in head
    assert any(line.startswith("User-Agent: holdfast/") for line in head)


async def test_bodies_are_admitted_by_bytes(lab: Any) -> None:
    """With memory for one body, a second waits its turn unread; its waiting is not the upstream's time."""
    transport = lab.transport(bodies_bytes_in_flight_max=GRANT_BYTES)
    body = b"x" * 3_000_000
    release = asyncio.Event()
    fed: list[str] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: Any) -> None:
        writer.write(OK + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()

    class Gate(type(lab.Collector())):  # type: ignore[misc]
        """Blocks the first body inside the sink."""

        def __init__(self, name: str, loop: asyncio.AbstractEventLoop) -> None:
            super().__init__()
            self.name, self.loop = name, loop

        def feed(self, pieces: list[bytes]) -> bool:
            fed.append(self.name)
            if self.name == "first" and len(self.batches) == 0:
                asyncio.run_coroutine_threadsafe(release.wait(), self.loop).result(20)
            return bool(super().feed(pieces))

    loop = asyncio.get_running_loop()
    peer = await lab.peer(script)
    first, second = Gate("first", loop), Gate("second", loop)
    tasks = [asyncio.create_task(lab.ask(peer.url, sink=first, transport=transport))]
    async with asyncio.timeout(10):
        while not fed:
            await asyncio.sleep(0.01)
    tasks.append(asyncio.create_task(lab.ask(peer.url, sink=second, transport=transport, total_s=0.3, body_s=0.3)))
    await asyncio.sleep(0.6)
    assert set(fed) == {"first"}
    assert f"{GRANT_BYTES} of {GRANT_BYTES} bytes used, 1 waiting" in repr(transport)
    release.set()
    outcomes = [whole(outcome) for outcome in await asyncio.gather(*tasks)]
    assert first.body == second.body == body
    assert outcomes[1].timings.admission_s > 0.2


async def test_silent_stream_holds_no_memory_grant(lab: Any) -> None:
    """A stream that says nothing for minutes must not keep a finished image waiting."""
    transport = lab.transport(bodies_bytes_in_flight_max=GRANT_BYTES)
    stream = await lab.answering(CHUNKED + chunk(b": hello\n\n"), then="stall")
    sink = lab.Collector()
    streaming = asyncio.create_task(lab.ask(stream.url, sink=sink, transport=transport))
    async with asyncio.timeout(10):
        while not sink.body:
            await asyncio.sleep(0.01)
    image = await lab.answering(OK + b"Content-Length: 1000000\r\n\r\n", b"x" * 1_000_000)
    whole(await lab.ask(image.url, transport=transport))
    assert not streaming.done()
    streaming.cancel()
    await asyncio.gather(streaming, return_exceptions=True)


async def test_unread_body_stays_with_the_upstream(lab: Any) -> None:
    """While a body waits for memory, neither this process nor the kernel takes more than a small window of it."""
    transport = lab.transport(bodies_bytes_in_flight_max=GRANT_BYTES)
    await transport._budget.acquire(GRANT_BYTES)
    sent = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: Any) -> None:
        nonlocal sent
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        writer.transport.set_write_buffer_limits(0)
        writer.write(OK + b"Content-Length: 20000000\r\n\r\n")
        while sent < 20_000_000:
            writer.write(b"x" * 10_000)
            await writer.drain()
            sent += 10_000

    peer = await lab.peer(script)
    task = asyncio.create_task(lab.ask(peer.url, transport=transport))
    await asyncio.sleep(0.7)
    assert sent < 1_000_000
    transport._budget.release(GRANT_BYTES)
    assert whole(await task).timings.body_bytes == 20_000_000


async def test_sockets_probe_silent_paths(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keepalive and the user timeout are on: minutes of silence are normal, a dead path is noticed."""
    from holdfast.transport import sockets

    made: list[socket.socket] = []
    original = sockets.upstream_socket

    def keep(addr_info: Any) -> socket.socket:
        made.append(original(addr_info))
        return made[-1]

    monkeypatch.setattr("holdfast.transport.connect.upstream_socket", keep)
    peer = await lab.answering(OK, then="stall")
    task = asyncio.create_task(lab.ask(peer.url))
    async with asyncio.timeout(10):
        while not peer.requests:
            await asyncio.sleep(0.01)
    (sock,) = made
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == sockets.KEEPALIVE_IDLE_S
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == sockets.USER_TIMEOUT_MS
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_get_without_a_body(lab: Any) -> None:
    """Polls and lists of models go the same way."""
    from holdfast.transport.exchange import HttpRequest, Timeouts

    peer = await lab.answering(OK + b"Content-Length: 2\r\n\r\n{}")
    outcome = await lab.transport().exchange(
        HttpRequest(method="GET", url=peer.url, headers=(), body=()),
        timeouts=Timeouts(connect_s=10, write_s=10, read_idle_s=10, total_s=10),
        on_head=lambda head: lab.Collector(),
    )
    assert whole(outcome).timings.sent_s is None
    assert peer.requests[0].startswith(b"GET /v1/images/generations HTTP/1.1\r\n")
    assert b"content-length" not in peer.requests[0].lower()
