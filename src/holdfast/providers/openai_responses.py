"""OpenAI's Responses in the background, with the image tool: an OpenAI upstream that can be left and come back to.

Pure: no I/O, clock or randomness. The route's model is the one that draws; the text model that calls it is the
upstream's `outer_model`. One call makes one image.

Source: openai-python 3.54; developers.openai.com, background mode: polled while `queued` or `in_progress`, kept for
about ten minutes, cancelling twice is idempotent (2026).
"""

from __future__ import annotations

from collections.abc import Mapping as Table
from dataclasses import dataclass
from types import MappingProxyType

from holdfast.config import Provider, UpstreamApi
from holdfast.policy.sizes import to_openai
from holdfast.providers.error_answers import Meaning, failure_of, meaning_of, status_of
from holdfast.providers.http import Head, HttpRequest
from holdfast.providers.mapping import AT_THE_END, ONE_BY_ONE, Mapping
from holdfast.types import Charge, Failure, FailureKind, Phase, Request
from holdfast.wire.answers import Answer, UpstreamError
from holdfast.wire.background import BackgroundReader, Told
from holdfast.wire.openai import decode_error
from holdfast.wire.responses import REFUSAL, response_reader, told_of
from holdfast.wire.responses_request import encode_response_request

IMAGES_PER_CALL = 1
"""The tool has no count."""
MAPPING = Mapping(
    provider=Provider.OPENAI,
    api=UpstreamApi.RESPONSES,
    title="OpenAI Responses in the background",
    call="POST /v1/responses, then GET /v1/responses/{id}",
    fields={
        "prompt": "`input[].content[].text`",
        "size": "`tools[].size`, the nearest that the API takes",
        "aspect_ratio": "`tools[].size`",
        "n": ONE_BY_ONE,
        "images": "`input[].content[].image_url`, as data URLs",
        "quality": "`tools[].quality`",
        "output_format": "`tools[].output_format`",
        "output_compression": "`tools[].output_compression`",
        "background": "`tools[].background`",
        "moderation": "`tools[].moderation`",
        "stream": AT_THE_END,
        "user": "`safety_identifier`",
        "mask": "`tools[].input_image_mask.image_url`",
        "input_fidelity": "`tools[].input_fidelity`",
    },
)
_K = FailureKind


def _means(kind: FailureKind, charge: Charge = Charge.NO) -> Meaning:
    return Meaning(kind=kind, charge=charge)


_BAD_IMAGES = (
    *("invalid_image", "invalid_image_format", "invalid_base64_image", "invalid_image_url", "invalid_image_mode"),
    *("image_too_large", "image_too_small", "image_parse_error", "image_file_too_large", "image_file_not_found"),
    *("unsupported_image_media_type", "empty_image_file", "failed_to_download_image"),
)
_BY_CODE: Table[str, Meaning] = MappingProxyType(
    {
        # The prompt, or an image that came with it: nothing was drawn.
        "invalid_prompt": _means(_K.REFUSED_INPUT),
        "bio_policy": _means(_K.REFUSED_INPUT),
        "misalignment_policy_violation": _means(_K.REFUSED_INPUT),
        "image_content_policy_violation": _means(_K.REFUSED_INPUT),
        # A matter of the account's settings.
        "data_residency_mismatch": _means(_K.CREDENTIAL),
        "vector_store_timeout": _means(_K.SERVER_FAULT, Charge.UNKNOWN),
        **dict.fromkeys(_BAD_IMAGES, _means(_K.BAD_REQUEST)),
    }
)
"""What `response.error.code` says beyond what the codes of the Images API do. Source: `response_error.py`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAIResponses:
    """See `BackgroundApi`."""

    upstream: str
    base_url: str
    """With the version: `https://api.openai.com/v1`."""
    outer_model: str
    model: str
    """What draws: `gpt-image-2`."""
    key: str
    request: Request
    idempotency_key: str
    is_relay: bool = False
    image_bytes_max: int = 64 << 20

    def __repr__(self) -> str:
        return f"<OpenAIResponses {self.upstream}, {self.outer_model} with {self.model}>"

    def submission(self) -> HttpRequest:
        """Write the request that is paid for."""
        body = encode_response_request(
            self.request, outer_model=self.outer_model, model=self.model, size=to_openai(self.request.geometry)
        )
        headers = (
            *self._headers,
            ("Content-Type", "application/json"),
            ("Idempotency-Key", self.idempotency_key),
        )
        return HttpRequest(method="POST", url=self._url, headers=headers, body=body)

    def question(self, handle: str) -> HttpRequest:
        """Ask for it."""
        return HttpRequest(method="GET", url=f"{self._url}/{handle}", headers=self._headers, body=())

    def cancellation(self, handle: str) -> HttpRequest:
        """Take it back."""
        return HttpRequest(method="POST", url=f"{self._url}/{handle}/cancel", headers=self._headers, body=())

    def reader(self) -> BackgroundReader:
        """Make what reads a response."""
        return response_reader(image_bytes_max=self.image_bytes_max)

    def told(self, document: bytes) -> Told:
        """Read where it stands."""
        return told_of(document)

    def decode_error(self, status: int, body: bytes) -> UpstreamError:
        """Read an error body."""
        return decode_error(status, body)

    def failure(self, head: Head, error: UpstreamError) -> Failure:
        """Make the failure of an error."""
        status = status_of(error) if head.is_success else head.status
        known = _BY_CODE.get(error.code or "")
        return failure_of(
            head,
            error,
            upstream=self.upstream,
            is_relay=self.is_relay,
            secrets=(self.key, self.request.prompt),
            meaning=known or meaning_of(status, error, is_relay=self.is_relay),
        )

    def without_image(self, word: str, answer: Answer) -> Failure:
        """Tell why there is none: the text model's own words are billed, a picture that was not made is not."""
        reason = answer.finish_reason or answer.block_reason
        if word == "failed":
            kind, charge, what = _K.SERVER_FAULT, Charge.UNKNOWN, "failed, and does not say why"
        elif answer.finish_reason == "content_filter":
            kind, charge, what = _K.REFUSED_OUTPUT, Charge.UNKNOWN, "stopped at its content filter"
        elif answer.block_reason == REFUSAL:
            kind, charge, what = _K.REFUSED_INPUT, Charge.NO, "declined to draw"
        else:
            text = ", in its place text" if answer.text_chars else ""
            kind, charge, what = _K.NO_IMAGE, Charge.UNKNOWN, f"made no image{text}"
        detail = f"{self.upstream} {what}" + (f" ({reason})" if reason else "")
        return Failure(
            kind=kind,
            phase=Phase.RECEIVE,
            charge=charge,
            detail=detail[:2000],
            status=200,
            reason=(reason or word)[:100],
        )

    @property
    def _url(self) -> str:
        return f"{self.base_url.rstrip('/')}/responses"

    @property
    def _headers(self) -> tuple[tuple[str, str], ...]:
        return (("Authorization", f"Bearer {self.key}"), ("Accept", "application/json"))
