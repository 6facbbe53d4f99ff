"""An upstream that is polled: bought once, whatever becomes of connections, disks and callers meanwhile."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from holdfast.policy.addresses import AddressRules
from holdfast.providers import fal
from holdfast.transport.exchange import NotSent
from holdfast.types import Charge, Failure, FailureKind, Phase
from holdfast.wire.fal import Handle, decode_handle

USD = 1_000_000
MODEL = "nano-banana-pro"
BASE = "http://127.0.0.1:1"
BROKEN = Failure(kind=FailureKind.LOST_REPLY, phase=Phase.WAIT, charge=Charge.UNKNOWN, detail="it was reset")


async def test_an_image_is_bought_polled_for_and_fetched(bench: Any, queue: Any, log: Any) -> None:
    """Its handle stands in the record, its polling in the log; nothing else differs from any other success."""
    queue.polls += ["IN_QUEUE", "IN_PROGRESS"]
    id_, _ = await bench.ask()
    record = await queue.one_image(bench, id_)
    assert queue.asked == ["status", "status", "status", "result", "fetch 0"]
    assert record.attempts[0].upstream_handle is not None
    assert decode_handle(record.attempts[0].upstream_handle).request_id == "r-1"
    assert record.attempts[0].received_at is not None
    assert [line["upstream"] for line in log("attempt.polling")] == ["queue"]
    assert await bench.events(id_) == ["queued", "running", "succeeded"]
    assert queue.rules == [AddressRules.beside(BASE)]
    assert queue.timeouts[0] == 180.0
    assert set(queue.timeouts[1:]) == {fal.QUESTION_S}


async def test_the_handle_is_committed_before_anything_is_asked(bench: Any, queue: Any) -> None:
    """From there on no process buys it again."""
    queue.hold("status")
    id_, _ = await bench.ask()
    await bench.until(lambda: queue.is_asked("status"))
    attempt = await queue.attempt_of(bench, id_)
    assert (attempt.state, attempt.charge) == ("polling", "unknown")
    assert decode_handle(attempt.upstream_handle or "") == Handle(request_id="r-1")
    queue.gates["status"].set()
    await queue.one_image(bench, id_)


async def test_images_that_come_inside_the_result_are_kept_too(bench: Any, queue: Any, shapes: Any) -> None:
    """Data URIs: nothing is fetched."""
    picture = json.loads(shapes.openai(queue.pictures(0)))["data"][0]["b64_json"]
    queue.results.append(json.dumps({"images": [{"url": f"data:image/png;base64,{picture}"}]}).encode())
    id_, _ = await bench.ask()
    await queue.one_image(bench, id_)
    assert queue.rules == []


async def test_several_images_of_one_call_are_one_purchase(bench: Any, queue: Any, make: Any) -> None:
    """Each is fetched, all are delivered, each is charged."""
    queue.images = 3
    record = await bench.made(make(n=3))
    assert [bench.bytes_of(record, at) for at in range(3)] == [queue.pictures(at) for at in range(3)]
    assert (len(queue.submitted), record.generation.charged_micros) == (1, 3 * USD)
    await bench.is_clean(record.generation.id)


async def test_more_images_than_a_call_makes_are_several_purchases(bench: Any, queue: Any, make: Any) -> None:
    """Two parts, each with a handle of its own; a restart goes on with both."""
    queue.images = 3
    queue.hold("status")
    id_, _ = await bench.ask(make(n=6))
    await bench.until(lambda: queue.asked == ["status", "status"])
    recovered = await bench.restart()
    assert len(recovered.to_resume) == 2
    assert bench.engine.open_generations == 1
    queue.gates["status"].set()
    await bench.quiet()
    record = await bench.record(id_)
    assert (len(record.results), record.generation.charged_micros) == (6, 6 * USD)
    assert sorted(queue.submitted) == [f"{id_}.0.0", f"{id_}.1.0"]
    await bench.is_clean(id_)


# Whatever breaks


async def test_no_break_on_the_way_buys_anything_again(bench: Any, queue: Any) -> None:
    """404 then found, statuses going backwards, 5xx, resets, documents that are none, links that expire."""
    queue.polls += [404, BROKEN, "IN_PROGRESS", 503, b"<html>", "IN_QUEUE", 429, NotSent(OSError("no file"))]
    queue.results += [404, BROKEN, (502, b"<html>"), b"<html>"]
    queue.fetches += [403, BROKEN, queue.pictures(0)[:-9], OSError(28, "No space left on device")]
    id_, _ = await bench.ask()
    await queue.one_image(bench, id_)


@pytest.mark.parametrize("lost", [BROKEN, b"{}", b"<html>"])
async def test_a_submission_whose_answer_is_lost_is_unknown(bench: Any, queue: Any, lost: Any) -> None:
    """There is nothing to ask for, and nothing is bought again."""
    queue.submits.append(lost)
    record = await bench.made()
    told = record.generation.told
    assert told is not None
    assert (told.code, told.charge, record.attempts[0].state) == ("outcome_unknown", "unknown", "unknown")
    assert record.attempts[0].upstream_handle is None
    assert (len(queue.submitted), queue.asked) == (1, [])
    await bench.is_clean(record.generation.id)


async def test_a_failure_of_the_model_is_told_as_its_own(bench: Any, queue: Any) -> None:
    """Refused: free, and not asked for twice."""
    refusal = {"detail": [{"loc": ["body", "prompt"], "msg": "no", "type": "content_policy_violation"}]}
    queue.results.append((422, json.dumps(refusal).encode()))
    record = await bench.made()
    told = record.generation.told
    assert told is not None
    assert (told.code, told.charge, told.status) == ("content_refused", "no", 422)
    assert [attempt.state for attempt in record.attempts] == ["rejected"]
    assert await bench.verbs(record.generation.id) == ["hold", "void"]
    await bench.is_clean(record.generation.id)


async def test_an_upstream_that_never_ends_is_unknown_when_the_attempts_time_is_over(bench: Any, queue: Any) -> None:
    """By its own time, and not before; what it still said is told."""
    gate = queue.hold("status")
    id_, _ = await bench.ask()
    await bench.until(lambda: queue.is_asked("status"))
    queue.polls.extend(["IN_PROGRESS"] * 3)
    bench.clock.jump(179.0)
    gate.set()
    await bench.until(lambda: len(queue.asked) >= 3)
    gate.clear()
    await bench.until(lambda: queue.is_asked("status"))
    queue.polls.extend(["IN_PROGRESS"] * 1000)
    bench.clock.jump(2.0)
    gate.set()
    await bench.quiet()
    record = await bench.record(id_)
    told = record.generation.told
    assert told is not None
    assert (told.code, told.charge) == ("outcome_unknown", "unknown")
    assert "did not finish it within 180 s: it was still IN_PROGRESS" in told.message
    assert len(queue.submitted) == 1
    await bench.is_clean(id_)


async def test_an_image_that_is_made_is_fetched_beyond_the_attempts_time(bench: Any, queue: Any) -> None:
    """It is paid for: it gets the time of an answer's body."""
    gate = queue.hold("result")
    id_, _ = await bench.ask()
    await bench.until(lambda: queue.is_asked("result"))
    queue.results.append(BROKEN)
    bench.clock.jump(200.0)
    gate.set()
    await queue.one_image(bench, id_)


