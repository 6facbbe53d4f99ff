"""From the spool to the record: files into the blob store, then images, money and final state in one commit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from holdfast import faults
from holdfast.clock import Clock
from holdfast.engine.attempt import Attempted
from holdfast.engine.core import Core
from holdfast.engine.watchers import Ended
from holdfast.log import emit
from holdfast.store import records, spool
from holdfast.store.attempts import end_attempt
from holdfast.store.blobs import LocalBlobs, key_for
from holdfast.store.records import AttemptEnd, GenerationRow, NewBlob
from holdfast.store.spool import Spooled, SpooledImage
from holdfast.types import Charge, Failure, FailureKind, Phase
from holdfast.wire.answers import Role

_EXTENSIONS = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/webp": "webp",
    "image/gif": "gif",
    "image/avif": "avif",
    "image/heic": "heic",
    "image/heif": "heif",
}


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
    failure = None
    if not kept:
        failure = Failure(
            kind=FailureKind.MALFORMED,
            phase=Phase.DECODE,
            charge=Charge.YES,
            detail="the upstream answered with something that is not a whole image",
            status=200,
        )
    return Judged(results=kept, drafts=tuple(whole[index] for index in drafts if index in whole), failure=failure)


def _store(
    blobs: LocalBlobs, clock: Clock, attempt_id: str, images: Sequence[SpooledImage], kind: str
) -> tuple[NewBlob, ...]:
    """Give each image its place in the blob store; runs in a thread."""
    stored = []
    for image in images:
        assert image.info is not None
        key = key_for(attempt_id, image.index, _EXTENSIONS.get(image.info.mime, "bin"))
        blobs.put_file(key, image.path)
        stored.append(NewBlob(id=clock.new_id("img"), kind=kind, position=image.index, store_key=key, info=image.info))
    return tuple(stored)


async def settle(core: Core, attempted: Attempted) -> GenerationRow | None:
    """Settle what an attempt brought; return the generation if this ended it."""
    failure = attempted.failure
    spooled = attempted.spooled
    judged = Judged(results=(), drafts=(), failure=failure)
    if attempted.done is not None and spooled is not None:
        judged = judge(attempted.done.results, attempted.done.drafts, spooled.images)
    elif spooled is not None:
        # A refusal, say, after drafts were drawn: they are paid for and kept.
        judged = Judged(results=(), drafts=tuple(image for image in spooled.images if image.is_whole), failure=failure)
    return await commit(core, attempted.attempt_id, judged, spooled, attempted.http_status)


async def commit(
    core: Core, attempt_id: str, judged: Judged, spooled: Spooled | None, http_status: int | None
) -> GenerationRow | None:
    """Move the files, make the settling commit, tell who waits, and empty the spool."""
    results = await core.in_thread(_store, core.blobs, core.clock, attempt_id, judged.results, "result")
    drafts: tuple[NewBlob, ...] = ()
    if judged.drafts:
        drafts = await core.in_thread(_store, core.blobs, core.clock, attempt_id, judged.drafts, "draft")
    await faults.point("settle.after_blobs")
    answer = spooled.answer if spooled is not None else None
    end = AttemptEnd(
        attempt_id=attempt_id,
        at=core.now_text(),
        purge_after=core.purge_text(),
        blobs=(*results, *drafts),
        failure=judged.failure,
        http_status=http_status,
        usage=answer.usage if answer is not None else None,
        answer=answer.document if answer is not None and len(answer.document) <= spool.ANSWER_BYTES_MAX else None,
    )
    ended: records.Ended = await core.store.write(end_attempt, end)
    await faults.point("settle.after_commit")
    _log_end(attempt_id, judged)
    if ended.finished is not None:
        announce(core, ended.finished)
    if spooled is not None:
        await core.in_thread(spool.remove, core.spool, attempt_id)
    return ended.finished


def announce(core: Core, row: GenerationRow) -> None:
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
    )
    core.watchers.notify(row.id, Ended())


def _log_end(attempt_id: str, judged: Judged) -> None:
    failure = judged.failure
    if failure is None:
        emit("attempt.settled", attempt_id=attempt_id, images=len(judged.results), drafts=len(judged.drafts))
        return
    emit(
        "attempt.unknown" if failure.charge is Charge.UNKNOWN else "attempt.failed",
        level="warning",
        attempt_id=attempt_id,
        kind=failure.kind.value,
        phase=failure.phase.value,
        charge=failure.charge.value,
        status=failure.status,
        reason=failure.reason,
    )


def roles_of(spooled: Spooled) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Which images of a recovered answer are results and which drafts."""
    results = tuple(image.index for image in spooled.images if image.role is Role.RESULT)
    drafts = tuple(image.index for image in spooled.images if image.role is not Role.RESULT)
    return results, drafts
