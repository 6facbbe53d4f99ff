"""From the spool to the record: files into the blob store, then images, money and final state in one commit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Self

from holdfast import faults
from holdfast.clock import from_rfc3339, rfc3339
from holdfast.config import Provider
from holdfast.engine.attempt import Attempted
from holdfast.engine.converter import WAIT_S, FileFormat
from holdfast.engine.core import Core, Live
from holdfast.engine.patience import patiently
from holdfast.engine.sequel import Decide, Sequel
from holdfast.engine.watchers import Ended
from holdfast.errors import is_disk_full
from holdfast.generation import State
from holdfast.log import emit
from holdfast.policy.costs import cost_micros
from holdfast.policy.mishaps import NO_WHOLE_IMAGE, kept_back, reason_of
from holdfast.store import records, spool
from holdfast.store.attempts import end_attempt, get_attempt
from holdfast.store.blob_keys import key_for
from holdfast.store.blob_port import Place
from holdfast.store.exposure import Cap
from holdfast.store.generations import get_generation
from holdfast.store.records import AttemptEnd, AttemptRow, GenerationRow, NewAttempt, NewBlob
from holdfast.store.spool import Spooled, SpooledImage
from holdfast.types import Charge, Failure, Tier
from holdfast.wire.answers import Answer, Role
from holdfast.wire.image import extension_of

PUT_TRIES = 5
PUT_PAUSE_S_FIRST = 0.5
"""Doubled from try to try: a full disk is given 7.5 s to find room for a file's second name."""

COMMIT_S = 2.0
"""Left before a caller's own deadline when nothing more is done to an image, so that it is stored in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """Which attempt is settled, and what its log lines say of it."""

    attempt_id: str
    generation_id: str
    key_id: str
    upstream: str
    model: str
    tier: str
    provider: Provider
    list_micros: int
    """What the upstream takes for an image."""
    accepted_at: float
    """Monotonic seconds."""
    sent_at: str
    """RFC 3339."""
    traceparent: str | None = None

    @classmethod
    def of_live(cls, live: Live, new: NewAttempt) -> Self:
        """Name an attempt that this process made."""
        return cls(
            attempt_id=new.id,
            generation_id=live.id,
            key_id=live.key_id,
            upstream=new.upstream,
            model=new.model,
            tier=new.tier or live.tier.value,
            provider=Provider(new.provider),
            list_micros=live.list_micros if new.list_micros is None else new.list_micros,
            accepted_at=live.accepted_at,
            sent_at=new.sent_at,
            traceparent=live.traceparent,
        )

    @classmethod
    def of_rows(cls, core: Core, row: GenerationRow, attempt: AttemptRow) -> Self:
        """Name an attempt that an earlier process made."""
        return cls(
            attempt_id=attempt.id,
            generation_id=row.id,
            key_id=row.key_id,
            upstream=attempt.upstream,
            model=attempt.model,
            tier=attempt.tier or row.tier,
            provider=Provider(attempt.provider),
            list_micros=row.list_micros if attempt.list_micros is None else attempt.list_micros,
            accepted_at=core.monotonic_of(from_rfc3339(row.created_at)),
            sent_at=attempt.sent_at,
            traceparent=row.traceparent,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What of an answer may be delivered, and what went wrong if nothing may."""

    results: tuple[SpooledImage, ...]
    drafts: tuple[SpooledImage, ...]
    failure: Failure | None


def judge(results: Sequence[int], drafts: Sequence[int], images: Sequence[SpooledImage]) -> Judged:
    """Keep every whole image; one that is cut, or no image at all, is never delivered.

    An image of another size than asked is whole: it was paid for, and is delivered as it is.
    """
    whole = {image.index: image for image in images if image.is_whole}
    kept = tuple(whole[index] for index in results if index in whole)
    failure = None if kept else NO_WHOLE_IMAGE
    return Judged(results=kept, drafts=tuple(whole[index] for index in drafts if index in whole), failure=failure)