async def test_what_cannot_be_fetched_is_paid_for_and_told_so(bench: Any, queue: Any) -> None:
    """Its link is dead, however often it is asked for anew."""
    queue.fetches += [410] * fal.FETCH_TRIES
    record = await bench.made()
    told = record.generation.told
    assert told is not None
    assert (told.code, told.charge) == ("upstream_failed", "yes")
    assert [attempt.state for attempt in record.attempts] == ["charged_failed"]
    assert len(queue.submitted) == 1
    await bench.is_clean(record.generation.id)


async def test_the_images_that_could_be_fetched_are_delivered(bench: Any, queue: Any, make: Any) -> None:
    """Two were made and are paid for, one is here: that one is charged."""
    queue.images = 2
    queue.fetches += [queue.pictures(0), *[410] * fal.FETCH_TRIES]
    record = await bench.made(make(n=2))
    row = record.generation
    assert (row.state, row.partial_result, row.charged_micros) == ("succeeded", 1, USD)
    assert await bench.taken(row.id) == [("cost", 2 * USD)]
    assert bench.bytes_of(record) == queue.pictures(0)
    await bench.is_clean(row.id)


# Cancelling


async def test_a_request_that_still_waits_is_taken_back_for_free(bench: Any, queue: Any) -> None:
    """The queue lets go of it: cancelled, nothing charged."""
    gate = queue.hold("status")
    id_, caller = await bench.ask()
    await bench.until(lambda: queue.is_asked("status"))
    await bench.engine.cancel(id_)
    queue.polls += ["IN_QUEUE", "IN_QUEUE", 404]
    gate.set()
    await caller.ended()
    await bench.quiet()
    record = await bench.record(id_)
    told = record.generation.told
    assert told is not None
    assert (record.generation.state, told.code, told.charge) == ("cancelled", "generation_cancelled", "no")
    assert [attempt.state for attempt in record.attempts] == ["rejected"]
    assert queue.asked.count("cancel") == 1
    assert await bench.taken(id_) == []
    await bench.is_clean(id_)


