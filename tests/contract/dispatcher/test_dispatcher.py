"""What every dispatcher promises: once, in order, never more than fit, and never what was not accepted."""

from __future__ import annotations

import asyncio

from holdfast.store.jobs import Job

from .conftest import World


def jobs(*generation_ids: str, **about: object) -> list[Job]:
    """Make a job for each generation."""
    return [Job(generation_id=each, **about) for each in generation_ids]  # type: ignore[arg-type]


async def test_what_was_accepted_is_delivered_once(world: World) -> None:
    """A generation that was accepted is worked on by one worker, once."""
    worker = await world.make()
    await world.accept(worker.dispatcher, *jobs("gen_a", "gen_b"))
    await worker.has("gen_a", "gen_b")
    worker.dispatcher.finished("gen_a")
    worker.dispatcher.finished("gen_b")
    await world.accept(worker.dispatcher, *jobs("gen_c"))
    await worker.has("gen_a", "gen_b", "gen_c")


async def test_what_was_rolled_back_is_delivered_to_nobody(world: World) -> None:
    """A job is part of the transaction that accepts its generation."""
    worker = await world.make()
    await world.accept(worker.dispatcher, *jobs("gen_never"), fails=True)
    await world.accept(worker.dispatcher, *jobs("gen_a"))
    await worker.has("gen_a")


async def test_a_job_has_its_time(world: World) -> None:
    """What is to be worked on later lets pass what came after it."""
    worker = await world.make()
    await world.accept(worker.dispatcher, *jobs("gen_later", run_after_s=3.0), *jobs("gen_now"))
    await worker.has("gen_now", "gen_later")


async def test_no_more_are_delivered_than_fit_and_the_important_first(world: World) -> None:
    """A worker has no more at once than its capacity; what waits is taken by priority, then by age."""
    worker = await world.make(capacity=2)
    await world.accept(worker.dispatcher, *jobs("gen_a", "gen_b"))
    await worker.has("gen_a", "gen_b")
    await world.accept(worker.dispatcher, *jobs("gen_low", priority=1), *jobs("gen_high", priority=2))
    await world.accept(worker.dispatcher, *jobs("gen_late", priority=1))
    assert worker.delivered == ["gen_a", "gen_b"]
    worker.dispatcher.finished("gen_b")
    await worker.has("gen_a", "gen_b", "gen_high")
    worker.dispatcher.finished("gen_a")
    await worker.has("gen_a", "gen_b", "gen_high", "gen_low")
    worker.dispatcher.finished("gen_high")
    await worker.has("gen_a", "gen_b", "gen_high", "gen_low", "gen_late")


async def test_what_is_wanted_no_longer_is_not_delivered(world: World) -> None:
    """A job that was cancelled before anybody had it is forgotten; one that somebody has is not taken from him."""
    worker = await world.make(capacity=2)
    await world.accept(worker.dispatcher, *jobs("gen_a", "gen_b"))
    await worker.has("gen_a", "gen_b")
    await world.accept(worker.dispatcher, *jobs("gen_c", "gen_d"))
    await worker.dispatcher.cancel("gen_c")
    await worker.dispatcher.cancel("gen_a")
    assert worker.dispatcher.holds("gen_a")
    worker.dispatcher.finished("gen_a")
    await worker.has("gen_a", "gen_b", "gen_d")


async def test_what_is_handed_back_is_delivered_again(world: World) -> None:
    """A worker that cannot go on hands its job back, to be delivered after a pause."""
    worker = await world.make()
    await world.accept(worker.dispatcher, *jobs("gen_a"))
    await worker.has("gen_a")
    worker.dispatcher.requeue("gen_a", 0.05)
    await worker.has("gen_a", "gen_a")
    worker.dispatcher.finished("gen_a")


async def test_a_generation_that_is_driven_again_is_another_job(world: World) -> None:
    """A failure that is driven again is worked on, even before its first job has been put away."""
    worker = await world.make()
    await world.accept(worker.dispatcher, *jobs("gen_a"))
    await worker.has("gen_a")
    worker.dispatcher.finished("gen_a")
    await world.accept(worker.dispatcher, *jobs("gen_a", drive=1))
    await worker.has("gen_a", "gen_a")


async def test_a_drain_takes_nothing_new_and_waits(world: World) -> None:
    """While it drains nothing is delivered, and what is being worked on is awaited and stays ours."""
    worker = await world.make()
    await world.accept(worker.dispatcher, *jobs("gen_a"))
    await worker.has("gen_a")
    assert not await worker.dispatcher.drain(0.05)
    await world.accept(worker.dispatcher, *jobs("gen_b"))
    draining = asyncio.create_task(worker.dispatcher.drain(20.0))
    await asyncio.sleep(0)
    assert worker.dispatcher.holds("gen_a")
    worker.dispatcher.finished("gen_a")
    assert await draining
    assert worker.delivered == ["gen_a"]


async def test_a_report_of_what_was_never_delivered_is_no_error(world: World) -> None:
    """Ends are reported by whoever ends something, whether it came as a job or not."""
    worker = await world.make()
    worker.dispatcher.finished("gen_unknown")
    await worker.dispatcher.cancel("gen_unknown")
    assert "0 run" in repr(worker.dispatcher)
