"""A handle is every worker's: whoever is given a generation asks for what another has bought, and buys nothing."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.engine.dispatcher import LocalDispatcher
from holdfast.engine.engine import Engine
from holdfast.store.jobs import Job


class Shared(LocalDispatcher):
    """Says that it is shared."""

    is_shared = True


async def begin(bench: Any) -> None:
    """Make the bench's engine anew, as a worker of several."""
    bench.core.dispatcher = Shared()
    bench.engine = Engine(bench.core, lambda: bench.free_bytes)
    await bench.engine.start()


async def taken_over(bench: Any, id_: str, *, stops: bool) -> None:
    """The worker leaves in order, or dies; another one is given the generation."""
    if stops:
        await bench.engine.stop()
        assert [each.state for each in (await bench.record(id_)).attempts] == ["polling"]
    await bench.close()
    bench.open()
    await begin(bench)
    bench.core.dispatcher.committed(Job(generation_id=id_))


@pytest.mark.parametrize("held", ["status", "result", "fetch 0"])
@pytest.mark.parametrize("stops", [True, False], ids=["leaves", "dies"])
async def test_another_worker_asks_for_what_was_bought(bench: Any, queue: Any, held: str, stops: bool) -> None:
    """Submitted once, whoever asks for it and wherever it was; the epoch says that it changed hands."""
    await begin(bench)
    gate = queue.hold(held)
    id_, _ = await bench.ask()
    await bench.until(lambda: queue.is_asked(held))
    await taken_over(bench, id_, stops=stops)
    gate.set()
    await queue.one_image(bench, id_)
    assert len(queue.submitted) == 1
    assert (await bench.record(id_)).generation.epoch == 2


async def test_however_often_it_changes_hands_one_image_is_bought(bench: Any, queue: Any) -> None:
    """One handle, six workers that leave and die in turn, one charge."""
    await begin(bench)
    gate = queue.hold("status")
    id_, _ = await bench.ask()
    for turn in range(6):
        await bench.until(lambda: queue.is_asked("status"))
        queue.asked.clear()
        await taken_over(bench, id_, stops=turn % 2 == 0)
    gate.set()
    await queue.one_image(bench, id_)
    assert len(queue.submitted) == 1