async def test_a_request_at_work_is_awaited_and_kept(bench: Any, queue: Any) -> None:
    """It is paid for; whoever cancelled gets it."""
    gate = queue.hold("status")
    id_, _ = await bench.ask()
    await bench.until(lambda: queue.is_asked("status"))
    await bench.engine.cancel(id_)
    queue.polls += ["IN_PROGRESS", "IN_PROGRESS"]
    gate.set()
    await queue.one_image(bench, id_)
    assert "cancel" not in queue.asked


async def test_a_cancel_ends_a_pause(bench: Any, queue: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five seconds of waiting might be those in which the work begins."""
    monkeypatch.setattr(fal, "POLL_S_FIRST", 50.0)
    monkeypatch.setattr(fal, "POLL_S_MAX", 50.0)
    queue.polls += ["IN_QUEUE", 404]
    id_, caller = await bench.ask()
    await bench.until(lambda: queue.submitted)
    while (await queue.attempt_of(bench, id_)).state != "polling":
        await asyncio.sleep(0.01)
    # The pause that has begun lasts; those that follow do not.
    for name in ("POLL_S_FIRST", "POLL_S_MAX"):
        monkeypatch.setattr(fal, name, 0.001)
    async with asyncio.timeout(20.0):
        await bench.engine.cancel(id_)
        await caller.ended()
    assert "cancel" in queue.asked
    await bench.quiet()
    assert (await bench.record(id_)).generation.state == "cancelled"
    await bench.is_clean(id_)


async def test_a_cancel_is_remembered_by_the_next_process(bench: Any, queue: Any) -> None:
    """It had been asked for before the restart."""
    gate = queue.hold("status")
    id_, _ = await bench.ask()
    await bench.until(lambda: queue.is_asked("status"))
    await bench.engine.cancel(id_)
    await bench.restart()
    queue.polls += ["IN_QUEUE", "IN_QUEUE", "IN_QUEUE", 404]
    gate.set()
    await bench.quiet()
    assert (await bench.record(id_)).generation.state == "cancelled"
    assert queue.asked.count("cancel") == 1
    await bench.is_clean(id_)


async def test_nobody_is_followed_any_longer_than_needed(bench: Any, queue: Any) -> None:
    """Thousands of attempts come and go."""
    record = await bench.made()
    assert repr(bench.core.followers) == "<Followers 0 of 0 generations>"
    await bench.is_clean(record.generation.id)
