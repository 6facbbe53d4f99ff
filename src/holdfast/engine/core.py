"""What every part of the engine is given: settings, clock, store, blobs, spool and transport, by injection."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from holdfast.clock import Clock, rfc3339
from holdfast.config import Settings
from holdfast.engine.converter import Converter, FileFormat
from holdfast.engine.course import Course, Courses, Target
from holdfast.engine.dispatcher import Dispatcher, LocalDispatcher
from holdfast.engine.followers import Followers
from holdfast.engine.latencies import Latencies
from holdfast.engine.queue import Ticket
from holdfast.engine.renewal import left_of
from holdfast.engine.thumbnails import Thumbnails
from holdfast.engine.tokens import PlainKeys, Tokens
from holdfast.engine.watchers import Watchers
from holdfast.generation import images_of_part
from holdfast.policy.addresses import AddressRules
from holdfast.policy.compensation import Rules, rules_of
from holdfast.policy.retention import Retention, delete_after
from holdfast.store.blob_port import Blobs, Place
from holdfast.store.leftovers import THUMBNAILS
from holdfast.store.port import Store
from holdfast.store.spool import Spooled, clear_all
from holdfast.threads import Batches, Singly, Threads
from holdfast.transport.exchange import Exchange, Head, HttpRequest, Sink, Timeouts
from holdfast.types import Failure, InputImage, Request, Tier

T = TypeVar("T")


class Transport(Protocol):
    """One HTTP exchange; `transport.aio` in production, a simulated upstream in tests."""

    def exchange(
        self,
        request: HttpRequest,
        *,
        inputs: Sequence[Path],
        timeouts: Timeouts,
        on_head: Callable[[Head], Sink],
        ca_file: str,
    ) -> Awaitable[Exchange | Failure]:
        """Send a request and hand the body of the answer to a sink.

        Raises:
            NotSent: A mistake of ours, before one byte has left; any other exception may come after.
        """

    def fetch(
        self, url: str, *, rules: AddressRules, timeouts: Timeouts, on_head: Callable[[Head], Sink], ca_file: str
    ) -> Awaitable[Exchange | Failure]:
        """Get a file from where an answer said that it lies, and hand it to a sink; raises as `exchange` does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One attempt at a part that has failed, and where."""

    upstream: str
    model: str
    """Its name there."""
    tier: Tier
    failure: Failure


class InLine(NamedTuple):
    """Where a generation stands in line for its upstream."""

    position: int
    """From 1."""
    estimate_s: float
    """In so many seconds it should have its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """What an earlier process has tried of one part, without success, and what it had decided."""

    tried: tuple[Tried, ...]
    """Oldest first."""
    again_at: float
    """Monotonic seconds at which it goes on."""
    to: tuple[str, str, Tier] | None = None
    """Where it was to go on: upstream, model there, size; None: that was not written down."""
    had_second: bool = False
    """Whether a second attempt was made beside a slow one."""


