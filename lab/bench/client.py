"""The client's bars: what importing costs, what it adds to a small call, and what a 4K answer takes of memory.

    python lab/bench/client.py [--quick] [--out FILE]

Each figure is taken in a process of its own, beside a server that does nothing but answer; the two sides of a
comparison take turns, call by call. CPU seconds are told beside wall seconds: on a busy machine only they mean much.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any

IMPORT_MS_MAX = 150.0
OVERHEAD_MS_MAX = 1.0
MEMORY_MB_MAX = 30.0
PICTURE_BYTES = 20_250_000
"""A 4K image as published: 27 MB once it is base64."""
SMALL_BYTES = 200


def a_png(weight_bytes: int) -> bytes:
    """Draw a picture that weighs so much."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 4096, 4096, 8, 2, 0, 0, 0)
    noise = chunk(b"tEXt", b"noise\0" + os.urandom(weight_bytes))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + noise + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


async def serve() -> None:
    """Answer: any POST with an image in JSON (by its prompt, large or small) or a link to it, any GET with the file."""
    pictures = {"small": a_png(SMALL_BYTES), "large": a_png(PICTURE_BYTES)}
    bodies = {
        name: json.dumps({"created": 1, "data": [{"b64_json": base64.b64encode(each).decode()}]}).encode()
        for name, each in pictures.items()
    }

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lines = head.lower().split(b"\r\n")
                length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
                asked = await reader.readexactly(length)
                name = "large" if b"large" in asked + head.split(b"\r\n")[0] else "small"
                kind, body = "application/json", bodies[name]
                if head.startswith(b"GET"):
                    kind, body = "image/png", pictures[name]
                elif b'"url"' in asked:
                    host = next(line[6:].decode() for line in lines if line.startswith(b"host: "))
                    body = json.dumps({"data": [{"url": f"http://{host}/{name}.png"}]}).encode()
                ours = "Generation-Id: gen_1\r\n" if b'"url"' in asked else ""
                writer.write(
                    f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n{ours}Content-Length: {len(body)}\r\n\r\n".encode()
                )
                for at in range(0, len(body), 1 << 18):
                    writer.write(body[at : at + (1 << 18)])
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(one, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


# What runs in a process of its own


def memory(port: int, way: str) -> dict[str, Any]:
    """Save a 4K answer to disk, and tell how far memory rose above that of a client that has made a call."""
    import holdfast

    server: Any = "holdfast" if way == "file" else "openai"
    with (
        tempfile.TemporaryDirectory() as folder,
        holdfast.Client(f"http://127.0.0.1:{port}/v1", "k", server=server) as client,
    ):
        if way == "async":
            return asyncio.run(memory_async(port, folder))
        client.images.generate("small", save_to=folder)
        idle_kb = reset_peak()
        began = time.perf_counter()
        images = client.images.generate("large", save_to=f"{folder}/a.png")
        took_s = time.perf_counter() - began
        return told(images[0].size_bytes, idle_kb, took_s)


async def memory_async(port: int, folder: str) -> dict[str, Any]:
    """The same for asyncio."""
    import holdfast

    async with holdfast.AsyncClient(f"http://127.0.0.1:{port}/v1", "k", server="openai") as client:
        await client.images.generate("small", save_to=folder)
        idle_kb = reset_peak()
        began = time.perf_counter()
        images = await client.images.generate("large", save_to=f"{folder}/a.png")
        return told(images[0].size_bytes, idle_kb, time.perf_counter() - began)


def told(saved: int, idle_kb: int, took_s: float) -> dict[str, Any]:
    """Say how far memory rose."""
    rise_mb = (field_of("VmHWM") - idle_kb) / 1024
    return {"image_bytes": saved, "idle_mb": idle_kb / 1024, "rise_mb": rise_mb, "took_s": took_s}


def reset_peak() -> int:
    """Forget the peak so far; give what is in use, KiB."""
    Path("/proc/self/clear_refs").write_text("5")
    return field_of("VmRSS")


def field_of(name: str) -> int:
    """Read a line of /proc/self/status, KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def overhead(port: int, calls: int) -> dict[str, float]:
    """Make small calls, in turn with httpx2 alone and with the client; medians in milliseconds."""
    import httpx2

    import holdfast

    url = f"http://127.0.0.1:{port}/v1"
    body = {"prompt": "small", "n": 1}
    walls: dict[str, list[float]] = {"bare": [], "client": []}
    cpus: dict[str, list[float]] = {"bare": [], "client": []}
    with httpx2.Client(timeout=30.0) as bare, holdfast.Client(url, "k", server="openai") as client:

        def by_hand() -> None:
            answer = bare.post(f"{url}/images/generations", json=body)
            base64.b64decode(answer.json()["data"][0]["b64_json"])

        for at in range(calls + 20):
            for name, work in (("bare", by_hand), ("client", lambda: client.images.generate("small")[0].bytes)):
                wall, cpu = time.perf_counter(), time.process_time()
                work()
                if at >= 20:
                    walls[name].append(1e3 * (time.perf_counter() - wall))
                    cpus[name].append(1e3 * (time.process_time() - cpu))
    bare_ms, client_ms = statistics.median(walls["bare"]), statistics.median(walls["client"])
    cpu_ms = statistics.median(cpus["client"]) - statistics.median(cpus["bare"])
    return {"bare_ms": bare_ms, "client_ms": client_ms, "overhead_ms": client_ms - bare_ms, "overhead_cpu_ms": cpu_ms}


def importing(rounds: int) -> dict[str, float]:
    """Import each client in a Python of its own, under `-X importtime`; milliseconds of importing beyond Python's own.

    The least of each, since only noise adds to it.
    """
    codes = {
        "bare": "pass",
        "import_ms": "import holdfast; holdfast.Client",
        "import_async_ms": "import holdfast; holdfast.AsyncClient",
        "import_httpx2_ms": "import httpx2",
    }
    took: dict[str, list[float]] = {name: [] for name in codes}
    for _ in range(rounds):
        for name, code in codes.items():
            took[name].append(import_ms(code))
    bare_ms = min(took.pop("bare"))
    return {name: min(each) - bare_ms for name, each in took.items()}


def import_ms(code: str) -> float:
    """Add up what `-X importtime` tells: microseconds of each module without those it imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], check=True, stderr=subprocess.PIPE, text=True
    )
    lines = (line.removeprefix("import time:").split("|")[0].strip() for line in done.stderr.splitlines())
    return sum(int(each) for each in lines if each.isdigit()) / 1e3


