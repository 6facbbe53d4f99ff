"""Threads for sinks: work happens off the loop, its end is told on the loop, in order, whatever it raised."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import weakref
from collections.abc import Iterator

import pytest

from holdfast.threads import Batches, Singly, Threads, let_others_first


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
    begun, go_on, done = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        assert go_on.wait(5.0)
        done.set()

    task = asyncio.create_task(threads.run(work))
    await asyncio.to_thread(begun.wait, 5.0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    assert await asyncio.to_thread(done.wait, 5.0)


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
    for _ in range(2_000):
        # The thread lets go after it has told the loop: it is given its turn, which a busy loop would not give it.
        if gone() is None:
            break
        await asyncio.sleep(0.001)
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


# Together


class Together:
    """Work that waits for leave, and notes what was done together."""

    def __init__(self, threads: Threads) -> None:
        self.batches: Batches[str, str] = Batches(threads, self._work)
        self.done: list[list[str]] = []
        self.leave = threading.Semaphore(0)

    def _work(self, items: list[str]) -> list[str | Exception]:
        assert self.leave.acquire(timeout=5.0)
        self.done.append(items)
        if "broken" in items:
            raise RuntimeError("all of it")
        return [OSError(28, item) if item.startswith("bad") else item.upper() for item in items]


async def test_what_comes_while_work_is_done_is_done_together(threads: Threads) -> None:
    """The first goes through at once; who comes meanwhile shares one turn, in order."""
    together = Together(threads)
    asked = [asyncio.create_task(together.batches.do(item)) for item in ("a", "b", "c")]
    await asyncio.sleep(0)
    together.leave.release(2)
    assert await asyncio.gather(*asked) == ["A", "B", "C"]
    assert together.done == [["a"], ["b", "c"]]
    together.leave.release()
    assert await together.batches.do("d") == "D"
    assert together.done[2:] == [["d"]]


async def test_what_fails_in_a_batch_fails_alone(threads: Threads) -> None:
    """Each is told of its own; work that raises has failed for all of its batch, and for nobody after it."""
    together = Together(threads)
    asked = [asyncio.create_task(together.batches.do(item)) for item in ("first", "bad", "good", "broken", "last")]
    await asyncio.sleep(0)
    together.leave.release(1)
    assert await asked[0] == "FIRST"
    together.leave.release(1)
    told = await asyncio.gather(*asked[1:], return_exceptions=True)
    assert [type(each) for each in told] == [RuntimeError] * 4
    asked = [asyncio.create_task(together.batches.do(item)) for item in ("one", "bad", "good")]
    together.leave.release(2)
    told = await asyncio.gather(*asked, return_exceptions=True)
    assert (told[0], told[2]) == ("ONE", "GOOD")
    assert isinstance(told[1], OSError)
    assert told[1].strerror == "bad"


async def test_who_stops_waiting_stops_nobody(threads: Threads) -> None:
    """The work of a task that is cancelled is done all the same, and its neighbours are told."""
    together = Together(threads)
    asked = [asyncio.create_task(together.batches.do(item)) for item in ("a", "b", "c")]
    await asyncio.sleep(0)
    for task in asked[:2]:
        task.cancel()
    together.leave.release(2)
    assert await asked[2] == "C"
    assert together.done == [["a"], ["b", "c"]]
    assert [task.cancelled() for task in asked] == [True, True, False]


# One by one


async def test_work_that_gains_nothing_together_is_done_side_by_side(threads: Threads) -> None:
    """As many at once as there are threads."""
    met = threading.Barrier(2)
    done: list[str] = []

    def work(item: str) -> None:
        met.wait(5)
        done.append(item)

    await Singly(threads, work).do(["a", "b"])
    assert sorted(done) == ["a", "b"]
    await Singly(threads, work).do([])


async def test_one_that_fails_is_told_when_all_have_ended(threads: Threads) -> None:
    """Nothing is still at work behind the back of whoever was told."""
    done: list[str] = []

    def work(item: str) -> None:
        if item == "bad":
            raise OSError(5, item)
        done.append(item)

    with pytest.raises(OSError, match="bad"):
        await Singly(threads, work).do(["bad", "a", "b"])
    assert sorted(done) == ["a", "b"]


# The scheduler


async def test_workers_never_take_the_core_from_the_loop(threads: Threads) -> None:
    """They are batch work for the scheduler; the thread of the loop is not."""
    policy = await threads.run(lambda: os.sched_getscheduler(0))
    assert policy == os.SCHED_BATCH
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_a_scheduler_that_refuses_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sandbox may forbid it; other systems have no such thing."""
    asked: list[int] = []

    def refuse(pid: int, policy: int, param: os.sched_param) -> None:
        asked.append(pid)
        raise PermissionError(1, "not here")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    let_others_first()
    assert asked == [0]
    monkeypatch.delattr(os, "SCHED_BATCH")
    let_others_first()
    assert asked == [0]
