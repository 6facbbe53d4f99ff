"""What an engine learns from its attempts, what it makes of it, and what a restart keeps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from holdfast.clock import from_rfc3339
from holdfast.engine.learning import LatencyKeeper
from holdfast.errors import StorageError
from holdfast.gateway.progress import progress_of
from holdfast.policy.latency import prior
from holdfast.policy.learning import Learned
from holdfast.policy.sketch import Sketch
from holdfast.store.latency import get_sketches
from holdfast.types import Charge, Failure, FailureKind, Phase, Tier

GEMINI = "nano-banana-pro"
PLACE: dict[str, Any] = {"upstream": "google", "model": GEMINI, "tier": Tier.K1}
NO_ANSWER = Failure(
    kind=FailureKind.LOST_REPLY, phase=Phase.WAIT, charge=Charge.UNKNOWN, detail="no answer within 180 s"
)


class Patient:
    """An engine whose upstream takes as long as a test says."""

    def __init__(self, bench: Any) -> None:
        self.bench = bench

    async def call(self, took_s: float, **reply: Any) -> Any:
        """Make one call that takes so long; give its record."""
        bench = self.bench
        gate, calls = bench.hold_back(), len(bench.upstream.asked)
        bench.upstream.usual = replace(bench.upstream.usual, **reply)
        id_, caller = await bench.ask()
        await bench.in_flight(calls + 1)
        bench.clock.jump(took_s)
        gate.set()
        await caller.ended()
        await bench.quiet()
        return await bench.record(id_)

    async def calls(self, took_s: float, count: int) -> None:
        """Make several, one after another."""
        for _ in range(count):
            await self.call(took_s)

    def teach(self, seconds: float, count: int) -> None:
        """Let so many calls have been made."""
        for _ in range(count):
            self.bench.core.latencies.learn(**PLACE, seconds=seconds)

    @property
    def samples(self) -> float:
        """How many are known."""
        known = self.expected()
        return known.samples if isinstance(known, Learned) else 0.0

    def expected(self) -> Any:
        """What is expected now."""
        self.bench.clock.jump(2.0)
        return self.bench.core.latencies.expect(**PLACE)


@pytest.fixture
def patient(bench: Any) -> Patient:
    """With nothing learnt."""
    return Patient(bench)


@pytest.fixture
async def keeper(bench: Any) -> AsyncIterator[LatencyKeeper]:
    """Writes every minute, as in a gateway."""
    made = LatencyKeeper(bench.core)
    await made.start()
    yield made
    await made.stop()


async def stored(bench: Any) -> int:
    """How many samples are in the database."""
    rows = await bench.store.read(get_sketches, 0)
    return sum(Sketch.decoded(row.buckets).total for row in rows)


async def until_stored(bench: Any, samples: int) -> None:
    """Wait until so many are."""
    while await stored(bench) != samples:
        await asyncio.sleep(0.001)


# Who teaches


async def test_a_success_teaches_how_long_it_took(patient: Patient) -> None:
    """From when it was sent until the whole answer was there."""
    await patient.call(62.0)
    expected = patient.expected()
    assert expected.samples == 1.0
    assert expected.fraction_done(61.0) < expected.fraction_done(62.7) - 0.015


async def test_time_in_line_or_before_sending_is_not_the_upstreams(bench: Any, patient: Patient) -> None:
    """What is measured is the attempt, not the generation."""
    bench.clock.jump(500.0)
    record = await patient.call(10.0)
    (attempt,) = record.attempts
    took_s = (from_rfc3339(attempt.received_at) - from_rfc3339(attempt.sent_at)).total_seconds()
    assert took_s == pytest.approx(10.0, abs=0.5)
    counts = patient.expected().counts
    (bucket,) = counts
    assert 1.01**bucket == pytest.approx(10.0, rel=0.02)


@pytest.mark.parametrize("status", [400, 429, 500, 503])
async def test_an_error_teaches_nothing(patient: Patient, status: int) -> None:
    """A refusal after a second says nothing of how long an image takes."""
    gate = patient.bench.hold_back()
    patient.bench.upstream.usual = replace(patient.bench.upstream.usual, status=status, body=b"{}")
    _, caller = await patient.bench.ask(asked_s=10.0)
    await patient.bench.in_flight()
    gate.set()
    await patient.bench.turn()
    patient.bench.clock.jump(20.0)
    await caller.ended()
    await patient.bench.quiet()
    assert patient.samples == 0.0


async def test_an_answer_without_a_whole_image_teaches_nothing(patient: Patient, shapes: Any, a_picture: bytes) -> None:
    """An image that is cut is none."""
    record = await patient.call(30.0, body=shapes.gemini(a_picture[:-20]))
    assert record.generation.state == "failed"
    assert patient.samples == 0.0


async def test_an_answer_that_broke_off_teaches_nothing(patient: Patient, shapes: Any, a_picture: bytes) -> None:
    """Its image is kept and delivered; when the answer would have ended nobody knows."""
    torn = shapes.gemini(a_picture)[:-60]
    broken = Failure(kind=FailureKind.LOST_REPLY, phase=Phase.RECEIVE, charge=Charge.UNKNOWN, detail="reset")
    record = await patient.call(30.0, body=torn, failure=broken)
    assert record.generation.state == "succeeded"
    assert patient.samples == 0.0


async def test_a_reply_that_was_lost_early_teaches_nothing(patient: Patient) -> None:
    """A reset after a minute is the network's doing."""
    await patient.call(60.0, failure=NO_ANSWER, body=b"")
    assert patient.samples == 0.0


