"""A gateway before the simulated queue, on real sockets: one charge and one image, whatever the queue goes through."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import random
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from holdfast.providers import fal
from holdfast.simulator.pictures import PNG_SIGNATURE, png_chunk
from holdfast.simulator.server import Simulator
from holdfast.wire.image import ImageMeter

NOISE = random.Random(3).randbytes(400_000)


def paint(width_px: int, height_px: int, format_: str) -> bytes:
    """Make a file of the right header and some weight at once."""
    assert format_ == "png"
    header = width_px.to_bytes(4, "big") + height_px.to_bytes(4, "big") + b"\x08\x00\x00\x00\x00"
    rows = zlib.compress((b"\0" + bytes(width_px)) * height_px, 1)
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", rows) + png_chunk(b"teSt", NOISE)
    return PNG_SIGNATURE + chunks + png_chunk(b"IEND", b"")


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes seconds in life takes a tenth of it here."""
    monkeypatch.setattr(fal, "POLL_S_FIRST", 0.02)
    monkeypatch.setattr(fal, "POLL_S_MAX", 0.1)
    monkeypatch.setattr(fal, "FETCH_S_MAX", 0.1)


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    """Instant unless a prompt says otherwise; ten times as fast as life."""
    made = Simulator(scenario="instant", paint=paint, speed=10.0)
    made.port = await made.start("127.0.0.1", 0)  # type: ignore[attr-defined]
    yield made
    await made.close()


@pytest.fixture
async def gateway(start: Any, simulator: Any) -> Any:
    """A gateway whose every model is drawn by the queue."""
    return await start(**sections(simulator.port))


def sections(port: int) -> dict[str, Any]:
    """Settings that lead to it."""
    upstream = {"name": "queue", "provider": "fal", "base_url": f"http://127.0.0.1:{port}", "keys": ["upstream-Jw4Ru"]}
    route = {
        "model": "nano-banana-pro",
        "aliases": ["gemini-3-pro-image"],
        "upstreams": [{"upstream": "queue", "model": "fal-ai/nano-banana-pro"}],
    }
    return {"upstreams": [upstream], "routes": [route]}


def digests(answer: Any) -> list[str]:
    """Of the pictures of an answer in OpenAI's words."""
    return [hashlib.sha256(base64.b64decode(each["b64_json"])).hexdigest() for each in answer.json["data"]]


def charged(simulator: Any) -> list[tuple[str, int]]:
    """Outcome and micro-units of each generation that ended there."""
    return [(row.outcome.value, row.micros) for row in simulator.charges.rows]


async def test_an_image_comes_through_the_queue(gateway: Any, simulator: Any, journal: Any) -> None:
    """Size and ratio as asked for; its bytes are those of the file; no usage is made up."""
    answer = await gateway.images(size="2K", aspect_ratio="16:9")
    assert answer.status == 200, answer
    assert "usage" not in answer.json
    assert answer.json["data"][0]["size"] == "2752x1536"
    record = gateway.record(answer.generation_id)
    assert digests(answer) == [record.results[0].sha256]
    assert record.attempts[0].provider == "fal"
    assert charged(simulator) == [("made", 150_000)]
    assert len(journal.of("attempt.polling")) == 1


async def test_several_images_are_one_request_there(gateway: Any, simulator: Any) -> None:
    """Up to four of a call; more are several calls."""
    answer = await gateway.images(n=3)
    assert (answer.status, len(set(digests(answer)))) == (200, 3)
    assert charged(simulator) == [("made", 3 * 150_000)]
    answer = await gateway.images(n=6)
    assert (answer.status, len(set(digests(answer)))) == (200, 6)
    assert len(charged(simulator)) == 3


async def test_google_s_callers_get_it_in_their_words(gateway: Any, simulator: Any) -> None:
    """Plain and streamed: an image part, an end, and no count of tokens that nobody gave."""
    answer = await gateway.gemini()
    assert answer.status == 200, answer
    (candidate,) = answer.json["candidates"]
    (part,) = candidate["content"]["parts"]
    assert part["inlineData"]["mimeType"] == "image/png"
    assert candidate["finishReason"] == "STOP"
    streamed = await gateway.gemini(stream=True)
    assert streamed.status == 200
    assert b'"inlineData"' in streamed.body
    assert len(charged(simulator)) == 2


