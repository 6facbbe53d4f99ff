"""Accepting a generation: price, deadline, storage, then the first of the three commits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

import msgspec

from holdfast.clock import from_rfc3339, rfc3339
from holdfast.engine.converter import FileFormat
from holdfast.engine.core import Core, Live
from holdfast.engine.course import Course
from holdfast.generation import parts_for
from holdfast.log import emit
from holdfast.money import times
from holdfast.policy.access import MINUTE_S, NO_LIMITS, Limits
from holdfast.policy.budgets import refusal
from holdfast.policy.deadlines import CALLER_S_MAX, attempt_timeout_s_max, generation_s
from holdfast.policy.fingerprint import VERSION
from holdfast.policy.joining import FAILURE_S, NO_CLAIM, TWIN_AFTER_S, Claim
from holdfast.policy.prices import Wanted, quote
from holdfast.store.joining import Entered, Entering
from holdfast.store.records import GenerationRow, NewGeneration, to_json
from holdfast.types import Request, Tier


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A validated request and who asks."""

    key_id: str
    request: Request
    asked_s: float | None = None
    """The caller's own budget, `Holdfast-Timeout`."""
    traceparent: str | None = None
    claim: Claim = NO_CLAIM
    """How it may be recognised as a repeat."""
    fingerprint: bytes | None = None
    """`policy.fingerprint`, beside a claim."""
    has_caller: bool = True
    """Whether somebody is connected for it."""
    webhook: str | None = None
    """Where the end is told besides the key's own webhooks."""
    limits: Limits = NO_LIMITS
    """Of its key: how much of it is taken at once."""
    only_awaited: bool = False
    """Whoever asks waits, and is not told to come back: while it is queued it is dropped when nobody waits any more."""


def entering_of(
    core: Core, new: NewGeneration, submission: Submission, *, may_buy: bool = True, asks_twins: bool = True
) -> Entering:
    """What the accepting commit is given: the purchase, and what it may join instead."""
    now, window_s = core.clock.now(), core.settings.joining.window_s
    attempt_s = max(attempt_timeout_s_max(tier, core.settings.deadlines) for tier in Tier)

    def before(seconds: float) -> str:
        return rfc3339(now - timedelta(seconds=seconds))

    return Entering(
        new=new,
        claim=submission.claim,
        may_buy=may_buy,
        asks_twins=asks_twins,
        # The longest that a generation may be open, and then its window.
        oldest=before(window_s + CALLER_S_MAX + attempt_s),
        success_since=before(window_s),
        failure_since=before(min(FAILURE_S, window_s)),
        twin_before=before(TWIN_AFTER_S),
        limits=submission.limits if core.dispatcher.is_shared else NO_LIMITS,
        minute_ago=before(MINUTE_S),
    )


def live_of(core: Core, new: NewGeneration, submission: Submission, course: Course | None = None) -> Live:
    """What the engine keeps of a generation that it has just accepted; `course`: where it may be sent, if known."""
    now, request = core.clock.monotonic(), submission.request
    course = course or course_of(core, request)
    return Live(
        id=new.id,
        key_id=new.key_id,
        request=request,
        model=new.model,
        tier=request.geometry.tier,
        n=new.n,
        drive=0,
        parts=new.parts,
        course=course,
        images_per_call=course.images_per_call(stream=request.stream),
        list_micros=new.list_micros,
        purchases_max=request.purchases_max,
        accepted_at=now,
        deadline_at=now + _deadline_s(core, submission),
        hard_deadline=new.hard_deadline,
        only_awaited=new.only_awaited,
        file_format=FileFormat.of(request),
        traceparent=new.traceparent,
    )


def tell_accepted(live: Live) -> None:
    """Write the line of the log."""
    emit(
        "generation.accepted",
        generation_id=live.id,
        key_id=live.key_id,
        model=live.model,
        size=live.tier.value,
        elapsed_s=0.0,
        traceparent=live.traceparent,
    )


