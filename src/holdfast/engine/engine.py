"""The engine: accepts generations, drives each to its end, and puts right what an earlier process left open."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from holdfast import faults
from holdfast.config import Settings
from holdfast.engine import attempt, recover, settle, submit
from holdfast.engine.core import Core, InLine, Live
from holdfast.engine.course import Target
from holdfast.engine.ending import DEADLINE_EXCEEDED, end_early
from holdfast.engine.followers import Follower
from holdfast.engine.leaving import Leaving
from holdfast.engine.orphans import Orphans
from holdfast.engine.part import Part
from holdfast.engine.parts import Parts
from holdfast.engine.patience import patiently
from holdfast.engine.quotas import Lives, Quotas
from holdfast.engine.received import Received
from holdfast.engine.sharing import Sharing
from holdfast.engine.starting import Starting
from holdfast.engine.submit import Submission, course_of, entering_of, live_of, price, tell_accepted
from holdfast.engine.watchers import Ended, Watcher
from holdfast.errors import RequestError, StorageError
from holdfast.generation import State, parts_for
from holdfast.log import emit
from holdfast.policy import admission
from holdfast.policy.admission import Load, Obstacle, expected_bytes
from holdfast.policy.joining import REFUSALS, Answer
from holdfast.policy.joining import refusal as refusal_of
from holdfast.store.cancelling import Asking, ask_cancel
from holdfast.store.eventlog import EventLog, get_event_log
from holdfast.store.generations import get_generation, get_record
from holdfast.store.jobs import Job
from holdfast.store.joining import Entered, Entering, come_back, enter
from holdfast.store.listing import Page, Wanted, list_generations
from holdfast.store.records import GenerationRow, Record


class Engine:
    """Drives generations; see `Core` for what it is given."""

    def __init__(self, core: Core, free_bytes: recover.FreeBytes) -> None:
        self._core = core
        self._free_bytes = free_bytes
        self._live = Lives()
        self.quotas = Quotas(self._live, core.clock)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._parts = Parts(core)
        self._starting = Starting(
            core, drive=self._drive_on, resume=self._resume, take_up=self._take_up, spawn=self.spawn
        )
        self._sharing = Sharing(
            core,
            drive=self.drive,
            resume=self._resume,
            stop=self._stop_buying,
            forget=self._forget_id,
            drives=self._live.__contains__,
            spawn=self.spawn,
        )
        self.overdue = self._sharing.overdue
        """Told of what nobody has come to in time, where there are others."""
        self._arrived: dict[str, Live] = {}
        """What was accepted here, until the dispatcher delivers it."""
        core.dispatcher.attach(self._deliver)
        self._orphans = Orphans(core, knows=self._knows, take_up=self._take_up, spawn=self.spawn)
        self._entering = 0
        self._reserved_bytes = 0
        self._received = Received(core, self.spawn)
        self._leaving = Leaving(core, self._live, forget=self._forget_id, spawn=self.spawn)
        self.is_draining = self.is_leaving = False
        self.storage_low = asyncio.Event()
        """Set when room was found too low: whoever can make room begins at once, and clears it."""

    def __repr__(self) -> str:
        parts = (f"{len(self._live)} generations open", repr(self._parts), f"{len(self._tasks)} tasks")
        return f"<Engine {', '.join(filter(None, parts))}, {self._reserved_bytes} bytes set aside>"

    @property
    def open_generations(self) -> int:
        """Generations that this process drives."""
        return len(self._live)

    # Accepting

    async def enter(
        self, submission: Submission, watcher: Watcher, *, asks_twins: bool = True, may_buy: bool = True
    ) -> Entered:
        """Accept a generation, or join the one that this repeats; tell `watcher` what becomes of it.

        With `asks_twins` those who seem to wait for the same are named (`twin_ids`), and nothing is done: who knows
        whether they are still there asks them, and comes again without. Without `may_buy` only a repeat enters.

        Raises:
            RequestError: Refused before anything was paid: draining, storage low, too many, no price, a key that was
                used for something else.
            StorageError: The disk does not take it; it was not accepted.
        """
        # Known here by the end of it: what it drives, or whom it lets wait.
        with self._orphans.entering():
            entered = await self._entered(submission, watcher, asks_twins=asks_twins, may_buy=may_buy)
        if entered.generation_id is not None:
            await faults.point("accept.after_commit")
        return entered

    async def _entered(self, submission: Submission, watcher: Watcher, *, asks_twins: bool, may_buy: bool) -> Entered:
        core = self._core
        with self._admitted(submission) as refusal:
            new, course, courses = price(core, submission), course_of(core, submission.request), core.courses
            entering = entering_of(core, new, submission, may_buy=may_buy and refusal is None, asks_twins=asks_twins)
            await faults.point("accept.before_commit")
            entered = await self._enter(entering)
            submit.refuse_spent(core, entered)
            if entered.generation_id is None and refusal is not None and not entered.twin_ids:
                raise refusal
            if entered.generation_id is None:
                return entered
            if entered.answer is None:
                # From here on it exists, and goes on whatever becomes of this call: nothing may fail before `drive`.
                live = live_of(core, new, submission, course)
                core.watchers.add(live.id, watcher)
                if core.courses is not courses:
                    # Settings were read anew while it was written down.
                    core.lead(live)
                self._hand_over(live)
            if entered.answer in (None, Answer.DRIVE_AGAIN):
                self.quotas.accepted(submission.key_id, submission.limits)
        if entered.answer is None:
            tell_accepted(live)
        elif entered.answer in REFUSALS:
            raise refusal_of(entered.answer, entered.generation_id)
        else:
            try:
                only_awaited = submission.only_awaited
                await self._join(entered.generation_id, entered, watcher, only_awaited=only_awaited)
            except BaseException:
                # It is counted as somebody who waits, and waits no more: the next repeat must find that out.
                self.unwatch(entered.generation_id, watcher)
                self.left(entered.generation_id)
                raise
        return entered

    async def _join(self, id_: str, entered: Entered, watcher: Watcher, *, only_awaited: bool) -> None:
        """Let a repeat wait for what it joined; what has ended is told at once."""
        core, answer = self._core, entered.answer
        core.watchers.add(id_, watcher)
        if id_ in self._live and not only_awaited:
            # From here on somebody may come back for it.
            self._live[id_].only_awaited = False
        if answer is Answer.DRIVE_AGAIN:
            assert entered.row is not None
            await self._drive_again(entered.row)
        record = await self.record(id_)
        assert record is not None
        row = record.generation
        emit(
            "generation.replayed" if answer is Answer.REPLAY else "generation.joined",
            generation_id=id_,
            key_id=row.key_id,
            model=row.model,
            size=row.tier,
            state=row.state,
            drive=row.drive,
        )
        await self._attend(record, watcher, awaits_late=answer is not Answer.REPLAY)

    async def rejoin(self, generation_id: str, watcher: Watcher, *, awaits_late: bool) -> None:
        """Let somebody wait on, who comes back or was told of an end that is not his; what has ended is told at once.

        With `awaits_late` a failure is no end as long as an image may still come.
        """
        self._core.watchers.add(generation_id, watcher)
        record = await self.record(generation_id)
        assert record is not None
        await self._attend(record, watcher, awaits_late=awaits_late)

    async def came_back(self, generation_id: str) -> None:
        """Count a caller again who was noted as gone; if the disk does not take that, a repeat may join beside him."""
        try:
            await self._core.store.write(come_back, generation_id, self._core.owner)
        except (StorageError, OSError) as exc:
            emit("storage.failed", level="error", generation_id=generation_id, message=str(exc))

    async def _attend(self, record: Record, watcher: Watcher, *, awaits_late: bool) -> None:
        """See that a watcher of this generation is told: now, or by whoever drives it."""
        id_, state = record.generation.id, State(record.generation.state)
        may_still_come = awaits_late and state is State.FAILED and record.has_open_attempts
        if state.is_final and not may_still_come:
            self._core.watchers.remove(id_, watcher)
            watcher(Ended(record=record))
        elif not state.is_final and not self._knows(id_):
            # Nobody drives it: the disk did not take its end, or the answer of the commit that drove it again was lost.
            await self._take_up(record)

    def _knows(self, id_: str) -> bool:
        """Whether this process drives a generation, or will come to it; of several, one of them will."""
        return self._core.dispatcher.is_shared or id_ in self._live or id_ in self._starting.left

    async def _take_up(self, record: Record) -> None:
        row = record.generation
        if State(row.state) is State.QUEUED:
            await self._drive_row(row, self._drive_on)
        else:
            await recover.give_up(self._core, row.id, row.drive)

    async def _drive_row(self, row: GenerationRow, drive: Callable[[Live, Sequence[int]], object]) -> None:
        """Drive what is written down as queued, or end it, if its model is served no longer."""
        live = await recover.live_or_end(self._core, row)
        if live is not None:
            drive(live, range(live.parts))

    @contextlib.contextmanager
    def _admitted(self, submission: Submission) -> Iterator[RequestError | None]:
        """Hold a place and room on the disk while the accepting commit is made: a hundred may ask at one instant.

        Gives why nothing may be bought, None where it may. A repeat needs neither place nor room; without anything that
        it could repeat, it is told here.
        """
        request = submission.request
        bytes_ = expected_bytes(request.geometry.tier, request.n)
        per_call = course_of(self._core, request).images_per_call(stream=request.stream)
        places = parts_for(request.n, per_call=per_call)
        refusal = self._refusal(submission, bytes_, places)
        if refusal is not None and (not submission.claim.may_join or self.is_crowded):
            raise refusal
        self._entering += 1
        self._reserved_bytes += bytes_
        try:
            with self._parts.arriving(submission, places), self.quotas.arriving(submission.key_id):
                yield refusal
        finally:
            self._entering -= 1
            self._reserved_bytes -= bytes_

    @property
    def is_crowded(self) -> bool:
        """Whether nobody else may wait for now."""
        return len(self._core.watchers) >= self._waiting_max

    @property
    def _waiting_max(self) -> int:
        """How many may wait, repeats included: each has a connection, and memory."""
        return 2 * self._core.settings.server.held_max

    def _refusal(self, asked: Submission, needed_bytes: int, needed_places: int) -> RequestError | None:
        load = self._load(self._room(asked))
        obstacle = admission.obstacle(load, needed_bytes=needed_bytes, needed_places=needed_places)
        if obstacle is None:
            return self.quotas.refusal(asked.key_id, asked.limits)
        if obstacle is Obstacle.STORAGE_LOW:
            emit("storage.low", level="warning", free_bytes=load.room_bytes)
            self.storage_low.set()
        return admission.refusal(obstacle, load, room_in_s=self._parts.room_in_s(asked))

    def _room(self, asked: Submission) -> int | None:
        """Say how many calls of this kind still get a place, or one in line; None: as many as there are."""
        if (backlog := self._core.backlog) is None:
            return self._parts.room(asked)
        # Whose turn it is, and where, is seen by whoever works; what stands in line here is known before any look.
        waiting = max(backlog(), self._parts.queue.waiting) + self._entering
        return max(0, self._core.settings.queue.waiting_max - waiting)

    def _load(self, places: int | None = None) -> Load:
        settings = self._core.settings
        return Load(
            is_draining=self.is_draining,
            open_generations=self._open + self._entering,
            open_max=settings.server.held_max,
            room_bytes=self._free_bytes() - self._reserved_bytes - settings.store.free_bytes_margin,
            waiting=self._parts.queue.waiting,
            places=places,
        )

    @property
    def _open(self) -> int:
        """How many count against `server.held_max`: those that it drives, or lets wait where others drive."""
        if self._core.dispatcher.is_shared:
            return max(len(self._live), len(self._core.watchers))
        return len(self._live) + len(self._starting.left)

    async def _enter(self, entering: Entering) -> Entered:
        """Make the accepting commit; where its answer was lost, our own id tells whether it was made."""
        store = self._core.store
        departed = self._leaving.take()
        try:
            return await store.write(enter, entering, departed, self._core.dispatcher.enqueue)
        except BaseException as exc:
            self._leaving.put_back(departed)
            if not isinstance(exc, StorageError | OSError):
                raise
            if entering.claim.may_join:
                # It may have been made, and have driven what it joined.
                self._orphans.seek()
            if await store.read(get_generation, entering.new.id) is None:
                raise
            return Entered(generation_id=entering.new.id)

    @property
    def parts(self) -> Parts:
        """For whoever looks: the lines, and how upstreams and keys stand."""
        return self._parts

    def obstacle(self) -> Obstacle | None:
        """Why new work would be refused, and will be until somebody acts; None otherwise."""
        obstacle = Obstacle.DRAINING if self.is_leaving else admission.lasting_obstacle(self._load())
        if obstacle is Obstacle.STORAGE_LOW:
            self.storage_low.set()
        return obstacle

    async def _drive_again(self, row: GenerationRow) -> None:
        dispatcher = self._core.dispatcher
        if dispatcher.is_shared:
            dispatcher.committed(Job(generation_id=row.id, drive=row.drive, lane=row.model))
        else:
            await self._drive_row(row, self.drive)

    # Driving

    def _hand_over(self, live: Live) -> None:
        """Have the dispatcher deliver what was accepted: to this process, or to any."""
        dispatcher = self._core.dispatcher
        self._arrived[live.id] = live
        if dispatcher.is_shared:
            self._leaving.accepted(live)
        dispatcher.committed(Job(generation_id=live.id, lane=live.model))
        if dispatcher.is_shared:
            # Not delivered by now, it is delivered to anybody, who reads it.
            self._arrived.pop(live.id, None)

    def _deliver(self, generation_id: str) -> None:
        live = self._arrived.pop(generation_id, None)
        if live is None:
            self._sharing.deliver(generation_id)
            return
        tasks = self.drive(live)
        if self._core.dispatcher.is_shared:
            self._sharing.see_off(live.id, tasks)

    def drive(self, live: Live, parts: Sequence[int] | None = None) -> list[asyncio.Task[None]]:
        """Begin every part of a generation that has not been begun; give their tasks."""
        self._live[live.id] = live
        self._core.followers.notify(live.id)
        parts = range(live.parts) if parts is None else parts
        live.parts_to_send.update(parts)
        tasks = [self._begin_part(self._parts.enter(live, number)) for number in parts]
        if live.hard_deadline:
            after_s = live.deadline_at - self._core.clock.monotonic()
            live.timer = asyncio.get_running_loop().call_later(max(0.0, after_s), self._on_deadline, live)
        return tasks

    def spawn(self, work: Coroutine[Any, Any, object], name: str) -> asyncio.Task[Any]:
        """Run something as a task that the engine owns."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _begin_part(self, part: Part, resumed: attempt.Resumed | None = None) -> asyncio.Task[None]:
        # Set aside until the part's task has ended, not until its generation has: an image may still be on its way
        # after the caller was told that time is over.
        live = part.live
        bytes_ = expected_bytes(live.tier, live.images_of(part.number))
        self._reserved_bytes += bytes_

        def release(_: asyncio.Task[None]) -> None:
            self._reserved_bytes -= bytes_
            part.leave()

        task = self.spawn(self._run_part(part, resumed), f"part:{live.id}:{part.number}")
        task.add_done_callback(release)
        return task

    def _resume(self, resumed: attempt.Resumed) -> asyncio.Task[None]:
        """Go on with an attempt of an earlier process: in flight as if it had been sent by this one."""
        live = resumed.live
        if resumed.is_open and live.id not in self._live:
            self.drive(live, ())
        return self._begin_part(self._parts.hold(resumed), resumed)

    async def _run_part(self, part: Part, resumed: attempt.Resumed | None) -> None:
        """Drive one part to its end; whatever goes wrong inside is recorded, never lost."""
        live = part.live
        try:
            await self._parts.run(part, partial(self._forget, live), resumed)
        except Exception as exc:  # noqa: BLE001 - the border of a task: what it was is in the log, the end is told
            emit("fault.internal", level="error", exc=exc, generation_id=live.id)
            await self._give_up(live)

    async def _give_up(self, live: Live) -> None:
        core = self._core
        try:
            await patiently(lambda: recover.give_up(core, live.id, live.drive), live.id)
        except Exception as exc:  # noqa: BLE001 - nothing can be written; the record stays open for the next start
            emit("fault.internal", level="error", exc=exc, generation_id=live.id)
            # Nobody is kept waiting for what cannot come: who reads the record finds no end in it, and says so.
            core.watchers.notify(live.id, Ended())
            self._sharing.left_open(live.id)
        self._forget(live)

    def _forget(self, live: Live) -> None:
        # One that failed may have been driven again under its id.
        if self._live.get(live.id) is live:
            del self._live[live.id]
            if self._core.dispatcher.is_shared:
                self._leaving.ended(live.id)
            else:
                self._core.dispatcher.finished(live.id)
        live.stop()
        for timer in (live.timer, live.unwatched):
            if timer is not None:
                timer.cancel()
        live.timer = live.unwatched = None

    def _on_deadline(self, live: Live) -> None:
        live.timer = None
        self.spawn(self._run_deadline(live), f"deadline:{live.id}")

    async def _run_deadline(self, live: Live) -> None:
        try:
            await self._pass_deadline(live)
        except Exception as exc:  # noqa: BLE001 - the border of a task, as above
            emit("fault.internal", level="error", exc=exc, generation_id=live.id)
            await self._give_up(live)

    async def cancel(self, generation_id: str, *, ask: Asking = ask_cancel) -> None:
        """End a generation that is wanted no longer, or buy nothing more for it (`ask`); tell who waits of an end.

        What is in flight is awaited: it is paid for. Asked again, or of one that has ended, it changes nothing.

        Raises:
            StorageError: The disk does not take it.
            OSError: The same.
        """
        core = self._core
        try:
            await faults.point("cancel.before_commit")
            done = await core.store.write(ask, generation_id, core.now_text(), core.purge_text(), core.rules)
            await faults.point("cancel.after_commit")
        except (StorageError, OSError):
            # The commit may have been made all the same; then those who wait are told.
            if await settle.tell_if_ended(core, generation_id) is not None:
                self._forget_id(generation_id)
            raise
        if done is None:
            return
        if done.has_ended:
            self._forget_id(generation_id)
            settle.announce(core, done.row)
            await core.dispatcher.cancel(generation_id)
        else:
            if done.row.cancel_requested:
                self._stop_buying(generation_id)
            core.followers.notify(generation_id)

    def _stop_buying(self, generation_id: str) -> None:
        """Parts that wait, for a place or in a pause, wait for nothing."""
        if generation_id in self._live:
            self._live[generation_id].stop()

    def _forget_id(self, generation_id: str) -> None:
        self._starting.left.discard(generation_id)
        live = self._live.get(generation_id)
        if live is not None:
            self._forget(live)

    async def _pass_deadline(self, live: Live) -> None:
        forget = partial(self._forget, live)
        await end_early(self._core, live.id, DEADLINE_EXCEEDED, drive=live.drive, on_end=forget)
        forget()

    # Waiting and reading

    def watch(self, generation_id: str, watcher: Watcher) -> None:
        """Tell a watcher from now on; whoever must not miss the end uses `enter` or `rejoin`."""
        self._core.watchers.add(generation_id, watcher)

    def in_line(self, generation_id: str) -> InLine | None:
        """Where a generation stands in line for its upstream; None: it does not wait for a place."""
        live = self._live.get(generation_id)
        return None if live is None else live.in_line

    def heard(self, generation_id: str, *, has_ended: bool) -> None:
        """Pass on what others commit, where there are others; with `has_ended`, that it was the end."""
        if has_ended:
            self._leaving.ended(generation_id)
        self._sharing.heard(generation_id, has_ended=has_ended)

    def awaited(self) -> set[str]:
        """The generations that somebody in this process waits for, or follows."""
        return {*self._core.watchers, *self._core.followers, *self._live}

    def unwatch(self, generation_id: str, watcher: Watcher) -> None:
        """Stop telling a watcher."""
        self._core.watchers.remove(generation_id, watcher)

    def follow(self, generation_id: str, follower: Follower) -> None:
        """Call `follower` after each commit that changes this generation."""
        self._core.followers.add(generation_id, follower)

    def unfollow(self, generation_id: str, follower: Follower) -> None:
        """Stop calling it."""
        self._core.followers.remove(generation_id, follower)

    async def record(self, generation_id: str) -> Record | None:
        """Read a generation with its attempts and images."""
        return await self._core.store.read(get_record, generation_id)

    async def event_log(self, generation_id: str) -> EventLog | None:
        """Read a generation with what has happened to it."""
        return await self._core.store.read(get_event_log, generation_id)

    async def page(self, key_id: str, wanted: Wanted) -> Page | None:
        """Read one page of a key's generations, newest first; None: there is no such place to go on from."""
        return await self._core.store.read(list_generations, key_id, wanted)

    async def answered(self, generation_id: str, *, with_image: bool, **about: Any) -> None:
        """Note that an answer's last byte arrived; see `Received.answered`."""
        await self._received.answered(generation_id, with_image=with_image, **about)

    def left(self, generation_id: str) -> None:
        """Note that a caller of this generation no longer waits; see `Leaving.left`."""
        self._leaving.left(generation_id)

    # Settings read anew

    async def recovered(self) -> None:
        """Wait until what an earlier process left has been taken up."""
        await self._starting.over.wait()

    def renew(self, settings: Settings, targets: Mapping[str, tuple[Target, ...]]) -> None:
        """Go on by other settings, in one step of the loop: nobody sees the half of them.

        What is in flight ends where it was sent. Whoever waits for what is not there any more is routed anew; if
        nothing is left for him, his generation ends, and says so. `targets`: as `renewal.renewed_targets` makes them.
        """
        before = self._core.targets
        self._core.renew(settings, targets)
        self._core.dispatcher.follow(tuple(targets))
        self._parts.follow(before)
        for live in self._live.values():
            self._core.lead(live)

    # Starting and stopping

    async def start(self, within_s: float | None = None) -> recover.Recovered | None:
        """Settle what an earlier process left in the spool, and take up what it left open.

        Args:
            within_s: Beyond so many seconds callers are not kept waiting: the rest goes on beside them, oldest first,
                and None is returned. None: all of it is waited for.
        """
        await self._parts.remember()
        if self._core.dispatcher.is_shared:
            # What others left is delivered like anything else.
            await self._sharing.start()
            self._starting.over.set()
            return None
        return await self._starting.start(within_s)

    def _drive_on(self, live: Live, parts: Sequence[int]) -> None:
        """Take up what an earlier process has begun; nobody may wait for it any more."""
        self.drive(live, parts)
        self._leaving.mind(live)

    async def drain(self, grace_s: float) -> bool:
        """Take nothing new and wait for what is open; False if some of it is still open when the time ends."""
        self.is_draining = True
        if self._core.dispatcher.is_shared:
            return await self._sharing.drain(grace_s)
        loop = asyncio.get_running_loop()
        until = loop.time() + grace_s
        while self._tasks and loop.time() < until:
            await asyncio.wait(self._tasks, timeout=min(0.5, max(0.0, until - loop.time())))
        return not self._tasks

    async def stop(self) -> None:
        """End at once: attempts in flight stay `sent`, and the next start tells them as unknown, or we do where others
        take them up; those that are polled stay `polling`, and are gone on with.

        What callers have received is still noted: they wait for it, and their tasks would be cancelled with it.
        """
        for each in (self._parts, self._leaving, self._sharing):
            each.close()
        for live in self._live.values():
            for timer in filter(None, (live.timer, live.unwatched)):
                timer.cancel()
        for task in self._tasks:
            if task is not self._received.writing:
                task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5.0)
        # Only now, as nothing is in flight here any more, somebody else may have it.
        await self._sharing.leave()
        await self._core.dispatcher.stop()