async def test_a_stream_is_told_at_its_end(gateway: Any, simulator: Any) -> None:
    """The queue streams nothing: OpenAI's stream has its completed event."""
    answer = await gateway.images(stream=True)
    assert answer.status == 200
    assert b"image_generation.completed" in answer.body
    assert len(charged(simulator)) == 1


async def test_reference_images_go_along(gateway: Any, simulator: Any) -> None:
    """As data URIs, to the model's `/edit`."""
    picture = base64.b64encode(paint(64, 64, "png")).decode()
    parts = [{"text": "the same at night"}, {"inlineData": {"mimeType": "image/png", "data": picture}}]
    answer = await gateway.gemini(contents=[{"role": "user", "parts": parts}])
    assert answer.status == 200, answer
    assert [row.model for row in simulator.charges.rows] == ["fal-ai/nano-banana-pro/edit"]


@pytest.mark.parametrize(
    "wish",
    [
        *("poll_404", "poll_503", "poll_reset", "backwards", "expired", "html", "empty", "redirect", "gzip", "drip"),
        *("truncate", "reset_body", "mislabelled", "other_size", "url_safe", "drafts=2"),
    ],
)
async def test_trouble_on_the_way_costs_nothing_more(gateway: Any, simulator: Any, wish: str) -> None:
    """One charge, one image, whatever the questions met."""
    answer = await gateway.images(prompt=f"a lighthouse, marker Qx7Zt [sim delay=2 {wish}]")
    assert answer.status == 200, answer
    assert len(answer.json["data"]) == 1
    assert len(charged(simulator)) == 1
    attempt = gateway.record(answer.generation_id).attempts[0]
    assert (attempt.state, attempt.charge) == ("settled", "yes")


@pytest.mark.parametrize(
    ("wish", "status", "code", "paid", "rows"),
    [
        ("refused_input", 400, "moderation_blocked", "no", [("refused", 0)]),
        ("refused_output", 400, "moderation_blocked", "unknown", [("refused", 150_000)]),
        ("no_image", 502, "empty_result", "unknown", [("empty", 0)]),
        ("status=500", 502, "upstream_failed", "no", [("failed", 0)]),
        ("status=503", 503, "server_is_overloaded", "no", [("failed", 0)]),
        ("status=429 retry_after=7", 503, "server_is_overloaded", "no", [("failed", 0)]),
        ("status=401", 502, "upstream_failed", "no", [("failed", 0)]),
        ("status=502", 502, "upstream_failed", "unknown", [("failed", 0)]),
        ("reset_sent", 502, "outcome_unknown", "unknown", [("made", 150_000)]),
        ("refuse_connect", 502, "outcome_unknown", "unknown", [("failed", 0)]),
        ("cut_image", 502, "upstream_failed", "yes", [("made", 150_000)]),
        ("not_image", 502, "upstream_failed", "yes", [("made", 150_000)]),
    ],
)
async def test_failures_are_told_with_what_they_may_have_cost(
    start: Any, simulator: Any, wish: str, status: int, code: str, paid: str, rows: list[tuple[str, int]]
) -> None:
    """`paid` is never `no` of what the queue has charged, nor `yes` of what it has not; when no more is tried."""
    gateway = await start(retry={"sends_max": 1}, **sections(simulator.port))
    answer = await gateway.images(prompt=f"a lighthouse, marker Qx7Zt [sim delay=1 {wish}]")
    assert (answer.status, answer.error["code"], answer.error["paid"]) == (status, code, paid)
    async with asyncio.timeout(5):
        while not charged(simulator):
            await asyncio.sleep(0.02)
    assert charged(simulator) == rows


