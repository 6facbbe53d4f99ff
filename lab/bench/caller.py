"""The callers: count bytes, keep nothing, parse nothing but one sample.

    echo '{"kind": "load", …}' | python lab/bench/caller.py        (a job in, a result out, both JSON)

Jobs: `load` (so many callers, each asking again as soon as it is answered), `paced` (so many requests a second),
`storm` (so many connections opened at a rate; all are answered when the upstream is told to release them), and `asks`
(requests that the runner wrote, so many a second). All but the last end with one sample whose picture must decode to
the digest that was sent.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import resource
import socket
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pictures
import pybase64
import uvloop

LAST_CHUNK = b"\r\n0\r\n\r\n"
BUFFER = memoryview(bytearray(1 << 19))
"""Where every connection reads to: what it holds is counted before the next read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Whom to ask, and for what."""

    port: int
    key: str
    model: str
    pictures: Path
    receive_buffer_kb: int = 0

    def request(self, serial: int, kind: str, extra: str = "", more: str = "") -> bytes:
        """Write one request; `more` are further lines of its head."""
        side = pictures.KINDS[kind].side_px
        body = json.dumps(
            {
                "model": self.model,
                "prompt": f"[bench id={serial} picture={kind}{extra}]",
                "n": 1,
                "size": f"{side}x{side}",
            }
        ).encode()
        head = (
            f"POST /v1/images/generations HTTP/1.1\r\nhost: 127.0.0.1:{self.port}\r\n"
            f"authorization: Bearer {self.key}\r\n"
            f"content-type: application/json\r\naccept: application/json\r\nuser-agent: bench\r\n"
            f"{more}content-length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def get(self, path: str) -> bytes:
        """Write a request that only reads."""
        head = f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{self.port}\r\nauthorization: Bearer {self.key}\r\n\r\n"
        return head.encode()

    async def connect(self) -> Caller:
        """Open a connection."""
        loop = asyncio.get_running_loop()
        sock = socket.socket()
        sock.setblocking(False)
        try:
            if self.receive_buffer_kb:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_buffer_kb * 1024)
            await loop.sock_connect(sock, ("127.0.0.1", self.port))
            _, caller = await loop.create_connection(Caller, sock=sock)
        except BaseException:
            sock.close()
            raise
        return caller


class Caller(asyncio.BufferedProtocol):
    """One connection, asking one thing at a time."""

    def __init__(self) -> None:
        self._transport: Any = None
        self._done: asyncio.Future[None] | None = None
        self._head = b""
        self._tail = b""
        self._remaining: int | None = None
        self.is_chunked = False
        self.status = 0
        self.body_bytes = 0
        self.kept: bytearray | None = None
        self.first_bytes = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever waits is told."""
        if self._done is not None and not self._done.done():
            self._done.set_exception(ConnectionError(f"broken off: {type(exc).__name__ if exc else 'closed'}"))

    async def ask(self, request: bytes, *, keep: bool = False) -> None:
        """Send a request and wait for the last byte of its answer."""
        self._head, self._tail, self._remaining = b"", b"", None
        self.is_chunked, self.status, self.body_bytes = False, 0, 0
        self.kept = bytearray() if keep else None
        self.first_bytes = b""
        if self.is_closed:
            # Refused right behind the accept, as by a proxy out of descriptors: nobody would tell of it any more.
            raise ConnectionError("broken off: closed before anything was asked")
        self._done = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        await self._done

    @property
    def is_closed(self) -> bool:
        """Whether the other side ended the connection."""
        return bool(self._transport.is_closing())

    def close(self) -> None:
        """Hang up."""
        self._transport.close()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Read here."""
        return BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        """Count."""
        if self.status == 0:
            self._read_head(bytes(BUFFER[:nbytes]))
        else:
            self._count(BUFFER[:nbytes])

    def _read_head(self, data: bytes) -> None:
        self._head += data
        head, end, rest = self._head.partition(b"\r\n\r\n")
        if not end:
            return
        status = int(head[9:12])
        if status < 200:
            self._head = b""
            self._read_head(rest)
            return
        self.status = status
        lower = head.lower()
        self.is_chunked = b"transfer-encoding: chunked" in lower
        length = re.search(rb"\r\ncontent-length:\s*(\d+)", lower)
        self._remaining = int(length[1]) if length else None
        self._head = b""
        self._count(memoryview(rest))

    def _count(self, data: memoryview) -> None:
        self.body_bytes += len(data)
        if self.kept is not None:
            self.kept += data
        if self.status != 200 and len(self.first_bytes) < 300:
            self.first_bytes += bytes(data[:300])
        if self.is_chunked:
            # The bodies are JSON on one line: these seven bytes cannot stand inside.
            self._tail = (self._tail + bytes(data[-7:]))[-7:]
            ended = self._tail == LAST_CHUNK
        else:
            ended = self._remaining is not None and self.body_bytes >= self._remaining
        if ended and self._done is not None and not self._done.done():
            self._done.set_result(None)


def fault_of(caller: Caller, kind: str) -> str | None:
    """Say what is wrong with an answer, going by its status and its length."""
    if caller.status != 200:
        return f"status {caller.status}: {caller.first_bytes[:200]!r}"
    if caller.body_bytes < pictures.KINDS[kind].encoded_bytes:
        return "shorter than the picture"
    return None


def fault_of_sample(caller: Caller, target: Target, serial: int, kind: str) -> str | None:
    """Say what is wrong with a kept answer, going by what is in it."""
    assert caller.kept is not None
    body = bytes(caller.kept)
    if caller.is_chunked:
        body = _without_chunks(body)
    picture = pybase64.b64decode(json.loads(body)["data"][0]["b64_json"], validate=True)
    if hashlib.sha256(picture).hexdigest() != pictures.sha256_of(target.pictures, pictures.KINDS[kind], serial):
        return "the sample is not the picture that was sent"
    return None


def _without_chunks(body: bytes) -> bytes:
    parts, at = [], 0
    while True:
        line_end = body.index(b"\r\n", at)
        size = int(body[at:line_end].split(b";")[0], 16)
        if size == 0:
            return b"".join(parts)
        parts.append(body[line_end + 2 : line_end + 2 + size])
        at = line_end + 2 + size + 2


async def sample(target: Target, serial: int, kind: str) -> str | None:
    """Ask once more and look into the answer."""
    caller = await target.connect()
    try:
        await caller.ask(target.request(serial, kind), keep=True)
        return fault_of(caller, kind) or fault_of_sample(caller, target, serial, kind)
    finally:
        caller.close()


async def load(target: Target, job: dict[str, Any]) -> dict[str, Any]:
    """Run `callers` callers for `seconds`, or until each has asked `each` times."""
    kind, serials, faults = job["picture"], iter(range(job["serial"], 1 << 40)), Counter[str]()
    latencies: list[float] = []
    begun_at = time.monotonic()
    ended_at = begun_at

    async def one() -> None:
        nonlocal ended_at
        caller = await target.connect()
        count = 0
        while count < job["each"] if job.get("each") else time.monotonic() - begun_at < job["seconds"]:
            asked_at = time.monotonic()
            if caller.is_closed:
                caller = await target.connect()
            await caller.ask(target.request(next(serials), kind))
            ended_at = time.monotonic()
            latencies.append(ended_at - asked_at)
            count += 1
            fault = fault_of(caller, kind)
            if fault:
                faults[fault] += 1
        caller.close()

    outcomes = await asyncio.gather(*(one() for _ in range(job["callers"])), return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            faults[f"{type(outcome).__name__}: {outcome}"] += 1
    # The runner reads the gateway's CPU when this line comes: with what follows an answer, without the sample.
    await asyncio.sleep(0.2)
    print(json.dumps({"begun_at": begun_at, "ended_at": ended_at, "latencies_s": latencies}), flush=True)
    fault = await sample(target, next(serials), kind)
    if fault:
        faults[fault] += 1
    return {"faults": dict(faults)}


async def paced(target: Target, job: dict[str, Any]) -> dict[str, Any]:
    """Ask `rate` times a second for `seconds`; the runner compares with the upstream's clock."""
    kind, faults, sent = job["picture"], Counter[str](), {}
    idle: list[Caller] = []
    begun_at = time.monotonic()

    async def one(serial: int) -> None:
        try:
            while idle and idle[-1].is_closed:
                idle.pop()
            caller = idle.pop() if idle else await target.connect()
            request = target.request(serial, kind, f" delay={job['delay_s']}")
            sent[serial] = time.monotonic()
            await caller.ask(request)
        except OSError as exc:
            faults[f"{type(exc).__name__}: {exc}"] += 1
            return
        fault = fault_of(caller, kind)
        if fault:
            faults[fault] += 1
        idle.append(caller)

    async with asyncio.TaskGroup() as group:
        for index in range(int(job["rate"] * job["seconds"])):
            await asyncio.sleep(max(0.0, begun_at + index / job["rate"] - time.monotonic()))
            group.create_task(one(job["serial"] + index))
    for caller in idle:
        caller.close()
    fault = await sample(target, job["serial"] + (1 << 30), kind)
    if fault:
        faults[fault] += 1
    return {"sent_at": sent, "faults": dict(faults)}


