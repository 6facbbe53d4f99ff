"""A gateway that is asked to end while others take callers: they go there one by one, and none is turned away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

Start = Callable[..., Awaitable[Any]]
ACCEPT_S = 1.0
WITHIN_S = 15.0


@pytest.fixture
def dsn_for(on_postgres: Callable[..., str]) -> Callable[..., str]:
    """Rows that others have too."""
    return on_postgres


async def until_refused(gateway: Any) -> None:
    """Wait until nobody is let in any more."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            except ConnectionRefusedError:
                return
            writer.close()
            await asyncio.sleep(0.02)


async def test_callers_are_taken_as_ever_until_they_have_gone(start: Start) -> None:
    """`/readyz` says no at once, everything else is answered, and each answer is the last of its connection."""
    gateway = await start(drain={"grace_s": 3.0, "accept_s": ACCEPT_S})
    before = await gateway.images()
    assert (before.status, before.headers.get("connection")) == (200, None)
    assert (await gateway.ask("GET", "/readyz")).status == 200
    gateway.running.stop()
    async with asyncio.timeout(WITHIN_S):
        while (told := await gateway.ask("GET", "/readyz")).status == 200:
            await asyncio.sleep(0.01)
    assert (told.status, told.json["status"]) == (503, "draining")
    during = await gateway.images()
    assert (during.status, during.headers["connection"]) == (200, "close")
    await until_refused(gateway)
    assert await gateway.stop() == 0


async def test_an_answer_that_is_held_then_ends_its_connection(start: Start, upstream: Any) -> None:
    """Its head may have said otherwise: whoever waits has the image, and asks the next one elsewhere."""
    gateway = await start(drain={"grace_s": 5.0, "accept_s": ACCEPT_S})
    upstream.gate.clear()
    wire = await gateway.dial()
    await wire.send(gateway.post())
    await upstream.was_asked()
    gateway.running.stop()
    await until_refused(gateway)
    upstream.gate.set()
    answer = await wire.answer()
    assert answer.status == 200
    assert await wire.rest() == b"", "the connection stays"
    assert await gateway.stop() == 0


async def test_a_second_signal_waits_for_nothing(start: Start) -> None:
    """Whoever is in a hurry is not kept for the time that callers are given."""
    gateway = await start(drain={"grace_s": 300.0, "accept_s": 300.0})
    gateway.running.stop()
    gateway.running.stop()
    assert await gateway.stop() == 0
