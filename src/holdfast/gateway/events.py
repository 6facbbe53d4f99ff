"""`GET /v1/generations/{id}/events`: what happens to a generation, as server-sent events from its log.

Every event is a row that was committed, so a stream that breaks is taken up again behind the last number that was seen,
by the same process or the next one. Nothing is invented in between: a beat is a blank line.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import msgspec

from holdfast.clock import from_rfc3339
from holdfast.config import Settings
from holdfast.engine.engine import Engine
from holdfast.errors import RequestError
from holdfast.gateway.auth import Authenticator
from holdfast.gateway.beats import BeatWheel
from holdfast.gateway.call import Call, Headers
from holdfast.gateway.hold import BEAT
from holdfast.gateway.progress import progress_of
from holdfast.gateway.waits import Wait, Waits
from holdfast.generation import State
from holdfast.store.eventlog import EventLog
from holdfast.wire.fields import mapping_of
from holdfast.wire.generations import EVENT_TYPES, EventResource, EventType, Status, render_event
from holdfast.wire.generations_query import decode_events_query

RETRY = b"retry: 2000\n\n"
"""Milliseconds after which a browser comes back."""
FULL_RETRY_S = 5.0
_HEADERS: Headers = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store, no-transform"),
    (b"x-accel-buffering", b"no"),
]


class EventStreams:
    """Serves the events of generations."""

    def __init__(
        self, *, engine: Engine, auth: Authenticator, settings: Settings, waits: Waits, wheel: BeatWheel
    ) -> None:
        self._engine = engine
        self._auth = auth
        self._settings = settings
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
        with self._waits.following(call, id_) as wait:
            await call.start(200, [*_HEADERS])
            await call.write(RETRY)
            with self._beating(call):
                await self._tell(call, wait, id_, key.id, after)
        if not call.has_left:
            await call.finish()

    async def _tell(self, call: Call, wait: Wait, id_: str, key_id: str, after: int) -> None:
        while True:
            # Read after following: what is committed in between wakes the wait that comes next.
            log = await self._log(id_, key_id)
            for event in events_after(log, after, self._settings):
                # Whole, in one write: no beat comes between its lines.
                await call.write(render_event(event))
                after = event.sequence_number
            if State(log.generation.state).is_final or wait.is_over:
                return
            await wait.sleep()

    @contextmanager
    def _beating(self, call: Call) -> Iterator[None]:
        beat_s = self._settings.heartbeat.beat_s

        def beat() -> float:
            call.write_now(BEAT)
            return beat_s

        ticket = self._wheel.add(beat_s, beat)
        try:
            yield
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


def events_after(log: EventLog, after: int, settings: Settings) -> Iterator[EventResource]:
    """Tell the events of a log behind a number, each with how the generation stood then.

    A number that never was is a place in the order all the same.
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
        yield EventResource(
            id=row.id,
            type=cast(EventType, f"generation.{event.type}"),
            status=status,
            sequence_number=event.sequence_number,
            at=event.at,
            progress=progress_of(row, settings, from_rfc3339(event.at)) if is_open else None,
            late=late,
            cancel_requested=cancel_requested,
        )
