"""A simulated upstream behind the engine's `Transport` port: it owns the truth of what was made and charged.

It works on whether or not whoever asked still listens, and forgets nothing when a gateway dies.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.providers.conversation import malformed
from holdfast.transport import breaks
from holdfast.transport.body import measure
from holdfast.transport.breaks import Progress
from holdfast.transport.connection import Broken
from holdfast.transport.exchange import Exchange, Head, HttpRequest, NotSent, Sink, Timeouts, Timings
from holdfast.types import Failure, Phase
from holdfast.wire.scan import WireError
from simulation.answers import Drawing, Ending, Script, as_stream, busy_for, digest, picture, script_for
from simulation.history import Answered, Charged, Crowded, Logged, Received, Sent
from simulation.loop import Killed, call_later_as, hang
from simulation.routes import MICROS

if TYPE_CHECKING:
    from simulation.world import World

TIMINGS = Timings(connected_s=0.0, sent_s=0.0, head_s=0.0, first_byte_s=0.0, body_s=0.0, admission_s=0.0, body_bytes=0)
FAULT_SHARE = 0.38
OPEN_ATTEMPT = """
SELECT attempt.id, attempt.state, attempt.model, generation.n, generation.parts, generation.deadline_at
FROM attempt JOIN generation ON generation.id = attempt.generation_id
WHERE attempt.idempotency_key = :key AND attempt.upstream = :upstream AND attempt.state IN ('sent', 'polling')
"""
"""Two of a part may be in flight, each at an upstream of its own."""


@dataclass(slots=True)
class Call:
    """One request, as the upstream knows it."""

    number: int
    generation_id: str
    part: int
    drive: int
    script: Script
    micros: int
    """What it costs, if it does."""
    ends_at: float = 0.0
    """Virtual seconds at which its work is done."""
    is_charged: bool = False


class Upstreams:
    """All of them: what is asked for by which key is theirs to know."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self._world = world
        self._rng = rng
        self.calls: list[Call] = []
        self.sinks: list[Sink] = []
        """Every one that was opened; those of dead lives hold files that nobody closes."""
        self.fault_share = FAULT_SHARE
        self.busy_share = 0.0
        """Of calls that are turned away for nothing, besides."""
        self.slow_share = 0.0
        """Of calls that take longer than most, besides."""

    def take(self, life: int, request: HttpRequest) -> Call:
        """Take a request in."""
        world = self._world
        headers = dict(request.headers)
        generation_id, part, drive = headers["Idempotency-Key"].split(".")
        row = world.disk.conn.execute(
            OPEN_ATTEMPT, {"key": headers["Idempotency-Key"], "upstream": _upstream(request)}
        ).fetchone()
        late_s = 0.0 if row is None else world.clock.wall_s() - world.unix_s(row["deadline_at"])
        wanted = 1
        if row is not None and not _is_gemini(request):
            each, over = divmod(row["n"], row["parts"])
            wanted = each + (int(part) < over)
        # Nobody's call is one of the dearer kind.
        micros = wanted * (max(MICROS.values()) if row is None else MICROS[row["model"]])
        script = self._script(request, wanted)
        call = Call(len(self.calls), generation_id, int(part), int(drive), script, micros)
        self.calls.append(call)
        world.history.add(
            Sent(
                at=world.loop.time(),
                life=life,
                call=call.number,
                generation_id=generation_id,
                part=call.part,
                drive=call.drive,
                upstream=_upstream(request),
                attempt_id=None if row is None else row["id"],
                late_s=late_s,
            )
        )
        return call

    def _script(self, request: HttpRequest, wanted: int) -> Script:
        rng, is_gemini = self._rng, _is_gemini(request)
        drafts = rng.choice((0, 0, 0, 1, 2)) if is_gemini else 0
        pictures = tuple(picture(rng) for _ in range(wanted + drafts))
        is_stream = dict(request.headers)["Accept"] == "text/event-stream"
        previews = tuple(picture(rng) for _ in range(rng.randrange(1, 3))) if is_stream else ()
        drawing = Drawing(rng=rng, is_gemini=is_gemini, pictures=pictures, previews=previews)
        is_busy = rng.random() < self.busy_share
        script = busy_for(drawing) if is_busy else script_for(drawing, fault_share=self.fault_share)
        if is_stream:
            script = as_stream(script, drawing)
        if script.fault is not None:
            self._world.fault(script.fault)
        return script

    def latency_s(self, script: Script, timeouts: Timeouts) -> float:
        """Draw how long it works."""
        rng = self._rng
        if script.is_late:
            return timeouts.total_s * rng.uniform(1.01, 1.5)
        if rng.random() < self.slow_share:
            return timeouts.total_s * rng.uniform(0.5, 0.95)
        return min(timeouts.total_s * 0.95, rng.lognormvariate(3.3, 0.8))

    def charge(self, call: Call) -> None:
        """End the work: what it costs is due, whoever listens."""
        if call.script.is_charged and not call.is_charged:
            call.is_charged = True
            at = self._world.loop.time()
            charged = Charged(at=at, call=call.number, generation_id=call.generation_id, micros=call.micros)
            self._world.history.add(charged)

    def may_charge(self, generation_id: str) -> bool:
        """Whether anything of a generation was charged, or will be."""
        return any(call.script.is_charged for call in self.calls if call.generation_id == generation_id)

    def cuts(self, body: bytes, script: Script) -> list[bytes]:
        """Divide a body into the pieces in which it comes."""
        rng = self._rng
        count = rng.randrange(8, 20) if script.is_drip else rng.randrange(1, 4)
        marks = sorted(rng.randrange(len(body) + 1) for _ in range(count - 1)) if body else []
        return [body[a:b] for a, b in zip([0, *marks], [*marks, len(body)], strict=True) if b > a]

    def piece_s(self, script: Script) -> float:
        """Draw the time between two pieces."""
        return self._rng.uniform(0.5, 3.0) if script.is_drip else self._rng.uniform(0.0, 0.3)