def judge_failed(failure: Failure, images: Sequence[SpooledImage]) -> Judged:
    """Keep what a failed answer brought all the same: a refusal, say, after drafts were drawn."""
    return Judged(results=(), drafts=tuple(image for image in images if image.is_whole), failure=failure)


async def settle(
    core: Core,
    live: Live,
    attempted: Attempted,
    on_end: Callable[[], None] | None = None,
    decide: Decide | None = None,
    cap: Callable[[], Awaitable[Cap]] | None = None,
) -> GenerationRow | Sequel | None:
    """Settle what an attempt brought; return the generation if it has ended, or how its part goes on."""
    spooled = attempted.spooled
    images = spooled.images if spooled is not None else ()
    if attempted.done is not None:
        judged = judge(attempted.done.results, attempted.done.drafts, images)
    else:
        assert attempted.failure is not None
        judged = judge_failed(attempted.failure, images)

    async def committed(judged: Judged) -> GenerationRow | Sequel | None:
        return await commit(
            core,
            About.of_live(live, attempted.new),
            judged,
            spooled,
            http_status=attempted.http_status,
            received_at=attempted.received_at,
            on_end=on_end,
            decide=decide,
            cap=cap,
        )

    # Who named his budget is told at that instant: then better the image as it is.
    within_s = live.deadline_at - core.clock.monotonic() - COMMIT_S if live.hard_deadline else WAIT_S
    async with as_wished(core, judged, live.file_format, attempted.new.id, within_s=within_s) as made:
        return await committed(made)


@asynccontextmanager
async def as_wished(
    core: Core, judged: Judged, wanted: FileFormat | None, attempt_id: str, *, within_s: float
) -> AsyncIterator[Judged]:
    """Make results into the format that their caller named; the originals become drafts.

    Args:
        core: The engine's dependencies.
        judged: What an attempt has brought.
        wanted: The format; None: whatever came.
        attempt_id: Which.
        within_s: What is not made by then is delivered as it came.
    """
    if wanted is None or core.converter is None or not judged.results:
        yield judged
        return
    async with core.converter.converted(judged.results, wanted, attempt_id, within_s=within_s) as made:
        originals = tuple(image for image in judged.results if image not in made)
        yield replace(judged, results=made, drafts=(*originals, *judged.drafts))


async def commit(
    core: Core,
    about: About,
    judged: Judged,
    spooled: Spooled | None,
    *,
    http_status: int | None = None,
    received_at: str | None = None,
    on_end: Callable[[], None] | None = None,
    decide: Decide | None = None,
    cap: Callable[[], Awaitable[Cap]] | None = None,
) -> GenerationRow | Sequel | None:
    """Move the files, make the settling commit, tell who waits, and empty the spool.

    `on_end` is called before anybody is told: whoever has his answer finds the place free that he had. `decide` says
    what follows a failure; without it nothing does. `cap` limits what may be bought a second time. Returned is the
    generation if it has ended, or the sequel if the part goes on: a cancel may have come first.

    An answer that the blob store does not take stays in the spool, and its attempt is told as unknown: the next start
    takes it in, and what was told as lost turns out a late success.
    """
    await faults.point("settle.before_blobs")
    is_kept_back = False
    blobs: tuple[NewBlob, ...] = ()
    try:
        blobs = await _put(core, about, judged)
    except OSError as exc:
        judged, is_kept_back = Judged(results=(), drafts=(), failure=kept_back(exc)), True
    await faults.point("settle.after_blobs")
    answer = spooled.answer if spooled is not None and not is_kept_back else None
    # What our own disk did not take is here: bought again, it would not be taken either.
    sequel = None if decide is None or judged.failure is None or is_kept_back else decide(judged.failure)
    end = AttemptEnd(
        attempt_id=about.attempt_id,
        at="",
        purge_after="",
        generation_id=about.generation_id,
        key_id=about.key_id,
        blobs=blobs,
        failure=judged.failure,
        http_status=http_status,
        usage=answer.usage if answer is not None else None,
        answer=answer.document if answer is not None and len(answer.document) <= spool.ANSWER_BYTES_MAX else None,
        received_at=received_at,
        cost_micros=None if judged.failure is not None else _cost(about, answer),
    )
    if sequel is not None:
        end = await _with_sequel(core, about, end, sequel, cap)
    await faults.point("settle.before_commit")
    ended: records.Ended = await patiently(
        # Each try tells its own hour: with the first one's, a generation would end before the images of parts that the
        # disk took meanwhile, and they would be deleted before their time.
        lambda: core.store.write(
            end_attempt, replace(end, at=core.now_text(), purge_after=core.purge_text()), core.rules
        ),
        about.generation_id,
    )
    await faults.point("settle.after_commit")
    if ended.was_open:
        _tell_end(core, about, judged, sequel, goes_on=ended.goes_on, received_at=received_at)
    finished: GenerationRow | Sequel | None = None
    if ended.finished is not None:
        finished = ended.finished.generation
        if on_end is not None:
            on_end()
        announce(core, finished, ended.finished)
    elif ended.goes_on:
        finished = sequel
    else:
        # Where the commit was made twice, since its first answer was lost, only the record knows what it did. And who
        # joined a failure for the sake of an image that might still come, is told that none did.
        finished = await patiently(lambda: tell_if_ended(core, about.generation_id), about.generation_id)
        if finished is None and end.retry_at is not None and await _goes_on(core, about, end):
            finished = sequel
    await faults.point("settle.after_notice")
    if spooled is not None and not is_kept_back:
        await _empty_spool(core, about, spooled)
    await faults.point("settle.after_spool_removed")
    return finished


