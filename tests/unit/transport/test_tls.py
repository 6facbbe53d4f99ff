"""TLS between a wire and a connection, both made by hand, with a peer in memory."""

from __future__ import annotations

import asyncio
import gc
import ssl
import weakref
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from holdfast.transport.buffers import CHUNKS_BYTES, SCRATCH_BYTES, BufferPool
from holdfast.transport.connection import Broken, Connection
from holdfast.transport.tls import RECORD_BYTES, TlsLayer

NAME = "up.example"
CLOSE = b"HTTP/1.1 200 OK\r\n\r\n"


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Both sides of a connection to `NAME`."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)]), datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    folder: Path = tmp_path_factory.mktemp("tls")
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return server, ssl.create_default_context(cafile=folder / "cert.pem")


class Wire(asyncio.Transport):
    """A socket's transport; what is written goes to the peer when the test carries it over."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.is_read = True
        self.is_shut = False

    def pause_reading(self) -> None:
        """Note."""
        self.is_read = False

    def resume_reading(self) -> None:
        """Note."""
        self.is_read = True

    def write(self, data: Any) -> None:
        """Keep."""
        self.written += data

    def is_closing(self) -> bool:
        """Tell."""
        return self.is_shut

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Tell its name."""
        return name

    def close(self) -> None:
        """Note."""
        self.is_shut = True

    abort = close


class Pair:
    """A layer below a connection, and its peer."""

    def __init__(self, contexts: tuple[ssl.SSLContext, ssl.SSLContext], name: str = NAME) -> None:
        server, client = contexts
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.peer = server.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.pool = BufferPool()
        self.connection = Connection(self.pool)
        self.wire = Wire()
        self.layer = TlsLayer(self.connection, self.pool, client, server_hostname=name)
        self.unread = bytearray()

    def begin(self) -> None:
        """Shake hands."""
        self.layer.connection_made(self.wire)
        for _ in range(3):
            self._carry()
            self._try(self.peer.do_handshake)
            self.deliver()

    def _carry(self) -> None:
        self._incoming.write(bytes(self.wire.written))
        self.wire.written.clear()

    def _try(self, step: Callable[[], Any]) -> Any:
        try:
            return step()
        except ssl.SSLWantReadError:
            return None

    def send(self, data: bytes) -> None:
        """Let the peer encrypt and send; nothing is read yet."""
        self.peer.write(data)
        self.unread += self._outgoing.read()

    def farewell(self) -> None:
        """Let the peer say that nothing more comes."""
        self._try(self.peer.unwrap)

    def deliver(self, *, step: int = 1 << 30) -> int:
        """Let the socket be read as far as it is; return how much stays with the kernel."""
        self.unread += self._outgoing.read()
        while self.unread and self.wire.is_read and not self.wire.is_shut:
            room = self.layer.get_buffer(-1)
            count = min(len(room), step, len(self.unread))
            room[:count] = self.unread[:count]
            del self.unread[:count]
            self.layer.buffer_updated(count)
        return len(self.unread)

    def received(self) -> bytes:
        """What the peer can read."""
        self._carry()
        text = b""
        while piece := self._try(self.peer.read):
            text += piece
        return text


class Bowl:
    """A taker."""

    def __init__(self, size: int = 1 << 20) -> None:
        self._buffer = bytearray(size)
        self.body = b""
        self.connection: Connection | None = None

    def room(self) -> memoryview:
        """All of it."""
        return memoryview(self._buffer)

    def filled(self, count: int) -> None:
        """Keep; stop once, if told to."""
        self.body += self._buffer[:count]
        if self.connection is not None:
            self.connection.pause()

    def ended(self) -> None:
        """Nothing to do."""


async def turn() -> None:
    """Let the loop do what is due."""
    for _ in range(3):
        await asyncio.sleep(0)


@pytest.mark.parametrize("step", [1, 100, 1 << 30])
async def test_both_directions_carry_what_they_are_given(contexts: Any, step: int) -> None:
    """However the records are cut on their way."""
    pair = Pair(contexts)
    pair.begin()
    await asyncio.wait_for(pair.layer.handshake(), 5.0)
    assert not pair.connection.is_closing
    assert pair.connection.transport is pair.layer
    request = bytes(range(256)) * 3000
    pair.connection.write(request)
    assert pair.received() == request
    pair.send(CLOSE + b"{}")
    pair.deliver(step=step)
    assert pair.connection.has_answered
    assert pair.connection.take_early() == b"{}"


async def test_a_pause_stops_the_socket_and_loses_nothing(contexts: Any) -> None:
    """Behind the first kilobytes all stays with the kernel; an end that comes meanwhile comes last."""
    pair = Pair(contexts)
    pair.begin()
    body = bytes(range(256)) * 1000
    pair.send(CLOSE + body)
    pair.farewell()
    left = pair.deliver()
    assert not pair.wire.is_read
    assert len(body) - left < 2 * RECORD_BYTES
    assert not pair.connection.is_over
    early, bowl = pair.connection.take_early(), Bowl()
    assert len(early) <= SCRATCH_BYTES
    pair.connection.give_to(bowl)
    pair.connection.resume()
    assert not bowl.body, "whoever resumes is not ready yet"
    await turn()
    assert early + bowl.body < body
    assert pair.wire.is_read
    pair.deliver()
    assert early + bowl.body == body
    assert pair.connection.is_over
    assert pair.connection.error is None