@dataclass(slots=True, kw_only=True)
class Live:
    """A generation that this process drives, as long as it is open."""

    id: str
    key_id: str
    request: Request | None = field(repr=False)
    """None once every part has been sent, or waits: a prompt is not kept in memory while its caller is held."""
    model: str
    """The public one that was asked for, whatever serves it."""
    tier: Tier
    n: int
    drive: int
    parts: int
    course: Course
    """Where its parts may be sent."""
    images_per_call: int
    """What each upstream of its route makes in one call as the settings are now; they may have been others when it was
    accepted."""
    list_micros: int
    """What an upstream takes for an image of what was asked for, without our margin."""
    purchases_max: int | None = None
    """Its caller's own limit of calls for one image that may be charged."""
    accepted_at: float
    """Monotonic seconds; before this process began, if an earlier one accepted it."""
    deadline_at: float
    """Monotonic seconds; stops new attempts."""
    hard_deadline: bool
    """The caller named its budget: it is told at that instant, even while an attempt is in flight."""
    only_awaited: bool = False
    """Nobody was told to come back for it: while it is queued, it ends with the last of those who wait."""
    file_format: FileFormat | None = None
    """What its images are to be, where the caller named that: the request itself is let go of before they come."""
    traceparent: str | None = None
    """Of the request that made it, where it came with one."""
    parts_to_send: set[int] = field(default_factory=set)
    """Those that need the request now."""
    seconds_to_send: set[int] = field(default_factory=set)
    """Those whose second attempt needs it, whether their first one still does or not."""
    timer: asyncio.TimerHandle | None = None
    """Tells a caller who named its budget."""
    unwatched: asyncio.TimerHandle | None = None
    """Rings when nobody has waited for it for too long."""
    earlier: Mapping[int, Earlier] = field(default_factory=dict)
    """What an earlier process has tried, by part."""
    tickets: list[Ticket] = field(default_factory=list)
    """Places of its parts at their upstreams, or in line."""
    sleepers: list[asyncio.Future[None]] = field(default_factory=list)
    """What its parts wait for: a place, or the end of a pause."""
    is_stopped: bool = False
    """No attempt begins any more."""
    is_behind: bool = False
    """Settings were read anew, and its route has what its course has not."""

    def images_of(self, part: int) -> int:
        """How many images a part asks for."""
        return min(self.images_per_call, images_of_part(part, n=self.n, parts=self.parts))

    def let_go(self, part: int, *, second: bool = False) -> None:
        """Note that a part, or its second attempt, needs the request no longer, or not yet.

        With the last one it is let go of.
        """
        (self.seconds_to_send if second else self.parts_to_send).discard(part)
        if not self.parts_to_send and not self.seconds_to_send:
            self.request = None

    def stop(self) -> None:
        """Begin no attempt any more: whoever waits for a place or in a pause wakes, and ends."""
        if self.is_stopped:
            return
        self.is_stopped = True
        for ticket in self.tickets:
            if ticket.is_waiting:
                # At once, before its task has woken: whoever asks next finds the room.
                ticket.leave()
        for sleeper in self.sleepers:
            if not sleeper.done():
                sleeper.set_result(None)

    def look_up(self) -> None:
        """Let whoever waits for a place see where he stands; if nothing is left of its course, who pauses too."""
        sleepers = self.sleepers if self.course.is_gone else [ticket.sleeper for ticket in self.tickets]
        for sleeper in sleepers:
            if sleeper is not None and not sleeper.done():
                sleeper.set_result(None)

    @property
    def is_in_line(self) -> bool:
        """Whether any of its parts waits for a place."""
        return any(ticket.is_waiting for ticket in self.tickets)

    @property
    def in_line(self) -> InLine | None:
        """Where the first of its parts that wait stands in line; None: none waits."""
        places = [(at, ticket) for ticket in self.tickets if (at := ticket.position) is not None]
        if not places:
            return None
        position, ticket = min(places, key=lambda place: place[0])
        estimate_s = ticket.estimate_s
        assert estimate_s is not None
        return InLine(position, estimate_s)


