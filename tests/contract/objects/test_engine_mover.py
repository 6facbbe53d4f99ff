"""What waits in the data folder goes into the bucket as soon as it takes it, and only then leaves the disk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from holdfast.engine import mover as module
from holdfast.engine.mover import AT_ONCE, Mover
from holdfast.store.objects.blobs import ObjectBlobs
from holdfast.store.objects.bucket import Bucket
from holdfast.threads import Threads

KEYS = [f"blobs/2026/01/17/att_01JHSA0000000000000000000A-{at}.png" for at in range(2 * AT_ONCE + 1)]


@pytest.fixture
async def threads() -> AsyncIterator[Threads]:
    """Where the bucket is asked."""
    made = Threads(4, "test")
    yield made
    made.close(wait=True)


@pytest.fixture
def mover_of(threads: Threads) -> Callable[..., Mover]:
    """Make movers, with what of an engine they use."""

    def mover_of(blobs: ObjectBlobs, *, leads: bool = True) -> Mover:
        clock = SimpleNamespace(new_id=lambda prefix: f"{prefix}_1")
        core: Any = SimpleNamespace(with_blobs=threads.run, leads=lambda: leads, clock=clock)
        return Mover(core, blobs)

    return mover_of


def waiting(blobs: ObjectBlobs, a_file: Callable[..., Path], keys: list[str]) -> None:
    """Put images while the bucket is away."""
    blobs.is_away = True
    for key in keys:
        blobs.put_file(key, a_file(key.encode()))


async def test_all_that_waits_is_moved(
    blobs_at: Callable[..., ObjectBlobs],
    a_file: Callable[..., Path],
    bucket: Bucket,
    mover_of: Callable[..., Mover],
) -> None:
    """In several batches; afterwards nothing waits, and whoever puts next goes to the bucket."""
    blobs = blobs_at()
    waiting(blobs, a_file, KEYS)
    assert await mover_of(blobs).look()
    assert list(blobs.waiting()) == []
    assert {head.key for head in bucket.list("blobs")} == set(KEYS)
    assert not blobs.is_away
    assert await mover_of(blobs).look(), "and nothing is nothing to complain of"


async def test_a_bucket_that_is_away_is_offered_few_and_everything_stays(
    path: Any, blobs_at: Callable[..., ObjectBlobs], a_file: Callable[..., Path], mover_of: Callable[..., Mover]
) -> None:
    """The first batch tells it."""
    path.always = "forbidden"
    blobs = blobs_at(endpoint=path.endpoint)
    waiting(blobs, a_file, KEYS)
    assert not await mover_of(blobs).look()
    assert path.count("PUT") == AT_ONCE
    assert sorted(blobs.waiting()) == KEYS


async def test_one_that_is_refused_for_its_own_sake_keeps_no_other_back(
    path: Any, blobs_at: Callable[..., ObjectBlobs], a_file: Callable[..., Path], mover_of: Callable[..., Mover]
) -> None:
    """It is offered again with the next look."""
    path.harms = [("PUT", "forbidden")]
    blobs = blobs_at(endpoint=path.endpoint)
    waiting(blobs, a_file, KEYS)
    mover = mover_of(blobs)
    assert await mover.look()
    assert len(list(blobs.waiting())) == 1
    assert await mover.look()
    assert list(blobs.waiting()) == []


async def test_it_looks_again_until_the_bucket_is_back(
    path: Any,
    blobs_at: Callable[..., ObjectBlobs],
    a_file: Callable[..., Path],
    mover_of: Callable[..., Mover],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By itself, and a folder that cannot be read for a moment does not end it."""
    for name in ("FIRST_S", "EVERY_S", "PAUSE_S_MAX"):
        monkeypatch.setattr(module, name, 0.01)
    path.always = "forbidden"
    blobs = blobs_at(endpoint=path.endpoint)
    waiting(blobs, a_file, KEYS[:2])
    real, fails = blobs.waiting, iter([True])

    def once_broken(**_: object) -> Any:
        if next(fails, False):
            raise OSError(5, "Input/output error")
        return real()

    monkeypatch.setattr(blobs, "waiting", once_broken)
    mover = mover_of(blobs)
    mover.start()
    async with asyncio.timeout(20):
        while path.count("PUT") < 4:
            await asyncio.sleep(0.01)
        path.always = None
        while list(real()):
            await asyncio.sleep(0.01)
    await mover.stop()
    assert next(fails, None) is None


async def test_it_ends_while_it_waits(mover_of: Callable[..., Mover]) -> None:
    """And one that never began ends too."""
    mover = mover_of(cast(Any, None))
    await mover.stop()
    mover.start()
    await mover.stop()


async def test_one_that_was_away_is_tried_out_where_nothing_waits(
    path: Any, blobs_at: Callable[..., ObjectBlobs], a_file: Callable[..., Path], mover_of: Callable[..., Mover]
) -> None:
    """What it did not take was moved by another process, or deleted: whoever puts next finds it back all the same."""
    path.always = "forbidden"
    blobs = blobs_at(endpoint=path.endpoint)
    blobs.put_file(KEYS[0], a_file())
    blobs.delete_files(KEYS[:1])
    assert blobs.is_away
    mover = mover_of(blobs)
    assert not await mover.look()
    assert blobs.is_away
    path.always = None
    assert await mover.look()
    assert not blobs.is_away
    puts = path.count("PUT")
    assert await mover.look()
    assert path.count("PUT") == puts, "one that is not away is not tried out"