async def test_a_taker_that_stops_again_and_again_gets_all(contexts: Any) -> None:
    """A record that does not fit its room is handed on in parts, and the socket waits for the last of them."""
    pair = Pair(contexts)
    pair.begin()
    body = bytes(range(256)) * 200
    pair.send(CLOSE + body)
    pair.deliver()
    bowl = Bowl(5000)
    bowl.body = pair.connection.take_early()
    bowl.connection = pair.connection
    pair.connection.give_to(bowl)
    for _ in range(len(body) // 1000):
        pair.connection.resume()
        await turn()
        pair.deliver()
    assert bowl.body == body
    pair.layer.eof_received()
    assert pair.connection.is_over
    assert pair.connection.error is None


async def test_a_farewell_ends_a_body_though_the_socket_stays_open(contexts: Any) -> None:
    """Its peer waits for our farewell, and would for ever; what comes behind it is not read."""
    pair = Pair(contexts)
    pair.begin()
    pair.send(CLOSE)
    pair.deliver()
    bowl = Bowl()
    pair.connection.give_to(bowl)
    pair.send(b"{}")
    pair.farewell()
    pair.deliver()
    assert bowl.body == b"{}"
    assert (pair.connection.is_over, pair.connection.error) == (True, None)
    pair.layer.buffer_updated(5)
    pair.layer.eof_received()


async def test_the_socket_is_read_by_whole_records_and_no_further_than_there_is_room(contexts: Any) -> None:
    """Less would be many reads without a byte of text, more would be memory that nobody granted."""
    pair = Pair(contexts)
    assert len(pair.layer.get_buffer(-1)) == RECORD_BYTES
    pair.begin()
    assert len(pair.layer.get_buffer(-1)) == RECORD_BYTES
    pair.send(CLOSE)
    pair.deliver()
    for room, bytes_ in ((1, RECORD_BYTES), (50_000, 50_000), (1 << 20, CHUNKS_BYTES)):
        pair.connection.give_to(Bowl(room))
        assert len(pair.layer.get_buffer(-1)) == bytes_


async def test_another_name_is_refused_and_told_to_the_peer(contexts: Any) -> None:
    """Not a byte of the request has left."""
    pair = Pair(contexts, "elsewhere.example")
    with pytest.raises(ssl.SSLError, match="ALERT"):
        pair.begin()
    assert pair.wire.is_shut
    pair.layer.connection_lost(None)
    with pytest.raises(ssl.SSLCertVerificationError):
        await asyncio.wait_for(pair.layer.handshake(), 5.0)
    assert pair.connection.transport is None


@pytest.mark.parametrize("error", [None, ConnectionResetError(104, "reset")])
async def test_a_loss_while_shaking_hands_is_told_to_who_waits(contexts: Any, error: Exception | None) -> None:
    """And to nobody above, who knows of no connection yet."""
    pair = Pair(contexts)
    pair.layer.connection_made(pair.wire)
    task = asyncio.create_task(pair.layer.handshake())
    await turn()
    pair.layer.eof_received()
    pair.layer.connection_lost(error)
    with pytest.raises(ConnectionResetError):
        await task
    assert not pair.connection.is_over


async def test_a_handshake_that_is_given_up_is_no_noise(contexts: Any) -> None:
    """The loss comes to a layer that nobody waits for any more."""
    pair = Pair(contexts)
    pair.layer.connection_made(pair.wire)
    task = asyncio.create_task(pair.layer.handshake())
    await turn()
    task.cancel()
    await turn()
    pair.layer.abort()
    assert pair.wire.is_shut
    pair.layer.connection_lost(None)


async def test_a_record_that_is_not_authentic_breaks_the_connection(contexts: Any) -> None:
    """What came before it is handed on; the error has a name."""
    pair = Pair(contexts)
    pair.begin()
    pair.send(CLOSE)
    pair.deliver()
    bowl = Bowl()
    pair.connection.give_to(bowl)
    pair.send(b"{}")
    pair.unread += b"\x17\x03\x03\x00\x20" + bytes(32)
    pair.deliver()
    assert bowl.body == b"{}"
    assert pair.wire.is_shut
    pair.layer.connection_lost(None)
    assert isinstance(pair.connection.error, Broken)
    assert "SSLError" in str(pair.connection.error)


async def test_full_pipes_are_told_to_who_writes(contexts: Any) -> None:
    """The layer has no buffer of its own to fill."""
    pair = Pair(contexts)
    pair.begin()
    pair.layer.pause_writing()
    task = asyncio.create_task(pair.connection.drain())
    await turn()
    assert not task.done()
    pair.layer.resume_writing()
    await turn()
    assert task.done()


async def test_it_passes_for_the_sockets_transport(contexts: Any) -> None:
    """Options are set through it; once it is lost there is nothing behind it, and nothing goes wrong."""
    pair = Pair(contexts)
    assert pair.layer.get_extra_info("socket") is None
    assert pair.layer.is_closing()
    pair.begin()
    assert pair.layer.get_extra_info("socket") == "socket"
    assert not pair.layer.is_closing()
    pair.layer.connection_lost(None)
    assert pair.layer.is_closing()
    assert pair.layer.get_extra_info("socket", 1) == 1
    pair.layer.pause_reading()
    pair.layer.resume_reading()
    pair.layer.abort()
    pair.layer.write(b"x")
    await turn()


async def test_a_layer_that_is_lost_is_gone_at_once(contexts: Any) -> None:
    """It holds OpenSSL's state, 30 KB and more."""

    class Watched(TlsLayer):
        """A layer that can be watched."""

    pair = Pair(contexts)
    pair.layer = Watched(pair.connection, pair.pool, contexts[1], server_hostname=NAME)
    gc.disable()
    try:
        pair.begin()
        pair.connection.abort()
        pair.layer.connection_lost(None)
        gone = weakref.ref(pair.layer)
        del pair.layer
        await turn()
        assert gone() is None
    finally:
        gc.enable()
