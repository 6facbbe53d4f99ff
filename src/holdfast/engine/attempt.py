"""One attempt of one part: send commit, exchanges, judgement; the settle commit is `engine.settle`'s.

Most upstreams answer with the image. One that is polled answers with a handle, which is committed at once: from then on
it is asked until the attempt's time is over, by this process or the next one (`resume`), and nothing is bought again.

An attempt belongs to the engine, not to the caller: whoever leaves, it goes on. It is a task of its own, and what it
keeps while it waits is this frame, the transport's, and the conversation.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from holdfast import faults
from holdfast.clock import from_rfc3339
from holdfast.engine.core import Core, Live, Tried
from holdfast.engine.course import Target, request_at
from holdfast.engine.granting import begun_unheard, grant_of
from holdfast.engine.latencies import LearntAs
from holdfast.engine.patience import patiently
from holdfast.engine.pauses import Pauses
from holdfast.engine.spooling import SpoolSink
from holdfast.engine.traced import traced
from holdfast.engine.watchers import PartialImage
from holdfast.errors import StorageError
from holdfast.log import emit
from holdfast.money import times
from holdfast.policy.deadlines import attempt_timeouts
from holdfast.policy.mishaps import CLAIM_LOST, failure_by, never_answered, never_ended, reason_of, results_of_torn
from holdfast.providers.conversation import (
    Cancellable,
    Conversation,
    Done,
    Failed,
    Fetch,
    Keep,
    Send,
    Step,
    Wait,
    unfinished,
)
from holdfast.providers.registry import conversation_for, draws_drafts, idempotency_key_of, images_per_call
from holdfast.store.attempts import begin_attempt, keep_handle
from holdfast.store.places import Full
from holdfast.store.records import NewAttempt
from holdfast.store.spool import PartialReady, Spooled, SpoolWriter
from holdfast.transport.exchange import Head, NotSent, Sink, Timeouts
from holdfast.types import Failure, FailureKind, Request, Tier
from holdfast.wire.scan import WireError

_OF_ANOTHER = frozenset({401, 403, 404})
"""What a question is answered that is asked with a key which the request was not made with."""
RESUMED_S_MIN = 30.0
"""An attempt that is taken up again is asked for so long at least, whenever it was sent: its image may be there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempted:
    """How an attempt went, before anything of it is settled."""

    new: NewAttempt
    done: Done | None
    failure: Failure | None
    spooled: Spooled | None
    http_status: int | None
    received_at: str | None
    """When the whole answer was in the spool; None where none came."""

    def __post_init__(self) -> None:
        assert (self.done is None) != (self.failure is None), "an attempt either brought images or failed"
        assert self.done is None or self.spooled is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """An attempt that an earlier process sent, and for which the upstream gave a handle."""

    live: Live
    new: NewAttempt
    target: Target
    key: int
    """Which of the target's credentials it was sent with."""
    request: Request
    handle: str
    is_open: bool
    """Whether its generation has not ended."""
    tried: tuple[Tried, ...] = ()
    """What was tried of the same part before."""
    had_second: bool = False
    """Whether it stands beside another one, or one of those before it did."""


def new_attempt(core: Core, live: Live, part: int, at: int, key: int) -> NewAttempt:
    """Make what the send commit writes.

    Args:
        core: The engine's dependencies.
        live: The generation.
        part: Which of its parts.
        at: The entry of its course that it is sent to, by its place.
        key: Which of that upstream's keys, by its place.
    """
    candidate, offer = live.course.candidates[at], live.course.offers.get(at)
    target = candidate.target
    list_micros = live.list_micros if offer is None else offer.list_micros
    return NewAttempt(
        id=core.clock.new_id("att"),
        generation_id=live.id,
        part=part,
        drive=live.drive,
        upstream=target.upstream.name,
        provider=target.upstream.provider.value,
        model=target.model,
        idempotency_key=idempotency_key_of(live.id, part=part, drive=live.drive),
        estimated_micros=times(list_micros, live.images_of(part)),
        owner=core.owner,
        sent_at=core.now_text(),
        key_number=target.number_of(key),
        route=target.route,
        tier=candidate.tier.value,
        list_micros=None if offer is None else offer.list_micros,
        unit_micros=None if offer is None else offer.unit_micros,
    )


