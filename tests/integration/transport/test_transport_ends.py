"""Peers that hang up right behind their answer, as they are asked to: plain and over TLS, on both loops.

The loops' own TLS layers lose what they hold when that happens while reading is paused.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from holdfast.transport.buffers import BUFFER_BYTES, SCRATCH_BYTES
from holdfast.transport.exchange import Exchange, Piece
from holdfast.types import Charge, Failure, FailureKind

WAYS = ["plain", "tls", "tls without a farewell"]
FRAMINGS = ["length", "chunked", "close"]


class Blunt(threading.Thread):
    """Answers one request from a thread, says farewell or does not, and is gone before anybody has read it."""

    def __init__(self, answer: list[bytes], context: ssl.SSLContext | None, *, farewell: bool) -> None:
        super().__init__(daemon=True)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._answer = answer
        self._context = context
        self._farewell = farewell
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.gone = threading.Event()
        """All of the answer is in the kernel's hands, and so is the end."""
        scheme = "http" if context is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        self.request = b""

    def run(self) -> None:
        """Serve."""
        with self._listener, self._listener.accept()[0] as sock:
            sock.settimeout(20.0)
            # Room for an answer that its reader leaves where it is.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            with contextlib.suppress(OSError):
                if self._context is None:
                    self._serve_plain(sock)
                else:
                    self._serve_tls(sock, self._context)
            with contextlib.suppress(OSError):
                # Not where the other side has had all it wanted, and has reset.
                sock.shutdown(socket.SHUT_WR)
            self.gone.set()
            with contextlib.suppress(OSError):
                # A close with something unread would be a reset.
                while sock.recv(65_536):
                    pass

    def _serve_plain(self, sock: socket.socket) -> None:
        while not self.request.endswith(b"}"):
            self.request += sock.recv(65_536)
        for part in self._answer:
            sock.sendall(part)

    def _serve_tls(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._until_done(sock, tls.do_handshake)
        while not self.request.endswith(b"}"):
            self.request += self._until_done(sock, tls.read)
        for part in self._answer:
            tls.write(part)
            sock.sendall(self._outgoing.read())
        if self._farewell:
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.unwrap()
            sock.sendall(self._outgoing.read())

    def _until_done(self, sock: socket.socket, step: Callable[[], Any]) -> Any:
        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                sock.sendall(self._outgoing.read())
                self._incoming.write(sock.recv(65_536))
            else:
                sock.sendall(self._outgoing.read())
                return done


class Ends:
    """Starts such peers, and asks them."""

    def __init__(self, lab: Any) -> None:
        self.lab = lab
        self._peers: list[Blunt] = []
        self.ca_file = ""

    def peer(self, way: str, answer: list[bytes]) -> Blunt:
        """Start one."""
        context = None
        if way != "plain":
            context, self.ca_file = self.lab.tls()
        peer = Blunt(answer, context, farewell=way == "tls")
        peer.start()
        self._peers.append(peer)
        return peer

    async def ask(self, peer: Blunt, **options: Any) -> Exchange | Failure:
        """Ask it."""
        outcome: Exchange | Failure = await self.lab.ask(peer.url, ca_file=self.ca_file, **options)
        return outcome

    async def close(self) -> None:
        """Wait for them."""
        for peer in self._peers:
            await asyncio.to_thread(peer.join, 25.0)


@pytest.fixture
async def ends(lab: Any) -> AsyncIterator[Ends]:
    """Peers that end with the test."""
    made = Ends(lab)
    yield made
    await made.close()


def text(bytes_: int) -> bytes:
    """A body no two pieces of which are alike."""
    return b"".join(b"%08d," % at for at in range(bytes_ // 9 + 1))[:bytes_]


def answer(body: bytes, framing: str, *, announced: int | None = None) -> list[bytes]:
    """Head and body, as two writes."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    match framing:
        case "length":
            return [head + b"Content-Length: %d\r\n\r\n" % (announced or len(body)), body]
        case "close":
            return [head.replace(b"/1.1", b"/1.0") + b"\r\n", body]
    chunks = [
        b"%x\r\n%b\r\n" % (len(body[at : at + 70_000]), body[at : at + 70_000]) for at in range(0, len(body), 70_000)
    ]
    return [head + b"Transfer-Encoding: chunked\r\n\r\n", b"".join(chunks) + b"0\r\n\r\n"]


@pytest.mark.parametrize("bytes_", [BUFFER_BYTES, 2 * BUFFER_BYTES, 3_000_001])
@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("way", WAYS)
async def test_a_large_body_arrives(ends: Ends, way: str, framing: str, bytes_: int) -> None:
    """Exactly one buffer long, exactly two, and more, while the thread works at its own pace."""
    body, sink = text(bytes_), ends.lab.Collector()
    outcome = await ends.ask(ends.peer(way, answer(body, framing)), sink=sink)
    assert isinstance(outcome, Exchange), outcome
    assert sink.body == body


@pytest.mark.parametrize("bytes_", [SCRATCH_BYTES + 1, 60_000])
@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("way", WAYS)
async def test_an_answer_may_wait_for_admission_longer_than_its_peer(
    ends: Ends, way: str, framing: str, bytes_: int
) -> None:
    """Thousands wait for memory at once, and each upstream hangs up meanwhile."""
    body, sink = text(bytes_), ends.lab.Collector()
    transport = ends.lab.transport()
    await transport._budget.acquire(32 << 20)
    peer = ends.peer(way, answer(body, framing))
    task = asyncio.create_task(ends.ask(peer, sink=sink, transport=transport))
    assert await asyncio.to_thread(peer.gone.wait, 20.0)
    async with asyncio.timeout(10.0):
        while "1 waiting" not in repr(transport):
            await asyncio.sleep(0.005)
    transport._budget.release(32 << 20)
    outcome = await task
    assert isinstance(outcome, Exchange), outcome
    assert sink.body == body


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("way", WAYS)
async def test_an_answer_may_wait_for_a_slow_disk_longer_than_its_peer(
    ends: Ends, way: str, framing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both buffers are full, and the rest has come and its peer is gone before the first of them is written."""
    for name in ("buffers", "pump"):
        monkeypatch.setattr(f"holdfast.transport.{name}.BUFFER_BYTES", 16_384)
    monkeypatch.setattr("holdfast.transport.pump.GRANT_BYTES", 32_768)
    body = text(100_000)
    peer = ends.peer(way, answer(body, framing))

    class Slow(type(ends.lab.Collector())):  # type: ignore[misc]
        """Waits until the peer is gone."""

        def feed(self, pieces: list[Piece]) -> bool:
            assert peer.gone.wait(20.0)
            return bool(super().feed(pieces))

    sink = Slow()
    outcome = await ends.ask(peer, sink=sink)
    assert isinstance(outcome, Exchange), outcome
    assert sink.body == body


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("way", WAYS)
async def test_a_body_that_is_short_is_told_as_cut(ends: Ends, way: str, framing: str) -> None:
    """What came is fed all the same: a document may have closed in it."""
    body, sink = text(50_000), ends.lab.Collector()
    parts = answer(body, framing, announced=50_001)
    if framing == "chunked":
        parts[-1] = parts[-1].removesuffix(b"0\r\n\r\n")
    outcome = await ends.ask(ends.peer(way, parts), sink=sink)
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.charge) == (FailureKind.MALFORMED, Charge.YES)
    assert "fewer bytes" in outcome.detail
    assert sink.body == body


@pytest.mark.parametrize("way", WAYS)
async def test_a_peer_that_leaves_without_a_word_is_lost(ends: Ends, way: str) -> None:
    """It had read the request."""
    peer = ends.peer(way, [])
    outcome = await ends.ask(peer)
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.charge) == (FailureKind.LOST_REPLY, Charge.UNKNOWN)
    assert "without an answer" in outcome.detail
    assert peer.request.endswith(b'{"prompt":"a lighthouse"}')


async def test_a_large_request_goes_through_tls(ends: Ends) -> None:
    """Encrypted piece by piece, whole and in order, while the peer reads as fast as it likes."""
    body = b'"' + text(5_000_000) + b'"}'
    peer = ends.peer("tls", answer(b"{}", "length"))
    outcome = await ends.ask(peer, body=(body,))
    assert isinstance(outcome, Exchange), outcome
    assert peer.request.partition(b"\r\n\r\n")[2] == body


async def test_a_farewell_in_the_middle_of_a_request_ends_it(ends: Ends) -> None:
    """The upstream has said that nothing will come; whoever writes on would wait for write_s."""
    context, ca_file = ends.lab.tls()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: Any) -> None:
        await reader.readexactly(1000)
        writer.transport.pause_reading()
        writer.close()

    peer = await ends.lab.peer(script, reads_request=False, context=context)
    outcome = await ends.lab.ask(peer.url, ca_file=ca_file, body=(b"x" * 5_000_000,), write_s=60.0, total_s=60.0)
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.charge) == (FailureKind.LOST_REPLY, Charge.UNKNOWN)


async def test_a_record_that_was_tampered_with_ends_the_exchange(ends: Ends) -> None:
    """What is not authentic is nobody's image."""
    body, sink = text(2000), ends.lab.Collector()
    peer = ends.peer("tls", answer(body, "length", announced=4000))
    original = peer._serve_tls

    def spoilt(sock: socket.socket, context: ssl.SSLContext) -> None:
        peer._farewell = False
        original(sock, context)
        sock.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))

    peer._serve_tls = spoilt  # type: ignore[method-assign]
    outcome = await ends.ask(peer, sink=sink)
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.charge) == (FailureKind.MALFORMED, Charge.YES)
    assert "SSLError" in outcome.detail
    assert sink.body == body
