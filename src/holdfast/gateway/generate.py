"""One POST, one generation: accept, hold, answer. Every surface goes through here."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from holdfast.clock import Clock, from_rfc3339
from holdfast.config import Join, Settings
from holdfast.engine.ending import DEADLINE_EXCEEDED
from holdfast.engine.engine import Engine
from holdfast.engine.latencies import Latencies
from holdfast.engine.submit import Submission
from holdfast.engine.watchers import PartialImage
from holdfast.errors import RequestError, StorageError
from holdfast.gateway.answer import FilePieces, write_parts
from holdfast.gateway.asked import Asked
from holdfast.gateway.beats import BeatWheel
from holdfast.gateway.between import Between
from holdfast.gateway.call import Call, CallerLeft, Headers, effective_scheme
from holdfast.gateway.delivery import finish_and_confirm
from holdfast.gateway.dialects import Dialect, Rendered, dialect_for
from holdfast.gateway.fitting import check_fits, check_scopes
from holdfast.gateway.generations import resource_of
from holdfast.gateway.heads import generation_headers, served_by, server_timing
from holdfast.gateway.held import Held, Waiting
from holdfast.gateway.hold import Hold
from holdfast.gateway.images import Images
from holdfast.gateway.links import LinkMaker, Onward
from holdfast.generation import State
from holdfast.log import emit
from holdfast.policy.access import with_purchases
from holdfast.policy.admission import storage_low
from holdfast.policy.callers import CallerClass, LateFailure, classify, late_form
from holdfast.policy.deadlines import CALLER_S_MAX, attempt_timeout_s, generation_s
from holdfast.policy.fingerprint import fingerprint
from holdfast.policy.heartbeats import SILENT, Schedule, schedule_for
from holdfast.policy.hops import Hop, holds_by_redirects, hop_for
from holdfast.policy.joining import (
    TWIN_BEAT_S,
    TWIN_BEATS,
    TWIN_WAIT_S,
    Answer,
    claim_of,
    refusal,
    strictest,
    would_join,
)
from holdfast.policy.prefer import Preferences, asked_timeout_s, parse_prefer
from holdfast.policy.prices import priced_by
from holdfast.policy.wishes import as_wished
from holdfast.store.joining import Entered
from holdfast.store.records import KeyRow, Record, Told
from holdfast.types import Charge, Request, Tier, worst_charge
from holdfast.wire.generations import render_generation
from holdfast.wire.template import length_of
from holdfast.wire.trace_context import clean_traceparent

TWIN_POLL_S = 0.02
NOT_AWAITED = Told(
    code="outcome_unknown",
    message="The gateway ended its wait before it knew how this generation ends; ask for it later, by its id.",
    charge=Charge.UNKNOWN,
)
"""Told where the record has no end: the gateway is stopped, or its disk does not take what it has to write."""
OUT_OF_TIME = replace(
    DEADLINE_EXCEEDED,
    message="The time that this call gave was over before an image arrived. The generation that it joined goes on; ask "
    "for it later, by its id.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """How a caller is held."""

    schedule: Schedule
    applied: tuple[str, ...]
    hop: Hop | None = None


class Generator:
    """Serves generation POSTs."""

    def __init__(
        self,
        *,
        engine: Engine,
        settings: Settings,
        latencies: Latencies,
        clock: Clock,
        wheel: BeatWheel,
        links: LinkMaker,
        root: Path,
        images: Images,
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._latencies = latencies
        self._clock = clock
        self._wheel = wheel
        self._links = links
        self._root = root
        self._images = images
        self._held: dict[str, list[Waiting]] = {}
        """By generation: repeats that joined wait beside whom they repeat."""
        self.quotas = engine.quotas
        """What the limits of keys are held against."""
        self._between = Between(engine.left)
        self.fate_elsewhere: Callable[[Sequence[str]], Awaitable[None]] | None = None
        """Asks other processes for those who wait there; None: there are none."""

    def renew(self, settings: Settings) -> None:
        """Serve by other settings from now on; whoever is held is held as it was said."""
        self._settings = settings

    async def accept(self, call: Call, key: KeyRow, asked: Asked) -> Held:
        """Accept one POST durably, and begin.

        What was asked ends with this call: `hold` knows nothing of it, so no prompt is in memory while a caller waits.

        Raises:
            RequestError: Refused before it was accepted: nothing was paid.
        """
        held = await self._begin(call, key, asked, may_buy=True)
        assert held is not None, "whoever may buy has bought"
        return held

    async def repeat(self, call: Call, key: KeyRow, asked: Asked) -> Held | None:
        """Join what a POST repeats, before its images are fetched; None if that is nothing, or is to be bought again.

        Args:
            call: The POST.
            key: Whose it is.
            asked: What it says, with those images only that came along: a repeat is recognised by the addresses.

        Raises:
            RequestError: As `accept`; also where nothing may be bought now.
        """
        return await self._begin(call, key, asked, may_buy=False)

    async def _begin(self, call: Call, key: KeyRow, asked: Asked, *, may_buy: bool) -> Held | None:
        if asked.route.tls_required and effective_scheme(call, self._links.trusted) != "https":
            raise RequestError(
                f"The model {asked.route.model} is served over HTTPS only (routes.tls_required).",
                code="tls_required",
                status=403,
            )
        check_scopes(key, asked)
        check_fits(as_wished(asked.request, call.headers), asked.route, self._settings)
        caller = classify(call.headers)
        preferences = parse_prefer(call.headers.get("prefer"))
        later_s = preferences.later_on(asked.request.surface)
        join = strictest(Join(key.join_mode), asked.route.join, self._settings.joining.join)
        submission = _submission(
            call, key, asked, join=join, is_strict=preferences.is_strict, only_awaited=later_s is None
        )
        has_previews = asked.request.partial_images and asked.request.stream and later_s is None
        waiting = Waiting(previews=deque() if has_previews else None)
        entered = await self._enter(call, submission, waiting, may_buy=may_buy)
        generation_id = entered.generation_id
        if generation_id is None:
            return None
        is_replay, has_joined = entered.answer is Answer.REPLAY, entered.answer is Answer.JOIN
        way = self._way_of(call, asked, preferences, caller, submission.asked_s)
        held = Held(
            generation_id=generation_id,
            dialect=dialect_for(asked.request, self._root),
            caller=caller,
            schedule=way.schedule,
            headers=generation_headers(generation_id, way.applied, asked.ignored, is_replay=is_replay),
            ignored_elsewhere=asked.ignored_elsewhere,
            base_url=self._links.base_of(call),
            path=call.path,
            waiting=waiting,
            joins=would_join(
                submission.claim,
                join=join,
                counts_retries=caller.counts_retries,
                window_s=self._settings.joining.window_s,
            ),
            later_at=None if later_s is None else call.received_at + later_s,
            outlasts=has_joined and later_s is None,
            # Whose generation it is, is told by the engine, which ends it.
            budget_at=call.received_at + submission.asked_s if has_joined and submission.asked_s is not None else None,
            hop=way.hop,
            hop_at=_hop_at(call, way.hop),
            may_be_gone=is_replay,
        )
        # From here on the store keeps what was asked; the caller waits with nothing but this.
        call.headers = {}
        return held

    def _way_of(
        self, call: Call, asked: Asked, preferences: Preferences, caller: CallerClass, asked_s: float | None
    ) -> _Way:
        """Choose how a caller is held, and what of its wishes is honoured by that."""
        beats = self._settings.heartbeat
        if preferences.later_on(asked.request.surface) is not None:
            return _Way(schedule=SILENT, applied=preferences.later_applied)
        is_redirected = holds_by_redirects(preferences, route=asked.route.hold, gateway=beats.hold)
        if asked.request.stream or not is_redirected:
            # Whoever reads a stream is told by it; nothing else is a stream.
            schedule = schedule_for(caller, beats, asked_beat_s=preferences.heartbeat_s)
            return _Way(schedule=schedule, applied=preferences.applied)
        hop = hop_for(caller, beats, longest_s=self._longest_s(asked.route.model, asked.request.geometry.tier, asked_s))
        schedule = hop.schedule(schedule_for(caller, beats))
        return _Way(schedule=schedule, applied=preferences.redirected_applied, hop=hop)

    def _longest_s(self, model: str, tier: Tier, asked_s: float | None) -> float:
        deadlines = self._settings.deadlines
        if asked_s is not None:
            return generation_s(tier, deadlines, asked_s=asked_s)
        p99_s = self._latencies.attempt_p99_s(model=model, tier=tier)
        slowness = self._latencies.slowness(model=model, tier=tier)
        return generation_s(tier, deadlines, slowness=slowness) + attempt_timeout_s(tier, deadlines, p99_s=p99_s)

    def resumed(self, call: Call, record: Record, onward: Onward) -> Held:
        """Prepare to go on holding a caller who was sent on, until its generation has ended or it is sent on again.

        Raises:
            RequestError: What was asked is gone, with its images.
        """
        row, beats = record.generation, self._settings.heartbeat
        if row.request is None:
            raise refusal(Answer.EXPIRED, row.id)
        caller, tier = classify(call.headers), Tier(row.tier)
        budget_s = (from_rfc3339(row.deadline_at) - from_rfc3339(row.created_at)).total_seconds()
        longest_s = self._longest_s(row.model, tier, min(budget_s, CALLER_S_MAX) if row.hard_deadline else None)
        hop = hop_for(caller, beats, longest_s=longest_s, number=onward.hop)
        left_s = None if onward.until is None else onward.until / 1000 - self._clock.now().timestamp()
        held = Held(
            generation_id=row.id,
            dialect=dialect_for(msgspec.json.decode(row.request, type=Request), self._root),
            caller=caller,
            schedule=hop.schedule(schedule_for(caller, beats)),
            headers=generation_headers(row.id, parse_prefer("hold=redirects").redirected_applied),
            base_url=self._links.base_of(call),
            path=call.path,
            waiting=Waiting(),
            # Its repeat is the POST, of which nothing is known here.
            joins=False,
            outlasts=left_s is not None,
            budget_at=None if left_s is None else call.received_at + max(0.0, left_s),
            hop=hop,
            hop_at=_hop_at(call, hop),
            may_be_gone=True,
            is_back=True,
        )
        call.headers = {}
        return held

    async def _enter(self, call: Call, submission: Submission, waiting: Waiting, *, may_buy: bool) -> Entered:
        try:
            # Who seems to wait for the same is asked when something is bought.
            entered = await self._engine.enter(submission, waiting, asks_twins=may_buy, may_buy=may_buy)
            if entered.twin_ids:
                await self._fate_of(entered.twin_ids)
                strangers = [id_ for id_ in entered.twin_ids if not self._knows(id_)]
                if strangers and self.fate_elsewhere is not None and not call.has_left:
                    await self.fate_elsewhere(strangers)
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

        A departure without a word is seen by what is sent next: beats, ahead of their time.
        """
        count = sum(len(self._held.get(id_, ())) for id_ in generation_ids) + self._between_of(generation_ids)
        polls_a_beat = round(TWIN_BEAT_S / TWIN_POLL_S)
        for poll in range(round(TWIN_WAIT_S / TWIN_POLL_S)):
            held = [each for id_ in generation_ids for each in self._held.get(id_, ())]
            beats, since_the_last = divmod(poll, polls_a_beat)
            if not since_the_last and beats < TWIN_BEATS:
                for waiting in held:
                    if waiting.hold is not None:
                        waiting.hold.beat_now()
            # Whoever was sent on is there once he comes back; if he does not, that is noted before this time is over.
            between = self._between_of(generation_ids)
            # Whoever has left is waited for until that is noted; one is enough.
            if len(held) + between < count:
                return
            is_asked = beats >= TWIN_BEATS or not any(
                each.hold is not None and not each.hold.stays_silent for each in held
            )
            if is_asked and not between and all(each.hold is None or each.hold.is_there for each in held):
                return
            await asyncio.sleep(TWIN_POLL_S)

    def asked_after(self, generation_id: str) -> None:
        """Find out whether those who wait here for a generation are still there: its repeat came to another process."""
        if self._knows(generation_id):
            self._engine.spawn(self._fate_of([generation_id]), f"twin:{generation_id}")

    def _knows(self, id_: str) -> bool:
        return id_ in self._held or bool(self._between.count(id_))

    def _between_of(self, generation_ids: Sequence[str]) -> int:
        return sum(self._between.count(id_) for id_ in generation_ids)

    async def hold(self, call: Call, held: Held) -> None:
        """Keep the caller's connection alive until its generation has ended, then answer."""
        # No context managers of ours: thousands are in here at once, and each of those is a frame more.
        id_, waiting = held.generation_id, held.waiting
        self._held.setdefault(id_, []).append(waiting)
        alarms = held.alarms()
        try:
            if held.is_back:
                await self._welcome(held)
            await self._hold(call, held)
        finally:
            for alarm in alarms:
                alarm.cancel()
            together = self._held[id_]
            together.remove(waiting)
            if not together:
                del self._held[id_]
            self._engine.unwatch(id_, waiting)
            if waiting.is_sent_on:
                self._between.went(id_)
            else:
                # Last: an answer that arrived is noted by now, and a repeat does not take it for one that did not.
                self._engine.left(id_)

    async def _welcome(self, held: Held) -> None:
        """Let a caller wait on who was sent on; it has not left, unless it took too long."""
        id_ = held.generation_id
        # It is on its way until it is told: a drain that waits for nobody else would tell it of no end.
        await self._engine.rejoin(id_, held.waiting, awaits_late=held.outlasts)
        if not self._between.came(id_):
            await self._engine.came_back(id_)

    @property
    def is_waited_for(self) -> bool:
        """Whether somebody is still to be told an end."""
        return any(not each.ended for several in self._held.values() for each in several)

    async def all_back(self) -> None:
        """Wait until nobody is on the way from one redirect to the next; who does not come back has left."""
        await self._between.idle.wait()

    def release(self) -> None:
        """End every wait: each caller is told, in its own way, that nobody knows yet how its generation ends.

        A body that just broke off would be repeated by some SDKs, and the image bought again.
        """
        for waiting in [each for several in self._held.values() for each in several]:
            waiting.release()
        self._between.close()

    async def _hold(self, call: Call, held: Held) -> None:
        waiting = held.waiting
        with Hold(call, self._wheel, held.schedule, head=held.head, on_commit=held.note_commit) as hold:
            waiting.hold = hold
            record = await self._awaited(call, held, hold)
            if record is not None and not self._images.is_local:
                await self._images.bring(record)
            hold.quiet()
            told_at = asyncio.get_running_loop().time()
            if record is None:
                emit("caller.left", generation_id=held.generation_id, held=hold.committed)
                return
            is_sent_on = held.is_sent_on_with(record)
            if not is_sent_on:
                with_image, is_told = await self._tell(call, record, held, is_late=hold.committed)
        if is_sent_on:
            await self._send_on(call, held)
        else:
            await self._confirm(call, record, told_at, with_image=with_image, is_told=is_told)

    async def _tell(self, call: Call, record: Record, held: Held, *, is_late: bool) -> tuple[bool, bool]:
        """Write all but the end of the answer; say whether there are image bytes in it, and whether it tells an end."""
        waiting = held.waiting
        # A body is not a beat: a reader that pauses inside 27 MB is alive (http-contract §7).
        call.protocol.set_user_timeout(self._settings.server.body_stall_s)
        is_final = State(record.generation.state).is_final
        told = _told(record, is_out=waiting.is_out)
        if held.later_at is not None and (held.is_native or (not is_final and not waiting.is_out)):
            with_image = await self._tell_status(call, record, held)
        elif is_late:
            with_image = await self._answer_late(call, record, held, told)
        else:
            with_image = await self._answer(call, record, held, told)
        return with_image, is_final or (held.later_at is not None and not waiting.is_out)

    async def _awaited(self, call: Call, held: Held, hold: Hold) -> Record | None:
        """Wait until there is something to tell; give the generation as it stands then, None if its caller left."""
        waiting, id_ = held.waiting, held.generation_id
        while True:
            while not waiting.is_over and not hold.left:
                if waiting.previews:
                    await self._preview(call, held.dialect, waiting.previews.popleft(), hold)
                else:
                    await hold.sleep()
            if hold.left:
                return None
            record = waiting.record or await self._engine.record(id_)
            assert record is not None, "a generation is never forgotten while it is held"
            if waiting.is_due or waiting.is_out or waiting.is_released or not held.outlives(record):
                return record
            waiting.go_on()
            await self._engine.rejoin(id_, waiting, awaits_late=True)

    async def _send_on(self, call: Call, held: Held) -> None:
        """Answer with a redirect to where this caller goes on waiting, before its path loses patience."""
        assert held.hop is not None
        until = None
        if held.outlasts:
            left_s = CALLER_S_MAX if held.budget_at is None else held.budget_at - asyncio.get_running_loop().time()
            until = round(1000 * (self._clock.now().timestamp() + left_s))
        onward = Onward(generation_id=held.generation_id, hop=held.hop.number + 1, until=until)
        location = self._links.onward(onward, from_path=held.path).encode()
        headers = [(name, location if name == b"location" else value) for name, value in held.headers]
        await call.start(303, [*headers, (b"content-length", b"0")])
        await call.finish()
        held.waiting.is_sent_on = not call.has_left
        emit("caller.sent_on", generation_id=held.generation_id, hop=onward.hop)

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

    async def _answer(self, call: Call, record: Record, held: Held, told: Told | None) -> bool:
        """Answer with the true status and the length.

        Raises:
            RequestError: 410 `image_expired`: it has been deleted in this moment; 503: what keeps it does not answer.
        """
        if told is None:
            rendered = held.dialect.success(record, self._links.at(held.base_url))
        else:
            rendered = held.dialect.failure(record, told)
        headers = [
            *(held.headers if told is not None else held.headers_with(record)),
            *rendered.headers,
            (b"server-timing", server_timing(record, self._clock.now())),
            *served_by(record),
        ]
        with contextlib.ExitStack() as stack:
            # Where its length is told, it must be there: what is old may be deleted between two lines of this.
            opens = told is None and (held.may_be_gone or not self._images.is_local)
            files = await self._opened(stack, record, rendered) if opens else rendered.files
            await _start(call, rendered, headers)
            await write_parts(call, rendered.template, files)
        return told is None and rendered.has_images

    async def _tell_status(self, call: Call, record: Record, held: Held) -> bool:
        """Answer with the generation as it stands: 202 while it is open, and where to ask for the rest."""
        is_open = not State(record.generation.state).is_final
        in_line = self._engine.in_line(held.generation_id)
        links = self._links.at(held.base_url)
        resource = resource_of(record, links, self._latencies, self._clock, in_line=in_line)
        body = render_generation(resource)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *held.headers]
        if is_open:
            row = record.generation
            latency = self._latencies.expect(model=row.model, tier=Tier(row.tier))
            headers.append((b"retry-after", b"%d" % latency.poll_after_s))
        await call.start(202 if is_open else 200, headers)
        await call.write(body)
        return False

    async def _answer_late(self, call: Call, record: Record, held: Held, told: Told | None) -> bool:
        """Answer inside the 200 that the first beat committed."""
        if told is not None:
            # Over HTTP/1.0 a body that breaks off looks like one that ends.
            # And whose own time is over while others wait on: its repeat would be given that time once more.
            would_be_told = held.joins and not held.waiting.is_out and call.http_version != "1.0"
            form = late_form(held.caller, joins=would_be_told)
            if form is LateFailure.ABORT and not held.dialect.is_stream:
                # Its SDK repeats by itself, and its repeat joins: that one is told the true status. Some hops make a
                # clean end of what breaks off (Caddy 2.6 does): there the words are what its SDK reads, and raises.
                await write_parts(call, held.dialect.late_failure(record, told, LateFailure.TEXT), {})
                call.break_off()
                return False
            await write_parts(call, held.dialect.late_failure(record, told, form), {})
            return False
        rendered = held.dialect.success(record, self._links.at(held.base_url))
        with contextlib.ExitStack() as stack:
            files = rendered.files if self._images.is_local else await self._opened(stack, record, rendered)
            await write_parts(call, rendered.template, files)
        return rendered.has_images

    async def _opened(self, stack: contextlib.ExitStack, record: Record, rendered: Rendered) -> dict[int, FilePieces]:
        """Open every image before a byte is said of them.

        Raises:
            RequestError: 410 `image_expired`: one is gone; 503: what keeps it does not answer.
        """
        expired = refusal(Answer.EXPIRED, record.generation.id)
        if any(blob.state != "stored" for blob in record.results):
            raise expired
        try:
            return await self._images.open_all(stack, rendered.blobs.items())
        except FileNotFoundError as exc:
            raise expired from exc

    async def _confirm(self, call: Call, record: Record, told_at: float, *, with_image: bool, is_told: bool) -> None:
        """End the answer, and note whether it arrived; that nobody knows the end yet is no answer to note."""
        generation_id = record.generation.id
        if call.has_left:
            emit("caller.left", generation_id=generation_id, held=True)
            return
        arrived = await finish_and_confirm(call, within_s=self._settings.server.body_stall_s)
        if arrived:
            if is_told:
                await self._engine.answered(
                    generation_id,
                    with_image=with_image,
                    images=len(record.results),
                    sent_s=round(asyncio.get_running_loop().time() - told_at, 3),
                    traceparent=record.generation.traceparent,
                )
        else:
            emit("caller.left", generation_id=generation_id, held=True)


