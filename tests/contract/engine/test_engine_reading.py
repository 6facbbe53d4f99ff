"""A disk that cannot be read for a while: what waits goes on when it can, and nothing is sent after its time."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.engine import attempt
from holdfast.errors import StorageError
from holdfast.store.generations import get_generation, get_record

BUSY = b'{"error": {"code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED"}}'


class Unreadable:
    """Lets reads of one kind fail, so many times."""

    def __init__(self, bench: Any, monkeypatch: pytest.MonkeyPatch, function: Any) -> None:
        self.left = 0
        self.failed = 0
        read = type(bench.store).read

        async def fail(store: Any, asked: Any, *args: Any, **kwargs: Any) -> Any:
            if asked is function and self.left:
                self.left -= 1
                self.failed += 1
                raise StorageError("The database could not be used: disk I/O error.", reason="broken")
            return await read(store, asked, *args, **kwargs)

        monkeypatch.setattr(type(bench.store), "read", fail)


@pytest.fixture
def unreadable(bench: Any, monkeypatch: pytest.MonkeyPatch) -> Unreadable:
    """What is read before something is sent again."""
    return Unreadable(bench, monkeypatch, get_generation)


async def in_a_pause(bench: Any, shapes: Any) -> tuple[str, Any]:
    """Let a call be turned away once."""
    bench.upstream.next.append(shapes.Reply(body=BUSY, status=429, retry_after="7"))
    asked: tuple[str, Any] = await bench.ask()
    await bench.resting()
    return asked


async def test_a_request_that_cannot_be_read_is_read_later(bench: Any, shapes: Any, unreadable: Unreadable) -> None:
    """One attempt more, and the image."""
    id_, caller = await in_a_pause(bench, shapes)
    unreadable.left = 2
    for failures in (1, 2):
        bench.clock.jump(8.0)
        await bench.until(lambda: unreadable.failed == failures)  # noqa: B023 - waited for here
        await bench.turn()
    bench.clock.jump(8.0)
    await caller.ended()
    await bench.quiet()
    assert unreadable.failed == 2
    assert [each.state for each in (await bench.record(id_)).attempts] == ["rejected", "settled"]
    await bench.is_clean(id_)


async def test_what_can_be_read_only_after_its_time_is_not_sent(
    bench: Any, shapes: Any, unreadable: Unreadable
) -> None:
    """Its caller is told that the time is over, and that nothing was bought."""
    id_, caller = await in_a_pause(bench, shapes)
    unreadable.left = 10_000
    bench.clock.jump(8.0)
    await bench.until(lambda: unreadable.failed)
    bench.clock.jump(300.0)
    unreadable.left = 0
    await caller.ended()
    await bench.quiet()
    record = await bench.record(id_)
    assert (record.generation.state, record.generation.told.code) == ("failed", "deadline_exceeded")
    assert record.generation.told.charge.value == "no"
    assert len(bench.upstream.asked) == 1
    await bench.is_clean(id_)


async def test_whoever_is_cancelled_while_nothing_can_be_read_is_not_sent(
    bench: Any, shapes: Any, unreadable: Unreadable
) -> None:
    """It ends at once; the reading leads to nothing."""
    id_, caller = await in_a_pause(bench, shapes)
    unreadable.left = 3
    bench.clock.jump(8.0)
    await bench.until(lambda: unreadable.failed)
    await bench.engine.cancel(id_)
    await caller.ended()
    unreadable.left = 0
    bench.clock.jump(60.0)
    await bench.quiet()
    assert len(bench.upstream.asked) == 1
    assert (await bench.record(id_)).generation.state == "cancelled"
    await bench.is_clean(id_)


async def test_what_failed_inside_is_given_up_when_the_disk_can_be_read(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistake of ours ends the part; its end is written as soon as that can be done, and the caller told."""

    async def broken(*_: Any) -> None:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(attempt, "run", broken)
    unreadable = Unreadable(bench, monkeypatch, get_record)
    unreadable.left = 2
    id_, caller = await bench.ask()
    while not caller.ends:
        bench.clock.jump(1.0)
        await bench.turn()
    await bench.quiet()
    record = await bench.record(id_)
    assert (record.generation.state, record.generation.told.code) == ("failed", "internal_error")
    assert unreadable.failed == 2
    await bench.is_clean(id_)
