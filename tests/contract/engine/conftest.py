"""A whole engine on a real store, blob store and spool, with an upstream that answers what a test says.

Time stands still until a test moves it, and the loop's timers move along: nothing waits.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import struct
import zlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import pytest

from holdfast import faults
from holdfast.clock import ulid
from holdfast.config import Settings, parse, upstream_keys
from holdfast.engine import course
from holdfast.engine.attempt import begin
from holdfast.engine.core import Core, Live
from holdfast.engine.course import Target
from holdfast.engine.engine import Engine
from holdfast.engine.recover import Recovered
from holdfast.engine.submit import Submission, live_of, price
from holdfast.engine.watchers import Ended, Notice
from holdfast.generation import State
from holdfast.providers.conversation import malformed
from holdfast.providers.registry import conversation_for
from holdfast.store.audit import audit
from holdfast.store.blob_keys import key_for
from holdfast.store.blobs import LocalBlobs
from holdfast.store.bookkeeping import ledger_of, ledger_sums
from holdfast.store.generations import accept, events_of, get_record
from holdfast.store.lock import DataFolder
from holdfast.store.postgres.store import PostgresStore
from holdfast.store.records import NewAttempt, NewGeneration, Record
from holdfast.store.spool import Spooled, SpoolWriter
from holdfast.store.sqlite import SqliteStore
from holdfast.threads import Threads
from holdfast.transport.body import measure
from holdfast.transport.exchange import Exchange, Head, HttpRequest, NotSent, Sink, Timeouts, Timings
from holdfast.types import Failure, Geometry, Request, Surface, Tier
from holdfast.wire.scan import WireError

BEGAN_AT = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
TIMINGS = Timings(connected_s=0.0, sent_s=0.0, head_s=0.0, first_byte_s=0.0, body_s=0.0, admission_s=0.0, body_bytes=0)
GEMINI, OPENAI = "nano-banana-pro", "gpt-image-2"
FREE_BYTES = 10**10


class JumpingClock:
    """Stands still until it is moved; whoever sleeps on the running loop is moved along."""

    def __init__(self) -> None:
        self.passed_s = 0.0
        self.set_by_s = 0.0
        """By so much somebody has set the clock on the wall."""
        self._made = 0

    def attach(self) -> None:
        """Let the loop's timers go by this clock, added to the time that really passes."""
        loop = asyncio.get_running_loop()
        real = loop.time
        loop.time = lambda: real() + self.passed_s  # type: ignore[method-assign]

    def jump(self, seconds: float) -> None:
        """Let time pass at once."""
        self.passed_s += seconds

    def monotonic(self) -> float:
        """Seconds since a start long ago."""
        return 1000.0 + self.passed_s

    def now(self) -> datetime:
        """The wall clock."""
        return BEGAN_AT + timedelta(seconds=self.passed_s + self.set_by_s)

    def random(self) -> float:
        """The middle."""
        return 0.5

    def token(self, bytes_: int) -> bytes:
        """As many as asked for."""
        return bytes(bytes_)

    def new_id(self, prefix: str) -> str:
        """Ids that sort as they were made."""
        self._made += 1
        return f"{prefix}_{ulid(int(self.now().timestamp() * 1000), self._made.to_bytes(10))}"


