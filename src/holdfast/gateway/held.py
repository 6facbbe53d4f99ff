"""A caller who waits for a generation: all that is kept of it meanwhile."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from holdfast.engine.converter import FileFormat
from holdfast.engine.watchers import Ended, Notice, PartialImage
from holdfast.gateway.call import Headers
from holdfast.gateway.dialects import Dialect
from holdfast.gateway.heads import IGNORED, ignored_headers
from holdfast.gateway.hold import Hold
from holdfast.generation import State
from holdfast.log import emit
from holdfast.policy.callers import CallerClass
from holdfast.policy.heartbeats import Schedule
from holdfast.policy.hops import Hop
from holdfast.store.records import Record
from holdfast.types import Surface


@dataclass(slots=True, eq=False)
class Waiting:
    """What has been told to one caller so far."""

    hold: Hold | None = None
    ended: bool = False
    is_due: bool = False
    """The caller wants to be told how it stands now, finished or not."""
    is_out: bool = False
    """The caller's own time is over."""
    is_released: bool = False
    """The gateway ends: nobody waits any longer."""
    is_sent_on: bool = False
    """It waits on elsewhere: it has not left."""
    record: Record | None = None
    """What it ended with, where that was told with the end."""
    previews: deque[PartialImage] | None = None

    def __call__(self, notice: Notice) -> None:
        if isinstance(notice, PartialImage):
            if self.previews is not None:
                self.previews.append(notice)
        else:
            self.ended, self.record = True, notice.record
        self._wake()

    def fall_due(self) -> None:
        """Wait no longer."""
        self.is_due = True
        self._wake()

    def run_out(self) -> None:
        """Wait no longer: the time that the caller gave is over."""
        self.is_out = True
        self._wake()

    def release(self) -> None:
        """Wait no longer: nobody will tell the end."""
        if not self.ended:
            self.is_released = True
            self(Ended())

    def go_on(self) -> None:
        """Wait on: what was told as the end is not this caller's."""
        self.ended, self.record = False, None

    @property
    def is_over(self) -> bool:
        """Whether there is something to tell."""
        return self.ended or self.is_due or self.is_out

    def _wake(self) -> None:
        if self.hold is not None:
            self.hold.wake()


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A caller whose generation was accepted."""

    generation_id: str
    dialect: Dialect
    caller: CallerClass
    schedule: Schedule
    headers: Headers
    ignored_elsewhere: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    """What has no effect at upstreams that may serve it instead of the first: see `Asked`."""
    base_url: str
    """Where this caller reached us; links are made of it."""
    path: str
    """What it asked for; redirects are written from there."""
    waiting: Waiting
    joins: bool
    """Whether a repeat that says it is one would join: then a late failure may be told by breaking off."""
    later_at: float | None = None
    """Loop time, seconds, at which the status is told instead of the answer; None: the caller is held."""
    outlasts: bool = False
    """It has joined: where the time of whom it joined is over, it waits on for an image that may still come."""
    budget_at: float | None = None
    """Loop time at which its own time is over, where that is not the generation's as well."""
    hop: Hop | None = None
    """Where it is in a chain of redirects; None: it is held by beats."""
    hop_at: float | None = None
    """Loop time at which it is sent on."""
    is_back: bool = False
    """It was sent on, and comes back."""
    may_be_gone: bool = False
    """What it is given may have been made long ago: its image may be deleted at this moment."""

    @property
    def is_native(self) -> bool:
        """Whether the caller is told the resource, however it ended."""
        return self.dialect.request.surface is Surface.GENERATIONS

    def head(self) -> Headers:
        """The headers of an early 200."""
        return [(b"content-type", self.dialect.content_type), *self.headers]

    def headers_with(self, record: Record) -> Headers:
        """The headers of an answer whose status is free: by now it is known who served it, and what is lost there."""
        if not record.results:
            return self.headers
        served = record.attempt_of(record.results[0])
        names = self.ignored_elsewhere.get((served.upstream, served.model))
        if names is None:
            known = dict(self.headers).get(IGNORED, b"").decode("latin-1")
            names = tuple(known.split(", ")) if known else ()
        lost = tuple(name for name in self._not_made(record) if name not in names)
        return [header for header in self.headers if header[0] != IGNORED] + ignored_headers((*names, *lost))

    def _not_made(self, record: Record) -> tuple[str, ...]:
        """The wishes that came to nothing: a format that the upstream has not, and into which nothing could be made."""
        request = self.dialect.request
        wanted = FileFormat.of(request)
        if wanted is None or all(image.mime == wanted.mime for image in record.results):
            return ()
        return ("output_format",) if request.output_compression is None else ("output_format", "output_compression")

    def note_commit(self) -> None:
        """Record that the status is spent."""
        emit("beat.committed", generation_id=self.generation_id, caller=self.caller.name)

    def alarms(self) -> list[asyncio.TimerHandle]:
        """Wake it at its times; give what is to be cancelled."""
        loop, waiting = asyncio.get_running_loop(), self.waiting
        times = (
            (self.later_at, waiting.fall_due),
            (self.hop_at, waiting.fall_due),
            (self.budget_at, waiting.run_out),
        )
        return [loop.call_at(at, ring) for at, ring in times if at is not None]

    def outlives(self, record: Record) -> bool:
        """Whether this end is not its own: its image may still come, and it has the time."""
        is_failed = State(record.generation.state) is State.FAILED
        return self.outlasts and is_failed and record.has_open_attempts

    def is_sent_on_with(self, record: Record) -> bool:
        """Whether it is to wait on elsewhere, as its generation stands."""
        waiting = self.waiting
        if self.hop is None or not waiting.is_due or waiting.is_out or waiting.is_released:
            return False
        return not State(record.generation.state).is_final or self.outlives(record)
