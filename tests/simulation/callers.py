"""Simulated callers: plain loops, SDKs that repeat, people who leave without a word, keys, polls, streams.

They live outside the gateway and go on when it dies. What they were told is what the checker judges it by.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from holdfast.config import Join
from holdfast.engine.submit import Submission
from holdfast.policy.joining import claim_of
from holdfast.types import Geometry, InputImage, Request, Surface, Tier
from simulation.history import Asked, Followed, Told
from simulation.process import Broken, Process, Reply, Wire
from simulation.routes import MODELS

if TYPE_CHECKING:
    from simulation.world import World

SECRET_WORDS = "a lighthouse nobody may read of"
FINAL = frozenset({"succeeded", "failed", "cancelled"})
_GEOMETRY = Geometry(tier=Tier.K1, aspect_ratio="1:1", width_px=64, height_px=64)


class TimedOut(Exception):
    """The caller's own patience ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What somebody asks for."""

    key_id: str
    model: str
    n: int
    words: str
    inputs: tuple[InputImage, ...] = ()
    previews: int = 0
    """With any, the answer is streamed."""

    @property
    def body(self) -> str:
        """The same words are the same request."""
        return f"{self.model}/{self.n}/{self.words}/{len(self.inputs)}/{self.previews}"

    def request(self) -> Request:
        """As the engine is given it."""
        return Request(
            surface=Surface.OPENAI,
            model=self.model,
            prompt=f"{SECRET_WORDS}, {self.words}",
            geometry=_GEOMETRY,
            n=self.n,
            inputs=self.inputs,
            stream=self.previews > 0,
            partial_images=self.previews,
        )