def _is_gemini(request: HttpRequest) -> bool:
    return "GenerateContent" in request.url or "generateContent" in request.url


def _upstream(request: HttpRequest) -> str:
    """Its name, which its host begins with: `routes`."""
    return request.url.split("/")[2].partition(".")[0]


def _credential(request: HttpRequest) -> str:
    """Which key it was sent with, and where: one key of several upstreams has a limit at each."""
    headers = dict(request.headers)
    host = request.url.split("/")[2]
    return f"{host} {(headers.get('x-goog-api-key') or headers.get('Authorization', '')).rpartition('-')[2]}"


class LifeTransport:
    """The transport of one life: what it awaits dies with it, what the upstream does does not."""

    def __init__(self, upstreams: Upstreams, world: World, life: int, run: Callable[..., object]) -> None:
        self._upstreams = upstreams
        self._world = world
        self._life = life
        self._run = run
        self._in_flight: Counter[str] = Counter()
        """Calls of this life, by credential."""

    async def exchange(
        self,
        request: HttpRequest,
        *,
        inputs: Sequence[Path],
        timeouts: Timeouts,
        on_head: Callable[[Head], Sink],
        ca_file: str,
    ) -> Exchange | Failure:
        """Perform one exchange, as `transport.aio` would tell of it."""
        try:
            measure(request.body, inputs)
        except OSError as exc:
            # Nobody may have deleted it: its generation is open.
            self._world.history.add(Logged(at=self._world.loop.time(), event="input.lost", detail=repr(exc)))
            raise NotSent(exc) from exc
        call = self._upstreams.take(self._life, request)
        key = _credential(request)
        self._in_flight[key] += 1
        self._mind_limit(key)
        try:
            return await self._perform(call, timeouts, on_head)
        finally:
            self._in_flight[key] -= 1

    def _mind_limit(self, key: str) -> None:
        """Note when a credential has more in flight than the settings allow."""
        world, count = self._world, self._in_flight[key]
        limit = world.settings.upstreams[0].concurrency
        if limit and count > limit:
            world.history.add(Crowded(at=world.loop.time(), credential=key, count=count, limit=limit))

    async def _perform(self, call: Call, timeouts: Timeouts, on_head: Callable[[Head], Sink]) -> Exchange | Failure:
        await asyncio.sleep(self._world.rng_net.uniform(0.0, 0.05))
        script = call.script
        if script.ending is Ending.REFUSED:
            return breaks.unreachable(Phase.CONNECT, "the connection was refused")
        works_s = self._upstreams.latency_s(script, timeouts)
        call.ends_at = self._world.loop.time() + works_s
        # It ends on its own, in the world: neither our time-out nor our death ends it.
        call_later_as(0, works_s, self._upstreams.charge, call)
        progress = Progress(body=None)
        if script.is_late or (script.status is None and script.ending is Ending.STALL):
            await asyncio.sleep(timeouts.total_s)
            return breaks.total_passed(progress, timeouts.total_s)
        await asyncio.sleep(works_s + self._world.rng_net.uniform(0.001, 0.1))
        if script.status is None:
            return breaks.before_head(Broken("the connection was reset"), progress)
        head = Head(status=script.status, headers=script.headers)
        progress = replace(progress, head=head)
        if script.ending is Ending.TOO_LARGE:
            return breaks.too_large(progress, 1 << 29)
        try:
            sink = on_head(head)
        except Killed:
            await hang()
            raise
        self._upstreams.sinks.append(sink)
        outcome: Exchange | Failure | None = None
        try:
            outcome = await self._pump(sink, call, progress, timeouts)
            return outcome
        finally:
            is_whole = isinstance(outcome, Exchange)
            at = self._world.loop.time()
            answered = Answered(at=at, call=call.number, status=script.status, is_whole=is_whole)
            self._world.history.add(answered)
            if not isinstance(outcome, Exchange):
                await self._run(sink.close)

    async def _pump(self, sink: Sink, call: Call, progress: Progress, timeouts: Timeouts) -> Exchange | Failure:
        script, head, is_complete = call.script, progress.head, False
        assert head is not None
        for piece in self._upstreams.cuts(script.body, script):
            await asyncio.sleep(self._upstreams.piece_s(script))
            if piece.strip():
                progress = replace(progress, has_begun=True)
            try:
                is_complete = await self._run(sink.feed, [piece])
            except WireError as error:
                return malformed(error, status=head.status)
            if is_complete:
                break
            if self._world.rng_net.random() < 0.2:
                sink.rest()
        if is_complete and script.images:
            self._received(call, sink)
        if not is_complete and script.ending is Ending.STALL:
            await asyncio.sleep(timeouts.body_s)
            return breaks.total_passed(progress, timeouts.total_s)
        if not is_complete and script.ending is Ending.RESET:
            return breaks.after_head(Broken("the connection was reset"), progress)
        return Exchange(head=head, timings=TIMINGS)

    def _received(self, call: Call, sink: Sink) -> None:
        world = self._world
        world.history.add(
            Received(
                at=world.loop.time(),
                call=call.number,
                generation_id=call.generation_id,
                attempt_id=sink.writer._attempt_id,  # type: ignore[attr-defined]
                images=tuple(digest(each) for each in call.script.images),
            )
        )
