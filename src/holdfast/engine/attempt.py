"""One attempt of one part: send commit, exchange, judgement; the settle commit is `engine.settle`'s.

An attempt belongs to the engine, not to the caller: whoever leaves, it goes on. It is a task of its own, and what it
keeps while it waits is this frame, the transport's, and the conversation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from holdfast import faults
from holdfast.config import Provider
from holdfast.engine.core import Core, Live, Target
from holdfast.engine.watchers import PartialImage
from holdfast.log import emit
from holdfast.money import times
from holdfast.policy.deadlines import attempt_timeouts
from holdfast.policy.mishaps import failure_by, reason_of, results_of_torn
from holdfast.providers.conversation import Conversation, Done, Failed, Send, Step, Wait, unfinished
from holdfast.providers.registry import conversation_for, idempotency_key_of
from holdfast.store.attempts import begin_attempt
from holdfast.store.records import NewAttempt
from holdfast.store.spool import PartialReady, Spooled, SpoolWriter
from holdfast.transport.exchange import Head, HttpRequest, NotSent, Piece, Sink
from holdfast.types import Failure
from holdfast.wire.scan import WireError


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


class SpoolSink(Sink):
    """Hands the pieces of a body to the spool, in the transport's worker thread."""

    def __init__(self, writer: SpoolWriter, on_partial: Callable[[PartialReady], None]) -> None:
        self.writer = writer
        self._on_partial = on_partial
        self.outcome: Spooled | WireError | None = None
        """What `end` made of the body; None before."""
        self.kept: Spooled | None = None
        """Images that were whole when the exchange broke."""

    def feed(self, pieces: list[Piece]) -> bool:
        """Decode, write, hash; previews are announced as they are finished."""
        faults.point_sync("receive.before_pieces")
        for partial in self.writer.feed(pieces):
            self._on_partial(partial)
        faults.point_sync("receive.after_pieces")
        if self.writer.complete:
            # While this thread has it: that saves a hop to the loop and back.
            self.end()
        return self.writer.complete

    def end(self) -> None:
        """Say that the body has ended, and make what was received durable; runs in a thread."""
        if self.outcome is None:
            try:
                self.outcome = self.writer.finish()
            except WireError as exc:
                self.outcome = exc

    def rest(self) -> None:
        """Keep no file open while nothing comes."""
        self.writer.rest()

    def close(self) -> None:
        """Drop what is not whole: the exchange broke.

        A whole answer stays, and a whole image of one that is not: they are paid for. If the process ends before they
        are settled, the next start takes them in.
        """
        if not self.is_whole:
            self.kept = self.writer.discard()

    @property
    def is_whole(self) -> bool:
        """Whether the whole answer is durable, whatever became of its exchange."""
        return isinstance(self.outcome, Spooled)


async def begin(core: Core, live: Live, part: int, target: Target) -> NewAttempt | None:
    """Make the send commit; None when the generation is no longer to be sent for."""
    new = NewAttempt(
        id=core.clock.new_id("att"),
        generation_id=live.id,
        part=part,
        drive=live.drive,
        upstream=target.upstream.name,
        provider=target.upstream.provider.value,
        model=target.model,
        idempotency_key=idempotency_key_of(live.id, part=part, drive=live.drive),
        estimated_micros=times(live.list_micros, live.images_of(part)),
        owner=core.owner,
        sent_at=core.now_text(),
    )
    await faults.point("send.before_commit")
    epoch = await core.store.write(begin_attempt, new)
    if epoch is None:
        return None
    core.followers.notify(live.id)
    return new


async def run(core: Core, live: Live, part: int, target: Target) -> Attempted | None:
    """Try one part at one upstream; None when there was nothing left to do.

    Once the send commit is made, it never raises for what an upstream, the network, our own disk or a mistake of ours
    does: that is a `Failure`.
    """
    new = await begin(core, live, part, target)
    if new is None:
        return None
    emit(
        "attempt.sent",
        generation_id=live.id,
        attempt_id=new.id,
        key_id=live.key_id,
        upstream=new.upstream,
        model=new.model,
        size=live.tier.value,
        elapsed_s=round(core.clock.monotonic() - live.accepted_at, 4),
    )
    talk = _Talk(core, live, new, target)
    try:
        await faults.point("send.after_commit")
        done, failure = await talk.perform(talk.open(new))
    except Exception as exc:  # noqa: BLE001 - the border of an attempt: recorded here, told as a failure
        error = exc.cause if isinstance(exc, NotSent) else exc
        if isinstance(error, OSError):
            message = reason_of(error)
            emit("storage.failed", level="error", generation_id=live.id, attempt_id=new.id, message=message)
        else:
            emit("fault.internal", level="error", exc=error, generation_id=live.id, attempt_id=new.id)
        failure = await talk.end_by(error)
        done = talk.kept()
        failure = failure if done is None else None
    return Attempted(
        new=new,
        done=done,
        failure=failure,
        spooled=talk.spooled,
        http_status=talk.status,
        received_at=talk.received_at,
    )


