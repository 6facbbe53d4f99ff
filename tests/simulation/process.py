"""One life of the gateway: the product's engine, sweeper and webhooks, and what stands in for its HTTP handlers.

The handlers do what `gateway/generate.py` and `gateway/generations.py` do between their bytes: enter, hold, read, tell,
note what arrived. Their callers live outside, and go on when this life ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from holdfast.engine.core import Core
from holdfast.engine.engine import Engine
from holdfast.engine.learning import LatencyKeeper
from holdfast.engine.submit import Submission
from holdfast.engine.sweeper import Sweeper
from holdfast.engine.watchers import Ended, Notice
from holdfast.engine.webhooks import Deliverer
from holdfast.errors import RequestError, StorageError
from holdfast.generation import State
from holdfast.policy.joining import TWIN_WAIT_S, Answer
from holdfast.store.blobs import LocalBlobs
from holdfast.store.joining import Entered
from holdfast.store.records import BlobRow, Record
from simulation.answers import digest
from simulation.disk import MISHAPS, SimThreads
from simulation.upstream import LifeTransport

if TYPE_CHECKING:
    from simulation.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a caller is sent."""

    generation_id: str | None = None
    code: str | None = None
    """Why there are no images; None where there are, or where `state` is told."""
    paid: str | None = None
    images: tuple[str, ...] = ()
    """Digests of the bytes that are sent."""
    stored: tuple[str, ...] = ()
    """Digests that the record names."""
    state: str | None = None
    """Of a status that is told in place of an answer."""
    drive: int = 0
    is_refused: bool = False
    answer: str | None = None
    """What a repeat was given."""


class Broken(Exception):
    """The connection is gone; whoever waited knows no more."""


@dataclass(slots=True, eq=False)
class Wire:
    """A caller's connection."""

    number: int
    reply: asyncio.Future[Reply]
    left: bool = False
    """The caller is gone; the gateway may not know it yet."""
    noticed: bool = False
    """The gateway knows."""
    leaves_in_answer: bool = False
    """The caller will go while the answer is on its way."""
    generation_id: str | None = None
    """Of what is held for it."""
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def leave(self) -> None:
        """Go without a word."""
        self.left = True
        self.reply.cancel()

    def notice(self) -> None:
        """Let the gateway find out."""
        self.noticed = True
        self.wake.set()

    def break_off(self) -> None:
        """Cut the connection from the gateway's side."""
        if not self.reply.done():
            self.reply.set_exception(Broken())


@dataclass(slots=True)
class _Waiting:
    """What the engine has told one caller."""

    wire: Wire
    ended: bool = False
    record: Record | None = None

    def __call__(self, notice: Notice) -> None:
        if isinstance(notice, Ended):
            self.ended, self.record = True, notice.record
            self.wire.wake.set()


