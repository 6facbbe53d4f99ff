"""Servers that say nothing for a while, as an image API does, and proxies that lose patience meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

HOST = "127.0.0.1"
HEAD_BYTES_MAX = 65_536
START_S = 10.0
BODY = b'{"image":"here it is"}'
BODY_BYTES_MAX = 32_000_000


def free_port() -> int:
    """Find one that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


class Silent:
    """Answers each request after the seconds that its query names: `/?s=70`, and with as many bytes: `&bytes=9`.

    HTTP/1.1, connections kept.
    """

    def __init__(self) -> None:
        self.port = 0
        self.requests = 0
        self.connections = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Without the seconds."""
        return f"http://{HOST}:{self.port}/"

    async def start(self, tls: ssl.SSLContext | None = None) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._serve, HOST, 0, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Listen no more, and cut whoever waits."""
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
            while await self._answer(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            # Whoever asked has left, or the experiment is over.
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *fields = head.split("\r\n")
        self.requests += 1
        lengths = [int(field.partition(":")[2]) for field in fields if field.lower().startswith("content-length:")]
        if lengths:
            await reader.readexactly(min(lengths[0], HEAD_BYTES_MAX))
        wanted = parse_qs(urlsplit(line.split(" ")[1]).query)
        await asyncio.sleep(float(wanted.get("s", ["0"])[0]))
        bytes_ = int(wanted.get("bytes", ["0"])[0])
        body = bytes(min(bytes_, BODY_BYTES_MAX)) if bytes_ else BODY
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
        writer.write(b"content-length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        return True


@contextlib.asynccontextmanager
async def silent() -> AsyncIterator[Silent]:
    """One that listens as long as the block runs."""
    server = Silent()
    await server.start()
    try:
        yield server
    finally:
        await server.close()


@contextlib.asynccontextmanager
async def nginx(to_port: int, *, lines: str = "", listen: str = "", http: str = "") -> AsyncIterator[int]:
    """Run nginx in front of a port; what is not said is nginx's own default.

    Args:
        to_port: Where it passes requests.
        lines: Of its `location`.
        listen: Options of its `listen`.
        http: Lines of its `http` block.
    """
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="claims-nginx-") as name:
        folder = Path(name)
        for part in ("body", "proxy", "fastcgi", "uwsgi", "scgi"):
            (folder / part).mkdir()
        temporary = "".join(
            f"{what}_temp_path {folder}/{part};"
            for what, part in (
                ("client_body", "body"),
                ("proxy", "proxy"),
                ("fastcgi", "fastcgi"),
                ("uwsgi", "uwsgi"),
                ("scgi", "scgi"),
            )
        )
        (folder / "nginx.conf").write_text(
            f"daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;\n"
            f"events {{ }}\nhttp {{ access_log off; {temporary} {http}\n"
            f"server "
            f"{{ listen {HOST}:{port} {listen}; location / {{ proxy_pass http://{HOST}:{to_port}; {lines} }} }}\n}}\n"
        )
        process = await asyncio.to_thread(
            subprocess.Popen, ["nginx", "-c", str(folder / "nginx.conf"), "-e", f"{folder}/error.log"]
        )
        try:
            await listening(port, process)
            yield port
        finally:
            process.terminate()
            await asyncio.to_thread(process.wait, START_S)


async def listening(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until a program listens."""
    until = time.monotonic() + START_S
    while True:
        try:
            _, writer = await asyncio.open_connection(HOST, port)
        except OSError:
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{process.args} does not listen") from None
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return


def nginx_version() -> str:
    """What it says of itself."""
    said = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True)
    return said.stderr.strip().rpartition("/")[2]


def certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate of this host and its key, PEM, valid for a day (P-256, as most sites have)."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert_file, key_file