async def begin(core: Core, live: Live, part: int, at: int, key: int) -> NewAttempt | Full | None:
    """Make the send commit; None when the generation is no longer to be sent for. See `new_attempt`."""
    new = new_attempt(core, live, part, at, key)
    await faults.point("send.before_commit")
    grant = grant_of(core, live.course.candidates[at].target, key)
    try:
        epoch = await core.store.write(begin_attempt, new, None, grant)
    except (StorageError, OSError) as exc:
        if not core.dispatcher.is_shared:
            raise
        return await begun_unheard(core, new, exc)
    if not isinstance(epoch, int):
        return epoch
    core.followers.notify(live.id)
    return new


async def run(
    core: Core, live: Live, part: int, at: int, key: int, *, queued_s: float | None = None
) -> Attempted | Full | None:
    """Try one part at one entry of its course, with one key; None: nothing was left to do; `Full`: others have it.

    `queued_s` says how long it has waited for its place; for the log.

    Once the send commit is made, it never raises for what an upstream, the network, our own disk or a mistake of ours
    does: that is a `Failure`.
    """
    # As it is now: it may be another one, or gone, when the commit is made.
    target = live.course.candidates[at].target
    new = await begin(core, live, part, at, key)
    if not isinstance(new, NewAttempt):
        return new
    return await carry_out(core, live, new, target, key, queued_s=queued_s)


async def carry_out(
    core: Core, live: Live, new: NewAttempt, target: Target, key: int, *, queued_s: float | None = None
) -> Attempted:
    """Send what is committed, and see it to its end; as `run`, it raises for nothing that comes of it."""
    about = _fields(core, live, new)
    if queued_s is not None:
        about["queued_s"] = round(queued_s, 3)
    emit("attempt.sent", **(about | {"is_second": True} if new.hedge else about))
    talk = _Talk(core, live, new, target, key)
    try:
        await faults.point("send.after_commit")
        refused = await talk.authorise()
        done, failure = await talk.perform(talk.open()) if refused is None else (None, refused)
    except Exception as exc:  # noqa: BLE001 - the border of an attempt: recorded here, told as a failure
        failure = await talk.end_by(exc)
        done = talk.kept()
        failure = failure if done is None else None
    talk.teach(done, failure)
    if failure is not None and failure.kind is FailureKind.CREDENTIAL:
        talk.was_refused()
    return _attempted(new, talk, done, failure)


async def resume(core: Core, resumed: Resumed) -> Attempted:
    """Go on with an attempt from its handle; as `run`, it raises for nothing that an upstream or our disk does."""
    live, new = resumed.live, resumed.new
    emit("attempt.polling", is_resumed=True, **_fields(core, live, new))
    talk = _Talk(core, live, new, resumed.target, resumed.key)
    try:
        await faults.point("handle.before_resume")
        done, failure = await talk.perform(talk.reopen(resumed))
    except Exception as exc:  # noqa: BLE001 - the border of an attempt, as above
        done, failure = None, await talk.end_by(exc)
    return _attempted(new, talk, done, failure)


def _attempted(new: NewAttempt, talk: _Talk, done: Done | None, failure: Failure | None) -> Attempted:
    return Attempted(
        new=new,
        done=done,
        failure=failure,
        spooled=talk.spooled,
        http_status=talk.status,
        received_at=talk.received_at,
    )


def _fields(core: Core, live: Live, new: NewAttempt) -> dict[str, Any]:
    """What a line of the log says of an attempt."""
    return {
        "generation_id": live.id,
        "attempt_id": new.id,
        "key_id": live.key_id,
        "upstream": new.upstream,
        "model": new.model,
        "size": new.tier or live.tier.value,
        "elapsed_s": round(core.clock.monotonic() - live.accepted_at, 4),
        "traceparent": live.traceparent,
    }


def _joined(before: Spooled | None, ended: Spooled) -> Spooled:
    """What has come of an attempt so far: images fetched one by one, and the latest answer."""
    if before is None:
        return ended
    # One that came twice has one place, and is there as it came last.
    images = {image.index: image for image in (*before.images, *ended.images)}
    return Spooled(
        answer=ended.answer,
        images=tuple(images[index] for index in sorted(images)),
        files=tuple(dict.fromkeys((*before.files, *ended.files))),
    )