def a_png(shade: int = 0, *, width_px: int = 64, height_px: int = 64) -> bytes:
    """A whole picture of one shade of grey; two shades are two pictures."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width_px, height_px, 8, 0, 0, 0, 0)
    rows = zlib.compress((b"\x00" + bytes([shade]) * width_px) * height_px)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def openai_body(*images: bytes, **members: Any) -> bytes:
    """An Images answer."""
    data = [{"b64_json": base64.b64encode(image).decode()} for image in images]
    return json.dumps({"created": 1, "data": data, **members}).encode()


def gemini_body(*images: bytes, drafts: Sequence[bytes] = (), finish: str = "STOP") -> bytes:
    """A `generateContent` answer; drafts are the thoughts before its image."""

    def part(image: bytes, **members: Any) -> dict[str, Any]:
        return {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(image).decode()}, **members}

    parts = [*(part(draft, thought=True) for draft in drafts), *(part(image) for image in images)]
    candidate = {"content": {"role": "model", "parts": parts}, "finishReason": finish}
    return json.dumps({"candidates": [candidate], "usageMetadata": {"candidatesTokenCount": 1120}}).encode()


@dataclass
class Reply:
    """What the upstream does with one call."""

    body: bytes = b""
    status: int = 200
    content_type: str = "application/json"
    failure: Failure | None = None
    """The exchange breaks instead, after `body` if there is any."""
    error: Exception | None = None
    """What the transport raises instead."""
    when: asyncio.Event | None = None
    """Answers only then."""
    end_when: asyncio.Event | None = None
    """Ends its body only then."""
    retry_after: str | None = None
    """The header of that name."""
    piece_bytes: int = 700


@dataclass(frozen=True)
class Asked:
    """One call that the upstream got."""

    generation_id: str
    part: int
    request: HttpRequest
    timeouts: Timeouts
    at: float
    """Seconds since the bench began."""

    @property
    def key(self) -> str:
        """Its `Idempotency-Key`."""
        return dict(self.request.headers)["Idempotency-Key"]

    @property
    def host(self) -> str:
        """Which upstream it is, by the first label of its host: `a` of `http://a.test`."""
        return (urlsplit(self.request.url).hostname or "").partition(".")[0]

    @property
    def credential(self) -> str:
        """The key that it came with."""
        headers = dict(self.request.headers)
        return headers.get("x-goog-api-key") or headers["Authorization"].removeprefix("Bearer ")


class FakeUpstream:
    """A `Transport` that plays replies: the next ones of its host or of all, then by part or host, else `usual`."""

    def __init__(self) -> None:
        self.clock = JumpingClock()
        self.next: deque[Reply] = deque()
        self.usual = Reply(body=gemini_body(a_png()))
        self.by_part: dict[int, Reply] = {}
        self.by_host: dict[str, Reply] = {}
        self.next_of: dict[str, deque[Reply]] = {}
        self.asked: list[Asked] = []
        self.threads = ThreadPoolExecutor(2)

    async def exchange(
        self,
        request: HttpRequest,
        *,
        inputs: Sequence[Path],
        timeouts: Timeouts,
        on_head: Callable[[Head], Sink],
        ca_file: str,
    ) -> Exchange | Failure:
        """Play the reply of this call's part, as the transport would: the sink in a thread, closed if it broke."""
        generation_id, part, _drive = dict(request.headers)["Idempotency-Key"].split(".")
        try:
            measure(request.body, inputs)
        except OSError as exc:
            raise NotSent(exc) from exc
        self.asked.append(Asked(generation_id, int(part), request, timeouts, self.clock.passed_s))
        reply = self._reply(self.asked[-1])
        if reply.when is not None:
            await reply.when.wait()
        if reply.error is not None:
            raise reply.error
        if reply.failure is not None and not reply.body:
            return reply.failure
        headers = {"content-type": (reply.content_type,)}
        if reply.retry_after is not None:
            headers["retry-after"] = (reply.retry_after,)
        head = Head(status=reply.status, headers=MappingProxyType(headers))
        sink = on_head(head)
        outcome: Exchange | Failure | None = None
        try:
            outcome = await self._feed(sink, reply, head)
            return outcome
        finally:
            if not isinstance(outcome, Exchange):
                await self._run(sink.close)

    def _reply(self, asked: Asked) -> Reply:
        if self.next_of.get(asked.host):
            return self.next_of[asked.host].popleft()
        if self.next:
            return self.next.popleft()
        return self.by_part.get(asked.part) or self.by_host.get(asked.host) or self.usual

    async def _feed(self, sink: Sink, reply: Reply, head: Head) -> Exchange | Failure:
        for at in range(0, len(reply.body), reply.piece_bytes):
            try:
                await self._run(sink.feed, [reply.body[at : at + reply.piece_bytes]])
            except WireError as error:
                return malformed(error, status=head.status)
        if reply.end_when is not None:
            await reply.end_when.wait()
        return reply.failure or Exchange(head=head, timings=TIMINGS)

    async def _run(self, function: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self.threads, function, *args)


