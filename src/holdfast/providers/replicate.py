"""Replicate: large reference images handed over first, a prediction that is paid for, questions until it has ended.

Pure: no I/O, clock or randomness. It is bought once: from the moment that a prediction has an id, whatever goes wrong
on the way is asked again, until the attempt's time is over. The key goes to the upstream's own address only: questions
stay on its origin, whatever URLs an answer gives, and pictures are fetched without it.

    (upload)* -> create -> Keep -> (Wait, poll)* -> (fetch)* -> Done
                                     ^                 |
                                     +---- again ------+

Source: replicate.com/docs, HTTP reference, predictions, rate limits (2026); replicate Python `prediction.py`,
`helpers.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from math import ceil
from typing import assert_never

from holdfast.config import Provider
from holdfast.policy.addresses import AddressRules
from holdfast.providers.conversation import Done, Failed, Fetch, Keep, Send, Step, Wait, malformed, named
from holdfast.providers.error_answers import failure_of, meaning_of, retry_after_s
from holdfast.providers.error_body import ErrorReader
from holdfast.providers.fal_urls import is_same_origin
from holdfast.providers.http import Head, HttpRequest
from holdfast.providers.mapping import AT_THE_END, ONE_BY_ONE, Mapping
from holdfast.providers.replicate_errors import code_of, meaning_of_failed
from holdfast.types import Charge, Failure, FailureKind, Phase, Request
from holdfast.wire.answers import Answer, AnswerImage, Reader, Role
from holdfast.wire.errors import WireError
from holdfast.wire.image_file import ImageFileReader
from holdfast.wire.replicate import (
    Handle,
    Link,
    Prediction,
    PredictionReader,
    PredictionState,
    decode_error,
    decode_file,
    decode_handle,
    decode_prediction,
    encode_handle,
    encode_prediction,
    encode_upload,
)

IMAGES_PER_CALL = 1
MAPPING = Mapping(
    provider=Provider.REPLICATE,
    title="Replicate",
    call="POST /v1/models/{owner}/{name}/predictions, after POST /v1/files for large reference images",
    fields={
        "prompt": "`input.prompt`",
        "size": "`input.resolution`; left out for the first nano-banana, which draws one size",
        "aspect_ratio": "`input.aspect_ratio`",
        "n": ONE_BY_ONE,
        "images": "`input.image_input[]`: up to 256 KiB together as data URIs, the others handed over before",
        "output_format": "`input.output_format`",
        "stream": AT_THE_END,
    },
    only={"output_format": ("png", "jpeg")},
)
INLINE_BYTES_MAX = 256 << 10
"""Of all reference images that go along as data URIs; each answer says them again. Source: replicate.com/docs."""
UPLOAD_TRIES = 3
POLL_S_FIRST = 0.5
POLL_S_MAX = 5.0
"""A picture takes 10 s to minutes: this adds a few per cent. The vendor's own clients ask twice a second."""
POLL_S_GROWTH = 1.5
PAUSES_GROWING = 10
"""By then they are at their bound."""
HINT_S_MAX = 30.0
"""A longer `Retry-After` is not waited for: the answer to a question costs nobody a picture."""
QUESTION_S = 30.0
"""Until the head of an answer, or of a file."""
FETCH_TRIES = 8
FETCH_S_MAX = 15.0
"""Pauses double up to this: a link is tried for three quarters of a minute. It lives for an hour."""
CANCEL_AFTER_S_MIN = 5
"""Shorter ones are refused."""
_HASH = re.compile(r"[0-9a-f]{64}")


class _At(Enum):
    UPLOAD = auto()
    CREATE = auto()
    POLL = auto()
    CANCEL = auto()
    FETCH = auto()


