"""Malformed, ambiguous, endless and slow requests on real sockets: refused or closed, and the next caller is served."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

pytestmark = pytest.mark.asyncio(loop_scope="module")

ALLOWED_5XX = {501, 505}
"""RFC 9112 §6.1: a transfer coding that is not understood is 501; RFC 9110 §15.6.6: a version that is not is 505."""


async def test_an_item_is_refused_and_nothing_is_left(stage: Any, item: Any) -> None:
    """One answer at most, the right one, in time; nothing is bought, and the gateway is as it was before."""
    bought = stage.bought()
    seen = await stage.send(*item.pieces, half_closes=item.half_closes)
    assert seen.is_over, f"neither answered nor closed: {seen.raw[:300]!r}"
    assert seen.rest == b""
    assert len(seen.answers) <= 1, f"answered more than once: {seen.raw[:2000]!r}"
    status = seen.answers[0].status if seen.answers else 0
    assert status in item.statuses, seen.raw[:1000]
    if status >= 400:
        assert_told(seen.answers[0])
    assert seen.is_closed or not item.closes, "the connection can still be used"
    assert stage.bought() == bought
    await stage.is_well()
    tasks, descriptors = await stage.settled()
    assert tasks <= stage.tasks
    assert descriptors <= stage.descriptors


def assert_told(answer: Any) -> None:
    """An error says in JSON what happened, and truthfully that nothing was paid; it is never a fault of ours."""
    assert answer.status < 500 or answer.status in ALLOWED_5XX
    told = json.loads(answer.body)
    told = told.get("error", told)
    assert told["paid"] == "no"
    assert told["generation_id"] is None
    assert told.get("message") or told.get("detail")
    fields = dict(line.split(b": ", 1) for line in answer.head.split(b"\r\n")[1:])
    assert fields[b"x-should-retry"] in (b"true", b"false")
    assert fields[b"cache-control"].startswith(b"no-store")


async def test_all_of_it_at_once(stage: Any, corpus: Any) -> None:
    """Two hundred bad callers hold up nobody: others are answered meanwhile, and nothing is left of them."""
    items = [
        item for item in corpus.ITEMS if sum(len(each) for each in item.pieces if isinstance(each, bytes)) < 50_000
    ]
    assert len(items) > 200
    bought = stage.bought()
    playing = [asyncio.create_task(stage.send(*item.pieces, half_closes=item.half_closes)) for item in items]
    while not all(task.done() for task in playing):
        await stage.is_well()
    for item, task in zip(items, playing, strict=True):
        seen = task.result()
        assert seen.is_over, item.name
        assert len(seen.answers) <= 1, item.name
        # Whoever is slowed down by all the others may run out of time.
        assert (seen.answers[0].status if seen.answers else 0) in (*item.statuses, 408), item.name
    assert stage.bought() == bought
    tasks, descriptors = await stage.settled()
    assert tasks <= stage.tasks
    assert descriptors <= stage.descriptors
