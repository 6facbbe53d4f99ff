"""The upstream leg alone: memory of a held request, CPU of a streamed body, and what the receive window does.

    python lab/bench/transport.py held [--n 2000] [--tls]      KB of RSS per request that waits for its head
    python lab/bench/transport.py stream [--n 40] [--tls]      CPU-ms per 27 MB body handed to a sink that drops it
    python lab/bench/transport.py windows                      bytes an unread socket takes, the window once it is read

The upstream is a process of its own: an asyncio Protocol on uvloop that answers prebuilt bytes. Each command prints one
JSON object. RSS is /proc/self/statm after a full collection; CPU is `time.process_time`, threads included.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import multiprocessing
import multiprocessing.connection
import os
import resource
import socket
import ssl
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import cast

import uvloop

from holdfast.transport.aio import AioTransport
from holdfast.transport.exchange import Exchange, Head, HttpRequest, Sink, Timeouts
from holdfast.types import Failure

BODY_BYTES = 27_000_000
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
PATIENT = Timeouts(connect_s=60, write_s=60, read_idle_s=600, total_s=600)
# A realistic request: what the Gemini conversation sends.
HEADERS = (
    ("x-goog-api-key", "AIza" + "x" * 35),
    ("Content-Type", "application/json"),
    ("Accept", "application/json"),
    ("X-Server-Timeout", "300"),
    ("Idempotency-Key", "gen_01J00000000000000000000000.0.0"),
)


class Discard(Sink):
    """A sink that drops everything."""

    def feed(self, pieces: list[bytes]) -> bool:
        """Drop."""
        return False

    def close(self) -> None:
        """Nothing was kept."""


class Upstream(asyncio.Protocol):
    """Answers each request at once with the prebuilt body, or never."""

    def __init__(self, *, answer: bytes | None) -> None:
        self._answer = answer
        self._seen = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Answer once the body's closing brace is there."""
        self._seen += data
        if self._answer is not None and self._seen.endswith(b"}") and b"\r\n\r\n" in self._seen:
            self._seen.clear()
            self._transport.write(self._answer)


def serve(ready: multiprocessing.connection.Connection, answer_bytes: int | None, certificate: str, key: str) -> None:
    """Run the upstream until killed."""
    context = None
    if certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)

    async def main() -> None:
        answer = None
        if answer_bytes is not None:
            answer = HEAD % answer_bytes + b'{"b":"' + b"A" * (answer_bytes - 8) + b'"}'
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Upstream(answer=answer), "127.0.0.1", 0, ssl=context, backlog=4096)
        ready.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(main())


def rss_kb() -> float:
    """Resident memory of this process, KB."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024


async def ask(transport: AioTransport, url: str, ca_file: str) -> Exchange | Failure:
    """Perform one exchange with a prompt of ordinary length."""
    body = json.dumps({"contents": [{"role": "user", "parts": [{"text": "a lighthouse " * 20}]}]}).encode()
    return await transport.exchange(
        HttpRequest(method="POST", url=url, headers=HEADERS, body=(body,)),
        timeouts=PATIENT,
        on_head=_discard,
        ca_file=ca_file,
    )


def _discard(_: Head) -> Sink:
    return Discard()


async def held(url: str, ca_file: str, n: int) -> dict[str, float]:
    """Hold n requests; the first hundred warm every cache up and are not counted."""
    transport = AioTransport()
    tasks = [asyncio.create_task(ask(transport, url, ca_file)) for _ in range(100)]
    await asyncio.sleep(2)
    before_kb = rss_kb()
    cpu_s = time.process_time()
    for at in range(n):
        tasks.append(asyncio.create_task(ask(transport, url, ca_file)))
        if at % 50 == 49:
            await asyncio.sleep(0.05)
    await asyncio.sleep(3)
    cpu_s = time.process_time() - cpu_s
    after_kb = rss_kb()
    assert f"{n + 100} exchanges open" in repr(transport)
    assert not any(task.done() for task in tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await transport.close()
    return {"n": n, "kb_per_held": round((after_kb - before_kb) / n, 1), "open_cpu_ms": round(cpu_s * 1000 / n, 2)}


async def stream(url: str, ca_file: str, n: int, at_once: int) -> dict[str, float]:
    """Stream n bodies, some at once."""
    transport = AioTransport()
    await ask(transport, url, ca_file)
    limit = asyncio.Semaphore(at_once)

    async def one() -> None:
        async with limit:
            outcome = await ask(transport, url, ca_file)
        assert isinstance(outcome, Exchange), outcome
        assert outcome.timings.body_bytes == BODY_BYTES

    before_kb = rss_kb()
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    await asyncio.gather(*(one() for _ in range(n)))
    cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s
    peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    await transport.close()
    return {
        "n": n,
        "at_once": at_once,
        "cpu_ms_per_body": round(cpu_s * 1000 / n, 1),
        "bodies_per_s": round(n / wall_s, 1),
        "peak_rss_mb_over_idle": round((peak_kb - before_kb) / 1024, 1),
    }


def make_certificate(folder: Path) -> tuple[str, str]:
    """Make a self-signed EC certificate for 127.0.0.1."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = (
        builder.serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    )
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    certificate = builder.add_extension(address, critical=False).sign(key, hashes.SHA256())
    files = folder / "cert.pem", folder / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, *private))
    return str(files[0]), str(files[1])


