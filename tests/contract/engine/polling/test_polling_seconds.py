"""A second attempt at an upstream that is polled, beside a slow one that is not: whoever loses is let go of."""

from __future__ import annotations

import asyncio
import errno
import json
from collections import deque
from typing import Any

import pytest

from holdfast.policy.retry import GiveUpReason
from holdfast.store.blobs import LocalBlobs
from holdfast.types import Charge, Failure, FailureKind, Phase
from holdfast.wire.fal import Handle, QueueState, QueueStatus, render_status

USD = 1_000_000
MODEL = "nano-banana-pro"
BASE = "http://127.0.0.1:1"
SLOW_S = 91.0
"""Past the P95 of 1K."""
OFTEN = {"purchases_max": 5, "backoff_s_first": 0.01, "backoff_s_max": 0.01}
FAILED = render_status(
    Handle(request_id="r-1"),
    QueueStatus(state=QueueState.COMPLETED, error="it broke", error_type="internal_server_error"),
)
LOST = Failure(kind=FailureKind.LOST_REPLY, phase=Phase.WAIT, charge=Charge.UNKNOWN, detail="the connection broke")


class Beside:
    """A slow upstream beside the queue; it answers when it is told, with a picture or not at all."""

    def __init__(self, queue: Any, body: bytes) -> None:
        self._queue = queue
        self._body = body
        self._gate = asyncio.Event()
        self.threads = queue.threads
        self.clock = None
        """The bench's; nothing here goes by it."""
        self.calls = 0
        self.is_lost = False

    def answers(self) -> None:
        """Let it."""
        self._gate.set()

    async def exchange(self, request: Any, **how: Any) -> Any:
        """Answer what is sent there, and hand on what is not."""
        if "slow.test" not in request.url:
            return await self._queue.exchange(request, **how)
        self.calls += 1
        await self._gate.wait()
        return LOST if self.is_lost else await self._queue._play(deque(), 200, self._body, how["on_head"])

    async def fetch(self, url: str, **how: Any) -> Any:
        """Give a file of the queue."""
        return await self._queue.fetch(url, **how)


@pytest.fixture
def limits() -> dict[str, Any]:
    """What more the settings say of tries; a test parametrizes it."""
    return {}


@pytest.fixture
async def slow(bench: Any, queue: Any, settings_of: Any, shapes: Any, limits: dict[str, Any]) -> Beside:
    """An engine whose model is served by both, the slow one first."""
    beside = Beside(queue, shapes.gemini(shapes.png(77)))
    bench.upstream = beside
    entries = [
        {"upstream": "slow", "model": "gemini-3-pro-image"},
        {"upstream": "queue", "model": "fal-ai/nano-banana-pro"},
    ]
    await bench.restart(
        settings_of(
            upstreams=[
                {"name": "slow", "provider": "gemini", "base_url": "http://slow.test", "keys": ["other-key"]},
                {"name": "queue", "provider": "fal", "base_url": BASE, "keys": ["one-key"]},
            ],
            routes=[{"model": MODEL, "upstreams": entries}],
            retry={"on_unknown": "buy_once_more"} | limits,
            hedge={"enabled": True, "budget_share": 1.0},
        )
    )
    return beside


async def a_pair(bench: Any, queue: Any, slow: Any) -> tuple[str, Any, asyncio.Event]:
    """Bring one part to where the slow one is at work, and the queue is asked how its own attempt stands."""
    gate = queue.hold("status")
    id_, caller = await bench.ask()
    await bench.until(lambda: slow.calls)
    bench.clock.jump(SLOW_S)
    await bench.until(lambda: queue.is_asked("status"))
    return id_, caller, gate


def states(record: Any) -> list[tuple[str, str, int]]:
    """Upstream, state and whether it was outrun, attempt by attempt."""
    return [(each.upstream, each.state, each.outrun) for each in record.attempts]


async def test_the_queue_wins(bench: Any, queue: Any, slow: Any) -> None:
    """As any second attempt."""
    id_, caller, gate = await a_pair(bench, queue, slow)
    gate.set()
    await caller.ended()
    slow.answers()
    await bench.quiet()
    record = await bench.record(id_)
    assert states(record) == [("slow", "settled", 1), ("queue", "settled", 0)]
    assert bench.bytes_of(record) == queue.pictures(0)
    assert await bench.taken(id_) == [("cost", USD), ("extra", USD)]
    await bench.is_clean(id_)


async def test_what_the_queue_has_not_begun_is_taken_back_for_free(bench: Any, queue: Any, slow: Any) -> None:
    """The first one has brought the image: nobody wants a second one."""
    id_, caller, gate = await a_pair(bench, queue, slow)
    queue.polls += ["IN_QUEUE", "IN_QUEUE", "IN_QUEUE", 404]
    slow.answers()
    await caller.ended()
    gate.set()
    await bench.quiet()
    record = await bench.record(id_)
    assert states(record) == [("slow", "settled", 0), ("queue", "rejected", 1)]
    assert queue.asked.count("cancel") == 1
    assert await bench.taken(id_) == [("cost", USD)]
    assert await bench.balance() == USD
    await bench.is_clean(id_)