class Caller:
    """Somebody who waits, and notes what he is told."""

    def __init__(self) -> None:
        self.notices: list[Notice] = []
        self._ended = asyncio.Event()

    def __call__(self, notice: Notice) -> None:
        """Note."""
        self.notices.append(notice)
        if isinstance(notice, Ended):
            self._ended.set()

    @property
    def ends(self) -> int:
        """How often he was told the end."""
        return sum(isinstance(notice, Ended) for notice in self.notices)

    async def ended(self) -> None:
        """Wait to be told."""
        await self._ended.wait()


def a_request(model: str = GEMINI, **overrides: Any) -> Request:
    """What a caller asks for: one small image, unless a test says otherwise."""
    values: dict[str, Any] = {
        "surface": Surface.OPENAI,
        "model": model,
        "prompt": "a lighthouse",
        "geometry": Geometry(tier=Tier.K1, aspect_ratio="1:1", width_px=64, height_px=64),
    }
    return Request(**values | overrides)


def settings_of(**sections: Any) -> Settings:
    """Two upstreams, each with its route; one dollar an image."""
    price = {
        "micros": {"1K": 1_000_000, "2K": 2_000_000, "4K": 4_000_000},
        "source": "test",
        "valid_from": "2026-01-01",
    }
    usual: dict[str, Any] = {
        "upstreams": [
            {"name": "google", "provider": "gemini", "base_url": "http://google.test", "keys": ["one-key"]},
            {"name": "openai", "provider": "openai", "base_url": "http://openai.test/v1", "keys": ["other-key"]},
        ],
        "routes": [
            {"model": GEMINI, "upstreams": [{"upstream": "google", "model": "gemini-3-pro-image"}]},
            {"model": OPENAI, "upstreams": [{"upstream": "openai", "model": "gpt-image-2"}]},
        ],
        "prices": [{"model": GEMINI, **price}, {"model": OPENAI, **price}],
    }
    # Unless a test asks for it, what may have been charged is not bought again.
    usual["retry"] = {"on_unknown": "fail"} | sections.pop("retry", {})
    settings = usual | sections
    # fal has a list of its own, which says more of what it takes than a price for everybody; here both are the same.
    queues = [each["name"] for each in settings["upstreams"] if each["provider"] == "fal"]
    own = [{**price, "upstream": name} for name in queues for price in settings["prices"]]
    return parse(settings | {"prices": [*settings["prices"], *own]})


def targets_of(settings: Settings) -> Mapping[str, tuple[Target, ...]]:
    """Where each model's attempts go."""
    return course.targets_of(settings, upstream_keys(settings, {}))


