"""One part of a generation, from its place in line to its image, or to the end of what may be tried.

What follows a failed attempt is decided by `policy.retry` before the attempt's commit, which writes the decision down:
a process that dies in a pause leaves the next one all that it needs. Only what certainly cost nothing is tried again,
at the same upstream; what may have been charged is not bought twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import msgspec

from holdfast import faults
from holdfast.config import RetrySettings
from holdfast.engine import attempt, settle
from holdfast.engine.attempt import Attempted, Resumed
from holdfast.engine.core import Core, Live, Target
from holdfast.engine.ending import DEADLINE_EXCEEDED, end_early
from holdfast.engine.patience import patiently
from holdfast.engine.queue import Queue, Ticket
from holdfast.engine.settle import Sequel
from holdfast.engine.submit import first_target
from holdfast.errors import StorageError
from holdfast.log import emit
from holdfast.policy.latency import prior
from holdfast.policy.retry import Circumstances, Retry, RetryPolicy, Tally, decide_after_failure
from holdfast.policy.retry_budget import RetryBudget
from holdfast.store.generations import get_generation
from holdfast.types import Failure, FailureKind, Request

UNREAD_S = 2.0
"""Until a request that could not be read is read again."""


def policy_of(settings: RetrySettings) -> RetryPolicy:
    """Say within which limits something is tried again."""
    return RetryPolicy(
        attempts_max=settings.attempts_max,
        backoff_s_first=settings.backoff_s_first,
        backoff_s_max=settings.backoff_s_max,
        sends_max=settings.sends_max,
    )


def limits_of(targets: Mapping[str, Sequence[Target]]) -> dict[str, int]:
    """Say how many places each upstream has; several routes may lead to one."""
    return {target.upstream.name: target.upstream.concurrency for route in targets.values() for target in route}


class Parts:
    """Drives parts; what all of them share is the line at each upstream, and the budget of repeats."""

    def __init__(self, core: Core) -> None:
        settings = core.settings.retry
        self._core = core
        self._policy = policy_of(settings)
        self._budget = RetryBudget.full(share=settings.budget_share, burst=settings.budget_burst)
        self.queue = Queue(limits_of(core.targets))
        self._pausing = 0

    def __repr__(self) -> str:
        counts = ((self.queue.waiting, "in line"), (self._pausing, "in a pause"))
        return ", ".join(f"{count} {where}" for count, where in counts if count)

    def enter(self, live: Live, part: int) -> Ticket:
        """Ask for a place for a part, now: the order of asking is the order of sending."""
        ticket = self.queue.ticket(first_target(self._core, live.model).upstream.name)
        if part not in live.earlier:
            self.queue.enter(ticket)
        live.tickets.append(ticket)
        return ticket

    def hold(self, live: Live, target: Target) -> Ticket:
        """Give a place to what an upstream is at work for already, whether there is one or not."""
        ticket = self.queue.ticket(target.upstream.name)
        self.queue.hold(ticket)
        live.tickets.append(ticket)
        return ticket

    def places(self, model: str) -> int | None:
        """Say how many calls of a model still get a place, or one in line; None: as many as there are."""
        free = self.queue.free(first_target(self._core, model).upstream.name)
        return None if free is None else free + self._core.settings.queue.waiting_max - self.queue.waiting

    async def run(
        self,
        live: Live,
        part: int,
        ticket: Ticket,
        on_end: Callable[[], None],
        resumed: Resumed | None = None,
    ) -> None:
        """Drive a part until it has ended, or nothing more is to be sent for its generation.

        Args:
            live: The generation.
            part: Which of its parts.
            ticket: Its place, or its place in line; given up when this returns.
            on_end: Called once the generation has ended, before anybody is told.
            resumed: Its attempt that an earlier process has begun, and that goes on.
        """
        failures: list[Failure] = []
        earlier = live.earlier.get(part)
        if resumed is not None:
            failures += resumed.failures
            again_at = await self._resume(resumed, ticket, failures, on_end)
            if again_at is None:
                return
            await self._pause(live, part, ticket, again_at)
        elif earlier is not None:
            failures += earlier.failures
            await self._pause(live, part, ticket, earlier.again_at)
        while await self._place(live, part, ticket):
            again_at = await self._attempt(live, part, ticket, failures, on_end)
            if again_at is None:
                return
            await self._pause(live, part, ticket, again_at)
        # Also where a sibling has stopped them all: this part may have failed after that, to be tried again.
        if self._core.clock.monotonic() >= live.deadline_at and await self._pass_deadline(live, on_end):
            on_end()

    async def _pass_deadline(self, live: Live, on_end: Callable[[], None]) -> bool:
        """Begin nothing more; what is in flight is awaited unless its caller named his budget. True: it has ended."""
        awaits = not live.hard_deadline
        ended = await end_early(self._core, live.id, DEADLINE_EXCEEDED, drive=live.drive, awaits=awaits, on_end=on_end)
        live.stop()
        return ended

    async def _attempt(
        self, live: Live, part: int, ticket: Ticket, failures: list[Failure], on_end: Callable[[], None]
    ) -> float | None:
        """Try once; return the monotonic second at which to try again, None: the part has ended."""
        core = self._core
        if not failures:
            self._budget = self._budget.earned()
        try:
            attempted = await attempt.run(core, live, part, first_target(core, live.model))
        finally:
            # While its answer is settled, the next one may be asked for.
            ticket.leave()
            live.let_go(part)
        if attempted is not None:
            return await self._settle(live, attempted, failures, on_end)
        # Nothing is to be sent: it may have ended while this part was on its way here.
        if await patiently(lambda: settle.tell_if_ended(core, live.id), live.id) is not None:
            on_end()
        return None

    async def _resume(
        self, resumed: Resumed, ticket: Ticket, failures: list[Failure], on_end: Callable[[], None]
    ) -> float | None:
        """Go on with an attempt that was begun; as `_attempt`."""
        try:
            attempted = await attempt.resume(self._core, resumed)
        finally:
            ticket.leave()
        return await self._settle(resumed.live, attempted, failures, on_end)

    async def _settle(
        self, live: Live, attempted: Attempted, failures: list[Failure], on_end: Callable[[], None]
    ) -> float | None:
        core = self._core
        sequels: list[Sequel] = []

        def decide(failure: Failure) -> Sequel:
            failures.append(failure)
            sequels.append(self._sequel(live, failures))
            return sequels[-1]

        # One that an earlier process began may be at an upstream that its route no longer asks first.
        is_ours = any(target.upstream.name == attempted.new.upstream for target in core.targets.get(live.model, ())[:1])
        ended = await settle.settle(core, live, attempted, on_end=on_end, decide=decide if is_ours else None)
        if isinstance(ended, Sequel):
            return ended.again_at
        for sequel in sequels:
            if isinstance(sequel.decision, Retry):
                # A cancel came first.
                self._budget = self._budget.returned()
        if ended is not None:
            on_end()
        return None

    def _sequel(self, live: Live, failures: Sequence[Failure]) -> Sequel:
        """Decide what follows the last of these failures, and take what it needs out of the budget."""
        core, failure = self._core, failures[-1]
        decided_at = core.clock.monotonic()
        now = Circumstances(
            remaining_s=live.deadline_at - decided_at,
            expected_s=prior(live.tier, scale=core.settings.latency.scale).expected_s,
            jitter=core.clock.random(),
            budget_allows=self._budget.allows,
        )
        no_images = sum(each.kind is FailureKind.NO_IMAGE for each in failures)
        tally = Tally.of(tuple(failures), no_images=no_images)
        decision = decide_after_failure(failure, tally=tally, now=now, policy=self._policy)
        if isinstance(decision, Retry):
            self._budget = self._budget.spent()
        return Sequel(decision=decision, decided_at=decided_at)

    async def _place(self, live: Live, part: int, ticket: Ticket) -> bool:
        """Wait for a place at the upstream, and have the request at hand; False: nothing is to be sent any more."""
        clock = self._core.clock
        while not live.is_stopped and clock.monotonic() < live.deadline_at:
            if ticket.position is not None:
                live.let_go(part)
                await _sleep(live, live.deadline_at - clock.monotonic(), ticket)
                continue
            live.parts_to_send.add(part)
            if live.request is not None:
                return True
            try:
                await self._read_request(live)
            except (StorageError, OSError) as exc:
                emit("storage.failed", level="error", generation_id=live.id, message=str(exc), again_in_s=UNREAD_S)
                # The place is for somebody who can be sent; this part comes again, if there is time left.
                ticket.leave()
                live.let_go(part)
                await _sleep(live, min(UNREAD_S, live.deadline_at - clock.monotonic()))
                self.queue.enter(ticket)
        live.let_go(part)
        return False

    async def _read_request(self, live: Live) -> None:
        row = await self._core.store.read(get_generation, live.id)
        assert row is not None
        if row.request is not None:
            live.request = msgspec.json.decode(row.request, type=Request)
        else:
            # It has ended meanwhile, and what is purged with its images is gone.
            live.stop()

    async def _pause(self, live: Live, part: int, ticket: Ticket, until: float) -> None:
        """Wait without a place, then ask for one again."""
        ticket.leave()
        live.let_go(part)
        self._pausing += 1
        try:
            await faults.point("retry.before_pause")
            await _sleep(live, until - self._core.clock.monotonic())
            await faults.point("retry.after_pause")
        finally:
            self._pausing -= 1
        self.queue.enter(ticket)


async def _sleep(live: Live, after_s: float, ticket: Ticket | None = None) -> None:
    """Wait for so long, for a place, or until nothing more is to be sent; whichever comes first."""
    if live.is_stopped:
        return
    loop = asyncio.get_running_loop()
    sleeper: asyncio.Future[None] = loop.create_future()
    timer = loop.call_later(max(0.0, after_s), _wake, sleeper)
    live.sleepers.append(sleeper)
    if ticket is not None:
        ticket.sleeper = sleeper
    try:
        await sleeper
    finally:
        timer.cancel()
        live.sleepers.remove(sleeper)
        if ticket is not None:
            ticket.sleeper = None


def _wake(sleeper: asyncio.Future[None]) -> None:
    if not sleeper.done():
        sleeper.set_result(None)