async def test_what_the_queue_is_at_work_for_is_kept(bench: Any, queue: Any, slow: Any) -> None:
    """It is paid for: an extra."""
    id_, caller, gate = await a_pair(bench, queue, slow)
    queue.polls += ["IN_PROGRESS", "IN_PROGRESS"]
    slow.answers()
    await caller.ended()
    gate.set()
    await bench.quiet()
    assert "cancel" not in queue.asked
    assert sorted(blob.kind for blob in (await bench.record(id_)).blobs) == ["late", "result"]
    assert await bench.taken(id_) == [("cost", USD), ("extra", USD)]
    await bench.is_clean(id_)


async def test_the_next_process_goes_on_with_the_handle(bench: Any, queue: Any, slow: Any) -> None:
    """What was in flight beside it is lost, and its part is the handle's."""
    id_, _, gate = await a_pair(bench, queue, slow)
    recovered = await bench.restart()
    assert (recovered.unknown, len(recovered.to_resume), recovered.to_drive) == (1, 1, ())
    assert states(await bench.record(id_)) == [("slow", "unknown", 0), ("queue", "polling", 0)]
    gate.set()
    await bench.quiet()
    record = await bench.record(id_)
    assert (record.generation.state, record.generation.charged_micros) == ("succeeded", USD)
    assert states(record) == [("slow", "unknown", 0), ("queue", "settled", 0)]
    assert await bench.taken(id_) == [("exposure", USD), ("cost", USD)]
    await bench.is_clean(id_)


async def test_the_next_process_counts_what_was_lost_beside_the_handle(bench: Any, queue: Any, slow: Any) -> None:
    """Both were bought: no third one is."""
    id_, _, gate = await a_pair(bench, queue, slow)
    await bench.restart()
    queue.polls.extend(["IN_PROGRESS"] * 10_000)
    gate.set()
    bench.clock.jump(700.0)
    await bench.quiet()
    record = await bench.record(id_)
    assert len(queue.submitted) == 1
    assert slow.calls == 1
    assert record.generation.state == "failed"
    assert json.loads(record.attempts[1].decision)["reason"] == GiveUpReason.PURCHASES_SPENT.value
    await bench.is_clean(id_)


async def test_the_next_process_takes_back_what_had_lost(bench: Any, queue: Any, slow: Any) -> None:
    """The first one had won before the restart: the handle is asked about once, and let go of."""
    id_, caller, gate = await a_pair(bench, queue, slow)
    slow.answers()
    await caller.ended()
    recovered = await bench.restart()
    assert [each.is_open for each in recovered.to_resume] == [False]
    queue.polls += ["IN_QUEUE", "IN_QUEUE", "IN_QUEUE", 404]
    gate.set()
    await bench.quiet()
    assert states(await bench.record(id_)) == [("slow", "settled", 0), ("queue", "rejected", 1)]
    assert queue.asked.count("cancel") == 1
    assert await bench.taken(id_) == [("cost", USD)]
    await bench.is_clean(id_)


@pytest.mark.parametrize("limits", [OFTEN])
async def test_a_handle_that_was_a_second_one_has_none_after_it(bench: Any, queue: Any, slow: Any) -> None:
    """There is one for each part, whichever process made it."""
    id_, _, gate = await a_pair(bench, queue, slow)
    await bench.restart()
    queue.polls.append(FAILED)
    queue.results.append((500, b'{"detail":"it broke"}'))
    gate.set()
    await bench.until(lambda: slow.calls == 2)
    bench.clock.jump(SLOW_S)
    # A second attempt's commit would take some milliseconds.
    await asyncio.sleep(0.05)
    assert [each.hedge for each in (await bench.record(id_)).attempts] == [0, 1, 0]
    slow.answers()
    await bench.quiet()
    await bench.is_clean(id_)


@pytest.mark.parametrize("limits", [OFTEN])
async def test_what_our_own_disk_keeps_back_is_not_bought_again_after_a_handle(
    bench: Any, queue: Any, slow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its image is in the spool; the handle fails in a process whose disk is still broken."""
    id_, _, gate = await a_pair(bench, queue, slow)

    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "the disk is broken")

    with monkeypatch.context() as broken:
        broken.setattr(LocalBlobs, "_link", refuse)
        slow.answers()
        await bench.until(lambda: bench.spooled())
        while not (await bench.record(id_)).attempts[0].ended_at:
            await asyncio.sleep(0.001)
        await bench.restart()
        queue.polls.append(FAILED)
        queue.results.append((500, b'{"detail":"it broke"}'))
        gate.set()
        await bench.quiet()
    record = await bench.record(id_)
    assert json.loads(record.attempts[1].decision)["reason"] == GiveUpReason.CHARGED.value
    assert (slow.calls, len(queue.submitted)) == (1, 1)
    await bench.restart()
    assert (await bench.record(id_)).generation.state == "succeeded"
    await bench.is_clean(id_)


async def test_beside_a_handle_nothing_is_made_a_second_time(bench: Any, queue: Any, slow: Any) -> None:
    """It is asked how it stands, and no cut loses it."""
    slow.is_lost = True
    slow.answers()
    gate = queue.hold("status")
    id_, caller = await bench.ask()
    await bench.until(lambda: queue.is_asked("status"))
    calls = slow.calls
    bench.clock.jump(SLOW_S)
    await bench.turn()
    assert slow.calls == calls
    gate.set()
    await caller.ended()
    await bench.quiet()
    await bench.is_clean(id_)