@dataclass
class Bench:
    """An engine and everything around it. `restart` is a new process on the same folder."""

    root: Path
    settings: Settings = field(default_factory=settings_of)
    clock: JumpingClock = field(default_factory=JumpingClock)
    upstream: FakeUpstream = field(default_factory=FakeUpstream)
    free_bytes: int = FREE_BYTES
    starts: int = 0
    dsn: str | None = None
    """Of the PostgreSQL that its rows are in; None: the folder has them."""

    def open(self) -> None:
        """Make an engine, as a process does; nothing is started."""
        self.starts += 1
        self.upstream.clock = self.clock
        self.folder = DataFolder(self.root)
        self.spool = self.folder.paths.spool
        self.threads = Threads(2, "file")
        owner = f"own_{self.starts}"
        self.store: Any = (
            SqliteStore(self.folder.paths.database, owner) if self.dsn is None else PostgresStore(self.dsn, owner)
        )
        self.core = Core(
            settings=self.settings,
            clock=self.clock,
            store=self.store,
            blobs=LocalBlobs(self.root),
            spool=self.spool,
            transport=self.upstream,
            owner=owner,
            targets=targets_of(self.settings),
            threads=self.threads,
        )
        self.engine = Engine(self.core, lambda: self.free_bytes)

    @property
    def commits(self) -> int:
        """Transactions that were written so far."""
        made: int = self.store._commits if self.dsn is None else self.store._transactions.commits
        return made

    async def close(self) -> None:
        """End the process at once."""
        await self.engine.stop()
        self.store.close()
        self.threads.close(wait=True)
        self.folder.close()

    async def restart(self, settings: Settings | None = None) -> Recovered:
        """End, begin anew with these settings, and put things right."""
        await self.close()
        self.settings = settings or self.settings
        self.open()
        return await self.engine.start()

    # Asking

    async def ask(self, request: Request | None = None, *, key_id: str = "key_1", **options: Any) -> tuple[str, Caller]:
        """Submit; give the generation's id and whoever waits for it."""
        caller = Caller()
        submission = Submission(key_id=key_id, request=request or a_request(), **options)
        entered = await self.engine.enter(submission, caller)
        assert entered.generation_id is not None
        return entered.generation_id, caller

    async def made(self, request: Request | None = None, **options: Any) -> Record:
        """Submit, wait for the end and for quiet, and give the record."""
        id_, caller = await self.ask(request, **options)
        await caller.ended()
        await self.quiet()
        return await self.record(id_)

    async def quiet(self) -> None:
        """Wait until the engine has nothing in hand."""
        assert await self.engine.drain(60.0), self.engine
        self.engine.is_draining = False

    async def until(self, holds: Callable[[], object]) -> None:
        """Let everything run until something holds."""
        turns = 0
        while not holds():
            # A loop that never rests keeps the interpreter from the threads it waits for: seconds for one commit.
            await asyncio.sleep(0 if turns < 100 else 0.001)
            turns += 1

    async def resting(self, pauses: int = 1) -> None:
        """Wait until so many parts are in a pause, and nothing else goes on."""
        await self.until(lambda: f"{pauses} in a pause, {pauses} tasks" in repr(self.engine))

    async def turn(self) -> None:
        """Let timers that are due ring, and what they begin begin."""
        for _ in range(10):
            await asyncio.sleep(0)

    async def in_flight(self, calls: int = 1) -> None:
        """Wait until the upstream has this many calls."""
        await self.until(lambda: len(self.upstream.asked) >= calls)

    def hold_back(self, *parts: int) -> asyncio.Event:
        """Let the upstream answer only when told: every call, or those of the parts named."""
        gate = asyncio.Event()
        for part in parts:
            self.upstream.by_part[part] = replace(self.upstream.by_part.get(part, self.upstream.usual), when=gate)
        if not parts:
            self.upstream.usual = replace(self.upstream.usual, when=gate)
        return gate

    # What a dead process leaves

    async def accepted(self, request: Request | None = None, **options: Any) -> tuple[NewGeneration, Live]:
        """Leave a generation that was accepted and no more."""
        submission = Submission(key_id="key_1", request=request or a_request(), **options)
        new = price(self.core, submission)
        await self.store.write(accept, new)
        return new, live_of(self.core, new, submission)

    async def sent(self, live: Live, part: int = 0) -> NewAttempt:
        """Leave one of its parts as sent."""
        new = await begin(self.core, live, part, 0, 0)
        assert new is not None
        return new

    def received(self, live: Live, attempt: NewAttempt, body: bytes, *, finish: bool = True) -> Spooled | None:
        """Leave what came of an answer in the spool: all of it, or the images alone where the end was not reached."""
        assert live.request is not None
        conversation = conversation_for(
            self.core.targets[live.model][0].upstream,
            live.request,
            model=attempt.model,
            key="",
            idempotency_key=attempt.idempotency_key,
            timeout_s=1.0,
            n=live.images_of(attempt.part),
        )
        head = Head(status=200, headers=MappingProxyType({"content-type": ("application/json",)}))
        writer = SpoolWriter(self.spool, attempt.id, conversation.head(head))
        writer.feed([body])
        return writer.finish() if finish else None

    def linked(self, attempt: NewAttempt, spooled: Spooled) -> None:
        """Leave its images in the blob store, with nothing about them in the record."""
        for image in spooled.images:
            LocalBlobs(self.root).put_file(key_for(attempt.id, image.index, "png"), image.path)

    # Looking

    async def record(self, id_: str) -> Record:
        """Read a generation."""
        record = await self.store.read(get_record, id_)
        assert record is not None
        return record

    async def events(self, id_: str) -> list[str]:
        """Its log, as words; the numbers must have no gap."""
        rows = await self.store.read(events_of, id_)
        assert [row.sequence_number for row in rows] == list(range(1, len(rows) + 1))
        return [row.type for row in rows]

    async def verbs(self, id_: str) -> list[str]:
        """What happened to its customer's account, in order."""
        lines = await self.store.read(ledger_of, id_)
        return list(dict.fromkeys(verb for verb, account, _ in lines if account.startswith("customer:")))

    async def taken(self, id_: str) -> list[tuple[str, int]]:
        """What its upstreams took: verb and micro-units, in order."""
        lines = await self.store.read(ledger_of, id_)
        return [(verb, -micros) for verb, account, micros in lines if account.startswith("provider:")]

    async def balance(self, account: str = "customer:key_1") -> int:
        """Micro-units of an account."""
        return (await self.store.read(ledger_sums)).accounts.get(account, 0)

    def bytes_of(self, record: Record, at: int = 0) -> bytes:
        """The bytes of one of its results."""
        return (self.root / record.results[at].store_key).read_bytes()

    def spooled(self) -> list[str]:
        """What is left in the spool."""
        return sorted(path.name for path in self.spool.iterdir())

    async def is_clean(self, *ids: str) -> None:
        """Check what must hold once these have ended: nothing kept, no money held, books that balance."""
        for id_ in ids:
            assert State((await self.record(id_)).generation.state).is_final, id_
            await self.events(id_)
        sums = await self.store.read(ledger_sums)
        assert sums.hold, sums
        assert sums.accounts.get("held", 0) == 0
        assert (await self.store.read(audit)).problems == ()
        # Whoever waits is told before the last files are cleared away.
        await self.until(lambda: " 0 tasks" in repr(self.engine))
        assert repr(self.engine) == "<Engine 0 generations open, 0 tasks, 0 bytes set aside>"
        assert self.engine.open_generations == 0
        assert len(self.core.watchers) == 0
        assert self.spooled() == []


