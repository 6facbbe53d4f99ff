"""The threads in which sinks work: one queue, and one hop there and back for each batch.

`ThreadPoolExecutor` does the same with a lock, a condition and two futures for each call; over the hundred batches of a
4K image that was as much CPU as receiving it (lab/bench/transport.py, 28 against 16 ms).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue

Job = tuple[Callable[[], bool], Callable[[bool, BaseException | None], None]]


class SinkThreads:
    """A few threads that run jobs and report to the loop. Started with the first job."""

    __slots__ = ("_count", "_is_closed", "_jobs", "_loop", "_threads")

    def __init__(self, count: int) -> None:
        assert count > 0
        self._loop = asyncio.get_running_loop()
        self._count = count
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._is_closed = False

    def submit(self, work: Callable[[], bool], done: Callable[[bool, BaseException | None], None]) -> None:
        """Run `work` in a thread, then `done` with its result or its exception on the loop."""
        assert not self._is_closed
        if len(self._threads) < self._count:
            thread = threading.Thread(target=self._run, name=f"holdfast-sink-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._jobs.put((work, done))

    async def run(self, work: Callable[[], object]) -> None:
        """Run `work` in a thread and wait for it; it ends even if the waiting is cancelled."""
        finished: asyncio.Future[None] = self._loop.create_future()

        def done(_: bool, error: BaseException | None) -> None:
            if finished.done():
                return
            if error is None:
                finished.set_result(None)
            else:
                finished.set_exception(error)

        self.submit(lambda: bool(work()), done)
        await finished

    def close(self) -> None:
        """Let the threads end once the jobs before this are done."""
        self._is_closed = True
        for _ in self._threads:
            self._jobs.put(None)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            work, done = job
            result, error = False, None
            try:
                result = work()
            except BaseException as caught:  # noqa: BLE001 — a thread's border: what was raised is the loop's to judge
                error = caught
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(done, result, error)
            # A thread that waits for its next job must not keep the last batch alive.
            del job, work, done, error
