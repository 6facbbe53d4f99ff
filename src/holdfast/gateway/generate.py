"""One POST, one generation: accept, hold, answer. Every surface goes through here."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from holdfast.clock import Clock, from_rfc3339
from holdfast.config import Join, Settings
from holdfast.engine.engine import Engine
from holdfast.engine.submit import Submission
from holdfast.engine.watchers import Ended, Notice, PartialImage
from holdfast.errors import RequestError, StorageError
from holdfast.gateway.answer import FilePieces, write_parts
from holdfast.gateway.asked import Asked
from holdfast.gateway.beats import BeatWheel
from holdfast.gateway.call import Call, CallerLeft, Headers, effective_scheme
from holdfast.gateway.delivery import finish_and_confirm
from holdfast.gateway.dialects import Dialect, Rendered, dialect_for
from holdfast.gateway.generations import resource_of
from holdfast.gateway.hold import Hold
from holdfast.gateway.links import LinkMaker
from holdfast.generation import State
from holdfast.log import emit
from holdfast.policy.admission import storage_low
from holdfast.policy.callers import CallerClass, LateFailure, classify, late_form
from holdfast.policy.fingerprint import fingerprint
from holdfast.policy.heartbeats import SILENT, Schedule, schedule_for
from holdfast.policy.joining import TWIN_WAIT_S, Answer, claim_of, strictest, would_join
from holdfast.policy.latency import prior
from holdfast.policy.prefer import asked_timeout_s, parse_prefer
from holdfast.store.joining import Entered
from holdfast.store.records import KeyRow, Record, Told
from holdfast.types import Charge, Surface, Tier
from holdfast.wire.generations import render_generation
from holdfast.wire.template import length_of

TWIN_POLL_S = 0.02
_MILLISECOND = timedelta(milliseconds=1)
NOT_AWAITED = Told(
    code="outcome_unknown",
    message="The gateway ended its wait before it knew how this generation ends; ask for it later, by its id.",
    charge=Charge.UNKNOWN,
)
"""Told where the record has no end: the gateway is stopped, or its disk does not take what it has to write."""


@dataclass(slots=True)
class _Waiting:
    """What the engine has told one caller so far."""

    hold: Hold | None = None
    ended: bool = False
    is_due: bool = False
    """The caller wants to be told how it stands now, finished or not."""
    record: Record | None = None
    """What it ended with, where that was told with the end."""
    previews: deque[PartialImage] | None = None

    def __call__(self, notice: Notice) -> None:
        if isinstance(notice, PartialImage):
            if self.previews is not None:
                self.previews.append(notice)
        else:
            self.ended, self.record = True, notice.record
        if self.hold is not None:
            self.hold.wake()

    def fall_due(self) -> None:
        """Wait no longer."""
        self.is_due = True
        if self.hold is not None:
            self.hold.wake()


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A caller whose generation was accepted: all that is kept of it while it waits."""

    generation_id: str
    dialect: Dialect
    caller: CallerClass
    schedule: Schedule
    headers: Headers
    base_url: str
    """Where this caller reached us; links are made of it."""
    waiting: _Waiting
    joins: bool
    """Whether a repeat that says it is one would join: then a late failure may be told by breaking off."""
    later_at: float | None = None
    """Loop time, seconds, at which the status is told instead of the answer; None: the caller is held."""

    @property
    def is_native(self) -> bool:
        """Whether the caller is told the resource, however it ended."""
        return self.dialect.request.surface is Surface.GENERATIONS

    def head(self) -> Headers:
        """The headers of an early 200."""
        return [(b"content-type", self.dialect.content_type), *self.headers]

    def note_commit(self) -> None:
        """Record that the status is spent."""
        emit("beat.committed", generation_id=self.generation_id, caller=self.caller.name)