class Process:
    """See the module's docstring."""

    def __init__(self, world: World, life: int, models: tuple[str, ...]) -> None:
        self.world = world
        self.life = life
        self.is_ready = False
        self.is_released = False
        self.wires: list[Wire] = []
        """Every connection that is open."""
        self.held: dict[str, list[Wire]] = {}
        disk = world.disk
        self.store = disk.store(f"own_{life}", world.observe)
        self.threads = SimThreads(disk)
        sinks = SimThreads(disk)
        self.core = Core(
            settings=world.settings,
            clock=world.clock,
            store=self.store,
            blobs=LocalBlobs(disk.root),
            spool=disk.root / "spool",
            transport=LifeTransport(world.upstreams, world, life, sinks.run),
            owner=f"own_{life}",
            targets={model: world.targets[model] for model in models},
            threads=self.threads,
        )
        self.engine = Engine(self.core, disk.free_bytes)
        self.keeper = LatencyKeeper(self.core)
        self.sweeper = Sweeper(self.core, self.engine.storage_low)
        self.deliverer = Deliverer(self.core, world.receiver, world.secret)

    @property
    def in_hand(self) -> tuple[str, ...]:
        """What it still has to do, in words; nothing when all is at rest."""
        engine, core = self.engine, self.core
        counts = {
            "generations open": engine.open_generations,
            "tasks": len(engine._tasks),
            "bytes set aside": engine._reserved_bytes,
            "watchers": len(core.watchers),
        }
        return tuple(f"{count} {what}" for what, count in counts.items() if count)

    async def start(self) -> None:
        """Put right what was left, then serve."""
        await self.keeper.start()
        await self.engine.start()
        self.sweeper.start()
        await self.deliverer.start()
        self.is_ready = True

    async def stop(self, grace_s: float) -> None:
        """Drain, then end, as after SIGTERM."""
        await self.engine.drain(grace_s)
        self.is_released = True
        for wires in list(self.held.values()):
            for wire in wires:
                wire.wake.set()
        await asyncio.sleep(0.5)
        self.is_ready = False
        await self.sweeper.stop()
        await self.engine.stop()
        await self.keeper.stop()
        await self.deliverer.stop()
        self.store.close()

    def serve(self, wire: Wire, work: Callable[[Process, Wire], Coroutine[Any, Any, None]]) -> None:
        """Handle a request that came over a wire."""
        self.wires.append(wire)
        self.world.loop.begin(self.life, self._handle(wire, work), f"handler:{wire.number}")

    async def _handle(self, wire: Wire, work: Callable[[Process, Wire], Coroutine[Any, Any, None]]) -> None:
        try:
            await work(self, wire)
        except MISHAPS:
            # The border of a request: whatever the disk did is told as a 500, which is a connection without an answer.
            self.world.fault("request failed")
        finally:
            self.wires.remove(wire)
            self.world.gone(wire.number)
            wire.break_off()

    # POST

    async def post(self, wire: Wire, submission: Submission, *, later_s: float | None = None) -> None:
        """Accept, hold, answer, and note whether it arrived."""
        waiting = _Waiting(wire)
        world = self.world
        try:
            entered = await self._enter(wire, submission, waiting)
        except RequestError as exc:
            refused = Reply(code=exc.code, paid="no", is_refused=True, generation_id=exc.generation_id)
            self._send(wire, refused)
            return
        except StorageError:
            self._send(wire, Reply(code="storage_low", paid="no", is_refused=True))
            return
        if entered is None:
            return
        id_ = entered.generation_id
        assert id_ is not None
        wire.generation_id = id_
        self.held.setdefault(id_, []).append(wire)
        alarm = None
        if later_s is not None:
            alarm = world.loop.call_later(later_s, wire.wake.set)
        until = None if later_s is None else world.loop.time() + later_s
        try:
            await self._hold(wire, waiting, id_, until, entered.answer)
        finally:
            if alarm is not None:
                alarm.cancel()
            self.held[id_].remove(wire)
            self.engine.unwatch(id_, waiting)
            # Last, as the handlers have it: an answer that arrived is noted by now.
            self.engine.left(id_)

    async def _enter(self, wire: Wire, submission: Submission, waiting: _Waiting) -> Entered | None:
        world = self.world
        entered = await self.engine.enter(submission, waiting)
        if not entered.twin_ids:
            return entered
        asked = [each for id_ in entered.twin_ids for each in self.held.get(id_, ())]
        until = world.loop.time() + TWIN_WAIT_S
        # The beat that is sent ahead of its time tells who has left.
        for each in asked:
            if each.left:
                world.loop.call_later(world.rng_net.uniform(0.1, 2.0), each.notice)
        while world.loop.time() < until:
            await asyncio.sleep(0.05)
            held = [each for id_ in entered.twin_ids for each in self.held.get(id_, ())]
            if len(held) < len(asked) or not any(each.left for each in held):
                break
        if wire.left:
            return None
        return await self.engine.enter(submission, waiting, asks_twins=False)

    async def _hold(self, wire: Wire, waiting: _Waiting, id_: str, until: float | None, answer: Answer | None) -> None:
        world = self.world
        while not (waiting.ended or wire.noticed or self.is_released):
            if until is not None and world.loop.time() >= until:
                break
            await wire.wake.wait()
            wire.wake.clear()
        if wire.noticed:
            return
        record = waiting.record or await self.engine.record(id_)
        assert record is not None, "a generation is never forgotten while it is held"
        is_final = State(record.generation.state).is_final
        if until is not None and not is_final:
            state = record.generation.state
            self._send(wire, Reply(generation_id=id_, state=state, answer=answer and answer.value))
            return
        reply = self._reply(record, answer)
        if reply is None:
            return
        # The bytes are on their way.
        await asyncio.sleep(world.rng_net.uniform(0.01, 2.0))
        if wire.leaves_in_answer and not wire.left:
            world.fault("C1 left in the answer")
            wire.leave()
        if self._send(wire, reply) and is_final:
            await self.engine.answered(id_, with_image=bool(reply.images))

    def _reply(self, record: Record, answer: Answer | None) -> Reply | None:
        row, told = record.generation, record.generation.told
        given = None if answer is None else answer.value
        if told is None and row.state != State.SUCCEEDED:
            return Reply(generation_id=row.id, code="outcome_unknown", paid="unknown", drive=row.drive, answer=given)
        if told is not None:
            return Reply(generation_id=row.id, code=told.code, paid=told.charge.value, drive=row.drive, answer=given)
        sent = [self._read(blob) for blob in record.results]
        if None in sent:
            # Deleted between the joining and the reading: the handler's answer breaks off.
            self.world.missing(record)
            return None
        images = tuple(each for each in sent if each is not None)
        stored = tuple(blob.sha256 for blob in record.results)
        return Reply(generation_id=row.id, images=images, stored=stored, drive=row.drive, answer=given)

    def _read(self, blob: BlobRow) -> str | None:
        try:
            return digest((self.world.disk.root / blob.store_key).read_bytes())
        except FileNotFoundError:
            return None

    def _send(self, wire: Wire, reply: Reply) -> bool:
        """Deliver an answer; False where nobody takes it any more."""
        if wire.left or wire.reply.done():
            return False
        wire.reply.set_result(reply)
        return True

    # GET, cancel, events

    async def get(self, wire: Wire, id_: str) -> None:
        """Tell how a generation stands."""
        record = await self.engine.record(id_)
        if record is None:
            self._send(wire, Reply(code="generation_not_found", is_refused=True))
            return
        row, told = record.generation, record.generation.told
        reply = Reply(
            generation_id=id_,
            state=row.state,
            code=None if told is None else told.code,
            paid=None if told is None else told.charge.value,
            drive=row.drive,
            stored=tuple(blob.id for blob in record.results),
        )
        self._send(wire, reply)

    async def image(self, wire: Wire, id_: str, image_id: str) -> None:
        """Send one image, and note that it arrived."""
        record = await self.engine.record(id_)
        assert record is not None
        blob = next(each for each in record.blobs if each.id == image_id)
        sent = self._read(blob) if blob.state == "stored" else None
        if sent is None:
            self._send(wire, Reply(generation_id=id_, code="image_expired", is_refused=True))
            return
        await asyncio.sleep(self.world.rng_net.uniform(0.01, 1.0))
        if self._send(wire, Reply(generation_id=id_, images=(sent,), stored=(blob.sha256,))):
            await self.engine.answered(id_, with_image=True, image_id=image_id)

    async def cancel(self, wire: Wire, id_: str) -> None:
        """Cancel a generation."""
        try:
            await self.engine.cancel(id_)
        except (StorageError, OSError):
            self._send(wire, Reply(generation_id=id_, code="storage_low", paid="no", is_refused=True))
            return
        await self.get(wire, id_)

    async def follow(self, wire: Wire, id_: str, on_change: asyncio.Event) -> None:
        """Wake a follower after each commit that changes a generation, until its connection ends."""
        self.engine.follow(id_, on_change.set)
        try:
            while not (wire.noticed or self.is_released):
                await wire.wake.wait()
                wire.wake.clear()
        finally:
            self.engine.unfollow(id_, on_change.set)
