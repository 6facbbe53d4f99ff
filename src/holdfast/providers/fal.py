"""fal's queue: a submission that is paid for, questions until it has ended, then its result and the pictures it names.

Pure: no I/O, clock or randomness. It is bought once: from the moment that the queue has named the request, whatever
goes wrong on the way is asked again, until the attempt's time is over. The key goes to the upstream's own address only:
questions stay on its origin, whatever URLs an answer gives, and pictures are fetched without it.

    submit -> Keep -> (Wait, poll)* -> result -> (fetch)* -> Done
                          |  ^            |          |
                          +--+  <- 400 ---+  <- again with a fresh link

Source: docs.fal.ai, queue, errors (2026); fal_client `client.py`; @fal-ai/client `queue`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum, auto
from math import ceil
from typing import assert_never

from holdfast.config import Provider
from holdfast.policy.addresses import AddressRules
from holdfast.providers.conversation import Done, Failed, Fetch, Keep, Send, Step, Wait, malformed, named
from holdfast.providers.error_answers import failure_of, retry_after_s
from holdfast.providers.error_body import ErrorReader
from holdfast.providers.fal_errors import error_of, meaning_of
from holdfast.providers.fal_urls import Urls
from holdfast.providers.http import Head, HttpRequest
from holdfast.providers.mapping import AT_THE_END, Mapping
from holdfast.types import Charge, Failure, FailureKind, Phase, Request
from holdfast.wire.answers import Answer, AnswerImage, Reader, Role
from holdfast.wire.errors import WireError
from holdfast.wire.fal import (
    Handle,
    Link,
    QueueReader,
    QueueState,
    ResultReader,
    decode_error,
    decode_handle,
    decode_status,
    decode_submitted,
    encode_handle,
    encode_input,
    is_request_id,
    links_of,
)
from holdfast.wire.image_file import ImageFileReader
from holdfast.wire.template import Template

IMAGES_PER_CALL = 4
"""`num_images` is at most this."""
MAPPING = Mapping(
    provider=Provider.FAL,
    title="fal queue",
    call="POST /{model}, or /{model}/edit with reference images",
    fields={
        "prompt": "`prompt`",
        "size": "`resolution`; left out for the first nano-banana, which draws one size",
        "aspect_ratio": "`aspect_ratio`",
        "n": "`num_images`, up to 4",
        "images": "`image_urls[]`, as data URIs",
        "output_format": "`output_format`",
        "stream": AT_THE_END,
    },
)
POLL_S_FIRST = 0.5
POLL_S_MAX = 5.0
"""A picture takes 10 s to minutes: this adds a few per cent. The vendor's own clients ask 2 to 10 times a second."""
POLL_S_GROWTH = 1.5
PAUSES_GROWING = 10
"""By then they are at their bound."""
HINT_S_MAX = 30.0
"""A longer `Retry-After` is not waited for: the answer to a question costs nobody a picture."""
QUESTION_S = 30.0
"""Until the head of an answer of the queue, or of a file."""
RESULT_TRIES = 3
"""So often an error is asked for again that may be the way's and not the model's."""
FETCH_TRIES = 8
FETCH_S_MAX = 15.0
"""Pauses double up to this: a link is tried, and asked for anew, for three quarters of a minute."""
_PASSING = frozenset({401, 403, 404, 408, 425, 429})
"""Answers to a question that tell nothing of how the request ends: a result may be seen late, a key be changed."""


class _At(Enum):
    SUBMIT = auto()
    POLL = auto()
    CANCEL = auto()
    RESULT = auto()
    FETCH = auto()