async def storm(target: Target, job: dict[str, Any]) -> dict[str, Any]:
    """Open `count` connections at `rate` a second, ask, and note when each answer was complete."""
    kind, faults, ended = job["picture"], Counter[str](), []
    begun_at = time.monotonic()

    async def one(serial: int, *, keep: bool) -> None:
        try:
            caller = await target.connect()
            async with asyncio.timeout(job["timeout_s"]):
                await caller.ask(
                    target.request(serial, kind, " hold", keyed(serial) if job.get("keyed") else ""), keep=keep
                )
        except TimeoutError:
            faults["timed out"] += 1
            return
        except OSError as exc:
            faults[f"{type(exc).__name__}: {exc}"] += 1
            return
        at = time.monotonic()
        fault = fault_of(caller, kind) or (fault_of_sample(caller, target, serial, kind) if keep else None)
        caller.close()
        if fault:
            faults[fault] += 1
        else:
            ended.append(at)

    async with asyncio.TaskGroup() as group:
        for index in range(job["count"]):
            await asyncio.sleep(max(0.0, begun_at + index / job["rate"] - time.monotonic()))
            group.create_task(one(job["serial"] + index, keep=index == job["count"] // 2))
    return {"ended_at": ended, "faults": dict(faults)}


def keyed(serial: int) -> str:
    """Write the line that names a request: whoever sends it again means the same."""
    return f"idempotency-key: bench-{serial}\r\n"


async def asks(target: Target, job: dict[str, Any]) -> dict[str, Any]:
    """Send `count` of the requests that the runner wrote, one after the other, `rate` a second."""
    requests = [text.encode() for text in job["requests"]]
    faults, latencies, bodies = Counter[str](), [], []
    idle: list[Caller] = []
    begun_at = time.monotonic()

    async def one(request: bytes) -> None:
        asked_at = time.monotonic()
        try:
            while idle and idle[-1].is_closed:
                idle.pop()
            caller = idle.pop() if idle else await target.connect()
            await caller.ask(request, keep=True)
        except OSError as exc:
            faults[f"{type(exc).__name__}: {exc}"] += 1
            return
        latencies.append(time.monotonic() - asked_at)
        assert caller.kept is not None
        body = _without_chunks(bytes(caller.kept)) if caller.is_chunked else bytes(caller.kept)
        if caller.status != job["status"]:
            faults[f"status {caller.status}: {body[:200]!r}"] += 1
        elif job.get("keep"):
            bodies.append(json.loads(body)[job["keep"]])
        idle.append(caller)

    async with asyncio.TaskGroup() as group:
        for index in range(job["count"]):
            await asyncio.sleep(max(0.0, begun_at + index / job["rate"] - time.monotonic()))
            group.create_task(one(requests[index % len(requests)]))
    for caller in idle:
        caller.close()
    return {"latencies_s": latencies, "kept": bodies, "faults": dict(faults), "took_s": time.monotonic() - begun_at}


def main() -> None:
    """Read a job, do it, print the result."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    job = json.load(sys.stdin)
    target = Target(**{**job["target"], "pictures": Path(job["target"]["pictures"])})
    do = {"load": load, "paced": paced, "storm": storm, "asks": asks}[job["kind"]]
    print(json.dumps(uvloop.run(do(target, job))), flush=True)


if __name__ == "__main__":
    main()
