"""Requests in fal's queue, from their submission on: where each stands, and what is answered when somebody asks.

No I/O and no clock: whoever asks says what time it is. A request waits for a fifth of its time and is at work for the
rest; it ends, and is charged, whether or not anybody asks. What goes wrong with the answers goes wrong at first only:
whoever asks again is answered, as somebody who has paid must be.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from holdfast.simulator import fal, predictions, replicate
from holdfast.simulator.asked import Kind, Route
from holdfast.simulator.faults import Fault
from holdfast.simulator.plan import MOVED_TO, Plan
from holdfast.simulator.replies import Drawn, Reply, html, plain
from holdfast.simulator.vendors import Vendor
from holdfast.wire.fal import Handle, QueueState, QueueStatus
from holdfast.wire.replicate import PredictionState

WAITING_SHARE = 0.2
JOBS_MAX = 10_000
"""Older ones are forgotten, as the vendor forgets: their questions are answered 404."""
TROUBLED = 3
"""So many questions in a row meet a fault of the queue."""
_OF_FILES = frozenset(
    {
        *(Fault.STALL_BODY, Fault.RESET_BODY, Fault.TRUNCATE, Fault.DRIP, Fault.GZIP, Fault.UNTERMINATED),
        *(Fault.REDIRECT, Fault.EXPIRED),
    }
)
_OF_PICTURES = frozenset({Fault.NOT_IMAGE, Fault.CUT_IMAGE})
OF_LINKED_FILES = _OF_PICTURES | {Fault.EXPIRED}
"""What befalls the files that an answer of another API links to, and not that answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What a question gets."""

    reply: Reply
    fault: Fault | None = None
    """What befalls it on its way; `RESET_SENT`: nothing comes."""
    picture: Drawn | None = None
    """The file that is the body, instead of the reply's own."""


@dataclass(slots=True, kw_only=True)
class Job:
    """One request."""

    id: str
    app: str
    plan: Plan
    submitted_at_s: float
    ending: asyncio.Task[None] | None = None
    """Charges it when its time has come."""
    asked: int = 0
    """Questions for its status."""
    results: int = 0
    files: int = 0
    is_gone: bool = False
    vendor: Vendor | None = None
    """Whose words are spoken, if not fal's."""
    echo: Mapping[str, Any] = field(default_factory=dict)
    """What a prediction says again of its input."""
    cancel_after_s: float | None = None
    """Real seconds after which a prediction is ended, begun or not."""
    stopped: PredictionState | None = None

    @property
    def begun_after_s(self) -> float:
        """Seconds that it waits."""
        return WAITING_SHARE * self.plan.wait_s

    @property
    def has_failed(self) -> bool:
        """Whether it ends without a result."""
        return self.plan.reply.status >= 400

    def state(self, now_s: float) -> QueueState:
        """Where it stands."""
        passed_s = now_s - self.submitted_at_s
        if passed_s >= self.plan.wait_s:
            return QueueState.COMPLETED
        return QueueState.IN_QUEUE if passed_s < self.begun_after_s else QueueState.IN_PROGRESS

    def handle(self, origin: str) -> Handle:
        """Its name and its URLs."""
        url = f"{origin}/{self.app}/requests/{self.id}"
        return Handle(request_id=self.id, status_url=f"{url}/status", response_url=url, cancel_url=f"{url}/cancel")


@dataclass(slots=True)
class Queue:
    """All of them, oldest first."""

    jobs: OrderedDict[str, Job] = field(default_factory=OrderedDict)

    def __repr__(self) -> str:
        return f"<Queue {len(self.jobs)} requests>"

    def add(self, job: Job) -> None:
        """Take a request."""
        self.jobs[job.id] = job
        while len(self.jobs) > JOBS_MAX:
            self.jobs.popitem(last=False)

    def answer(self, route: Route, *, origin: str, now_s: float) -> Answered:
        """Answer a question, and count it.

        Args:
            route: What is asked, and of which request.
            origin: `http://127.0.0.1:16900`, as the caller has it.
            now_s: On the clock that submissions were timed by.
        """
        job = self.jobs.get(route.request_id or "")
        if route.vendor is not None:
            return _prediction(job, route, origin, now_s)
        if job is None or job.is_gone:
            return Answered(reply=fal.cancelled("NOT_FOUND") if route.kind is Kind.CANCEL else fal.error(404))
        match route.kind:
            case Kind.STATUS:
                return _status(job, origin, now_s)
            case Kind.RESULT:
                return _result(job, origin, now_s)
            case Kind.CANCEL:
                return _cancel(job, now_s)
            case _:
                return _file(job, route)


