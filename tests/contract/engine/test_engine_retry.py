"""What failed and cost nothing is tried again, within its limits; nobody is told of it before nothing more is tried."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from holdfast.clock import from_rfc3339
from holdfast.policy.joining import Claim
from holdfast.store.generations import events_of
from holdfast.types import Charge, Failure, FailureKind, Phase

USD = 1_000_000
BUSY = b'{"error":{"message":"busy","code":503,"status":"UNAVAILABLE"}}'
GONE = Failure(kind=FailureKind.UNREACHABLE, phase=Phase.CONNECT, charge=Charge.NO, detail="connection refused")
LOST = Failure(kind=FailureKind.LOST_REPLY, phase=Phase.WAIT, charge=Charge.UNKNOWN, detail="the connection broke")


def limited(**retry: Any) -> Any:
    """Run a test under these limits."""
    return pytest.mark.parametrize("sections", [{"retry": retry}])


def states(record: Any) -> list[tuple[str, str]]:
    """How its attempts ended, in order."""
    return [(each.state, each.charge) for each in record.attempts]


async def after_pauses(bench: Any, caller: Any, *, most: int = 40) -> None:
    """Let time pass, pause after pause, until the caller is told; each pause is as long as its attempt says."""
    for _ in range(most):
        await bench.until(lambda: caller.ends or "1 in a pause, 1 tasks" in repr(bench.engine))
        if caller.ends:
            break
        calls = len(bench.upstream.asked)
        record = await bench.record(bench.upstream.asked[-1].generation_id)
        again_at = from_rfc3339(max(attempt.retry_at for attempt in record.attempts if attempt.retry_at))
        bench.clock.jump((again_at - bench.clock.now()).total_seconds())
        await bench.until(lambda: caller.ends or len(bench.upstream.asked) > calls)  # noqa: B023 - waited for here
    assert caller.ends == 1
    await bench.quiet()


async def test_a_busy_upstream_is_waited_for_as_it_asks(
    bench: Any, shapes: Any, a_picture: bytes, log: Callable[..., list[dict[str, Any]]]
) -> None:
    """429 with a hint of 7 s, then the image: one charge, the same idempotency key, and nobody was told anything."""
    bench.upstream.next.append(shapes.Reply(body=BUSY, status=429, retry_after="7"))
    id_, caller = await bench.ask()
    await bench.resting()
    bench.clock.jump(6.9)
    await bench.turn()
    assert (len(bench.upstream.asked), caller.ends) == (1, 0)
    bench.clock.jump(0.2)
    await caller.ended()
    await bench.quiet()
    record = await bench.record(id_)
    assert (record.generation.state, record.generation.charged_micros) == ("succeeded", USD)
    assert bench.bytes_of(record) == a_picture
    assert states(record) == [("rejected", "no"), ("settled", "yes")]
    assert [each.number for each in record.attempts] == [1, 2]
    assert {asked.key for asked in bench.upstream.asked} == {f"{id_}.0.0"}
    assert await bench.events(id_) == ["queued", "running", "progress", "running", "succeeded"]
    assert await bench.verbs(id_) == ["hold", "capture"]
    assert [verb for verb, _ in await bench.taken(id_)] == ["cost"]
    (failed,) = log("attempt.failed")
    assert (failed["kind"], failed["follows"], failed["after_s"]) == ("rate_limited", "wait", 7.0)
    await bench.is_clean(id_)


async def test_the_log_of_a_generation_says_what_failed_and_when_it_is_tried_again(bench: Any, shapes: Any) -> None:
    """One event a retry, committed with the failure itself."""
    bench.upstream.next.append(shapes.Reply(body=BUSY, status=429, retry_after="7"))
    id_, caller = await bench.ask()
    await bench.resting()
    (event,) = [row for row in await bench.store.read(events_of, id_) if row.type == "progress"]
    (attempt,) = (await bench.record(id_)).attempts
    assert event.data == f'{{"part":0,"failed":"rate_limited","retry_at":"{attempt.retry_at}"}}'
    assert (from_rfc3339(attempt.retry_at) - bench.clock.now()).total_seconds() == 7.0
    await after_pauses(bench, caller)


async def test_waves_of_503_are_waited_out_with_growing_pauses(bench: Any, shapes: Any) -> None:
    """Not counted as retries: six in a row are more than four attempts, and the budget of repeats is untouched."""
    bench.upstream.next.extend(shapes.Reply(body=BUSY, status=503) for _ in range(6))
    id_, caller = await bench.ask()
    await after_pauses(bench, caller)
    record = await bench.record(id_)
    assert record.generation.state == "succeeded"
    assert len(record.attempts) == 7
    at = [asked.at for asked in bench.upstream.asked]
    assert [round(after - before, 2) for before, after in pairwise(at)] == [1.5, 3, 6, 12, 24, 45]
    # Three repeats are left for what is counted.
    bench.upstream.next.extend(shapes.Reply(failure=GONE) for _ in range(3))
    again, caller = await bench.ask()
    await after_pauses(bench, caller)
    await bench.is_clean(id_, again)


async def test_an_upstream_that_cannot_be_reached_is_tried_four_times(
    bench: Any, shapes: Any, log: Callable[..., list[dict[str, Any]]]
) -> None:
    """Thrice in vain, and the fourth brings it."""
    bench.upstream.next.extend(shapes.Reply(failure=GONE) for _ in range(3))
    id_, caller = await bench.ask()
    await after_pauses(bench, caller)
    record = await bench.record(id_)
    assert (record.generation.state, len(record.attempts)) == ("succeeded", 4)
    assert [(each["follows"], each["after_s"]) for each in log("attempt.failed")] == [
        ("retry", 1.5),
        ("retry", 3.0),
        ("retry", 6.0),
    ]
    await bench.is_clean(id_)


@limited(budget_burst=9)
async def test_what_stays_unreachable_is_told_in_the_end(
    bench: Any, shapes: Any, log: Callable[..., list[dict[str, Any]]]
) -> None:
    """Four attempts, one story, nothing paid."""
    bench.upstream.usual = shapes.Reply(failure=GONE)
    id_, caller = await bench.ask()
    await after_pauses(bench, caller)
    record = await bench.record(id_)
    told = record.generation.told
    assert (record.generation.state, told.code, told.charge) == ("failed", "upstream_failed", "no")
    assert states(record) == [("rejected", "no")] * 4
    assert [each["follows"] for each in log("attempt.failed")] == ["retry", "retry", "retry", "give_up"]
    assert log("attempt.failed")[-1]["why"] == "attempts_spent"
    assert [each.retry_at is None for each in record.attempts] == [False, False, False, True]
    assert await bench.verbs(id_) == ["hold", "void"]
    assert await bench.taken(id_) == []
    await bench.is_clean(id_)


@limited(budget_burst=1, budget_share=0.5)
async def test_repeats_stay_a_share_of_the_calls(
    bench: Any, shapes: Any, log: Callable[..., list[dict[str, Any]]]
) -> None:
    """One repeat is saved up; the next is earned by two calls: an upstream that is down is not stormed."""
    bench.upstream.usual = shapes.Reply(failure=GONE)
    first, caller = await bench.ask()
    await after_pauses(bench, caller)
    second = (await bench.made()).generation.id
    third, caller = await bench.ask()
    await after_pauses(bench, caller)
    assert [len((await bench.record(id_)).attempts) for id_ in (first, second, third)] == [2, 1, 2]
    assert [each.get("why") for each in log("attempt.failed")] == [
        None,
        "budget_spent",
        "budget_spent",
        None,
        "budget_spent",
    ]
    await bench.is_clean(first, second, third)


@limited(sends_max=3)
async def test_a_busy_upstream_is_not_asked_for_ever(bench: Any, shapes: Any) -> None:
    """Three sends, as the settings say; then the caller is told that it is overloaded, and for how long."""
    bench.upstream.usual = shapes.Reply(body=BUSY, status=429, retry_after="5")
    id_, caller = await bench.ask()
    await after_pauses(bench, caller)
    record = await bench.record(id_)
    told = record.generation.told
    assert (told.code, told.charge, told.retry_after_s) == ("overloaded", "no", 5.0)
    assert states(record) == [("rejected", "no")] * 3
    await bench.is_clean(id_)


@pytest.mark.parametrize(("hint", "asked_s"), [("300", None), (None, 40.0)])
async def test_nothing_is_tried_that_could_not_be_in_time(
    bench: Any, shapes: Any, log: Callable[..., list[dict[str, Any]]], hint: str | None, asked_s: float | None
) -> None:
    """A hint behind the deadline, or a budget of 40 s where an image takes 45: told at once, with its true status."""
    bench.upstream.usual = shapes.Reply(body=BUSY, status=429, retry_after=hint)
    record = await bench.made(asked_s=asked_s)
    assert record.generation.told.code == "overloaded"
    assert len(bench.upstream.asked) == 1
    assert log("attempt.failed")[0]["why"] == "deadline_too_close"
    await bench.is_clean(record.generation.id)


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        ({"failure": LOST}, "outcome_unknown"),
        ({"body": b"{}", "status": 500}, "upstream_failed"),
        ({"body": b"{}", "status": 400}, "invalid_request"),
        ({"body": b"{}", "status": 401}, "upstream_failed"),
        ({"body": b"<html>"}, "upstream_failed"),
    ],
    ids=["lost", "fault", "bad-request", "credential", "malformed"],
)
async def test_what_may_have_cost_something_or_would_fail_again_is_not_tried_again(
    bench: Any, shapes: Any, reply: dict[str, Any], code: str
) -> None:
    """One send, told at once."""
    bench.upstream.usual = shapes.Reply(**reply)
    record = await bench.made()
    assert (record.generation.told.code, len(bench.upstream.asked)) == (code, 1)
    assert record.attempts[0].retry_at is None
    await bench.is_clean(record.generation.id)


async def test_an_unknown_outcome_after_a_free_one_is_booked_once(bench: Any, shapes: Any) -> None:
    """Busy, then lost: one exposure, of the attempt that was lost; nothing is bought behind it."""
    bench.upstream.next.extend([shapes.Reply(body=BUSY, status=503), shapes.Reply(failure=LOST)])
    id_, caller = await bench.ask()
    await after_pauses(bench, caller)
    record = await bench.record(id_)
    assert record.generation.told.code == "outcome_unknown"
    assert states(record) == [("rejected", "no"), ("unknown", "unknown")]
    assert await bench.taken(id_) == [("exposure", USD)]
    assert await bench.balance("unknown_exposure") == USD
    await bench.is_clean(id_)


async def test_one_part_pauses_and_the_others_go_on(bench: Any, make: Any, shapes: Any) -> None:
    """Two images at once; the one that met a busy upstream comes later, and both are delivered."""
    bench.upstream.next.append(shapes.Reply(body=BUSY, status=503))
    id_, caller = await bench.ask(make(n=2))
    await bench.resting()
    assert len((await bench.record(id_)).results) == 1
    await after_pauses(bench, caller)
    record = await bench.record(id_)
    assert (record.generation.state, record.generation.partial_result) == ("succeeded", 0)
    assert record.generation.charged_micros == 2 * USD
    assert sorted(asked.key for asked in bench.upstream.asked) == [f"{id_}.0.0", f"{id_}.0.0", f"{id_}.1.0"]
    await bench.is_clean(id_)


async def test_a_cancel_in_a_pause_ends_it_at_once(bench: Any, shapes: Any) -> None:
    """Nothing is in flight, so nothing is awaited: cancelled, free, and its task is gone."""
    bench.upstream.usual = shapes.Reply(body=BUSY, status=503)
    id_, caller = await bench.ask()
    await bench.resting()
    await bench.engine.cancel(id_)
    await caller.ended()
    await bench.quiet()
    record = await bench.record(id_)
    assert (record.generation.state, record.generation.told.charge) == ("cancelled", "no")
    assert len(bench.upstream.asked) == 1
    assert await bench.verbs(id_) == ["hold", "void"]
    await bench.is_clean(id_)


async def test_a_cancel_while_another_part_is_in_flight_ends_the_pause_too(bench: Any, make: Any, shapes: Any) -> None:
    """The part in flight is awaited and delivered; the one in a pause is not tried again."""
    gate = asyncio.Event()
    bench.upstream.by_part[0] = shapes.Reply(body=BUSY, status=503)
    bench.upstream.by_part[1] = shapes.Reply(body=shapes.gemini(shapes.png(5)), when=gate)
    id_, caller = await bench.ask(make(n=2))
    await bench.until(lambda: "1 in a pause" in repr(bench.engine))
    await bench.engine.cancel(id_)
    await bench.until(lambda: "1 tasks" in repr(bench.engine))
    assert caller.ends == 0
    gate.set()
    await caller.ended()
    await bench.quiet()
    record = await bench.record(id_)
    assert (record.generation.state, record.generation.partial_result) == ("succeeded", 1)
    assert len(bench.upstream.asked) == 2
    await bench.is_clean(id_)


async def test_a_cancel_that_comes_before_the_failure_is_written_leaves_no_pause(
    bench: Any, shapes: Any, log: Callable[..., list[dict[str, Any]]]
) -> None:
    """Decided to try again, and then the commit finds the cancel: the part ends, and the repeat is given back."""
    gate = asyncio.Event()
    bench.upstream.usual = shapes.Reply(failure=GONE, when=gate)
    for _ in range(4):
        gate.clear()
        id_, caller = await bench.ask()
        await bench.until(lambda: bench.upstream.asked and bench.upstream.asked[-1].generation_id == id_)  # noqa: B023
        await bench.engine.cancel(id_)
        gate.set()
        await caller.ended()
        await bench.quiet()
        record = await bench.record(id_)
        assert (record.generation.state, record.attempts[0].retry_at) == ("cancelled", None)
        await bench.is_clean(id_)
    assert [each.get("follows") for each in log("attempt.failed")] == [None] * 4
    bench.upstream.next.extend(shapes.Reply(failure=GONE) for _ in range(3))
    bench.upstream.usual = shapes.Reply(body=shapes.gemini(shapes.png()))
    _, caller = await bench.ask()
    await after_pauses(bench, caller)
    assert len(bench.upstream.asked) == 8


async def test_a_caller_s_own_budget_ends_a_pause(bench: Any, shapes: Any) -> None:
    """Sixty seconds, and the upstream says ten, twice: told as soon as no image could be in time any more."""
    bench.upstream.usual = shapes.Reply(body=BUSY, status=429, retry_after="10")
    id_, caller = await bench.ask(asked_s=60.0)
    await after_pauses(bench, caller)
    record = await bench.record(id_)
    assert (record.generation.told.code, len(record.attempts)) == ("overloaded", 2)
    await bench.is_clean(id_)


async def test_a_deadline_in_a_pause_is_told_as_such(bench: Any, shapes: Any) -> None:
    """The clock jumped over both: nobody is sent for, nothing was paid."""
    bench.upstream.usual = shapes.Reply(body=BUSY, status=503)
    id_, caller = await bench.ask(asked_s=100.0)
    await bench.resting()
    bench.clock.jump(200.0)
    await caller.ended()
    await bench.quiet()
    record = await bench.record(id_)
    assert (record.generation.told.code, record.generation.told.charge) == ("deadline_exceeded", "no")
    assert len(bench.upstream.asked) == 1
    await bench.is_clean(id_)


async def test_no_prompt_is_in_memory_during_a_pause(bench: Any, shapes: Any) -> None:
    """It is read again when it is needed, and sent as it was asked."""
    bench.upstream.next.append(shapes.Reply(body=BUSY, status=503))
    _, caller = await bench.ask()
    await bench.resting()
    (live,) = bench.engine._live.values()
    assert (live.request, live.parts_to_send) == (None, set())
    await after_pauses(bench, caller)
    bodies = [b"".join(asked.request.body) for asked in bench.upstream.asked]
    assert bodies[0] == bodies[1]
    assert b"a lighthouse" in bodies[1]


# A process that ends in a pause


async def test_a_pause_is_taken_up_after_a_restart(bench: Any, shapes: Any, a_picture: bytes) -> None:
    """Killed between the failed attempt and its repeat: the next process waits for the rest of it, and sends."""
    bench.upstream.next.append(shapes.Reply(body=BUSY, status=429, retry_after="20"))
    id_, _ = await bench.ask()
    await bench.resting()
    bench.clock.jump(5.0)
    recovered = await bench.restart()
    assert (recovered.unknown, len(recovered.to_drive)) == (0, 1)
    await bench.resting()
    bench.clock.jump(14.9)
    await bench.turn()
    assert len(bench.upstream.asked) == 1
    bench.clock.jump(0.2)
    await bench.quiet()
    record = await bench.record(id_)
    assert bench.bytes_of(record) == a_picture
    assert states(record) == [("rejected", "no"), ("settled", "yes")]
    assert [asked.key for asked in bench.upstream.asked] == [f"{id_}.0.0"] * 2
    assert [verb for verb, _ in await bench.taken(id_)] == ["cost"]
    await bench.is_clean(id_)


@limited(sends_max=3)
async def test_what_was_sent_before_a_restart_counts(bench: Any, shapes: Any) -> None:
    """Two sends of one process and one of the next: that is three."""
    bench.upstream.usual = shapes.Reply(body=BUSY, status=503)
    id_, _ = await bench.ask()
    await bench.resting()
    bench.clock.jump(2.0)
    await bench.in_flight(2)
    await bench.resting()
    await bench.restart()
    await bench.resting()
    bench.clock.jump(20.0)
    await bench.quiet()
    record = await bench.record(id_)
    assert (record.generation.told.code, len(record.attempts)) == ("overloaded", 3)
    await bench.is_clean(id_)


async def test_a_part_that_gave_up_is_not_taken_up_with_one_that_pauses(bench: Any, make: Any, shapes: Any) -> None:
    """Three parts: one refused for good, one in a pause, one with its image. Only the second is sent again."""
    bench.upstream.by_part[0] = shapes.Reply(body=b"{}", status=400)
    bench.upstream.by_part[1] = shapes.Reply(body=BUSY, status=503)
    id_, _ = await bench.ask(make(n=3))
    await bench.resting()
    bench.upstream.by_part.clear()
    await bench.restart()
    bench.clock.jump(5.0)
    await bench.quiet()
    record = await bench.record(id_)
    assert sorted((each.part, each.state) for each in record.attempts) == [
        (0, "rejected"),
        (1, "rejected"),
        (1, "settled"),
        (2, "settled"),
    ]
    assert (record.generation.state, record.generation.partial_result) == ("succeeded", 1)
    await bench.is_clean(id_)


async def test_a_deadline_that_passed_in_a_pause_while_down_is_told(bench: Any, shapes: Any) -> None:
    """Nobody waits any more, and nothing was paid."""
    bench.upstream.usual = shapes.Reply(body=BUSY, status=503)
    id_, _ = await bench.ask()
    await bench.resting()
    bench.clock.jump(3600.0)
    await bench.restart()
    record = await bench.record(id_)
    assert (record.generation.told.code, record.generation.told.charge) == ("deadline_exceeded", "no")
    assert len(bench.upstream.asked) == 1
    await bench.is_clean(id_)


@pytest.mark.parametrize("spec", ["store.after_commit:error:3", "store.before_commit:error:3"])
async def test_a_failure_whose_commit_was_not_told_goes_on_once(
    bench: Any, arm: Callable[[str], None], shapes: Any, log: Callable[..., list[dict[str, Any]]], spec: str
) -> None:
    """Whether the commit was made or not: written once, tried again once."""
    bench.upstream.next.append(shapes.Reply(body=BUSY, status=429, retry_after="9"))
    arm(spec)
    id_, caller = await bench.ask()
    await bench.until(lambda: log("storage.failed"))
    bench.clock.jump(0.6)
    await after_pauses(bench, caller)
    assert await bench.events(id_) == ["queued", "running", "progress", "running", "succeeded"]
    await bench.is_clean(id_)


async def test_a_failure_is_driven_again_with_a_count_of_its_own(bench: Any, shapes: Any) -> None:
    """A repeat of a failure that cost nothing begins anew: four attempts more, under the drive's own key."""
    claim = Claim(idempotency_key="order-1", by_fingerprint=False, says_retry=False)
    bench.upstream.usual = shapes.Reply(body=BUSY, status=429, retry_after="299")
    id_, caller = await bench.ask(claim=claim, fingerprint=b"f")
    await caller.ended()
    await bench.quiet()
    # Its key rests as long as it was told to.
    bench.clock.jump(300.0)
    bench.upstream.next.extend(shapes.Reply(failure=GONE) for _ in range(3))
    bench.upstream.usual = shapes.Reply(body=shapes.gemini(shapes.png()))
    same, caller = await bench.ask(claim=claim, fingerprint=b"f")
    await after_pauses(bench, caller)
    assert same == id_
    assert [asked.key for asked in bench.upstream.asked] == [f"{id_}.0.0"] + [f"{id_}.0.1"] * 4
    await bench.is_clean(id_)
