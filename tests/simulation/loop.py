"""An event loop whose time is virtual and whose order is drawn from a seed; and lives, which can end like a process.

Time stands still while anything is ready, then jumps to the next timer. Of what is ready any may run next: asyncio
promises an order, the network and the threads behind it do not.

A *life* is one run of a gateway. Whatever it begins carries its number in a context variable, so that a kill is one
line: handles of a dead life are never run again. No `finally` of it runs, as none does after `kill -9`.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import random
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any, TypeVar

T = TypeVar("T")

LIFE: ContextVar[int] = ContextVar("life", default=0)
"""Whose work this is; 0: the world's around the gateway."""
STEPS_MAX = 400_000
"""A seed takes a few ten thousand; one that takes this many turns in circles."""
FOR_EVER_S = 1e12


class Killed(BaseException):
    """The process is dead: raised where a plain function cannot be left hanging."""


class Stalled(Exception):
    """Nothing is left that could ever happen, or too much of it did."""


class SeededLoop(asyncio.BaseEventLoop):
    """See the module's docstring."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        # Any of what is ready may be the next: no queue.
        self._ready: list[asyncio.Handle] = []  # type: ignore[assignment]
        self._rng = rng
        self._now = 0.0
        self._dead: set[int] = set()
        self._made: list[asyncio.Task[Any]] = []
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        """In place of `_scheduled`: tuples compare faster than handles, and never by chance."""
        self._numbered = 0
        self.steps = 0
        self.set_task_factory(self._task)

    def time(self) -> float:
        """Virtual seconds since the seed began."""
        return self._now

    def block(self, seconds: float) -> None:
        """Let time pass in which nothing runs: the loop was busy, or the process stopped."""
        self._now += seconds

    # Lives

    def is_dead(self, life: int) -> bool:
        """Whether a life has been ended."""
        return life in self._dead

    def end_life(self, life: int) -> None:
        """Let nothing of a life ever run again."""
        assert life, "the world itself does not die"
        self._dead.add(life)

    def begin(self, life: int, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """Start a task that belongs to a life."""
        return self.create_task(work, name=name, context=context_of(life))

    def bury(self) -> None:
        """Close what never came to its end, once nobody looks: the collector would do it at a time of its own."""
        made, self._made = self._made, []
        for task in made:
            coroutine = task.get_coro()
            if not task.done() and coroutine is not None:
                # One that awaits while it is closed is not ours to mend.
                with contextlib.suppress(RuntimeError):
                    coroutine.close()
        self._ready.clear()
        self._timers.clear()

    def _task(self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T], **options: Any) -> asyncio.Task[T]:
        task = asyncio.Task(work, loop=loop, **options)
        task._log_destroy_pending = False
        self._made.append(task)
        return task

    # What asyncio asks of a loop

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Set a timer; those of one instant are ready together, and change places then."""
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._numbered += 1
        heapq.heappush(self._timers, (when, self._numbered, handle))
        return handle

    def _run_once(self) -> None:
        timers, ready = self._timers, self._ready
        if not ready:
            self._now = max(self._now, self._next_due())
        while timers and timers[0][0] <= self._now:
            ready.append(heapq.heappop(timers)[2])
        if not ready:
            return
        # One of them, not all in turn: who is ready may wait while another goes on, and on.
        at = int(self._rng.random() * len(ready))
        ready[at], ready[-1] = ready[-1], ready[at]
        handle = ready.pop()
        if handle._cancelled or handle._context.get(LIFE, 0) in self._dead:
            return
        self.steps += 1
        handle._run()
        if self.steps > STEPS_MAX:
            raise Stalled(f"{self.steps} steps, and no end")

    def _next_due(self) -> float:
        timers = self._timers
        while timers:
            when, _, handle = timers[0]
            if not handle._cancelled and handle._context.get(LIFE, 0) not in self._dead:
                return when
            heapq.heappop(timers)
        raise Stalled("nothing is left that could happen")

    def _process_events(self, event_list: Any) -> None:
        """There are none: no sockets."""

    def _write_to_self(self) -> None:
        """Nobody sleeps: no threads."""


def context_of(life: int) -> Context:
    """A context whose work belongs to a life."""
    context = copy_context()
    context.run(LIFE.set, life)
    return context


def call_later_as(life: int, delay_s: float, callback: Callable[..., object], *args: Any) -> asyncio.TimerHandle:
    """Set a timer that belongs to a life, whoever sets it."""
    return asyncio.get_running_loop().call_later(delay_s, callback, *args, context=context_of(life))


def hang() -> Awaitable[None]:
    """Wait for ever: the process that waits here is dead."""
    return asyncio.sleep(FOR_EVER_S)
