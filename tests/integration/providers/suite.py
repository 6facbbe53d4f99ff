"""What every door to a provider goes through, on sockets: a gateway before the simulator, asked as callers ask.

A *door* is one way into one provider: `provider` and `api` of an upstream. Each registers itself in a file of its own,
`doors_NAME.py` in this folder, which is found by its name and holds `DOORS`. What doors differ in is said by `Door`,
and nowhere else: the scenarios are the same for all.
"""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import random
import sys
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from holdfast.simulator.asked import Asked
from holdfast.simulator.faults import script_of
from holdfast.simulator.pictures import PNG_SIGNATURE, png_chunk
from holdfast.simulator.server import Simulator
from holdfast.types import Tier

FOLDER = Path(__file__).parent
MODEL = "the-model"
"""The public name of what every door draws with."""
MICROS: Mapping[str, int] = MappingProxyType({"1K": 100_000, "2K": 200_000, "4K": 400_000})
PROMPT = "a lighthouse in the fog, marker Qx7Zt"
KEY = "upstream-secret-Jw4Ru"
NOISE = random.Random(5).randbytes(300_000)
SQUARES: Mapping[Tier, str] = MappingProxyType({Tier.K1: "1024x1024", Tier.K2: "2048x2048", Tier.K4: "4096x4096"})


@asynccontextmanager
async def as_it_is(upstream: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    """Prepare nothing."""
    yield upstream


@dataclass(frozen=True, kw_only=True)
class Door:
    """One way into one provider, and what it promises."""

    name: str
    """In test ids."""
    provider: str
    model: str
    """What the model is called there."""
    api: str | None = None
    """The upstream's `api`; None leaves the setting out."""
    path: str = ""
    """Of `base_url`, behind the simulator's origin: `/v1`."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further settings of the upstream."""
    keys: tuple[str, ...] = (KEY,)
    sizes: Mapping[Tier, str] = field(default_factory=lambda: SQUARES)
    """Pixels of a square picture, for each size class that is offered."""
    edits: bool = True
    """Whether it takes reference images."""
    is_polled: bool = False
    """It gives a handle: what breaks on the way is asked for again, and a restart goes on with it."""
    takes_back: bool = False
    """A request that it has not begun can be cancelled there, and costs nothing."""
    paid_if_refused: tuple[str, str] = ("no", "no")
    """`paid` of a prompt that is refused, and of a picture."""
    tells_stage: bool = True
    """Whether it says that a prompt was refused, or a picture; else both count as the latter."""
    paid_if_failed: str = "unknown"
    """`paid` of a fault of its own (500)."""
    is_inline: bool = True
    """Pictures come as base64 inside a document."""
    prepare: Callable[[dict[str, Any]], AbstractAsyncContextManager[dict[str, Any]]] = as_it_is
    """Makes ready what its credential needs (a token server, a file), and gives the upstream's settings with it."""

    def __str__(self) -> str:
        return self.name

    @property
    def in_background(self) -> bool:
        """Whether its API creates an object that is asked for until it has ended."""
        return self.api in ("responses", "interactions")

    def upstream(self, port: int) -> dict[str, Any]:
        """Write its entry of `[[upstreams]]`."""
        entry: dict[str, Any] = {
            "name": "the-upstream",
            "provider": self.provider,
            "base_url": f"http://127.0.0.1:{port}{self.path}",
            "keys": list(self.keys),
            **self.extra,
        }
        return entry if self.api is None else {**entry, "api": self.api}

    def sections(self, upstream: dict[str, Any]) -> dict[str, Any]:
        """Write the settings that lead to it, and only to it."""
        price = {"model": MODEL, "micros": dict(MICROS), "source": "the suite", "valid_from": "2026-01-01"}
        route = {
            "model": MODEL,
            "aliases": ["gemini-3-pro-image"],
            "upstreams": [{"upstream": "the-upstream", "model": self.model}],
            "default": True,
        }
        return {
            "upstreams": [upstream],
            "routes": [route],
            # What it takes is what is said here, whatever its own list says.
            "prices": [price, {**price, "upstream": "the-upstream"}],
            # Pauses are tested where they are decided; here they would only be waited for.
            "retry": {"backoff_s_first": 0.05, "backoff_s_max": 0.2},
            "latency": {"scale": 0.001},
        }


def doors() -> tuple[Door, ...]:
    """Find every door: `DOORS` of each `doors_*.py` here, in the order of their names."""
    # Tests are no package: who registers imports this module under this name.
    sys.modules.setdefault("provider_suite", sys.modules[__name__])
    found: list[Door] = []
    for path in sorted(FOLDER.glob("doors_*.py")):
        spec = importlib.util.spec_from_file_location(f"provider_{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found += module.DOORS
    assert len({door.name for door in found}) == len(found), "two doors have one name"
    return tuple(found)


def paint(width_px: int, height_px: int, format_: str) -> bytes:
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


class Watched(Simulator):
    """The simulator, and what it was asked to draw."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"scenario": "instant", "paint": paint, "speed": 10.0, **options})
        self.asked: list[Asked] = []
        """One for each request that was read to its end."""
        self.port = 0
        self.gate = asyncio.Event()
        """What holds gateways up in other tests, and nothing here."""

    def _decide(self, asked: Asked, *arguments: Any) -> Any:
        self.asked.append(asked)
        return super()._decide(asked, *arguments)

    def suffers(self, *do: str) -> None:
        """Leave a script for the next requests."""
        self.scripts.add(script_of({"do": list(do)}))

    @property
    def outcomes(self) -> list[str]:
        """How each generation ended that was charged or not."""
        return [row.outcome.value for row in self.charges.rows]

    @property
    def made(self) -> int:
        """Pictures that were made, and charged."""
        return self.outcomes.count("made")


def inline(*pictures: bytes) -> list[dict[str, Any]]:
    """Write a turn of the Gemini surface that holds the prompt and reference images."""
    parts: list[dict[str, Any]] = [{"text": PROMPT}]
    for picture in pictures:
        parts.append({"inlineData": {"mimeType": "image/png", "data": base64.b64encode(picture).decode()}})
    return [{"role": "user", "parts": parts}]
