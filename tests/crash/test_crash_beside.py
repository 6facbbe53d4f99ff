"""A start that takes long serves meanwhile, and may die in the middle of what goes on behind it."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

OPEN = 3


async def status_of(house: Any, id_: str) -> str:
    """Ask how a generation stands."""
    async with (
        aiohttp.ClientSession(headers=house.headers) as session,
        session.get(f"{house.base_url}/v1/generations/{id_}") as answer,
    ):
        return str((await answer.json())["status"])


@pytest.mark.timeout(120)
async def test_callers_are_served_while_things_are_put_right(street: Any) -> None:
    """New work ends; a repeat of what is old waits for it; and a kill in the middle loses nothing."""
    house = street.house("beside")
    assert await house.start()
    calls = [asyncio.create_task(house.post(f"[delay=30] {n}", **{"Idempotency-Key": f"old-{n}"})) for n in range(OPEN)]
    async with asyncio.timeout(30.0):
        while len(street.upstream.sends) < OPEN:
            await asyncio.sleep(0.02)
    await house.kill()
    await asyncio.gather(*calls)
    old = house.accepted()
    assert len(old) == OPEN
    # Whichever is the first sleeps for longer than this test lasts.
    assert await house.start("recovery.before_unknown:sleep=100")
    assert await house.post("[delay=0]") == "200"
    states = [await status_of(house, id_) for id_ in old]
    assert "running" in states, states
    waiting = [
        asyncio.create_task(house.post(f"[delay=30] {n}", **{"Idempotency-Key": f"old-{n}"})) for n in range(OPEN)
    ]
    done, pending = await asyncio.wait(waiting, timeout=1.0)
    assert pending, [task.result() for task in done]
    assert len(house.accepted()) == OPEN + 1
    await house.kill()
    await asyncio.gather(*waiting)
    assert await house.start()
    resources = await house.check_after()
    assert [each["error"]["code"] for each in resources if each["id"] in old] == ["outcome_unknown"] * OPEN
    assert len(street.upstream.sends) == OPEN + 2
