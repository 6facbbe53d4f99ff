"""One part of a generation, from its place in line to its image, or to the end of what may be tried.

Where it is sent is chosen by `policy.routing` when it asks for a place. What follows a failed attempt is decided by
`policy.retry` before the attempt's commit, which writes the decision down: a process that dies in a pause leaves the
next one all that it needs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from math import ceil

import msgspec

from holdfast import faults
from holdfast.engine import attempt, settle
from holdfast.engine.attempt import Attempted, Resumed
from holdfast.engine.core import Core, Live
from holdfast.engine.course import Course, Target
from holdfast.engine.deciding import Decider
from holdfast.engine.ending import DAY_SPENT, DEADLINE_EXCEEDED, OUT_OF_ROUTE, end_early
from holdfast.engine.exposure import Exposure
from holdfast.engine.hedging import Flight, Hedging
from holdfast.engine.part import Part
from holdfast.engine.patience import patiently
from holdfast.engine.queue import Queue, Ticket
from holdfast.engine.renewal import by_name, caught_up, limits_of
from holdfast.engine.sent import remember
from holdfast.engine.sequel import Sequel
from holdfast.engine.submit import Submission, course_of
from holdfast.engine.upstreams import Upstreams
from holdfast.errors import RequestError, StorageError
from holdfast.log import emit
from holdfast.policy.fairness import weight_of
from holdfast.policy.mishaps import BROUGHT_BESIDE
from holdfast.policy.routing import NEVER, Later, Nowhere, Pick
from holdfast.store.generations import get_generation
from holdfast.store.places import Full
from holdfast.store.records import Told
from holdfast.types import Failure, Request, Tier

UNREAD_S = 2.0
"""Until a request that could not be read is read again."""

LOOK_S = 5.0
"""How often a part that stands in line looks whether it could be sent elsewhere at once. It costs some microseconds: a
thousand that wait take a thousandth of a core."""


class Parts:
    """Drives parts; what all of them share is the line at each upstream, and how upstreams and their keys stand."""

    def __init__(self, core: Core) -> None:
        self._core = core
        flow_places = core.settings.queue.per_key_in_flight_max
        self.queue = Queue(limits_of(core.targets), core.clock, flow_places=flow_places)
        self.upstreams = Upstreams(core.targets, core.settings.retry, self.queue, core.clock)
        self._decider = Decider(core, self.upstreams)
        self._exposure = Exposure(core)
        self._hedging: Hedging | None = None
        if core.settings.hedge.enabled:
            self._hedging = Hedging(core, self.queue, self.upstreams, self._decider, self._exposure)
        self._pausing = 0

    def __repr__(self) -> str:
        counts = ((self.queue.waiting, "in line"), (self._pausing, "in a pause"))
        return ", ".join(f"{count} {where}" for count, where in counts if count)

    def follow(self, before: Mapping[str, Sequence[Target]]) -> None:
        """Take over what the core's settings and targets have become; `before`: the targets until now."""
        core = self._core
        retired = {name: target.retired for name, target in by_name(core.targets).items()}
        flow_places = core.settings.queue.per_key_in_flight_max
        self.queue.follow(limits_of(core.targets), retired, flow_places=flow_places)
        self.upstreams.follow(core.targets, before, core.settings.retry)
        self._decider.follow()

    def enter(self, live: Live, number: int) -> Part:
        """Ask for a place for a part, now: the order of asking is the order of sending."""
        barred = dict.fromkeys(live.course.barred, NEVER)
        at = self._choice(live.course, barred, patience_s=self._decider.patience_s(live))
        ticket, now = self._ticket(live, number, at), self._core.clock.monotonic()
        part = Part(live=live, number=number, at=at, ticket=ticket, queued_at=now)
        live.tickets.append(part.ticket)
        earlier = live.earlier.get(number)
        if earlier is not None:
            part.take_up(earlier)
        elif not part.is_astray:
            self.queue.enter(part.ticket)
        return part

    def hold(self, resumed: Resumed) -> Part:
        """Give a place to what an upstream is at work for already, whether there is one or not."""
        live, number = resumed.live, resumed.new.part
        at = _place_of(resumed)
        upstream = resumed.target.upstream.name
        ticket = self.queue.ticket(
            upstream,
            flow=live.key_id,
            weight=weight_of(live.tier, live.images_of(number)),
            expected_s=self._decider.expected_s(live.course.candidates[at or 0]),
        )
        self.queue.hold(ticket, resumed.key)
        live.tickets.append(ticket)
        return Part(
            live=live,
            number=number,
            at=at or 0,
            ticket=ticket,
            tried=list(resumed.tried),
            had_second=resumed.had_second,
        )

    def _ticket(self, live: Live, number: int, at: int) -> Ticket:
        return self.queue.ticket(
            live.course.entries[at].upstream,
            flow=live.key_id,
            weight=weight_of(live.course.candidates[at].tier, live.images_of(number)),
            expected_s=self._decider.expected_s(live.course.candidates[at]),
        )

    def _choice(self, course: Course, avoided: Mapping[int, float], *, patience_s: float) -> int:
        """Choose the entry at which a part asks for a place: one that can be asked, or is ready soonest."""
        if len(course.entries) == 1:
            return 0
        match self.upstreams.choose(course, avoided, patience_s=patience_s):
            case Pick(at=at) | Later(at=at):
                return at
            case Nowhere():
                # All of them are barred: the first one tells its caller why.
                return next((at for at in range(len(course.entries)) if at not in course.gone), 0)

    def room(self, asked: Submission) -> int | None:
        """Say how many calls of this kind still get a place, or one in line; None: as many as there are."""
        waiting_max = self._core.settings.queue.waiting_max
        rooms = [self.queue.room(name, asked.key_id, waiting_max) for name in self._names(asked)]
        return None if None in rooms else max(room for room in rooms if room is not None)

    def room_in_s(self, asked: Submission) -> float:
        """Say in how many seconds there should be room in line, where there is none."""
        course = course_of(self._core, asked.request)
        return min(
            self.queue.room_in_s(entry.upstream, self._decider.expected_s(candidate))
            for entry, candidate in zip(course.entries, course.candidates, strict=True)
        )

    def arriving(self, asked: Submission, places: int) -> AbstractContextManager[None]:
        """Count so many calls among those that take room, before they ask for their places."""
        names = self._names(asked)
        roomy = (name for name in names if self.queue.free(name) != 0)
        return self.queue.arriving(next(roomy, names[0]), asked.key_id, places)

    def _names(self, asked: Submission) -> list[str]:
        """The upstreams that it may be sent to."""
        return list(dict.fromkeys(target.upstream.name for target in self._core.targets[asked.request.model]))

    async def remember(self) -> None:
        """Count what an earlier process has sent, so that no upstream counts more of us than it grants."""
        # Where nothing is limited, too: a limit may be given to it while we run.
        await remember(self._core, self.queue)

    def close(self) -> None:
        """Let no line move by itself any more."""
        self.queue.close()

    async def run(self, part: Part, on_end: Callable[[], None], resumed: Resumed | None = None) -> None:
        """Drive a part until it has ended, or nothing more is to be sent for its generation.

        Args:
            part: Which, with its place, or its place in line; given up when this returns.
            on_end: Called once the generation has ended, before anybody is told.
            resumed: Its attempt that an earlier process has begun, and that goes on.
        """
        live = part.live
        earlier = live.earlier.get(part.number)
        if resumed is not None:
            again_at = await self._resume(resumed, part, on_end)
            if again_at is None:
                return
            await self._pause(part, again_at)
        elif earlier is not None:
            await self._pause(part, earlier.again_at)
        while await self._place(part):
            again_at = await self._attempt(part, on_end)
            if again_at is None:
                return
            await self._pause(part, again_at)
        # Also where a sibling has stopped them all: this part may have failed after that, to be tried again.
        if self._core.clock.monotonic() >= live.deadline_at:
            ended = await self._begin_no_more(live, DEADLINE_EXCEEDED, on_end, awaits=not live.hard_deadline)
        else:
            told = part.ends_as
            ended = told is not None and await self._begin_no_more(live, told, on_end, awaits=True)
        if ended:
            on_end()

    async def _begin_no_more(self, live: Live, told: Told, on_end: Callable[[], None], *, awaits: bool) -> bool:
        """Begin nothing more; what is in flight is awaited unless its caller named his budget. True: it has ended."""
        ended = await end_early(self._core, live.id, told, drive=live.drive, awaits=awaits, on_end=on_end)
        live.stop()
        return ended

    async def _attempt(self, part: Part, on_end: Callable[[], None]) -> float | None:
        """Try once; return the monotonic second at which to try again, None: the part has ended."""
        core, live, key = self._core, part.live, part.ticket.key
        assert key is not None, "whoever sends a part has a place"
        self.upstreams.sent(part.upstream, is_repeat=bool(part.failures_here))
        sent_at = core.clock.monotonic()
        work = attempt.run(core, live, part.number, part.at, key, queued_s=sent_at - part.queued_at)
        if self._hedging is not None and self._hedging.may_follow(part):
            task = asyncio.get_running_loop().create_task(work, name=f"first:{live.id}:{part.number}")
            first = Flight(at=part.at, key=key, ticket=part.ticket, sent_at=sent_at, task=task)
            return await self._hedging.see_to_end(
                part, first, on_end, settle=self._settle_flight, read=self._read_request
            )
        try:
            attempted = await work
            if isinstance(attempted, Full):
                return self._wait_for_others(part, key, attempted)
        finally:
            # While its answer is settled, the next one may be asked for.
            part.ticket.leave()
            live.let_go(part.number)
        if attempted is not None:
            return await self._settle(part, attempted, on_end, key=key, sent_at=sent_at)
        await self._nothing_sent(live, on_end)
        return None

    def _wait_for_others(self, part: Part, key: int, full: Full) -> float:
        """Other processes have all places of a credential: let it rest, and ask again in turn. Say when."""
        clock, now = self._core.clock, self._core.clock.monotonic()
        self.queue.leave(part.ticket, was_sent=False)
        if full.is_day_spent:
            # It is for the line to say who waits for the next day, who goes elsewhere, and who is told so at once.
            per_day = part.candidate.target.upstream.per_day
            self.queue.remember(part.upstream, key, sent_at=(), sent_today=per_day)
            return now
        again_at = now + full.after_s * (0.5 + clock.random())
        self.queue.rest(part.upstream, key, again_at)
        return again_at

    async def _settle_flight(
        self, part: Part, flight: Flight, on_end: Callable[[], None], *, is_alone: bool
    ) -> float | None:
        """Settle what came of one of two attempts; as `_attempt`."""
        attempted = flight.task.result()
        if isinstance(attempted, Full):
            return self._wait_for_others(part, flight.key, attempted)
        if attempted is None:
            await self._nothing_sent(part.live, on_end)
            return None
        return await self._settle(
            part, attempted, on_end, key=flight.key, sent_at=flight.sent_at, at=flight.at, is_alone=is_alone
        )

    async def _nothing_sent(self, live: Live, on_end: Callable[[], None]) -> None:
        """Nothing is to be sent: it may have ended while this part was on its way here."""
        core = self._core
        if await patiently(lambda: settle.tell_if_ended(core, live.id), live.id) is not None:
            on_end()

    async def _resume(self, resumed: Resumed, part: Part, on_end: Callable[[], None]) -> float | None:
        """Go on with an attempt that was begun; as `_attempt`."""
        sent_at = self._core.clock.monotonic()
        try:
            attempted = await attempt.resume(self._core, resumed)
        finally:
            part.ticket.leave()
        # One that an earlier process began may be at an upstream that its route no longer asks.
        is_ours = _place_of(resumed) is not None
        return await self._settle(part, attempted, on_end, key=resumed.key if is_ours else None, sent_at=sent_at)

    async def _settle(
        self,
        part: Part,
        attempted: Attempted,
        on_end: Callable[[], None],
        *,
        key: int | None,
        sent_at: float,
        at: int | None = None,
        is_alone: bool = True,
    ) -> float | None:
        """Write down what came of an attempt, and what follows; `key` is None where nothing may.

        `at` is the entry that it was sent to, where that is not the part's own; without `is_alone` another attempt of
        the part is in flight.
        """
        core, live = self._core, part.live
        place = part.at if at is None else at
        upstream = live.course.entries[place].upstream
        sequels: list[Sequel] = []

        def decide(failure: Failure) -> Sequel:
            assert key is not None
            if is_alone:
                sequel = self._decider.decide(part, failure, key=key, sent_at=sent_at)
            else:
                sequel = self._decider.leave_to_other(part, failure, at=place, key=key, sent_at=sent_at)
            sequels.append(sequel)
            return sequel

        if key is not None and attempted.failure is None:
            self.upstreams.succeeded(upstream, key, sent_at=sent_at)
        elif live.is_behind:
            await self._caught_up(live)
            live.let_go(part.number)
        ended = await settle.settle(
            core,
            live,
            attempted,
            on_end=on_end,
            decide=None if key is None else decide,
            cap=partial(self._exposure.cap, live.model, price_micros=live.list_micros),
        )
        if isinstance(ended, Sequel):
            return ended.again_at
        if not is_alone and not sequels:
            # Nothing was decided: its image is delivered, or kept in the spool. Nothing follows the other one either.
            part.note(BROUGHT_BESIDE, place)
        for sequel in sequels:
            # A cancel came first.
            self._decider.take_back(sequel, upstream)
        if ended is not None:
            on_end()
        return None

    async def _place(self, part: Part) -> bool:
        """Wait for a place at an upstream, and have the request at hand; False: nothing is to be sent any more."""
        clock, live, number = self._core.clock, part.live, part.number
        while not live.is_stopped and clock.monotonic() < live.deadline_at:
            if live.is_behind and not await self._caught_up(live):
                await _sleep(live, min(UNREAD_S, live.deadline_at - clock.monotonic()))
                continue
            may_go_elsewhere = len(live.course.entries) > 1
            if part.is_astray:
                # Settings were read anew: where it stood, nothing is to be had any more.
                self.queue.leave(part.ticket, was_sent=False)
                if live.course.is_gone:
                    part.ends_as = OUT_OF_ROUTE
                    break
                self._enter(part)
                continue
            pressed = self._pressed(part)
            if part.ticket.is_waiting and pressed is None:
                if self._is_closed(part) and not self._leave_closed(part):
                    break
                live.let_go(number)
                left_s = live.deadline_at - clock.monotonic()
                looks = may_go_elsewhere or part.ticket.line.counts_days or self._rests_beyond(part)
                await _sleep(live, min(left_s, LOOK_S) if looks else left_s, part.ticket)
                if part.ticket.is_waiting and may_go_elsewhere and not live.is_stopped:
                    self._look_elsewhere(part)
                continue
            if part.ticket.is_waiting:
                assert pressed is not None
                self.queue.press(part.ticket, pressed)
            elif not self._insists(part) and not self.upstreams.is_ready(part.upstream):
                # It has a place, and meanwhile somebody has found out that there is nothing to be had with it.
                self.queue.leave(part.ticket, was_sent=False)
                self._enter(part)
                continue
            live.parts_to_send.add(number)
            if live.request is not None:
                return True
            try:
                await self._read_request(live)
            except (StorageError, OSError) as exc:
                emit("storage.failed", level="error", generation_id=live.id, message=str(exc), again_in_s=UNREAD_S)
                # The place is for somebody who can be sent; this part comes again, if there is time left.
                self.queue.leave(part.ticket, was_sent=False)
                live.let_go(number)
                await _sleep(live, min(UNREAD_S, live.deadline_at - clock.monotonic()))
                self.queue.enter(part.ticket)
        live.let_go(number)
        return False

    def _insists(self, part: Part) -> bool:
        """Whether a part is sent though its upstream rests: it has not been sent yet, and waiting would end in nothing.

        It costs nothing to be told so by the upstream, and its caller hears why, and when to come again, at once.
        """
        return not part.tried and self._rests_beyond(part)

    def _pressed(self, part: Part) -> int | None:
        """With which key a part that waits is sent all the same; None: with none. What each takes counts for it too."""
        return self.upstreams.pressed_key(part.ticket) if part.ticket.is_waiting and self._insists(part) else None

    def _rests_beyond(self, part: Part) -> bool:
        """Whether its upstream has no key in time that neither rests nor is spent for the day."""
        rests_until = max(self.upstreams.standings.ready[part.upstream], self.queue.ready_at(part.upstream))
        return rests_until > self._core.clock.monotonic() and self._is_late(part, rests_until)

    def _is_late(self, part: Part, ready_at: float) -> bool:
        return ready_at + self._decider.expected_s(part.candidate) > part.live.deadline_at

    def _is_closed(self, part: Part, at: int | None = None) -> bool:
        """Whether the day of an entry's upstream is spent, and the next one comes too late; without `at` of its own."""
        upstream = part.upstream if at is None else part.live.course.entries[at].upstream
        return self._is_late(part, self.queue.closed_until(upstream))

    def _leave_closed(self, part: Part) -> bool:
        """Leave the line of a spent day for an entry that is open, if there is one; else the part ends, and says so."""
        live, closed_until = part.live, self.queue.closed_until(part.upstream)
        for at in range(len(live.course.entries)):
            if at not in live.course.gone and self._is_closed(part, at):
                part.avoid(at, NEVER)
        choice = self.upstreams.choose(live.course, part.passes_over())
        if isinstance(choice, Nowhere):
            after_s = closed_until - self._core.clock.monotonic()
            part.ends_as = replace(DAY_SPENT, retry_after_s=float(ceil(after_s)))
            return False
        self._stand(part, choice.at)
        return True

    def _look_elsewhere(self, part: Part) -> None:
        """Leave the line for an entry that has a place at once."""
        live = part.live
        choice = self.upstreams.choose(live.course, part.passes_over(), patience_s=self._decider.patience_s(live))
        if isinstance(choice, Pick) and self.queue.free(live.course.entries[choice.at].upstream) != 0:
            self._stand(part, choice.at)

    def _enter(self, part: Part) -> None:
        """Ask for a place: where it was decided, if that can be asked, else where it is chosen now."""
        course, decided = part.live.course, part.goes_to
        part.goes_to = None
        if course.is_gone:
            return
        if decided is not None and decided not in course.gone and self._is_ready(course, decided):
            self._stand(part, decided)
            return
        avoided = part.passes_over()
        self._stand(part, self._choice(course, avoided, patience_s=self._decider.patience_s(part.live)))

    def _is_ready(self, course: Course, at: int) -> bool:
        return self.upstreams.is_ready(course.entries[at].upstream)

    def _stand(self, part: Part, at: int) -> None:
        """Stand in line at an entry; where that is its upstream already, in its old place."""
        live = part.live
        if live.course.entries[at].upstream == part.upstream and not part.ticket.is_void:
            part.ticket.leave()
            part.at = at
        else:
            part.move(self._ticket(live, part.number, at), at)
        self.queue.enter(part.ticket)

    async def _caught_up(self, live: Live) -> bool:
        """See what else the route of a generation has, now that settings were read anew; False: not yet."""
        core = self._core
        try:
            if live.request is None:
                await self._read_request(live)
        except (StorageError, OSError) as exc:
            emit("storage.failed", level="error", generation_id=live.id, message=str(exc), again_in_s=UNREAD_S)
            return False
        request = live.request
        if request is not None and live.is_behind:
            try:
                now = course_of(core, request, model=live.model)
            except RequestError:
                now = None
            live.course = caught_up(live.course, now, planned=live.images_per_call, stream=request.stream)
        live.is_behind = False
        return True

    async def _read_request(self, live: Live) -> None:
        row = await self._core.store.read(get_generation, live.id)
        assert row is not None
        if row.request is not None:
            live.request = msgspec.json.decode(row.request, type=Request)
        else:
            # It has ended meanwhile, and what is purged with its images is gone.
            live.stop()

    async def _pause(self, part: Part, until: float) -> None:
        """Wait without a place, if there is a pause, then ask for one again."""
        live = part.live
        part.queued_at = max(until, self._core.clock.monotonic())
        part.ticket.leave()
        live.let_go(part.number)
        after_s = until - self._core.clock.monotonic()
        if after_s > 0.0:
            self._pausing += 1
            try:
                await faults.point("retry.before_pause")
                await _sleep(live, after_s)
                await faults.point("retry.after_pause")
            finally:
                self._pausing -= 1
        if not live.is_stopped:
            # Else a place would be counted as a call that is never sent.
            self._enter(part)


def _place_of(resumed: Resumed) -> int | None:
    """Find the entry of an attempt that goes on; None: its route does not name it any more."""
    new = resumed.new
    tier = resumed.live.tier if new.tier is None else Tier(new.tier)
    return resumed.live.course.find(new.upstream, new.model, tier)


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
