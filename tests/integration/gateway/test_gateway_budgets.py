"""Each caller's own time: whoever joins waits as long as it gave, whatever the one it joined had given."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

KEY = {"Idempotency-Key": "order-1"}
BOUGHT = {"1K": 30.0, "2K": 30.0, "4K": 30.0}


def asking(gateway: Any, budget_s: float | None, **headers: str) -> asyncio.Task[Any]:
    """Ask with a budget, in a task."""
    budget = {} if budget_s is None else {"Holdfast-Timeout": f"{budget_s:g}"}
    return asyncio.create_task(gateway.images(headers={**KEY, **budget, **headers}))


async def joined(journal: Any, upstream: Any, gateway: Any, *budgets: float | None) -> list[asyncio.Task[Any]]:
    """Ask several times for the same, the first of them first; nothing is answered upstream meanwhile."""
    upstream.gate.clear()
    first, *others = budgets
    tasks = [asking(gateway, first)]
    await upstream.was_asked()
    for count, budget_s in enumerate(others, start=1):
        tasks.append(asking(gateway, budget_s))
        await journal.has("generation.joined", count)
    return tasks


@pytest.mark.parametrize("longer", [5.0, None], ids=["more time", "no time of its own"])
async def test_who_has_more_time_is_given_the_image_that_is_late_for_the_first(
    gateway: Any, upstream: Any, journal: Any, longer: float | None
) -> None:
    """The first is told 504 at its time, the second nothing: the attempt goes on, and its image is for both."""
    first, second = await joined(journal, upstream, gateway, 0.4, longer)
    told = await first
    assert (told.status, told.error["code"], told.error["paid"]) == (504, "deadline_exceeded", "unknown")
    await asyncio.sleep(0.2)
    assert not second.done()
    upstream.gate.set()
    answer = await second
    assert (answer.status, answer.picture()) == (200, upstream.pictures[0])
    assert answer.generation_id == told.generation_id
    assert len(upstream.asked) == 1
    assert (await gateway.resource(told.generation_id))["late"] is True


async def test_who_has_less_time_is_told_so_and_ends_nothing(gateway: Any, upstream: Any, journal: Any) -> None:
    """At its own time; the others get the image, and so does its own repeat."""
    began = time.monotonic()
    first, second, third = await joined(journal, upstream, gateway, None, 0.4, 0.8)
    for asked, seconds in ((second, 0.4), (third, 0.8)):
        told = await asked
        assert 0.35 <= time.monotonic() - began - (seconds - 0.4) <= 2.0
        assert (told.status, told.error["code"], told.error["paid"]) == (504, "deadline_exceeded", "unknown")
        assert told.headers["x-should-retry"] == "false"
        assert (await gateway.resource(told.generation_id))["status"] == "running"
    assert not first.done()
    repeat = asking(gateway, None)
    await journal.has("generation.joined", 3)
    upstream.gate.set()
    answers = await asyncio.gather(first, repeat)
    assert {(answer.status, answer.picture()) for answer in answers} == {(200, upstream.pictures[0])}
    assert len(upstream.asked) == 1
    await gateway.idle()
    assert gateway.record(answers[0].generation_id).generation.answered_at is not None


async def test_when_nothing_can_come_any_more_the_failure_is_told(gateway: Any, upstream: Any, journal: Any) -> None:
    """The attempt that was awaited for the second's sake brings nothing: then it hears of it, not before."""
    first, second = await joined(journal, upstream, gateway, 0.4, 5.0)
    assert (await first).status == 504
    await asyncio.sleep(0.1)
    assert not second.done()
    upstream.answers({"error": {"message": "no"}}, status=500)
    upstream.gate.set()
    told = await second
    assert (told.status, told.error["code"]) == (504, "deadline_exceeded")