def _hop_at(call: Call, hop: Hop | None) -> float | None:
    """When it is sent on: counted from the head of its request, as its path counts."""
    return None if hop is None or hop.is_last else call.received_at + hop.hop_s


def _told(record: Record, *, is_out: bool) -> Told | None:
    """What a caller is told instead of images, if anything; a wait that ended before its generation is no success."""
    row = record.generation
    if is_out and not State(row.state).is_final:
        return replace(OUT_OF_TIME, charge=worst_charge(Charge(attempt.charge) for attempt in record.attempts))
    return NOT_AWAITED if row.told is None and row.state != State.SUCCEEDED else row.told


async def _start(call: Call, rendered: Rendered, headers: Headers) -> None:
    length = length_of(rendered.template, rendered.sizes)
    await call.start(
        rendered.status,
        [(b"content-type", rendered.content_type), (b"content-length", b"%d" % length), *headers],
    )


def _submission(
    call: Call, key: KeyRow, asked: Asked, *, join: Join, is_strict: bool, only_awaited: bool
) -> Submission:
    end_user = call.headers.get("holdfast-end-user")
    # A blank is no name: all who leave it out would be one person.
    names_end_user = bool((end_user or "").strip() or (asked.request.end_user or "").strip())
    return Submission(
        key_id=key.id,
        request=priced_by(key.tariff, with_purchases(as_wished(asked.request, call.headers), key.purchases_max)),
        limits=key.limits,
        asked_s=asked_timeout_s(call.headers),
        traceparent=clean_traceparent(call.headers.get("traceparent")),
        webhook=asked.webhook,
        claim=claim_of(call.headers, join=join, names_end_user=names_end_user, is_strict=is_strict),
        fingerprint=fingerprint(
            key_id=key.id,
            path=call.path,
            skeleton=asked.skeleton,
            inputs=[image.sha256 for image in (asked.request.inputs if asked.came_along is None else asked.came_along)],
            end_user=end_user,
        ),
        only_awaited=only_awaited,
    )