class _Talk:
    """Performs a conversation's steps."""

    __slots__ = (
        "_attempt_id",
        "_conversation",
        "_core",
        "_generation_id",
        "_head",
        "_inputs",
        "_is_sent",
        "_live",
        "_sink",
        "_target",
        "_timeouts",
        "_wanted",
        "received_at",
        "spooled",
        "status",
    )

    def __init__(self, core: Core, live: Live, new: NewAttempt, target: Target) -> None:
        self._core = core
        self._live: Live | None = live
        self._generation_id = live.id
        self._attempt_id = new.id
        self._target = target
        self._conversation: Conversation | None = None
        self._inputs: tuple[Path, ...] = ()
        self._is_sent = False
        self._wanted = live.images_of(new.part)
        self._head: Head | None = None
        self._sink: SpoolSink | None = None
        self.spooled: Spooled | None = None
        self.status: int | None = None
        self.received_at: str | None = None

    def open(self, new: NewAttempt) -> Step:
        """Begin the conversation; the request itself is let go of when every part has it."""
        live, core = self._live, self._core
        assert live is not None
        assert live.request is not None, "whoever sends a part has read the request"
        request = live.request
        self._inputs = tuple(core.blobs.path_of(image.store_key) for image in request.inputs)
        input_bytes = sum(image.bytes for image in request.inputs)
        self._timeouts = attempt_timeouts(live.tier, core.settings.deadlines, body_bytes=input_bytes * 4 // 3)
        self._conversation = conversation_for(
            self._target.upstream,
            request,
            model=self._target.model,
            key=self._target.key,
            idempotency_key=new.idempotency_key,
            timeout_s=self._timeouts.total_s,
            n=live.images_of(new.part),
            image_bytes_max=core.settings.store.image_bytes_max,
        )
        live.let_go(new.part)
        self._live = None
        return self._conversation.start()

    async def perform(self, step: Step) -> tuple[Done | None, Failure | None]:
        """Go on until the conversation ends."""
        assert self._conversation is not None
        while True:
            match step:
                case Done():
                    return step, None
                case Failed(failure=failure):
                    return None, failure
                case Wait(delay_s=delay_s):
                    await asyncio.sleep(delay_s)
                    step = self._conversation.start()
                case Send(request=request):
                    self._head = self._sink = None
                    sending = self._send(request)
                    # Held for minutes from here on: without the bytes that are sent.
                    del step, request
                    step = await sending

    async def _send(self, request: HttpRequest) -> Step:
        core, conversation = self._core, self._conversation
        assert conversation is not None
        await faults.point("send.before_exchange")
        was_sent, self._is_sent = self._is_sent, True
        exchanging = core.transport.exchange(
            request,
            inputs=self._inputs,
            timeouts=self._timeouts,
            on_head=self._on_head,
            ca_file=self._target.upstream.ca_file,
        )
        del request
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
        self.spooled = ended
        self.received_at = core.now_text()
        await faults.point("receive.after_spool")
        verdict = conversation.received(head, self.spooled.answer)
        await faults.point("receive.after_verdict")
        return verdict

    def kept(self) -> Done | None:
        """Give what an answer that broke off had brought whole: that is paid for, and no loss. None: nothing."""
        kept = self._sink.kept if self._sink is not None else None
        if kept is None:
            return None
        self.spooled, self.received_at = kept, self._core.now_text()
        indices = tuple(image.index for image in kept.images)
        draws_drafts = self._target.upstream.provider is Provider.GEMINI
        results, drafts = results_of_torn(indices, draws_drafts=draws_drafts, wanted=self._wanted)
        emit("attempt.torn", level="warning", attempt_id=self._attempt_id, images=len(indices))
        return Done(results=results, drafts=drafts, answer=kept.answer)

    def _on_head(self, head: Head) -> Sink:
        assert self._conversation is not None
        self._head, self.status = head, head.status
        loop = asyncio.get_running_loop()

        def announce(partial: PartialReady) -> None:
            loop.call_soon_threadsafe(self._announce, partial)

        writer = SpoolWriter(self._core.spool, self._attempt_id, self._conversation.head(head))
        self._sink = SpoolSink(writer, announce)
        faults.point_sync("receive.after_head")
        return self._sink

    def _announce(self, partial: PartialReady) -> None:
        notice = PartialImage(index=partial.index, path=partial.path, info=partial.info)
        self._core.watchers.notify(self._generation_id, notice)

    async def end_by(self, error: Exception) -> Failure:
        """Clear away what an exception left half written, and say what it means for the attempt."""
        if self._sink is not None and self.spooled is None:
            await self._core.in_thread(self._sink.close)
            if isinstance(self._sink.outcome, Spooled):
                self.spooled = self._sink.outcome
        return failure_by(error, is_sent=self._is_sent, status=self.status, is_spooled=self.spooled is not None)
