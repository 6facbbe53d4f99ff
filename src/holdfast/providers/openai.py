"""OpenAI's Images API, and every endpoint shaped like it: generations, and edits when there are input images.

Pure: no I/O, clock or randomness. Towards the vendor `response_format` is left out, since GPT image models refuse it;
relays are asked for `b64_json`, since some give links otherwise. Whoever gives a link all the same has it fetched, so
that the image is kept here: what was paid for does not expire with somebody's link.

Source: openai-python 3.54, openai-openapi (2026-08-21).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from holdfast.config import Provider
from holdfast.policy.sizes import to_openai
from holdfast.providers.conversation import Done, Failed, Send, Step, named
from holdfast.providers.error_answers import failure_of
from holdfast.providers.error_body import ErrorReader
from holdfast.providers.http import Head, HttpRequest
from holdfast.providers.linked import LinkedImages
from holdfast.providers.mapping import Mapping
from holdfast.types import Charge, Failure, FailureKind, Phase, Request
from holdfast.wire.answers import Answer, Reader, Role
from holdfast.wire.openai import ImagesReader, ImagesStreamReader, decode_error, encode_images_request
from holdfast.wire.openai_answer import links_of
from holdfast.wire.template import Template

if TYPE_CHECKING:
    from holdfast.wire.answers import UpstreamError

IMAGES_PER_CALL = 10
MAPPING = Mapping(
    provider=Provider.OPENAI,
    title="OpenAI Images API, and whatever is shaped like it",
    call="POST /v1/images/generations, or /v1/images/edits with reference images",
    fields={
        "prompt": "`prompt`",
        "size": "`size`, the nearest that the API takes; to a relay as the caller wrote it",
        "aspect_ratio": "`size`",
        "n": "`n`, up to 10; to a relay, and in streams, one call for each image",
        "images": "`images[].image_url`, as data URLs",
        "quality": "`quality`",
        "output_format": "`output_format`",
        "output_compression": "`output_compression`",
        "background": "`background`",
        "moderation": "`moderation`",
        "stream": "`stream`",
        "partial_images": "`partial_images`, in a stream",
        "user": "`user`",
        "mask": "`mask.image_url`",
        "input_fidelity": "`input_fidelity`",
    },
)


@dataclass(slots=True, kw_only=True)
class OpenAIConversation:
    """One attempt: one POST for `n` images, one answer; then the files that it names by links, if it holds no image."""

    upstream: str
    """The operator's name for it."""
    base_url: str
    """With the version: `https://api.openai.com/v1`."""
    model: str
    key: str
    request: Request
    idempotency_key: str
    n: int = 1
    """Images to ask for in this call; a generation of several may be split into parts."""
    stream: bool = False
    is_relay: bool = False
    image_bytes_max: int = 64 << 20
    """Largest image taken; `store.image_bytes_max`."""
    _linked: LinkedImages | None = field(default=None, init=False)
    """What an answer named by links."""

    def __repr__(self) -> str:
        return f"<OpenAIConversation {self.idempotency_key} with {self.upstream}, {self.model}>"

    def start(self) -> Step:
        """Ask for the images, or go on where a pause has ended."""
        if self._linked is not None:
            return self._linked.start()
        path = "images/edits" if self.request.inputs else "images/generations"
        return Send(
            request=HttpRequest(
                method="POST",
                url=f"{self.base_url.rstrip('/')}/{path}",
                headers=(
                    ("Authorization", f"Bearer {self.key}"),
                    ("Content-Type", "application/json"),
                    ("Accept", "text/event-stream" if self.stream else "application/json"),
                    ("Idempotency-Key", self.idempotency_key),
                ),
                body=self._body(),
            )
        )

    def head(self, head: Head) -> Reader:
        """Choose by what came, not by what was asked for: relays answer plainly when a stream was wished."""
        if not head.is_success:
            return ErrorReader()
        if self._linked is not None:
            return self._linked.reader()
        if head.is_event_stream:
            return ImagesStreamReader(expected=self.n, image_bytes_max=self.image_bytes_max)
        return ImagesReader(image_bytes_max=self.image_bytes_max)

    def received(self, head: Head, answer: Answer) -> Step:
        """Judge the answer."""
        if self._linked is not None:
            return self._linked.received(head)
        if not head.is_success:
            return Failed(failure=self._failure(head, decode_error(head.status, answer.document)))
        results = tuple(image.index for image in answer.images if image.role is Role.RESULT)
        if results:
            # More than asked for is kept, not delivered. Previews were passed on as they came and are not kept.
            extra = results[self.n :]
            drafts = tuple(image.index for image in answer.images if image.role is Role.DRAFT)
            return Done(results=results[: self.n], drafts=tuple(sorted((*drafts, *extra))), answer=answer)
        if answer.error is not None:
            return Failed(failure=self._failure(head, answer.error))
        if answer.url_only:
            self._linked = LinkedImages(
                upstream=self.upstream,
                base_url=self.base_url,
                image_bytes_max=self.image_bytes_max,
                answer=answer,
                urls=links_of(answer.document),
                wanted=self.n,
            )
            return self._linked.start()
        return Failed(failure=self._lacking(head, FailureKind.NO_IMAGE, Charge.UNKNOWN, "an answer without an image"))

    def failed(self, failure: Failure) -> Step:
        """A call that broke is over; whether another one is made is not decided here. A file is asked for again."""
        if self._linked is not None:
            return self._linked.failed(failure.detail)
        return Failed(failure=named(failure, upstream=self.upstream, base_url=self.base_url))

    def _body(self) -> Template:
        return encode_images_request(
            self.request,
            model=self.model,
            size=self._size(),
            n=self.n,
            stream=self.stream,
            response_format="b64_json" if self.is_relay else None,
        )

    def _size(self) -> str:
        """Say the size in the upstream's words: a relay gets the caller's, since its sizes are its own."""
        geometry = self.request.geometry
        if self.is_relay:
            return self.request.size_as_asked or f"{geometry.width_px}x{geometry.height_px}"
        return to_openai(geometry)

    def _failure(self, head: Head, error: UpstreamError) -> Failure:
        secrets = (self.key, self.request.prompt)
        return failure_of(head, error, upstream=self.upstream, is_relay=self.is_relay, secrets=secrets)

    def _lacking(self, head: Head, kind: FailureKind, charge: Charge, what: str) -> Failure:
        return Failure(
            kind=kind, phase=Phase.RECEIVE, charge=charge, detail=f"{self.upstream} gave {what}", status=head.status
        )
