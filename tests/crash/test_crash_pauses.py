"""A gateway that stands still for a while: stopped by a signal, or by its own loop. Nobody is lost by it."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

BEATS = "[heartbeat]\nfirst_beat_s = 0.2\nbeat_s = 0.2\nimpatient_first_beat_s = 0.2\nimpatient_beat_s = 0.2"
PROMPT = "a lighthouse nobody may read of"
WITHIN_S = 30.0
CASE_S = 60.0


@dataclass
class Held:
    """A caller who counts the beats."""

    answer: aiohttp.ClientResponse
    beats: int = 0

    async def rest(self) -> dict[str, Any]:
        """Read to the end; give what was answered."""
        body = b""
        async for piece in self.answer.content.iter_any():
            self.beats += piece.count(b"\n") if not piece.strip() else 0
            body += piece
        document: dict[str, Any] = json.loads(body)
        return document


@asynccontextmanager
async def held(house: Any, key: str, steering: str, **headers: str) -> AsyncIterator[Held]:
    """Ask, and be held."""
    body = {"model": "nano-banana-pro", "prompt": f"{PROMPT} {steering}", "n": 1, "response_format": "url"}
    url = f"{house.base_url}/v1/images/generations"
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=WITHIN_S)) as session,
        session.post(url, json=body, headers={**house.headers, "Idempotency-Key": key, **headers}) as answer,
    ):
        assert answer.status == 200
        yield Held(answer)


async def stand_still(house: Any, seconds: float) -> None:
    """Stop the process, and let it go on."""
    house.process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(seconds)
    house.process.send_signal(signal.SIGCONT)


@pytest.mark.timeout(CASE_S)
async def test_a_process_that_stands_still_goes_on_as_if_nothing_were(street: Any) -> None:
    """One image comes meanwhile, one after; both callers get theirs, beats go on, and nothing is bought again."""
    house = street.house("stopped")
    house.settings = BEATS
    assert await house.start()
    async with held(house, "first", "[delay=1.2]") as first, held(house, "second", "[delay=4]") as second:
        await stand_still(house, 1.5)
        assert (await first.rest())["data"]
        assert (await second.rest())["data"]
    assert second.beats >= 3, "no beat followed the pause"
    assert house.upstream.sends.total() == 2
    assert (await house.joins("first", "[delay=1.2]"))["data"]
    assert (await house.joins("second", "[delay=4]"))["data"]
    await house.check_after()


@pytest.mark.timeout(CASE_S)
async def test_a_deadline_that_passes_meanwhile_costs_no_image(street: Any) -> None:
    """The caller's time is over when the process wakes: told so, or given the image; it is there in any case."""
    house = street.house("stopped-for-long")
    house.settings = BEATS
    assert await house.start()
    async with held(house, "short", "[delay=0.8]", **{"Holdfast-Timeout": "1.0"}) as caller:
        await stand_still(house, 2.0)
        await caller.rest()
    (resource,) = await house.resources()
    async with asyncio.timeout(WITHIN_S):
        while (resource := (await house.resources())[0])["status"] != "succeeded":
            await asyncio.sleep(0.05)
    assert len(resource["images"]) == 1
    assert (await house.joins("short", "[delay=0.8]"))["data"]
    await house.check_after()


@pytest.mark.timeout(CASE_S)
async def test_an_attempt_whose_time_passes_meanwhile_is_not_lost_with_its_answer_at_the_door(street: Any) -> None:
    """The answer came while nobody read, in time; that our own timer woke first is no reason to throw it away."""
    house = street.house("stopped-past-the-attempt")
    house.settings = f"{BEATS}\n[deadlines]\nattempt_s = {{ 1K = 1.5, 2K = 1.5, 4K = 1.5 }}"
    assert await house.start()
    async with held(house, "slept", "[delay=1.0]") as caller:
        await stand_still(house, 3.0)
        assert (await caller.rest()).get("data"), "an answer that was here in time is told as lost"
    assert (await house.joins("slept", "[delay=1.0]"))["data"]
    await house.check_after()


@pytest.mark.timeout(CASE_S)
async def test_a_loop_that_is_blocked_keeps_everybody(street: Any) -> None:
    """Two seconds in which no beat can be sent and nothing is read; then all is as it was."""
    house = street.house("blocked")
    house.settings = BEATS
    assert await house.start("receive.after_head:sleep=2:1")
    async with held(house, "blocks", "[delay=0.5]") as first, held(house, "waits", "[delay=4]") as second:
        assert (await first.rest())["data"]
        assert (await second.rest())["data"]
    assert second.beats >= 3
    assert house.upstream.sends.total() == 2
    assert (await house.joins("waits", "[delay=4]"))["data"]
    await house.check_after()


@pytest.mark.timeout(CASE_S)
async def test_a_kill_in_the_midst_of_a_drain_is_a_kill_like_any_other(street: Any) -> None:
    """SIGTERM, and before the image comes the patience of whoever sent it ends."""
    house = street.house("drained")
    house.settings = BEATS
    assert await house.start()
    async with held(house, "open", "[delay=1]") as caller:
        house.process.terminate()
        await asyncio.sleep(0.3)
        await house.kill()
        with pytest.raises(aiohttp.ClientError):
            await caller.rest()
    assert await house.start()
    assert (await house.joins("open", "[delay=1]"))["error"]["code"] == "outcome_unknown"
    await house.check_after()


@pytest.mark.timeout(CASE_S)
async def test_a_kill_while_a_big_image_is_encoded_and_sent_loses_nothing(street: Any) -> None:
    """As when memory runs out: the caller has a part of it, the store has all, and the repeat is given all."""
    house = street.house("out-of-memory")
    assert await house.start()
    named = {**house.headers, "Idempotency-Key": "big"}
    body = {"model": "gpt-image-2", "prompt": f"{PROMPT} [delay=0] [big]", "response_format": "b64_json"}
    url = f"{house.base_url}/v1/images/generations"
    async with aiohttp.ClientSession() as session, session.post(url, json=body, headers=named) as answer:
        assert len(await answer.content.readexactly(1_000_000)) == 1_000_000
        await house.kill()
        with pytest.raises(aiohttp.ClientError):
            await answer.content.read()
    assert len(house.whole) == 1
    assert await house.start()
    (resource,) = await house.resources()
    assert resource["images"][0]["bytes"] > 20_000_000
    assert house.whole == {resource["images"][0]["sha256"]}
    url = f"{house.base_url}/v1/images/generations"
    async with aiohttp.ClientSession() as session, session.post(url, json=body, headers=named) as answer:
        again = await answer.json()
    assert again["generation_id"] == resource["id"]
    assert len(again["data"][0]["b64_json"]) > 26_000_000
    assert house.upstream.sends.total() == 1
    await house.check_after()
