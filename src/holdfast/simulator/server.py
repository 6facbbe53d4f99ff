"""The simulated upstreams: one listening socket for Gemini, OpenAI, fal, Ark and Replicate, seeded, with a record.

Gemini's Interactions and OpenAI's Responses work in the background, as the queue does.

A generation is a task of its own: it waits as long as its latency was drawn, is charged, and only then answered. A
caller who hangs up changes nothing about that, as with the real ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, Protocol

from holdfast.clock import Clock, SystemClock
from holdfast.config import UpstreamApi
from holdfast.errors import RequestError
from holdfast.log import emit
from holdfast.simulator import ark, fal, gemini, interactions, openai, predictions, replicate, responses, scenarios
from holdfast.simulator.asked import (
    SCRIPT_BYTES_MAX,
    Asked,
    Head,
    Kind,
    Reading,
    Route,
    other_geometry,
    route_of,
    script_document,
)
from holdfast.simulator.background import Background, Request, is_background
from holdfast.simulator.background_plan import background_plan_of, dialect_of
from holdfast.simulator.charges import Charge, Charges, Outcome, price_micros
from holdfast.simulator.connection import CallerGone, Connection, Intake
from holdfast.simulator.faults import Fault, Scripts, Wish, script_of, wish_of_prompt
from holdfast.simulator.limits import MinuteLimit, credential_of
from holdfast.simulator.pictures import Encoded, Gallery, Paint
from holdfast.simulator.plan import Circumstances, Plan, plan_of, scaled_hint
from holdfast.simulator.queue import OF_LINKED_FILES, Job, Queue
from holdfast.simulator.replies import Reply, plain
from holdfast.simulator.sending import NOT_AN_IMAGE, Sender
from holdfast.simulator.vendors import Vendor
from holdfast.types import Geometry, Surface, Tier

REQUEST_BYTES_MAX = 134_217_728
CONNECTIONS_MAX = 20_000
BACKLOG = 4_096


class Dialect(Protocol):
    """What all dialects can say."""

    def error(self, status: int) -> Reply:
        """Write the error that goes with a status."""

    def mistake(self, problem: RequestError) -> Reply:
        """Tell a caller what is wrong with the request."""

    def models(self, name: str | None) -> Reply:
        """Write the list of models, or one of them."""


@dataclass(slots=True)
class _Plain:
    """Takes a small body, or none."""

    route: Route
    body: bytearray

    def feed(self, chunk: bytes) -> None:
        if len(self.body) <= SCRIPT_BYTES_MAX:
            self.body += chunk


@dataclass(slots=True)
class _Generating:
    """Takes the body of a request that makes images."""

    route: Route
    reading: Reading

    def feed(self, chunk: bytes) -> None:
        self.reading.feed(chunk)


class Simulator:
    """See the module's docstring."""

    def __init__(
        self,
        *,
        speed: float = 1.0,
        seed: int = 0,
        scenario: str = "steady",
        clock: Clock | None = None,
        paint: Paint | None = None,
        connections_max: int = CONNECTIONS_MAX,
        request_bytes_max: int = REQUEST_BYTES_MAX,
    ) -> None:
        """Prepare to serve.

        Args:
            speed: Divides every time: at 8, two minutes take 15 s.
            seed: The same one draws the same latencies and faults.
            scenario: A name that is shipped, or the path of a TOML file.
            clock: Tells the time.
            paint: Draws; tests of other things bring something quicker.
            connections_max: Further ones are reset.
            request_bytes_max: Larger requests get 413.

        Raises:
            ConfigError: There is no such scenario, or its file is wrong.
        """
        assert speed > 0.0
        self._speed = speed
        self._seed = seed
        self._scenario = scenarios.load(scenario)
        self._limit = MinuteLimit(self._scenario.per_minute)
        self._clock = clock if clock is not None else SystemClock()
        self._paint = paint
        self._connections_max = connections_max
        self.request_bytes_max = request_bytes_max
        self.charges = Charges()
        """What was charged."""
        self.scripts = Scripts()
        """What requests to come shall suffer."""
        self.queue = Queue()
        """What was submitted to fal's."""
        self.background = Background()
        """What was submitted to APIs that work in the background."""
        self._gallery: Gallery | None = None
        self._server: asyncio.Server | None = None
        self._connections: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._number = 0
        self._started_at_s = 0.0

    def __repr__(self) -> str:
        return (
            f"<Simulator {self._scenario.name} speed={self._speed:g} seed={self._seed} "
            f"connections={len(self._connections)} generating={len(self._tasks)} {self.charges!r}>"
        )

    async def start(self, host: str, port: int) -> int:
        """Listen; return the port, which is a free one for 0.

        Raises:
            OSError: The port is taken, or may not be used.
        """
        assert self._server is None
        loop = asyncio.get_running_loop()
        self._gallery = Gallery(self._paint if self._paint is not None else _scene())
        self._server = await loop.create_server(lambda: Connection(self), host, port, backlog=BACKLOG)
        self._started_at_s = self._clock.monotonic()
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop at once: generations that are not over are never charged."""
        if self._server is None:
            return
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(tuple(self._tasks))
        for connection in tuple(self._connections):
            connection.reset()
        assert self._gallery is not None
        self._gallery.close()
        with suppress(asyncio.CancelledError):
            await self._server.wait_closed()
        self._server = None

    # What connections ask

    def connected(self, connection: Connection) -> bool:
        """Take note of a connection, unless there are too many or a script refuses it."""
        self._connections.add(connection)
        return len(self._connections) <= self._connections_max and not self.scripts.take_refusal()

    def disconnected(self, connection: Connection) -> None:
        """Forget it."""
        self._connections.discard(connection)

    def intake(self, head: Head) -> Intake:
        """Choose what reads the body of a request."""
        route = route_of(head)
        if route.kind.makes_images:
            return _Generating(route, Reading(route))
        return _Plain(route, bytearray())

    def received(self, connection: Connection, head: Head, intake: Intake) -> None:
        """Answer a request that has been read."""
        if isinstance(intake, _Generating) and is_background(intake.route):
            self._spawn(self._begin(connection, head, intake), name="submission")
        elif isinstance(intake, _Generating) and intake.route.is_queue:
            self._spawn(self._submit(connection, head, intake), name="submission")
        elif isinstance(intake, _Generating):
            self._spawn(self._generate(connection, head, intake), name="generation")
        else:
            assert isinstance(intake, _Plain)
            if intake.route.kind.is_question:
                self._spawn(self._tell(connection, head, intake.route), name="question")
                return
            self._spawn(self._answer(connection, self._control(connection, intake)), name="control")

    def rejected(self, connection: Connection, problem: RequestError) -> None:
        """Answer something that is no request."""
        route = route_of(connection.head) if connection.head is not None else Route(kind=Kind.NOT_FOUND)
        self._spawn(self._answer(connection, _dialect(route).mistake(problem)), name="rejection")

    def _spawn(self, work: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(_report)
        return task

    # Generations

    async def _generate(self, connection: Connection, head: Head, intake: _Generating) -> None:
        try:
            asked = intake.reading.finish()
            wished = wish_of_prompt(asked.prompt)
        except RequestError as problem:
            await self._answer(connection, _dialect(intake.route).mistake(problem))
            return
        plan = self._linked(self._decide(asked, wished, head), head)
        ended = self._spawn(self._end(asked, plan, head), name="end")
        match plan.fault:
            case Fault.REFUSE_CONNECT | Fault.RESET_SENT:
                connection.reset()
            case Fault.STALL_HEADERS:
                await connection.wait_gone()
            case _:
                await self._send(connection, plan, ended)

    def _linked(self, plan: Plan, head: Head) -> Plan:
        """Give pictures that an answer links to their places, and write the answer."""
        if plan.linked is None:
            return plan
        id_ = f"link-{self._seed & (1 << 64) - 1:x}-{self._number}"
        first = next(iter(plan.reply.pictures.values()))
        files = replace(plan.reply, content_type=f"image/{first.format}", parts=())
        of_files = plan.fault if plan.fault in OF_LINKED_FILES else None
        job = Job(id=id_, app="", plan=replace(plan, reply=files, fault=of_files), submitted_at_s=0.0)
        self.queue.add(job)
        url = f"{_origin(head)}/_sim/files/{id_}"
        urls = {slot: f"{url}/{slot}.{first.format}" for slot in plan.reply.pictures}
        return replace(plan, reply=plan.linked(urls), fault=None if of_files else plan.fault)

    def _decide(self, asked: Asked, wished: Wish | None, head: Head) -> Plan:
        """Lay script over prompt over scenario, and make a plan of it."""
        self._number += 1
        tier = asked.geometry.tier
        elapsed_s = (self._clock.monotonic() - self._started_at_s) * self._speed
        drawn = scenarios.draw(self._scenario, seed=self._seed, number=self._number, elapsed_s=elapsed_s, tier=tier)
        scripted = self.scripts.take(model=asked.model, prompt=asked.prompt, size=tier)
        if self.scripts.refuses_connection:
            self._close_idle()
        wish = scaled_hint(drawn.wish, self._speed)
        if wished is not None or scripted is not None:
            # Whoever says anything at all about a request has it spared the scenario's errors.
            wish = Wish(delay_s=wish.delay_s)
        for above in (wished, scripted):
            wish = above.over(wish) if above is not None else wish
        late_s = self._limit.refuses(credential_of(head.headers), elapsed_s)
        if late_s is not None:
            wish = Wish(status=429, retry_after=str(max(1, ceil(late_s / self._speed))), delay_s=0.0)
        now = self._clock.now()
        charged = other_geometry(asked.geometry) if wish.fault is Fault.OTHER_SIZE else asked.geometry
        draft = Geometry(tier=Tier.K1, aspect_ratio=asked.geometry.aspect_ratio, width_px=1024, height_px=1024)
        return (plan_of if asked.api is UpstreamApi.AUTO else background_plan_of)(
            asked,
            wish,
            Circumstances(
                number=self._number,
                seed=self._seed,
                speed=self._speed,
                is_instant=drawn.is_instant,
                surplus_tokens=drawn.surplus_tokens,
                created=int(now.timestamp()),
                price_micros=price_micros(asked.model, charged, asked.quality, at=now),
                draft_micros=price_micros(asked.model, draft, asked.quality, at=now),
                server_timeout_s=_seconds(head.headers.get("x-server-timeout")),
            ),
        )

    async def _end(self, asked: Asked, plan: Plan, head: Head) -> None:
        """Let the generation end, and charge for it, whoever is left to hear of it."""
        if plan.wait_s > 0.0:
            await asyncio.sleep(plan.wait_s)
        self.charges.add(
            Charge(
                idempotency_key=head.headers.get("idempotency-key"),
                model=asked.model,
                size=f"{asked.geometry.width_px}x{asked.geometry.height_px}",
                micros=plan.micros,
                outcome=plan.outcome,
                at=self._clock.now(),
            )
        )

    async def _send(self, connection: Connection, plan: Plan, ended: asyncio.Future[None]) -> None:
        pictures = asyncio.ensure_future(self._drawn(plan.reply))
        try:
            await Sender(connection, speed=self._speed, fault=plan.fault).send(plan, ended=ended, pictures=pictures)
        except CallerGone:
            # Nobody is left to answer; the charge is made all the same.
            return
        except Exception:
            connection.reset()
            raise
        finally:
            pictures.cancel()

    async def _drawn(self, reply: Reply) -> Mapping[int, Encoded]:
        assert self._gallery is not None
        return {slot: await self._gallery.get(drawn) for slot, drawn in reply.pictures.items()}

    # A queue

    async def _submit(self, connection: Connection, head: Head, intake: _Generating) -> None:
        """Take a request into the queue: it ends in its time, whoever has heard of it."""
        taken = await self._taken(connection, head, intake)
        if taken is None:
            return
        asked, plan = taken
        now_s = asyncio.get_running_loop().time()
        job = Job(
            id=f"sim-{self._seed & (1 << 64) - 1:x}-{self._number}",
            app="/".join(asked.model.split("/")[:2]),
            plan=plan,
            submitted_at_s=now_s,
            vendor=asked.vendor,
            echo={"prompt": asked.prompt} if asked.vendor is not None else {},
            cancel_after_s=predictions.seconds_of(head.headers.get("cancel-after")),
        )
        if job.cancel_after_s is None or job.cancel_after_s >= job.begun_after_s:
            # What is never begun ends without a charge.
            job.ending = self._spawn(self._end(asked, plan, head), name="end")
        self.queue.add(job)
        origin = _origin(head)
        is_fals = job.vendor is None
        reply = fal.submitted(job.handle(origin)) if is_fals else predictions.told(job, origin, now_s, created=True)
        await self._say_taken(connection, plan, reply)

    async def _begin(self, connection: Connection, head: Head, intake: _Generating) -> None:
        """Take a request that works in the background: the same."""
        taken = await self._taken(connection, head, intake)
        if taken is None:
            return
        asked, plan = taken
        request = Request(
            id=dialect_of(asked.api).handle_of(self._seed, self._number),
            asked=asked,
            plan=plan,
            created=int(self._clock.now().timestamp()),
            taken_at_s=asyncio.get_running_loop().time(),
        )
        request.ending = self._spawn(self._end(asked, plan, head), name="end")
        self.background.add(request)
        await self._say_taken(connection, plan, request.told("queued"))

    async def _taken(self, connection: Connection, head: Head, intake: _Generating) -> tuple[Asked, Plan] | None:
        """Read a submission and decide its fate; None: it was turned away, and told so."""
        try:
            asked = intake.reading.finish()
            wished = wish_of_prompt(asked.prompt)
        except RequestError as problem:
            await self._answer(connection, _dialect(intake.route).mistake(problem))
            return None
        plan = self._decide(asked, wished, head)
        if not plan.is_turned_away and plan.fault is not Fault.REFUSE_CONNECT:
            return asked, plan
        ended = self._spawn(self._end(asked, plan, head), name="end")
        if plan.fault is Fault.REFUSE_CONNECT:
            connection.reset()
        else:
            await self._send(connection, replace(plan, fault=None), ended)
        return None

    async def _say_taken(self, connection: Connection, plan: Plan, reply: Reply) -> None:
        """Answer a submission, unless its answer is to be lost."""
        match plan.fault:
            case Fault.RESET_SENT:
                connection.reset()
            case Fault.STALL_HEADERS:
                await connection.wait_gone()
            case _:
                await self._answer(connection, reply)

    async def _tell(self, connection: Connection, head: Head, route: Route) -> None:
        """Answer a question about what is in the queue."""
        loop = asyncio.get_running_loop()
        if is_background(route):
            answered = self.background.answer(route, now_s=loop.time())
        else:
            answered = self.queue.answer(route, origin=_origin(head), now_s=loop.time())
        if answered.fault is Fault.RESET_SENT:
            connection.reset()
            return
        reply, fault = answered.reply, answered.fault
        if answered.picture is not None:
            assert self._gallery is not None
            picture = await self._gallery.get(answered.picture)
            file = await loop.run_in_executor(None, picture.file)
            if fault in (Fault.CUT_IMAGE, Fault.NOT_IMAGE):
                file = file[: len(file) // 2] if fault is Fault.CUT_IMAGE else NOT_AN_IMAGE
            reply = plain(reply.status, reply.content_type, file)
        await self._answer(connection, reply, fault=fault)

    # Everything else

    async def _answer(self, connection: Connection, reply: Reply, *, fault: Fault | None = None) -> None:
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        ended.set_result(None)
        plan = Plan(reply=reply, wait_s=0.0, outcome=Outcome.FAILED, micros=0, fault=fault)
        await self._send(connection, plan, ended)

    def _control(self, connection: Connection, intake: _Plain) -> Reply:
        route = intake.route
        dialect = _dialect(route)
        match route.kind:
            case Kind.MODELS:
                return dialect.models(route.model)
            case Kind.CHARGES:
                return plain(200, "application/json", self.charges.document())
            case Kind.SCRIPT:
                return self._script(connection, intake)
            case Kind.UPLOAD:
                return self._upload(connection, intake)
            case Kind.NOT_ALLOWED:
                return dialect.error(405)
            case Kind.NOT_KNOWN:
                return dialect.error(401)
            case _:
                return dialect.error(404)

    def _close_idle(self) -> None:
        """Close what waits for a request: only a new connection can be refused, so one has to come."""
        for idle in [each for each in self._connections if not each.is_answering]:
            idle.close()

    def _upload(self, connection: Connection, intake: _Plain) -> Reply:
        """Take a file that a prediction will name; it is not kept."""
        if b'name="content"' not in intake.body[:SCRIPT_BYTES_MAX]:
            return replicate.error(422)
        assert connection.head is not None
        self._number += 1
        announced = connection.head.headers.get("content-length", "0")
        return replicate.uploaded(f"file-{self._number}", origin=_origin(connection.head), bytes_=int(announced))

    def _script(self, connection: Connection, intake: _Plain) -> Reply:
        try:
            if len(intake.body) > SCRIPT_BYTES_MAX:
                raise RequestError(f"A script is at most {SCRIPT_BYTES_MAX} bytes.", status=413)
            self.scripts.add(script_of(script_document(bytes(intake.body))))
        except RequestError as problem:
            return openai.mistake(problem)
        if self.scripts.refuses_connection:
            connection.keeps_alive = False
            self._close_idle()
        return plain(200, "application/json", b'{"waiting":%d}' % len(self.scripts.waiting))


def _dialect(route: Route) -> Dialect:
    if route.vendor is not None:
        return ark if route.vendor is Vendor.ARK else replicate
    if route.is_queue:
        return fal
    if is_background(route):
        return responses if route.api is UpstreamApi.RESPONSES else interactions
    return gemini if route.surface is Surface.GEMINI else openai


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (problem := task.exception()) is not None:
        emit("fault.internal", level="error", exc=problem)


def _origin(head: Head) -> str:
    """Where the caller has found us."""
    return f"http://{head.headers.get('host', '127.0.0.1')}"


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isdigit() and len(text) < 8 else None


def _scene() -> Paint:
    """Fetch what draws, and with it Pillow, only when something is to be drawn."""

    def paint(width_px: int, height_px: int, format_: str) -> bytes:
        from holdfast.simulator.film import paint as painted

        return painted(width_px, height_px, format_)

    return paint
