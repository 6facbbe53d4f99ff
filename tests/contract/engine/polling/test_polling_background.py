"""The engine and APIs that work in the background: handles are committed, processes come and go, one is bought."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

import pytest

from holdfast.config import UpstreamApi
from holdfast.policy import polling
from holdfast.types import Charge, Failure, FailureKind, Phase

MODEL = "nano-banana-pro"
BASE = "http://127.0.0.1:1/v1"
LOST = Failure(kind=FailureKind.LOST_REPLY, phase=Phase.WAIT, charge=Charge.UNKNOWN, detail="it was reset")
OPTIONS: dict[UpstreamApi, dict[str, Any]] = {
    UpstreamApi.RESPONSES: {"provider": "openai", "api": "responses", "outer_model": "gpt-5.5"},
    UpstreamApi.INTERACTIONS: {"provider": "gemini", "api": "interactions"},
}


def object_of(api: UpstreamApi, status: str, *pictures: bytes) -> bytes:
    """Write a request as its API does."""
    coded = [base64.b64encode(picture).decode() for picture in pictures]
    body: dict[str, Any] = {"id": "x_1", "status": status}
    if api is UpstreamApi.RESPONSES:
        body["output"] = [{"type": "image_generation_call", "result": each} for each in coded]
    else:
        contents = [{"type": "image", "data": each} for each in coded]
        body["steps"] = [{"type": "model_output", "content": contents}]
    return json.dumps(body).encode()


def settings_for(api: UpstreamApi, settings_of: Any) -> Any:
    """One upstream, asked through that API."""
    upstream = {"name": "later", "base_url": BASE, "keys": ["one-key"], **OPTIONS[api]}
    route = {"model": MODEL, "upstreams": [{"upstream": "later", "model": "gpt-image-2"}]}
    return settings_of(upstreams=[upstream], routes=[route])


@pytest.fixture(params=list(OPTIONS), ids=lambda api: api.value)
def api(request: pytest.FixtureRequest) -> UpstreamApi:
    """Both."""
    made: UpstreamApi = request.param
    return made


@pytest.fixture
async def later(
    bench: Any, queue: Any, settings_of: Any, api: UpstreamApi, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Any]:
    """The bench's upstream works in the background; it has the queue's scripts and gates."""
    for name in ("PAUSE_S_MIN", "PAUSE_S_MAX"):
        monkeypatch.setattr(polling, name, 0.001)

    async def exchange(request: Any, *, inputs: Any, timeouts: Any, on_head: Any, ca_file: str) -> Any:
        if request.method == "POST" and not request.url.endswith("/cancel"):
            queue.submitted.append(dict(request.headers)["Idempotency-Key"])
            await queue._gate("submit")
            return await queue._play(queue.submits, 200, object_of(api, "queued"), on_head)
        if request.method == "POST":
            queue.asked.append("cancel")
            return await queue._play(queue.cancels, 200, object_of(api, "cancelled"), on_head)
        assert "/x_1" in request.url
        queue.asked.append("status")
        await queue._gate("status")
        if queue.polls and isinstance(queue.polls[0], str):
            return await queue._play(deque(), 200, object_of(api, queue.polls.popleft()), on_head)
        return await queue._play(queue.polls, 200, object_of(api, "completed", queue.pictures(0)), on_head)

    monkeypatch.setattr(queue, "exchange", exchange)
    await bench.restart(settings_for(api, settings_of))
    yield queue


async def test_one_image_is_bought_and_asked_for(bench: Any, later: Any) -> None:
    """Its handle is in the record while it is asked for."""
    gate = later.hold("status")
    id_, _ = await bench.ask()
    await bench.until(lambda: later.is_asked("status"))
    attempt = await later.attempt_of(bench, id_)
    assert (attempt.state, attempt.upstream_handle) == ("polling", "x_1")
    later.polls += ["queued", "in_progress", 503, LOST, b"<html>", 404, "in_progress"]
    gate.set()
    await later.one_image(bench, id_)
    assert later.asked == ["status"] * 8


async def test_however_many_restarts_buy_one_image(bench: Any, later: Any) -> None:
    """One handle, five processes, one charge."""
    gate = later.hold("status")
    id_, _ = await bench.ask()
    await bench.until(lambda: later.is_asked("status"))
    for _ in range(5):
        later.asked.clear()
        recovered = await bench.restart()
        assert [each.handle for each in recovered.to_resume] == ["x_1"]
        await bench.until(lambda: later.is_asked("status"))
    gate.set()
    await later.one_image(bench, id_)


async def test_an_image_in_the_spool_is_settled_without_asking(bench: Any, later: Any, arm: Any) -> None:
    """Whole, and the process died before it was recorded: the object that tells the end also says what is what."""
    arm("settle.before_blobs:sleep=60")
    id_, _ = await bench.ask()
    await bench.until(lambda: any(name.endswith(".done") for name in bench.spooled()))
    await asyncio.sleep(0.05)
    later.asked.clear()
    recovered = await bench.restart()
    assert (recovered.settled, recovered.to_resume) == (1, ())
    assert later.asked == []
    await later.one_image(bench, id_)


async def test_an_upstream_that_is_asked_another_way_now_is_asked_for_nothing(
    bench: Any, later: Any, settings_of: Any, api: UpstreamApi
) -> None:
    """The usual API of the provider has no handles: unknown, and not bought again."""
    later.hold("status")
    id_, _ = await bench.ask()
    await bench.until(lambda: later.is_asked("status"))
    upstream = {"name": "later", "base_url": BASE, "keys": ["one-key"], "provider": OPTIONS[api]["provider"]}
    route = {"model": MODEL, "upstreams": [{"upstream": "later", "model": "gpt-image-2"}]}
    recovered = await bench.restart(settings_of(upstreams=[upstream], routes=[route]))
    assert (recovered.unknown, recovered.to_resume) == (1, ())
    assert (await later.attempt_of(bench, id_)).state == "unknown"
    assert len(later.submitted) == 1
    await bench.is_clean(id_)


@pytest.mark.parametrize("how", ["reset", "cut early"])
async def test_a_lost_submission_is_unknown(bench: Any, later: Any, how: str) -> None:
    """Nobody can ask; nobody buys again."""
    later.submits.append(LOST if how == "reset" else b'{"id":"x_')
    id_, caller = await bench.ask()
    await caller.ended()
    await bench.quiet()
    told = (await bench.record(id_)).generation.told
    assert told is not None
    assert (told.code, told.charge) == ("outcome_unknown", "unknown")
    assert (len(later.submitted), later.asked) == (1, [])
    await bench.is_clean(id_)


async def test_a_submission_cut_behind_its_name_is_none(bench: Any, later: Any) -> None:
    """What it is called is enough."""
    later.submits.append(b'{"id":"x_1","status":"que')
    id_, _ = await bench.ask()
    await later.one_image(bench, id_)


async def test_what_is_not_kept_is_unknown(bench: Any, later: Any) -> None:
    """Gone there, before anybody asked."""
    later.polls += [404] * 8
    id_, caller = await bench.ask()
    await caller.ended()
    await bench.quiet()
    told = (await bench.record(id_)).generation.told
    assert told is not None
    assert told.code == "outcome_unknown"
    assert len(later.submitted) == 1
    await bench.is_clean(id_)


async def test_a_cancel_in_time_costs_nothing(bench: Any, later: Any) -> None:
    """Queued there: it is taken back, and nobody is charged."""
    gate = later.hold("status")
    later.polls += ["queued"] * 1000
    id_, caller = await bench.ask()
    await bench.until(lambda: later.is_asked("status"))
    await bench.engine.cancel(id_)
    gate.set()
    await caller.ended()
    await bench.quiet()
    record = await bench.record(id_)
    assert record.generation.state == "cancelled"
    assert later.asked[-1] == "cancel"
    assert await bench.taken(id_) == []
    await bench.is_clean(id_)
