"""A small upstream for crash tests: OpenAI-, Gemini- and fal-shaped, deterministic, and it never forgets its charges.

It charges when it begins to work on a request, whether or not the caller is still there at the end. A prompt steers it:
`[delay=0.2]` seconds of work (longer for each further part), `[reset]` closes the connection instead of answering,
`[half]` sends half an answer and stalls. `[busy]` turns the first call away with 503, for nothing, `[shut]` each
call of the first drive. `[big]` makes a picture of 20 MB, `[torn=2]` breaks off behind the second picture of several.

Under `/second` is another upstream, which never resets: it works for `[second=0.2]` seconds.

A request to the queue is named after its call's key: whoever has the name is told where it stands, and is given its
pictures, however often and by however many processes it is asked for.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import random
import re
import struct
import zlib
from collections import Counter
from functools import lru_cache
from typing import Any

PIXEL_BYTES = 150_000
"""A picture of noise: its answer takes two batches of the transport."""


BIG_BYTES = 20_000_000


@lru_cache(maxsize=64)
def picture_of(key: str, index: int, pixel_bytes: int = PIXEL_BYTES) -> bytes:
    """The picture that a call gets, of its own; a whole PNG."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    noise = random.Random(f"{key}/{index}").randbytes(pixel_bytes)
    header = struct.pack(">IIBBBBB", 500, pixel_bytes // 500, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"".join(b"\x00" + noise[at : at + 500] for at in range(0, pixel_bytes, 500)), 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def _write(
    writer: asyncio.StreamWriter, body: bytes, media_type: str = "application/json", status: str = "200 OK"
) -> None:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)


class Upstream:
    """Listens on a free port of the loopback address."""

    def __init__(self) -> None:
        self.sends: Counter[str] = Counter()
        """Requests by `Idempotency-Key`; each was charged when it was begun."""
        self.key_of: dict[str, str] = {}
        """Digest of a picture -> the call that got it."""
        self.turned_away: set[str] = set()
        """Those that were answered with 503 and not charged."""
        self.queue: dict[str, tuple[str, int, float]] = {}
        """Name of a request in the queue -> its call's key, its pictures, and the loop time at which it has ended."""
        self.port = 0
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self.sample = picture_of("sample", 0)
        """A picture that nobody paid for."""

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop, and drop what is open."""
        assert self._server is not None
        self._server.close()
        for task in tuple(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def charges_of(self, generation_id: str) -> Counter[str]:
        """The charged calls of one generation, by part; a second one beside it is a call of its own."""
        calls = ((key.split("."), count) for key, count in self.sends.items())
        return Counter({parts[1]: count for parts, count in calls if parts[0] == generation_id})

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            # A gateway that is killed while it sends leaves half a request: nothing to work on, nothing to charge.
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                await self._answer(reader, writer)
        finally:
            self._open.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        headers = dict(re.findall(r"^([\w-]+): *(.*)\r$", head.lower(), re.MULTILINE))
        if head.startswith("GET "):
            self._tell(writer, head.split(" ")[1])
            await writer.drain()
            return
        key = re.search(r"(?im)^idempotency-key: *(\S+)", head)
        assert key is not None, "every call carries its key"
        body = (await reader.readexactly(int(headers["content-length"]))).decode()
        # A second call for what is asked for here already, at another upstream.
        is_second = head.startswith("POST /second/")
        call = f"{key[1]}+second" if is_second else key[1]
        is_first = key[1] not in self.turned_away
        if ("[busy]" in body and is_first) or ("[shut]" in body and key[1].endswith(".0")):
            self.turned_away.add(key[1])
            busy = b'{"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}}'
            _write(writer, busy, status="503 Busy")
            await writer.drain()
            return
        self.sends[call] += 1
        delay = re.search(r"\[second=([\d.]+)\]" if is_second else r"\[delay=([\d.]+)\]", body)
        part = int(key[1].split(".")[1])
        if head.startswith("POST /fal-ai/"):
            until = asyncio.get_running_loop().time() + (float(delay[1]) if delay else 0.05) * (1 + part)
            name = key[1].replace(".", "-")
            self.queue[name] = (key[1], json.loads(body).get("num_images", 1), until)
            if "[reset]" not in body:
                _write(writer, json.dumps({"request_id": name, "status": "IN_QUEUE", "queue_position": 0}).encode())
                await writer.drain()
            return
        await asyncio.sleep((float(delay[1]) if delay else 0.05) * (1 + part))
        if "[reset]" in body and not is_second:
            return
        bytes_ = BIG_BYTES if "[big]" in body else PIXEL_BYTES
        answer = self._picture_answer(call, json.loads(body), bytes_, is_gemini=":generateContent" in head)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(answer))
        if "[half]" in body:
            writer.write(answer[: len(answer) // 2])
            await reader.read()
            return
        torn = re.search(r"\[torn=(\d)\]", body)
        if torn is not None:
            # Behind the closing quote of that picture: all of it is there, and nothing more.
            last = base64.b64encode(picture_of(key[1], int(torn[1]) - 1, bytes_))
            answer = answer[: answer.index(last) + len(last) + 1]
        writer.write(answer)
        await writer.drain()

    def _tell(self, writer: asyncio.StreamWriter, path: str) -> None:
        """Answer a question about what is in the queue, or give one of its files."""
        name, what = re.findall(r"(gen_[\w-]+)(/status|/\d+)?", path)[0]
        key, pictures, until = self.queue[name]
        if what == "/status":
            has_ended = asyncio.get_running_loop().time() >= until
            _write(writer, json.dumps({"status": "COMPLETED" if has_ended else "IN_PROGRESS", "logs": None}).encode())
        elif what:
            _write(writer, self._noted(key, int(what[1:])), "image/png")
        else:
            links = [{"url": f"http://127.0.0.1:{self.port}/{name}/{at}"} for at in range(pictures)]
            _write(writer, json.dumps({"images": links}).encode())

    def _noted(self, key: str, index: int, bytes_: int = PIXEL_BYTES) -> bytes:
        picture = picture_of(key, index, bytes_)
        self.key_of[hashlib.sha256(picture).hexdigest()] = key
        return picture

    def _picture_answer(self, key: str, asked: dict[str, Any], bytes_: int, *, is_gemini: bool) -> bytes:
        pictures = [self._noted(key, index, bytes_) for index in range(asked.get("n", 1))]
        coded = [base64.b64encode(picture).decode() for picture in pictures]
        if not is_gemini:
            return json.dumps({"created": 1, "data": [{"b64_json": each} for each in coded]}).encode()
        part = {"inlineData": {"mimeType": "image/png", "data": coded[0]}}
        candidate = {"content": {"role": "model", "parts": [part]}, "finishReason": "STOP"}
        return json.dumps({"candidates": [candidate]}).encode()
