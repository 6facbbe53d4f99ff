"""What a waiting generation costs the engine alone: no caller's connection, no upstream's, everything else as shipped.

    python lab/bench/waiting.py [--count 5000]           (prints one line of JSON)

A whole gateway is put together as `holdfast serve` does it; only its transport is taken out, so that what is sent waits
for ever and owns no socket. Accepted with nobody connected, as by `Prefer: respond-async`.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import machine
import uvloop

from holdfast.clock import SystemClock
from holdfast.config import parse, upstream_keys
from holdfast.engine.engine import Engine
from holdfast.engine.submit import Submission
from holdfast.engine.watchers import Notice
from holdfast.gateway.serve import running, targets_of
from holdfast.transport.exchange import Exchange, Head, HttpRequest, Sink, Timeouts
from holdfast.types import Failure, Geometry, Request, Surface, Tier

MODEL = "nano-banana-pro"
WARM = 200
"""Accepted before anything is measured: pools, caches and buffers have their size then."""
AT_ONCE = 200


class Silent:
    """A transport whose upstream never says a word, and that owns no socket."""

    def __init__(self) -> None:
        self.sent = 0

    async def exchange(
        self,
        request: HttpRequest,
        *,
        inputs: Sequence[Path],
        timeouts: Timeouts,
        on_head: Callable[[Head], Sink],
        ca_file: str,
    ) -> Exchange | Failure:
        """Wait for ever."""
        self.sent += 1
        del request
        await asyncio.get_running_loop().create_future()
        raise AssertionError("nobody answers")


def _unheard(notice: Notice) -> None:
    """Nobody waits."""


async def accept(engine: Engine, count: int) -> None:
    """Accept so many, of different prompts."""

    async def one(number: int) -> None:
        request = Request(
            surface=Surface.OPENAI,
            model=MODEL,
            prompt=f"a lighthouse in the fog, with a red roof and a white door, number {number}",
            geometry=Geometry(tier=Tier.K1, aspect_ratio="1:1", width_px=1024, height_px=1024),
        )
        entered = await engine.enter(Submission(key_id="key_bench", request=request, has_caller=False), _unheard)
        assert entered.generation_id is not None
        engine.unwatch(entered.generation_id, _unheard)

    for first in range(0, count, AT_ONCE):
        await asyncio.gather(*(one(number) for number in range(first, min(count, first + AT_ONCE))))


async def measure(count: int, folder: Path) -> dict[str, float]:
    """Accept, and weigh."""
    settings = parse(
        {
            "server": {"port": 0},
            "store": {"data": str(folder / "data")},
            "log": {"level": "error"},
            "upstreams": [{"name": "mock", "provider": "openai", "base_url": "http://127.0.0.1:9/v1", "keys": ["sk"]}],
            "routes": [{"model": MODEL, "upstreams": [{"upstream": "mock", "model": "mock"}]}],
        }
    )
    targets = targets_of(settings, upstream_keys(settings, {}))
    silent = Silent()
    async with running(settings, targets, SystemClock(), None) as gateway:
        object.__setattr__(gateway.engine._core, "transport", silent)
        await accept(gateway.engine, WARM)
        await _calm(silent, WARM)
        before = machine.rss_bytes(os.getpid())
        begun_at = time.monotonic()
        await accept(gateway.engine, count)
        taken_s = time.monotonic() - begun_at
        await _calm(silent, WARM + count)
        after = machine.rss_bytes(os.getpid())
        waiting = gateway.engine.open_generations - WARM
    return {
        "waiting": waiting,
        "sent": silent.sent - WARM,
        "before_bytes": before,
        "after_bytes": after,
        "bytes_each": (after - before) / count,
        "accepted_per_s": count / taken_s,
    }


async def _calm(silent: Silent, expected: int) -> None:
    """Wait until what may be sent is sent, and what is garbage is gone."""
    until = time.monotonic() + 20.0
    seen = -1
    while silent.sent < expected and silent.sent != seen and time.monotonic() < until:
        seen = silent.sent
        await asyncio.sleep(1.0)
    gc.collect()
    await asyncio.sleep(1.0)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=5000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="holdfast-waiting-") as folder:
        print(json.dumps(uvloop.run(measure(args.count, Path(folder)))))


if __name__ == "__main__":
    main()