def live_of_row(core: Core, row: GenerationRow) -> Live:
    """What the engine keeps of a generation that an earlier process had accepted.

    Raises:
        RequestError: Its route is gone.
        msgspec.MsgspecError: Another version wrote the request, in words that this one does not know.
    """
    assert row.request is not None, "a request is purged with its images, never before its end"
    request = msgspec.json.decode(row.request, type=Request)
    course = course_of(core, request, model=row.model)
    return Live(
        id=row.id,
        key_id=row.key_id,
        request=request,
        model=row.model,
        tier=request.geometry.tier,
        n=row.n,
        drive=row.drive,
        parts=row.parts,
        course=course,
        images_per_call=course.images_per_call(stream=request.stream),
        list_micros=row.list_micros,
        purchases_max=request.purchases_max,
        accepted_at=core.monotonic_of(from_rfc3339(row.created_at)),
        deadline_at=core.monotonic_until(from_rfc3339(row.deadline_at), since=from_rfc3339(row.created_at)),
        hard_deadline=bool(row.hard_deadline),
        only_awaited=bool(row.only_awaited),
        file_format=FileFormat.of(request),
        traceparent=row.traceparent,
    )


def course_of(core: Core, request: Request, *, model: str | None = None) -> Course:
    """Say where a request may be sent; `model` where the record knows it by a name that the request has not.

    Raises:
        RequestError: The route is gone, as when settings changed between two starts.
    """
    if model is not None and model != request.model:
        request = replace(request, model=model)
    return core.courses.of(request, core.clock.now().date())


def price(core: Core, submission: Submission) -> NewGeneration:
    """Work out everything that the accepting commit writes.

    Raises:
        RequestError: `price_missing`, 503, or no such route.
    """
    request, settings = submission.request, core.settings
    now = core.clock.now()
    quoted = quote(settings, request.model, Wanted.of(request), now.date(), request.tariff)
    unit = quoted.unit_micros
    per_call = course_of(core, request).images_per_call(stream=request.stream)
    return NewGeneration(
        id=core.clock.new_id("gen"),
        key_id=submission.key_id,
        surface=request.surface.value,
        model=request.model,
        tier=request.geometry.tier.value,
        size=f"{request.geometry.width_px}x{request.geometry.height_px}",
        n=request.n,
        parts=parts_for(request.n, per_call=per_call),
        request=msgspec.json.encode(request),
        deadline_at=rfc3339(now + timedelta(seconds=_deadline_s(core, submission))),
        hard_deadline=submission.asked_s is not None,
        created_at=rfc3339(now),
        currency=settings.money.currency,
        unit_micros=unit,
        held_micros=times(unit, request.n),
        inputs=tuple(image.store_key for image in request.files),
        list_micros=quoted.list_micros,
        traceparent=submission.traceparent,
        fingerprint=submission.fingerprint,
        fingerprint_version=None if submission.fingerprint is None else VERSION,
        idempotency_key=submission.claim.idempotency_key,
        callers=int(submission.has_caller),
        watched_by=core.owner,
        metadata=to_json(request.metadata) if request.metadata else None,
        webhook=submission.webhook,
        default_webhook_id=core.clock.new_id("whk") if submission.webhook is not None else None,
        only_awaited=submission.only_awaited,
    )


def refuse_spent(core: Core, entered: Entered) -> None:
    """Tell a caller whose budget does not cover what it asks for; nothing was written.

    Raises:
        RequestError: `budget_exhausted`, 402; or 429, where all processes together have taken what its key may have.
    """
    if entered.over is not None:
        raise entered.over
    if entered.exhausted is not None:
        raise refusal(entered.exhausted, core.settings.money.currency)


def _deadline_s(core: Core, submission: Submission) -> float:
    request = submission.request
    tier = request.geometry.tier
    slowness = core.latencies.slowness(model=request.model, tier=tier)
    return generation_s(tier, core.settings.deadlines, asked_s=submission.asked_s, slowness=slowness)
