"""An upstream that takes so many calls at once, and those who wait for a place there: in order, bounded, and let go."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from holdfast.engine import settle
from holdfast.errors import RequestError, StorageError
from holdfast.policy.joining import Claim
from holdfast.store.generations import get_generation
from holdfast.types import Charge, Failure, FailureKind, Phase

USD = 1_000_000
GPT = "gpt-image-2"
BUSY = b'{"error":{"message":"busy","code":503,"status":"UNAVAILABLE"}}'
LOST = Failure(kind=FailureKind.LOST_REPLY, phase=Phase.WAIT, charge=Charge.UNKNOWN, detail="the connection broke")
GONE = Failure(kind=FailureKind.UNREACHABLE, phase=Phase.CONNECT, charge=Charge.NO, detail="connection refused")


def narrow(places: int = 1, **sections: Any) -> dict[str, Any]:
    """Settings of a bench whose first upstream takes so many calls at once; the other one takes all."""
    base = {"keys": ["one-key"]}
    upstreams = [
        {"name": "google", "provider": "gemini", "base_url": "http://google.test", "concurrency": places, **base},
        {"name": "openai", "provider": "openai", "base_url": "http://openai.test/v1", **base},
    ]
    return {"upstreams": upstreams, **sections}


ONE_PLACE = pytest.mark.parametrize("sections", [narrow()])


def positions(bench: Any, *ids: str) -> list[int | None]:
    """Where these stand in line."""
    return [in_line and in_line.position for id_ in ids for in_line in [bench.engine.in_line(id_)]]


async def held_up(bench: Any, waiting: int, **options: Any) -> tuple[asyncio.Event, list[tuple[str, Any]]]:
    """Let one call hold the only place, and others wait behind it; give what lets it go, and all that were asked."""
    gate = bench.hold_back()
    asked = [await bench.ask(**options)]
    await bench.in_flight(1)
    asked += [await bench.ask(**options) for _ in range(waiting)]
    await bench.turn()
    return gate, asked


@pytest.mark.parametrize("sections", [narrow(2)])
async def test_no_more_are_in_flight_than_the_upstream_takes(bench: Any) -> None:
    """Five at once, two places: the others are queued, with their positions, and sent in the order they came."""
    gate = bench.hold_back()
    asked = [await bench.ask() for _ in range(5)]
    await bench.in_flight(2)
    await bench.turn()
    ids = [id_ for id_, _ in asked]
    assert len(bench.upstream.asked) == 2
    assert positions(bench, *ids) == [None, None, 1, 2, 3]
    assert [(await bench.record(id_)).generation.state for id_ in ids] == ["running"] * 2 + ["queued"] * 3
    assert "3 in line, 5 tasks" in repr(bench.engine)
    gate.set()
    for _, caller in asked:
        await caller.ended()
    await bench.quiet()
    # Two that have their turn at once read their requests in threads of their own.
    assert sorted(call.generation_id for call in bench.upstream.asked) == ids
    assert await bench.events(ids[4]) == ["queued", "running", "succeeded"]
    assert positions(bench, *ids) == [None] * 5
    await bench.is_clean(*ids)


@ONE_PLACE
async def test_an_upstream_without_a_limit_has_no_line(bench: Any, make: Any, shapes: Any) -> None:
    """The full one keeps nobody from the other."""
    gate, ((first, _), (second, _)) = await held_up(bench, 1)
    bench.upstream.next.append(shapes.Reply(body=shapes.openai(shapes.png(1))))
    third, caller = await bench.ask(make(model=GPT))
    await caller.ended()
    assert positions(bench, first, second, third) == [None, 1, None]
    gate.set()
    await bench.quiet()
    await bench.is_clean(first, second, third)


@ONE_PLACE
async def test_parts_wait_for_themselves(bench: Any, make: Any) -> None:
    """Three images, one place: one call at a time, all delivered; the generation runs from the first on."""
    gate = bench.hold_back()
    id_, caller = await bench.ask(make(n=3))
    await bench.in_flight(1)
    await bench.turn()
    assert (len(bench.upstream.asked), "2 in line" in repr(bench.engine)) == (1, True)
    assert (await bench.record(id_)).generation.state == "running"
    gate.set()
    await caller.ended()
    await bench.quiet()
    assert [call.part for call in bench.upstream.asked] == [0, 1, 2]
    assert (await bench.record(id_)).generation.charged_micros == 3 * USD
    await bench.is_clean(id_)


@ONE_PLACE
@pytest.mark.parametrize("end", ["image", "refusal", "lost", "mistake", "cancel", "deadline", "no-commit"])
async def test_a_place_is_free_again_however_its_call_ends(
    bench: Any, shapes: Any, arm: Callable[[str], None], end: str
) -> None:
    """The next in line is sent."""
    gate = asyncio.Event()
    reply = {
        "refusal": shapes.Reply(body=b"{}", status=400, when=gate),
        "lost": shapes.Reply(failure=LOST, when=gate),
        "mistake": shapes.Reply(error=RuntimeError("a bug of ours"), when=gate),
    }.get(end, shapes.Reply(body=shapes.gemini(shapes.png()), when=gate))
    bench.upstream.next.append(reply)
    if end == "no-commit":
        arm("send.before_commit:error")
    first, caller = await bench.ask(asked_s=100.0 if end == "deadline" else None)
    second, other = await bench.ask()
    if end == "cancel":
        await bench.in_flight(1)
        await bench.engine.cancel(first)
    if end == "deadline":
        await bench.in_flight(1)
        bench.clock.jump(101.0)
        await caller.ended()
        # Told, and still in flight: the place is taken as long as the upstream works.
        assert positions(bench, second) == [1]
    gate.set()
    await caller.ended()
    await other.ended()
    await bench.quiet()
    assert (await bench.record(second)).generation.state == "succeeded"
    await bench.is_clean(first, second)


@ONE_PLACE
async def test_a_pause_leaves_its_place_to_others_and_keeps_its_turn(bench: Any, shapes: Any) -> None:
    """Out of reach: the second is sent meanwhile; then the first goes before the third, which came later."""
    gates = [asyncio.Event() for _ in range(2)]
    bench.upstream.next.append(shapes.Reply(failure=GONE, when=gates[0]))
    bench.upstream.next.append(shapes.Reply(body=shapes.gemini(shapes.png()), when=gates[1]))
    ids = [(await bench.ask())[0] for _ in range(3)]
    await bench.in_flight(1)
    gates[0].set()
    await bench.in_flight(2)
    assert positions(bench, *ids) == [None, None, 1]
    await bench.until(lambda: "1 in a pause" in repr(bench.engine))
    bench.clock.jump(3.0)
    await bench.until(lambda: "2 in line" in repr(bench.engine))
    assert positions(bench, *ids) == [1, None, 2]
    gates[1].set()
    await bench.quiet()
    assert [call.generation_id for call in bench.upstream.asked] == [ids[0], ids[1], ids[0], ids[2]]
    await bench.is_clean(*ids)


@pytest.mark.parametrize("sections", [narrow(1, queue={"waiting_max": 2})])
async def test_a_full_line_refuses_before_anything_is_paid(bench: Any, make: Any, shapes: Any) -> None:
    """503 with when to come back; a repeat still joins, another upstream is still asked, and room is room."""
    claim = Claim(idempotency_key="order-1", by_fingerprint=False, says_retry=False)
    gate, asked = await held_up(bench, 1)
    asked.append(await bench.ask(claim=claim, fingerprint=b"f"))
    with pytest.raises(RequestError) as caught:
        await bench.ask()
    error = caught.value
    # The call in flight should take 45 s.
    assert (error.code, error.status, error.retry_after_s) == ("queue_full", 503, 45.0)
    assert "2 calls wait" in error.message
    same, joined = await bench.ask(claim=claim, fingerprint=b"f")
    assert same == asked[2][0]
    bench.upstream.next.append(shapes.Reply(body=shapes.openai(shapes.png(1))))
    other, caller = await bench.ask(make(model=GPT))
    await caller.ended()
    await bench.engine.cancel(asked[1][0])
    asked.append(await bench.ask())
    with pytest.raises(RequestError):
        await bench.ask()
    gate.set()
    await bench.quiet()
    assert joined.ends == 1
    await bench.is_clean(other, *(id_ for id_, _ in asked))


@pytest.mark.parametrize("sections", [narrow(1, queue={"waiting_max": 2})])
async def test_a_crowd_at_one_instant_cannot_overfill_the_line(bench: Any, make: Any) -> None:
    """Twenty at once, room for three: counted before their commits are made; several images are several places."""
    gate = bench.hold_back()
    outcomes = await asyncio.gather(*(bench.ask() for _ in range(20)), return_exceptions=True)
    taken = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    assert len(taken) == 3
    assert {error.code for error in outcomes if isinstance(error, RequestError)} == {"queue_full"}
    await bench.engine.cancel(taken[2][0])
    with pytest.raises(RequestError):
        await bench.ask(make(n=2))
    gate.set()
    await bench.quiet()
    await bench.is_clean(*(id_ for id_, _ in taken))


@ONE_PLACE
async def test_a_cancel_in_line_gives_the_place_up_at_once(bench: Any) -> None:
    """Cancelled, free, told; those behind it move up."""
    gate, asked = await held_up(bench, 3)
    ids = [id_ for id_, _ in asked]
    await bench.engine.cancel(ids[2])
    await asked[2][1].ended()
    assert positions(bench, *ids) == [None, 1, None, 2]
    record = await bench.record(ids[2])
    assert (record.generation.state, record.generation.told.charge, record.attempts) == ("cancelled", "no", ())
    gate.set()
    await bench.quiet()
    assert ids[2] not in {call.generation_id for call in bench.upstream.asked}
    await bench.is_clean(*ids)


@ONE_PLACE
@pytest.mark.parametrize("asked_s", [None, 300.0])
async def test_a_deadline_in_line_is_free(bench: Any, asked_s: float | None) -> None:
    """It never had its turn: `deadline_exceeded`, nothing bought, whether the caller named his time or not."""
    gate, asked = await held_up(bench, 1, asked_s=asked_s)
    (first, _), (second, caller) = asked
    bench.clock.jump(300.5)
    await caller.ended()
    record = await bench.record(second)
    assert (record.generation.told.code, record.generation.told.charge) == ("deadline_exceeded", "no")
    assert "Nothing was bought" in record.generation.told.message
    assert positions(bench, second) == [None]
    gate.set()
    await bench.quiet()
    assert len(bench.upstream.asked) == 1
    await bench.is_clean(first, second)


@ONE_PLACE
@pytest.mark.parametrize("brings", [True, False])
async def test_a_deadline_of_some_parts_awaits_the_one_in_flight(
    bench: Any, make: Any, shapes: Any, brings: bool
) -> None:
    """One of three was sent: nothing more is, and what it brings is the end of all."""
    bench.upstream.usual = shapes.Reply(body=shapes.gemini(shapes.png(3))) if brings else shapes.Reply(failure=LOST)
    gate = bench.hold_back()
    id_, caller = await bench.ask(make(n=3))
    await bench.in_flight(1)
    bench.clock.jump(300.5)
    await bench.until(lambda: "1 tasks" in repr(bench.engine))
    assert (caller.ends, (await bench.record(id_)).generation.parts_open) == (0, 1)
    gate.set()
    await caller.ended()
    await bench.quiet()
    record = await bench.record(id_)
    assert len(bench.upstream.asked) == 1
    if brings:
        assert (record.generation.state, record.generation.partial_result) == ("succeeded", 1)
        assert record.generation.charged_micros == USD
    else:
        assert (record.generation.told.code, record.generation.told.charge) == ("outcome_unknown", "unknown")
    await bench.is_clean(id_)


@ONE_PLACE
async def test_a_part_that_never_had_its_turn_may_be_the_story(bench: Any, make: Any, shapes: Any) -> None:
    """A start sends the second part first; it is refused after the deadline: all is free, and told as it was."""
    new, live = await bench.accepted(make(n=2))
    gate = bench.hold_back()
    bench.upstream.by_part[1] = shapes.Reply(body=b"{}", status=400, when=gate)
    bench.core.watchers.add(new.id, caller := _Told())
    bench.engine.drive(live, [1, 0])
    await bench.in_flight(1)
    bench.clock.jump(300.5)
    await bench.until(lambda: "1 tasks" in repr(bench.engine))
    gate.set()
    await bench.quiet()
    row = (await bench.record(new.id)).generation
    assert (caller.told, row.told.code, row.told.charge) == (1, "deadline_exceeded", "no")
    await bench.is_clean(new.id)


class _Told:
    """Counts what it is told."""

    told = 0

    def __call__(self, _: object) -> None:
        """Count."""
        self.told += 1


@ONE_PLACE
async def test_no_prompt_is_in_memory_while_its_generation_waits_in_line(bench: Any) -> None:
    """It is read again when its turn has come."""
    gate, asked = await held_up(bench, 2)
    assert [live.request for live in bench.engine._live.values()] == [None] * 3
    gate.set()
    await bench.quiet()
    assert all(b"a lighthouse" in b"".join(call.request.body) for call in bench.upstream.asked)
    await bench.is_clean(*(id_ for id_, _ in asked))


@ONE_PLACE
@pytest.mark.parametrize("where", ["line", "pause"])
async def test_a_generation_that_waits_weighs_little(bench: Any, make: Any, shapes: Any, where: str) -> None:
    """At most 10 KB each, whatever its prompt weighs, in line as in a pause."""
    many, long = 200, make(prompt="a lighthouse " * 2000)
    gate = bench.hold_back()
    if where == "line":
        await bench.ask()
        await bench.in_flight(1)
    else:
        bench.upstream.usual = shapes.Reply(body=BUSY, status=429, retry_after="200")
    words = ("1 in line", "2 tasks") if where == "line" else ("1 in a pause", "1 tasks")
    await bench.ask(long)
    await bench.until(lambda: all(word in repr(bench.engine) for word in words))
    # The key rests: who comes later waits in line.
    words = (f"{many + 1} in line",) if where == "line" else (f"{many} in line", "1 in a pause")
    gc.collect()
    tracemalloc.start()
    callers = [await bench.ask(replace(long, metadata={"number": str(number)})) for number in range(many)]
    await bench.until(lambda: all(word in repr(bench.engine) for word in words))
    asked, bench.upstream.asked = bench.upstream.asked, []
    del asked
    gc.collect()
    weight, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert weight / many < 10_000
    for id_, _ in callers:
        await bench.engine.cancel(id_)
    gate.set()


@ONE_PLACE
async def test_a_restart_takes_them_up_in_the_order_they_came(bench: Any) -> None:
    """The one in flight is unknown; the others wait in line as before."""
    _, asked = await held_up(bench, 3)
    ids = [id_ for id_, _ in asked]
    gate = bench.hold_back()
    await bench.restart()
    await bench.in_flight(2)
    assert positions(bench, *ids) == [None, None, 1, 2]
    gate.set()
    await bench.quiet()
    assert [call.generation_id for call in bench.upstream.asked] == ids
    assert (await bench.record(ids[0])).generation.told.code == "outcome_unknown"
    await bench.is_clean(*ids)


# Whoever asked has left


@ONE_PLACE
async def test_what_nobody_waits_for_is_not_bought(bench: Any) -> None:
    """Its caller left while it was in line, and stayed away for two minutes: cancelled, free, and out of the line."""
    gate, asked = await held_up(bench, 2, only_awaited=True)
    ids = [id_ for id_, _ in asked]
    bench.engine.unwatch(*asked[1])
    bench.engine.left(ids[1])
    bench.clock.jump(119.0)
    await bench.turn()
    assert positions(bench, *ids) == [None, 1, 2]
    bench.clock.jump(1.5)
    await bench.until(lambda: positions(bench, *ids) == [None, None, 1])
    row = (await bench.record(ids[1])).generation
    assert (row.state, row.told.code, row.told.charge, row.charged_micros) == (
        "cancelled",
        "generation_cancelled",
        "no",
        0,
    )
    assert await bench.verbs(ids[1]) == ["hold", "void"]
    gate.set()
    await bench.quiet()
    assert ids[1] not in {call.generation_id for call in bench.upstream.asked}
    await bench.is_clean(*ids)


@ONE_PLACE
async def test_a_repeat_that_joins_stops_the_clock(bench: Any) -> None:
    """Gone for 100 s, back by a repeat, gone again for 100 s: kept; 20 s later it is dropped."""
    claim = Claim(idempotency_key="order-1", by_fingerprint=False, says_retry=False)
    gate, ((first, _),) = await held_up(bench, 0)
    how = {"claim": claim, "fingerprint": b"f", "only_awaited": True}
    id_, caller = await bench.ask(**how)
    for _ in range(2):
        bench.engine.unwatch(id_, caller)
        bench.engine.left(id_)
        bench.clock.jump(100.0)
        await bench.turn()
        same, caller = await bench.ask(**how)
        assert (same, positions(bench, id_)) == (id_, [1])
    bench.clock.jump(90.0)
    await bench.turn()
    assert positions(bench, id_) == [1]
    gate.set()
    await bench.quiet()
    assert (await bench.record(id_)).generation.state == "succeeded"
    await bench.is_clean(first, id_)


@ONE_PLACE
async def test_what_somebody_may_come_back_for_is_kept(bench: Any) -> None:
    """Asked for without waiting, or joined so: told 202, it is made whoever is there."""
    claim = Claim(idempotency_key="order-1", by_fingerprint=False, says_retry=False)
    gate, ((first, _),) = await held_up(bench, 0)
    second, caller = await bench.ask()
    bench.engine.unwatch(second, caller)
    bench.engine.left(second)
    third, caller = await bench.ask(claim=claim, fingerprint=b"f", only_awaited=True)
    same, other = await bench.ask(claim=claim, fingerprint=b"f", only_awaited=False)
    assert same == third
    for each in (caller, other):
        bench.engine.unwatch(third, each)
        bench.engine.left(third)
    bench.clock.jump(200.0)
    await bench.turn()
    assert positions(bench, second, third) == [1, 2]
    gate.set()
    await bench.quiet()
    assert [(await bench.record(id_)).generation.state for id_ in (second, third)] == ["succeeded"] * 2
    await bench.is_clean(first, second, third)


@ONE_PLACE
async def test_what_was_sent_is_bought_whoever_has_left(bench: Any) -> None:
    """A caller who leaves changes nothing once the upstream has been sent to."""
    gate, ((first, caller),) = await held_up(bench, 0, only_awaited=True)
    bench.engine.unwatch(first, caller)
    bench.engine.left(first)
    bench.clock.jump(200.0)
    await bench.turn()
    gate.set()
    await bench.quiet()
    assert (await bench.record(first)).generation.state == "succeeded"
    await bench.is_clean(first)


@ONE_PLACE
async def test_whoever_looks_on_keeps_it(bench: Any) -> None:
    """An event stream is no caller, but somebody: two minutes are counted once it has ended."""
    gate, asked = await held_up(bench, 1, only_awaited=True)
    (first, _), (second, caller) = asked
    bench.engine.follow(second, follower := lambda: None)
    bench.engine.unwatch(second, caller)
    bench.engine.left(second)
    bench.clock.jump(130.0)
    await bench.turn()
    assert positions(bench, second) == [1]
    bench.engine.unfollow(second, follower)
    bench.clock.jump(121.0)
    await bench.until(lambda: positions(bench, second) == [None])
    gate.set()
    await bench.quiet()
    assert (await bench.record(second)).generation.state == "cancelled"
    await bench.is_clean(first, second)


@ONE_PLACE
async def test_a_repeat_that_joins_at_the_last_instant_is_not_cancelled(bench: Any, arm: Callable[[str], None]) -> None:
    """The clock rang, and its commit finds a caller: it goes on."""
    claim = Claim(idempotency_key="order-1", by_fingerprint=False, says_retry=False)
    gate, ((first, _),) = await held_up(bench, 0)
    how = {"claim": claim, "fingerprint": b"f", "only_awaited": True}
    second, caller = await bench.ask(**how)
    bench.engine.unwatch(second, caller)
    bench.engine.left(second)
    arm("unwatched.before_commit:sleep=5")
    bench.clock.jump(121.0)
    await bench.turn()
    same, caller = await bench.ask(**how)
    assert same == second
    bench.clock.jump(6.0)
    await bench.until(lambda: "2 tasks" in repr(bench.engine))
    assert (caller.ends, positions(bench, second)) == (0, [1])
    gate.set()
    await bench.quiet()
    assert caller.ends == 1
    assert (await bench.record(second)).generation.state == "succeeded"
    await bench.is_clean(first, second)


@ONE_PLACE
@pytest.mark.parametrize("spec", ["unwatched.before_commit:error", "unwatched.after_commit:error"])
async def test_a_disk_that_does_not_take_the_cancel_loses_nothing(
    bench: Any, arm: Callable[[str], None], spec: str
) -> None:
    """Not written: it goes on, and is bought. Written all the same: it is over."""
    gate, asked = await held_up(bench, 1, only_awaited=True)
    (first, _), (second, caller) = asked
    arm(spec)
    bench.engine.unwatch(second, caller)
    bench.engine.left(second)
    bench.clock.jump(121.0)
    await bench.until(lambda: "2 generations open, 1 in line, 3 tasks" in repr(bench.engine))
    gate.set()
    await bench.quiet()
    state = (await bench.record(second)).generation.state
    assert state == ("succeeded" if "before" in spec else "cancelled")
    await bench.is_clean(first, second)


@ONE_PLACE
async def test_a_store_that_neither_cancels_nor_reads_loses_nothing(
    bench: Any, arm: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A database that is away says nothing of what became of the commit: it goes on, and no task of ours ends badly."""
    gate, asked = await held_up(bench, 1, only_awaited=True)
    (first, _), (second, caller) = asked
    looks = iter([StorageError("The database is away.", reason="away")])
    read = settle.tell_if_ended

    async def away(core: Any, generation_id: str) -> Any:
        for error in looks:
            raise error
        return await read(core, generation_id)

    monkeypatch.setattr(settle, "tell_if_ended", away)
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, about: complaints.append(about))
    arm("unwatched.before_commit:error")
    bench.engine.unwatch(second, caller)
    bench.engine.left(second)
    bench.clock.jump(121.0)
    await bench.until(lambda: "storage.failed" in caplog.text)
    gate.set()
    await bench.quiet()
    assert (await bench.record(second)).generation.state == "succeeded"
    gc.collect()
    assert complaints == []
    await bench.is_clean(first, second)


@ONE_PLACE
async def test_callers_of_a_process_that_ended_have_left(bench: Any) -> None:
    """After a restart nobody waits: two minutes for a repeat, then it is dropped; what may be fetched is kept."""
    _, asked = await held_up(bench, 1, only_awaited=True)
    kept, _ = await bench.ask()
    blocker, _ = await bench.accepted()
    await bench.store.write(_first, blocker.id)
    gate = bench.hold_back()
    await bench.restart()
    await bench.in_flight(2)
    (first, _), (second, _) = asked
    assert positions(bench, second, kept) == [1, 2]
    bench.clock.jump(121.0)
    await bench.until(lambda: positions(bench, second, kept) == [None, 1])
    gate.set()
    await bench.quiet()
    assert (await bench.record(second)).generation.state == "cancelled"
    assert (await bench.record(kept)).generation.state == "succeeded"
    await bench.is_clean(first, second, kept, blocker.id)


def _first(conn: Any, id_: str) -> None:
    """Let a generation be the oldest of all."""
    assert get_generation(conn, id_) is not None
    conn.execute("UPDATE generation SET created_at = '2026-01-01T00:00:00.000Z' WHERE id = :id", {"id": id_})
