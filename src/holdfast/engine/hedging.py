"""Two attempts at one part: when the first is slow a second is made elsewhere, and the first that brings it wins.

`policy.hedge` decides, the send commit writes it down, and the settling commits know of both: one that fails while the
other is in flight ends nothing, and the one that loses goes on to its own end, with what it brings kept as an extra. An
upstream that is polled and has not begun is asked to let go of it instead (`engine.pauses`).

The task of the part sees to both, so that whatever awaits a part awaits both of its attempts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from holdfast import faults
from holdfast.engine import attempt, settle
from holdfast.engine.attempt import Attempted
from holdfast.engine.core import Core, Live
from holdfast.engine.course import Target
from holdfast.engine.deciding import Decider
from holdfast.engine.exposure import Exposure
from holdfast.engine.granting import grant_of
from holdfast.engine.part import Part
from holdfast.engine.patience import patiently
from holdfast.engine.queue import Queue, Ticket
from holdfast.engine.upstreams import Upstreams
from holdfast.errors import StorageError
from holdfast.log import emit
from holdfast.policy.fairness import weight_of
from holdfast.policy.hedge import LASTING, Against, Second, SecondBudget, Slow, decide_second, first_obstacle, slow_s
from holdfast.policy.learning import Expectation
from holdfast.policy.mishaps import NEVER_LEFT
from holdfast.policy.retry import RetryPolicy, Tally
from holdfast.policy.routing import NEVER, Pick
from holdfast.providers.registry import is_polled
from holdfast.store.attempts import begin_attempt, get_attempt
from holdfast.store.places import Full
from holdfast.store.records import NewAttempt

LOOK_S = 5.0
"""How often a slow attempt is looked at while nothing but the moment speaks against a second one."""
MOMENT_S = 0.1


@dataclass(slots=True, kw_only=True)
class Flight:
    """An attempt that is under way."""

    at: int
    """The entry of its course that it is sent to, by its place."""
    key: int
    """Which of that upstream's keys."""
    ticket: Ticket
    sent_at: float
    """Monotonic seconds."""
    task: asyncio.Task[Attempted | Full | None]
    """Gives None where there was nothing to do any more."""


class Settle(Protocol):
    """Settles what came of a flight; gives the monotonic second at which its part goes on, None: it does not."""

    def __call__(
        self, part: Part, flight: Flight, on_end: Callable[[], None], *, is_alone: bool
    ) -> Awaitable[float | None]:
        """With `is_alone` nothing else of the part is in flight."""


Read = Callable[[Live], Awaitable[None]]
"""Has the request of a generation at hand again."""


class _NotNow(Exception):
    """A second attempt could not be made at this moment."""


