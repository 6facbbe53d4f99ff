"""An engine that is one of several: works on what it is delivered, takes over what others began, hears what they do.

The dispatcher hands everything to this process, as the one between processes would; the store is the embedded one.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast.engine import leaving, sharing
from holdfast.engine.dispatcher import LocalDispatcher
from holdfast.engine.engine import Engine
from holdfast.engine.submit import Submission
from holdfast.errors import RequestError, StorageError
from holdfast.policy.access import Limits
from holdfast.policy.compensation import STANDARD
from holdfast.policy.joining import Claim
from holdfast.store.attempts import begin_attempt
from holdfast.store.cancelling import ask_cancel
from holdfast.store.generations import take_over_one
from holdfast.store.jobs import Job
from holdfast.store.places import Full

UNNAMED = Claim(idempotency_key=None, by_fingerprint=True, says_retry=False)
KEYED = Claim(idempotency_key="order-1", by_fingerprint=False, says_retry=False)


class Shared(LocalDispatcher):
    """Says that it is shared, and notes what it is told."""

    is_shared = True

    def __init__(self) -> None:
        super().__init__()
        self.is_ours = True
        self.jobs: list[Job] = []
        self.ended: list[str] = []
        self.back: list[tuple[str, float]] = []
        self.cancelled: list[str] = []

    def enqueue(self, conn: Any, job: Job) -> None:
        """Note the job that a transaction writes."""
        assert getattr(conn, "in_transaction", True), "only SQLite can say so"
        self.jobs.append(job)

    def holds(self, generation_id: str) -> bool:
        """What the test says."""
        return self.is_ours

    def finished(self, generation_id: str) -> None:
        """Note an end."""
        self.ended.append(generation_id)
        super().finished(generation_id)

    def requeue(self, generation_id: str, delay_s: float) -> None:
        """Note what is handed back; it is not delivered again by itself."""
        self.back.append((generation_id, delay_s))
        super().finished(generation_id)

    async def cancel(self, generation_id: str) -> None:
        """Note what is wanted no longer."""
        self.cancelled.append(generation_id)


@pytest.fixture
async def shared(bench: Any) -> Shared:
    """Have the bench's engine be one of several."""
    made = Shared()
    become(bench, made)
    await bench.engine.start()
    return made


def become(bench: Any, dispatcher: Shared) -> None:
    """Make the bench's engine anew, with a dispatcher."""
    bench.core.dispatcher = dispatcher
    bench.engine = Engine(bench.core, lambda: bench.free_bytes)


async def taken_over_from(bench: Any) -> Shared:
    """Another process, beside what the one before has left; it finds nothing of it by itself."""
    await bench.close()
    bench.open()
    made = Shared()
    become(bench, made)
    await bench.engine.start()
    return made


async def until(bench: Any, holds: Any) -> None:
    """Let everything run until something holds; in vain for a while is a failure."""
    async with asyncio.timeout(60.0):
        await bench.until(holds)


async def test_what_is_accepted_is_worked_on_as_a_job(bench: Any, shared: Shared) -> None:
    """The job is written in the accepting commit; whoever waits is told, and the job is put away."""
    id_, caller = await bench.ask()
    assert [(job.key, job.lane) for job in shared.jobs] == [(f"{id_}:0", "nano-banana-pro")]
    await caller.ended()
    await until(bench, lambda: shared.ended == [id_])
    record = await bench.record(id_)
    assert (record.generation.state, record.generation.epoch) == ("succeeded", 1)
    assert shared.back == []


async def test_what_has_ended_is_put_away_at_once(bench: Any, shared: Shared) -> None:
    """Delivered a second time, as after a lost acknowledgement, nothing is sent."""
    id_, caller = await bench.ask()
    await caller.ended()
    await until(bench, lambda: shared.ended == [id_])
    shared.committed(Job(generation_id=id_))
    await until(bench, lambda: shared.ended == [id_, id_])
    assert len(bench.upstream.asked) == 1


async def test_a_job_of_nothing_is_put_away(bench: Any, shared: Shared) -> None:
    """Its generation was swept."""
    shared.committed(Job(generation_id="gen_swept"))
    await until(bench, lambda: shared.ended == ["gen_swept"])


