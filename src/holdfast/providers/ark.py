"""Seedream on Volcengine Ark and BytePlus ModelArk: one call, one picture, in the answer or behind a link.

Pure: no I/O, clock or randomness. The answer is asked for in base64; where a link comes all the same, what it leads to
is paid for: the link is kept, durably, before it is followed, so that any process can go on. The key goes to the
upstream alone, never along with a link.

    call -> Done
      |
      +---- a link -> Keep -> fetch -> Done
                        ^       |
                        +- Wait-+

A call makes one picture, though some models make several: those of a group are drawn one after the other (six take
four minutes), share one answer that can be lost as a whole, and may be fewer than were asked for.

Source: volcengine-python-sdk (2026-07-23); docs.volcengine.com 82379/1541523, 1824137, 1299023; docs.byteplus.com.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import TYPE_CHECKING, assert_never

from holdfast.config import Provider
from holdfast.errors import RequestError
from holdfast.policy.addresses import AddressRules
from holdfast.providers.ark_errors import meaning_of
from holdfast.providers.ark_models import Seedream, check_inputs, model_of, size_of
from holdfast.providers.conversation import Done, Failed, Fetch, Keep, Send, Step, Wait, named
from holdfast.providers.error_answers import failure_of
from holdfast.providers.error_body import ErrorReader
from holdfast.providers.http import Head, HttpRequest
from holdfast.providers.mapping import AT_THE_END, ONE_BY_ONE, Mapping
from holdfast.types import Charge, Failure, FailureKind, Phase, Request
from holdfast.wire.answers import Answer, AnswerImage, Reader, Role
from holdfast.wire.ark import (
    ArkReader,
    ArkStreamReader,
    Contents,
    Link,
    contents_of,
    decode_error,
    decode_handle,
    encode_handle,
    encode_request,
)
from holdfast.wire.image_file import ImageFileReader
from holdfast.wire.template import Template

if TYPE_CHECKING:
    from holdfast.wire.answers import UpstreamError

IMAGES_PER_CALL = 1
MAPPING = Mapping(
    provider=Provider.ARK,
    title="Seedream on Ark and ModelArk",
    call="POST /images/generations",
    fields={
        "prompt": "`prompt`",
        "size": "`size`, in pixels within the bounds of the model: what is smaller becomes its smallest",
        "aspect_ratio": "`size`",
        "n": ONE_BY_ONE,
        "images": "`image[]`, as data URLs; 10 or 14, by the model",
        "output_format": "`output_format`; left out for Seedream 4.x, which makes JPEG",
        "background": "`background`, for Seedream 5.5; left out for the others",
        "stream": AT_THE_END,
    },
    only={"output_format": ("png", "jpeg")},
)
FETCH_TRIES = 6
FETCH_S_FIRST = 0.5
FETCH_S_MAX = 15.0
"""Pauses double up to this: a link is tried for half a minute. It lives for a day, and no other can be had."""
FETCH_TIMEOUT_S = 30.0
"""Until the head of a file's answer."""


class _At(Enum):
    CALL = auto()
    FETCH = auto()


