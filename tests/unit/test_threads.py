"""Threads for sinks: work happens off the loop, its end is told on the loop, in order, whatever it raised."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Iterator

import pytest

from holdfast.threads import Threads


@pytest.fixture
async def threads() -> Iterator[Threads]:  # type: ignore[misc]
    """Two threads that end with the test."""
    made = Threads(2, "sink")
    yield made
    made.close()
    for thread in made._threads:
        await asyncio.to_thread(thread.join, 5.0)
        assert not thread.is_alive()


async def outcome_of(threads: Threads, work: object) -> tuple[bool, BaseException | None, int]:
    """Submit and wait; give what was told, and in which thread it was told."""
    told: asyncio.Future[tuple[bool, BaseException | None, int]] = asyncio.get_running_loop().create_future()
    threads.submit(
        work,  # type: ignore[arg-type]
        lambda result, error: told.set_result((result, error, threading.get_ident())),
    )
    return await told


@pytest.mark.parametrize("result", [True, False])
async def test_work_is_done_elsewhere_and_told_here(threads: Threads, result: bool) -> None:
    """The loop never decodes; what follows from it is decided on the loop."""
    worked_in: list[int] = []

    def work() -> bool:
        worked_in.append(threading.get_ident())
        return result

    assert await outcome_of(threads, work) == (result, None, threading.get_ident())
    assert worked_in[0] != threading.get_ident()


@pytest.mark.parametrize("error", [ValueError("bad"), OSError(28, "full"), SystemExit(3)])
async def test_what_work_raises_is_told_as_it_is(threads: Threads, error: BaseException) -> None:
    """Nothing is lost in a thread, and the thread goes on."""

    def work() -> bool:
        raise error

    _, told, _ = await outcome_of(threads, work)
    assert told is error
    assert await outcome_of(threads, lambda: True) == (True, None, threading.get_ident())


async def test_no_thread_is_started_before_there_is_work() -> None:
    """And never more than were granted."""
    threads = Threads(2, "sink")
    assert threads._threads == []
    for _ in range(5):
        await threads.run(lambda: None)
    assert len(threads._threads) == 2
    assert all(thread.daemon for thread in threads._threads)
    threads.close()
    for thread in threads._threads:
        await asyncio.to_thread(thread.join, 5.0)


async def test_jobs_of_one_thread_keep_their_order() -> None:
    """Batches of a body are fed in the order in which they came."""
    threads = Threads(1, "sink")
    done: list[int] = []

    def work(number: int) -> bool:
        done.append(number)
        return True

    for number in range(100):
        threads.submit(lambda number=number: work(number), lambda *_: None)  # type: ignore[misc]
    await threads.run(lambda: None)
    assert done == list(range(100))
    threads.close()
    await asyncio.to_thread(threads._threads[0].join, 5.0)


async def test_run_waits_and_raises(threads: Threads) -> None:
    """For what must have ended before anything else: closing a sink."""
    assert await threads.run(divmod, 7, 2) == (3, 1)
    done: list[str] = []
    await threads.run(lambda: done.append("closed"))
    assert done == ["closed"]

    def fail() -> None:
        raise OSError(28, "full")

    with pytest.raises(OSError, match="full"):
        await threads.run(fail)


async def test_work_goes_on_when_the_waiting_is_cancelled(threads: Threads) -> None:
    """A file that is half closed would be worse than one that is closed late; nobody is told twice."""
    begun, go_on = threading.Event(), threading.Event()
    done: list[bool] = []

    def work() -> None:
        begun.set()
        assert go_on.wait(5.0)
        done.append(True)

    task = asyncio.create_task(threads.run(work))
    await asyncio.to_thread(begun.wait, 5.0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    await threads.run(lambda: None)
    await threads.run(lambda: None)
    assert done == [True]


async def test_work_given_before_the_close_is_done(threads: Threads) -> None:
    """And none is taken afterwards."""
    done: list[int] = []
    for number in range(20):
        threads.submit(lambda number=number: bool(done.append(number)), lambda *_: None)  # type: ignore[misc]
    threads.close()
    for thread in threads._threads:
        await asyncio.to_thread(thread.join, 5.0)
    assert sorted(done) == list(range(20))
    with pytest.raises(AssertionError):
        threads.submit(lambda: True, lambda *_: None)


async def test_an_idle_thread_keeps_nothing_of_its_last_job(threads: Threads) -> None:
    """The last batch of a 4K image is megabytes, and the next answer may be minutes away."""

    class Batch:
        pass

    batch = Batch()
    gone = weakref.ref(batch)

    def work(batch: Batch = batch) -> bool:
        return batch is not None

    await threads.run(work)
    del batch, work
    for _ in range(20_000):
        # The thread lets go after it has told the loop: it is given its turn.
        if gone() is None:
            break
        await asyncio.sleep(0)
        gc.collect(0)
    assert gone() is None


async def test_a_close_that_waits_leaves_no_thread_behind() -> None:
    """A data folder is unlocked only when nobody writes to it any more."""
    threads = Threads(2, "file")
    done: list[int] = []
    for number in range(10):
        threads.submit(lambda number=number: done.append(number), lambda *_: None)  # type: ignore[misc]
    threads.close(wait=True)
    threads.close(wait=True)
    assert sorted(done) == list(range(10))
    assert not any(thread.is_alive() for thread in threads._threads)
