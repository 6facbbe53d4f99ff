"""A gateway before simulated Ark and Replicate, on real sockets: what the suite of all doors does not ask of them."""

from __future__ import annotations

import base64
import hashlib
import random
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from holdfast.providers import replicate
from holdfast.simulator.asked import Kind
from holdfast.simulator.pictures import PNG_SIGNATURE, png_chunk
from holdfast.simulator.server import Simulator

NOISE = random.Random(3).randbytes(300_000)
"""Makes a reference image too heavy to go along."""


def paint(width_px: int, height_px: int, format_: str, *, noise: bytes = b"") -> bytes:
    """Make a file of the right header at once."""
    if format_ == "jpeg":
        jfif = b"\xff\xe0\x00\x10JFIF\0\x01\x01\x00\x00\x01\x00\x01\x00\x00"
        sizes = height_px.to_bytes(2, "big") + width_px.to_bytes(2, "big")
        frame = b"\xff\xc0\x00\x0b\x08" + sizes + b"\x01\x01\x11\x00"
        return b"\xff\xd8" + jfif + frame + b"\xff\xda\x00\x02" + bytes(5000) + b"\xff\xd9"
    header = width_px.to_bytes(4, "big") + height_px.to_bytes(4, "big") + b"\x08\x00\x00\x00\x00"
    rows = zlib.compress((b"\0" + bytes(width_px)) * height_px, 1)
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", rows) + png_chunk(b"teSt", noise)
    return PNG_SIGNATURE + chunks + png_chunk(b"IEND", b"")


class Watched(Simulator):
    """Also keeps what was asked, and the files that were handed over."""

    def __init__(self) -> None:
        super().__init__(scenario="instant", paint=paint, speed=10.0)
        self.asked: list[Any] = []
        self.files: list[bytes] = []
        self.port = 0

    def _decide(self, asked: Any, *arguments: Any) -> Any:
        self.asked.append(asked)
        return super()._decide(asked, *arguments)

    def received(self, connection: Any, head: Any, intake: Any) -> None:
        if intake.route.kind is Kind.UPLOAD:
            self.files.append(bytes(intake.body))
        super().received(connection, head, intake)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes seconds in life takes a tenth of it here."""
    monkeypatch.setattr(replicate, "POLL_S_FIRST", 0.02)
    monkeypatch.setattr(replicate, "POLL_S_MAX", 0.1)
    monkeypatch.setattr(replicate, "FETCH_S_MAX", 0.1)


@pytest.fixture
async def simulator() -> AsyncIterator[Watched]:
    """Instant unless a prompt says otherwise; ten times as fast as life."""
    made = Watched()
    made.port = await made.start("127.0.0.1", 0)
    yield made
    await made.close()


def sections(provider: str, base_url: str, model: str, public: str = "nano-banana-pro") -> dict[str, Any]:
    """Settings that lead to it."""
    upstream = {"name": "theirs", "provider": provider, "base_url": base_url, "keys": ["upstream-Jw4Ru"]}
    route = {"model": public, "aliases": ["gemini-3-pro-image"], "upstreams": [{"upstream": "theirs", "model": model}]}
    return {"upstreams": [upstream], "routes": [{**route, "default": True}]}


async def ark(start: Any, simulator: Watched, model: str) -> Any:
    """A gateway before Seedream."""
    base_url = f"http://127.0.0.1:{simulator.port}/api/v3"
    return await start(**sections("ark", base_url, model, "seedream-4.5"))


async def predicting(start: Any, simulator: Watched) -> Any:
    """A gateway before Replicate."""
    return await start(**sections("replicate", f"http://127.0.0.1:{simulator.port}", "google/nano-banana-pro"))


# Ark


async def test_a_small_picture_becomes_the_smallest_that_there_is(start: Any, simulator: Watched) -> None:
    """Told as what it is; it costs what the model costs."""
    gateway = await ark(start, simulator, "seedream-4-5-251128")
    answer = await gateway.images(model="seedream-4.5", size="1K")
    assert answer.status == 200, answer
    assert answer.json["data"][0]["size"] == "2048x2048"
    assert gateway.record(answer.generation_id).generation.size == "1024x1024"
    resource = await gateway.ask("GET", f"/v1/generations/{answer.generation_id}")
    assert resource.json["images"][0]["size_differs"] is True
    assert [(row.model, row.micros) for row in simulator.charges.rows] == [("seedream-4-5-251128", 40_000)]


@pytest.mark.parametrize("surface", ["openai", "gemini"])
async def test_what_the_model_cannot_draw_is_refused_before_it_is_accepted(
    start: Any, simulator: Watched, surface: str
) -> None:
    """With the upstream's name, in the caller's dialect; nothing was sent."""
    gateway = await ark(start, simulator, "seedream-5-0-pro-260628")
    if surface == "openai":
        answer = await gateway.images(model="seedream-4.5", size="4K")
    else:
        config = {"imageConfig": {"imageSize": "4K"}}
        answer = await gateway.gemini(generationConfig=config)
    assert answer.status == 400, answer
    assert b"theirs (Ark) cannot make this: Seedream 5.0 draws at most 4,624,220 pixels" in answer.body
    assert (simulator.asked, simulator.charges.count) == ([], 0)


async def test_what_it_cannot_draw_is_drawn_smaller_where_that_will_do(start: Any, simulator: Watched) -> None:
    """The caller has said so."""
    gateway = await ark(start, simulator, "seedream-5-0-pro-260628")
    answer = await gateway.images(model="seedream-4.5", size="4K", headers={"Holdfast-Degrade": "size"})
    assert answer.status == 200, answer
    assert answer.json["data"][0]["size"] == "2048x2048"


async def test_what_the_model_leaves_out_is_told(start: Any, simulator: Watched) -> None:
    """Seedream 4.5 makes JPEG, on whatever ground it likes; what makes another format of it is the gateway's own."""
    gateway = await ark(start, simulator, "seedream-4-5-251128")
    answer = await gateway.images(model="seedream-4.5", output_format="png", background="opaque", quality="high")
    assert answer.status == 200, answer
    # The picture that this stand-in draws is none that could be converted, and that is told too.
    assert answer.headers["holdfast-ignored"] == "quality, background, output_format"
    newer = await ark(start, simulator, "seedream-5-5-261028")
    answer = await newer.images(model="seedream-4.5", output_format="png", background="opaque")
    assert answer.status == 200, answer
    assert "holdfast-ignored" not in answer.headers


