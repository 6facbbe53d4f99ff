"""A peer on a real socket that answers as a gateway does; loaded by the tests of `holdfast generate`."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import struct
import time
import zlib
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from holdfast.types import Charge, Surface
from holdfast.wire.failures import render_error
from holdfast.wire.generations import (
    Cost,
    ErrorResource,
    GenerationResource,
    ImageResource,
    Progress,
    render_generation,
)

GENERATION = "gen_01J00000000000000000000000"
Script = Callable[[BaseHTTPRequestHandler], None]


class Gateway(ThreadingHTTPServer):
    """Answers every POST by the script of the test, and remembers what was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: Script = answer_with(200, images())
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[Any] = []
        self.polls: list[bytes] = []
        """What it says of a generation that is asked after, one after the other, the last one for ever."""
        self.files: dict[str, bytes] = {}
        """Images, by path."""
        self.asked_after: list[tuple[str, str | None]] = []

    @property
    def base_url(self) -> str:
        """What `--base-url` is given."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Gateway

    def do_POST(self) -> None:
        self.server.paths.append(self.path)
        self.server.headers.append({name.lower(): value for name, value in self.headers.items()})
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.bodies.append(json.loads(body) if body.startswith(b"{") else body)
        self.server.script(self)

    def do_GET(self) -> None:
        if self.path in self.server.files:
            answer_with(200, self.server.files[self.path], "image/png")(self)
            return
        self.server.asked_after.append((self.path, self.headers["authorization"]))
        if not self.server.polls:
            answer_with(404, error("There is no such generation.", "not_found"))(self)
            return
        # Held for a moment, as a gateway that waits holds it.
        time.sleep(0.3)
        answer_with(200, self.server.polls.pop(0) if len(self.server.polls) > 1 else self.server.polls[0])(self)

    def log_message(self, format: str, *args: object) -> None:
        """Stay quiet."""


def a_png(width_px: int = 64, height_px: int = 64) -> bytes:
    """Draw a picture of noise, so that its size is that of its pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + os.urandom(width_px) for _ in range(height_px))
    header = struct.pack(">IIBBBBB", width_px, height_px, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 0)) + chunk(b"IEND", b"")


PICTURE = a_png()


def images(*pictures: bytes) -> bytes:
    """Write an OpenAI answer."""
    data = [{"b64_json": base64.b64encode(each).decode(), "url": "/x"} for each in pictures or (PICTURE,)]
    return json.dumps({"created": 1, "model": "nano-banana-pro", "data": data}).encode()


def error(message: str, code: str, paid: Charge = Charge.NO) -> bytes:
    """Write an error as a gateway does."""
    return render_error(Surface.OPENAI, code=code, message=message, paid=paid)


def answer_with(status: int, body: bytes, kind: str = "application/json") -> Script:
    """Answer at once, with a length."""

    def script(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(body)))
        handler.send_header("Generation-Id", GENERATION)
        handler.end_headers()
        handler.wfile.write(body)

    return script


def a_resource(expected_s: float = 15.0, **fields: Any) -> bytes:
    """Write how a generation stands."""
    cost = Cost(held_micros=1, charged_micros=0, compensated_micros=0, currency="USD")
    told = Progress(elapsed_s=0.1, expected_s=expected_s, p95_s=2 * expected_s, fraction=0.0)
    usual: dict[str, Any] = {"status": "running", "paid": "unknown", "progress": told}
    return render_generation(
        GenerationResource(
            id=GENERATION,
            sequence_number=1,
            model="m",
            size="4K",
            created_at="2026-01-01T00:00:00.000Z",
            cost=cost,
            **(usual | fields),
        )
    )


def failed(code: str, message: str, paid: str) -> bytes:
    """Write that it has ended without an image."""
    ended = ErrorResource(code=code, message=message, paid=paid, retryable=False)
    return a_resource(status="failed", paid=paid, progress=None, error=ended)


def succeeded(gateway: Gateway, picture: bytes) -> bytes:
    """Write that it has ended, with an image that can be fetched."""
    gateway.files["/image.png"] = picture
    image = ImageResource(
        index=0,
        url=f"{gateway.base_url.removesuffix('/v1')}/image.png",
        mime="image/png",
        bytes=len(picture),
        sha256=hashlib.sha256(picture).hexdigest(),
        width=64,
        height=64,
        expires_at="2099-01-01T00:00:00.000Z",
    )
    return a_resource(status="succeeded", paid="yes", progress=None, images=(image,))


def beat_then(body: bytes, *, beats: int = 3, gap_s: float = 0.05, ends: bool = True) -> Script:
    """Commit 200 early, beat, then send the rest."""

    def script(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.send_header("Generation-Id", GENERATION)
        handler.end_headers()
        for _ in range(beats):
            handler.wfile.write(b"1\r\n\n\r\n")
            handler.wfile.flush()
            time.sleep(gap_s)
        handler.wfile.write(b"%x\r\n%b\r\n" % (len(body), body))
        if ends:
            handler.wfile.write(b"0\r\n\r\n")
        else:
            handler.close_connection = True

    return script
