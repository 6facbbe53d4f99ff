"""Google's Gemini API, and relays that offer it: one call of `generateContent` makes one image.

Pure: no I/O, clock or randomness. `X-Server-Timeout` is always sent: without it Google's front end ends some calls at
about 60 s with a 503; with it they last as long as asked.

Source: google-genai 3.4; ai.google.dev/api/generate-content (2026-10); forum report 174261 for the header.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

from holdfast.config import Provider
from holdfast.providers.conversation import Done, Failed, Send, Step, named
from holdfast.providers.error_answers import Meaning, failure_of
from holdfast.providers.error_body import ErrorReader
from holdfast.providers.http import Head, HttpRequest
from holdfast.providers.mapping import ONE_BY_ONE, Mapping
from holdfast.types import Charge, Failure, FailureKind, Phase, Request
from holdfast.wire.answers import Answer, Reader, Role
from holdfast.wire.gemini import GenerateReader, GenerateStreamReader, decode_error, encode_generate_request

if TYPE_CHECKING:
    from holdfast.wire.answers import UpstreamError
    from holdfast.wire.template import Template

IMAGES_PER_CALL = 1
"""`candidateCount` is not honoured by image models."""

MAPPING = Mapping(
    provider=Provider.GEMINI,
    title="Gemini API, `generateContent`",
    call="POST /v1beta/models/{model}:generateContent",
    fields={
        "prompt": "`contents[].parts[].text`",
        "size": "`generationConfig.imageConfig.imageSize`; left out for gemini-2.5-flash-image, which refuses it",
        "aspect_ratio": "`generationConfig.imageConfig.aspectRatio`",
        "n": ONE_BY_ONE,
        "images": "`contents[].parts[].inlineData`",
        "stream": "`:streamGenerateContent?alt=sse`",
    },
)

_VERSIONS = ("/v1", "/v1beta", "/v1beta1", "/v1alpha")
_DEFAULT_VERSION = "/v1beta"
"""Served by Google and by every relay; `v1` is not."""
REFUSED_FINISHES = frozenset(
    {
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "PROHIBITED_CONTENT",
        "SAFETY",
        "BLOCKLIST",
        "SPII",
        "IMAGE_RECITATION",
        "RECITATION",
        "MODEL_ARMOR",
    }
)


def versioned_url(base_url: str, *, default: str = _DEFAULT_VERSION) -> str:
    """Give the address that paths are appended to; `default` is the version where it has none."""
    base_url = base_url.rstrip("/")
    return base_url if base_url.endswith(_VERSIONS) else base_url + default


def draws_one_size(model: str) -> bool:
    """Whether a model refuses to be told a size."""
    return model.startswith("gemini-2.5-flash-image")


@dataclass(frozen=True, slots=True, kw_only=True)
class GeminiConversation:
    """One attempt: one POST, one answer."""

    upstream: str
    """The operator's name for it."""
    base_url: str
    model: str
    """Its name there: `gemini-3-pro-image`."""
    key: str
    request: Request
    idempotency_key: str
    timeout_s: float
    """How long the attempt may take; told to the server."""
    stream: bool = False
    is_relay: bool = False
    image_bytes_max: int = 64 << 20
    """Largest image taken; `store.image_bytes_max`."""

    def __repr__(self) -> str:
        return f"<GeminiConversation {self.idempotency_key} with {self.upstream}, {self.model}>"

    def start(self) -> Step:
        """Ask for the image."""
        method = "streamGenerateContent?alt=sse" if self.stream else "generateContent"
        return Send(
            request=HttpRequest(
                method="POST",
                url=f"{self._models_url()}/{self.model}:{method}",
                headers=(
                    self._credential(),
                    ("Content-Type", "application/json"),
                    ("Accept", "text/event-stream" if self.stream else "application/json"),
                    ("X-Server-Timeout", str(ceil(self.timeout_s))),
                    ("Idempotency-Key", self.idempotency_key),
                ),
                body=self._body(),
            )
        )

    def head(self, head: Head) -> Reader:
        """Choose by what came, not by what was asked for: relays answer plainly when a stream was wished."""
        if not head.is_success:
            return ErrorReader()
        reader = GenerateStreamReader if head.is_event_stream else GenerateReader
        return reader(image_bytes_max=self.image_bytes_max)

    def received(self, head: Head, answer: Answer) -> Step:
        """Judge the answer."""
        if not head.is_success:
            return Failed(failure=self._failure(head, decode_error(head.status, answer.document)))
        results = tuple(image.index for image in answer.images if image.role is Role.RESULT)
        if results:
            drafts = tuple(image.index for image in answer.images if image.role is not Role.RESULT)
            return Done(results=results, drafts=drafts, answer=answer)
        if answer.error is not None:
            return Failed(failure=self._failure(head, answer.error))
        return Failed(failure=self._without_image(head, answer))

    def failed(self, failure: Failure) -> Step:
        """A call that broke is over; whether another one is made is not decided here."""
        return Failed(failure=named(failure, upstream=self.upstream, base_url=self.base_url))

    def _models_url(self) -> str:
        return f"{versioned_url(self.base_url)}/models"

    def _credential(self) -> tuple[str, str]:
        return ("x-goog-api-key", self.key)

    def _body(self) -> Template:
        return encode_generate_request(self.request, states_image_size=not draws_one_size(self.model))

    def _meaning(self, head: Head, error: UpstreamError) -> Meaning | None:
        """What an error means where its status and code do not say it all; None: what they say."""
        return None

    def _failure(self, head: Head, error: UpstreamError) -> Failure:
        secrets = (self.key, self.request.prompt)
        return failure_of(
            head,
            error,
            upstream=self.upstream,
            is_relay=self.is_relay,
            secrets=secrets,
            meaning=self._meaning(head, error),
        )

    def _without_image(self, head: Head, answer: Answer) -> Failure:
        """Tell why a 200 holds no image; Google says refusals this way, and states that it bills no picture then."""
        reason = answer.block_reason or answer.finish_reason
        refused = Charge.YES if self.is_relay else Charge.NO
        if answer.block_reason is not None:
            kind, charge, what = FailureKind.REFUSED_INPUT, refused, "refused the prompt"
        elif answer.finish_reason in REFUSED_FINISHES:
            kind, charge, what = FailureKind.REFUSED_OUTPUT, refused, "refused to show the image it made"
        elif answer.finish_reason is None and head.is_event_stream:
            kind, charge, what = FailureKind.LOST_REPLY, Charge.UNKNOWN, "ended its stream without a finishReason"
        else:
            text = ", in its place text" if answer.text_chars else ""
            kind, charge, what = FailureKind.NO_IMAGE, Charge.UNKNOWN, f"made no image{text}"
        detail = f"{self.upstream} {what}" + (f" ({reason})" if reason else "")
        return Failure(
            kind=kind, phase=Phase.RECEIVE, charge=charge, detail=detail[:2000], status=head.status, reason=reason
        )