def apart(*arguments: str) -> Any:
    """Take one figure in a process of its own."""
    done = subprocess.run([sys.executable, __file__, *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def main() -> int:
    """Take every figure, print the bars, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--out", type=Path, help="where the figures go as JSON")
    parser.add_argument("--do", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.do:
        what, *rest = args.do
        if what == "serve":
            asyncio.run(serve())
        figures = memory(int(rest[0]), rest[1]) if what == "memory" else overhead(int(rest[0]), int(rest[1]))
        print(json.dumps(figures))
        return 0
    server = subprocess.Popen([sys.executable, __file__, "--do", "serve"], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        result = {
            "import": importing(5 if args.quick else 15),
            "overhead": apart("--do", "overhead", port, "100" if args.quick else "400"),
            "memory": {way: apart("--do", "memory", port, way) for way in ("base64", "file", "async")},
        }
    finally:
        server.terminate()
        server.wait()
    bars = [
        ("import, ms", result["import"]["import_ms"], IMPORT_MS_MAX),
        ("overhead of a small call, ms", result["overhead"]["overhead_ms"], OVERHEAD_MS_MAX),
        *(
            (f"4K to disk, {way}: MB above idle", each["rise_mb"], MEMORY_MB_MAX)
            for way, each in result["memory"].items()
        ),
    ]
    for name, value, bar in bars:
        print(f"{'ok  ' if value <= bar else 'MISS'}  {name:<40}{value:>9.2f}  (at most {bar:g})")
    if args.out is not None:
        args.out.write_text(json.dumps(result, indent=2) + "\n")
    return 0 if all(value <= bar for _, value, bar in bars) else 1


if __name__ == "__main__":
    sys.exit(main())