class Generator:
    """Serves generation POSTs."""

    def __init__(
        self, *, engine: Engine, settings: Settings, clock: Clock, wheel: BeatWheel, links: LinkMaker, root: Path
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._clock = clock
        self._wheel = wheel
        self._links = links
        self._root = root
        self._held: dict[str, list[_Waiting]] = {}
        """By generation: repeats that joined wait beside whom they repeat."""

    async def accept(self, call: Call, key: KeyRow, asked: Asked) -> Held:
        """Accept one POST durably, and begin.

        What was asked ends with this call: `hold` knows nothing of it, so no prompt is in memory while a caller waits.

        Raises:
            RequestError: Refused before it was accepted: nothing was paid.
        """
        if asked.route.tls_required and effective_scheme(call, self._links.trusted) != "https":
            raise RequestError(
                f"The model {asked.route.model} is served over HTTPS only (routes.tls_required).",
                code="tls_required",
                status=403,
            )
        caller = classify(call.headers)
        preferences = parse_prefer(call.headers.get("prefer"))
        later_s = preferences.later_on(asked.request.surface)
        applied = preferences.applied if later_s is None else preferences.later_applied
        join = strictest(Join(key.join_mode), asked.route.join, self._settings.joining.join)
        submission = _submission(call, key, asked, join=join, is_strict=preferences.is_strict)
        has_previews = asked.request.partial_images and asked.request.stream and later_s is None
        waiting = _Waiting(previews=deque() if has_previews else None)
        entered = await self._enter(call, submission, waiting)
        generation_id = entered.generation_id
        assert generation_id is not None
        held = Held(
            generation_id=generation_id,
            dialect=dialect_for(asked.request, self._root),
            caller=caller,
            schedule=schedule_for(caller, self._settings.heartbeat, asked_beat_s=preferences.heartbeat_s)
            if later_s is None
            else SILENT,
            headers=_headers(generation_id, applied, asked.ignored, is_replay=entered.answer is Answer.REPLAY),
            base_url=self._links.base_of(call),
            waiting=waiting,
            joins=would_join(
                submission.claim,
                join=join,
                counts_retries=caller.counts_retries,
                window_s=self._settings.joining.window_s,
            ),
            later_at=None if later_s is None else call.received_at + later_s,
        )
        # From here on the store keeps what was asked; the caller waits with nothing but this.
        call.headers = {}
        return held

    async def _enter(self, call: Call, submission: Submission, waiting: _Waiting) -> Entered:
        try:
            entered = await self._engine.enter(submission, waiting)
            if entered.twin_ids:
                await self._fate_of(entered.twin_ids)
                if call.has_left:
                    # Nothing was bought, and nobody would take it.
                    raise CallerLeft
                entered = await self._engine.enter(submission, waiting, asks_twins=False)
        except StorageError as exc:
            emit("storage.failed", level="error", message=str(exc))
            raise storage_low("does not take this request") from exc
        return entered

    async def _fate_of(self, generation_ids: Sequence[str]) -> None:
        """Find out whether those who seem to wait for generations are still there; a while is all that it may take.

        A departure without a word is seen by the next thing that is sent: a beat, ahead of its time.
        """
        asked = [each for id_ in generation_ids for each in self._held.get(id_, ())]
        for waiting in asked:
            if waiting.hold is not None:
                waiting.hold.beat_now()
        for _ in range(round(TWIN_WAIT_S / TWIN_POLL_S)):
            held = [each for id_ in generation_ids for each in self._held.get(id_, ())]
            # Whoever has left is waited for until that is noted; one is enough.
            if len(held) < len(asked) or all(each.hold is None or each.hold.is_there for each in held):
                return
            await asyncio.sleep(TWIN_POLL_S)

    async def hold(self, call: Call, held: Held) -> None:
        """Keep the caller's connection alive until its generation has ended, then answer."""
        id_ = held.generation_id
        self._held.setdefault(id_, []).append(held.waiting)
        alarm = None
        if held.later_at is not None:
            alarm = asyncio.get_running_loop().call_at(held.later_at, held.waiting.fall_due)
        try:
            await self._hold(call, held)
        finally:
            if alarm is not None:
                alarm.cancel()
            waiting = self._held[id_]
            waiting.remove(held.waiting)
            if not waiting:
                del self._held[id_]
            self._engine.unwatch(id_, held.waiting)
            # Last: an answer that arrived is noted by now, and a repeat does not take it for one that did not.
            self._engine.left(id_)

    def release(self) -> None:
        """End every wait: each caller is told, in its own way, that nobody knows yet how its generation ends.

        A body that just broke off would be repeated by some SDKs, and the image bought again.
        """
        for waiting in [each for several in self._held.values() for each in several]:
            if not waiting.ended:
                waiting(Ended())

    async def _hold(self, call: Call, held: Held) -> None:
        waiting = held.waiting
        with Hold(call, self._wheel, held.schedule, head=held.head, on_commit=held.note_commit) as hold:
            waiting.hold = hold
            while not waiting.ended and not waiting.is_due and not hold.left:
                if waiting.previews:
                    await self._preview(call, held.dialect, waiting.previews.popleft(), hold)
                else:
                    await hold.sleep()
            hold.quiet()
            if hold.left:
                emit("caller.left", generation_id=held.generation_id, held=hold.committed)
                return
            record = waiting.record or await self._engine.record(held.generation_id)
            assert record is not None, "a generation is never forgotten while it is held"
            # A body is not a beat: a reader that pauses inside 27 MB is alive (http-contract §7).
            call.protocol.set_user_timeout(self._settings.server.body_stall_s)
            if held.later_at is not None and (held.is_native or not State(record.generation.state).is_final):
                with_image = await self._tell_status(call, record, held)
            elif hold.committed:
                with_image = await self._answer_late(call, record, held)
            else:
                with_image = await self._answer(call, record, held)
            is_told = held.later_at is not None or State(record.generation.state).is_final
        await self._confirm(call, held.generation_id, with_image=with_image, is_told=is_told)

    async def _preview(self, call: Call, dialect: Dialect, preview: PartialImage, hold: Hold) -> None:
        template = dialect.partial(preview.index, preview.info, int(self._clock.now().timestamp()))
        if template is None or hold.stays_silent:
            return
        try:
            # Before the event's first byte: the attempt may be settled, and its spool emptied, while a slow reader
            # takes that in, and an event without its image would have to be broken off.
            pieces = FilePieces(preview.path)
        except FileNotFoundError:
            # Settled already: the image itself is what this caller gets next.
            return
        with pieces:
            hold.commit()
            if not hold.committed:
                return
            server, beats = self._settings.server, self._settings.heartbeat
            call.protocol.set_user_timeout(server.body_stall_s)
            # A beat inside an event's data would be part of it.
            with hold.paused():
                await write_parts(call, template, {0: pieces})
            call.protocol.set_user_timeout(beats.caller_dead_s)

    async def _answer(self, call: Call, record: Record, held: Held) -> bool:
        """Answer with the true status and the length."""
        told = _told(record)
        if told is None:
            rendered = held.dialect.success(record, self._links.at(held.base_url))
        else:
            rendered = held.dialect.failure(record, told)
        headers = [
            *held.headers,
            *rendered.headers,
            (b"server-timing", _server_timing(record, self._clock.now())),
            *_served_by(record),
        ]
        await _start(call, rendered, headers)
        await write_parts(call, rendered.template, rendered.files)
        return told is None and rendered.has_images

    async def _tell_status(self, call: Call, record: Record, held: Held) -> bool:
        """Answer with the generation as it stands: 202 while it is open, and where to ask for the rest."""
        is_open = not State(record.generation.state).is_final
        body = render_generation(resource_of(record, self._links.at(held.base_url), self._settings, self._clock))
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *held.headers]
        if is_open:
            latency = prior(Tier(record.generation.tier), scale=self._settings.latency.scale)
            headers.append((b"retry-after", b"%d" % latency.poll_after_s))
        await call.start(202 if is_open else 200, headers)
        await call.write(body)
        return False

    async def _answer_late(self, call: Call, record: Record, held: Held) -> bool:
        """Answer inside the 200 that the first beat committed."""
        told = _told(record)
        if told is not None:
            # Over HTTP/1.0 a body that breaks off looks like one that ends.
            form = late_form(held.caller, joins=held.joins and call.http_version != "1.0")
            if form is LateFailure.ABORT and not held.dialect.is_stream:
                # Its SDK repeats by itself, and its repeat joins: that one is told the true status.
                call.break_off()
                return False
            await write_parts(call, held.dialect.late_failure(record, told, form), {})
            return False
        rendered = held.dialect.success(record, self._links.at(held.base_url))
        await write_parts(call, rendered.template, rendered.files)
        return rendered.has_images

    async def _confirm(self, call: Call, generation_id: str, *, with_image: bool, is_told: bool) -> None:
        """End the answer, and note whether it arrived; that nobody knows the end yet is no answer to note."""
        if call.has_left:
            emit("caller.left", generation_id=generation_id, held=True)
            return
        arrived = await finish_and_confirm(call, within_s=self._settings.server.body_stall_s)
        if arrived:
            if is_told:
                await self._engine.answered(generation_id, with_image=with_image)
        else:
            emit("caller.left", generation_id=generation_id, held=True)


