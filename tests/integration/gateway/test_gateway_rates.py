"""An upstream that grants so many calls a minute, on real sockets: who keeps to it never meets its 429."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast.policy.rates import MINUTE_S
from holdfast.simulator.server import Simulator

ASKED = {"prompt": "a lighthouse"}
QUICK = 6.0
"""How much faster than life the upstream's minute passes."""
GRANTED = 60
# Calls may be late by what a minute's calls are spread over beyond a minute: 1.2 s. A minute that is shortened sixfold
# would leave 0.2 s, and a busy machine's commits take longer; so calls are spread over ten seconds and 1.2.
PER_MINUTE = int(MINUTE_S * GRANTED / (60.0 / QUICK + MINUTE_S - 60.0))
MODEL = "nano-banana-pro"


@pytest.fixture
async def simulate(tmp_path: Path, a_png: Any) -> AsyncIterator[Callable[..., Awaitable[Simulator]]]:
    """Start upstreams that answer at once and grant so many calls a minute of their life."""
    picture: bytes = a_png()
    made: list[Simulator] = []

    async def simulate(per_minute: int, speed: float) -> Simulator:
        scenario = tmp_path / "narrow.toml"
        scenario.write_text(f"[limits]\nper_minute = {per_minute}\n[[phase]]\nlatency_factor = 0\n")
        made.append(Simulator(scenario=str(scenario), speed=speed, paint=lambda *_: picture))
        made[-1].base = f"http://127.0.0.1:{await made[-1].start('127.0.0.1', 0)}"  # type: ignore[attr-defined]
        return made[-1]

    yield simulate
    for each in made:
        await each.close()


def settings_of(simulator: Any, **upstream: Any) -> dict[str, Any]:
    """One upstream, which is asked as said."""
    google = {"name": "google", "provider": "gemini", "base_url": simulator.base, "keys": ["k"], **upstream}
    route = {"model": MODEL, "upstreams": [{"upstream": "google", "model": "gemini-3-pro-image"}]}
    return {"upstreams": [google], "routes": [route], "heartbeat": {"first_beat_s": 0.2, "beat_s": 0.2}}


async def test_sixty_a_minute_are_kept_and_no_429_is_seen(start: Any, simulate: Any) -> None:
    """More than a minute's calls at once, at six times the speed of life: one request each, all delivered, all held."""
    simulator = await simulate(GRANTED, QUICK)
    gateway = await start(**settings_of(simulator, per_minute=PER_MINUTE))
    calls = [asyncio.create_task(gateway.images(prompt=f"a lighthouse {number}")) for number in range(63)]
    while len((await gateway.ask("GET", "/v1/generations?limit=100")).json["data"]) < 63:
        await asyncio.sleep(0.2)
    wire = await gateway.dial()
    await wire.send(gateway.post(ASKED))
    last = await wire.head()
    await wire.beats(5)
    body = json.loads(await wire.chunks(within_s=30.0))
    assert len(body["data"]) == 1
    answers = [await call for call in calls]
    assert [answer.status for answer in answers] == [200] * 63
    records = [gateway.record(id_) for id_ in (*(answer.generation_id for answer in answers), last.generation_id)]
    assert {tuple(attempt.http_status for attempt in record.attempts) for record in records} == {(200,)}
    assert len(simulator.charges.rows) == 64


async def test_without_a_setting_its_429_is_waited_out(start: Any, simulate: Any) -> None:
    """The same upstream, asked as if it had no limit: it refuses what is beyond, and holdfast waits as it asks."""
    simulator = await simulate(3, 60.0)
    gateway = await start(**settings_of(simulator))
    answers = await asyncio.gather(*(gateway.images(prompt=f"a lighthouse {number}") for number in range(4)))
    assert [answer.status for answer in answers] == [200] * 4
    statuses = [[each.http_status for each in gateway.record(answer.generation_id).attempts] for answer in answers]
    assert sorted(map(len, statuses)) == [1, 1, 1, 2]
    assert [429, 200] in statuses


async def test_a_status_says_when_a_call_should_be_sent(start: Any, simulate: Any) -> None:
    """Beside its place in line; what is expected of its end counts the wait."""
    simulator = await simulate(1000, 1.0)
    gateway = await start(**settings_of(simulator, per_minute=2))
    asked = [await gateway.placed(ASKED, at) for at in (None, 1, 2)]
    told = [each["estimated_start_s"] for each in asked]
    assert told[0] is None
    assert told[1:] == pytest.approx([30.6, 61.2], abs=2.0)
    status = await gateway.resource(asked[2]["id"])
    assert status["progress"]["expected_s"] == pytest.approx(status["estimated_start_s"] + 45.0, abs=3.0)
    assert status["progress"]["fraction"] == 0.0
    for each in asked[1:]:
        await gateway.ask("POST", f"/v1/generations/{each['id']}/cancel")
