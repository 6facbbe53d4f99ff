"""Google's Interactions in the background: the one way into Gemini that can be left and come back to.

Pure: no I/O, clock or randomness. One call makes one image. What has no documented spelling, the words of a refusal, is
taken as `generateContent`'s reasons are spelled, in either case.

Source: google-genai 3.4 `_gaos/interactions.py`, `_gaos/types/interactions`; ai.google.dev, Interactions API (2026).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from holdfast.config import Provider, UpstreamApi
from holdfast.providers.error_answers import Meaning, failure_of, meaning_of, status_of
from holdfast.providers.gemini import REFUSED_FINISHES, draws_one_size, versioned_url
from holdfast.providers.http import Head, HttpRequest
from holdfast.providers.mapping import AT_THE_END, ONE_BY_ONE, Mapping
from holdfast.types import Charge, Failure, FailureKind, Phase, Request
from holdfast.wire.answers import Answer, UpstreamError
from holdfast.wire.background import BackgroundReader, Told
from holdfast.wire.gemini import decode_error
from holdfast.wire.interactions import interaction_reader, told_of
from holdfast.wire.interactions_request import FORMATS, encode_interaction

IMAGES_PER_CALL = 1
MAPPING = Mapping(
    provider=Provider.GEMINI,
    api=UpstreamApi.INTERACTIONS,
    title="Gemini API, Interactions in the background",
    call="POST /v1beta/interactions, then GET /v1beta/interactions/{id}",
    fields={
        "prompt": "`input[].text`",
        "size": "`response_format.image_size`; left out for gemini-2.5-flash-image, which draws one size",
        "aspect_ratio": "`response_format.aspect_ratio`",
        "n": ONE_BY_ONE,
        "images": "`input[].data`",
        "output_format": "`response_format.mime_type`, if `jpeg`; another cannot be chosen",
        "stream": AT_THE_END,
    },
    only={"output_format": FORMATS},
)
_BLOCKED_PROMPT = frozenset({"PROMPT_BLOCKED", "PROHIBITED_CONTENT", "SAFETY", "BLOCKLIST", "JAILBREAK"})
"""Of the words that both stages share, those that say nothing of a picture: nothing was drawn yet."""
_STATUSES = {
    "INVALID_REQUEST": 400,
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "RATE_LIMIT_EXCEEDED": 429,
    "TOO_MANY_REQUESTS": 429,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "OVERLOADED": 503,
    "DEADLINE_EXCEEDED": 504,
}
"""What a code says where no status does. Source: google.rpc.Code, and the words of the API's own envelopes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GeminiInteractions:
    """See `BackgroundApi`."""

    upstream: str
    base_url: str
    model: str
    """What draws: `gemini-3-pro-image`."""
    key: str
    request: Request
    idempotency_key: str
    timeout_s: float
    """How long the attempt may take."""
    is_relay: bool = False
    image_bytes_max: int = 64 << 20

    def __repr__(self) -> str:
        return f"<GeminiInteractions {self.upstream}, {self.model}>"

    def submission(self) -> HttpRequest:
        """Write the request that is paid for."""
        headers = (
            *self._headers,
            ("Content-Type", "application/json"),
            ("X-Server-Timeout", str(ceil(self.timeout_s))),
            ("Idempotency-Key", self.idempotency_key),
        )
        body = encode_interaction(self.request, model=self.model, states_image_size=not draws_one_size(self.model))
        return HttpRequest(method="POST", url=self._url, headers=headers, body=body)

    def question(self, handle: str) -> HttpRequest:
        """Ask for it."""
        return HttpRequest(method="GET", url=f"{self._url}/{handle}?stream=false", headers=self._headers, body=())

    def cancellation(self, handle: str) -> HttpRequest:
        """Take it back."""
        return HttpRequest(method="POST", url=f"{self._url}/{handle}/cancel", headers=self._headers, body=())

    def reader(self) -> BackgroundReader:
        """Make what reads an interaction."""
        return interaction_reader(image_bytes_max=self.image_bytes_max)

    def told(self, document: bytes) -> Told:
        """Read where it stands."""
        return told_of(document)

    def decode_error(self, status: int, body: bytes) -> UpstreamError:
        """Read an error body."""
        return decode_error(status, body)

    def failure(self, head: Head, error: UpstreamError) -> Failure:
        """Make the failure of an error."""
        return failure_of(
            head,
            error,
            upstream=self.upstream,
            is_relay=self.is_relay,
            secrets=(self.key, self.request.prompt),
            meaning=self._meaning_of(head, error),
        )

    def _meaning_of(self, head: Head, error: UpstreamError) -> Meaning:
        word = (error.code or "").upper()
        refused = Charge.YES if self.is_relay else Charge.NO
        if word in _BLOCKED_PROMPT:
            return Meaning(kind=FailureKind.REFUSED_INPUT, charge=refused)
        if word in REFUSED_FINISHES:
            return Meaning(kind=FailureKind.REFUSED_OUTPUT, charge=refused)
        status = _STATUSES.get(word, status_of(error)) if head.is_success else head.status
        return meaning_of(status, error, is_relay=self.is_relay)

    def without_image(self, word: str, answer: Answer) -> Failure:
        """Tell why there is none."""
        if word == "failed":
            kind, charge, what = FailureKind.SERVER_FAULT, Charge.UNKNOWN, "failed, and does not say why"
        elif answer.url_only:
            kind, charge, what = FailureKind.MALFORMED, Charge.YES, "gave a link instead of the image"
        else:
            text = ", in its place text" if answer.text_chars else ""
            kind, charge, what = FailureKind.NO_IMAGE, Charge.UNKNOWN, f"made no image{text}"
        return Failure(
            kind=kind,
            phase=Phase.RECEIVE,
            charge=charge,
            detail=f"{self.upstream} {what} ({word})",
            status=200,
            reason=word,
        )

    @property
    def _url(self) -> str:
        return f"{versioned_url(self.base_url)}/interactions"

    @property
    def _headers(self) -> tuple[tuple[str, str], ...]:
        return (("x-goog-api-key", self.key), ("Accept", "application/json"))
