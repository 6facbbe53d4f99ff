"""`GET /v1/generations/{id}` with `Prefer: wait=N`: told at the end, or after N seconds."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest


async def begun(gateway: Any, upstream: Any) -> tuple[str, asyncio.Task[Any]]:
    """Begin a generation whose upstream waits for the gate; give its id and its caller."""
    upstream.gate.clear()
    waiting = asyncio.create_task(gateway.images())
    await upstream.was_asked()
    (record,) = (await gateway.ask("GET", "/v1/generations?status=running")).json["data"]
    return record["id"], waiting


def poll(gateway: Any, generation_id: str, prefer: str) -> asyncio.Task[Any]:
    """Begin a long poll."""
    headers = {"Authorization": f"Bearer {gateway.key}", "Prefer": prefer}
    return asyncio.create_task(gateway.ask("GET", f"/v1/generations/{generation_id}", headers=headers))


async def has_waits(gateway: Any, count: int) -> None:
    """Wait until so many wait."""
    async with asyncio.timeout(5):
        while repr(gateway.made.generations.waits) != f"<Waits {count} of {gateway.settings.server.held_max}>":
            await asyncio.sleep(0.005)


async def test_a_poll_ends_with_the_generation(gateway: Any, upstream: Any) -> None:
    """Long before its own time is over; images and links are in it."""
    id_, caller = await begun(gateway, upstream)
    polls = [poll(gateway, id_, "wait=50") for _ in range(3)]
    await has_waits(gateway, 3)
    began = time.monotonic()
    upstream.gate.set()
    for each in polls:
        answer = await each
        assert (answer.status, answer.json["status"]) == (200, "succeeded")
        assert answer.headers["preference-applied"] == "wait=50"
        assert (await gateway.ask("GET", answer.json["images"][0]["url"], headers={})).body == upstream.pictures[0]
    assert time.monotonic() - began < 10
    await has_waits(gateway, 0)
    assert len(gateway.core.followers) == 0
    await caller


async def test_a_poll_ends_with_its_time(gateway: Any, upstream: Any) -> None:
    """200 with the generation as it stands; the next poll goes on."""
    id_, caller = await begun(gateway, upstream)
    began = time.monotonic()
    answer = await poll(gateway, id_, "wait=0.2")
    assert time.monotonic() - began >= 0.19
    assert (answer.status, answer.json["status"]) == (200, "running")
    assert answer.headers["preference-applied"] == "wait=0.2"
    upstream.gate.set()
    assert (await poll(gateway, id_, "wait=50")).json["status"] == "succeeded"
    await caller


@pytest.mark.parametrize(("prefer", "applied"), [("wait=3600", "wait=55"), ("wait=0", "wait=0")])
async def test_what_has_ended_is_told_at_once(gateway: Any, prefer: str, applied: str) -> None:
    """With the seconds that would have been waited, clamped to 55."""
    id_ = (await gateway.images()).generation_id
    answer = await poll(gateway, id_, prefer)
    assert (answer.json["status"], answer.headers["preference-applied"]) == ("succeeded", applied)


async def test_a_failure_ends_a_poll_too(gateway: Any, upstream: Any) -> None:
    """The record is there, so the answer is 200; what went wrong stands in it."""
    upstream.answers({"error": {"message": "no"}}, status=400)
    id_, caller = await begun(gateway, upstream)
    waiting = poll(gateway, id_, "wait=50")
    await has_waits(gateway, 1)
    upstream.gate.set()
    answer = await waiting
    assert (answer.status, answer.json["status"]) == (200, "failed")
    assert answer.json["error"]["paid"] == "no"
    await caller


@pytest.mark.parametrize("prefer", ["wait=soon", "wait", "respond-async", "heartbeat=5"])
async def test_any_other_wish_is_passed_over(gateway: Any, upstream: Any, prefer: str) -> None:
    """And not told as honoured."""
    id_, caller = await begun(gateway, upstream)
    answer = await poll(gateway, id_, prefer)
    assert (answer.json["status"], "preference-applied" in answer.headers) == ("running", False)
    upstream.gate.set()
    await caller


async def test_a_poller_that_leaves_is_forgotten(gateway: Any, upstream: Any) -> None:
    """Its place is free at once, and the generation goes on."""
    id_, caller = await begun(gateway, upstream)
    wire = await gateway.dial()
    await wire.send(
        f"GET /v1/generations/{id_} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {gateway.key}\r\n"
        "Prefer: wait=50\r\n\r\n".encode()
    )
    await has_waits(gateway, 1)
    wire.leave(reset=True)
    await has_waits(gateway, 0)
    upstream.gate.set()
    assert (await caller).status == 200


async def test_where_too_many_wait_it_is_told_as_it_stands(start: Any, upstream: Any) -> None:
    """Waiting is a wish; a place is a bound."""
    gateway = await start(server={"port": 0, "held_max": 1})
    id_, caller = await begun(gateway, upstream)
    first = poll(gateway, id_, "wait=50")
    await has_waits(gateway, 1)
    assert (await poll(gateway, id_, "wait=50")).json["status"] == "running"
    upstream.gate.set()
    assert (await first).json["status"] == "succeeded"
    await caller


async def test_another_keys_generation_is_not_waited_for(gateway: Any, upstream: Any) -> None:
    """404 at once."""
    id_, caller = await begun(gateway, upstream)
    headers = {"Authorization": f"Bearer {await gateway.another_key()}", "Prefer": "wait=50"}
    answer = await gateway.ask("GET", f"/v1/generations/{id_}", headers=headers)
    assert (answer.status, answer.json["code"]) == (404, "generation_not_found")
    upstream.gate.set()
    await caller


async def test_pollers_are_answered_when_the_gateway_goes(gateway: Any, upstream: Any) -> None:
    """With what is known: their connections are not cut, and the next start knows more."""
    id_, caller = await begun(gateway, upstream)
    waiting = poll(gateway, id_, "wait=50")
    await has_waits(gateway, 1)
    gateway.made.generations.waits.release()
    answer = await waiting
    assert (answer.status, answer.json["status"]) == (200, "running")
    upstream.gate.set()
    assert (await caller).status == 200
