"""What a thumbnail costs: time, memory and address space of the child, and what the gateway itself grows by.

    python lab/console/thumbnails.py [--pixels 4096] [--rounds 5] [--out results/thumbnails.json]

Draws pictures that compress badly, as photographs do, in every format that upstreams send, and has the child make each
small as the gateway does. `address_mb` is what `SMALL_MEMORY_BYTES` bounds, `resident_mb` what the machine has to give.
Then one `Thumbnails` makes a folder of them, two at a time: its own growth is `parent_grown_mb`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from PIL import Image

from holdfast.engine import convert_child
from holdfast.engine.thumbnails import QUALITY, WIDTHS, Thumbnails, make_small
from holdfast.threads import Threads

KINDS = (("png", "RGB"), ("png", "RGBA"), ("jpeg", "RGB"), ("webp", "RGB"))
MANY = 12
# The child's own code, and its memory at the end.
TELLING = """
import runpy, sys
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
told = dict(line.split(":", 1) for line in open("/proc/self/status") if line.startswith(("VmPeak", "VmHWM")))
print(*(told[name].split()[0] for name in ("VmPeak", "VmHWM")))
"""


def draw(path: Path, kind: str, mode: str, pixels: int) -> None:
    """Draw shapes under noise: a file of a photograph's weight."""
    noise = Image.effect_noise((pixels, pixels), 12)
    shapes = Image.linear_gradient("L").resize((pixels, pixels))
    bands = [Image.blend(shapes.rotate(90 * turn), noise, 0.5) for turn in range(3)]
    if mode == "RGBA":
        bands.append(shapes)
    Image.merge(mode, bands).save(path, kind.upper(), quality=90)


def measure(source: Path, folder: Path, width: int, rounds: int) -> dict[str, Any]:
    """Make one small some times."""
    target = folder / "made.webp"
    took, told = [], (0, 0)
    words = [convert_child.__file__, str(source), str(target), "webp", str(QUALITY), str(width)]
    for _ in range(rounds):
        began = time.perf_counter()
        done = subprocess.run([sys.executable, "-I", "-c", TELLING, *words], check=True, capture_output=True, env={})
        took.append(time.perf_counter() - began)
        address, resident = map(int, done.stdout.split())
        told = (max(told[0], address), max(told[1], resident))
    return {
        "source_mb": round(source.stat().st_size / 1e6, 1),
        "made_kb": round(target.stat().st_size / 1e3, 1),
        "median_s": round(statistics.median(took), 2),
        "max_s": round(max(took), 2),
        "address_mb": round(told[0] / 1024),
        "resident_mb": round(told[1] / 1024),
    }


async def many(source: Path, folder: Path) -> dict[str, Any]:
    """Make several at once, as a page of the gallery asks for them."""
    threads = Threads(4, "file")
    made = Thumbnails(folder / "thumbnails", threads, lambda key: folder / key, make=make_small)
    keys = [f"att_{number}-0.png" for number in range(MANY)]
    for key in keys:
        os.link(source, folder / key)
    before, began = resident_kb(), time.perf_counter()
    pictures = await asyncio.gather(*(made.of(key, WIDTHS[0], is_wanted=lambda: True) for key in keys))
    took, grown = time.perf_counter() - began, resident_kb() - before
    began = time.perf_counter()
    await asyncio.gather(*(made.of(key, WIDTHS[0], is_wanted=lambda: True) for key in keys))
    again = time.perf_counter() - began
    threads.close(wait=True)
    return {
        "images": MANY,
        "all_s": round(took, 2),
        "kept_all_ms": round(again * 1000, 1),
        "parent_grown_mb": round(grown / 1024, 1),
        "bytes": sum(map(len, pictures)),
    }


def resident_kb() -> int:
    """What this process has taken at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pixels", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    told: dict[str, Any] = {"pixels": asked.pixels, "rounds": asked.rounds, "cores": os.cpu_count(), "kinds": {}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind, mode in KINDS:
            source = folder / f"{kind}-{mode}"
            draw(source, kind, mode, asked.pixels)
            told["kinds"][f"{kind} {mode}"] = {
                str(width): measure(source, folder, width, asked.rounds) for width in WIDTHS
            }
        told["page"] = asyncio.run(many(folder / "png-RGB", folder))
    text = json.dumps(told, indent=2)
    print(text)
    if asked.out is not None:
        asked.out.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
