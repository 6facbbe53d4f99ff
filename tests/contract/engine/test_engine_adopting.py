"""Images that a worker put where all keep them, before it died: whoever takes its generation over settles them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from holdfast.engine.adopting import adopt
from holdfast.engine.dispatcher import LocalDispatcher
from holdfast.engine.engine import Engine
from holdfast.store import spool
from holdfast.store.jobs import Job

BUYS_AGAIN = {"retry": {"on_unknown": "buy_once_more"}}


class Shared(LocalDispatcher):
    """Says that it is shared."""

    is_shared = True

    def enqueue(self, conn: Any, job: Job) -> None:
        """Leave it to the test to deliver."""

    def requeue(self, generation_id: str, delay_s: float) -> None:
        """Deliver nothing by itself."""
        super().finished(generation_id)


async def died_after_putting(bench: Any, body: bytes) -> tuple[Any, Any]:
    """A worker received an answer and put its images; it died, and its disk with it."""
    new, live = await bench.accepted()
    attempt = await bench.sent(live)
    spooled = bench.received(live, attempt, body)
    bench.linked(attempt, spooled)
    spool.remove(bench.core.spool, attempt.id)
    return new, attempt


async def taken_over(bench: Any, generation_id: str, *, others: Sequence[str] = ()) -> Any:
    """Another worker is given it, and sees it to its end; gives its record."""
    await bench.close()
    bench.open()
    bench.core.dispatcher = Shared()
    bench.engine = Engine(bench.core, lambda: bench.free_bytes)
    await bench.engine.start()
    bench.core.dispatcher.committed(Job(generation_id=generation_id))
    async with asyncio.timeout(60.0):
        await bench.until(lambda: not bench.core.dispatcher._running)
    return await bench.record(generation_id)


@pytest.mark.parametrize("sections", [BUYS_AGAIN])
async def test_what_was_put_is_settled_and_not_bought_again(bench: Any, shapes: Any, log: Any) -> None:
    """Paid once, delivered as it came; the taker's own spool is empty again."""
    image = shapes.png(7)
    new, attempt = await died_after_putting(bench, shapes.gemini(image))
    record = await taken_over(bench, new.id)
    assert (record.generation.state, [each.state for each in record.attempts]) == ("succeeded", ["settled"])
    assert bench.bytes_of(record) == image
    assert bench.upstream.asked == []
    assert bench.spooled() == []
    assert [each["attempt_id"] for each in log("attempt.adopted")] == [attempt.id]
    await bench.is_clean(new.id)


@pytest.mark.parametrize("sections", [BUYS_AGAIN])
async def test_drafts_are_told_from_the_result(bench: Any, shapes: Any) -> None:
    """Nothing names them any more; a model that draws drafts shows its result last."""
    draft, image = shapes.png(1), shapes.png(2)
    new, _ = await died_after_putting(bench, shapes.gemini(image, drafts=[draft]))
    record = await taken_over(bench, new.id)
    assert record.generation.state == "succeeded"
    assert sorted(blob.kind for blob in record.blobs) == ["draft", "result"]
    assert bench.bytes_of(record) == image


async def test_where_nothing_was_put_nobody_knows(bench: Any) -> None:
    """As before: the attempt is unknown."""
    new, live = await bench.accepted()
    await bench.sent(live)
    record = await taken_over(bench, new.id)
    assert [each.state for each in record.attempts] == ["unknown"]
    assert record.generation.told.code == "outcome_unknown"


@pytest.mark.parametrize("verb", ["of_attempt", "bring"])
async def test_what_holds_images_may_not_answer(
    bench: Any, shapes: Any, log: Any, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """Then the generation goes on as if nothing was there; the image is not lost, only not known of."""
    new, _ = await died_after_putting(bench, shapes.gemini(shapes.png(7)))

    def away(*_: object) -> None:
        raise OSError(110, "does not answer")

    open_ = bench.open

    def opened() -> None:
        open_()
        monkeypatch.setattr(bench.core.blobs, verb, away)

    monkeypatch.setattr(bench, "open", opened)
    record = await taken_over(bench, new.id)
    assert [each.state for each in record.attempts] == ["unknown"]
    assert log("storage.failed")


async def test_what_has_ended_is_not_looked_for(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt that was settled has its images on record."""
    record = await bench.made()

    def looked(*_: object) -> None:
        raise AssertionError("nobody asks for it")

    monkeypatch.setattr(bench.core.blobs, "of_attempt", looked)
    assert await adopt(bench.core, record) == 0


@pytest.mark.parametrize("point", ["adoption.before_bringing", "adoption.before_settling"])
async def test_a_taker_that_fails_in_between_is_followed(bench: Any, shapes: Any, arm: Any, point: str) -> None:
    """What holds images still has them, and so may his spool; nothing is bought by anybody."""
    image = shapes.png(7)
    new, _ = await died_after_putting(bench, shapes.gemini(image))
    record = await bench.record(new.id)
    arm(f"{point}:error:1")
    assert await adopt(bench.core, record) == 0
    assert await adopt(bench.core, record) == 1
    assert bench.bytes_of(await bench.record(new.id)) == image
    assert bench.upstream.asked == []