async def test_an_attempt_that_ran_out_of_its_own_time_counts_as_twice_that(patient: Patient) -> None:
    """It does not vanish: the P99 goes up with it, and so does the next attempt's time."""
    await patient.call(180.0, failure=NO_ANSWER, body=b"")
    expected = patient.expected()
    assert expected.samples == 1.0
    assert expected.p99_s == pytest.approx(360.0, rel=0.02)
    await patient.call(1.0)
    assert [asked.timeouts.total_s for asked in patient.bench.upstream.asked] == [
        180.0,
        pytest.approx(1.2 * 360.0, rel=0.02),
    ]


# What is made of it


async def test_attempts_are_given_what_is_set_while_the_upstream_is_as_published(patient: Patient) -> None:
    """Or faster."""
    patient.teach(20.0, 1000)
    patient.bench.clock.jump(2.0)
    await patient.call(1.0)
    assert patient.bench.upstream.asked[-1].timeouts.total_s == 180.0


@pytest.mark.parametrize("sections", [{"deadlines": {"attempt_s": {"1K": 20.0, "2K": 20.0, "4K": 20.0}}}])
async def test_an_operator_who_sets_less_gets_less(patient: Patient) -> None:
    """Until it is measured that images take longer than anybody said."""
    await patient.call(1.0)
    patient.teach(100.0, 1000)
    patient.bench.clock.jump(2.0)
    await patient.call(1.0)
    assert [asked.timeouts.total_s for asked in patient.bench.upstream.asked] == [20.0, 20.0]


async def test_an_upstream_that_slows_down_is_followed_within_the_hour(patient: Patient) -> None:
    """Four times as slow as usual: estimates, progress, deadlines."""
    bench, latencies = patient.bench, patient.bench.core.latencies
    record = await patient.call(1.0)
    row = record.generation
    for _ in range(60):
        patient.teach(45.0, 5)
        bench.clock.jump(60.0)
    usual = latencies.expect(model=GEMINI, tier=Tier.K1)
    assert usual.expected_s == pytest.approx(45.0, rel=0.05)
    for minute in range(60):
        # A few take longer still, and are given up: they are what lengthens the next ones' time.
        if minute % 10 == 9:
            latencies.gave_up(**PLACE, seconds=180.0)
        patient.teach(180.0, 5)
        bench.clock.jump(60.0)
    slow = latencies.expect(model=GEMINI, tier=Tier.K1)
    assert slow.expected_s == pytest.approx(180.0, rel=0.05)
    assert slow.poll_after_s == 45
    at = from_rfc3339(row.created_at)
    told = progress_of(row, latencies, at.replace(minute=at.minute + 1))
    assert told.expected_s == pytest.approx(180.0, rel=0.05)
    assert told.fraction < 0.2 < usual.fraction_done(60.0)
    await patient.call(1.0)
    assert bench.upstream.asked[-1].timeouts.total_s > 1.15 * slow.p99_s > 300.0


async def test_what_is_accepted_while_the_model_is_slow_is_given_more_time(bench: Any, patient: Patient) -> None:
    """As much more as it is slower, up to what is published for such a day; a caller's own budget stays."""

    async def granted_s(**options: Any) -> float:
        new, _ = await bench.accepted(**options)
        return (from_rfc3339(new.deadline_at) - from_rfc3339(new.created_at)).total_seconds()

    assert await granted_s() == pytest.approx(300.0)
    patient.teach(75.0, 5000)
    bench.clock.jump(2.0)
    assert await granted_s() == pytest.approx(500.0, rel=0.02)
    patient.teach(280.0, 50_000)
    bench.clock.jump(2.0)
    assert await granted_s() == pytest.approx(600.0)
    assert await granted_s(asked_s=90.0) == pytest.approx(90.0)


