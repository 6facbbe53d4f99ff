"""From records to what admins are shown of them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, cast
from urllib.parse import urlsplit

import msgspec

from holdfast.clock import from_rfc3339
from holdfast.engine.core import InLine
from holdfast.engine.latencies import Latencies
from holdfast.engine.standing import UpstreamNow
from holdfast.gateway.generations import shown_images
from holdfast.gateway.heads import served_name
from holdfast.gateway.progress import progress_of
from holdfast.generation import State
from holdfast.store.overview import Shown, WholeStory
from holdfast.store.records import BlobRow, Record
from holdfast.store.story import AttemptStory
from holdfast.wire import admin
from holdfast.wire.failures import is_retryable
from holdfast.wire.generations import Cost, ErrorResource, Paid, Status

PROMPT_CHARS_MAX = 4000


class _Asked(msgspec.Struct):
    """Of a request on record, what is shown; other members are passed over."""

    prompt: str
    inputs: tuple[Any, ...] = ()


def generation_of(
    shown: Shown, *, latencies: Latencies, now: datetime, in_line: InLine | None = None
) -> admin.AdminGeneration:
    """Show a generation as lists have it; `in_line` is where it waits for its place, if it does."""
    record, row = shown.record, shown.record.generation
    told = row.told
    stands = in_line if row.state == State.QUEUED else None
    ended = now if row.finished_at is None else from_rfc3339(row.finished_at)
    files = tuple(_files(record))
    return admin.AdminGeneration(
        id=row.id,
        key_id=row.key_id,
        key_label=shown.key_label,
        surface=row.surface,
        model=row.model,
        size=row.tier,
        asked_size=row.size,
        n=row.n,
        status=cast(Status, row.state),
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        answered_at=row.answered_at,
        collected_at=row.collected_at,
        purged_at=shown.purged_at,
        elapsed_s=max(0.0, round((ended - from_rfc3339(row.created_at)).total_seconds(), 3)),
        cost=Cost(
            held_micros=0 if row.finished_at else row.held_micros,
            charged_micros=row.charged_micros,
            compensated_micros=row.compensated_micros,
            currency=row.currency,
        ),
        images=len(files),
        files=files,
        attempts=len(record.attempts),
        joins=shown.joins,
        late=bool(row.late),
        partial_result=bool(row.partial_result),
        cancel_requested=bool(row.cancel_requested),
        failure_kind=None if told is None else told.kind,
        failure_code=None if told is None else told.code,
        served_by=served_name(record),
        queue_position=None if stands is None else stands.position,
        estimated_start_s=None if stands is None else round(stands.estimate_s, 1),
        progress=None if row.finished_at else progress_of(row, latencies, now, in_line=stands),
    )


def _files(record: Record) -> Iterator[admin.AdminFile]:
    for index, blob in enumerate(shown_images(record)):
        if blob.kind != "draft" and blob.state == "stored":
            yield admin.AdminFile(
                index=index, mime=blob.mime, bytes=blob.bytes, width=blob.width_px, height=blob.height_px
            )


def image_path(generation_id: str, index: int) -> str:
    """Where an admin looks at an image, without collecting it."""
    return f"/admin/v1/generations/{generation_id}/images/{index}"


def story_of(whole: WholeStory, generation: admin.AdminGeneration) -> admin.AdminStory:
    """Show all that is on record of a generation."""
    story, row = whole.story, whole.story.generation
    created_at, told = from_rfc3339(row.created_at), row.told
    asked = None if whole.request is None else msgspec.json.decode(whole.request, type=_Asked)
    blobs = (*whole.shown.record.results, *whole.shown.record.drafts())
    return admin.AdminStory(
        generation=generation,
        prompt=None if asked is None else asked.prompt[:PROMPT_CHARS_MAX],
        inputs=0 if asked is None else len(asked.inputs),
        deadline_at=row.deadline_at,
        callers=story.callers,
        error=None
        if told is None
        else ErrorResource(
            code=told.code,
            message=told.message,
            paid=told.charge.value,
            retryable=is_retryable(told.code, told.charge),
        ),
        events=tuple(
            admin.StoryMoment(
                sequence_number=event.sequence_number,
                at=event.at,
                after_s=round((from_rfc3339(event.at) - created_at).total_seconds(), 3),
                type=event.type,
                data=None if event.data is None else msgspec.json.decode(event.data),
            )
            for event in story.events
        ),
        attempts=tuple(map(_attempt, story.attempts)),
        images=tuple(_image(blob, index, whole.collected.get(blob.id)) for index, blob in enumerate(blobs)),
        deliveries=tuple(
            admin.StoryDelivery(
                id=each.id,
                type=each.type,
                state=each.state,
                tries=each.tries,
                created_at=each.created_at,
                ended_at=each.ended_at,
                last_status=each.last_status,
                last_error=each.last_error,
            )
            for each in story.deliveries
        ),
        ledger=tuple(
            admin.StoryLine(at=line.at, kind=line.verb, account=line.account, micros=line.micros)
            for line in story.lines
        ),
        metadata=None if row.metadata is None else msgspec.json.decode(row.metadata),
    )


def _attempt(each: AttemptStory) -> admin.StoryAttempt:
    row, failure = each.row, each.row.failed
    return admin.StoryAttempt(
        number=row.number,
        upstream=row.upstream,
        model=row.model,
        status=row.state,
        charge=cast(Paid, row.charge),
        started_at=row.sent_at,
        ended_at=row.ended_at,
        part=row.part,
        hedge=row.hedge,
        drive=row.drive,
        provider=row.provider,
        key_number=each.key_number,
        tier=row.tier,
        route=row.route,
        received_at=row.received_at,
        http_status=row.http_status,
        failure_kind=None if failure is None else failure.kind.value,
        failure_detail=None if failure is None else failure.detail,
        estimated_micros=each.estimated_micros,
        decision=None if each.decision is None else dict(each.decision),
        outrun=bool(row.outrun),
    )


def _image(blob: BlobRow, index: int, collected_at: str | None) -> admin.StoryImage:
    return admin.StoryImage(
        index=index,
        kind=cast(Any, blob.kind),
        url=image_path(blob.generation_id, index) if blob.state == "stored" else None,
        mime=blob.mime,
        bytes=blob.bytes,
        width=blob.width_px,
        height=blob.height_px,
        sha256=blob.sha256,
        collected_at=collected_at,
        delete_after=blob.delete_after,
    )


def upstream_of(now: UpstreamNow) -> admin.AdminUpstream:
    """Show an upstream; of its address, where it is, and nothing that opens it."""
    url = urlsplit(now.base_url)
    where = f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}" if url.scheme else ""
    return admin.AdminUpstream(
        name=now.name,
        provider=now.provider,
        base_url=where,
        state=now.state.value,
        until_s=now.until_s,
        places=now.places,
        places_max=now.places_max,
        waiting=now.waiting,
        models=now.models,
        keys=tuple(
            admin.UpstreamKey(number=key.number, state=key.state.value, until_s=key.until_s, failures=key.failures)
            for key in now.keys
        ),
    )
