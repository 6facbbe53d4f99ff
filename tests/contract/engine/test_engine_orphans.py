"""What a commit has opened whose answer was lost is found, and nobody is left waiting for an hour that was set back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from holdfast.engine.orphans import Orphans
from holdfast.errors import StorageError
from holdfast.policy.joining import Claim
from holdfast.types import Charge, Failure, FailureKind, Phase

KEYED = Claim(idempotency_key="order-1", by_fingerprint=False, says_retry=False)
ASKED: dict[str, Any] = {"claim": KEYED, "fingerprint": b"the same"}
GONE = Failure(kind=FailureKind.UNREACHABLE, phase=Phase.CONNECT, charge=Charge.NO, detail="gone")
ONCE = pytest.mark.parametrize("sections", [{"retry": {"sends_max": 1}}])
Arm = Callable[[str], None]


async def failed_unpaid(bench: Any, shapes: Any) -> str:
    """Make a generation that a repeat drives again."""
    bench.upstream.next.append(shapes.Reply(failure=GONE))
    id_, caller = await bench.ask(**ASKED)
    await caller.ended()
    await bench.quiet()
    assert (await bench.record(id_)).generation.state == "failed"
    return str(id_)


@ONCE
async def test_what_a_repeat_drove_again_is_found_though_the_answer_was_lost(
    bench: Any, shapes: Any, arm: Arm, a_picture: bytes, log: Callable[..., list[dict[str, Any]]]
) -> None:
    """Its caller was refused; he comes again and finds it made, once."""
    id_ = await failed_unpaid(bench, shapes)
    arm("store.after_commit:error")
    with pytest.raises(StorageError):
        await bench.ask(**ASKED)
    await bench.until(lambda: log("generation.adopted"))
    await bench.quiet()
    assert len(bench.upstream.asked) == 2
    same, caller = await bench.ask(**ASKED)
    await caller.ended()
    assert same == id_
    assert bench.bytes_of(await bench.record(id_)) == a_picture
    assert len(bench.upstream.asked) == 2
    await bench.is_clean(id_)


@ONCE
async def test_a_commit_that_was_not_made_leaves_nothing_to_find(
    bench: Any, shapes: Any, arm: Arm, log: Callable[..., list[dict[str, Any]]]
) -> None:
    """It is looked all the same; what has ended stays as it is."""
    id_ = await failed_unpaid(bench, shapes)
    arm("store.before_commit:error")
    with pytest.raises(StorageError):
        await bench.ask(**ASKED)
    await bench.quiet()
    assert log("generation.adopted") == []
    assert (await bench.record(id_)).generation.state == "failed"
    await bench.is_clean(id_)


async def test_who_is_still_entering_is_nobodys_orphan(bench: Any) -> None:
    """A commit is on record before its process knows of it: whoever looks then waits until it does."""
    new, _ = await bench.accepted()
    known: set[str] = set()
    adopted: list[str] = []

    async def take_up(record: Any) -> None:
        adopted.append(record.generation.id)

    orphans = Orphans(bench.core, knows=known.__contains__, take_up=take_up, spawn=bench.engine.spawn)
    with orphans.entering():
        orphans.seek()
        orphans.seek()
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert adopted == []
        known.add(new.id)
    await bench.quiet()
    assert adopted == []
    known.clear()
    orphans.seek()
    await bench.quiet()
    assert adopted == [new.id]
    assert repr(orphans) == "<Orphans, 0 entering>"


async def test_a_wall_clock_that_is_set_back_makes_no_pause_longer(bench: Any, shapes: Any) -> None:
    """Seconds were meant; the next process does not wait for an hour more, nor give it one."""
    bench.upstream.next.append(shapes.Reply(failure=GONE))
    id_, _ = await bench.ask()
    await bench.until(lambda: "in a pause" in repr(bench.engine))
    bench.clock.set_by_s = -3600.0
    await bench.restart()
    (live,) = bench.engine._live.values()
    assert live.deadline_at - bench.clock.monotonic() <= 300.0
    bench.clock.jump(10.0)
    await bench.quiet()
    assert (await bench.record(id_)).generation.state == "succeeded"
    assert len(bench.upstream.asked) == 2
    await bench.is_clean(id_)
