"""Gemini's image models on Vertex AI: the same conversation at another address, with another credential.

Pure: no I/O, clock or randomness. A token is given by whoever makes the conversation, fresh for this attempt. What is
different beside that: the file format can be chosen, and a 429 without `RetryInfo` tells of capacity that all customers
share, which no waiting of one key's own brings back.

    POST {base}/v1beta1/projects/{project}/locations/{location}/publishers/google/models/{model}:generateContent
    POST {base}/v1beta1/publishers/google/models/{model}:generateContent             express mode, with an API key

Source: cloud.google.com/vertex-ai/generative-ai/docs, locations, express mode, errors (2026-10); google-genai 3.4
`_api_client.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

from holdfast.config import Provider, Upstream
from holdfast.providers.error_answers import Meaning
from holdfast.providers.gemini import GeminiConversation, draws_one_size, versioned_url
from holdfast.providers.mapping import ONE_BY_ONE, Mapping
from holdfast.types import Charge, FailureKind, Request
from holdfast.wire.gemini import encode_generate_request
from holdfast.wire.gemini_request import OUTPUT_FORMATS

if TYPE_CHECKING:
    from holdfast.providers.http import Head
    from holdfast.wire.answers import UpstreamError
    from holdfast.wire.template import Template

MAPPING = Mapping(
    provider=Provider.VERTEX,
    title="Vertex AI, `generateContent`",
    call="POST /v1beta1/projects/{project}/locations/{location}/publishers/google/models/{model}:generateContent",
    fields={
        "prompt": "`contents[].parts[].text`",
        "size": "`generationConfig.imageConfig.imageSize`; left out for gemini-2.5-flash-image, which refuses it",
        "aspect_ratio": "`generationConfig.imageConfig.aspectRatio`",
        "n": ONE_BY_ONE,
        "images": "`contents[].parts[].inlineData`",
        "output_format": "`generationConfig.imageConfig.imageOutputOptions.mimeType`, for PNG and JPEG",
        "output_compression": "`imageOutputOptions.compressionQuality` beside it, unless PNG is wished for",
        "stream": "`:streamGenerateContent?alt=sse`",
    },
    only={"output_format": OUTPUT_FORMATS},
)
_DEFAULT_VERSION = "/v1beta1"
"""As Google's SDKs ask; it has the fields of image models first."""
_SHARED_CAPACITY = Meaning(kind=FailureKind.OVERLOADED, charge=Charge.NO)


@dataclass(frozen=True, slots=True, kw_only=True)
class VertexConversation(GeminiConversation):
    """One attempt: one POST, one answer."""

    project: str
    """Empty in express mode."""
    location: str
    is_express: bool
    """Whether `key` is an API key; else it is a token."""

    @classmethod
    def at(
        cls,
        upstream: Upstream,
        request: Request,
        *,
        model: str,
        key: str,
        idempotency_key: str,
        timeout_s: float,
        stream: bool,
        image_bytes_max: int,
    ) -> Self:
        """Make the one that the settings of an upstream describe."""
        return cls(
            upstream=upstream.name,
            base_url=upstream.base_url or base_url_of(upstream.location),
            model=model,
            key=key,
            request=request,
            idempotency_key=idempotency_key,
            timeout_s=timeout_s,
            stream=stream,
            image_bytes_max=image_bytes_max,
            project=upstream.project,
            location=upstream.location,
            is_express=not upstream.project,
        )

    def __repr__(self) -> str:
        return f"<VertexConversation {self.idempotency_key} with {self.upstream}, {self.model}>"

    def _models_url(self) -> str:
        root = versioned_url(self.base_url, default=_DEFAULT_VERSION)
        if not self.is_express:
            root += f"/projects/{quote(self.project, safe=':')}/locations/{quote(self.location)}"
        return f"{root}/publishers/google/models"

    def _credential(self) -> tuple[str, str]:
        if self.is_express:
            return ("x-goog-api-key", self.key)
        return ("Authorization", f"Bearer {self.key}")

    def _body(self) -> Template:
        return encode_generate_request(
            self.request, states_image_size=not draws_one_size(self.model), states_output=True, states_roles=True
        )

    def _meaning(self, head: Head, error: UpstreamError) -> Meaning | None:
        is_told_when = error.retry_after_s is not None or head.header("retry-after") is not None
        if head.status != 429 or is_told_when or error.quota_per_day or error.reason is not None:
            return None
        return _SHARED_CAPACITY if error.type == "RESOURCE_EXHAUSTED" else None


def base_url_of(location: str) -> str:
    """Give the address of a region, or of what serves them all."""
    return f"https://{'' if location == 'global' else f'{location}-'}aiplatform.googleapis.com"
