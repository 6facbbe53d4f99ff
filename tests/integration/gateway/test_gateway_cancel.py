"""`POST /v1/generations/{id}/cancel`, and what those are told who wait for it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from holdfast import faults


async def cancel(gateway: Any, id_: str, key: str | None = None) -> Any:
    """Ask to cancel."""
    headers = {"Authorization": f"Bearer {key or gateway.key}"}
    return await gateway.ask("POST", f"/v1/generations/{id_}/cancel", headers=headers)


async def the_one(gateway: Any, status: str) -> str:
    """Wait for the one generation that stands so; give its id."""
    async with asyncio.timeout(5):
        while not (found := (await gateway.ask("GET", f"/v1/generations?status={status}")).json["data"]):
            await asyncio.sleep(0.01)
    return str(found[0]["id"])


@pytest.fixture
def unsent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no generation be sent for a while."""
    armed = {"send.before_commit": faults._Armed("sleep=0.5", 1)}
    monkeypatch.setattr(faults, "_armed", armed)


def told_by_openai(answer: Any) -> None:
    """See that the caller is told, and is not invited to buy again."""
    assert (answer.status, answer.headers["x-should-retry"]) == (409, "false")
    assert (answer.error["code"], answer.error["paid"]) == ("generation_cancelled", "no")
    assert answer.error["generation_id"] == answer.generation_id


@pytest.mark.usefixtures("unsent")
async def test_a_queued_one_is_cancelled_and_its_caller_told(gateway: Any, upstream: Any) -> None:
    """200 and the resource for who cancels, 409 for who waits; nothing is bought."""
    waiting = asyncio.create_task(gateway.images())
    id_ = await the_one(gateway, "queued")
    answer = await cancel(gateway, id_)
    assert (answer.status, answer.json["status"], answer.json["paid"]) == (200, "cancelled", "no")
    assert answer.json["cost"] == {"held_micros": 0, "charged_micros": 0, "compensated_micros": 0, "currency": "USD"}
    assert answer.json["error"]["code"] == "generation_cancelled"
    told_by_openai(await waiting)
    assert upstream.asked == []


@pytest.mark.usefixtures("unsent")
async def test_googles_callers_are_told_in_their_way(gateway: Any) -> None:
    """499 CANCELLED."""
    waiting = asyncio.create_task(gateway.gemini())
    await cancel(gateway, await the_one(gateway, "queued"))
    answer = await waiting
    assert (answer.status, answer.error["status"], answer.error["code"]) == (499, "CANCELLED", 499)


@pytest.mark.usefixtures("unsent")
async def test_a_caller_who_was_sent_a_200_is_told_inside_it(start: Any) -> None:
    """As every late failure."""
    gateway = await start(heartbeat={"first_beat_s": 0.1, "beat_s": 0.1})
    wire = await gateway.dial()
    await wire.send(gateway.post())
    head = await wire.head()
    assert head.status == 200
    await cancel(gateway, await the_one(gateway, "queued"))
    said = await wire.chunks()
    assert json.loads(said)["error"]["code"] == "generation_cancelled"


async def test_one_in_flight_buys_nothing_more_and_is_delivered(gateway: Any, upstream: Any) -> None:
    """`cancel_requested` until its image arrives; whoever waits gets it."""
    upstream.gate.clear()
    waiting = asyncio.create_task(gateway.images())
    await upstream.was_asked()
    id_ = await the_one(gateway, "running")
    for _ in range(2):
        answer = await cancel(gateway, id_)
        assert (answer.status, answer.json["status"], answer.json["cancel_requested"]) == (200, "running", True)
    upstream.gate.set()
    done = await waiting
    assert (done.status, done.picture()) == (200, upstream.pictures[0])
    assert (await gateway.resource(id_))["cost"]["charged_micros"] > 0


async def test_one_in_flight_that_fails_is_cancelled(gateway: Any, upstream: Any) -> None:
    """409, with what may have been charged."""
    upstream.answers({"error": {"message": "no"}}, status=400)
    upstream.gate.clear()
    waiting = asyncio.create_task(gateway.images())
    await upstream.was_asked()
    id_ = await the_one(gateway, "running")
    await cancel(gateway, id_)
    upstream.gate.set()
    told_by_openai(await waiting)
    assert (await gateway.resource(id_))["status"] == "cancelled"


async def test_what_has_ended_stays_as_it_is(gateway: Any) -> None:
    """200 and the resource unchanged: cancelling twice, or too late, is no mistake."""
    id_ = (await gateway.images(response_format="url")).generation_id
    before = await gateway.resource(id_)
    answer = await cancel(gateway, id_)
    after = answer.json
    assert answer.status == 200
    for each in (before, after):
        each["images"][0].pop("url")
        each["images"][0].pop("expires_at")
    assert after == before
    assert await the_one(gateway, "succeeded") == id_


async def test_another_keys_generation_is_not_cancelled(gateway: Any, upstream: Any) -> None:
    """404, as one that never was, and it goes on."""
    upstream.gate.clear()
    waiting = asyncio.create_task(gateway.images())
    await upstream.was_asked()
    id_ = await the_one(gateway, "running")
    stranger = await gateway.another_key()
    theirs, nobodys = await cancel(gateway, id_, stranger), await cancel(gateway, "gen_never", stranger)
    assert (theirs.status, theirs.headers["content-type"]) == (404, "application/problem+json")
    assert theirs.json == nobodys.json
    assert (await gateway.resource(id_))["cancel_requested"] is False
    upstream.gate.set()
    assert (await waiting).status == 200
    refused = await gateway.ask("GET", f"/v1/generations/{id_}/cancel")
    assert (refused.status, refused.headers["allow"]) == (405, "POST")


@pytest.mark.usefixtures("unsent")
async def test_a_long_poll_ends_with_a_cancel(gateway: Any) -> None:
    """As with every end."""
    headers = {"Authorization": f"Bearer {gateway.key}", "Prefer": "wait=50"}
    asking = gateway.ask("POST", "/v1/generations", headers=headers, json={"prompt": "marker Qx7Zt"})
    waiting = asyncio.create_task(asking)
    id_ = await the_one(gateway, "queued")
    poll = asyncio.create_task(gateway.ask("GET", f"/v1/generations/{id_}", headers=headers))
    await cancel(gateway, id_)
    for each in (await waiting, await poll):
        assert (each.status, each.json["status"], each.json["error"]["code"]) == (
            200,
            "cancelled",
            "generation_cancelled",
        )


async def test_a_disk_that_does_not_take_it_is_told(
    gateway: Any, upstream: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503, and it may be asked again."""
    upstream.gate.clear()
    waiting = asyncio.create_task(gateway.images())
    await upstream.was_asked()
    id_ = await the_one(gateway, "running")
    monkeypatch.setattr(faults, "_armed", {"cancel.before_rows": faults._Armed("error", 1)})
    refused = await cancel(gateway, id_)
    assert (refused.status, refused.json["code"], refused.json["retryable"]) == (503, "storage_low", True)
    assert (await cancel(gateway, id_)).json["cancel_requested"] is True
    upstream.gate.set()
    assert (await waiting).status == 200
