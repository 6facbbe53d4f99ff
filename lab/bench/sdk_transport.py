"""What the clients for other SDKs cost: a small call through `holdfast.httpx_client` beside bare httpx2.

    .venv/bin/python lab/bench/sdk_transport.py

One connection to a server in a process of its own, which answers at once with 1 KB in holdfast's words; the clients
take turns, call by call, so that whatever else the machine does meets them alike. Printed are medians of wall and of
CPU time in milliseconds; the difference is the overhead, and the bar is 1 ms. At last a document of 27 MB, the size of
a 4K answer: there the overhead is a temporary file.
"""

from __future__ import annotations

import json
import multiprocessing
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

import httpx2

import holdfast

CALLS, LARGE_CALLS = 1500, 12
BAR_MS = 1.0
ULID = "01J9Z3NDEKTSV4RRFFQ69G5FAV"
LARGE_BYTES = 27_000_000


def serve(ready: Connection) -> None:
    """Answer everything on one connection after another."""
    small = json.dumps({"created": 1, "data": [{"b64_json": "QUJD" * 250}]}).encode()
    large = b'{"data": [{"b64_json": "' + b"QUJD" * (LARGE_BYTES // 4) + b'"}]}'
    head = (
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
        f"generation-id: gen_{ULID}\r\nx-request-id: req_{ULID}\r\ncontent-length: "
    ).encode()
    answers = {name: head + b"%d\r\n\r\n" % len(body) + body for name, body in ((b"small", small), (b"large", large))}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ready.send(listener.getsockname()[1])
        pool = []
        while True:
            near, _ = listener.accept()
            process = multiprocessing.get_context("fork").Process(target=answer, args=(near, answers), daemon=False)
            process.start()
            pool.append(process)
            near.close()


def answer(near: socket.socket, answers: dict[bytes, bytes]) -> None:
    """Read request after request, body included; the path says what is wanted."""
    near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with near:
        while data := near.recv(65_536):
            head, _, body = data.partition(b"\r\n\r\n")
            fields = (line.lower().partition(b":") for line in head.split(b"\r\n"))
            length = next((int(value) for name, _, value in fields if name == b"content-length"), 0)
            while len(body) < length:
                body += near.recv(65_536)
            near.sendall(answers[b"large" if b"/large/" in head else b"small"])


def milliseconds(call: Callable[[], object]) -> tuple[float, float]:
    """Time one call: on the wall, and on this process's CPU."""
    began, cpu_began = time.perf_counter(), time.process_time()
    call()
    return (time.perf_counter() - began) * 1000, (time.process_time() - cpu_began) * 1000


def compare(name: str, bare: Callable[[], object], ours: Callable[[], object], calls: int) -> float:
    """Let both take turns; print, and give the overhead on the wall in milliseconds."""
    for _ in range(min(50, calls)):
        bare()
        ours()
    took = [(*milliseconds(bare), *milliseconds(ours)) for _ in range(calls)]
    wall, cpu, wall_ours, cpu_ours = (statistics.median(column) for column in zip(*took, strict=True))
    print(
        f"{name:<34} bare {wall:8.3f} (CPU {cpu:7.3f})   ours {wall_ours:8.3f} (CPU {cpu_ours:7.3f})"
        f"   overhead {wall_ours - wall:+8.3f} (CPU {cpu_ours - cpu:+7.3f}) ms"
    )
    return wall_ours - wall


def main() -> int:
    """Measure; 1 if a small call costs more than the bar."""
    mine, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("fork").Process(target=serve, args=(theirs,))
    server.start()
    url = f"http://127.0.0.1:{mine.recv()}"
    body = {"model": "nano-banana-pro", "prompt": "a lighthouse in a storm", "size": "1024x1024"}
    print(f"httpx2 {httpx2.__version__}, Python {sys.version.split()[0]}, spool in {tempfile.gettempdir()}")
    try:
        with httpx2.Client(trust_env=False) as bare, holdfast.httpx_client(trust_env=False) as ours:
            passed = compare(
                "GET /v1/models (passed)",
                lambda: bare.get(f"{url}/v1/models"),
                lambda: ours.get(f"{url}/v1/models"),
                CALLS,
            )
            mended = compare(
                "POST /v1/images/generations, 1 KB",
                lambda: bare.post(f"{url}/v1/images/generations", json=body),
                lambda: ours.post(f"{url}/v1/images/generations", json=body),
                CALLS,
            )
            compare(
                "the same, 27 MB",
                lambda: bare.post(f"{url}/large/v1/images/generations", json=body),
                lambda: ours.post(f"{url}/large/v1/images/generations", json=body),
                LARGE_CALLS,
            )
    finally:
        server.kill()
        server.join()
    return 0 if max(passed, mended) <= BAR_MS else 1


if __name__ == "__main__":
    sys.exit(main())