@dataclass(slots=True, kw_only=True)
class FalConversation:
    """One attempt: one submission for `n` images, and whatever it takes to get them."""

    upstream: str
    """The operator's name for it."""
    base_url: str
    """`https://queue.fal.run`."""
    model: str
    """Its path there: `fal-ai/nano-banana-pro`."""
    key: str
    request: Request
    idempotency_key: str
    timeout_s: float
    """How long the attempt may take; told to the server, which then begins nothing after it."""
    n: int = 1
    image_bytes_max: int = 64 << 20
    """Largest image taken; `store.image_bytes_max`."""
    handle: str | None = None
    """Of a request that an earlier process submitted: it is polled, and never submitted again."""
    _at: _At = _At.SUBMIT
    _urls: Urls | None = None
    _pauses: int = 0
    _is_fresh: bool = False
    """Just taken by the queue: nothing can be there yet."""
    _is_unwanted: bool = False
    _has_asked_cancel: bool = False
    _is_let_go: bool = False
    """The queue has said that it will let the request go."""
    _has_begun: bool = False
    """It was seen at work."""
    _has_failed: bool = False
    """The queue has said that it ended without a result."""
    _tries: int = 0
    _fetches: int = 0
    _links: dict[int, Link] = field(default_factory=dict)
    _got: set[int] = field(default_factory=set)
    _answer: Answer | None = None
    _submitted_id: str | None = None
    """From the head of the answer to the submission, in case its body is lost."""

    def __post_init__(self) -> None:
        if self.handle is not None:
            self._take(decode_handle(self.handle))

    def __repr__(self) -> str:
        return f"<FalConversation {self.idempotency_key} with {self.upstream}, {self.model}: {self._at.name.lower()}>"

    def start(self) -> Step:
        """Submit the request, or go on where a pause has ended."""
        if self._is_fresh:
            self._is_fresh = False
            return self._wait("the request has just been taken")
        match self._at:
            case _At.SUBMIT:
                return Send(request=self._submission())
            case _At.POLL:
                return self._question("GET", self._known.status_url)
            case _At.CANCEL:
                return self._question("PUT", self._known.cancel_url)
            case _At.RESULT:
                return self._question("GET", self._known.response_url)
            case _At.FETCH:
                rules = AddressRules.beside(self.base_url)
                return Fetch(url=self._links[self._wanted].url, rules=rules, timeout_s=QUESTION_S)
            case _:
                assert_never(self._at)

    def cancel(self) -> None:
        """Take the request back as soon as the queue says that it has not been begun."""
        self._is_unwanted = True

    def head(self, head: Head) -> Reader:
        """Choose by what is being done."""
        if not head.is_success:
            return ErrorReader()
        match self._at:
            case _At.RESULT:
                return ResultReader(image_bytes_max=self.image_bytes_max)
            case _At.FETCH:
                assert self._answer is not None
                return ImageFileReader(index=self._wanted, answer=self._answer, image_bytes_max=self.image_bytes_max)
            case _At.SUBMIT:
                self._submitted_id = head.header("x-fal-request-id")
        return QueueReader()

    def received(self, head: Head, answer: Answer) -> Step:
        """Judge an answer."""
        match self._at:
            case _At.SUBMIT:
                return self._submitted(head, answer)
            case _At.POLL:
                return self._polled(head, answer)
            case _At.CANCEL:
                self._is_let_go = head.is_success
                return self._ask_again(f"a cancel was answered {head.status}")
            case _At.RESULT:
                return self._ended(head, answer)
            case _At.FETCH:
                if not head.is_success:
                    return self._fetch_again(f"its file was answered {head.status}")
                self._got.add(self._wanted)
                return self._next_file()
            case _:
                assert_never(self._at)

    def failed(self, failure: Failure) -> Step:
        """Judge an exchange that broke: only a submission can be lost."""
        match self._at:
            case _At.SUBMIT:
                return self._lost(failure)
            case _At.CANCEL:
                self._has_asked_cancel = False
                return self._ask_again(failure.detail)
            case _At.POLL:
                return self._ask_again(failure.detail)
            case _At.RESULT:
                return self._wait(failure.detail, is_made=not self._has_failed)
            case _At.FETCH:
                return self._fetch_again(failure.detail)
            case _:
                assert_never(self._at)

    # Submitting

    def _submission(self) -> HttpRequest:
        path = self.model.strip("/")
        if self.request.inputs and not path.endswith("/edit"):
            path += "/edit"
        return HttpRequest(
            method="POST",
            url=f"{self.base_url.rstrip('/')}/{path}",
            headers=(
                *self._credential,
                ("Content-Type", "application/json"),
                ("Accept", "application/json"),
                ("X-Fal-Request-Timeout", str(ceil(self.timeout_s))),
                ("Idempotency-Key", self.idempotency_key),
            ),
            body=self._body(),
        )

    def _body(self) -> Template:
        # The first nano-banana draws one size, and has no field for another.
        name = self.model.strip("/").removesuffix("/edit")
        return encode_input(self.request, n=self.n, states_resolution=not name.endswith("/nano-banana"))

    def _submitted(self, head: Head, answer: Answer) -> Step:
        if not head.is_success:
            return Failed(failure=self._failure(head, answer))
        try:
            handle = decode_submitted(answer.document)
        except WireError as exc:
            return self._lost(malformed(exc, status=head.status))
        return self._keep(handle)

    def _lost(self, failure: Failure) -> Step:
        if self._submitted_id is not None and is_request_id(self._submitted_id):
            # The answer broke off behind a head that names the request.
            return self._keep(Handle(request_id=self._submitted_id))
        if failure.charge is Charge.YES:
            # Nothing was made by then; whether it will be, nobody can ask.
            failure = replace(failure, kind=FailureKind.LOST_REPLY, charge=Charge.UNKNOWN)
        return Failed(failure=named(failure, upstream=self.upstream, base_url=self.base_url))

    def _keep(self, handle: Handle) -> Step:
        self._take(handle)
        self._is_fresh = True
        return Keep(handle=encode_handle(handle))

    def _take(self, handle: Handle) -> None:
        self._urls = Urls.of(handle, base_url=self.base_url, model=self.model)
        self._at = _At.POLL

    # Asking

    @property
    def _known(self) -> Urls:
        assert self._urls is not None, "only a request that the queue has taken is asked for"
        return self._urls

    @property
    def _credential(self) -> tuple[tuple[str, str], ...]:
        return (("Authorization", f"Key {self.key}"),)

    def _question(self, method: str, url: str) -> Step:
        headers = (*self._credential, ("Accept", "application/json"))
        return Send(request=HttpRequest(method=method, url=url, headers=headers, body=()), timeout_s=QUESTION_S)

    def _wait(self, why: str, *, is_made: bool = False, hint_s: float | None = None) -> Step:
        pause_s = min(POLL_S_MAX, POLL_S_FIRST * POLL_S_GROWTH**self._pauses)
        self._pauses = min(self._pauses + 1, PAUSES_GROWING)
        return Wait(delay_s=max(pause_s, min(hint_s or 0.0, HINT_S_MAX)), why=why, is_made=is_made)

    def _ask_again(self, why: str, *, hint_s: float | None = None) -> Step:
        self._at = _At.POLL
        return self._wait(why, hint_s=hint_s)

    def _polled(self, head: Head, answer: Answer) -> Step:
        if head.status == 404 and self._is_let_go:
            return Failed(failure=self._cancelled("it is gone from the queue"))
        if not head.is_success:
            return self._ask_again(f"the last question was answered {head.status}", hint_s=retry_after_s(head))
        try:
            status = decode_status(answer.document)
        except WireError as exc:
            return self._ask_again(exc.message)
        match status.state:
            case QueueState.COMPLETED:
                self._has_failed = status.has_failed
                self._at, self._tries = _At.RESULT, self._tries + 1
                return self.start()
            case QueueState.IN_PROGRESS:
                self._has_begun = True
            case QueueState.IN_QUEUE:
                if self._is_unwanted and not self._has_asked_cancel:
                    self._has_asked_cancel = True
                    self._at = _At.CANCEL
                    return self.start()
        return self._ask_again(f"it was still {status.state.value}")

    # The result

    def _ended(self, head: Head, answer: Answer) -> Step:
        if head.is_success:
            return self._found(answer)
        status, error = head.status, decode_error(answer.document)
        if self._answer is not None:
            # It was here, and named images: they were made, whatever is said of it now.
            return self._fetch_again(f"its result, read again, was answered {status}")
        is_gone = status == 404 or (self._has_failed and status != 422)
        if self._is_let_go and not self._has_begun and is_gone:
            return Failed(failure=self._cancelled(f"its result was answered {status}"))
        # Nothing of the model's, or nothing that lasts: a result that is not there yet, a proxy that has a bad minute.
        is_passing = status in _PASSING or (status >= 500 and not error.is_json)
        if is_passing and not self._has_failed:
            return self._wait(f"its result was answered {status}", is_made=True, hint_s=retry_after_s(head))
        if (status == 400 or status >= 500) and not self._has_failed and self._tries < RESULT_TRIES:
            # 400 says that it is not over: then its status was ahead of it.
            return self._ask_again(f"its result was answered {status}")
        return Failed(failure=self._failure(head, answer))

    def _found(self, answer: Answer) -> Step:
        """Take in what a result holds, and go for what it only names."""
        links = links_of(answer.document)
        first = len(answer.images)
        self._links = {first + at: link for at, link in enumerate(links)}
        named_ones = tuple(
            AnswerImage(index=index, role=Role.RESULT, declared_mime=link.declared_mime)
            for index, link in self._links.items()
        )
        if not answer.images and not links:
            return Failed(failure=self._lacking(FailureKind.NO_IMAGE, Charge.UNKNOWN, "a result without an image"))
        self._got |= {image.index for image in answer.images}
        self._answer = replace(answer, images=(*answer.images, *named_ones), url_only=False)
        return self._next_file()

    @property
    def _wanted(self) -> int:
        return min(index for index in self._links if index not in self._got)

    def _next_file(self) -> Step:
        if self._links.keys() <= self._got:
            return self._done()
        self._at = _At.FETCH
        return self.start()

    def _fetch_again(self, why: str) -> Step:
        """Ask for the result anew: its links are fresh. What cannot be got is left out, if there is something."""
        self._fetches += 1
        if self._fetches >= FETCH_TRIES:
            if self._got:
                return self._done()
            what = f"a link to an image that cannot be fetched ({why})"
            return Failed(failure=self._lacking(FailureKind.MALFORMED, Charge.YES, what))
        self._at = _At.RESULT
        pause_s = min(FETCH_S_MAX, POLL_S_FIRST * 2 ** (self._fetches - 1))
        return Wait(delay_s=pause_s, why=f"its image could not be fetched: {why}", is_made=True)

    def _done(self) -> Step:
        assert self._answer is not None
        got = tuple(image.index for image in self._answer.images if image.index in self._got)
        return Done(results=got[: self.n], drafts=got[self.n :], answer=self._answer)

    # Failures

    def _failure(self, head: Head, answer: Answer) -> Failure:
        error = decode_error(answer.document)
        return failure_of(
            head,
            error_of(head, error),
            upstream=self.upstream,
            secrets=(self.key, self.request.prompt),
            meaning=meaning_of(head, error),
        )

    def _cancelled(self, how: str) -> Failure:
        charge = Charge.UNKNOWN if self._has_begun else Charge.NO
        detail = f"{self.upstream} let go of the request before it was begun: {how}"
        return Failure(kind=FailureKind.CANCELLED, phase=Phase.WAIT, charge=charge, detail=detail)

    def _lacking(self, kind: FailureKind, charge: Charge, what: str) -> Failure:
        detail = f"{self.upstream} gave {what}"[:2000]
        return Failure(kind=kind, phase=Phase.RECEIVE, charge=charge, detail=detail, status=200)
