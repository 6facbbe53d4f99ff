"""What reading a 4K answer costs beyond its base64: scan and decode against bare pybase64, in CPU milliseconds.

    python lab/bench/wire.py [--mb 20] [--piece-kb 256] [--rounds 9] [--json FILE]

One thread, no I/O. Each row is the best of the rounds, rounds interleaved, so that all rows see the same weather.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pybase64

from holdfast.wire.gemini import GenerateReader, GenerateStreamReader, render_answer, render_answer_events
from holdfast.wire.image import ImageProbe
from holdfast.wire.openai import ImagesReader, ImagesStreamReader
from holdfast.wire.scan import ImageBytes
from holdfast.wire.template import PIECE_BYTES, filled


def bare(encoded: bytes, piece: int) -> int:
    """Decode base64 that is known to be nothing else: the floor."""
    view = memoryview(encoded)
    return sum(len(pybase64.b64decode(view[at : at + piece], validate=True)) for at in range(0, len(view), piece))


def read(reader: object, body: bytes, piece: int, *, probe: bool = False) -> int:
    """Read a body as the transport hands it over."""
    count = 0
    looker = ImageProbe()
    for at in range(0, len(body), piece):
        for event in reader.feed(body[at : at + piece]):  # type: ignore[attr-defined]
            if isinstance(event, ImageBytes):
                count += len(event.data)
                if probe:
                    looker.feed(event.data)
    reader.finish()  # type: ignore[attr-defined]
    return count


def encode(raw: bytes) -> int:
    """Encode as the gateway does when it answers."""
    view = memoryview(raw)
    return sum(len(pybase64.b64encode(view[at : at + PIECE_BYTES])) for at in range(0, len(raw), PIECE_BYTES))


def cases(raw: bytes, piece: int) -> dict[str, Callable[[], int]]:
    """Make the rows; the slicing of the body into pieces is part of every row, the floor's too."""
    encoded = pybase64.b64encode(raw)
    safe = pybase64.urlsafe_b64encode(raw)
    openai = b'{"created":1764000000,"data":[{"b64_json":"' + encoded + b'"}],"usage":{"total_tokens":4210}}'
    head = b'{"candidates":[{"content":{"role":"model","parts":[{"text":"Here"},'
    head += b'{"inlineData":{"mimeType":"image/png","data":"'
    tail = b'"}}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":12}}'
    gemini = head + encoded + tail
    skeleton = head + b"0" + tail
    gemini_stream = b"".join(filled(event, {0: raw}) for event in render_answer_events(skeleton))
    openai_stream = (
        b'event: image_generation.completed\ndata: {"type":"image_generation.completed","b64_json":"'
        + encoded
        + b'"}\n\n'
    )
    url_safe = head + safe + tail
    escaped = head + encoded.replace(b"/", b"\\/") + tail
    assert filled(render_answer(skeleton), {0: raw}) == gemini
    return {
        "bare pybase64, pieces sliced": lambda: sum(
            len(pybase64.b64decode(encoded[at : at + piece], validate=True)) for at in range(0, len(encoded), piece)
        ),
        "bare pybase64, memoryview": lambda: bare(encoded, piece),
        "OpenAI": lambda: read(ImagesReader(), openai, piece),
        "Gemini": lambda: read(GenerateReader(), gemini, piece),
        "Gemini, probed": lambda: read(GenerateReader(), gemini, piece, probe=True),
        "OpenAI stream": lambda: read(ImagesStreamReader(), openai_stream, piece),
        "Gemini stream": lambda: read(GenerateStreamReader(), gemini_stream, piece),
        "bare pybase64, URL-safe": lambda: sum(
            len(pybase64.b64decode(safe[at : at + piece], altchars=b"-_", validate=True))
            for at in range(0, len(safe), piece)
        ),
        "Gemini, URL-safe": lambda: read(GenerateReader(), url_safe, piece),
        "Gemini, \\/ escapes": lambda: read(GenerateReader(), escaped, piece),
        "encode for an answer": lambda: encode(raw),
    }


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mb", type=float, default=20.25, help="raw image size; 20.25 MB are 27 MB of base64")
    parser.add_argument("--piece-kb", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    raw = random.Random(1).randbytes(int(options.mb * 1e6))
    rows = cases(raw, options.piece_kb * 1024)
    best = dict.fromkeys(rows, float("inf"))
    for _ in range(options.rounds):
        for name, run in rows.items():
            started = time.process_time()
            run()
            best[name] = min(best[name], (time.process_time() - started) * 1e3)
    floor = best["bare pybase64, pieces sliced"]
    print(f"{len(raw) / 1e6:.1f} MB raw, pieces of {options.piece_kb} KB, best of {options.rounds}, CPU ms")
    for name, cpu_ms in best.items():
        print(f"  {name:32} {cpu_ms:7.2f}   {cpu_ms - floor:+7.2f}")
    if options.json:
        environment = {"python": platform.python_version(), "pybase64": pybase64.get_version(), "argv": sys.argv[1:]}
        options.json.write_text(json.dumps({"cpu_ms": best, "environment": environment}, indent=2) + "\n")


if __name__ == "__main__":
    main()
