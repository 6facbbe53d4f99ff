"""Upstreams that are busy, unreachable, or take only so many calls at once: what callers see, over real sockets."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from holdfast.simulator.faults import script_of
from holdfast.simulator.server import Simulator

BEATS = {"first_beat_s": 0.2, "beat_s": 0.2}
PAUSES = {"backoff_s_first": 0.4, "backoff_s_max": 0.8}
ASKED = {"prompt": "a lighthouse, marker Qx7Zt"}


def settings_of(base: str, *, concurrency: int = 0) -> dict[str, Any]:
    """One upstream."""
    google = {"name": "google", "provider": "gemini", "base_url": base, "keys": ["k"], "concurrency": concurrency}
    route = {"model": "nano-banana-pro", "aliases": ["gemini-3-pro-image"]}
    route["upstreams"] = [{"upstream": "google", "model": "gemini-3-pro-image"}]  # type: ignore[assignment]
    return {"upstreams": [google], "routes": [route], "heartbeat": BEATS, "retry": PAUSES}


@pytest.fixture
async def simulator(a_png: Any) -> AsyncIterator[Simulator]:
    """An upstream that knows what it charged, and answers at once unless it is told otherwise."""
    picture: bytes = a_png()
    made = Simulator(scenario="instant", paint=lambda *_: picture)
    made.base = f"http://127.0.0.1:{await made.start('127.0.0.1', 0)}"  # type: ignore[attr-defined]
    yield made
    await made.close()


def bought(simulator: Simulator) -> list[str]:
    """What was charged, by idempotency key."""
    return [charge.idempotency_key or "" for charge in simulator.charges.rows if charge.micros]


def suffers(simulator: Simulator, *wishes: str) -> None:
    """Let the next requests meet these."""
    simulator.scripts.add(script_of({"do": list(wishes)}))


@pytest.mark.parametrize("wishes", [["status=503"] * 3, ["retry_after=1", "status=503"]])
async def test_a_held_caller_gets_heartbeats_and_then_his_image(start: Any, simulator: Any, wishes: list[str]) -> None:
    """The upstream is busy again and again; on the wire there are line feeds, one image, and one charge behind it."""
    gateway = await start(**settings_of(simulator.base))
    suffers(simulator, *wishes)
    wire = await gateway.dial()
    await wire.send(gateway.post(ASKED))
    answer = await wire.head()
    assert answer.status == 200
    await wire.beats(2)
    body = json.loads(await wire.chunks(within_s=10.0))
    assert len(body["data"]) == 1
    record = gateway.record(answer.generation_id)
    assert [each.charge for each in record.attempts] == ["no"] * len(wishes) + ["yes"]
    assert bought(simulator) == [f"{answer.generation_id}.0.0"]
    verbs = [verb for verb, account, _ in gateway.ledger(answer.generation_id) if account == "held"]
    assert verbs == ["hold", "capture"]


async def test_ten_callers_see_no_error_of_a_wave(start: Any, simulator: Any) -> None:
    """Fifteen refusals over ten callers: ten images, ten charges, nobody was told."""
    gateway = await start(**settings_of(simulator.base))
    suffers(simulator, *["status=503"] * 15)
    answers = await asyncio.gather(*(gateway.images(prompt=f"{ASKED['prompt']} {number}") for number in range(10)))
    assert [answer.status for answer in answers] == [200] * 10
    assert all(answer.json["data"][0]["b64_json"] for answer in answers)
    assert sorted(bought(simulator)) == sorted(f"{answer.generation_id}.0.0" for answer in answers)


async def test_an_upstream_that_comes_back_meanwhile_gives_the_image(start: Any, a_png: Any, journal: Any) -> None:
    """Nobody listens there, twice; then somebody does, and the caller never knew."""
    picture: bytes = a_png()
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        gateway = await start(**settings_of(f"http://127.0.0.1:{port}"))
        asking = asyncio.create_task(gateway.images())
        told = await journal.has("attempt.failed", 2)
    simulator = Simulator(scenario="instant", paint=lambda *_: picture)
    await simulator.start("127.0.0.1", port)
    try:
        answer = await asking
    finally:
        await simulator.close()
    assert (answer.status, [answer.picture()]) == (200, gateway.stored(answer.generation_id))
    assert [(each["kind"], each["charge"], each["follows"]) for each in told] == [("unreachable", "no", "retry")] * 2
    assert len(bought(simulator)) == 1


async def test_a_stream_tells_of_each_pause(start: Any, simulator: Any) -> None:
    """`generation.progress` when an attempt failed, `generation.running` when the next one is sent."""
    gateway = await start(**settings_of(simulator.base))
    suffers(simulator, "status=503", "status=503")
    answer = await gateway.ask("POST", "/v1/generations", json=ASKED)
    assert answer.status == 202
    stream = await gateway.ask("GET", f"/v1/generations/{answer.json['id']}/events")
    names = [line.removeprefix("event: ") for line in stream.body.decode().splitlines() if line.startswith("event: ")]
    words = ["queued", "running", "progress", "running", "progress", "running", "succeeded"]
    assert names == [f"generation.{word}" for word in words]


# A line before the upstream


async def test_a_status_says_where_a_call_stands_in_line(start: Any, upstream: Any) -> None:
    """From 1, at once; in the list and in the event too; nothing once it is sent."""
    gateway = await start(**settings_of(f"http://127.0.0.1:{upstream.port}", concurrency=1))
    upstream.gate.clear()
    asked = [await gateway.placed(ASKED, at) for at in (None, 1, 2)]
    ids = [each["id"] for each in asked]
    await upstream.was_asked()
    assert [(await gateway.resource(id_))["queue_position"] for id_ in ids] == [None, 1, 2]
    listed = (await gateway.ask("GET", "/v1/generations")).json["data"]
    assert {each["id"]: each["queue_position"] for each in listed} == dict(zip(ids, [None, 1, 2], strict=True))
    wire = await gateway.dial()
    key = f"Authorization: Bearer {gateway.key}"
    await wire.send(f"GET /v1/generations/{ids[2]}/events HTTP/1.1\r\nHost: x\r\n{key}\r\n\r\n".encode())
    await wire.head()
    assert await wire.chunk() == b"retry: 2000\n\n"
    (data,) = [line for line in (await wire.chunk()).decode().splitlines() if line.startswith("data: ")]
    assert json.loads(data.removeprefix("data: "))["queue_position"] == 2
    assert (await gateway.ask("POST", f"/v1/generations/{ids[1]}/cancel")).json["status"] == "cancelled"
    assert (await gateway.resource(ids[2]))["queue_position"] == 1
    upstream.gate.set()
    done = await gateway.resource_once(ids[2], "succeeded")
    assert done["queue_position"] is None
    rest = [line for line in (await wire.chunks()).decode().splitlines() if line.startswith("data: ")]
    assert [json.loads(line.removeprefix("data: "))["queue_position"] for line in rest] == [None, None]


async def test_a_full_line_says_when_to_come_back(start: Any, upstream: Any) -> None:
    """503 `queue_full`, unpaid, worth a repeat; what waits already is joined by its own repeats."""
    sections = settings_of(f"http://127.0.0.1:{upstream.port}", concurrency=1)
    gateway = await start(**sections, queue={"waiting_max": 1})
    upstream.gate.clear()
    headers = {"Authorization": f"Bearer {gateway.key}", "Idempotency-Key": "order-1"}
    await gateway.placed(ASKED, None)
    waiting = await gateway.placed(ASKED, 1, headers=headers)
    refused = await gateway.images()
    assert (refused.status, refused.error["code"], refused.error["paid"]) == (503, "queue_full", "no")
    # The call in flight has just begun, and should take 45 s.
    assert (refused.headers["retry-after"], refused.headers["x-should-retry"]) == ("45", "true")
    again = await gateway.ask("POST", "/v1/generations", json=ASKED, headers=headers)
    assert (again.status, again.json["id"]) == (202, waiting["id"])
    upstream.gate.set()


async def test_a_caller_who_left_the_line_buys_nothing(start: Any, upstream: Any) -> None:
    """Cancelled, free, once he has been gone for long enough; whoever asked without waiting gets his image."""
    sections = settings_of(f"http://127.0.0.1:{upstream.port}", concurrency=1)
    gateway = await start(**sections, joining={"unwatched_cancel_s": 0.3})
    upstream.gate.clear()
    first = await gateway.ask("POST", "/v1/generations", json=ASKED)
    await upstream.was_asked()
    wires = [await gateway.dial() for _ in range(2)]
    for number, wire in enumerate(wires):
        prefer = {"Prefer": "respond-async"} if number else {}
        await wire.send(gateway.post({**ASKED, "metadata": {"number": str(number)}}, headers=prefer))
    assert (await wires[1].answer()).status == 202
    async with asyncio.timeout(5):
        while len(listed := (await gateway.ask("GET", "/v1/generations")).json["data"]) < 3:
            await asyncio.sleep(0.02)
    by_number = {each["metadata"]["number"]: each["id"] for each in listed if each["metadata"]}
    for wire in wires:
        wire.leave()
    gone = await gateway.resource_once(by_number["0"], "cancelled")
    assert (gone["error"]["code"], gone["paid"], gone["cost"]["charged_micros"]) == ("generation_cancelled", "no", 0)
    assert (await gateway.resource(by_number["1"]))["queue_position"] == 1
    upstream.gate.set()
    await gateway.resource_once(by_number["1"], "succeeded")
    await gateway.resource_once(first.json["id"], "succeeded")
    assert len(upstream.asked) == 2