async def test_what_was_never_sent_is_sent_by_whoever_is_given_it(bench: Any) -> None:
    """A worker died before its first commit: the next one sends, once, and nothing had to be taken over."""
    new, _ = await bench.accepted()
    shared = await taken_over_from(bench)
    assert bench.upstream.asked == []
    shared.committed(Job(generation_id=new.id))
    await until(bench, lambda: shared.ended == [new.id])
    record = await bench.record(new.id)
    assert (record.generation.state, record.generation.epoch) == ("succeeded", 1)


async def test_what_a_dead_worker_sent_is_unknown_to_the_next_one(bench: Any) -> None:
    """It takes the generation over, ends the attempt as unknown, and tells what follows from that."""
    new, live = await bench.accepted()
    await bench.sent(live)
    shared = await taken_over_from(bench)
    shared.committed(Job(generation_id=new.id))
    await until(bench, lambda: shared.ended == [new.id])
    record = await bench.record(new.id)
    assert record.generation.told is not None
    assert (record.generation.state, record.generation.told.code) == ("failed", "outcome_unknown")
    assert record.generation.epoch == 2
    assert [each.state for each in record.attempts] == ["unknown"]
    assert bench.upstream.asked == []


@pytest.mark.parametrize("sections", [{"retry": {"on_unknown": "buy_once_more"}}])
async def test_where_it_may_be_bought_once_more_the_next_one_does(bench: Any) -> None:
    """As a start would: within the purchases, the cap and the time that are left."""
    new, live = await bench.accepted()
    await bench.sent(live)
    shared = await taken_over_from(bench)
    shared.committed(Job(generation_id=new.id))
    await until(bench, lambda: shared.ended == [new.id])
    record = await bench.record(new.id)
    assert record.generation.state == "succeeded"
    assert [each.state for each in record.attempts] == ["unknown", "settled"]


async def test_who_was_taken_over_from_sends_no_more(bench: Any, shared: Shared) -> None:
    """A worker that slept between two attempts finds the generation another's: it hands back what is not its own."""
    gate = bench.hold_back()
    id_, _ = await bench.ask()
    await bench.in_flight()
    await bench.store.write(take_over_one, id_, "own_other")
    gate.set()
    await until(bench, lambda: shared.ended or shared.back)
    # What it had sent before is welcome.
    record = await bench.record(id_)
    assert record.generation.state == "succeeded"
    assert len(bench.upstream.asked) == 1


async def test_who_lost_his_claim_between_commit_and_first_byte_sends_nothing(bench: Any, shared: Shared) -> None:
    """The lease ran out by the worker's own clock: nothing leaves, and the attempt is told as not charged."""
    shared.is_ours = False
    id_, _ = await bench.ask()
    await until(bench, lambda: "1 in a pause" in repr(bench.engine))
    (attempt,) = (await bench.record(id_)).attempts
    assert (attempt.state, attempt.charge) == ("rejected", "no")
    assert attempt.failed is not None
    assert "signs of life" in attempt.failed.detail
    assert bench.upstream.asked == []


async def test_a_cancel_that_another_wrote_is_heard(bench: Any, shared: Shared) -> None:
    """What is in flight is awaited, and paid for; nothing more is begun for it."""
    gate = bench.hold_back()
    id_, caller = await bench.ask()
    await bench.in_flight()
    await bench.store.write(ask_cancel, id_, bench.core.now_text(), bench.core.purge_text(), STANDARD)
    bench.engine.heard(id_, has_ended=False)
    (live,) = bench.engine._live.values()
    await until(bench, lambda: live.is_stopped)
    gate.set()
    await caller.ended()


async def test_an_end_that_another_wrote_is_told_to_those_who_wait_here(bench: Any, shared: Shared) -> None:
    """And whoever works on it lets go of it."""
    shared.is_ours = False
    id_, caller = await bench.ask()
    await until(bench, lambda: "1 in a pause" in repr(bench.engine))
    done = await bench.store.write(ask_cancel, id_, bench.core.now_text(), bench.core.purge_text(), STANDARD)
    assert done is not None
    assert done.has_ended
    shared.is_ours = True
    bench.engine.heard(id_, has_ended=True)
    await caller.ended()
    await until(bench, lambda: bench.engine.open_generations == 0)
    await until(bench, lambda: shared.ended == [id_])


