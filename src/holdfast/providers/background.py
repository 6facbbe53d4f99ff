"""An API that works in the background: a request that is paid for, a handle, and questions until it has ended.

Pure: no I/O, clock or randomness. It is bought once: from the moment that the API has named the request, whatever goes
wrong on the way is asked again, until the attempt's time is over. What an API calls things is its `BackgroundApi`'s.

    submit -> Keep -> (Wait, ask)* -> Done
                |        ^
                +--------+-- cancel, while it is queued and nobody wants it any more
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Protocol, assert_never

from holdfast.policy.polling import pause_s
from holdfast.providers.conversation import Done, Failed, Keep, Send, Step, Wait, malformed, named
from holdfast.providers.error_answers import retry_after_s
from holdfast.providers.error_body import ErrorReader
from holdfast.providers.http import Head, HttpRequest
from holdfast.types import Charge, Failure, FailureKind, Phase
from holdfast.wire.answers import Answer, Reader, Role, UpstreamError
from holdfast.wire.background import BackgroundReader, Standing, Told, decode_handle
from holdfast.wire.errors import WireError

QUESTION_S = 30.0
"""Until the head of the answer to a question."""
HINT_S_MAX = 30.0
"""A longer `Retry-After` is not waited for: the answer to a question costs nobody a picture."""
GONE_MAX = 8
"""So often in a row it may be unknown there: just taken, it may be seen late; later, it was not kept long enough."""
UNREADABLE_MAX = 3
"""So often an image that is none is read again: it is what they have, then, and not what the way made of it."""
_UNREADABLE = frozenset({"base64", "too_large"})
"""What is wrong with an image itself, and not with what came in its place."""


class BackgroundApi(Protocol):
    """What one API calls the things that all of them have."""

    @property
    def key(self) -> str:
        """The credential."""

    def submission(self) -> HttpRequest:
        """Write the request that is paid for."""

    def question(self, handle: str) -> HttpRequest:
        """Ask for it."""

    def cancellation(self, handle: str) -> HttpRequest:
        """Take it back."""

    def reader(self) -> BackgroundReader:
        """Make what reads the object that all three are answered with."""

    def told(self, document: bytes) -> Told:
        """Read where the request stands.

        Raises:
            WireError: The document is none of this API's.
        """

    def decode_error(self, status: int, body: bytes) -> UpstreamError:
        """Read the body of an error answer."""

    def failure(self, head: Head, error: UpstreamError) -> Failure:
        """Make the failure of an error: of an answer, or inside an object."""

    def without_image(self, word: str, answer: Answer) -> Failure:
        """Tell why an object that has ended well holds no image, and no error either."""


class _At(Enum):
    SUBMIT = auto()
    ASK = auto()
    CANCEL = auto()


@dataclass(slots=True, kw_only=True)
class BackgroundConversation:
    """One attempt: one submission, and whatever it takes to get what it made."""

    upstream: str
    """The operator's name for it."""
    base_url: str
    api: BackgroundApi
    idempotency_key: str
    expected_s: float
    """Seconds after which half of such images are there; paces the questions."""
    handle: str | None = None
    """Of a request that an earlier process submitted: it is asked for, and never submitted again."""
    _at: _At = _At.SUBMIT
    _is_fresh: bool = False
    """Just taken: nothing can be there yet."""
    _waited_s: float = 0.0
    _reader: BackgroundReader | None = None
    _is_unwanted: bool = False
    _has_asked_cancel: bool = False
    _has_begun: bool = False
    """It was seen at work."""
    _gone: int = 0
    _unreadable: int = 0

    def __post_init__(self) -> None:
        if self.handle is not None:
            self.handle = decode_handle(self.handle)
            self._at = _At.ASK
            # How long ago it was sent, nobody has said: it is asked for as one that is due.
            self._waited_s = self.expected_s

    def __repr__(self) -> str:
        about = f"{self.idempotency_key} with {self.upstream}: {self._at.name.lower()}"
        return f"<BackgroundConversation {about}>"

    def start(self) -> Step:
        """Submit the request, or go on where a pause has ended."""
        if self._is_fresh:
            self._is_fresh = False
            return self._wait("the request has just been taken")
        match self._at:
            case _At.SUBMIT:
                return Send(request=self.api.submission())
            case _At.ASK:
                return Send(request=self.api.question(self._known), timeout_s=QUESTION_S)
            case _At.CANCEL:
                return Send(request=self.api.cancellation(self._known), timeout_s=QUESTION_S)
            case _:
                assert_never(self._at)

    def cancel(self) -> None:
        """Take the request back as soon as the API says that it has not been begun."""
        self._is_unwanted = True

    def head(self, head: Head) -> Reader:
        """Choose by the status."""
        self._reader = self.api.reader() if head.is_success else None
        return self._reader or ErrorReader()

    def received(self, head: Head, answer: Answer) -> Step:
        """Judge an answer."""
        if not head.is_success:
            return self._turned_away(head, answer)
        try:
            told = self.api.told(answer.document)
        except WireError as exc:
            if self._at is _At.SUBMIT:
                if answer.error is not None:
                    return Failed(failure=self.api.failure(head, answer.error))
                return self._lost(malformed(exc, status=head.status))
            return self._ask_again(exc.message)
        self._gone = 0
        if told.standing is Standing.ENDED:
            return self._ended(head, told, answer)
        self._has_begun = self._has_begun or told.standing is Standing.AT_WORK
        if self._at is _At.SUBMIT:
            return self._keep(told.handle) if told.handle is not None else self._lost(_nameless(head))
        if told.standing is Standing.QUEUED and self._is_unwanted and not self._has_asked_cancel:
            self._has_asked_cancel, self._at = True, _At.CANCEL
            return self.start()
        return self._ask_again(f"it was still {told.word}")

    def failed(self, failure: Failure) -> Step:
        """Judge an exchange that broke, or a body that could not be read: only a submission can be lost."""
        match self._at:
            case _At.SUBMIT:
                return self._lost(failure)
            case _At.CANCEL:
                self._has_asked_cancel = False
            case _At.ASK:
                self._unreadable = self._unreadable + 1 if failure.reason in _UNREADABLE else 0
                if self._unreadable >= UNREADABLE_MAX:
                    return Failed(failure=self._named(failure))
            case _:
                assert_never(self._at)
        return self._ask_again(failure.detail)

    # Submitting

    def _keep(self, handle: str) -> Step:
        self.handle, self._at, self._is_fresh = handle, _At.ASK, True
        return Keep(handle=handle)

    def _lost(self, failure: Failure) -> Step:
        handle = self._reader.handle_so_far if self._reader is not None else None
        if handle is not None:
            # The answer broke off behind the name of the request.
            return self._keep(handle)
        if failure.charge is Charge.YES:
            # Nothing was made by then; whether it will be, nobody can ask.
            failure = replace(failure, kind=FailureKind.LOST_REPLY, charge=Charge.UNKNOWN)
        return Failed(failure=self._named(failure))

    # Asking

    @property
    def _known(self) -> str:
        assert self.handle is not None, "only a request that has a name is asked for"
        return self.handle

    def _wait(self, why: str, *, hint_s: float | None = None) -> Step:
        delay_s = pause_s(waited_s=self._waited_s, expected_s=self.expected_s)
        delay_s = max(delay_s, min(hint_s or 0.0, HINT_S_MAX))
        self._waited_s += delay_s
        return Wait(delay_s=delay_s, why=why, is_made=self._reader is not None and self._reader.has_image)

    def _ask_again(self, why: str, *, hint_s: float | None = None) -> Step:
        self._at = _At.ASK
        return self._wait(why, hint_s=hint_s)

    def _turned_away(self, head: Head, answer: Answer) -> Step:
        error = self.api.decode_error(head.status, answer.document)
        if self._at is _At.SUBMIT:
            return Failed(failure=self.api.failure(head, error))
        if self._at is _At.ASK and head.status in (404, 410):
            self._gone += 1
            if self._gone >= GONE_MAX:
                return Failed(failure=self._forgotten(head))
        return self._ask_again(f"the last question was answered {head.status}", hint_s=retry_after_s(head))

    def _ended(self, head: Head, told: Told, answer: Answer) -> Step:
        results = tuple(image.index for image in answer.images if image.role is Role.RESULT)
        if results:
            drafts = tuple(image.index for image in answer.images if image.role is Role.DRAFT)
            return Done(results=results, drafts=drafts, answer=answer)
        if told.word == "cancelled":
            return Failed(failure=self._cancelled(answer))
        if answer.error is not None:
            return Failed(failure=self.api.failure(head, answer.error))
        return Failed(failure=self.api.without_image(told.word, answer))

    # Failures

    def _named(self, failure: Failure) -> Failure:
        return named(failure, upstream=self.upstream, base_url=self.base_url)

    def _forgotten(self, head: Head) -> Failure:
        detail = f"{self.upstream} knows of no such request any more: what became of it cannot be asked"
        return Failure(
            kind=FailureKind.LOST_REPLY, phase=Phase.WAIT, charge=Charge.UNKNOWN, detail=detail, status=head.status
        )

    def _cancelled(self, answer: Answer) -> Failure:
        has_used = answer.usage is not None and answer.usage.output_tokens > 0
        is_free = self._has_asked_cancel and not self._has_begun and not has_used
        before = "before it was begun" if is_free else "and may have begun it"
        return Failure(
            kind=FailureKind.CANCELLED,
            phase=Phase.WAIT,
            charge=Charge.NO if is_free else Charge.UNKNOWN,
            detail=f"{self.upstream} has cancelled the request {before}",
        )


def _nameless(head: Head) -> Failure:
    return malformed(WireError("json", "the answer names no request"), status=head.status)
