"""Both sides of a gateway: an upstream that does what a test says, and a caller's connection byte by byte."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import socket
import struct
import time
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


def a_png(width_px: int = 64, height_px: int = 64, *, noise_bytes: int = 0) -> bytes:
    """Draw a picture of its own; `noise_bytes` makes it as heavy as wanted, whatever its pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pixels = os.urandom(3) * width_px
    rows = zlib.compress((b"\0" + pixels) * height_px, 1)
    header = struct.pack(">IIBBBBB", width_px, height_px, 8, 2, 0, 0, 0)
    more = chunk(b"tEXt", b"noise\0" + os.urandom(noise_bytes)) if noise_bytes else b""
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + more + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def a_head(status: int, headers: Mapping[str, str]) -> bytes:
    """Write the head of an upstream's answer."""
    lines = [f"HTTP/1.1 {status} Said", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


@dataclass
class Asked:
    """A request as the upstream read it."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """Its body."""
        return json.loads(self.body)

    @property
    def is_gemini(self) -> bool:
        """Whose API was called."""
        return ":" in self.path

    @property
    def streams(self) -> bool:
        """Whether events are wanted."""
        return "alt=sse" in self.path if self.is_gemini else self.json.get("stream") is True

    @property
    def prompt(self) -> str:
        """What is to be drawn."""
        return str(self.json["contents"][-1]["parts"][0]["text"] if self.is_gemini else self.json["prompt"])

    def document(self, *pictures: bytes) -> dict[str, Any]:
        """Write a success in this API, not streamed."""
        coded = [base64.b64encode(picture).decode() for picture in pictures]
        if not self.is_gemini:
            usage = {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12}
            return {"created": 1, "data": [{"b64_json": each} for each in coded], "usage": usage}
        parts = [{"inlineData": {"mimeType": "image/png", "data": each}} for each in coded]
        content = {"role": "model", "parts": [{"text": "Here."}, *parts]}
        return {
            "candidates": [{"content": content, "finishReason": "STOP", "index": 0}],
            "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 7, "totalTokenCount": 12},
            "modelVersion": "gemini-3-pro-image",
            "responseId": "r1",
        }

    def events(self, *pictures: bytes, partials: Sequence[bytes] = ()) -> list[bytes]:
        """Write a success in this API, streamed: one piece an event."""
        if self.is_gemini:
            return [b"data: " + json.dumps(self.document(*pictures)).encode() + b"\n\n"]
        said: list[tuple[str, bytes, dict[str, Any]]] = []
        said += [("partial_image", each, {"partial_image_index": at}) for at, each in enumerate(partials)]
        said += [("completed", each, {"usage": {"input_tokens": 5, "output_tokens": 7}}) for each in pictures]
        events = []
        for kind, picture, more in said:
            name = f"image_generation.{kind}"
            coded = base64.b64encode(picture).decode()
            document = json.dumps({"type": name, "created_at": 1, "b64_json": coded, **more})
            events.append(f"event: {name}\ndata: {document}\n\n".encode())
        return events


class Reply:
    """The upstream's side of one call."""

    def __init__(self, asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked = asked
        self.reader = reader
        self.writer = writer

    async def write(self, *pieces: bytes) -> None:
        """Write bytes as they are."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()

    async def answer(
        self, body: bytes | Mapping[str, Any], *, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        """Answer with a length."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        head = {"Content-Type": "application/json", "Content-Length": str(len(data)), **(headers or {})}
        await self.write(a_head(status, head), data)

    async def pictures(self, *pictures: bytes, partials: Sequence[bytes] = ()) -> None:
        """Answer with images, as this API and this request want them."""
        if self.asked.streams:
            await self.write(a_head(200, {"Content-Type": "text/event-stream", "Connection": "close"}))
            await self.write(*self.asked.events(*pictures, partials=partials))
        else:
            await self.answer(self.asked.document(*pictures))

    def reset(self) -> None:
        """End the connection with RST."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def stall(self) -> None:
        """Say nothing more until the other side hangs up."""
        await self.reader.read()


Script = Callable[[Asked, Reply], Awaitable[None]]


class Upstream:
    """A peer that does what a test says; by itself it answers every call with as many new images as it wants."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.pictures: list[bytes] = []
        """What it has drawn by itself, in order."""
        self.gate = asyncio.Event()
        """Every call waits here before it is answered; open unless a test closes it."""
        self.gate.set()
        self.script: Script = self.draw
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    async def draw(self, asked: Asked, reply: Reply) -> None:
        """Answer with images."""
        count = 1 if asked.is_gemini else int(asked.json.get("n", 1))
        drawn = [a_png() for _ in range(count)]
        self.pictures += drawn
        await reply.pictures(*drawn)

    def gives(self, *pictures: bytes, partials: Sequence[bytes] = ()) -> None:
        """Answer every call with these images."""

        async def script(_: Asked, reply: Reply) -> None:
            await reply.pictures(*pictures, partials=partials)

        self.script = script

    def answers(
        self, body: bytes | Mapping[str, Any], *, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        """Answer every call with this."""

        async def script(_: Asked, reply: Reply) -> None:
            await reply.answer(body, status=status, headers=headers)

        self.script = script

    async def was_asked(self, count: int = 1) -> None:
        """Wait until so many calls have come."""
        async with asyncio.timeout(5):
            while len(self.asked) < count:
                await asyncio.sleep(0.005)

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Hang up everywhere."""
        assert self._server is not None
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:-2])}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            asked = Asked(path=lines[0].split(" ")[1], headers=headers, body=body)
            self.asked.append(asked)
            await self.gate.wait()
            await self.script(asked, Reply(asked, reader, writer))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the gateway hung up, as some tests want it to
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


@dataclass
class Answer:
    """What a caller was answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, beats before it included."""
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error it tells."""
        return dict(self.json["error"])

    @property
    def generation_id(self) -> str:
        """Of which generation it is."""
        return self.headers["generation-id"]

    def picture(self, at: int = 0) -> bytes:
        """The image in it, decoded; whichever dialect it is in."""
        if "data" in self.json:
            return base64.b64decode(self.json["data"][at]["b64_json"])
        parts = [part for each in self.json["candidates"] for part in each["content"]["parts"] if "inlineData" in part]
        return base64.b64decode(parts[at]["inlineData"]["data"])

    def events(self) -> list[tuple[str, Any]]:
        """The events of a stream, beats left out: name and document."""
        found: list[tuple[str, Any]] = []
        for block in self.body.decode().replace("\r\n", "\n").split("\n\n"):
            lines = dict(line.split(": ", 1) for line in block.split("\n") if line)
            if lines:
                found.append((lines.get("event", ""), json.loads(lines["data"])))
        return found


class Wire:
    """A caller's connection, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *pieces: bytes, gap_s: float = 0.02) -> None:
        """Send pieces, each in a segment of its own."""
        for piece in pieces:
            with contextlib.suppress(RuntimeError, ConnectionError):
                # A gateway that has refused already has closed; what it said is still to be read.
                self.writer.write(piece)
                await self.writer.drain()
            if len(pieces) > 1:
                await asyncio.sleep(gap_s)

    async def segment(self, within_s: float = 5.0) -> bytes:
        """Read what has come."""
        return await asyncio.wait_for(self.reader.read(65536), within_s)

    async def head(self, within_s: float = 5.0) -> Answer:
        """Read a head; its body is still to be read."""
        raw = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), within_s)
        first, *lines = raw.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
        return Answer(status=int(first.split(" ")[1]), headers=headers, body=b"")

    async def chunk(self, within_s: float = 5.0) -> bytes:
        """Read one chunk; empty at the end."""
        size = int(await asyncio.wait_for(self.reader.readline(), within_s), 16)
        return (await asyncio.wait_for(self.reader.readexactly(size + 2), within_s))[:-2]

    async def chunks(self, within_s: float = 5.0) -> bytes:
        """Read the rest of a chunked body."""
        body = b""
        while data := await self.chunk(within_s):
            body += data
        return body

    async def answer(self, within_s: float = 5.0) -> Answer:
        """Read one whole answer."""
        answer = await self.head(within_s)
        if "content-length" in answer.headers:
            length = int(answer.headers["content-length"])
            answer.body = await asyncio.wait_for(self.reader.readexactly(length), within_s)
        elif answer.headers.get("transfer-encoding") == "chunked":
            answer.body = await self.chunks(within_s)
        else:
            answer.body = await self.rest(within_s)
        return answer

    async def rest(self, within_s: float = 5.0) -> bytes:
        """Read until the gateway closes."""
        return await asyncio.wait_for(self.reader.read(-1), within_s)

    async def beats(self, count: int) -> list[float]:
        """Read so many chunks, each of which is one beat; give the moments."""
        moments = []
        for _ in range(count):
            assert await self.chunk() == b"\n"
            moments.append(time.monotonic())
        return moments

    def leave(self, *, reset: bool = False) -> None:
        """Go away."""
        if reset:
            sock = self.writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()