async def test_what_is_waited_for_here_is_known(bench: Any, shared: Shared) -> None:
    """Whoever looks for what could not be heard asks for these."""
    gate = bench.hold_back()
    id_, caller = await bench.ask()
    assert bench.engine.awaited() == {id_}
    gate.set()
    await caller.ended()
    await until(bench, lambda: shared.ended == [id_])
    assert bench.engine.awaited() == set()


async def test_what_nobody_came_to_in_time_is_ended_by_whoever_waits(bench: Any, shared: Shared) -> None:
    """Every worker is busy, or there is none: the caller is told at his deadline all the same."""
    shared.attach(lambda _: None)
    id_, caller = await bench.ask()
    bench.engine.overdue(id_)
    await caller.ended()
    record = await bench.record(id_)
    assert record.generation.told is not None
    assert (record.generation.state, record.generation.told.code) == ("failed", "deadline_exceeded")


async def test_a_failure_that_is_driven_again_is_another_job(bench: Any, shared: Shared, shapes: Any) -> None:
    """Its repeat is not worked on by whoever it came to, but as what was accepted is."""
    shared.attach(lambda _: None)
    id_, caller = await bench.ask(claim=KEYED)
    bench.engine.overdue(id_)
    await caller.ended()
    shared.attach(bench.engine._deliver)
    again, caller = await bench.ask(claim=KEYED)
    assert again == id_
    await caller.ended()
    assert [job.key for job in shared.jobs] == [f"{id_}:0", f"{id_}:1"]
    assert (await bench.record(id_)).generation.state == "succeeded"