@dataclass(slots=True, kw_only=True)
class ArkConversation:
    """One attempt: one POST for one image, and its file where the answer only names it."""

    upstream: str
    """The operator's name for it."""
    base_url: str
    """With the version: `https://ark.ap-southeast.bytepluses.com/api/v3`."""
    model: str
    """Its id there, or that of an endpoint."""
    key: str
    request: Request
    idempotency_key: str
    is_relay: bool = False
    image_bytes_max: int = 64 << 20
    """Largest image taken; `store.image_bytes_max`."""
    handle: str | None = None
    """An answer of links that an earlier process was given: they are followed, and nothing is asked for again."""
    _at: _At = _At.CALL
    _links: dict[int, Link] = field(default_factory=dict)
    _got: set[int] = field(default_factory=set)
    _fetches: int = 0
    _answer: Answer | None = None

    def __post_init__(self) -> None:
        if self.handle is not None:
            self._take(decode_handle(self.handle))

    def __repr__(self) -> str:
        return f"<ArkConversation {self.idempotency_key} with {self.upstream}, {self.model}: {self._at.name.lower()}>"

    def start(self) -> Step:
        """Ask for the image, or follow the link to it."""
        match self._at:
            case _At.CALL:
                return self._call()
            case _At.FETCH:
                rules = AddressRules.beside(self.base_url)
                return Fetch(url=self._links[self._wanted].url, rules=rules, timeout_s=FETCH_TIMEOUT_S)
            case _:
                assert_never(self._at)

    def head(self, head: Head) -> Reader:
        """Choose by what came: a stream is never asked for, and read if it comes."""
        if not head.is_success:
            return ErrorReader()
        if self._at is _At.FETCH:
            assert self._answer is not None
            return ImageFileReader(index=self._wanted, answer=self._answer, image_bytes_max=self.image_bytes_max)
        if head.is_event_stream:
            return ArkStreamReader(image_bytes_max=self.image_bytes_max)
        return ArkReader(image_bytes_max=self.image_bytes_max)

    def received(self, head: Head, answer: Answer) -> Step:
        """Judge an answer."""
        if self._at is _At.FETCH:
            if not head.is_success:
                return self._fetch_again(f"its file was answered {head.status}")
            self._got.add(self._wanted)
            return self._next_file()
        if not head.is_success:
            return Failed(failure=self._failure(head, decode_error(head.status, answer.document)))
        contents = contents_of(answer.document)
        if any(image.role is Role.RESULT for image in answer.images):
            self._answer, self._got = answer, {image.index for image in answer.images}
            return self._done()
        if contents.links:
            self._take(answer)
            handle = encode_handle(answer.document)
            return Keep(handle=handle) if handle is not None else self.start()
        return Failed(failure=self._without_picture(head, answer, contents))

    def failed(self, failure: Failure) -> Step:
        """Judge an exchange that broke: a call is lost with it, a file is not."""
        if self._at is _At.FETCH:
            return self._fetch_again(failure.detail)
        return Failed(failure=named(failure, upstream=self.upstream, base_url=self.base_url))

    # Asking

    @property
    def _seedream(self) -> Seedream:
        return model_of(self.model, self.request.model)

    def _call(self) -> Step:
        try:
            body = self._body()
        except RequestError as problem:
            return Failed(failure=self._unfit(problem))
        return Send(
            request=HttpRequest(
                method="POST",
                url=f"{self.base_url.rstrip('/')}/images/generations",
                headers=(
                    ("Authorization", f"Bearer {self.key}"),
                    ("Content-Type", "application/json"),
                    ("Accept", "application/json"),
                    ("X-Client-Request-Id", self.idempotency_key),
                    ("Idempotency-Key", self.idempotency_key),
                ),
                body=body,
            )
        )

    def _body(self) -> Template:
        seedream, request = self._seedream, self.request
        check_inputs(seedream, request)
        return encode_request(
            request,
            model=self.model,
            size=size_of(seedream, request.geometry),
            output_format=request.output_format if request.output_format in seedream.formats else None,
            background=request.background if seedream.has_background else None,
        )

    def _unfit(self, problem: RequestError) -> Failure:
        return Failure(
            kind=FailureKind.BAD_REQUEST,
            phase=Phase.SEND,
            charge=Charge.NO,
            detail=f"{self.upstream} (Ark) was not asked: {problem.message}",
            reason=problem.code,
        )

    # Links

    def _take(self, answer: Answer) -> None:
        first = len(answer.images)
        links = contents_of(answer.document).links
        self._links = {first + at: link for at, link in enumerate(links)}
        named_ones = tuple(
            AnswerImage(index=index, role=Role.RESULT, declared_mime=link.declared_mime)
            for index, link in self._links.items()
        )
        self._answer = replace(answer, images=(*answer.images, *named_ones), url_only=False)
        self._got = {image.index for image in answer.images}
        self._at = _At.FETCH

    @property
    def _wanted(self) -> int:
        return min(index for index in self._links if index not in self._got)

    def _next_file(self) -> Step:
        return self._done() if self._links.keys() <= self._got else self.start()

    def _fetch_again(self, why: str) -> Step:
        """Try the link again. What cannot be got is left out, if there is something."""
        self._fetches += 1
        if self._fetches < FETCH_TRIES:
            pause_s = min(FETCH_S_MAX, FETCH_S_FIRST * 2 ** (self._fetches - 1))
            return Wait(delay_s=pause_s, why=f"its image could not be fetched: {why}", is_made=True)
        if self._results:
            return self._done()
        what = f"a link to an image that cannot be fetched ({why})"
        return Failed(failure=self._lacking(FailureKind.MALFORMED, Charge.YES, what))

    # Ends

    @property
    def _results(self) -> tuple[int, ...]:
        assert self._answer is not None
        return tuple(
            image.index for image in self._answer.images if image.role is Role.RESULT and image.index in self._got
        )

    def _done(self) -> Step:
        assert self._answer is not None
        results = self._results[:IMAGES_PER_CALL]
        # More than asked for is kept, not delivered.
        drafts = tuple(sorted(self._got - set(results)))
        return Done(results=results, drafts=drafts, answer=self._answer)

    def _without_picture(self, head: Head, answer: Answer, contents: Contents) -> Failure:
        """Say why a 200 holds no picture: an error for all, one in the place of each, or nothing at all."""
        generated = contents.generated_images
        error = answer.error or next(iter(contents.errors), None)
        if error is not None:
            return self._failure(head, error, generated=generated)
        if answer.images:
            return self._lacking(FailureKind.MALFORMED, Charge.YES, "an image in a place where none belongs")
        charge = Charge.UNKNOWN if generated is None else Charge.YES if generated else Charge.NO
        return self._lacking(FailureKind.NO_IMAGE, charge, "an answer without an image")

    def _failure(self, head: Head, error: UpstreamError, *, generated: int | None = None) -> Failure:
        failure = failure_of(
            head,
            error,
            upstream=self.upstream,
            is_relay=self.is_relay,
            secrets=(self.key, self.request.prompt),
            meaning=meaning_of(head.status, error, generated=generated, is_relay=self.is_relay),
        )
        # An error in a picture's place has no status of its own.
        return replace(failure, status=head.status)

    def _lacking(self, kind: FailureKind, charge: Charge, what: str) -> Failure:
        detail = f"{self.upstream} gave {what}"[:2000]
        return Failure(kind=kind, phase=Phase.RECEIVE, charge=charge, detail=detail, status=200)
