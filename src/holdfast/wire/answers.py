"""What a reader makes of an upstream's answer, in no dialect.

Pure: no I/O, clock or randomness.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from holdfast.types import Usage
from holdfast.wire.scan import Event


class Role(StrEnum):
    """What an image of an answer is to the caller."""

    RESULT = "result"
    DRAFT = "draft"
    """A picture the model drew on its way; billed, kept, not what was asked for."""
    PARTIAL = "partial"
    """A preview sent while the picture was being made (OpenAI streams)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerImage:
    """One image that was cut out of an answer."""

    index: int
    """Its number in the answer's events and in the document's slots."""
    role: Role
    declared_mime: str | None = None
    """What the upstream calls it; not to be trusted, `wire.image` reads the bytes."""
    revised_prompt: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamError:
    """An error envelope, decoded. `message` is for people; decisions go by the other fields."""

    status: int | None
    message: str
    type: str | None = None
    """OpenAI's `error.type`, Gemini's `error.status`."""
    code: str | None = None
    """OpenAI's `error.code`, as text; Gemini's number, as text."""
    retry_after_s: float | None = None
    """Gemini's `RetryInfo.retryDelay`; headers are the provider's to read."""
    quota_per_day: bool = False
    """A `QuotaFailure` names a quota of the day: waiting a minute will not help."""
    reason: str | None = None
    """Gemini's `ErrorInfo.reason`, such as `API_KEY_INVALID`; OpenAI's `moderation_stage`."""
    is_json: bool = True
    """False when the body was no error envelope at all (a proxy's HTML page, an empty body)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole answer: its images by number, and one JSON document with slot numbers where the images were."""

    images: tuple[AnswerImage, ...]
    document: bytes
    """In the upstream's dialect; a stream's events are merged into the document of a plain call."""
    usage: Usage | None = None
    finish_reason: str | None = None
    finish_message: str | None = None
    block_reason: str | None = None
    model_version: str | None = None
    response_id: str | None = None
    url_only: bool = False
    """Pictures were given as links only; there is nothing to spool."""
    text_chars: int = 0
    """Characters of text parts that are not thoughts: an answer in prose instead of a picture."""
    error: UpstreamError | None = None
    """An error envelope inside a 200 or in the middle of a stream."""

    @property
    def results(self) -> tuple[AnswerImage, ...]:
        """The images that were asked for, in order."""
        return tuple(image for image in self.images if image.role is Role.RESULT)


class Reader(Protocol):
    """Reads one answer, piece by piece."""

    def feed(self, chunk: bytes | bytearray | memoryview) -> list[Event]:
        """Take the next bytes of the body; return what became known.

        Raises:
            WireError: The body is not what it claims to be, or exceeds a bound.
        """
        ...

    def finish(self) -> Answer:
        """Say that the body has ended.

        Raises:
            WireError: The body ended early or makes no sense.
        """
        ...

    @property
    def complete(self) -> bool:
        """The document has closed: nothing that matters can follow, even if the transfer's own end is missing."""
        ...