async def test_the_second_s_time_is_told_inside_its_beats(start: Any, upstream: Any, journal: Any) -> None:
    """200 is out: the failure is told as a late one, and the connection serves on."""
    gateway = await start(heartbeat={"first_beat_s": 0.1, "beat_s": 0.1})
    (first,) = await joined(journal, upstream, gateway, None)
    wire = await gateway.dial()
    await wire.send(gateway.post(headers={**KEY, "Holdfast-Timeout": "0.5"}))
    answer = await wire.answer()
    assert (answer.status, answer.error["code"]) == (200, "deadline_exceeded")
    assert answer.body.startswith(b"\n\n")
    upstream.gate.set()
    assert (await first).status == 200


async def test_events_tell_it_as_an_event(start: Any, upstream: Any, journal: Any) -> None:
    """A caller that streams is told its time's end in its own way, and the first streams on."""
    gateway = await start(heartbeat={"first_beat_s": 0.1, "beat_s": 0.1})
    upstream.gate.clear()
    fields = {"stream": True, "model": "gpt-image-2"}
    first = asyncio.create_task(gateway.images(headers=KEY, **fields))
    await upstream.was_asked()
    told = await gateway.images(headers={**KEY, "Holdfast-Timeout": "0.4"}, **fields)
    ((name, document),) = told.events()
    assert (name, document["error"]["holdfast_code"]) == ("error", "deadline_exceeded")
    upstream.gate.set()
    assert [name for name, _ in (await first).events()] == ["image_generation.completed"]


async def test_a_stopping_gateway_lets_go_of_who_waits_on(start: Any, upstream: Any, journal: Any) -> None:
    """Nobody will tell it of the image: it is told how things stand, in time."""
    gateway = await start(drain={"grace_s": 0.3}, deadlines={"attempt_s": BOUGHT})
    first, second = await joined(journal, upstream, gateway, 0.3, 20.0)
    assert (await first).status == 504
    gateway.running.stop()
    told = await second
    assert (told.status, told.error["code"], told.error["paid"]) == (504, "deadline_exceeded", "unknown")
    await gateway.task


async def test_a_file_that_is_deleted_in_this_moment_is_410(gateway: Any, upstream: Any) -> None:
    """The row still names it when the repeat joins: what is told is the truth, not an answer that breaks off."""
    first = await gateway.images(headers=KEY)
    (blob,) = gateway.record(first.generation_id).results
    (gateway.data / blob.store_key).unlink()
    wire = await gateway.dial()
    await wire.send(gateway.post(headers=KEY))
    told = await wire.answer()
    assert (told.status, told.error["code"], told.generation_id) == (410, "image_expired", first.generation_id)
    assert told.headers["x-should-retry"] == "false"
    # The connection is whole.
    await wire.send(gateway.post())
    assert (await wire.answer()).status == 200
    gemini = await gateway.gemini(headers={"Idempotency-Key": "order-2"})
    (blob,) = gateway.record(gemini.generation_id).results
    (gateway.data / blob.store_key).unlink()
    told = await gateway.gemini(headers={"Idempotency-Key": "order-2"})
    assert (told.status, told.error["status"]) == (410, "NOT_FOUND")
    assert len(upstream.asked) == 3


async def test_a_row_that_is_marked_in_this_moment_is_410(
    gateway: Any, upstream: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Links would lead nowhere as well."""
    first = await gateway.images(headers=KEY, response_format="url")
    read = gateway.made.engine.record

    async def marked(generation_id: str) -> Any:
        mark = "UPDATE blob SET state = 'deleted' WHERE generation_id = :id"
        await gateway.core.store.write(lambda conn: conn.execute(mark, {"id": generation_id}) and None)
        return await read(generation_id)

    monkeypatch.setattr(gateway.made.engine, "record", marked)
    told = await gateway.images(headers=KEY, response_format="url")
    assert (told.status, told.error["holdfast_code"]) == (410, "image_expired")
    assert json.loads(told.body)["error"]["generation_id"] == first.generation_id
    assert len(upstream.asked) == 1
