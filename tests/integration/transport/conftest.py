"""A peer that does exactly what a test says on a real socket, and a transport to meet it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from holdfast.transport.aio import AioTransport
from holdfast.transport.exchange import Exchange, Head, HttpRequest, Sink, Timeouts
from holdfast.types import Failure

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter, "Peer"], Awaitable[None]]


class Peer:
    """A listening socket on 127.0.0.1; each connection is served by the script."""

    def __init__(self, script: Script, *, reads_request: bool = True, scheme: str = "http") -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self.bytes_received = 0
        self._script = script
        self._reads_request = reads_request
        self._scheme = scheme
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self.port = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{self._scheme}://127.0.0.1:{self.port}/v1/images/generations"

    async def start(self, context: ssl.SSLContext | None) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop, and drop every connection."""
        assert self._server is not None
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            if self._reads_request:
                await self.read_request(reader)
            await self._script(reader, writer, self)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the transport under test hung up, as many tests want it to
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def read_request(self, reader: asyncio.StreamReader) -> bytes:
        """Read head and body by Content-Length."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        body = await reader.readexactly(length)
        self.bytes_received += len(head) + len(body)
        self.requests.append(head + body)
        return body


class Collector(Sink):
    """Keeps what it is fed; `complete_at` bytes are all it wants."""

    def __init__(self, *, complete_at: int | None = None, error: Exception | None = None) -> None:
        self.body = b""
        self.batches: list[int] = []
        self.is_closed = False
        self._complete_at = complete_at
        self._error = error

    def feed(self, pieces: list[bytes]) -> bool:
        """Keep."""
        if self._error is not None:
            raise self._error
        self.body += b"".join(pieces)
        self.batches.append(sum(map(len, pieces)))
        return self._complete_at is not None and len(self.body) >= self._complete_at

    def close(self) -> None:
        """Note."""
        self.is_closed = True


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with RST."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Make a self-signed certificate for 127.0.0.1 and give (certificate, key)."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = folder / "cert.pem", folder / "key.pem"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate_file, key_file


class Lab:
    """What a test works with."""

    Collector = Collector
    reset = staticmethod(reset)

    def __init__(self, tmp_path: Path) -> None:
        self._peers: list[Peer] = []
        self._transports: list[AioTransport] = []
        self.tmp_path = tmp_path

    async def peer(self, script: Script, *, reads_request: bool = True, context: ssl.SSLContext | None = None) -> Peer:
        """Start a peer."""
        peer = Peer(script, reads_request=reads_request, scheme="https" if context else "http")
        await peer.start(context)
        self._peers.append(peer)
        return peer

    async def answering(self, *chunks: bytes, pause_s: float = 0.0, then: str = "close") -> Peer:
        """Start a peer that reads the request, writes these bytes, and then closes, resets or stalls."""

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: Peer) -> None:
            for chunk in chunks:
                writer.write(chunk)
                await writer.drain()
                await asyncio.sleep(pause_s)
            if then == "reset":
                await asyncio.sleep(0.05)  # let the bytes arrive: RST overtakes what the receiver has not read
                reset(writer)
            elif then == "stall":
                await reader.read()

        return await self.peer(script)

    def tls(self) -> tuple[ssl.SSLContext, str]:
        """Give what a TLS peer needs, and the path of the certificate that its clients have to trust."""
        certificate, key = make_certificate(self.tmp_path)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
        return context, str(certificate)

    def transport(self, **options: Any) -> AioTransport:
        """Make a transport that is closed after the test."""
        transport = AioTransport(**options)
        self._transports.append(transport)
        return transport

    async def ask(
        self,
        url: str,
        *,
        body: Any = (b'{"prompt":"a lighthouse"}',),
        inputs: Sequence[Path] = (),
        sink: Sink | None = None,
        transport: AioTransport | None = None,
        ca_file: str = "",
        on_head: Callable[[Head], Sink] | None = None,
        **timeouts: float,
    ) -> Exchange | Failure:
        """Perform one exchange, patient unless told otherwise."""
        chosen: Sink = sink if sink is not None else Collector()
        return await (transport or self.transport()).exchange(
            HttpRequest(method="POST", url=url, headers=(("Authorization", "Bearer sk-secret"),), body=body),
            inputs=inputs,
            timeouts=Timeouts(**{"connect_s": 10, "write_s": 20, "read_idle_s": 20, "total_s": 20, **timeouts}),
            on_head=on_head or (lambda head: chosen),
            ca_file=ca_file,
        )

    async def close(self) -> None:
        """End everything."""
        for transport in self._transports:
            await transport.close()
        for peer in self._peers:
            await peer.close()


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    """Peers and transports that end with the test."""
    made = Lab(tmp_path)
    yield made
    await made.close()
