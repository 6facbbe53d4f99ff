"""`/admin/v1/events`: what begins, moves on and ends, whoever's it is, as server-sent events.

A reader is told states, not steps: whatever happened to a generation since it was last read, it is read once and sent
as it stands. So a thousand ends a second are a bounded number of reads, and a slow reader costs nobody anything. One
that is too far behind is told so, and reads the lists again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import msgspec

from holdfast.clock import rfc3339
from holdfast.engine.core import Core
from holdfast.engine.engine import Engine
from holdfast.errors import RequestError
from holdfast.gateway.admin.framework import SECURITY, AdminCall, Served, Spec
from holdfast.gateway.admin.overview import load_of
from holdfast.gateway.admin.shown import generation_of
from holdfast.gateway.call import Call
from holdfast.store.overview import Shown, live_now, show
from holdfast.wire.admin import AdminEvent
from holdfast.wire.generations import Progress
from holdfast.wire.sse import event_of

STREAMS_MAX = 16
"""At once: a few people have some pages open; each reads the store once a turn, in the time of those who are held."""
TURN_S = 0.5
"""Between two looks: what happened meanwhile is told together."""
PROGRESS_S = 1.0
CHANGED_MAX = 100
"""Generations that are told to one reader in a turn: a page shows about as many."""
LISTED_MAX = 50
"""Open generations whose progress is told, newest first; as many as the first view shows."""
CHECK_S = 15.0
"""How long a session may have ended before its stream does."""
FULL_RETRY_S = 5.0

FOLLOW_ALL = Spec(
    "GET",
    "/admin/v1/events",
    "followAll",
    "What begins, moves on and ends, as server-sent events: `generation` as it stands, `progress` every second, "
    "`behind` where some were left out",
    answer=AdminEvent,
    media="text/event-stream",
    codes=("overloaded", "draining"),
)
SPECS = (FOLLOW_ALL,)


class Changed:
    """What one reader has not been told yet: ids, each once, a bounded number."""

    def __init__(self) -> None:
        self._ids: dict[str, None] = {}
        self._is_behind = False

    def note(self, generation_id: str) -> None:
        """Note that something happened to a generation."""
        if generation_id in self._ids:
            return
        if len(self._ids) >= CHANGED_MAX:
            self._is_behind = True
            return
        self._ids[generation_id] = None

    def take(self) -> tuple[tuple[str, ...], bool]:
        """Give the ids, oldest first, and whether some were left out; then there are none."""
        taken, self._ids = tuple(self._ids), {}
        behind, self._is_behind = self._is_behind, False
        return taken, behind


class EventsPage:
    """Serves the stream."""

    def __init__(self, core: Core, engine: Engine) -> None:
        self._core = core
        self._engine = engine
        self._open: set[asyncio.Event] = set()
        self._latest: tuple[float, AdminEvent] | None = None
        """How everything stood, and at which loop time: made once for all who follow."""

    def served(self) -> tuple[Served, ...]:
        """All endpoints."""
        return (FOLLOW_ALL.by(self._follow),)

    @property
    def following(self) -> int:
        """Streams that are open."""
        return len(self._open)

    def release(self) -> None:
        """End every stream: the gateway goes."""
        for ended in self._open:
            ended.set()

    async def _follow(self, asked: AdminCall) -> None:
        call = asked.call
        headers = [
            (b"content-type", b"text/event-stream"),
            (b"cache-control", b"no-store, no-transform"),
            (b"x-accel-buffering", b"no"),
            *SECURITY,
        ]
        if call.method == "HEAD":
            await call.start(200, headers)
            await call.finish()
            return
        if self._engine.is_draining:
            raise RequestError("The gateway is shutting down.", code="draining", status=503)
        if len(self._open) >= STREAMS_MAX:
            raise RequestError(
                "Too many pages follow everything at this moment.",
                code="overloaded",
                status=503,
                retry_after_s=FULL_RETRY_S,
            )
        with self._following(call) as (changed, ended):
            await call.start(200, headers)
            await call.write(b"retry: 2000\n\n")
            await self._tell(asked, changed, ended)
        if not call.has_left:
            await call.finish()

    @contextlib.contextmanager
    def _following(self, call: Call) -> Iterator[tuple[Changed, asyncio.Event]]:
        changed, ended = Changed(), asyncio.Event()
        self._core.followers.listen(changed.note)
        self._open.add(ended)
        call.protocol.on_lost = ended.set
        try:
            yield changed, ended
        finally:
            call.protocol.on_lost = None
            self._open.discard(ended)
            self._core.followers.deaf(changed.note)

    async def _tell(self, asked: AdminCall, changed: Changed, ended: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        progress_at = loop.time()
        check_at = progress_at + CHECK_S
        while not ended.is_set():
            ids, is_behind = changed.take()
            if is_behind:
                await self._send(asked.call, AdminEvent(type="behind", at=self._core.now_text()))
            for shown in await asked.read(show, ids) if ids else ():
                await self._send(asked.call, self._event(shown))
            if loop.time() >= progress_at:
                progress_at = loop.time() + PROGRESS_S
                await self._send(asked.call, await self._progress(asked))
            if loop.time() >= check_at:
                check_at = loop.time() + CHECK_S
                # A key that was revoked sees nothing more, though its stream was opened before.
                await asked.check_again()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TURN_S):
                    await ended.wait()

    async def _send(self, call: Call, event: AdminEvent) -> None:
        (text,) = event_of((msgspec.json.encode(event),), name=event.type)
        assert isinstance(text, bytes)
        await call.write(text)

    def _event(self, shown: Shown) -> AdminEvent:
        core, now = self._core, self._core.clock.now()
        in_line = self._engine.in_line(shown.record.generation.id)
        generation = generation_of(shown, latencies=core.latencies, now=now, in_line=in_line)
        return AdminEvent(type="generation", at=rfc3339(now), generation=generation)

    async def _progress(self, asked: AdminCall) -> AdminEvent:
        at = asyncio.get_running_loop().time()
        if self._latest is None or at - self._latest[0] >= PROGRESS_S / 2:
            self._latest = at, await self._progress_now(asked)
        return self._latest[1]

    async def _progress_now(self, asked: AdminCall) -> AdminEvent:
        core, now = self._core, self._core.clock.now()
        told: dict[str, Progress] = {}
        for shown in await asked.read(live_now, most=LISTED_MAX) if self._engine.open_generations else ():
            in_line = self._engine.in_line(shown.record.generation.id)
            each = generation_of(shown, latencies=core.latencies, now=now, in_line=in_line)
            if each.progress is not None:
                told[each.id] = each.progress
        load = load_of(core, self._engine)
        return AdminEvent(type="progress", at=rfc3339(now), progress=told, load=load)
