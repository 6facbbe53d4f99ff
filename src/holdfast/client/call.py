"""One logical call for images, from its first request to the files in hand: what to send, when, and when to end.

Pure: no I/O, clock or randomness; both clients drive this one object and do what it says. A step is a value: `Send`,
`Wait`, `Finished` or `Raise`. What happened is told by `received` and `broke`, with the monotonic time and a sample of
jitter.

The strategy:

1. The first request asks for the image by OpenAI's or Gemini's own route, with a key of its own and `Prefer: wait`. Any
   server answers that; one that is holdfast answers within the wait, with the image or with where it stands, and says
   who it is by `Generation-Id`. No call is made to find that out.
2. Once it is known, holdfast is asked to answer at once. While it draws, its status is asked for, held for the wait: no
   silence on the line is longer, so no idle timer on the way fires. Images are then fetched as files, a quarter less
   than base64, from the byte on at which a fetch broke off.
3. After a cut, what was asked for is looked for before anything is repeated. holdfast says which generation the key
   has; where it has none, the same key is sent again, which cannot buy twice.
4. A plain server keeps nothing. What cost nothing (refused connection, 429, 503) is made again after a pause; what may
   have been charged is told as such, and never bought again unasked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from holdfast.client import defaults as d
from holdfast.client.address import Server
from holdfast.client.asking import Ask, Asker, Wish
from holdfast.client.judging import TEMPORARY, Verdict, exception_of, is_proxy, judge, judge_end, judge_inside
from holdfast.client.rules import (
    BUSY,
    PASSING,
    REPEATED,
    Variant,
    has_given_up,
    listed_in,
    may_fall_back,
    obstacle_of,
    resource_in,
    variants_of,
)
from holdfast.client.steps import (
    Break,
    Cause,
    Finished,
    Form,
    Options,
    Purpose,
    Raise,
    Reading,
    Received,
    Send,
    Standing,
    Step,
    Wait,
)
from holdfast.errors import DeadlineExceeded, HoldfastError, RequestError, TimedOut, TransportError, Unavailable
from holdfast.types import Charge, Failure, FailureKind, Phase

if TYPE_CHECKING:
    from holdfast.providers.http import Head
    from holdfast.wire.answers import Answer
    from holdfast.wire.generations import GenerationResource


@dataclass(slots=True, kw_only=True)
class _File:
    """An image that is fetched behind the answer."""

    url: str
    sha256: str | None = None
    bytes: int | None = None
    etag: str | None = None
    at: int = 0
    tries: int = 0


@dataclass(slots=True, kw_only=True)
class Call:
    """See the module's docstring."""

    asker: Asker
    wish: Wish
    options: Options
    server: Server | None
    """What is known of the server: given, or learnt by this call; None: nothing yet."""
    generation_id: str | None = None
    sends: int = 0
    """POSTs so far."""
    standing: Standing | None = None
    """Changes with every answer that says how it stands."""
    _faults: int = 0
    _hits: int = 0
    """Times this variant was told to come back later."""
    _finds: int = 0
    _outages: int = 0
    """Breaks in a row while collecting."""
    _refreshes: int = 0
    _was_reached: bool = False
    """Whether this call has got through to the server at all: then one that is away now restarts, as a rule."""
    _contact_s: float = 0.0
    """When the server last said something."""
    _began_s: float = 0.0
    _sent_s: float = 0.0
    _purpose: Purpose = Purpose.SUBMIT
    _next: Purpose = Purpose.SUBMIT
    """What follows a wait."""
    _head: Head | None = None
    _variants: tuple[Variant, ...] = ()
    _variant: int = 0
    _files: list[_File] = field(default_factory=list)
    _file: int = 0
    _generation: GenerationResource | None = None
    _model: str | None = None
    _revised: tuple[str | None, ...] = ()
    _paid: Charge = Charge.NO

    def __repr__(self) -> str:
        who = self.server or "unknown"
        return f"<Call {self.options.idempotency_key} to {who} {self._purpose} sends={self.sends} {self.generation_id}>"

    # What a shell tells

    def start(self, now_s: float) -> Step:
        """Begin."""
        self._began_s = self._contact_s = now_s
        self._variants = variants_of(self.wish, self.options)
        return self._submit(now_s)

    def resume(self, generation_id: str, now_s: float) -> Step:
        """Begin with a generation that was asked for before."""
        self._began_s = self._contact_s = now_s
        self.generation_id, self.server, self._was_reached = generation_id, Server.HOLDFAST, True
        self._variants = variants_of(self.wish, self.options)
        return self._poll(now_s)

    def woke(self, now_s: float) -> Step:
        """A wait is over."""
        match self._next:
            case Purpose.SUBMIT:
                return self._submit(now_s)
            case Purpose.FIND:
                return self._find(now_s)
            case Purpose.POLL:
                return self._poll(now_s)
            case Purpose.IMAGE:
                return self._fetch(now_s)

    def head(self, head: Head) -> Reading:
        """A head has come; say how to take what follows. What it says of a generation is known even if that breaks."""
        self._head, self._was_reached = head, True
        own_id = head.header("generation-id")
        if own_id is not None and self._purpose is Purpose.SUBMIT:
            self.generation_id, self.server = own_id, Server.HOLDFAST
        elif self.server is None and self._purpose is Purpose.SUBMIT and head.status == 200:
            # holdfast names the generation in the head of every answer: what begins without that is another's.
            self.server = Server.GEMINI if self.asker.address.speaks_gemini else Server.OPENAI
        if not head.is_success:
            return Reading(form=Form.DOCUMENT)
        if self._purpose is Purpose.IMAGE:
            file = self._files[self._file]
            file.etag = head.header("etag") or file.etag
            if head.status != 206:
                file.at = 0
            return Reading(form=Form.FILE, index=self._file, at=file.at)
        if self._purpose is not Purpose.SUBMIT or head.status != 200:
            return Reading(form=Form.DOCUMENT)
        if head.is_event_stream:
            return Reading(form=Form.OPENAI_STREAM)
        if head.media_type == "text/html":
            return Reading(form=Form.DOCUMENT)
        return Reading(form=Form.GEMINI if self.asker.address.speaks_gemini else Form.OPENAI)

    def received(self, body: Received, *, now_s: float, jitter: float) -> Step:
        """An answer has come whole."""
        assert self._head is not None
        head, self._head = self._head, None
        # A proxy that stands before a gateway that is gone says something all day; that is no sign of life.
        if head.status not in (502, 503, 504):
            self._contact_s = now_s
        match self._purpose:
            case Purpose.SUBMIT:
                return self._submitted(head, body, now_s, jitter)
            case Purpose.FIND:
                return self._found(head, body, now_s, jitter)
            case Purpose.POLL:
                return self._polled(head, body, now_s, jitter)
            case Purpose.IMAGE:
                return self._fetched(head, body, now_s, jitter)

    def broke(self, break_: Break, *, now_s: float, jitter: float) -> Step:
        """The exchange broke."""
        self._head = None
        self._was_reached = self._was_reached or break_.was_sent
        if break_.cause in (Cause.CERTIFICATE, Cause.NOT_TLS, Cause.POOL):
            # Trying again changes nothing. Whatever was asked for before goes on.
            return self._raise(Unavailable(break_.detail, failure=break_.failure), self._known_paid())
        if self._purpose is Purpose.SUBMIT:
            return self._lost(break_, now_s, jitter)
        if self._purpose is Purpose.IMAGE:
            file = self._files[self._file]
            if break_.received_bytes is not None and break_.received_bytes > file.at:
                self._contact_s, self._outages = now_s, 0
            file.at = file.at if break_.received_bytes is None else break_.received_bytes
        return self._again(self._purpose, break_, now_s, jitter)

    def interrupted(self) -> str:
        """Say, to whoever stopped this, what becomes of it and how to collect."""
        return self._how_to_collect() or "Nothing was sent, or the server keeps nothing that could be collected."

    # Submitting

    def _submit(self, now_s: float) -> Step:
        left_s = self._left(now_s)
        if left_s <= 0.0:
            return self._out_of_time()
        self.sends += 1
        variant = self._variants[self._variant]
        times = self.options.timeouts
        if self.server is Server.HOLDFAST:
            # It is not cut off with the call's end: an answer is at most a wait away, and kept.
            read_s = self.options.wait_s + d.POLL_SLACK_S
        else:
            read_s = min(times.read_idle_s, left_s)
        ask = self.asker.submit(
            self.wish,
            idempotency_key=variant.key,
            # The wish is a header: whatever is known of the server, the same call is the same bytes under its key.
            wait_s=None if self.server is Server.HOLDFAST else min(self.options.wait_s, max(1.0, left_s)),
            budget_s=self.options.budget_s,
            degrade=self.options.degrade,
            model=variant.model,
            size=variant.size,
        )
        self.standing = Standing(status="sent", elapsed_s=now_s - self._began_s)
        return self._send(Purpose.SUBMIT, ask, now_s, read_s=read_s, write_s=times.write_s)

    def _submitted(self, head: Head, body: Received, now_s: float, jitter: float) -> Step:
        if head.is_success and body.answer is not None:
            return self._answered(head, body, body.answer, now_s, jitter)
        if head.is_success and self.server is Server.HOLDFAST:
            resource = resource_in(body.document)
            if resource is not None:
                return self._stands(resource, now_s, jitter)
        if self.server is Server.HOLDFAST and self.generation_id is not None and head.status in (200, 303):
            # Held by redirects, or an answer that cannot be read: it is kept, ask for it.
            return self._poll(now_s) if self._refresh() else self._malformed(head, body)
        if head.status == 200 and head.media_type != "text/html":
            return self._malformed(head, body)
        verdict = self._judge(head, body.document)
        if verdict.generation_id is not None:
            self.generation_id = verdict.generation_id
        if verdict.is_holdfast:
            self.server = Server.HOLDFAST
        may_be_kept = self.server in (None, Server.HOLDFAST) and verdict.charge is not Charge.NO
        is_between = is_proxy(verdict) or (verdict.is_foreign and self.server is Server.HOLDFAST)
        if has_given_up(verdict, now_s - self._sent_s) or (may_be_kept and is_between):
            # Whoever said so stands between; what is behind it may know.
            break_ = Break(phase=Phase.WAIT, cause=Cause.LOST, detail=verdict.message)
            return self._lost(break_, now_s, jitter)
        return self._failed(verdict, now_s, jitter)

    def _answered(self, head: Head, body: Received, answer: Answer, now_s: float, jitter: float) -> Step:
        taken = dict(body.taken)
        results = tuple(image.index for image in answer.results if image.index in taken)
        whole = tuple(index for index in results if taken[index].is_whole and taken[index].info is not None)
        self._model = answer.model_version
        if whole and len(whole) == len(results):
            self._paid = Charge.YES
            self._revised = tuple(taken[index].revised_prompt for index in whole)
            return self._finished(whole, head)
        if self.generation_id is not None and answer.error is None and not answer.url_only:
            return self._poll(now_s) if self._refresh() else self._malformed(head, body)
        if answer.error is not None:
            return self._failed(judge_inside(head, answer.error), now_s, jitter)
        if answer.url_only:
            from holdfast.wire.openai_answer import links_of

            self._paid = Charge.YES
            self._files = [_File(url=url) for url in links_of(answer.document)[: self.wish.n]]
            self._file = 0
            self._revised = (None,) * len(self._files)
            return self._fetch(now_s)
        if results:
            return self._malformed(head, body)
        reason = answer.block_reason or answer.finish_reason
        refused = reason is not None and reason not in ("STOP", "MAX_TOKENS", "NO_IMAGE", "IMAGE_OTHER", "OTHER")
        verdict = Verdict(
            code="content_refused" if refused else "empty_result",
            kind=FailureKind.REFUSED_OUTPUT if refused else FailureKind.NO_IMAGE,
            charge=Charge.NO if refused else Charge.UNKNOWN,
            message=f"The server declined the content ({reason})."
            if refused
            else "The server answered without an image and without an error.",
            status=head.status,
        )
        return self._failed(verdict, now_s, jitter)

    def _malformed(self, head: Head, body: Received) -> Step:
        what = body.mishap or "it is no answer of an image API"
        message = f"The answer ({head.status}, {head.media_type or 'no type'}) cannot be used: {what}."
        failure = Failure(
            kind=FailureKind.MALFORMED, phase=Phase.DECODE, charge=Charge.YES, detail=message, status=head.status
        )
        return self._raise(TransportError(message, failure=failure), Charge.YES)

    def _failed(self, verdict: Verdict, now_s: float, jitter: float) -> Step:
        """Decide what follows an answer that brought no image."""
        if verdict.is_holdfast:
            may_repeat = verdict.may_repeat
        else:
            may_repeat = verdict.charge is Charge.NO and verdict.kind in REPEATED
        if may_repeat and self.sends < d.SUBMITS_MAX:
            hits = self._hits = self._hits + 1
            is_busy = verdict.kind in BUSY or verdict.code in TEMPORARY
            if not is_busy:
                self._faults += 1
            gives_way = self._variant + 1 < len(self._variants) and hits >= d.FALLBACK_AFTER
            after_s = d.pause_s(hits, jitter=jitter, at_least_s=verdict.retry_after_s)
            may_wait = after_s < self._left(now_s) and (is_busy or self._faults < d.FAULTS_MAX)
            if may_wait and not gives_way:
                return self._pause(Purpose.SUBMIT, after_s)
        if verdict.charge is Charge.NO and self._variant + 1 < len(self._variants) and may_fall_back(verdict):
            self._variant += 1
            self._hits = self._faults = 0
            self.generation_id = None
            return self._submit(now_s)
        return self._raise(exception_of(verdict), verdict.charge)

    def _lost(self, break_: Break, now_s: float, jitter: float) -> Step:
        """Decide what follows a POST whose answer did not come."""
        if self.generation_id is not None and self.server is Server.HOLDFAST and break_.was_sent:
            return self._again(Purpose.POLL, break_, now_s, jitter)
        if not break_.was_sent:
            if self.server is Server.HOLDFAST and self._was_reached:
                return self._again(Purpose.SUBMIT, break_, now_s, jitter)
            self._faults += 1
            after_s = d.pause_s(self._faults, jitter=jitter)
            if self._faults < d.FAULTS_MAX and after_s < self._left(now_s):
                return self._pause(Purpose.SUBMIT, after_s)
            return self._raise(Unavailable(break_.detail, failure=break_.failure), self._known_paid())
        if self.server is Server.HOLDFAST or self.server is None:
            # One that is not known yet is asked: what is no holdfast says so at once, and that costs nothing.
            return self._again(Purpose.FIND, break_, now_s, jitter)
        return self._unknown(break_)

    def _unknown(self, break_: Break) -> Step:
        kind = TimedOut if break_.cause is Cause.TIMEOUT else TransportError
        message = (
            f"{break_.detail} The server keeps no generations, so whether it was charged is not known; it is not "
            "repeated by itself."
        )
        return self._raise(kind(message, failure=break_.failure), Charge.UNKNOWN)

    # Collecting

    def _again(self, purpose: Purpose, break_: Break, now_s: float, jitter: float) -> Step:
        """Try to collect once more, as long as there is hope."""
        self._outages += 1
        after_s = d.reconnect_s(self._outages, jitter=jitter)
        left_s = self._left(now_s)
        silent_s = now_s - self._contact_s
        if after_s >= left_s:
            return self._out_of_time()
        is_given_up = silent_s + after_s > d.OUTAGE_S and self._outages > 1
        if self.server is None and break_.was_sent and silent_s + after_s > d.STRANGER_S and self._finds:
            # Somebody is there and breaks off every time: hardly a gateway that restarts.
            return self._unknown(break_)
        if is_given_up or (purpose is Purpose.SUBMIT and self.sends >= d.SUBMITS_MAX):
            return self._gone(break_)
        return self._pause(purpose, after_s)

    def _gone(self, break_: Break) -> Step:
        if self.server is None:
            return self._unknown(break_)
        kind = TimedOut if break_.cause is Cause.TIMEOUT else Unavailable
        return self._raise(kind(break_.detail, failure=break_.failure), self._known_paid())

    def _find(self, now_s: float) -> Step:
        self._finds += 1
        return self._send(Purpose.FIND, self.asker.find(self._variants[self._variant].key), now_s)

    def _found(self, head: Head, body: Received, now_s: float, jitter: float) -> Step:
        listed = listed_in(head, body.document) if head.status == 200 else None
        lost = Break(phase=Phase.WAIT, cause=Cause.LOST, detail="The connection broke while the answer was awaited.")
        if listed is not None:
            self.server = Server.HOLDFAST
            self._outages = 0
            return self._stands(listed[0], now_s, jitter) if listed else self._submit_again(now_s)
        verdict = self._judge(head, body.document)
        if verdict.is_holdfast:
            self.server = Server.HOLDFAST
        if verdict.status in PASSING:
            return self._again(Purpose.FIND, lost, now_s, jitter)
        if self.server is Server.HOLDFAST:
            return self._raise(exception_of(verdict), Charge.UNKNOWN)
        self.server = Server.GEMINI if self.asker.address.speaks_gemini else Server.OPENAI
        return self._unknown(lost)

    def _submit_again(self, now_s: float) -> Step:
        if self.sends >= d.SUBMITS_MAX:
            message = "The server did not take the call, however often it was sent."
            return self._raise(Unavailable(message), Charge.NO)
        return self._submit(now_s)

    def _poll(self, now_s: float) -> Step:
        assert self.generation_id is not None
        left_s = self._left(now_s)
        if left_s <= 0.0:
            return self._out_of_time()
        wait_s = max(1.0, min(self.options.wait_s, left_s))
        ask = self.asker.poll(self.generation_id, wait_s=wait_s)
        return self._send(Purpose.POLL, ask, now_s, read_s=wait_s + d.POLL_SLACK_S)

    def _polled(self, head: Head, body: Received, now_s: float, jitter: float) -> Step:
        resource = resource_in(body.document) if head.status == 200 else None
        if resource is not None:
            return self._stands(resource, now_s, jitter)
        verdict = self._judge(head, body.document)
        if verdict.status in PASSING:
            break_ = Break(phase=Phase.WAIT, cause=Cause.LOST, detail=verdict.message)
            return self._again(Purpose.POLL, break_, now_s, jitter)
        return self._raise(exception_of(verdict), self._known_paid())

    def _stands(self, resource: GenerationResource, now_s: float, jitter: float) -> Step:
        """Go by how the generation stands."""
        self._outages = 0
        self._generation = resource
        self.generation_id = resource.id
        self._paid = Charge(resource.paid)
        progress = resource.progress
        self.standing = Standing(
            status=resource.status if resource.status != "succeeded" else "fetching",
            elapsed_s=now_s - self._began_s,
            generation_id=resource.id,
            expected_s=None if progress is None else progress.expected_s,
            p95_s=None if progress is None else progress.p95_s,
            fraction=None if progress is None else progress.fraction,
            queue_position=resource.queue_position,
            estimated_start_s=resource.estimated_start_s,
        )
        match resource.status:
            case "queued" | "running":
                if self._left(now_s) <= 0.0:
                    return self._out_of_time()
                # Held for the wait as a rule; one that answers at once is not asked without a pause.
                is_held = self._purpose is not Purpose.POLL or now_s - self._sent_s >= 1.0
                return self._poll(now_s) if is_held else self._pause(Purpose.POLL, 1.0 + jitter)
            case "succeeded":
                return self._collect(resource, now_s)
            case "failed" | "cancelled":
                return self._failed(judge_end(resource.error, resource.id), now_s, jitter)

    def _collect(self, resource: GenerationResource, now_s: float) -> Step:
        urls = [(image, image.url) for image in resource.images]
        files = [_File(url=url, sha256=image.sha256, bytes=image.bytes) for image, url in urls if url is not None]
        if not files or len(files) != len(urls):
            message = "The image has been deleted: its retention ended. The generation's record stays."
            return self._raise(RequestError(message, code="image_expired", status=410), self._paid)
        if [file.sha256 for file in files] != [file.sha256 for file in self._files]:
            self._files, self._file = files, 0
        else:
            # Fresh links to the same images: what is in hand of them stays.
            for old, new in zip(self._files, files, strict=True):
                old.url = new.url
        self._model = resource.model
        self._revised = (None,) * len(files)
        return self._fetch(now_s)

    def _fetch(self, now_s: float) -> Step:
        file = self._files[self._file]
        if self._left(now_s) <= 0.0:
            return self._out_of_time()
        if not self.asker.is_own(file.url):
            reason = obstacle_of(file.url, self.asker.address.base_url)
            if reason is not None:
                return self._raise(TransportError(f"The server named a file whose address {reason}."), self._paid)
        etag = file.etag or (f'"{file.sha256}"' if file.sha256 is not None else None)
        if etag is None:
            file.at = 0
        ask = self.asker.image(file.url, at=file.at, etag=etag)
        return self._send(Purpose.IMAGE, ask, now_s, read_s=d.STALL_S)

    def _fetched(self, head: Head, body: Received, now_s: float, jitter: float) -> Step:
        file = self._files[self._file]
        taken = dict(body.taken).get(self._file)
        info = taken.info if taken is not None and taken.is_whole and head.is_success else None
        if info is not None and file.sha256 in (None, info.sha256):
            self._outages = 0
            self._file += 1
            if self._file < len(self._files):
                return self._fetch(now_s)
            return self._finished(tuple(range(len(self._files))), head)
        file.tries += 1
        onward = head.header("location")
        if onward is not None and 300 <= head.status < 400 and file.tries <= d.FAULTS_MAX:
            file.url = urljoin(file.url, onward)
            return self._fetch(now_s)
        file.at, file.etag = 0, None
        detail = body.mishap or f"The server answered {head.status} for the image, or the file was not whole."
        break_ = Break(phase=Phase.RECEIVE, cause=Cause.LOST, detail=detail)
        if head.status in PASSING or head.status == 416 or head.is_success:
            if file.tries <= d.FAULTS_MAX:
                return self._again(Purpose.IMAGE, break_, now_s, jitter)
        elif self.generation_id is not None and self._refresh():
            # A link ends after a day at most, and its secret may have been changed: the record has a fresh one.
            return self._poll(now_s)
        return self._raise(TransportError(detail, failure=break_.failure), Charge.YES)

    # Ending

    def _finished(self, results: tuple[int, ...], head: Head) -> Step:
        generation = self._generation
        return Finished(
            results=results,
            paid=self._paid,
            generation_id=self.generation_id,
            idempotency_key=self._variants[self._variant].key,
            server=self.server or Server.OPENAI,
            model=self._model or self._variants[self._variant].model,
            served_by=generation.served_by if generation is not None else head.header("holdfast-served-by"),
            generation=generation,
            revised_prompts=self._revised,
            sends=self.sends,
        )

    def _out_of_time(self) -> Step:
        spent_s = self.options.timeouts.total_s
        message = f"The {spent_s:g} s given to this call are over."
        return self._raise(DeadlineExceeded(message), self._known_paid())

    def _known_paid(self) -> Charge:
        """What may have been charged, as far as anybody here can know."""
        if self._generation is not None:
            return Charge(self._generation.paid)
        may_be_at_work = self.generation_id is not None or self._finds > 0
        return Charge.UNKNOWN if may_be_at_work else self._paid

    def _raise(self, error: HoldfastError, paid: Charge) -> Step:
        error.idempotency_key = self._variants[self._variant].key
        error.generation_id = error.generation_id or self.generation_id
        error.paid = paid
        how = self._how_to_collect()
        if how is not None and not isinstance(error, RequestError):
            error.add_note(how)
        return Raise(error=error)

    def _how_to_collect(self) -> str | None:
        key = self._variants[self._variant].key if self._variants else self.options.idempotency_key
        if self.generation_id is not None:
            return (
                f"Generation {self.generation_id} is kept. Collect it, free of charge: "
                f"client.generations.wait({self.generation_id!r}) (idempotency_key={key!r})."
            )
        if self.server is Server.HOLDFAST or (self.server is None and self.sends):
            return f"Make the same call with idempotency_key={key!r}: holdfast joins it and buys nothing twice."
        return None

    # Small things

    def _send(
        self, purpose: Purpose, ask: Ask, now_s: float, *, read_s: float = d.CONTROL_S, write_s: float | None = None
    ) -> Send:
        self._purpose, self._sent_s = purpose, now_s
        times = self.options.timeouts
        return Send(
            ask=ask,
            purpose=purpose,
            connect_s=times.connect_s,
            write_s=times.write_s if write_s is None else write_s,
            read_s=read_s,
            pool_s=times.pool_s,
            until_s=self._began_s + times.total_s + d.BODY_S,
        )

    def _pause(self, purpose: Purpose, after_s: float) -> Wait:
        self._next = purpose
        return Wait(after_s=after_s)

    def _left(self, now_s: float) -> float:
        return self._began_s + self.options.timeouts.total_s - now_s

    def _refresh(self) -> bool:
        """Allow one more look at the record; a server that sends in circles is left."""
        self._refreshes += 1
        return self._refreshes <= d.FAULTS_MAX

    def _judge(self, head: Head, document: bytes) -> Verdict:
        secrets = (self.wish.prompt, *((self.asker.api_key,) if self.asker.api_key else ()))
        return judge(head, document, base_url=self.asker.address.base_url, secrets=secrets)