def _told(record: Record) -> Told | None:
    """What a caller is told instead of images, if anything; a wait that ended before its generation is no success."""
    row = record.generation
    return NOT_AWAITED if row.told is None and row.state != State.SUCCEEDED else row.told


async def _start(call: Call, rendered: Rendered, headers: Headers) -> None:
    length = length_of(rendered.template, rendered.sizes)
    await call.start(
        rendered.status,
        [(b"content-type", rendered.content_type), (b"content-length", b"%d" % length), *headers],
    )


def _submission(call: Call, key: KeyRow, asked: Asked, *, join: Join, is_strict: bool) -> Submission:
    end_user = call.headers.get("holdfast-end-user")
    # A blank is no name: all who leave it out would be one person.
    names_end_user = bool((end_user or "").strip() or (asked.request.end_user or "").strip())
    return Submission(
        key_id=key.id,
        request=asked.request,
        asked_s=asked_timeout_s(call.headers),
        traceparent=call.headers.get("traceparent"),
        claim=claim_of(call.headers, join=join, names_end_user=names_end_user, is_strict=is_strict),
        fingerprint=fingerprint(
            key_id=key.id,
            path=call.path,
            skeleton=asked.skeleton,
            inputs=[image.sha256 for image in asked.request.inputs],
            end_user=end_user,
        ),
    )


