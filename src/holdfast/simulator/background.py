"""Requests that work in the background, from the moment that they were taken: where each stands, and what a GET gets.

No I/O and no clock: whoever asks says what time it is. A request waits for a fifth of its time and is at work for the
rest; it ends, and is charged, whether or not anybody asks. What goes wrong with the answers goes wrong at first only:
whoever asks again is answered, as somebody who has paid must be. What is wrong with a picture stays wrong.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field

from holdfast.config import UpstreamApi
from holdfast.simulator.asked import Asked, Kind, Route
from holdfast.simulator.background_plan import dialect_of
from holdfast.simulator.faults import Fault
from holdfast.simulator.plan import MOVED_TO, Plan
from holdfast.simulator.queue import JOBS_MAX, TROUBLED, WAITING_SHARE, Answered
from holdfast.simulator.replies import Making, Reply, html, plain
from holdfast.wire.background import Standing

_OF_THE_WAY = frozenset(
    {Fault.STALL_BODY, Fault.RESET_BODY, Fault.TRUNCATE, Fault.DRIP, Fault.GZIP, Fault.UNTERMINATED}
)
_OF_PICTURES = frozenset({Fault.NOT_IMAGE, Fault.CUT_IMAGE, Fault.BAD_BASE64, Fault.URL_SAFE})
_WORDS = {Standing.QUEUED: "queued", Standing.AT_WORK: "in_progress"}


@dataclass(slots=True, kw_only=True)
class Request:
    """One of them."""

    id: str
    asked: Asked
    plan: Plan
    created: int
    """Unix seconds."""
    taken_at_s: float
    ending: asyncio.Task[None] | None = None
    """Charges it when its time has come."""
    questions: int = 0
    ends: int = 0
    """Questions that were answered with how it ended."""
    is_cancelled: bool = False

    def standing(self, now_s: float) -> Standing:
        """Where it stands."""
        passed_s = now_s - self.taken_at_s
        if passed_s >= self.plan.wait_s:
            return Standing.ENDED
        return Standing.QUEUED if passed_s < WAITING_SHARE * self.plan.wait_s else Standing.AT_WORK

    def told(self, status: str) -> Reply:
        """Write it as it stands, without a picture."""
        making = Making(
            asked=self.asked, drawn=(), drafts=0, created=self.created, micros=0, declared_format=self.asked.format
        )
        return dialect_of(self.asked.api).standing(self.id, status, making)


@dataclass(slots=True)
class Background:
    """All of them, oldest first."""

    requests: OrderedDict[str, Request] = field(default_factory=OrderedDict)

    def __repr__(self) -> str:
        return f"<Background {len(self.requests)} requests>"

    def add(self, request: Request) -> None:
        """Take a request."""
        self.requests[request.id] = request
        while len(self.requests) > JOBS_MAX:
            self.requests.popitem(last=False)

    def answer(self, route: Route, *, now_s: float) -> Answered:
        """Answer a question, or a cancel.

        Args:
            route: What is asked, and of which request.
            now_s: On the clock that submissions were timed by.
        """
        request = self.requests.get(route.request_id or "")
        if request is None or request.asked.api is not route.api:
            return Answered(reply=dialect_of(route.api).error(404))
        if route.kind is Kind.CANCEL:
            _cancel(request, now_s)
        return _told(request, now_s)


def _cancel(request: Request, now_s: float) -> None:
    """Let go of it: for nothing if it has not been begun. What has ended stays as it is."""
    standing = request.standing(now_s)
    if standing is Standing.ENDED:
        return
    request.is_cancelled = True
    if standing is Standing.QUEUED and request.ending is not None:
        request.ending.cancel()


def _told(request: Request, now_s: float) -> Answered:
    if request.is_cancelled:
        return Answered(reply=request.told("cancelled"))
    request.questions += 1
    standing, fault = request.standing(now_s), request.plan.fault
    if request.questions <= TROUBLED:
        match fault:
            case Fault.POLL_404:
                return Answered(reply=dialect_of(request.asked.api).error(404))
            case Fault.POLL_503:
                return Answered(reply=html(503))
            case Fault.POLL_RESET:
                return Answered(reply=dialect_of(request.asked.api).error(500), fault=Fault.RESET_SENT)
            case Fault.BACKWARDS:
                standing = (Standing.AT_WORK, Standing.QUEUED, Standing.AT_WORK)[request.questions - 1]
    if standing is not Standing.ENDED:
        return Answered(reply=request.told(_WORDS[standing]))
    return _end(request)


def _end(request: Request) -> Answered:
    request.ends += 1
    is_first, fault = request.ends == 1, request.plan.fault
    if fault is Fault.EXPIRED:
        # Not kept long enough: from its end on nobody knows of it.
        return Answered(reply=dialect_of(request.asked.api).error(404))
    if is_first and fault is Fault.HTML:
        return Answered(reply=html(200))
    if is_first and fault is Fault.EMPTY:
        return Answered(reply=plain(200, "application/json", b""))
    if is_first and fault is Fault.REDIRECT:
        return Answered(reply=plain(302, "text/plain", b"moved\n", headers=(("location", MOVED_TO),)))
    lasting = fault if fault in _OF_PICTURES else None
    return Answered(reply=request.plan.reply, fault=fault if is_first and fault in _OF_THE_WAY else lasting)


def is_background(route: Route) -> bool:
    """Whether a route leads here."""
    return route.api is not UpstreamApi.AUTO