def _status(job: Job, origin: str, now_s: float) -> Answered:
    job.asked += 1
    state, fault = job.state(now_s), job.plan.fault
    if job.asked <= TROUBLED:
        match fault:
            case Fault.POLL_404:
                return Answered(reply=fal.error(404))
            case Fault.POLL_503:
                return Answered(reply=html(503))
            case Fault.POLL_RESET:
                return Answered(reply=fal.error(500), fault=Fault.RESET_SENT)
            case Fault.BACKWARDS:
                # Ahead of itself, then behind.
                state = (QueueState.IN_PROGRESS, QueueState.IN_QUEUE, QueueState.COMPLETED)[job.asked - 1]
    has_ended = state is QueueState.COMPLETED
    failed = has_ended and job.has_failed
    told = QueueStatus(
        state=state,
        queue_position=0 if state is QueueState.IN_QUEUE else None,
        error=f"Invalid status code: {job.plan.reply.status}" if failed else None,
        error_type="model_error" if failed else None,
    )
    return Answered(reply=fal.status(job.handle(origin), told, inference_s=job.plan.wait_s))


def _result(job: Job, origin: str, now_s: float) -> Answered:
    made, fault = job.plan.reply, job.plan.fault
    if job.state(now_s) is not QueueState.COMPLETED:
        return Answered(reply=plain(400, "application/json", b'{"detail":"Request is still in progress"}'))
    job.results += 1
    if job.results == 1 and fault is Fault.POLL_503:
        return Answered(reply=html(503))
    if job.results == 1 and fault in (Fault.HTML, Fault.EMPTY):
        return Answered(reply=html(200) if fault is Fault.HTML else plain(200, "application/json", b""))
    if made.status != 200 or made.parts or not made.pictures:
        return Answered(reply=made)
    suffix = made.content_type.removeprefix("image/")
    urls = {slot: f"{origin}/_sim/files/{job.id}/{slot}.{suffix}?fresh={job.results}" for slot in made.pictures}
    return Answered(reply=fal.linked(made, urls))


def _prediction(job: Job | None, route: Route, origin: str, now_s: float) -> Answered:
    if job is None:
        return Answered(reply=replicate.error(404))
    reply, fault = predictions.answer(job, route, origin=origin, now_s=now_s)
    return Answered(reply=reply, fault=fault)


def _cancel(job: Job, now_s: float) -> Answered:
    match job.state(now_s):
        case QueueState.COMPLETED:
            return Answered(reply=fal.cancelled("ALREADY_COMPLETED"))
        case QueueState.IN_QUEUE:
            job.is_gone = True
            if job.ending is not None:
                job.ending.cancel()
    # At work already: the wish is noted, and changes nothing.
    return Answered(reply=fal.cancelled("CANCELLATION_REQUESTED"))


def _file(job: Job, route: Route) -> Answered:
    made, fault = job.plan.reply, job.plan.fault
    picture = made.pictures.get(route.picture)
    if picture is None:
        return Answered(reply=fal.error(404))
    job.files += 1
    is_first = job.files == 1
    if is_first and fault is Fault.EXPIRED:
        return Answered(reply=plain(403, "text/plain", b"the link has expired\n"))
    if is_first and fault is Fault.REDIRECT:
        return Answered(reply=plain(302, "text/plain", b"moved\n", headers=(("location", MOVED_TO),)))
    lasting = fault if fault in _OF_PICTURES else None
    return Answered(
        reply=Reply(status=200, content_type=made.content_type, parts=()),
        fault=fault if is_first and fault in _OF_FILES else lasting,
        picture=picture,
    )