def _headers(generation_id: str, applied: tuple[str, ...], ignored: tuple[str, ...], *, is_replay: bool) -> Headers:
    headers: Headers = [
        (b"generation-id", generation_id.encode()),
        (b"location", f"/v1/generations/{generation_id}".encode()),
        (b"cache-control", b"no-store, no-transform"),
        (b"x-accel-buffering", b"no"),
    ]
    if is_replay:
        headers.append((b"idempotency-replayed", b"true"))
    if applied:
        headers.append((b"preference-applied", ", ".join(applied).encode()))
    if ignored:
        headers.append((b"holdfast-ignored", _visible(", ".join(ignored))))
    return headers


def _visible(text: str) -> bytes:
    """Field names are a caller's words; only visible ASCII goes into a header."""
    if not (text.isascii() and text.isprintable()):
        text = "".join(char if " " <= char <= "~" else "?" for char in text)
    return text[:1000].encode()


def _served_by(record: Record) -> Headers:
    results = record.results
    if not results:
        return []
    attempt = record.attempt_of(results[0])
    return [(b"holdfast-served-by", _visible(f"{attempt.upstream}/{attempt.model}"))]


def _server_timing(record: Record, now: datetime) -> bytes:
    """Milliseconds in the queue, at the upstream, on our disk, and from there to this first byte.

    An attempt that ended without an answer leaves no moment at which it was received: all of its time is the
    upstream's.
    """
    row = record.generation
    created = from_rfc3339(row.created_at)
    finished = from_rfc3339(row.finished_at) if row.finished_at else now
    started = from_rfc3339(row.started_at) if row.started_at else finished
    received = max((from_rfc3339(each.received_at) for each in record.attempts if each.received_at), default=finished)
    # Whoever was told at his deadline did not wait for what came later.
    received = min(received, finished)
    return b"queue;dur=%.0f, upstream;dur=%.0f, store;dur=%.0f, send;dur=%.0f" % (
        _milliseconds(started - created),
        _milliseconds(received - started),
        _milliseconds(finished - received),
        _milliseconds(now - finished),
    )


def _milliseconds(span: timedelta) -> float:
    """Not less than nothing: the wall clock may have been set back in between."""
    return max(0.0, span / _MILLISECOND)