async def test_a_repeat_that_would_come_too_late_is_not_made(patient: Patient, log: Callable[..., Any]) -> None:
    """Whether there is time for another attempt is judged by what is known of this upstream."""
    bench = patient.bench
    patient.teach(280.0, 5000)
    bench.clock.jump(2.0)
    gate = bench.hold_back()
    bench.upstream.usual = replace(bench.upstream.usual, status=503, body=b"{}")
    _, caller = await bench.ask()
    await bench.in_flight()
    # By what was published 45 s were enough, and four of the ten minutes that a slow model is given are left.
    bench.clock.jump(360.0)
    gate.set()
    await caller.ended()
    await bench.quiet()
    (failed,) = log("attempt.failed")
    assert (failed["follows"], failed["why"]) == ("give_up", "deadline_too_close")
    assert len(bench.upstream.asked) == 1


# What is kept


async def test_a_restart_keeps_what_was_learnt(bench: Any, patient: Patient, keeper: LatencyKeeper) -> None:
    """Written at the end, read at the start."""
    patient.teach(33.0, 500)
    before = patient.expected()
    await keeper.stop()
    await bench.restart()
    again = LatencyKeeper(bench.core)
    await again.start()
    assert bench.core.latencies.expect(**PLACE).expected_s == pytest.approx(before.expected_s)
    await again.stop()


async def test_it_is_written_once_a_minute_and_only_if_something_was_learnt(
    bench: Any, patient: Patient, keeper: LatencyKeeper
) -> None:
    """One commit for all that changed; a quiet minute costs none."""
    bench.clock.jump(61.0)
    await bench.turn()
    assert await stored(bench) == 0
    patient.teach(33.0, 10)
    bench.core.latencies.learn(upstream="openai", model="gpt-image-2", tier=Tier.K4, seconds=50.0)
    bench.clock.jump(30.0)
    await bench.turn()
    assert await stored(bench) == 0
    bench.clock.jump(31.0)
    await until_stored(bench, 11)
    assert repr(bench.core.latencies) == "<Latencies: 11 samples, 0 hours not written>"


async def test_a_kill_between_two_writes_loses_a_minute_at_most(
    bench: Any, patient: Patient, keeper: LatencyKeeper
) -> None:
    """What was written before is there; nothing else suffers."""
    patient.teach(33.0, 10)
    bench.clock.jump(61.0)
    await until_stored(bench, 10)
    patient.teach(33.0, 5)
    assert keeper._task is not None
    keeper._task.cancel()
    keeper._task = None
    await bench.restart()
    again = LatencyKeeper(bench.core)
    await again.start()
    assert patient.samples == 10.0
    await again.stop()


async def test_what_the_disk_does_not_take_is_written_the_next_time(
    bench: Any, patient: Patient, keeper: LatencyKeeper, monkeypatch: pytest.MonkeyPatch, log: Callable[..., Any]
) -> None:
    """A full disk costs nothing but a minute."""
    write = bench.store.write

    async def full(*_: Any) -> None:
        raise StorageError("The disk is full.", reason="full")

    monkeypatch.setattr(bench.store, "write", full)
    patient.teach(33.0, 10)
    bench.clock.jump(61.0)
    await bench.until(lambda: log("storage.failed"))
    monkeypatch.setattr(bench.store, "write", write)
    patient.teach(33.0, 2)
    bench.clock.jump(61.0)
    await until_stored(bench, 12)


async def test_a_mistake_of_ours_does_not_end_the_writing(
    bench: Any, patient: Patient, keeper: LatencyKeeper, monkeypatch: pytest.MonkeyPatch, log: Callable[..., Any]
) -> None:
    """It is told, and the next minute comes."""
    write = keeper._write

    async def wrong() -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr(keeper, "_write", wrong)
    bench.clock.jump(61.0)
    await bench.until(lambda: log("fault.internal"))
    monkeypatch.setattr(keeper, "_write", write)
    patient.teach(33.0, 3)
    bench.clock.jump(61.0)
    await until_stored(bench, 3)


async def test_what_is_older_than_a_week_is_deleted(bench: Any, patient: Patient, keeper: LatencyKeeper) -> None:
    """With the next commit."""
    patient.teach(33.0, 10)
    bench.clock.jump(61.0)
    await until_stored(bench, 10)
    bench.clock.jump(8 * 86_400.0)
    await bench.turn()
    patient.teach(44.0, 1)
    bench.clock.jump(61.0)
    await until_stored(bench, 1)
    assert patient.expected().expected_s == pytest.approx(prior(Tier.K1).expected_s, rel=0.02)