class _Talk:
    """Performs a conversation's steps."""

    __slots__ = (
        "_began_at",
        "_conversation",
        "_core",
        "_has_handle",
        "_head",
        "_inputs",
        "_is_sent",
        "_key",
        "_live",
        "_new",
        "_other_keys",
        "_pauses",
        "_resumed",
        "_secret",
        "_sink",
        "_target",
        "_tier",
        "_timeouts",
        "_until",
        "_wanted",
        "received_at",
        "spooled",
        "status",
        "took_s",
    )

    def __init__(self, core: Core, live: Live, new: NewAttempt, target: Target, key: int) -> None:
        self._core = core
        self._live = live
        self._new = new
        self._target = target
        self._key = self._secret = target.keys[key]
        self._tier = live.tier if new.tier is None else Tier(new.tier)
        self._conversation: Conversation | None = None
        self._inputs: tuple[Path, ...] = ()
        self._is_sent = False
        self._wanted = live.images_of(new.part)
        self._has_handle = False
        self._until = 0.0
        """Loop time at which the attempt's own time is over."""
        self._began_at: float | None = None
        """Monotonic seconds; None of one that an earlier process sent: nobody asked for a while how it stands."""
        self._pauses: Pauses | None = None
        self._resumed: Resumed | None = None
        self._other_keys: list[str] = []
        """Of one that an earlier process sent, whose keys may have stood in another order: those that it may be known
        by, until the upstream knows it."""
        self._head: Head | None = None
        self._sink: SpoolSink | None = None
        self.spooled: Spooled | None = None
        self.status: int | None = None
        self.received_at: str | None = None
        self.took_s: float | None = None
        """Until the whole answer was in the spool."""

    async def authorise(self) -> Failure | None:
        """Have credential and images made ready, where that takes a while; what keeps them away ends the attempt."""
        made = await self._core.tokens.fresh(self._target.upstream, self._key)
        if isinstance(made, Failure):
            return made
        self._secret = made
        assert self._live.request is not None, "whoever sends a part has read the request"
        self._inputs = await self._core.brought(self._live.request.files)
        return None

    def was_refused(self) -> None:
        """Note that the credential was not taken."""
        self._core.tokens.forget(self._target.upstream, self._key)

    def open(self) -> Step:
        """Begin the conversation; the request itself is let go of when every part has it."""
        live, core = self._live, self._core
        assert live.request is not None, "whoever sends a part has read the request"
        request = request_at(live.request, self._tier)
        input_bytes = sum(image.bytes for image in request.files)
        self._timeouts = self._granted(body_bytes=input_bytes * 4 // 3)
        self._until = asyncio.get_running_loop().time() + self._timeouts.total_s
        self._began_at = core.clock.monotonic()
        self._conversation = self._talk_about(request)
        live.let_go(self._new.part, second=bool(self._new.hedge))
        return self._conversation.start()

    def reopen(self, resumed: Resumed) -> Step:
        """Go on with a request that the upstream has taken: its time is counted from when it was sent."""
        core = self._core
        self._timeouts = self._granted()
        since_s = core.clock.monotonic() - core.monotonic_of(from_rfc3339(self._new.sent_at))
        left_s = max(RESUMED_S_MIN, self._timeouts.total_s - since_s)
        self._until = asyncio.get_running_loop().time() + left_s
        self._is_sent = self._has_handle = True
        self._resumed = resumed
        others = [key for key in self._target.keys if key != self._key]
        # If none of them is known there, it is asked on with the first.
        self._other_keys = [*others, self._key] if others else []
        return self._ask_on(resumed)

    def _ask_on(self, resumed: Resumed) -> Step:
        self._conversation = self._talk_about(request_at(resumed.request, self._tier), handle=resumed.handle)
        return self._conversation.start()

    def _asked_with_another_key(self, head: Head, verdict: Step) -> Step:
        """Ask with the next key where this one is not known to have made the request; the first that is, stays."""
        if head.is_success:
            self._other_keys = []
        elif head.status in _OF_ANOTHER:
            assert self._resumed is not None
            self._key = self._secret = self._other_keys.pop(0)
            return self._ask_on(self._resumed)
        return verdict

    def _granted(self, *, body_bytes: int = 0) -> Timeouts:
        """Give the limits: those that are set, or more, where this upstream was measured to be slower."""
        core, about = self._core, self._learnt_as
        p99_s = core.latencies.attempt_p99_s(**about)
        return attempt_timeouts(about["tier"], core.settings.deadlines, body_bytes=body_bytes, p99_s=p99_s)

    @property
    def _learnt_as(self) -> LearntAs:
        """Under what its time is known: the upstream, and what it was asked for."""
        return {"upstream": self._new.upstream, "model": self._target.route, "tier": self._tier}

    def teach(self, done: Done | None, failure: Failure | None) -> None:
        """Count how long this took: a whole image, or the whole time that was granted, for nothing."""
        if self._began_at is None:
            return
        latencies = self._core.latencies
        spent_s = self._core.clock.monotonic() - self._began_at
        if done is not None:
            whole = {image.index for image in self.spooled.images if image.is_whole} if self.spooled else set()
            if self.took_s is not None and not whole.isdisjoint(done.results):
                latencies.learn(**self._learnt_as, seconds=self.took_s)
        elif failure is not None and never_answered(failure) and spent_s >= self._timeouts.total_s:
            latencies.gave_up(**self._learnt_as, seconds=spent_s)

    def _talk_about(self, request: Request, *, handle: str | None = None) -> Conversation:
        return conversation_for(
            self._target.upstream,
            request,
            model=self._target.model,
            key=self._secret,
            idempotency_key=self._new.idempotency_key,
            timeout_s=self._timeouts.total_s,
            n=min(self._wanted, images_per_call(self._target.upstream, stream=request.stream)),
            image_bytes_max=self._core.settings.store.image_bytes_max,
            handle=handle,
            expected_s=self._core.latencies.expect(**self._learnt_as).expected_s,
        )

    async def perform(self, step: Step) -> tuple[Done | None, Failure | None]:
        """Go on until the conversation ends."""
        assert self._conversation is not None
        try:
            while True:
                match step:
                    case Done():
                        return step, None
                    case Failed(failure=failure):
                        return None, failure
                    case Wait():
                        step = await self._rest(step)
                    case Keep(handle=handle):
                        await self._keep(handle)
                        step = self._conversation.start()
                    case Send() | Fetch():
                        self._head = self._sink = None
                        sending = self._send(step)
                        # Held for minutes from here on: without the bytes that are sent.
                        del step
                        try:
                            step = await sending
                        except (NotSent, OSError) as exc:
                            if not self._has_handle:
                                raise
                            # Our own disk, mostly. What the upstream made is still there: it is asked for again.
                            step = self._conversation.failed(await self.end_by(exc))
        finally:
            if self._pauses is not None:
                self._pauses.close()

    async def _keep(self, handle: str) -> None:
        """Make the commit after which no process buys this again."""
        core, new = self._core, self._new
        await faults.point("handle.before_commit")
        await patiently(lambda: core.store.write(keep_handle, new.id, handle), new.generation_id)
        self._has_handle = True
        # The disk may have taken its time: what was bought is asked for all the same.
        self._until = max(self._until, asyncio.get_running_loop().time() + RESUMED_S_MIN)
        emit("attempt.polling", **_fields(core, self._live, new))
        await faults.point("handle.after_commit")

    async def _rest(self, wait: Wait) -> Step:
        """Let a pause pass, unless the attempt's time is over; who cancels ends it early."""
        conversation, loop = self._conversation, asyncio.get_running_loop()
        assert conversation is not None
        left_s = self._until - loop.time() + (self._timeouts.body_s if wait.is_made else 0.0)
        if left_s <= 0.0:
            name, within_s = self._target.upstream.name, self._timeouts.total_s
            return Failed(failure=never_ended(name, within_s=within_s, why=wait.why))
        if self._pauses is None:
            self._pauses = Pauses(self._core, self._new.generation_id, self._new.id)
        is_cancelled = await self._pauses.rest(min(wait.delay_s, left_s))
        if is_cancelled and isinstance(conversation, Cancellable):
            conversation.cancel()
        return conversation.start()

    async def _send(self, step: Send | Fetch) -> Step:
        core, conversation = self._core, self._conversation
        assert conversation is not None
        await faults.point("send.before_exchange")
        if not self._is_sent and not core.dispatcher.holds(self._new.generation_id):
            # Frozen since the commit: another worker may have it by now, and buy it.
            return Failed(failure=CLAIM_LOST)
        was_sent, self._is_sent = self._is_sent, True
        timeouts, ca_file = self._timeouts, self._target.upstream.ca_file
        if step.timeout_s is not None:
            timeouts = replace(timeouts, total_s=step.timeout_s)
        if isinstance(step, Send):
            exchanging = core.transport.exchange(
                traced(core, self._live, self._new, self._target, step.request),
                inputs=self._inputs,
                timeouts=timeouts,
                on_head=self._on_head,
                ca_file=ca_file,
            )
        else:
            # An authority of the operator's own vouches for hosts of his own network, and for no other.
            exchanging = core.transport.fetch(
                step.url,
                rules=step.rules,
                timeouts=timeouts,
                on_head=self._on_head,
                ca_file=ca_file if step.rules.allow_private else "",
            )
        del step
        try:
            outcome = await exchanging
        except NotSent:
            self._is_sent = was_sent
            raise
        # An exchange whose time ran out while its last piece was being written has brought everything all the same.
        if isinstance(outcome, Failure) and not (self._sink is not None and self._sink.is_whole):
            await faults.point("receive.after_failure")
            return self.kept() or conversation.failed(outcome)
        head = self._head
        assert self._sink is not None, "an exchange always had a head"
        assert head is not None
        await faults.point("receive.after_body")
        if self._sink.outcome is None:
            await core.in_thread(self._sink.end)
        ended = self._sink.outcome
        if isinstance(ended, WireError):
            await core.in_thread(self._sink.close)
            return self.kept() or conversation.failed(unfinished(ended, head))
        assert ended is not None
        before, self.spooled, self._sink = self.spooled, ended, None
        self.received_at = core.now_text()
        self.took_s = None if self._began_at is None else core.clock.monotonic() - self._began_at
        await faults.point("receive.after_spool")
        verdict = conversation.received(head, ended.answer)
        if self._other_keys:
            verdict = self._asked_with_another_key(head, verdict)
        if before is not None or not isinstance(verdict, Done | Failed):
            self._add_up(before, ended, verdict)
        await faults.point("receive.after_verdict")
        return verdict

    def kept(self) -> Done | None:
        """Give what an answer that broke off had brought whole: that is paid for, and no loss. None: nothing.

        Of an upstream that is polled all is still there: it is asked for again.
        """
        kept = self._sink.kept if self._sink is not None else None
        if kept is None or self._has_handle:
            return None
        self.spooled, self.received_at = kept, self._core.now_text()
        indices = tuple(image.index for image in kept.images)
        drafts_come_first = draws_drafts(self._target.upstream)
        results, drafts = results_of_torn(indices, draws_drafts=drafts_come_first, wanted=self._wanted)
        emit("attempt.torn", level="warning", attempt_id=self._new.id, images=len(indices))
        return Done(results=results, drafts=drafts, answer=kept.answer)

    def _add_up(self, before: Spooled | None, ended: Spooled, verdict: Step) -> None:
        """Of several exchanges, keep what brought images, and the end."""
        is_end = isinstance(verdict, Done | Failed)
        self.spooled = _joined(before, ended) if is_end or ended.images else before
        if isinstance(verdict, Done):
            assert self.spooled is not None
            self.spooled = replace(self.spooled, answer=verdict.answer)
        if not is_end:
            # What was said of a request on its way is not how it ended.
            self.status = self.received_at = self.took_s = None

    def _on_head(self, head: Head) -> Sink:
        assert self._conversation is not None
        self._head, self.status = head, head.status
        loop = asyncio.get_running_loop()

        def announce(partial: PartialReady) -> None:
            loop.call_soon_threadsafe(self._announce, partial)

        writer = SpoolWriter(self._core.spool, self._new.id, self._conversation.head(head))
        self._sink = SpoolSink(writer, announce)
        faults.point_sync("receive.after_head")
        return self._sink

    def _announce(self, partial: PartialReady) -> None:
        notice = PartialImage(index=partial.index, path=partial.path, info=partial.info)
        self._core.watchers.notify(self._new.generation_id, notice)

    async def end_by(self, exc: Exception) -> Failure:
        """Clear away what an exception left half written, and say what it means for the attempt."""
        error = exc.cause if isinstance(exc, NotSent) else exc
        ids: dict[str, Any] = {"generation_id": self._new.generation_id, "attempt_id": self._new.id}
        if isinstance(error, OSError):
            emit("storage.failed", level="error", message=reason_of(error), **ids)
        else:
            emit("fault.internal", level="error", exc=error, **ids)
        if self._sink is not None:
            await self._core.in_thread(self._sink.close)
            if isinstance(self._sink.outcome, Spooled):
                self.spooled = _joined(self.spooled, self._sink.outcome)
        return failure_by(error, is_sent=self._is_sent, status=self.status, is_spooled=self.spooled is not None)