# windows: ways to keep an unread socket small. Each is (before connect, after connect, at admission).

SO_BUF_LOCK = 72
RCVBUF = (socket.SOL_SOCKET, socket.SO_RCVBUF)
LOCK = (socket.SOL_SOCKET, SO_BUF_LOCK)
CLAMP = (socket.IPPROTO_TCP, socket.TCP_WINDOW_CLAMP)
WAYS: dict[str, tuple[dict[tuple[int, int], int], dict[tuple[int, int], int], dict[tuple[int, int], int]]] = {
    "nothing": ({}, {}, {}),
    "SO_RCVBUF 64 KB before connect": ({RCVBUF: 65_536}, {}, {}),
    "TCP_WINDOW_CLAMP 64 KB after, raised": ({}, {CLAMP: 65_536}, {CLAMP: 32 << 20}),
    "SO_RCVBUF 64 KB after, raised to 4 MB": ({}, {RCVBUF: 65_536}, {RCVBUF: 4 << 20}),
    "SO_RCVBUF 64 KB after, SO_BUF_LOCK off": ({}, {RCVBUF: 65_536}, {LOCK: 0}),
    "SO_RCVBUF 16 KB before, unlocked; SO_BUF_LOCK on, then off": ({RCVBUF: 16_384, LOCK: 0}, {LOCK: 2}, {LOCK: 0}),
}


def window(sock: socket.socket) -> int:
    """The window this socket's peer offers, bytes: `tcpi_snd_wnd` of struct tcp_info."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    # After tcpi_rcv_ooopack (u32) at byte 224; Linux 5.19 and newer.
    return int(struct.unpack_from("I", info, 228)[0]) if len(info) >= 232 else 0


def apply(sock: socket.socket, options: dict[tuple[int, int], int]) -> None:
    """Set options."""
    for (level, name), value in options.items():
        sock.setsockopt(level, name, value)


def windows(read_first_bytes: int = 200_000, tick_s: float = 0.02) -> dict[str, dict[str, float]]:
    """For each way: read what aiohttp would take, count what the kernel takes unread, then read slowly and on.

    Reading in ticks stands for a path with that round trip: the kernel sizes the window by what is read in one.
    """
    results = {}
    for name, (before, after, admitted) in WAYS.items():
        with socket.socket() as listener, socket.socket() as receiver:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            apply(receiver, before)
            receiver.connect(listener.getsockname())
            sender, _ = listener.accept()
            with sender:
                sender.setblocking(False)
                apply(receiver, after)
                taken = push(sender)
                read = 0
                while read < read_first_bytes:
                    read += len(receiver.recv(min(65_536, read_first_bytes - read)))
                    taken += push(sender)
                time.sleep(0.05)
                taken += push(sender)
                outstanding = taken - read - queued(sender)
                apply(receiver, admitted)
                widest = 0
                receiver.setblocking(False)
                until = time.perf_counter() + 1.5
                while time.perf_counter() < until:
                    push(sender)
                    drain(receiver)
                    widest = max(widest, window(sender))
                    time.sleep(tick_s / 4)
                results[name] = {
                    "unread_kb_in_kernel": round(outstanding / 1024),
                    "window_kb_after": round(widest / 1024),
                }
    return results


def push(sender: socket.socket) -> int:
    """Write until the kernel takes no more."""
    taken = 0
    while True:
        try:
            taken += sender.send(b"x" * 65_536)
        except BlockingIOError:
            return taken


def drain(receiver: socket.socket) -> None:
    """Read until there is nothing."""
    while True:
        try:
            receiver.recv(1 << 20)
        except BlockingIOError:
            return


def queued(sender: socket.socket) -> int:
    """Bytes written that the peer's kernel has not acknowledged: SIOCOUTQ."""
    import fcntl
    import termios

    return int(struct.unpack("i", fcntl.ioctl(sender, termios.TIOCOUTQ, b"\0\0\0\0"))[0])


def with_upstream(answer_bytes: int | None, tls: bool, run: Callable[[str, str], object]) -> None:
    """Start the upstream, run, print, stop it."""
    with tempfile.TemporaryDirectory() as folder:
        certificate, key = make_certificate(Path(folder)) if tls else ("", "")
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(
            target=serve, args=(theirs, answer_bytes, certificate, key), daemon=True
        )
        process.start()
        try:
            scheme = "https" if tls else "http"
            result = run(f"{scheme}://127.0.0.1:{ours.recv()}/v1beta/models/m:generateContent", certificate)
        finally:
            process.terminate()
            process.join()
    json.dump({"tls": tls, "result": result}, sys.stdout)
    print()


def main() -> None:
    """Run one of the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["held", "stream", "windows"])
    parser.add_argument("--n", type=int, default=0)
    parser.add_argument("--at-once", type=int, default=1)
    parser.add_argument("--tls", action="store_true")
    arguments = parser.parse_args()
    match arguments.what:
        case "held":
            with_upstream(None, arguments.tls, lambda url, ca: uvloop.run(held(url, ca, arguments.n or 2000)))
        case "stream":
            with_upstream(
                BODY_BYTES,
                arguments.tls,
                lambda url, ca: uvloop.run(stream(url, ca, arguments.n or 40, arguments.at_once)),
            )
        case _:
            json.dump(windows(), sys.stdout, indent=1)
            print()


if __name__ == "__main__":
    main()