async def test_work_that_fails_is_handed_back(bench: Any, shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake of ours costs a pause: the generation is delivered again."""

    async def broken(*_: object) -> None:
        raise LookupError

    monkeypatch.setattr(sharing.recover, "take_up_one", broken)
    shared.attach(lambda _: None)
    id_, _ = await bench.ask()
    shared.attach(bench.engine._deliver)
    shared.committed(Job(generation_id=id_))
    await until(bench, lambda: shared.back == [(id_, sharing.AGAIN_S)])
    assert shared.ended == []
    monkeypatch.undo()
    shared.committed(Job(generation_id=id_))
    await until(bench, lambda: shared.ended == [id_])


async def test_what_is_delivered_at_once_is_not_read_anew(
    bench: Any, shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who accepts it, and is given it in the same step, has it at hand: as a gateway that is alone."""

    async def never(*_: object) -> None:
        raise AssertionError("it was read")

    monkeypatch.setattr(bench.engine._sharing, "_see_to_end", never)
    id_, caller = await bench.ask()
    await caller.ended()
    await until(bench, lambda: shared.ended == [id_])
    assert shared.back == []


async def test_what_is_delivered_later_is_read(bench: Any, shared: Shared) -> None:
    """Nothing is kept of what was handed to anybody: the record may have changed until it comes here again."""
    shared.attach(lambda _: None)
    id_, caller = await bench.ask()
    assert bench.engine._arrived == {}
    shared.attach(bench.engine._deliver)
    shared.committed(Job(generation_id=id_))
    await caller.ended()
    await until(bench, lambda: shared.ended == [id_])


@pytest.mark.parametrize("ends", [True, False])
async def test_what_nobody_here_saw_end_is_looked_at(
    bench: Any, shared: Shared, monkeypatch: pytest.MonkeyPatch, ends: bool
) -> None:
    """Its parts are through, and nothing was told of its end: the record says whether it has one."""
    id_, caller = await bench.ask()
    await caller.ended()
    await until(bench, lambda: shared.ended == [id_])
    shared.ended.clear()
    if not ends:
        new, _ = await bench.accepted()
        id_ = new.id
    monkeypatch.setattr(bench.engine._sharing, "_drives", lambda _: True)
    tasks = [asyncio.create_task(asyncio.sleep(0)) for _ in range(2)]
    bench.engine._sharing.see_off(id_, tasks)
    if ends:
        await until(bench, lambda: shared.ended == [id_])
        assert shared.back == []
    else:
        await until(bench, lambda: shared.back == [(id_, sharing.AGAIN_S)])
        assert shared.ended == []


@pytest.mark.parametrize("sections", [{"queue": {"waiting_max": 3}}])
async def test_the_line_is_of_all_workers(bench: Any, shared: Shared) -> None:
    """With as many jobs waiting as may wait, whoever comes next is sent away, wherever he comes."""
    backlog = 3
    bench.core.backlog = lambda: backlog
    with pytest.raises(RequestError) as refused:
        await bench.ask()
    assert refused.value.code == "queue_full"
    backlog = 2
    await bench.ask()


@pytest.mark.parametrize("sections", [{"queue": {"waiting_max": 1}}])
async def test_what_stands_in_line_here_is_counted_at_once(bench: Any, shared: Shared) -> None:
    """The look at the database is up to two seconds old, and a worker takes what it accepts for itself."""
    bench.core.backlog = lambda: 0
    queue = bench.engine._parts.queue
    queue._waiting[0] = None
    with pytest.raises(RequestError) as refused:
        await bench.ask()
    assert refused.value.code == "queue_full"
    del queue._waiting[0]
    await bench.ask()


@pytest.mark.parametrize(("limits", "code"), [
    (Limits(concurrency=1), "concurrency_limited"),
    (Limits(rate_per_min=1), "rate_limited"),
])  # fmt: skip
async def test_a_keys_limits_are_counted_in_the_commit(
    bench: Any, shared: Shared, make: Any, limits: Limits, code: str
) -> None:
    """What another process accepted counts too: nothing but the records knows of it here."""
    await bench.accepted()
    asked = Submission(key_id="key_1", request=make(), limits=limits)
    with pytest.raises(RequestError) as refused:
        await bench.engine.enter(asked, lambda _: None)
    assert (refused.value.code, refused.value.status) == (code, 429)
    assert shared.jobs == []


@pytest.mark.parametrize("sections", [{"joining": {"unwatched_cancel_s": 60.0}}])
async def test_what_only_its_caller_waits_for_is_dropped_when_he_has_gone(bench: Any, shared: Shared) -> None:
    """While it is queued, wherever: by the process that accepted it."""
    shared.attach(lambda _: None)
    id_, caller = await bench.ask(only_awaited=True)
    bench.engine.unwatch(id_, caller)
    bench.engine.left(id_)
    bench.clock.jump(61.0)
    await until(bench, lambda: shared.cancelled == [id_])
    assert (await bench.record(id_)).generation.state == "cancelled"


async def test_a_departure_is_known_to_all(bench: Any, shared: Shared) -> None:
    """A repeat may come to another process, which knows of it what is on record: it joins, and buys nothing."""
    shared.attach(lambda _: None)
    id_, caller = await bench.ask(claim=UNNAMED)
    assert await callers_of(bench, id_) == 1
    bench.engine.unwatch(id_, caller)
    bench.engine.left(id_)
    async with asyncio.timeout(60.0):
        while await callers_of(bench, id_):
            await asyncio.sleep(0.01)


async def test_a_departure_that_the_database_did_not_take_is_written_later(
    bench: Any, shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is away, those who leave are remembered."""
    monkeypatch.setattr(leaving, "NOTE_AGAIN_S", 0.01)
    shared.attach(lambda _: None)
    id_, caller = await bench.ask(claim=UNNAMED)
    write, refused = bench.store.write, []

    async def refusing(function: Any, *args: Any) -> Any:
        if function is leaving.leave and len(refused) < 3:
            refused.append(args)
            raise StorageError("away", reason="away")
        return await write(function, *args)

    bench.core.store.write = refusing
    bench.engine.unwatch(id_, caller)
    bench.engine.left(id_)
    async with asyncio.timeout(60.0):
        while await callers_of(bench, id_):
            await asyncio.sleep(0.01)
    assert len(refused) == 3


async def test_a_process_that_has_ended_notes_nobody_any_more(bench: Any, shared: Shared) -> None:
    """Its callers are broken off then, and its store is closed: that it is gone tells enough of them."""
    shared.attach(lambda _: None)
    id_, caller = await bench.ask(claim=UNNAMED)
    await bench.engine.stop()
    bench.engine.unwatch(id_, caller)
    bench.engine.left(id_)
    assert "0 tasks" in repr(bench.engine)


async def was_rejected(bench: Any, id_: str) -> bool:
    """Whether an attempt of it has ended without a charge."""
    return any(each.state == "rejected" for each in (await bench.record(id_)).attempts)


async def callers_of(bench: Any, id_: str) -> int:
    """How many wait for it, by the record."""

    def read(conn: Any) -> int:
        return int(conn.execute("SELECT callers FROM generation WHERE id = :id", {"id": id_}).fetchone()[0])

    return int(await bench.store.read(read))


@pytest.mark.parametrize("is_made", [False, True])
async def test_a_send_commit_that_the_database_did_not_answer_costs_nothing_but_time(
    bench: Any, shared: Shared, is_made: bool
) -> None:
    """It is away for longer than one waits: what was not sent is sent when it is back, once, and nothing is unknown."""
    write, refused = bench.store.write, []

    async def refusing(function: Any, *args: Any) -> Any:
        if function is begin_attempt and not refused:
            refused.append(args)
            if is_made:
                await write(function, *args)
            raise StorageError("away", reason="unknown" if is_made else "away")
        return await write(function, *args)

    bench.core.store.write = refusing
    id_, caller = await bench.ask()
    async with asyncio.timeout(60.0):
        while not caller.ends:
            bench.clock.jump(0.5)
            await asyncio.sleep(0.01)
    record = await bench.record(id_)
    assert record.generation.state == "succeeded"
    assert [(each.state, each.charge) for each in record.attempts] == [("settled", "yes")]
    assert len(bench.upstream.asked) == 1
    assert shared.back == []


async def test_a_lease_that_ran_out_says_nothing_of_the_upstream(bench: Any, shared: Shared) -> None:
    """After an outage of the database many are held back at once: the upstream has not failed."""
    shared.is_ours = False
    ids = [(await bench.ask())[0] for _ in range(6)]
    async with asyncio.timeout(60.0):
        while not all([await was_rejected(bench, id_) for id_ in ids]):
            await asyncio.sleep(0.01)
    health = [each.health for each in bench.engine.parts.upstreams.standings._of.values()]
    assert [(each.failures, each.is_open) for each in health] == [(0, False)] * len(health)


DAY_SPENT = Full(36_000.0, is_day_spent=True)
"""What the database says of a credential whose day the others have used up."""


def daily(*keys: str) -> list[dict[str, Any]]:
    """An upstream whose credentials take ten calls a day each."""
    return [{"name": "google", "provider": "gemini", "base_url": "http://google.test", "keys": keys, "per_day": 10}]


def others_have_spent(bench: Any, *key_numbers: int) -> None:
    """Have every send commit with these credentials find their day spent."""
    write = bench.store.write

    async def spent(function: Any, *args: Any) -> Any:
        if function is not begin_attempt:
            return await write(function, *args)
        new = args[0]
        return DAY_SPENT if new.key_number in key_numbers else await write(begin_attempt, new)

    bench.core.store.write = spent


ROUTES = [{"model": "nano-banana-pro", "upstreams": [{"upstream": "google", "model": "gemini-3-pro-image"}]}]


@pytest.mark.parametrize("sections", [{"upstreams": daily("one-key", "other-key"), "routes": ROUTES}])
async def test_a_credential_whose_day_others_have_spent_keeps_nobody_from_the_next_one(
    bench: Any, shared: Shared
) -> None:
    """Nobody waits for the next day, or until his time is over, where there is another credential."""
    others_have_spent(bench, 1)
    for _ in range(2):
        id_, caller = await bench.ask()
        async with asyncio.timeout(60.0):
            await caller.ended()
        record = await bench.record(id_)
        assert (record.generation.state, record.attempts[0].key_number) == ("succeeded", 2)


@pytest.mark.parametrize("sections", [{"upstreams": daily("one-key"), "routes": ROUTES}])
async def test_where_others_have_spent_the_day_it_is_told_at_once(bench: Any, shared: Shared) -> None:
    """As one process would."""
    others_have_spent(bench, 1)
    id_, caller = await bench.ask()
    async with asyncio.timeout(60.0):
        await caller.ended()
    told = (await bench.record(id_)).generation.told
    assert told is not None
    assert (told.code, told.charge.value) == ("overloaded", "no")
