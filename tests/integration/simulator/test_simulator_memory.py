"""Pictures of true weight at the true size, from a simulator in a process of its own, whose memory is watched."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pybase64
import pytest
from PIL import Image

BODY = {"prompt": "a lighthouse", "model": "nano-banana-pro", "size": "4K"}
CALLERS = 8


class Process:
    """A simulator that was started from the command line."""

    def __init__(self) -> None:
        words = ("simulate", "--port", "0", "--scenario", "instant", "--seed", "3", "--json")
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "holdfast.cli.main", *words], stdout=subprocess.PIPE, text=True
        )
        assert self.popen.stdout is not None
        self.url: str = json.loads(self.popen.stdout.readline())["base_url"]

    def memory_kb(self, name: str) -> int:
        """Read `VmRSS` (now) or `VmHWM` (at most so far)."""
        lines = Path(f"/proc/{self.popen.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(name))

    def ask(self, **changes: Any) -> Any:
        """Ask for pictures and wait."""
        request = urllib.request.Request(
            f"{self.url}/v1/images/generations",
            data=json.dumps({**BODY, **changes}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

    def close(self) -> None:
        """End it."""
        self.popen.terminate()
        self.popen.communicate(timeout=20)


@pytest.fixture(scope="module")
def process() -> Iterator[Process]:
    """One for this file: drawing a 4K picture takes a second and more."""
    made = Process()
    yield made
    made.close()


def file_of(answer: Any) -> bytes:
    """Decode the one picture."""
    (item,) = answer["data"]
    return pybase64.b64decode(item["b64_json"], validate=True)


@pytest.mark.parametrize(
    ("size", "pixels", "least_mb", "most_mb"),
    [("1K", 1024, 1.3, 2.0), ("2K", 2048, 4.0, 9.0), ("4K", 4096, 15.0, 25.0)],
)
def test_pictures_are_real(process: Process, size: str, pixels: int, least_mb: float, most_mb: float) -> None:
    """Pillow decodes all of it; the weight is that of real ones; no two are alike."""
    first, second = (file_of(process.ask(size=size)) for _ in range(2))
    assert least_mb * 1e6 <= len(first) <= most_mb * 1e6
    image = Image.open(io.BytesIO(first))
    image.load()
    assert image.size == (pixels, pixels)
    assert hashlib.sha256(first).digest() != hashlib.sha256(second).digest()
    assert len(first) == len(second)


def test_a_4k_jpeg_is_real(process: Process) -> None:
    """The other format."""
    image = Image.open(io.BytesIO(file_of(process.ask(output_format="jpeg", size="3072x5504"))))
    image.load()
    assert (image.format, image.size) == ("JPEG", (3072, 5504))


async def test_eight_slow_readers_of_4k_cost_little_memory(process: Process) -> None:
    """27 MB each are on their way, and none of them is held but the one picture that all share."""
    await asyncio.to_thread(process.ask)
    at_rest_kb = process.memory_kb("VmRSS")
    host, port = process.url.removeprefix("http://").split(":")
    raw = json.dumps(BODY).encode()
    request = b"POST /v1/images/generations HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    request += b"Content-Length: %d\r\n\r\n" % len(raw) + raw

    async def read_slowly() -> int:
        reader, writer = await asyncio.open_connection(host, int(port), limit=65_536)
        writer.write(request)
        count = 0
        while data := await reader.read(1 << 20):
            count += len(data)
            if count < 1_000_000:
                await asyncio.sleep(0.02)
        writer.close()
        return count

    counts = await asyncio.gather(*(read_slowly() for _ in range(CALLERS)))
    assert min(counts) > 20_000_000
    assert process.memory_kb("VmRSS") - at_rest_kb < 16_000
    # Painting took more than serving: the mark was set before anybody was served.
    assert process.memory_kb("VmHWM") < 330_000
