"""Attempts whose upstream has given a handle: which of them a start can go on with, and what it needs for that."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from holdfast.clock import from_rfc3339
from holdfast.engine.attempt import Resumed
from holdfast.engine.converter import FileFormat
from holdfast.engine.core import Core, Live, Tried
from holdfast.engine.course import Course, Target, alone
from holdfast.engine.submit import course_of
from holdfast.errors import RequestError
from holdfast.generation import AttemptState, State
from holdfast.money import times
from holdfast.policy.mishaps import BROUGHT_BESIDE
from holdfast.providers.registry import idempotency_key_of, images_per_call, is_polled
from holdfast.store.records import AttemptRow, GenerationRow, NewAttempt, Record
from holdfast.store.spool import Spooled
from holdfast.types import Request, Tier


def is_resumable(core: Core, row: GenerationRow, attempt: AttemptRow) -> bool:
    """Whether this process can ask the upstream for what an earlier one has bought."""
    return (
        AttemptState(attempt.state) is AttemptState.POLLING
        and attempt.upstream_handle is not None
        and _target_of(core, attempt) is not None
        and request_of(row) is not None
    )


def lacks_images(attempt: AttemptRow, spooled: Spooled) -> bool:
    """Whether an answer named more images than are in the spool: the upstream still has the others."""
    if AttemptState(attempt.state) is not AttemptState.POLLING:
        return False
    there = {image.index for image in spooled.images if image.is_whole}
    return not there >= {image.index for image in spooled.answer.images}


def resumed(core: Core, record: Record, live: Live | None, kept_back: frozenset[str]) -> tuple[Resumed, ...]:
    """Prepare what can be gone on with of a generation.

    Args:
        core: The engine's dependencies.
        record: As it stands.
        live: What the engine keeps of it already, if other parts of it are begun anew.
        kept_back: Attempts whose image is in the spool, which our own disk has not taken.
    """
    row = record.generation
    found: list[Resumed] = []
    for attempt in record.attempts:
        if not is_resumable(core, row, attempt):
            continue
        target, request = _target_of(core, attempt), request_of(row)
        assert target is not None
        assert request is not None
        assert attempt.upstream_handle is not None
        live = live or _live_of(core, row, request, target)
        found.append(
            Resumed(
                live=live,
                new=_new_of(core, live, attempt),
                target=target,
                key=_key_of(attempt, target),
                request=request,
                handle=attempt.upstream_handle,
                is_open=not State(row.state).is_final,
                tried=tried_before(record, attempt, kept_back),
                had_second=had_second(record, attempt.part),
            )
        )
    return tuple(found)


def tried_before(record: Record, attempt: AttemptRow, kept_back: frozenset[str]) -> tuple[Tried, ...]:
    """Say what was tried of the same part before an attempt, oldest first; what is kept back is here, and not lost."""
    tried: list[Tried] = []
    for each in record.attempts:
        is_of_part = (each.part, each.drive) == (attempt.part, attempt.drive)
        one = tried_of(record, each) if is_of_part and each.id != attempt.id else None
        if one is not None:
            tried.append(replace(one, failure=BROUGHT_BESIDE) if each.id in kept_back else one)
    return tuple(tried)


def had_second(record: Record, part: int) -> bool:
    """Whether a second attempt was made of a part, as it is driven now."""
    drive = record.generation.drive
    return any(each.hedge for each in record.attempts if (each.part, each.drive) == (part, drive))


def tried_of(record: Record, attempt: AttemptRow) -> Tried | None:
    """Say how an attempt has failed; None: it has not."""
    failure = attempt.failed
    if failure is None:
        return None
    tier = Tier(attempt.tier or record.generation.tier)
    return Tried(upstream=attempt.upstream, model=attempt.model, tier=tier, failure=failure)


def _key_of(attempt: AttemptRow, target: Target) -> int:
    """Find the key that an attempt was sent with; if its upstream has fewer now, or nobody noted it, the first."""
    return target.key_of(attempt.key_number or 1) or 0


def _target_of(core: Core, attempt: AttemptRow) -> Target | None:
    """Find the upstream in the settings of this start, whichever route it serves now; its model stays as it was."""
    for targets in core.targets.values():
        for target in targets:
            upstream = target.upstream
            if upstream.name == attempt.upstream and upstream.provider.value == attempt.provider:
                return replace(target, model=attempt.model) if _polls(target) else None
    return None


def _polls(target: Target) -> bool:
    return is_polled(target.upstream)


def request_of(row: GenerationRow) -> Request | None:
    """Read what was asked for; None: it is gone, or cannot be read."""
    if row.request is None:
        return None
    try:
        return msgspec.json.decode(row.request, type=Request)
    except msgspec.MsgspecError:
        # Another version wrote it, in words that this one does not know.
        return None


def _live_of(core: Core, row: GenerationRow, request: Request, target: Target) -> Live:
    return Live(
        id=row.id,
        key_id=row.key_id,
        request=None,
        model=row.model,
        tier=request.geometry.tier,
        n=row.n,
        drive=row.drive,
        parts=row.parts,
        course=_course_of(core, request, target),
        images_per_call=images_per_call(target.upstream, stream=request.stream),
        list_micros=row.list_micros,
        purchases_max=request.purchases_max,
        accepted_at=core.monotonic_of(from_rfc3339(row.created_at)),
        deadline_at=core.monotonic_until(from_rfc3339(row.deadline_at), since=from_rfc3339(row.created_at)),
        hard_deadline=bool(row.hard_deadline),
        only_awaited=bool(row.only_awaited),
        file_format=FileFormat.of(request),
        traceparent=row.traceparent,
    )


def _course_of(core: Core, request: Request, target: Target) -> Course:
    """Its route's, if there is one; else what it was sent to."""
    try:
        return course_of(core, request)
    except RequestError:
        return alone(target, request.geometry.tier)


def _new_of(core: Core, live: Live, attempt: AttemptRow) -> NewAttempt:
    """What the send commit was given."""
    return NewAttempt(
        id=attempt.id,
        generation_id=attempt.generation_id,
        part=attempt.part,
        drive=attempt.drive,
        upstream=attempt.upstream,
        provider=attempt.provider,
        model=attempt.model,
        idempotency_key=idempotency_key_of(attempt.generation_id, part=attempt.part, drive=attempt.drive),
        estimated_micros=times(
            live.list_micros if attempt.list_micros is None else attempt.list_micros, live.images_of(attempt.part)
        ),
        owner=core.owner,
        sent_at=attempt.sent_at,
        key_number=attempt.key_number,
        route=attempt.route,
        tier=attempt.tier,
        list_micros=attempt.list_micros,
        unit_micros=attempt.unit_micros,
        hedge=attempt.hedge,
    )
