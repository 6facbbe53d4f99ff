"""A start with much to put right keeps no caller waiting: the rest goes on beside them, and nothing meets twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from holdfast.engine import recover
from holdfast.engine.recover import AT_ONCE
from holdfast.errors import StorageError
from holdfast.policy.joining import Claim

KEYED = Claim(idempotency_key="order-1", by_fingerprint=False, says_retry=False)
ASKED: dict[str, Any] = {"claim": KEYED, "fingerprint": b"the same"}


class Gate:
    """Holds back what a start does with one generation, until it is opened."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    async def pass_by(self) -> None:
        """Say that it is reached, and wait."""
        self.reached.set()
        await self.opened.wait()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    """Hold back every start at its first generation."""
    made = Gate()
    end_open = recover._end_open

    async def held_back(*args: Any, **named: Any) -> int:
        await made.pass_by()
        return await end_open(*args, **named)

    monkeypatch.setattr(recover, "_end_open", held_back)
    return made


async def started_early(bench: Any, gate: Gate) -> None:
    """Begin anew, and serve while things are still being put right."""
    await bench.close()
    bench.open()
    assert await bench.engine.start(0.0) is None
    await gate.reached.wait()


async def test_a_start_that_is_quick_enough_has_done_all_before_it_returns(bench: Any) -> None:
    """As ever: callers then find nothing half done."""
    _, live = await bench.accepted()
    await bench.sent(live)
    await bench.close()
    bench.open()
    recovered = await bench.engine.start(60.0)
    assert (recovered.unknown, recovered.to_drive) == (1, ())
    await bench.is_clean(live.id)


async def test_new_work_is_taken_meanwhile(bench: Any, gate: Gate, a_picture: bytes) -> None:
    """And ends before what is old."""
    _, old = await bench.accepted()
    await bench.sent(old)
    await started_early(bench, gate)
    id_, caller = await bench.ask()
    await caller.ended()
    assert bench.bytes_of(await bench.record(id_)) == a_picture
    assert (await bench.record(old.id)).generation.state == "running"
    gate.opened.set()
    await bench.quiet()
    assert (await bench.record(old.id)).generation.told.code == "outcome_unknown"
    await bench.is_clean(id_, old.id)


async def test_a_repeat_of_what_is_lost_waits_for_its_end(bench: Any, gate: Gate) -> None:
    """It is told what the start finds, once, and nothing is given up on its behalf."""
    _, live = await bench.accepted(**ASKED)
    await bench.sent(live)
    await started_early(bench, gate)
    id_, caller = await bench.ask(**ASKED)
    assert id_ == live.id
    await bench.turn()
    assert caller.ends == 0
    gate.opened.set()
    await caller.ended()
    told = (await bench.record(id_)).generation.told
    assert (told.code, caller.ends) == ("outcome_unknown", 1)
    assert "stopped" in told.message
    await bench.quiet()
    await bench.is_clean(id_)


async def test_a_repeat_of_what_was_never_sent_waits_for_its_image(bench: Any, gate: Gate, a_picture: bytes) -> None:
    """It is sent once, by the start."""
    _, live = await bench.accepted(**ASKED)
    await started_early(bench, gate)
    id_, caller = await bench.ask(**ASKED)
    assert (id_, caller.ends) == (live.id, 0)
    gate.opened.set()
    await caller.ended()
    assert bench.bytes_of(await bench.record(id_)) == a_picture
    assert len(bench.upstream.asked) == 1
    await bench.quiet()
    await bench.is_clean(id_)


async def test_what_is_cancelled_meanwhile_is_not_driven(bench: Any, gate: Gate) -> None:
    """Neither sent nor counted as open for ever."""
    _, live = await bench.accepted()
    await started_early(bench, gate)
    await bench.engine.cancel(live.id)
    gate.opened.set()
    await bench.quiet()
    assert (await bench.record(live.id)).generation.state == "cancelled"
    assert bench.upstream.asked == []
    await bench.is_clean(live.id)


async def test_a_drain_waits_for_it(bench: Any, gate: Gate) -> None:
    """It is work in hand like any other."""
    _, live = await bench.accepted()
    await bench.sent(live)
    await started_early(bench, gate)
    draining = asyncio.create_task(bench.engine.drain(60.0))
    await bench.turn()
    assert not draining.done()
    gate.opened.set()
    assert await draining
    bench.engine.is_draining = False
    await bench.is_clean(live.id)


async def test_an_end_in_the_middle_of_it_leaves_the_rest_to_the_next_start(bench: Any, gate: Gate) -> None:
    """Nothing is half told."""
    _, live = await bench.accepted()
    await bench.sent(live)
    await started_early(bench, gate)
    await bench.close()
    assert (gate.reached.is_set(), gate.opened.is_set()) == (True, False)
    gate.opened.set()
    bench.open()
    recovered = await bench.engine.start()
    assert recovered.unknown == 1
    await bench.is_clean(live.id)


async def test_thousands_are_driven_as_they_are_found(bench: Any) -> None:
    """The first are sent before the last are looked at; each once."""
    ids = [(await bench.accepted())[0].id for _ in range(AT_ONCE + 20)]
    gate = bench.hold_back()
    await bench.close()
    bench.open()
    await bench.engine.start(0.0)
    await bench.in_flight(len(ids))
    assert bench.upstream.asked[0].generation_id in ids[:AT_ONCE]
    assert sorted(asked.generation_id for asked in bench.upstream.asked) == ids
    gate.set()
    await bench.quiet()
    await bench.is_clean(*ids)


async def test_a_start_that_breaks_beside_callers_is_told_and_repeats_go_on(
    bench: Any, gate: Gate, monkeypatch: pytest.MonkeyPatch, log: Callable[..., list[dict[str, Any]]]
) -> None:
    """Whoever asks again has it taken up; nobody waits for a task that is gone."""
    _, live = await bench.accepted(**ASKED)

    async def breaking(*args: Any) -> Any:
        raise StorageError("The disk is gone.", reason="broken")

    with monkeypatch.context() as patch:
        patch.setattr(recover, "_take_up", breaking)
        await started_early(bench, gate)
        gate.opened.set()
        await bench.quiet()
    assert len(log("fault.internal")) == 1
    assert log("recovery.done") == []
    id_, caller = await bench.ask(**ASKED)
    assert id_ == live.id
    await caller.ended()
    await bench.quiet()
    await bench.is_clean(id_)
    assert len(bench.upstream.asked) == 1


async def test_a_start_that_breaks_at_once_is_told_to_whoever_starts(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is served on a folder that cannot be read."""
    _, live = await bench.accepted()

    async def breaking(*args: Any) -> Any:
        raise StorageError("The disk is gone.", reason="broken")

    await bench.close()
    bench.open()
    with monkeypatch.context() as patch:
        patch.setattr(recover, "_take_up", breaking)
        with pytest.raises(StorageError, match="The disk is gone"):
            await bench.engine.start(60.0)
    await bench.restart()
    await bench.quiet()
    await bench.is_clean(live.id)