async def _with_sequel(
    core: Core, about: About, end: AttemptEnd, sequel: Sequel, cap: Callable[[], Awaitable[Cap]] | None
) -> AttemptEnd:
    """Write down what follows; what may have been paid for goes on under a cap only."""
    assert end.failure is not None
    again_at, decision = sequel.again_at, records.to_json(sequel.document())
    if again_at is None:
        return replace(end, decision=decision)
    is_at_risk = end.failure.charge is Charge.UNKNOWN
    return replace(
        end,
        decision=decision,
        retry_at=rfc3339(core.clock.now() + timedelta(seconds=again_at - core.clock.monotonic())),
        cap=await patiently(cap, about.generation_id) if is_at_risk and cap is not None else None,
    )


async def _goes_on(core: Core, about: About, end: AttemptEnd) -> bool:
    """Whether the record says that the part goes on, where the answer of the commit that wrote it was lost."""
    attempt = await patiently(lambda: core.store.read(get_attempt, end.attempt_id), about.generation_id)
    return attempt is not None and attempt.retry_at == end.retry_at


def _cost(about: About, answer: Answer | None) -> int | None:
    """What the upstream takes for its answer: also for an image in it that was cut on its way.

    None: only some of the answer is here, and what was asked for counts.
    """
    if answer is None or not answer.images:
        return None
    results = sum(image.role is Role.RESULT for image in answer.images)
    drafts = len(answer.images) - results
    tier = Tier(about.tier)
    return cost_micros(about.list_micros, about.provider, tier, answer.usage, results=results, drafts=drafts)


async def _put(core: Core, about: About, judged: Judged) -> tuple[NewBlob, ...]:
    """Give the images their places, results first.

    Raises:
        OSError: The disk has no room after several tries, or failed otherwise.
    """
    wanted = [*(("result", image) for image in judged.results), *(("draft", image) for image in judged.drafts)]
    pause_s = PUT_PAUSE_S_FIRST
    for left in reversed(range(PUT_TRIES)):
        try:
            return await _store(core, about.attempt_id, wanted)
        except OSError as exc:
            _log_disk(about, exc)
            if not left or not is_disk_full(exc):
                raise
        await asyncio.sleep(pause_s)
        pause_s *= 2
    raise AssertionError("the last try returns or raises")


async def _empty_spool(core: Core, about: About, spooled: Spooled) -> None:
    """Remove what is recorded; what cannot be removed is found recorded at the next start, and tried again."""
    try:
        await core.clears.do(spooled)
    except OSError as exc:
        _log_disk(about, exc)