@dataclass(slots=True, kw_only=True)
class ReplicateConversation:
    """One attempt: one prediction for one image, and whatever it takes to get it."""

    upstream: str
    """The operator's name for it."""
    base_url: str
    """`https://api.replicate.com`; a `/v1` behind it is as good."""
    model: str
    """`google/nano-banana-pro`, `owner/name:version`, a version's hash, or `deployments/owner/name`."""
    key: str
    request: Request
    idempotency_key: str
    timeout_s: float
    """How long the attempt may take; told to the server, which then begins nothing after it, and stops."""
    image_bytes_max: int = 64 << 20
    """Largest image taken; `store.image_bytes_max`."""
    handle: str | None = None
    """Of a prediction that an earlier process created: it is polled, and never created again."""
    _at: _At = _At.CREATE
    _known: Handle | None = None
    _told: Prediction | None = None
    """What the answer to the creation says; judged as the first poll's."""
    _to_upload: list[int] = field(default_factory=list)
    _uploaded: dict[int, str] = field(default_factory=dict)
    _upload_tries: int = 0
    _pauses: int = 0
    _is_unwanted: bool = False
    _has_asked_cancel: bool = False
    _has_begun: bool = False
    """It was seen at work."""
    _fetches: int = 0
    _links: dict[int, Link] = field(default_factory=dict)
    _got: set[int] = field(default_factory=set)
    _answer: Answer | None = None

    def __post_init__(self) -> None:
        if self.handle is not None:
            self._known, self._at = decode_handle(self.handle), _At.POLL
            return
        room = INLINE_BYTES_MAX
        for index, image in enumerate(self.request.inputs):
            if image.bytes <= room:
                room -= image.bytes
            else:
                self._to_upload.append(index)
        if self._to_upload:
            self._at = _At.UPLOAD

    def __repr__(self) -> str:
        at = self._at.name.lower()
        return f"<ReplicateConversation {self.idempotency_key} with {self.upstream}, {self.model}: {at}>"

    def start(self) -> Step:
        """Hand over a file, create the prediction, or go on where a pause has ended."""
        match self._at:
            case _At.UPLOAD:
                if self._is_unwanted:
                    return Failed(failure=self._cancelled(Charge.NO))
                return Send(request=self._upload())
            case _At.CREATE:
                return Send(request=self._creation())
            case _At.POLL:
                if self._told is not None:
                    told, self._told = self._told, None
                    return self._stands(told)
                return self._question("GET", self._url("get_url", ""))
            case _At.CANCEL:
                return self._question("POST", self._url("cancel_url", "/cancel"))
            case _At.FETCH:
                rules = AddressRules.beside(self.base_url)
                return Fetch(url=self._links[self._wanted].url, rules=rules, timeout_s=QUESTION_S)
            case _:
                assert_never(self._at)

    def cancel(self) -> None:
        """Take the prediction back as soon as it is said that it has not been begun."""
        self._is_unwanted = True

    def head(self, head: Head) -> Reader:
        """Choose by what is being done."""
        if not head.is_success:
            return ErrorReader()
        match self._at:
            case _At.UPLOAD | _At.CANCEL:
                # Small documents, which are read patiently: what cannot be understood is asked for again.
                return ErrorReader()
            case _At.FETCH:
                assert self._answer is not None
                return ImageFileReader(index=self._wanted, answer=self._answer, image_bytes_max=self.image_bytes_max)
            case _At.CREATE | _At.POLL:
                return PredictionReader(image_bytes_max=self.image_bytes_max)
            case _:
                assert_never(self._at)

    def received(self, head: Head, answer: Answer) -> Step:
        """Judge an answer."""
        match self._at:
            case _At.UPLOAD:
                return self._handed_over(head, answer)
            case _At.CREATE:
                return self._created(head, answer)
            case _At.POLL:
                return self._polled(head, answer)
            case _At.CANCEL:
                return self._ask_again(f"a cancel was answered {head.status}")
            case _At.FETCH:
                if not head.is_success:
                    return self._fetch_again(f"its file was answered {head.status}")
                self._got.add(self._wanted)
                return self._next_file()
            case _:
                assert_never(self._at)

    def failed(self, failure: Failure) -> Step:
        """Judge an exchange that broke: only a creation can be lost."""
        match self._at:
            case _At.UPLOAD:
                return self._upload_again(named(failure, upstream=self.upstream, base_url=self.base_url))
            case _At.CREATE:
                return self._lost(failure)
            case _At.CANCEL:
                self._has_asked_cancel = False
                return self._ask_again(failure.detail)
            case _At.POLL:
                return self._not_now(failure.detail)
            case _At.FETCH:
                return self._fetch_again(failure.detail)
            case _:
                assert_never(self._at)

    # Handing over files

    @property
    def _root(self) -> str:
        return self.base_url.rstrip("/").removesuffix("/v1") + "/v1"

    @property
    def _credential(self) -> tuple[tuple[str, str], ...]:
        return (("Authorization", f"Bearer {self.key}"), ("Accept", "application/json"))

    def _upload(self) -> HttpRequest:
        index = self._to_upload[0]
        content_type, body = encode_upload(self.request.inputs[index], index=index)
        # Each is a request of its own: an answer to the first, given again, would name the wrong image.
        key = f"{self.idempotency_key}.input-{index}"
        headers = (*self._credential, ("Content-Type", content_type), ("Idempotency-Key", key))
        return HttpRequest(method="POST", url=f"{self._root}/files", headers=headers, body=body)

    def _handed_over(self, head: Head, answer: Answer) -> Step:
        if not head.is_success:
            failure = self._failure(head, answer)
            is_passing = head.status == 429 or head.status >= 500
            return self._upload_again(failure) if is_passing else Failed(failure=replace(failure, charge=Charge.NO))
        try:
            self._uploaded[self._to_upload[0]] = decode_file(answer.document)
        except WireError as exc:
            return self._upload_again(malformed(exc, status=head.status))
        self._to_upload.pop(0)
        self._upload_tries = 0
        if not self._to_upload:
            self._at = _At.CREATE
        return self.start()

    def _upload_again(self, failure: Failure) -> Step:
        """Try to hand a file over again. Nothing has been asked for, so nothing of it can cost."""
        self._upload_tries += 1
        if self._upload_tries >= UPLOAD_TRIES:
            kind = FailureKind.UNREACHABLE if failure.kind is FailureKind.MALFORMED else failure.kind
            detail = f"a reference image could not be handed over: {failure.detail}"[:2000]
            return Failed(failure=replace(failure, kind=kind, charge=Charge.NO, detail=detail))
        return self._wait(failure.detail, hint_s=failure.retry_after_s)

    # Creating

    def _creation(self) -> HttpRequest:
        path, version = self._place
        name = self.model.partition(":")[0]
        return HttpRequest(
            method="POST",
            url=f"{self._root}/{path}",
            headers=(
                *self._credential,
                ("Content-Type", "application/json"),
                ("Prefer", "respond-async"),
                ("Cancel-After", f"{max(CANCEL_AFTER_S_MIN, ceil(self.timeout_s))}s"),
                ("Idempotency-Key", self.idempotency_key),
            ),
            # The first nano-banana draws one size, and has no field for another.
            body=encode_prediction(
                self.request,
                version=version,
                uploaded=self._uploaded,
                states_resolution=not name.endswith("/nano-banana"),
            ),
        )

    @property
    def _place(self) -> tuple[str, str | None]:
        """Where it is created, and the version that the body names there."""
        model = self.model.strip("/")
        if _HASH.fullmatch(model) or ":" in model:
            return "predictions", model
        if model.startswith("deployments/"):
            return f"{model}/predictions", None
        return f"models/{model}/predictions", None

    def _created(self, head: Head, answer: Answer) -> Step:
        if not head.is_success:
            return Failed(failure=self._failure(head, answer))
        try:
            told = decode_prediction(answer.document)
        except WireError as exc:
            return self._lost(malformed(exc, status=head.status))
        self._known, self._at = told.handle, _At.POLL
        # One that has ended already is asked for once more, where its pictures are taken in.
        self._told = told if told.state is not PredictionState.SUCCEEDED else None
        return Keep(handle=encode_handle(told.handle))

    def _lost(self, failure: Failure) -> Step:
        if failure.charge is Charge.YES:
            # Nothing was made by then; whether it will be, nobody can ask.
            failure = replace(failure, kind=FailureKind.LOST_REPLY, charge=Charge.UNKNOWN)
        return Failed(failure=named(failure, upstream=self.upstream, base_url=self.base_url))

    # Asking

    def _url(self, name: str, suffix: str) -> str:
        """Choose the answer's own URL where it may be followed, and the documented one elsewhere."""
        assert self._known is not None, "only a prediction that was created is asked for"
        given: str | None = getattr(self._known, name)
        if given is not None and is_same_origin(given, self.base_url):
            return given
        return f"{self._root}/predictions/{self._known.id}{suffix}"

    def _question(self, method: str, url: str) -> Step:
        return Send(
            request=HttpRequest(method=method, url=url, headers=self._credential, body=()), timeout_s=QUESTION_S
        )

    def _wait(self, why: str, *, hint_s: float | None = None) -> Step:
        pause_s = min(POLL_S_MAX, POLL_S_FIRST * POLL_S_GROWTH**self._pauses)
        self._pauses = min(self._pauses + 1, PAUSES_GROWING)
        return Wait(delay_s=max(pause_s, min(hint_s or 0.0, HINT_S_MAX)), why=why)

    def _ask_again(self, why: str, *, hint_s: float | None = None) -> Step:
        self._at = _At.POLL
        return self._wait(why, hint_s=hint_s)

    def _polled(self, head: Head, answer: Answer) -> Step:
        if not head.is_success:
            why = f"the last question was answered {head.status}"
            return self._not_now(why, hint_s=retry_after_s(head))
        try:
            told = decode_prediction(answer.document)
        except WireError as exc:
            return self._not_now(exc.message)
        if told.state is PredictionState.SUCCEEDED:
            return self._found(answer, told)
        if self._answer is not None:
            # It was here, and named images: they were made, whatever is said of it now.
            return self._fetch_again(f"its prediction, read again, was {told.state.value}")
        return self._stands(told)

    def _not_now(self, why: str, *, hint_s: float | None = None) -> Step:
        """A question that was not answered: one for pictures that are there counts among the tries to get them."""
        return self._ask_again(why, hint_s=hint_s) if self._answer is None else self._fetch_again(why)

    def _stands(self, told: Prediction) -> Step:
        self._has_begun |= told.has_started
        match told.state:
            case PredictionState.STARTING | PredictionState.PROCESSING:
                if self._is_unwanted and not self._has_begun and not self._has_asked_cancel:
                    self._has_asked_cancel, self._at = True, _At.CANCEL
                    return self.start()
                return self._ask_again(f"it was still {told.state.value}")
            case PredictionState.FAILED:
                return Failed(failure=self._model_failure(told))
            case PredictionState.CANCELED | PredictionState.ABORTED:
                return Failed(failure=self._stopped(told))
            case PredictionState.SUCCEEDED:
                raise AssertionError("a prediction that succeeded is looked into, not at")
            case _:
                assert_never(told.state)

    # The result

    def _found(self, answer: Answer, told: Prediction) -> Step:
        """Take in what a prediction holds, and go for what it only names."""
        first = len(answer.images)
        if not answer.images and not told.links:
            if self._answer is not None:
                return self._fetch_again("its prediction, read again, names no file")
            return Failed(failure=self._lacking(FailureKind.NO_IMAGE, Charge.UNKNOWN, "a prediction without an image"))
        self._links = {first + at: link for at, link in enumerate(told.links)}
        named_ones = tuple(AnswerImage(index=index, role=Role.RESULT) for index in self._links)
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
        """Ask for the prediction anew. What cannot be got is left out, if there is something."""
        self._fetches += 1
        if self._fetches >= FETCH_TRIES:
            if self._got:
                return self._done()
            what = f"a link to an image that cannot be fetched ({why})"
            return Failed(failure=self._lacking(FailureKind.MALFORMED, Charge.YES, what))
        self._at = _At.POLL
        pause_s = min(FETCH_S_MAX, POLL_S_FIRST * 2 ** (self._fetches - 1))
        return Wait(delay_s=pause_s, why=f"its image could not be fetched: {why}", is_made=True)

    def _done(self) -> Step:
        assert self._answer is not None
        got = tuple(image.index for image in self._answer.images if image.index in self._got)
        # More than asked for is kept, not delivered.
        return Done(results=got[:IMAGES_PER_CALL], drafts=got[IMAGES_PER_CALL:], answer=self._answer)

    # Failures

    def _failure(self, head: Head, answer: Answer) -> Failure:
        error = decode_error(head.status, answer.document)
        return failure_of(
            head,
            error,
            upstream=self.upstream,
            secrets=(self.key, self.request.prompt),
            meaning=meaning_of(head.status, error),
        )

    def _model_failure(self, told: Prediction) -> Failure:
        """A model's own words may quote the prompt: only the code in them is told."""
        meaning, code = meaning_of_failed(told.error), code_of(told.error)
        return Failure(
            kind=meaning.kind,
            phase=Phase.WAIT,
            charge=meaning.charge,
            detail=f"{self.upstream} says that the prediction failed" + (f" ({code})" if code else ""),
            status=200,
            reason=code or told.state.value,
        )

    def _stopped(self, told: Prediction) -> Failure:
        """A prediction that was ended before it had a result: what was not begun costs nothing, the rest is billed."""
        has_begun = self._has_begun and told.state is not PredictionState.ABORTED
        charge = Charge.YES if has_begun else Charge.NO
        if self._has_asked_cancel:
            return self._cancelled(charge)
        how = "while it was worked at" if has_begun else "before it was begun"
        return Failure(
            kind=FailureKind.UPSTREAM_TIMEOUT,
            phase=Phase.WAIT,
            charge=charge,
            detail=f"{self.upstream} ended the prediction {how}: {told.state.value}",
            status=200,
            reason=told.state.value,
        )

    def _cancelled(self, charge: Charge) -> Failure:
        how = "before it was begun" if charge is Charge.NO else "while it was worked at"
        detail = f"{self.upstream} let go of the request {how}"
        return Failure(kind=FailureKind.CANCELLED, phase=Phase.WAIT, charge=charge, detail=detail)

    def _lacking(self, kind: FailureKind, charge: Charge, what: str) -> Failure:
        detail = f"{self.upstream} gave {what}"[:2000]
        return Failure(kind=kind, phase=Phase.RECEIVE, charge=charge, detail=detail, status=200)
