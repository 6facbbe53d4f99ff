"""Threads for work that would hold up the loop: one queue, and one hop there and back for each job.

`ThreadPoolExecutor` does the same with a lock, a condition and two futures for each call. Over the hundred batches of a
4K image that was as much CPU as receiving it (lab/bench/transport.py, 28 against 16 ms).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
T = TypeVar("T")
Done = Callable[[Any, BaseException | None], None]
Job = tuple[asyncio.AbstractEventLoop, Callable[[], Any], Done]


def let_others_first() -> None:
    """Tell the scheduler that this thread does batch work: woken, it waits until whoever runs makes room.

    Otherwise each piece that the loop hands over takes the core from it at once, in the midst of its work: with 2,000
    answers due at once on one core that were 44 switches an answer in place of 20, and a tenth of the CPU (lab/bench).
    """
    if hasattr(os, "SCHED_BATCH"):
        # A hint; a sandbox may refuse it.
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


class Threads:
    """A few threads that run jobs and report to the loop that gave them. Started with the first job."""

    __slots__ = ("_count", "_is_closed", "_jobs", "_name", "_threads")

    def __init__(self, count: int, name: str) -> None:
        assert count > 0
        self._count = count
        self._name = name
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._is_closed = False

    def submit(self, work: Callable[[], T], done: Callable[[T, BaseException | None], None]) -> None:
        """Run `work` in a thread, then `done` with its result or its exception on this loop."""
        assert not self._is_closed
        if len(self._threads) < self._count:
            thread = threading.Thread(target=self._run, name=f"holdfast-{self._name}-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._jobs.put((asyncio.get_running_loop(), work, done))

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """Run a function in a thread and give its result; it ends even if the waiting is cancelled."""
        finished: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def done(result: T, error: BaseException | None) -> None:
            if finished.done():
                return
            if error is None:
                finished.set_result(result)
            else:
                finished.set_exception(error)

        self.submit(partial(function, *args) if args else function, done)
        return await finished

    def close(self, *, wait: bool = False) -> None:
        """Let the threads end once the jobs before this are done."""
        if not self._is_closed:
            self._is_closed = True
            for _ in self._threads:
                self._jobs.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    def _run(self) -> None:
        let_others_first()
        while (job := self._jobs.get()) is not None:
            loop, work, done = job
            result, error = None, None
            try:
                result = work()
            except BaseException as caught:  # noqa: BLE001 — a thread's border: what was raised is the loop's to judge
                error = caught
            if not loop.is_closed():
                loop.call_soon_threadsafe(done, result, error)
            # A thread that waits for its next job must not keep the last batch alive.
            del job, loop, work, done, result, error


class Singly(Generic[Item]):
    """Work in threads that gains nothing by being done together: each item by itself, as many at once as threads."""

    __slots__ = ("_threads", "_work")

    def __init__(self, threads: Threads, work: Callable[[Item], object]) -> None:
        self._threads = threads
        self._work = work

    async def do(self, items: Sequence[Item]) -> None:
        """Have several things done, to their end, whatever becomes of the others; raises what the first one raised."""
        work, threads = self._work, self._threads
        done = await asyncio.gather(*(threads.run(work, item) for item in items), return_exceptions=True)
        for outcome in done:
            if isinstance(outcome, BaseException):
                raise outcome


class Batches(Generic[Item, T]):
    """Group commit for work in threads: what is asked for while the work is being done, is done together next.

    Alone, a job goes through at once; in a crowd one sync of the disk, and one hop there and back, serve all that wait.
    """

    __slots__ = ("_is_working", "_threads", "_waiting", "_work")

    def __init__(self, threads: Threads, work: Callable[[list[Item]], Sequence[T | Exception]]) -> None:
        """Prepare.

        Args:
            threads: Where the work is done, one batch at a time.
            work: Takes what is asked for, and tells of each in turn what came of it, or what went wrong with it.
        """
        self._threads = threads
        self._work = work
        self._waiting: list[tuple[Item, asyncio.Future[T]]] = []
        self._is_working = False

    async def do(self, item: Item) -> T:
        """Have one thing done; it is done even if the waiting is cancelled."""
        finished: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, finished))
        if not self._is_working:
            self._begin()
        return await finished

    def _begin(self) -> None:
        batch, self._waiting = self._waiting, []
        self._is_working = True
        work = partial(self._work, [item for item, _ in batch])
        self._threads.submit(work, partial(self._told, [finished for _, finished in batch]))

    def _told(
        self,
        batch: list[asyncio.Future[T]],
        results: Sequence[T | Exception],
        error: BaseException | None,
    ) -> None:
        self._is_working = False
        if self._waiting:
            self._begin()
        told: Sequence[Any] = results if error is None else [error] * len(batch)
        for finished, result in zip(batch, told, strict=True):
            if finished.done():
                continue
            if isinstance(result, BaseException):
                finished.set_exception(result)
            else:
                finished.set_result(result)