@dataclass(slots=True, kw_only=True)
class Core:
    """The engine's dependencies. What comes of the settings is replaced as one by `renew`, all else stays."""

    settings: Settings
    clock: Clock
    store: Store
    blobs: Blobs
    spool: Path
    transport: Transport
    owner: str
    """This process's name in the owner row."""
    targets: Mapping[str, tuple[Target, ...]]
    """Public model name -> upstreams of its route, in order: its own, then those of its fallback models."""
    threads: Threads
    """Where files are moved and hashed."""
    blob_threads: Threads | None = None
    """Where the blob store is asked, if it is not a disk; None: `threads`."""
    dispatcher: Dispatcher = field(default_factory=LocalDispatcher)
    """Hands what was accepted to a worker: this process, unless it is one of several."""
    backlog: Callable[[], int] | None = None
    """How many generations wait for a worker, where several share them; None: each waits in this process."""
    leads: Callable[[], bool] = field(default=lambda: True)
    """Whether this process does what one of several does for all: sweeping, and telling receivers of ends."""
    asked_after: Callable[[str], None] = field(default=lambda _: None)
    """Told that another process asks whether those who wait here for a generation are still there."""
    tokens: Tokens = field(default_factory=PlainKeys)
    """Makes credentials ready to be sent."""
    converter: Converter | None = None
    """Makes other file formats of images; None where nothing does."""
    thumbnails: Thumbnails = field(init=False)
    """Small pictures of images, for those who look."""
    watchers: Watchers = field(default_factory=Watchers)
    rules: Rules = field(init=False)
    """What customers are given back, by reason."""
    followers: Followers = field(default_factory=Followers)
    courses: Courses = field(init=False)
    """Where each request may be sent."""
    latencies: Latencies = field(init=False)
    """What is expected of upstreams, and learnt."""
    puts: Batches[Sequence[Place], None] | Singly[Place] = field(init=False)
    """Gives spooled images their places in the blob store."""
    clears: Batches[Spooled, None] = field(init=False)
    """Empties the spool of what is settled."""

    def __post_init__(self) -> None:
        self.renew(self.settings, self.targets)
        self.thumbnails = Thumbnails(self.spool.parent / THUMBNAILS, self.threads, self.brought_here)
        self.latencies = Latencies(self.settings.latency, self.clock)
        if self.blobs.puts_together:
            self.puts = Batches(self.threads, lambda groups: self.blobs.put_files(groups))
        else:
            self.puts = Singly(self.blob_threads or self.threads, lambda place: self.blobs.put_file(*place))
        self.clears = Batches(self.threads, clear_all)

    def renew(self, settings: Settings, targets: Mapping[str, tuple[Target, ...]]) -> None:
        """Take over settings; for `Engine.renew`, which tells whoever has made something of those before."""
        self.settings, self.targets = settings, targets
        self.rules = rules_of(settings.compensation)
        self.courses = Courses(settings, targets)

    def lead(self, live: Live) -> None:
        """Lead a generation by the settings as they are now; see `renewal`."""
        may_degrade = any(each.tier is not live.tier for each in live.course.candidates)
        route = self.courses.route(live.model, live.tier, may_degrade=may_degrade)
        live.course, is_behind = left_of(live.course, route)
        live.is_behind = live.is_behind or is_behind
        live.look_up()

    async def in_thread(self, function: Callable[..., T], *args: object) -> T:
        """Run file work off the loop."""
        return await self.threads.run(function, *args)

    async def with_blobs(self, function: Callable[..., T], *args: object) -> T:
        """Run what asks the blob store off the loop, and where it keeps no file work waiting."""
        return await (self.blob_threads or self.threads).run(function, *args)

    async def brought(self, images: Sequence[InputImage]) -> tuple[Path, ...]:
        """See that images which a request brought along lie on this disk, and say where.

        Raises:
            OSError: One is gone, or what holds it does not answer.
        """
        return tuple([await self.brought_here(image.store_key, image.sha256) for image in images])

    async def brought_here(self, key: str, sha256: str) -> Path:
        """Do the same for one."""
        here = self.blobs.here(key)
        return Path(await self.with_blobs(self.blobs.bring, key, sha256) if here is None else here)

    def monotonic_of(self, moment: datetime) -> float:
        """The instant on the monotonic clock at which the wall clock will show `moment`."""
        return self.clock.monotonic() + (moment - self.clock.now()).total_seconds()

    def monotonic_until(self, moment: datetime, *, since: datetime) -> float:
        """The same of an end that was set at `since`: at most as far away as it was then.

        A wall clock that is set back while nobody runs makes nothing last longer than was meant.
        """
        return min(self.monotonic_of(moment), self.clock.monotonic() + (moment - since).total_seconds())

    def now_text(self) -> str:
        """The wall clock, as records have it."""
        return rfc3339(self.clock.now())

    def purge_text(self) -> str:
        """When an image that is stored now may be deleted if it is never collected."""
        return rfc3339(delete_after(self.retention, ended_at=self.clock.now()))

    @property
    def retention(self) -> Retention:
        """How long things are kept."""
        return Retention.of(self.settings.store)
