"""Simulators on real sockets, and a client that sees every byte of an answer and how it ended."""

from __future__ import annotations

import asyncio
import json
import random
import time
import zlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from holdfast.simulator.pictures import PNG_SIGNATURE, png_chunk
from holdfast.simulator.server import Simulator

QUIET_S = 10.0
"""How long a caller waits for a next byte that should come; one that expects silence waits less."""
NOISE = random.Random(1).randbytes(200_000)


def quick_paint(width_px: int, height_px: int, format_: str) -> bytes:
    """Make a file of the right header and some weight at once: drawing is tested elsewhere."""
    if format_ == "jpeg":
        jfif = b"\xff\xe0\x00\x10JFIF\0\x01\x01\x00\x00\x01\x00\x01\x00\x00"
        sizes = height_px.to_bytes(2, "big") + width_px.to_bytes(2, "big")
        frame = b"\xff\xc0\x00\x0b\x08" + sizes + b"\x01\x01\x11\x00"
        return b"\xff\xd8" + jfif + frame + b"\xff\xda\x00\x02" + NOISE.replace(b"\xff", b"\xfe") + b"\xff\xd9"
    header = width_px.to_bytes(4, "big") + height_px.to_bytes(4, "big") + b"\x08\x00\x00\x00\x00"
    rows = zlib.compress((b"\0" + bytes(width_px)) * height_px, 1)
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", rows) + png_chunk(b"teSt", NOISE)
    return PNG_SIGNATURE + chunks + png_chunk(b"IEND", b"")


@dataclass(slots=True)
class Seen:
    """What a caller saw."""

    raw: bytes = b""
    end: str = "fin"
    """`fin`, `reset`, or `open`: nothing came for a while, and nobody hung up."""
    times_s: list[float] = field(default_factory=list)
    """When pieces arrived, since the request was sent."""

    @property
    def status(self) -> int:
        """The last status: 100 Continue is none."""
        return int(self._head.split(b" ", 2)[1])

    @property
    def headers(self) -> Mapping[str, str]:
        """Names in lower case."""
        lines = [line.decode().partition(":") for line in self._head.split(b"\r\n")[1:]]
        return {name.lower(): value.strip() for name, _, value in lines}

    @property
    def body(self) -> bytes:
        """Without the framing of chunks, as far as it came."""
        rest = self.raw.partition(b"\r\n\r\n")[2]
        return dechunked(rest)[0] if self.headers.get("transfer-encoding") == "chunked" else rest

    @property
    def is_whole(self) -> bool:
        """The framing says that all of the body came."""
        rest = self.raw.partition(b"\r\n\r\n")[2]
        if self.headers.get("transfer-encoding") == "chunked":
            return dechunked(rest)[1]
        length = self.headers.get("content-length")
        return length is not None and len(rest) == int(length)

    @property
    def document(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def _head(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[0]


def dechunked(rest: bytes) -> tuple[bytes, bool]:
    """Undo the framing; also tell whether the last chunk came."""
    body: list[bytes] = []
    at = 0
    while (end := rest.find(b"\r\n", at)) >= 0:
        size = int(rest[at:end], 16)
        if size == 0:
            return b"".join(body), rest[end:] == b"\r\n\r\n"
        body.append(rest[end + 2 : end + 2 + size])
        at = end + 2 + size + 2
    return b"".join(body), False


class Caller:
    """Speaks to one port, a connection for each request."""

    def __init__(self, port: int) -> None:
        self.port = port

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    async def send(self, raw: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection and write."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 25)
        writer.write(raw)
        return reader, writer

    async def raw(self, raw: bytes, *, quiet_s: float = QUIET_S) -> Seen:
        """Write bytes and see what happens, until the end or until nothing comes for a while."""
        seen, began_s = Seen(), time.monotonic()
        try:
            reader, writer = await self.send(raw)
        except ConnectionResetError:
            seen.end = "reset"
            return seen
        try:
            while True:
                piece = await asyncio.wait_for(reader.read(1 << 20), quiet_s)
                if not piece:
                    return seen
                seen.raw += piece
                seen.times_s.append(time.monotonic() - began_s)
        except ConnectionResetError:
            seen.end = "reset"
        except TimeoutError:
            seen.end = "open"
        finally:
            writer.close()
        return seen

    async def post(
        self, path: str, body: object, *, quiet_s: float = QUIET_S, version: str = "1.1", **headers: str
    ) -> Seen:
        """Post JSON on a connection that ends with the answer."""
        return await self.raw(a_request(path, body, version=version, connection="close", **headers), quiet_s=quiet_s)

    async def get(self, path: str, **headers: str) -> Seen:
        """Get something."""
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        return await self.raw(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{lines}\r\n".encode())

    async def openai(self, prompt: str = "a lighthouse", *, quiet_s: float = QUIET_S, **fields: Any) -> Seen:
        """Ask for images in OpenAI's dialect."""
        body = {"prompt": prompt, "model": "nano-banana-pro", **fields}
        return await self.post("/v1/images/generations", body, quiet_s=quiet_s, idempotency_key="key-1")

    async def gemini(
        self, prompt: str = "a lighthouse", *, stream: bool = False, quiet_s: float = QUIET_S, **headers: str
    ) -> Seen:
        """Ask for an image in Gemini's."""
        method = "streamGenerateContent?alt=sse" if stream else "generateContent"
        body = {"contents": [{"role": "user", "parts": [{"text": prompt}]}]}
        path = f"/v1beta/models/gemini-3-pro-image:{method}"
        return await self.post(path, body, quiet_s=quiet_s, idempotency_key="key-1", **headers)

    async def charges(self) -> list[dict[str, Any]]:
        """Read the record."""
        charges: list[dict[str, Any]] = (await self.get("/_sim/charges")).document["charges"]
        return charges

    async def script(self, *do: object, **match: object) -> Seen:
        """Leave a script."""
        return await self.post("/_sim/script", {"match": match, "do": list(do)})


def a_request(path: str, body: object, *, version: str = "1.1", **headers: str) -> bytes:
    """Write a request."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"POST {path} HTTP/{version}\r\nHost: x\r\nContent-Type: application/json\r\n{lines}"
    return f"{head}Content-Length: {len(raw)}\r\n\r\n".encode() + raw


class Lab:
    """Starts simulators that end with the test."""

    request = staticmethod(a_request)
    paint = staticmethod(quick_paint)

    def __init__(self) -> None:
        self.simulators: list[Simulator] = []

    async def start(self, **options: Any) -> Caller:
        """Start one; instant and quick to paint unless told otherwise."""
        simulator = Simulator(**{"scenario": "instant", "paint": quick_paint, **options})
        self.simulators.append(simulator)
        return Caller(await simulator.start("127.0.0.1", 0))

    async def until(self, holds: Any, *, within_s: float = 5.0) -> None:
        """Wait until something is so."""
        deadline_s = time.monotonic() + within_s
        while not holds():
            assert time.monotonic() < deadline_s, "it did not come to be"
            await asyncio.sleep(0.01)

    async def close(self) -> None:
        """End all."""
        for simulator in self.simulators:
            await simulator.close()


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    """Simulators for one test."""
    made = Lab()
    yield made
    await made.close()