def _log_disk(about: About, error: OSError) -> None:
    emit(
        "storage.failed",
        level="error",
        generation_id=about.generation_id,
        attempt_id=about.attempt_id,
        message=reason_of(error),
    )


async def _store(core: Core, attempt_id: str, wanted: Sequence[tuple[str, SpooledImage]]) -> tuple[NewBlob, ...]:
    """Give each image its place in the blob store, together with what others settle at this instant."""
    stored: list[NewBlob] = []
    places: list[Place] = []
    for kind, image in wanted:
        assert image.info is not None
        key = key_for(attempt_id, image.index, extension_of(image.info.mime))
        places.append(Place(key, image.path, image.info.sha256))
        new = NewBlob(id=core.clock.new_id("img"), kind=kind, position=image.index, store_key=key, info=image.info)
        stored.append(new)
    if places:
        await core.puts.do(places)
        await faults.point("settle.after_blob")
    return tuple(stored)


def announce(core: Core, row: GenerationRow, record: records.Record | None = None) -> None:
    """Tell who waits that a generation has ended."""
    told = row.told
    emit(
        "generation.finished",
        generation_id=row.id,
        key_id=row.key_id,
        model=row.model,
        size=row.tier,
        state=row.state,
        code=told.code if told is not None else None,
        paid=told.charge.value if told is not None else None,
        charged_micros=row.charged_micros,
        compensated_micros=row.compensated_micros,
        elapsed_s=round((core.clock.now() - from_rfc3339(row.created_at)).total_seconds(), 3),
        traceparent=row.traceparent,
    )
    core.watchers.notify(row.id, Ended(record=record))
    core.followers.notify(row.id)


async def tell_if_ended(core: Core, generation_id: str) -> GenerationRow | None:
    """Tell who still waits for a generation that has ended already; return it if it has."""
    row = await core.store.read(get_generation, generation_id)
    if row is None or not State(row.state).is_final:
        return None
    core.watchers.notify(generation_id, Ended())
    return row


def _tell_end(
    core: Core, about: About, judged: Judged, sequel: Sequel | None, *, goes_on: bool, received_at: str | None
) -> None:
    # A cancel that came first is told by itself.
    is_refused = sequel is not None and sequel.after_s is not None and not goes_on
    _log_end(core, about, judged, None if is_refused else sequel, received_at)
    core.followers.notify(about.generation_id)


def _log_end(core: Core, about: About, judged: Judged, sequel: Sequel | None, received_at: str | None) -> None:
    took_s, stored_s = _took(core, about, received_at)
    fields: dict[str, Any] = {
        "generation_id": about.generation_id,
        "attempt_id": about.attempt_id,
        "key_id": about.key_id,
        "upstream": about.upstream,
        "provider": about.provider.value,
        "model": about.model,
        "size": about.tier,
        "elapsed_s": round(core.clock.monotonic() - about.accepted_at, 3),
        "took_s": took_s,
        "stored_s": stored_s,
        "traceparent": about.traceparent,
    }
    failure = judged.failure
    if failure is None:
        emit("attempt.settled", images=len(judged.results), drafts=len(judged.drafts), **fields)
        return
    emit(
        "attempt.unknown" if failure.charge is Charge.UNKNOWN else "attempt.failed",
        level="warning",
        kind=failure.kind.value,
        phase=failure.phase.value,
        charge=failure.charge.value,
        status=failure.status,
        reason=failure.reason,
        **fields,
        **(sequel.told() if sequel is not None else {}),
    )


def _took(core: Core, about: About, received_at: str | None) -> tuple[float, float | None]:
    """Say how long an attempt took, and how long its answer was stored after that; None: there was none.

    By the wall clock, since its beginning may be another process's: set back meanwhile, it tells zero.
    """
    now = core.clock.now()
    until = now if received_at is None else from_rfc3339(received_at)
    took_s = max(0.0, (until - from_rfc3339(about.sent_at)).total_seconds())
    return round(took_s, 3), None if received_at is None else max(0.0, round((now - until).total_seconds(), 3))
