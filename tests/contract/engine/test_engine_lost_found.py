"""What was told lost, and is in the spool all the same: the next start finds it, and nothing is bought again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from holdfast.clock import rfc3339
from holdfast.store.attempts import end_attempt
from holdfast.store.exposure import Cap
from holdfast.store.records import AttemptEnd
from holdfast.types import Charge, Failure, FailureKind, Phase

USD = 1_000_000
LOST = Failure(kind=FailureKind.LOST_REPLY, phase=Phase.RECEIVE, charge=Charge.UNKNOWN, detail="the connection broke")
PAID = replace(LOST, kind=FailureKind.MALFORMED, charge=Charge.YES)
PLENTY = Cap(model="nano-banana-pro", micros=100 * USD)

pytestmark = pytest.mark.parametrize("sections", [{"retry": {"on_unknown": "buy_once_more", "purchases_max": 5}}])


async def fails(bench: Any, attempt_id: str, failure: Failure, *, goes_on: bool) -> None:
    """Settle an attempt as one that has failed; its part goes on in a moment, or ends."""
    now = rfc3339(bench.clock.now())
    end = AttemptEnd(
        attempt_id=attempt_id,
        at=now,
        purge_after=now,
        failure=failure,
        retry_at=now if goes_on else None,
        cap=PLENTY if goes_on else None,
    )
    ended = await bench.store.write(end_attempt, end)
    assert ended.goes_on is goes_on


async def test_its_part_is_in_a_pause(bench: Any, shapes: Any) -> None:
    """It is the result, and the pause is over."""
    new, live = await bench.accepted()
    attempt = await bench.sent(live)
    await fails(bench, attempt.id, LOST, goes_on=True)
    bench.received(live, attempt, shapes.gemini(shapes.png(3)))
    recovered = await bench.restart()
    assert (recovered.settled, recovered.to_drive) == (1, ())
    await bench.quiet()
    record = await bench.record(new.id)
    assert (record.generation.state, record.generation.charged_micros) == ("succeeded", USD)
    assert bench.bytes_of(record) == shapes.png(3)
    assert bench.upstream.asked == []
    await bench.is_clean(new.id)


async def test_its_part_is_in_the_pause_of_a_later_one(bench: Any, make: Any, shapes: Any) -> None:
    """It counts for the part, whichever of its attempts says when it goes on; other parts go on."""
    new, live = await bench.accepted(make(n=2))
    first = await bench.sent(live)
    await fails(bench, first.id, LOST, goes_on=True)
    bench.clock.jump(1.0)
    second = await bench.sent(live)
    await fails(bench, second.id, replace(LOST, charge=Charge.NO), goes_on=True)
    bench.received(live, first, shapes.gemini(shapes.png(3)))
    recovered = await bench.restart()
    assert [parts for _, parts in recovered.to_drive] == [(1,)]
    await bench.quiet()
    record = await bench.record(new.id)
    assert (record.generation.state, record.generation.charged_micros) == ("succeeded", 2 * USD)
    assert [asked.part for asked in bench.upstream.asked] == [1]
    await bench.is_clean(new.id)


async def test_its_part_was_given_up_on_since(bench: Any, make: Any, shapes: Any) -> None:
    """A part ends once: its image is kept, and the other part is still driven."""
    new, live = await bench.accepted(make(n=2))
    first = await bench.sent(live)
    await fails(bench, first.id, LOST, goes_on=True)
    bench.clock.jump(1.0)
    second = await bench.sent(live)
    await fails(bench, second.id, PAID, goes_on=False)
    bench.received(live, first, shapes.gemini(shapes.png(3)))
    recovered = await bench.restart()
    assert [parts for _, parts in recovered.to_drive] == [(1,)]
    await bench.quiet()
    record = await bench.record(new.id)
    assert record.generation.state == "succeeded"
    assert len(record.results) == 2
    assert [asked.part for asked in bench.upstream.asked] == [1]
    await bench.is_clean(new.id)
