"""Where retries, lines, deadlines and a disk that refuses meet: nothing is driven by nobody, nothing told wrongly."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.engine import recover
from holdfast.errors import StorageError
from holdfast.store.generations import get_generation


def refused(bench: Any, monkeypatch: pytest.MonkeyPatch, method: str, function: Any) -> list[int]:
    """Let the disk refuse one kind of read or write as often as the list's number says."""
    left = [0]
    through = getattr(type(bench.store), method)

    async def ask(store: Any, asked: Any, *args: Any, **kwargs: Any) -> Any:
        if asked is function and left[0]:
            left[0] -= 1
            raise StorageError("The database could not be used: disk I/O error.", reason="broken")
        return await through(store, asked, *args, **kwargs)

    monkeypatch.setattr(type(bench.store), method, ask)
    return left


async def until_told(bench: Any, caller: Any) -> None:
    """Let time pass until a caller is told the end."""
    while not caller.ends:
        bench.clock.jump(1.0)
        await bench.turn()
    await bench.quiet()


async def test_a_read_that_fails_behind_a_commit_leaves_the_other_part_alone(
    bench: Any, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One image is settled, and whether all has ended cannot be read: the other one is awaited all the same."""
    left = refused(bench, monkeypatch, "read", get_generation)
    gate = bench.hold_back(1)
    id_, caller = await bench.ask(make(n=2))
    left[0] = 1
    await bench.until(lambda: not left[0])
    gate.set()
    await until_told(bench, caller)
    record = await bench.record(id_)
    assert (record.generation.state, len(record.results)) == ("succeeded", 2)
    assert [each.state for each in record.attempts] == ["settled", "settled"]
    await bench.is_clean(id_)


async def test_one_that_cannot_be_put_right_keeps_nobody_else(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that fails for one generation takes the others up before it says so."""
    news = [(await bench.accepted())[0] for _ in range(3)]
    take_up = recover._take_up

    async def broken(core: Any, record: Any) -> Any:
        if record.generation.id == news[0].id:
            raise RuntimeError("a mistake")
        return await take_up(core, record)

    monkeypatch.setattr(recover, "_take_up", broken)
    await bench.close()
    bench.open()
    with pytest.raises(RuntimeError, match="a mistake"):
        await bench.engine.start()
    await bench.quiet()
    states = [(await bench.record(new.id)).generation.state for new in news]
    assert states == ["queued", "succeeded", "succeeded"]