async def test_what_the_queue_fails_for_nothing_is_tried_again(start: Any, simulator: Any) -> None:
    """Its own failures cost nothing; three are tried after the first, each a request of its own."""
    gateway = await start(retry={"backoff_s_first": 0.05, "budget_burst": 5}, **sections(simulator.port))
    answer = await gateway.images(prompt="a lighthouse, marker Qx7Zt [sim delay=1 status=500]")
    assert (answer.status, answer.error["code"], answer.error["paid"]) == (502, "upstream_failed", "no")
    attempts = gateway.record(answer.generation_id).attempts
    assert [attempt.charge for attempt in attempts] == ["no"] * 4
    assert charged(simulator) == [("failed", 0)] * 4


async def test_a_refusal_is_told_google_s_callers_their_way(gateway: Any) -> None:
    """200 with a word for it."""
    contents = [{"role": "user", "parts": [{"text": "marker Qx7Zt [sim refused_input]"}]}]
    answer = await gateway.gemini(contents=contents)
    assert answer.status == 200
    assert answer.json["promptFeedback"]["blockReason"] == "PROHIBITED_CONTENT"


async def in_state(gateway: Any, state: str) -> str:
    """Wait until the one attempt stands so; give its generation."""
    query = "SELECT generation_id FROM attempt WHERE state = ?"
    async with asyncio.timeout(5):
        while True:
            found = gateway.read(lambda conn: [row[0] for row in conn.execute(query, (state,))])
            if found:
                return str(found[0])
            await asyncio.sleep(0.01)


async def test_who_cancels_in_time_pays_nothing(gateway: Any, simulator: Any) -> None:
    """The request is still in the queue: it lets go of it."""
    asking = asyncio.create_task(gateway.images(prompt="a lighthouse, marker Qx7Zt [sim delay=60]"))
    id_ = await in_state(gateway, "polling")
    cancelled = await gateway.ask("POST", f"/v1/generations/{id_}/cancel")
    assert cancelled.status == 200
    answer = await asking
    assert (answer.status, answer.error["code"], answer.error["paid"]) == (409, "generation_cancelled", "no")
    assert simulator.charges.count == 0


async def test_who_cancels_too_late_gets_the_image(gateway: Any, simulator: Any) -> None:
    """It is at work: paid for, awaited and kept."""
    asking = asyncio.create_task(gateway.images(prompt="a lighthouse, marker Qx7Zt [sim delay=15]"))
    id_ = await in_state(gateway, "polling")
    await asyncio.sleep(0.5)
    await gateway.ask("POST", f"/v1/generations/{id_}/cancel")
    answer = await asking
    assert answer.status == 200, answer
    assert len(charged(simulator)) == 1


async def test_a_stop_leaves_the_handle_to_the_next_start(start: Any, simulator: Any, journal: Any) -> None:
    """Three gateways, one handle: at the end of each drain it is handed over, the last one delivers the image."""
    quick = {**sections(simulator.port), "drain": {"grace_s": 0.1}}
    gateway = first = await start(**quick)
    body = {"prompt": "a lighthouse, marker Qx7Zt [sim delay=25]"}
    taken = await gateway.ask("POST", "/v1/generations", json=body)
    assert taken.status == 202, taken
    id_ = taken.json["id"]
    await in_state(gateway, "polling")
    for _ in range(2):
        gateway.hands_over = True
        await gateway.stop()
        gateway = await start(**quick, data=first.data, key=first.key)
        assert gateway.record(id_).attempts[0].state == "polling"
    resource = await gateway.resource_once(id_, "succeeded")
    assert resource["images"][0]["width"] == 1024
    assert resource["paid"] == "yes"
    assert len(charged(simulator)) == 1
    assert journal.of("attempt.unknown") == []
    # What several share is delivered anew, one by one.
    assert gateway.is_shared or [line["resumed"] for line in journal.of("recovery.done")] == [1, 1]


def test_the_picture_of_this_file_is_one() -> None:
    """Whole, by the same eye that judges what comes."""
    meter = ImageMeter()
    meter.feed(paint(64, 32, "png"))
    info, is_whole = meter.finish()
    assert is_whole
    assert info is not None
    assert (info.width_px, info.height_px) == (64, 32)
