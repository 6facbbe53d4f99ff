"""Predictions of Replicate, from their creation on: where each stands, and what is answered when somebody asks.

No I/O and no clock, as `queue.py`, whose jobs they are. Faults of the queue befall the first questions; those of the
picture, the first transfer of its file.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from holdfast.simulator import replicate
from holdfast.simulator.asked import Kind, Route
from holdfast.simulator.faults import Fault
from holdfast.simulator.replies import Reply, html, plain
from holdfast.wire.fal import QueueState
from holdfast.wire.replicate import Handle, Link, Prediction, PredictionState

if TYPE_CHECKING:
    from holdfast.simulator.queue import Job

TROUBLED = 3
"""So many questions in a row meet a fault of the queue."""
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_WORDS = {
    QueueState.IN_QUEUE: PredictionState.STARTING,
    QueueState.IN_PROGRESS: PredictionState.PROCESSING,
    QueueState.COMPLETED: PredictionState.SUCCEEDED,
}


def seconds_of(text: str | None) -> float | None:
    """Read `Cancel-After`: `5m`, `90s`; None for whatever is none."""
    match = _DURATION.fullmatch(text or "")
    if match is None or not any(match.groups()):
        return None
    hours, minutes, seconds = (int(group or 0) for group in match.groups())
    return float(hours * 3600 + minutes * 60 + seconds)


def state_of(job: Job, now_s: float) -> PredictionState:
    """Say where a prediction stands: what stopped it first counts."""
    if job.stopped is not None:
        return job.stopped
    passed_s, limit_s = now_s - job.submitted_at_s, job.cancel_after_s
    if limit_s is not None and limit_s <= min(passed_s, job.plan.wait_s):
        begun_s = job.begun_after_s
        return PredictionState.ABORTED if limit_s < begun_s else PredictionState.CANCELED
    word = _WORDS[job.state(now_s)]
    return PredictionState.FAILED if word is PredictionState.SUCCEEDED and job.has_failed else word


def told(
    job: Job,
    origin: str,
    now_s: float,
    *,
    state: PredictionState | None = None,
    created: bool = False,
    fresh: int = 1,
) -> Reply:
    """Write a prediction as it stands, or as a fault has it."""
    state = state or state_of(job, now_s)
    url, made = f"{origin}/v1/predictions/{job.id}", job.plan.reply
    suffix = made.content_type.removeprefix("image/")
    files = [f"{origin}/_sim/files/{job.id}/{slot}.{suffix}?fresh={fresh}" for slot in made.pictures]
    is_there = state is PredictionState.SUCCEEDED
    prediction = Prediction(
        handle=Handle(id=job.id, get_url=url, cancel_url=f"{url}/cancel"),
        state=state,
        error=replicate.words_of(made) if state is PredictionState.FAILED else None,
        links=tuple(Link(url=file) for file in files) if is_there else (),
        has_started=now_s - job.submitted_at_s >= job.begun_after_s and state is not PredictionState.ABORTED,
    )
    predict_s = job.plan.wait_s if state.is_end else None
    return replicate.prediction(prediction, model=job.app, echo=dict(job.echo), predict_s=predict_s, created=created)


def answer(job: Job, route: Route, *, origin: str, now_s: float) -> tuple[Reply, Fault | None]:
    """Answer a question for a prediction, or a cancel; with what befalls the answer on its way."""
    if route.kind is Kind.CANCEL:
        return _cancelled(job, origin, now_s), None
    job.asked += 1
    fault = job.plan.fault
    if job.asked <= TROUBLED:
        match fault:
            case Fault.POLL_404:
                return replicate.error(404), None
            case Fault.POLL_503:
                return html(503), None
            case Fault.POLL_RESET:
                return replicate.error(500), Fault.RESET_SENT
            case Fault.BACKWARDS:
                odd = (PredictionState.PROCESSING, PredictionState.STARTING, PredictionState.PROCESSING)
                return told(job, origin, now_s, state=odd[job.asked - 1]), None
    if state_of(job, now_s).is_end:
        job.results += 1
        if job.results == 1 and fault in (Fault.HTML, Fault.EMPTY):
            return (html(200) if fault is Fault.HTML else plain(200, "application/json", b"")), None
    return told(job, origin, now_s, fresh=job.results), None


def _cancelled(job: Job, origin: str, now_s: float) -> Reply:
    if not state_of(job, now_s).is_end:
        # At work it is stopped as well, and charged all the same.
        if job.state(now_s) is QueueState.IN_QUEUE and job.ending is not None:
            job.ending.cancel()
        job.stopped = PredictionState.CANCELED
    return told(job, origin, now_s)