@pytest.fixture(name="settings_of")
def _settings_of() -> Callable[..., Settings]:
    """Build settings; sections given by name replace the usual ones."""
    return settings_of


@pytest.fixture
def make() -> Callable[..., Request]:
    """Build what a caller asks for."""
    return a_request


class Shapes:
    """Builders of pictures, answers and replies."""

    png = staticmethod(a_png)
    openai = staticmethod(openai_body)
    gemini = staticmethod(gemini_body)
    Reply = Reply


@pytest.fixture
def shapes() -> type[Shapes]:
    """Build pictures, answers in both dialects, and replies."""
    return Shapes


@pytest.fixture
def a_picture() -> bytes:
    """The picture that the upstream sends unless a test says otherwise."""
    return a_png()


@pytest.fixture
def sections() -> dict[str, Any]:
    """Sections of the settings that replace the usual ones; a test parametrizes it."""
    return {}


@pytest.fixture(params=["sqlite", "postgres"])
def dsn(request: pytest.FixtureRequest) -> str | None:
    """Where rows are kept: all that an engine does is proven on both."""
    return None if request.param == "sqlite" else str(request.getfixturevalue("postgres_dsn"))


@pytest.fixture
async def bench(tmp_path: Path, sections: dict[str, Any], dsn: str | None) -> AsyncIterator[Bench]:
    """An engine that has been started on an empty folder."""
    made = Bench(tmp_path / "data", settings=settings_of(**sections), dsn=dsn)
    made.clock.attach()
    made.open()
    await made.engine.start()
    yield made
    await made.close()
    made.upstream.threads.shutdown()


@pytest.fixture
def log() -> Iterator[Callable[..., list[dict[str, Any]]]]:
    """What was logged, by the event's name: each line's fields."""
    lines: list[tuple[str, dict[str, Any]]] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append((record.getMessage(), getattr(record, "fields", {})))

    logger, handler = logging.getLogger("holdfast"), Keep()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield lambda *names: [fields for name, fields in lines if not names or name in names]
    logger.removeHandler(handler)
    logger.setLevel(before)


@pytest.fixture
def arm(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Arm fault points as the environment would."""

    def arm(spec: str) -> None:
        armed = {name: faults._Armed(action, nth) for name, (action, nth) in faults.parse(spec).items()}
        monkeypatch.setattr(faults, "_armed", armed)

    return arm