async def test_several_images_are_several_calls(start: Any, simulator: Watched) -> None:
    """Each can be lost alone."""
    gateway = await ark(start, simulator, "seedream-4-5-251128")
    answer = await gateway.images(model="seedream-4.5", n=3)
    assert (answer.status, len(answer.json["data"])) == (200, 3)
    assert [asked.n for asked in simulator.asked] == [1, 1, 1]


async def test_overload_and_money_are_told_by_other_statuses(start: Any, simulator: Watched) -> None:
    """429 `ServerOverloaded` is no rate limit, 403 `AccountOverdueError` is no wrong key."""
    gateway = await ark(start, simulator, "seedream-4-5-251128")
    answer = await gateway.images(model="seedream-4.5", prompt="a [sim status=402]")
    failed = gateway.record(answer.generation_id).attempts[-1].failed
    assert (answer.status, failed.kind, failed.reason) == (503, "quota_spent", "AccountOverdueError")


# Replicate


async def test_large_reference_images_are_handed_over_first(start: Any, simulator: Watched) -> None:
    """As files, to the byte; small ones go along."""
    gateway = await predicting(start, simulator)
    large, small = paint(64, 64, "png", noise=NOISE), paint(96, 64, "png")
    parts: list[dict[str, Any]] = [{"text": "the same at night"}]
    for picture in (large, small, large):
        parts.append({"inlineData": {"mimeType": "image/png", "data": base64.b64encode(picture).decode()}})
    answer = await gateway.gemini(contents=[{"role": "user", "parts": parts}])
    assert answer.status == 200, answer
    assert [asked.inputs for asked in simulator.asked] == [3]
    assert len(simulator.files) == 2
    assert all(large in file and b'name="content"' in file for file in simulator.files)
    assert [row.outcome.value for row in simulator.charges.rows] == ["made"]


@pytest.mark.parametrize("wish", ["expired", "redirect", "truncate", "reset_body", "gzip", "drip"])
async def test_a_file_that_fails_is_fetched_again(start: Any, simulator: Watched, wish: str) -> None:
    """One charge, one image."""
    gateway = await predicting(start, simulator)
    answer = await gateway.images(prompt=f"a lighthouse [sim delay=1 {wish}]")
    assert answer.status == 200, answer
    digest = hashlib.sha256(base64.b64decode(answer.json["data"][0]["b64_json"])).hexdigest()
    record = gateway.record(answer.generation_id)
    assert [image.sha256 for image in record.results] == [digest]
    assert [row.outcome.value for row in simulator.charges.rows] == ["made"]


async def test_a_failure_is_told_without_the_models_words(start: Any, simulator: Watched) -> None:
    """They may quote the prompt; the code in them is told."""
    gateway = await predicting(start, simulator)
    answer = await gateway.images(prompt="a lighthouse, marker Qx7Zt [sim error_in_200]")
    assert (answer.status, answer.error["paid"]) == (502, "unknown")
    failed = gateway.record(answer.generation_id).attempts[-1].failed
    assert (failed.kind, failed.reason) == ("server_fault", "E1000")
    assert "went wrong" not in answer.error["message"]
