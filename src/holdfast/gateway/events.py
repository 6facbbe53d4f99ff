"""`GET /v1/generations/{id}/events`: what happens to a generation, as server-sent events from its log.

Every numbered event is a row that was committed, so a stream that breaks is taken up again behind the last number that
was seen, by the same process or the next one. Nothing is invented in between: a beat is a blank line. A preview is an
event without a number: whoever follows at that moment is shown it, and nobody else.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import msgspec

from holdfast.clock import Clock, from_rfc3339, rfc3339
from holdfast.config import Settings
from holdfast.engine.core import InLine
from holdfast.engine.engine import Engine
from holdfast.engine.latencies import Latencies
from holdfast.engine.watchers import PartialImage
from holdfast.errors import RequestError
from holdfast.gateway.answer import FilePieces, write_parts
from holdfast.gateway.auth import Authenticator
from holdfast.gateway.beats import BeatWheel
from holdfast.gateway.call import Call, Headers
from holdfast.gateway.hold import BEAT
from holdfast.gateway.progress import progress_of
from holdfast.gateway.waits import Wait, Waits
from holdfast.generation import State
from holdfast.store.eventlog import EventLog
from holdfast.wire.fields import mapping_of
from holdfast.wire.generations import (
    EVENT_TYPES,
    EventResource,
    EventType,
    PartialImageEvent,
    Status,
    render_event,
    render_partial_image,
)
from holdfast.wire.generations_query import decode_events_query

RETRY = b"retry: 2000\n\n"
"""Milliseconds after which a browser comes back."""
FULL_RETRY_S = 5.0
_HEADERS: Headers = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store, no-transform"),
    (b"x-accel-buffering", b"no"),
]


class Beats:
    """The blank lines of one stream."""

    __slots__ = ("_call", "_is_paused", "beat_s")

    def __init__(self, call: Call, beat_s: float) -> None:
        self._call = call
        self._is_paused = False
        self.beat_s = beat_s

    def tick(self) -> float:
        """Send one, unless something else is being written; give the seconds until the next."""
        if not self._is_paused:
            self._call.write_now(BEAT)
        return self.beat_s

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Send none meanwhile."""
        self._is_paused = True
        try:
            yield
        finally:
            self._is_paused = False


class EventStreams:
    """Serves the events of generations."""

    def __init__(
        self,
        *,
        engine: Engine,
        auth: Authenticator,
        settings: Settings,
        latencies: Latencies,
        waits: Waits,
        wheel: BeatWheel,
        clock: Clock,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._auth = auth
        self._settings = settings
        self._latencies = latencies
        self._waits = waits
        self._wheel = wheel

    async def serve(self, call: Call, names: dict[str, str]) -> None:
        """Send what the caller has not seen, then what happens, until the end; 204 where nothing is left to tell."""
        key = await self._auth.authenticate(call)
        after = decode_events_query(call.query, call.headers.get("last-event-id"))
        id_ = names["id"]
        log = await self._log(id_, key.id)
        if is_over(log, after):
            await call.start(204, [(b"cache-control", b"no-store, no-transform")])
            await call.finish()
            return
        if call.method == "HEAD":
            await call.start(200, [*_HEADERS])
            await call.finish()
            return
        if self._waits.is_full:
            raise RequestError(
                "Too many callers follow generations at this moment.",
                code="overloaded",
                status=503,
                retry_after_s=FULL_RETRY_S,
            )
        with self._waits.following(call, id_, previews=True) as wait:
            await call.start(200, [*_HEADERS])
            await call.write(RETRY)
            with self._beating(call) as beats:
                await self._tell(call, wait, beats, id_, key.id, after)
        if not call.has_left:
            await call.finish()

    async def _tell(self, call: Call, wait: Wait, beats: Beats, id_: str, key_id: str, after: int) -> None:
        while True:
            while wait.previews and not wait.is_over:
                await self._show(call, beats, id_, wait.previews.popleft())
            # Read after following: what is committed in between wakes the wait that comes next.
            log = await self._log(id_, key_id)
            in_line = self._engine.in_line(id_)
            for event in events_after(log, after, self._latencies, in_line=in_line):
                # Whole, in one write: no beat comes between its lines.
                await call.write(render_event(event))
                after = event.sequence_number
            if State(log.generation.state).is_final or wait.is_over:
                return
            await wait.sleep()

    async def _show(self, call: Call, beats: Beats, id_: str, preview: PartialImage) -> None:
        """Send a preview, if it is still there: it is kept only as long as its attempt is in flight."""
        try:
            pieces = FilePieces(preview.path)
        except FileNotFoundError:
            return
        event = PartialImageEvent(
            id=id_,
            at=rfc3339(self._clock.now()),
            partial_image_index=preview.index,
            mime=preview.info.mime,
            bytes=preview.info.bytes,
            width=preview.info.width_px,
            height=preview.info.height_px,
            b64_json="0",
        )
        # In several writes: a beat in between would end the event.
        with pieces, beats.paused():
            await write_parts(call, render_partial_image(event), {0: pieces})

    @contextmanager
    def _beating(self, call: Call) -> Iterator[Beats]:
        beats = Beats(call, self._settings.heartbeat.beat_s)
        ticket = self._wheel.add(beats.beat_s, beats.tick)
        try:
            yield beats
        finally:
            ticket.cancel()

    async def _log(self, id_: str, key_id: str) -> EventLog:
        log = await self._engine.event_log(id_)
        if log is None or log.generation.key_id != key_id:
            raise RequestError("There is no such generation.", code="generation_not_found", status=404)
        return log


def is_over(log: EventLog, after: int) -> bool:
    """Whether nothing is left to tell to who has seen the events up to `after`, nor will be."""
    return State(log.generation.state).is_final and all(event.sequence_number <= after for event in log.events)


def events_after(
    log: EventLog, after: int, latencies: Latencies, *, in_line: InLine | None = None
) -> Iterator[EventResource]:
    """Tell the events of a log behind a number, each with how the generation stood then.

    A number that never was is a place in the order all the same. Where the generation stands in line is known of this
    moment only: the last event tells it, if that is where it stands.
    """
    status: Status = "queued"
    late = cancel_requested = False
    row = log.generation
    for event in log.events:
        if event.type in tuple(State):
            status = cast(Status, event.type)
        said = mapping_of(None if event.data is None else msgspec.json.decode(event.data))
        late = late or bool(said.get("late"))
        cancel_requested = cancel_requested or bool(said.get("cancel_requested"))
        if event.sequence_number <= after or event.type not in EVENT_TYPES:
            continue
        is_open = not State(status).is_final
        stands = in_line if status == row.state == State.QUEUED and event is log.events[-1] else None
        yield EventResource(
            id=row.id,
            type=cast(EventType, f"generation.{event.type}"),
            status=status,
            sequence_number=event.sequence_number,
            at=event.at,
            progress=progress_of(row, latencies, from_rfc3339(event.at), in_line=stands) if is_open else None,
            queue_position=None if stands is None else stands.position,
            estimated_start_s=None if stands is None else round(stands.estimate_s, 1),
            late=late,
            cancel_requested=cancel_requested,
        )