class Caller:
    """One of them: `live` is its whole life."""

    def __init__(self, world: World, name: str, kind: str, rng: random.Random) -> None:
        self.world = world
        self.name = name
        self.kind = kind
        self.rng = rng

    async def live(self) -> None:
        """Do what one of this kind does."""
        acts: dict[str, Callable[[], Awaitable[object]]] = {
            "plain": self._plain,
            "keyed": self._keyed,
            "sdk": self._sdk,
            "leaver": self._leaver,
            "canceller": self._canceller,
            "poller": self._poller,
            "budget": self._budget,
            "follower": self._follower,
        }
        await acts[self.kind]()

    def order(self, *, is_own: bool = False) -> Order:
        """Draw what to ask for; with `is_own`, something that nobody else does."""
        rng, world = self.rng, self.world
        inputs = (world.an_input(rng),) if rng.random() < world.inputs_share else ()
        # What loses is an extra of an open generation where other parts are in flight.
        has_pairs = "second" in world.plan.wants
        return Order(
            key_id=rng.choice(("key_A", "key_B")),
            model=rng.choice(MODELS[:1] if has_pairs else MODELS),
            n=rng.choice((3, 4) if has_pairs else (1, 1, 1, 1, 1, 2, 3)),
            # A few words are everybody's: some people ask for the same.
            words=f"{self.name} alone" if is_own else rng.choice((f"{self.name} alone", "in fog", "at dawn")),
            inputs=inputs,
            previews=rng.choice((0, 0, 0, 0, 2)),
        )

    # Kinds

    async def _plain(self) -> None:
        await self._until_told(self.order(), patience_s=None, repeats=4)

    async def buy(self) -> None:
        """Ask for something of one's own until it is told."""
        await self._until_told(self.order(is_own=True), patience_s=None, repeats=8)

    async def _until_told(
        self, order: Order, *, patience_s: float | None, repeats: int, key: str | None = None
    ) -> Reply | None:
        """Repeat while connections break, or nothing is accepted, as a plain loop does."""
        for _ in range(repeats):
            try:
                reply = await self.post(order, key=key, patience_s=patience_s)
            except Broken:
                await asyncio.sleep(self.rng.uniform(0.5, 12.0))
            except TimedOut:
                self.world.fault("C4 retry after timeout")
            else:
                if not reply.is_refused or reply.code == "image_expired":
                    return reply
                await asyncio.sleep(self.rng.uniform(5.0, 30.0))
        return None

    async def _keyed(self) -> None:
        rng, order, key = self.rng, self.order(), f"key-of-{self.name}"
        first = await self._until_told(order, patience_s=rng.choice((None, 30.0, 100.0)), repeats=5, key=key)
        if first is None:
            return
        if rng.random() < 0.3:
            other = Order(key_id=order.key_id, model=order.model, n=order.n, words=f"{self.name} changed")
            self.world.fault("C3 same key, other body")
            await self._tried(other, key=key)
        if rng.random() < 0.4:
            await asyncio.sleep(rng.uniform(0.1, 60.0))
            await self._until_told(order, patience_s=None, repeats=2, key=key)
        if first.images and rng.random() < 0.5:
            await asyncio.sleep(rng.uniform(500.0, 700.0))
            late = await self._until_told(order, patience_s=None, repeats=2, key=key)
            if late is not None and late.code == "image_expired":
                self.world.fault("C7 key after expiry")

    async def _sdk(self) -> None:
        """An SDK's own two repeats, each of which says that it is one."""
        order, patience_s = self.order(), self.rng.uniform(20.0, 120.0)
        for attempt in range(3):
            try:
                await self.post(order, patience_s=patience_s, says_retry=attempt > 0)
            except Broken:
                await asyncio.sleep(self.rng.uniform(0.5, 2.0))
            except TimedOut:
                self.world.fault("C4 retry after timeout")
                await asyncio.sleep(self.rng.uniform(0.5, 2.0))
            else:
                return

    async def _leaver(self) -> None:
        """Leave without a word; some come back and ask for the same."""
        rng, order = self.rng, self.order()
        stage, patience_s = rng.choice((("at once", 0.02), ("while held", 40.0), ("in the answer", None)))
        try:
            if patience_s is None:
                await self.post(order, leaves_in_answer=True)
            else:
                await self.post(order, patience_s=rng.uniform(0.0, patience_s))
        except TimedOut:
            if patience_s is not None:
                self.world.fault(f"C1 left {stage}")
        except Broken:
            pass
        if rng.random() < 0.6:
            await asyncio.sleep(rng.uniform(0.0, 90.0))
            await self._until_told(order, patience_s=None, repeats=3)

    async def _budget(self) -> None:
        await self._tried(self.order(), asked_s=self.rng.choice((5.0, self.rng.uniform(1.0, 80.0))))

    async def _tried(
        self, order: Order, *, key: str | None = None, asked_s: float | None = None, later_s: float | None = None
    ) -> Reply | None:
        try:
            return await self.post(order, key=key, asked_s=asked_s, later_s=later_s)
        except Broken:
            return None

    async def _accepted(self) -> str | None:
        """Ask without waiting; give the id."""
        for _ in range(3):
            reply = await self._tried(self.order(), later_s=self.rng.choice((0.0, 0.0, 5.0)))
            if reply is not None and reply.generation_id is not None:
                return reply.generation_id
            await asyncio.sleep(self.rng.uniform(1.0, 10.0))
        return None

    async def _canceller(self) -> None:
        id_ = await self._accepted()
        if id_ is None:
            return
        if self.rng.random() < 0.5:
            self.world.fault("C8 cancel at the end")
            await self.world.near_end(id_, self.rng)
        else:
            await asyncio.sleep(self.rng.choice((0.0, self.rng.uniform(0.0, 60.0))))
        for _ in range(3):
            reply = await self._over_wire(lambda process, wire: process.cancel(wire, id_))
            if reply is not None and not reply.is_refused:
                return
            await asyncio.sleep(self.rng.uniform(0.5, 10.0))

    async def _poller(self) -> None:
        """Ask without waiting, look now and then, collect each image."""
        id_ = await self._accepted()
        state: Reply | None = None
        for _ in range(80):
            if id_ is None:
                return
            await asyncio.sleep(self.rng.uniform(3.0, 30.0))
            state = await self._over_wire(lambda process, wire: process.get(wire, id_))
            if state is not None:
                self._told(0, state)
                if state.state in FINAL:
                    break
        if state is None or state.state != "succeeded":
            return
        await asyncio.sleep(self.rng.choice((0.0, 60.0, self.rng.uniform(0.0, 1500.0))))
        for image_id in state.stored:
            reply = await self._over_wire(lambda process, wire, of=image_id: process.image(wire, id_, of))
            if reply is not None:
                self._told(0, reply)

    async def _follower(self) -> None:
        """Follow the events, come back behind the last one that arrived."""
        id_ = await self._accepted()
        after, kind = 0, ""
        for _ in range(60):
            if id_ is None or kind in FINAL:
                return
            process = self.world.up()
            if process is None:
                await asyncio.sleep(self.rng.uniform(0.5, 5.0))
                continue
            wire, changed = self._wire(), asyncio.Event()
            process.serve(wire, partial(_follow, id_=id_, changed=changed))
            changed.set()
            stays_s = self.rng.uniform(1.0, 120.0)
            until = self.world.loop.time() + stays_s
            while self.world.loop.time() < until and not wire.reply.done() and kind not in FINAL:
                try:
                    async with asyncio.timeout(20.0):
                        await changed.wait()
                except TimeoutError:
                    continue
                changed.clear()
                after, kind = self._read_log(id_, after, kind)
            wire.leave()
            wire.notice()
            self.world.fault("C9 follower comes back")

    def _read_log(self, id_: str, after: int, kind: str) -> tuple[int, str]:
        rows = [row for row in self.world.events_of(id_) if row[0] > after]
        if not rows:
            return after, kind
        numbers = tuple(number for number, _ in rows)
        self.world.history.add(
            Followed(
                at=self.world.loop.time(),
                caller=self.name,
                generation_id=id_,
                after=after,
                numbers=numbers,
                last_type=rows[-1][1],
            )
        )
        return numbers[-1], rows[-1][1]

    # The wire

    async def post(
        self,
        order: Order,
        *,
        key: str | None = None,
        says_retry: bool = False,
        patience_s: float | None = None,
        later_s: float | None = None,
        asked_s: float | None = None,
        leaves_in_answer: bool = False,
    ) -> Reply:
        """Send one POST and wait for its answer.

        Raises:
            Broken: The gateway is not there, or was gone before it had answered.
            TimedOut: This caller's patience ended first; it left without a word.
        """
        world = self.world
        process = world.up()
        if process is None:
            raise Broken
        wire = self._wire()
        wire.leaves_in_answer = leaves_in_answer
        world.history.add(
            Asked(
                at=world.loop.time(),
                caller=self.name,
                number=wire.number,
                key_id=order.key_id,
                body=order.body,
                idempotency_key=key,
                says_retry=says_retry,
                asked_s=asked_s,
            )
        )
        world.put_inputs(order.inputs)
        submission = submission_of(order, wire.number, key=key, says_retry=says_retry, asked_s=asked_s)
        submission = replace(submission, only_awaited=later_s is None)
        process.serve(wire, lambda process, wire: process.post(wire, submission, later_s=later_s))
        try:
            async with asyncio.timeout(patience_s):
                reply = await wire.reply
        except TimeoutError:
            wire.leave()
            # A departure without a word is seen by the next beat, or the one after.
            world.loop.call_later(self.rng.choice((0.001, 0.5, self.rng.uniform(1.0, 20.0))), wire.notice)
            raise TimedOut from None
        except asyncio.CancelledError:
            if wire.left:
                raise TimedOut from None
            raise
        self._told(wire.number, reply)
        return reply

    def _wire(self) -> Wire:
        return Wire(self.world.next_number(), self.world.loop.create_future())

    async def _over_wire(self, work: Callable[[Process, Wire], Coroutine[Any, Any, None]]) -> Reply | None:
        process = self.world.up()
        if process is None:
            return None
        wire = self._wire()
        process.serve(wire, work)
        try:
            return await wire.reply
        except Broken:
            return None

    def _told(self, number: int, reply: Reply) -> None:
        if reply.state is not None and reply.code is None and not reply.images:
            return
        self.world.history.add(
            Told(
                at=self.world.loop.time(),
                caller=self.name,
                number=number,
                generation_id=reply.generation_id,
                code=reply.code,
                paid=reply.paid,
                images=reply.images,
                stored=reply.stored if reply.images else (),
                drive=reply.drive,
                is_refused=reply.is_refused,
            )
        )


async def _follow(process: Process, wire: Wire, *, id_: str, changed: asyncio.Event) -> None:
    await process.follow(wire, id_, changed)


def submission_of(order: Order, number: int, *, key: str | None, says_retry: bool, asked_s: float | None) -> Submission:
    """What the handlers make of a POST; its number travels as the trace's name."""
    headers = {"x-stainless-retry-count": "1"} if says_retry else {}
    if key is not None:
        headers["idempotency-key"] = key
    return Submission(
        key_id=order.key_id,
        request=order.request(),
        asked_s=asked_s,
        traceparent=str(number),
        claim=claim_of(headers, join=Join.ALL, names_end_user=False, is_strict=False),
        fingerprint=hashlib.sha256(f"{order.key_id}/{order.body}".encode()).digest(),
    )