class Hedging:
    """Makes second attempts, and sees pairs to their end; for all parts of this process."""

    def __init__(self, core: Core, queue: Queue, upstreams: Upstreams, decider: Decider, exposure: Exposure) -> None:
        self._core = core
        self._queue = queue
        self._upstreams = upstreams
        self._decider = decider
        self._exposure = exposure
        self._after = core.settings.hedge.after
        self.budget = SecondBudget(core.settings.hedge.budget_share)

    def may_follow(self, part: Part) -> bool:
        """Whether a second attempt may come to stand beside the one that is about to be sent; that one is counted.

        Not beside one that gives a handle: it is asked how it stands, and no cut and no restart loses it.
        """
        live = part.live
        self.budget.earned(live.model)
        if part.had_second or is_polled(part.candidate.target.upstream) or not self._others(part):
            return False
        return first_obstacle(_tally(part), self._policy(live)) is None

    async def see_to_end(
        self, part: Part, first: Flight, on_end: Callable[[], None], *, settle: Settle, read: Read
    ) -> float | None:
        """Await an attempt, and a second one if it is slow; as `Settle`, once both have ended.

        Args:
            part: Which.
            first: Its attempt.
            on_end: Called once the generation has ended, before anybody is told.
            settle: Settles what came of one of them.
            read: Has the request of a generation at hand again, which is let go of once it is sent.
        """
        flights = [first]
        look_at: float | None = first.sent_at + slow_s(self._expect(part, part.at), self._after)
        try:
            while flights:
                done, _ = await asyncio.wait(
                    [each.task for each in flights],
                    timeout=None if look_at is None else max(0.0, look_at - self._core.clock.monotonic()),
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if not done:
                    second, look_at = await self._look(part, first, read)
                    flights += [second] if second is not None else []
                for flight in [each for each in flights if each.task in done]:
                    flights.remove(flight)
                    look_at = None
                    flight.ticket.leave()
                    if not flights and flight.at != part.at:
                        # What follows is decided where the last one was.
                        part.move(flight.ticket, flight.at)
                    again_at = await settle(part, flight, on_end, is_alone=not flights)
                    if again_at is not None:
                        assert not flights, "a part goes on when nothing of it is in flight"
                        return again_at
            return None
        finally:
            part.live.let_go(part.number, second=True)
            part.live.let_go(part.number)
            await _abandon(flights)

    async def _look(self, part: Part, first: Flight, read: Read) -> tuple[Flight | None, float | None]:
        """Make a second attempt if it pays now; else say when to look again, None: never."""
        live, now = part.live, self._core.clock.monotonic()
        if live.is_stopped:
            return None, None
        at = self._free(part)
        slow = Slow(
            elapsed_s=now - first.sent_at,
            remaining_s=live.deadline_at - now,
            first=self._expect(part, first.at),
            second=None if at is None else self._expect(part, at),
            tally=_tally(part),
            budget_allows=self.budget.allows(live.model),
        )
        decided = decide_second(slow, after=self._after, policy=self._policy(live))
        if isinstance(decided, Against):
            if decided in LASTING:
                return None, None
            if decided is Against.NOT_SLOW:
                # What is expected has grown meanwhile. Or it was a rounding away: then it is slow a moment later.
                return None, max(now + MOMENT_S, first.sent_at + slow_s(slow.first, self._after))
            return None, now + LOOK_S
        assert at is not None, "nobody free is a reason against"
        try:
            return await self._begin(part, at, decided, read), None
        except _NotNow:
            return None, self._core.clock.monotonic() + LOOK_S

    async def _begin(self, part: Part, at: int, decided: Second, read: Read) -> Flight | None:
        """Take a place and make the send commit; None: it may not be bought.

        Raises:
            _NotNow: There was no place, or the disk did not take it.
        """
        core, live = self._core, part.live
        ticket = self._queue.ticket(
            live.course.entries[at].upstream,
            flow=live.key_id,
            weight=weight_of(live.tier, live.images_of(part.number)),
            expected_s=decided.expected_s,
        )
        self._queue.enter(ticket)
        key = ticket.key
        if key is None:
            # Its API key has as many in flight as it may: those who have nothing yet come first.
            self._queue.leave(ticket, was_sent=False)
            raise _NotNow
        left = self.budget.left(live.model)
        self.budget.spent(live.model)
        live.seconds_to_send.add(part.number)
        because = _document(decided, budget_left=left)
        made: tuple[NewAttempt, Target] | None = None
        try:
            made = await self._committed(part, at, key, because, read)
        finally:
            if made is None:
                live.let_go(part.number, second=True)
                self._queue.leave(ticket, was_sent=False)
                self.budget.returned(live.model)
        if made is None:
            return None
        new, target = made
        part.had_second = True
        self._upstreams.sent(target.upstream.name, is_repeat=False)
        work = attempt.carry_out(core, live, new, target, key)
        task: asyncio.Task[Attempted | None] = asyncio.get_running_loop().create_task(work, name=f"second:{new.id}")
        return Flight(at=at, key=key, ticket=ticket, sent_at=core.clock.monotonic(), task=task)

    async def _committed(
        self, part: Part, at: int, key: int, because: dict[str, Any], read: Read
    ) -> tuple[NewAttempt, Target] | None:
        core, live = self._core, part.live
        new: NewAttempt | None = None
        try:
            if live.request is None:
                await read(live)
            if live.request is None:
                return None
            cap = await self._exposure.cap(live.model, price_micros=live.list_micros)
            # As it is now: settings that are read anew may make it another one while the commit is made.
            target = live.course.candidates[at].target
            new = replace(attempt.new_attempt(core, live, part.number, at, key), hedge=1, because=because)
            await faults.point("second.before_commit")
            epoch = await core.store.write(begin_attempt, new, cap, grant_of(core, target, key))
        except (StorageError, OSError) as exc:
            # The first one is in flight, and is not given up for want of a second.
            emit("storage.failed", level="error", generation_id=live.id, message=str(exc))
            if new is not None:
                await self._take_back(live, new)
            raise _NotNow from exc
        if isinstance(epoch, Full):
            raise _NotNow
        if epoch is None:
            return None
        await faults.point("second.after_commit")
        core.followers.notify(live.id)
        return new, target

    async def _take_back(self, live: Live, new: NewAttempt) -> None:
        """End a second attempt whose commit may have been made though its answer was lost: nothing of it was sent."""
        core = self._core
        if await patiently(lambda: core.store.read(get_attempt, new.id), live.id) is not None:
            judged = settle.Judged(results=(), drafts=(), failure=NEVER_LEFT)
            await settle.commit(core, settle.About.of_live(live, new), judged, None)

    def _free(self, part: Part) -> int | None:
        """Find an entry for a second attempt: another upstream that is well, and has a place at once."""
        others = self._others(part)
        if not others:
            return None
        course = part.live.course
        avoided = {**part.passes_over(), **{at: NEVER for at in range(len(course.entries)) if at not in others}}
        choice = self._upstreams.choose(course, avoided)
        if isinstance(choice, Pick) and self._queue.free(course.entries[choice.at].upstream) != 0:
            return choice.at
        return None

    def _others(self, part: Part) -> set[int]:
        """Entries that would bring what was asked for from another upstream."""
        course = part.live.course
        return {
            at
            for at, entry in enumerate(course.entries)
            if entry.upstream != part.upstream and not entry.is_lesser and at not in course.barred
        }

    def _expect(self, part: Part, at: int) -> Expectation:
        candidate = part.live.course.candidates[at]
        target = candidate.target
        return self._core.latencies.expect(upstream=target.upstream.name, model=target.route, tier=candidate.tier)

    def _policy(self, live: Live) -> RetryPolicy:
        return self._decider.policy(live.model, live.purchases_max)


def _tally(part: Part) -> Tally | None:
    return Tally.of(part.failures) if part.tried else None


def _document(decided: Second, *, budget_left: float) -> dict[str, Any]:
    """Give what the record keeps of the decision; `docs/discussions/decisions.md` describes it."""
    return {
        "elapsed_s": round(decided.elapsed_s, 3),
        "slow_s": round(decided.slow_s, 3),
        "chance": round(decided.chance, 3),
        "expected_s": round(decided.expected_s, 3),
        "remaining_s": round(decided.remaining_s, 3),
        "budget_left": round(budget_left, 3),
    }


async def _abandon(flights: list[Flight]) -> None:
    """End what is still under way with its part's task: this process ends, or could not write how one of them did."""
    for flight in flights:
        flight.task.cancel()
        flight.ticket.leave()
    if flights:
        await asyncio.wait([flight.task for flight in flights])
