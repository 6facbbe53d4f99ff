"""Gemini `generateContent`: what an upstream answers, plain and streamed, and its errors.

Pure: no I/O, clock or randomness. What a decoder must survive (relays' measurements of 2026): parts in any order or
missing, drafts with and without `thought`, several images of which the last one is meant, snake_case keys.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from holdfast.types import Usage
from holdfast.wire.answers import Answer, AnswerImage, Role, UpstreamError
from holdfast.wire.errors import WireError
from holdfast.wire.fields import count_of, document_of, list_of, mapping_of, slot_of, text_of, word_of
from holdfast.wire.gemini_request import camel, normalised
from holdfast.wire.scan import Event, ImageBegan, JsonReader
from holdfast.wire.stream import Document, StreamDocuments

_MESSAGE_CHARS_MAX = 2_000
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s")


def GEMINI_ANSWER_IMAGE(path: tuple[str, ...]) -> bool:
    """An image of an answer: `candidates[].content.parts[].inlineData.data`, either spelling."""
    return (
        len(path) == 5
        and path[4] == "data"
        and path[:3] == ("candidates", "content", "parts")
        and camel(path[3]) == "inlineData"
    )


class GenerateReader:
    """Reads the answer of `generateContent`, or of `streamGenerateContent` without `alt=sse` (an array of chunks)."""

    def __init__(self, *, image_bytes_max: int = 64 << 20) -> None:
        self._json = JsonReader(GEMINI_ANSWER_IMAGE, image_bytes_max=image_bytes_max)

    def __repr__(self) -> str:
        return f"<GenerateReader {self._json!r}>"

    @property
    def complete(self) -> bool:
        """The document has closed."""
        return self._json.complete

    def feed(self, chunk: bytes | bytearray | memoryview) -> list[Event]:
        """Take the next bytes; see `answers.Reader`."""
        return self._json.feed(chunk)

    def finish(self) -> Answer:
        """Return the answer; see `answers.Reader`."""
        skeleton = self._json.finish()
        document = normalised(document_of(skeleton))
        if isinstance(document, list):
            document = merged(document)
            skeleton = msgspec.json.encode(document)
        return _answer_of(skeleton, document, cut=self._json.next_index)


class GenerateStreamReader:
    """Reads the events of `streamGenerateContent?alt=sse` into the one document of a plain call."""

    def __init__(self, *, image_bytes_max: int = 64 << 20) -> None:
        self._documents = StreamDocuments(GEMINI_ANSWER_IMAGE, image_bytes_max=image_bytes_max)
        self._chunks: list[Any] = []
        self._began = 0
        self._is_finished = False

    def __repr__(self) -> str:
        return f"<GenerateStreamReader chunks={len(self._chunks)} images={self._began} finished={self._is_finished}>"

    @property
    def complete(self) -> bool:
        """A chunk has told why the model stopped, and nothing has begun since."""
        return self._is_finished and self._documents.is_between_documents

    def feed(self, chunk: bytes | bytearray | memoryview) -> list[Event]:
        """Take the next bytes; see `answers.Reader`."""
        return self._taken(self._documents.feed(chunk))

    def finish(self) -> Answer:
        """Return the answer; a stream without any chunk is none."""
        self._taken(self._documents.finish())
        if not self._chunks:
            raise WireError("json", "the event stream holds no data")
        document = merged(self._chunks)
        return _answer_of(msgspec.json.encode(document), document, cut=self._began)

    def _taken(self, read: Iterable[Event | Document]) -> list[Event]:
        events: list[Event] = []
        for event in read:
            if not isinstance(event, Document):
                self._began += isinstance(event, ImageBegan)
                events.append(event)
                continue
            chunk = mapping_of(normalised(document_of(event.skeleton)))
            self._chunks.append(chunk)
            candidates = [mapping_of(candidate) for candidate in list_of(chunk.get("candidates"))]
            blocked = mapping_of(chunk.get("promptFeedback")).get("blockReason")
            if blocked or chunk.get("error") or any(text_of(item.get("finishReason")) for item in candidates):
                self._is_finished = True
        return events


def merged(chunks: Iterable[Any]) -> dict[str, Any]:
    """Merge the chunks of a stream: parts are strung together by candidate, of all else the last word counts."""
    document: dict[str, Any] = {}
    candidates: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        for name, value in mapping_of(chunk).items():
            if name != "candidates":
                document[name] = value
                continue
            for found in list_of(value):
                candidate = dict(mapping_of(found))
                whole = candidates.setdefault(count_of(candidate.get("index")), {})
                content = candidate.pop("content", None)
                whole.update(candidate)
                if isinstance(content, dict):
                    parts = list_of(mapping_of(whole.get("content")).get("parts")) + list_of(content.get("parts"))
                    whole["content"] = {**mapping_of(whole.get("content")), **content, "parts": parts}
    if candidates:
        document = {"candidates": [candidates[index] for index in sorted(candidates)]} | document
    return document


def _answer_of(skeleton: bytes, document: Any, *, cut: int) -> Answer:
    document = mapping_of(document)
    candidates = [mapping_of(candidate) for candidate in list_of(document.get("candidates"))]
    images: dict[int, AnswerImage] = {index: AnswerImage(index=index, role=Role.DRAFT) for index in range(cut)}
    text_chars = 0
    for candidate in candidates:
        result: AnswerImage | None = None
        for part in list_of(mapping_of(candidate.get("content")).get("parts")):
            part = mapping_of(part)
            is_thought = part.get("thought") is True
            inline = mapping_of(part.get("inlineData"))
            index = slot_of(inline.get("data"))
            if index is not None:
                mime = text_of(inline.get("mimeType"))
                images[index] = AnswerImage(index=index, role=Role.DRAFT, declared_mime=mime)
                result = result if is_thought else images[index]
            elif not is_thought:
                text_chars += len(text_of(part.get("text")) or "")
        if result is not None:
            # Several image parts: the last is what was meant, the others are drafts the model forgot to mark.
            images[result.index] = AnswerImage(index=result.index, role=Role.RESULT, declared_mime=result.declared_mime)
    first = candidates[0] if candidates else {}
    return Answer(
        images=tuple(images[index] for index in sorted(images)),
        document=skeleton,
        usage=_usage_of(document),
        finish_reason=text_of(first.get("finishReason")),
        finish_message=text_of(first.get("finishMessage")),
        block_reason=text_of(mapping_of(document.get("promptFeedback")).get("blockReason")),
        model_version=text_of(document.get("modelVersion")),
        response_id=text_of(document.get("responseId")),
        text_chars=text_chars,
        error=error_of(document, status=None) if document.get("error") is not None else None,
    )


def _usage_of(document: Mapping[str, Any]) -> Usage | None:
    usage = document.get("usageMetadata")
    if not isinstance(usage, dict):
        return None
    return Usage(
        input_tokens=count_of(usage.get("promptTokenCount")),
        input_image_tokens=_image_tokens(usage.get("promptTokensDetails")),
        output_tokens=count_of(usage.get("candidatesTokenCount")) + count_of(usage.get("thoughtsTokenCount")),
        output_image_tokens=_image_tokens(usage.get("candidatesTokensDetails")),
    )


def _image_tokens(details: object) -> int:
    rows = [mapping_of(row) for row in list_of(details)]
    return sum(count_of(row.get("tokenCount")) for row in rows if row.get("modality") == "IMAGE")


def decode_error(status: int | None, body: bytes) -> UpstreamError:
    """Read an error body, whatever it is: an envelope, or a proxy's page of HTML (whose text is not repeated)."""
    try:
        document = document_of(body)
    except WireError:
        return UpstreamError(status=status, message="the body is not a JSON error", is_json=False)
    if isinstance(document, list):
        # streamGenerateContent without alt=sse wraps its error in the array, too.
        document = document[0] if document else {}
    return error_of(mapping_of(document), status=status)


def error_of(document: Mapping[str, Any], *, status: int | None) -> UpstreamError:
    """Read an error envelope that has been decoded."""
    error = document.get("error")
    if not isinstance(error, dict):
        message = text_of(error) or text_of(document.get("message"))
        return UpstreamError(
            status=status,
            message=(message or "the body has no error object")[:_MESSAGE_CHARS_MAX],
            is_json=bool(message),
        )
    retry_after_s: float | None = None
    reason: str | None = None
    quota_per_day = False
    for detail in list_of(error.get("details")):
        detail = mapping_of(normalised(detail))
        match str(detail.get("@type", "")).rpartition(".")[2]:
            case "RetryInfo":
                retry_after_s = _seconds_of(detail.get("retryDelay"))
            case "ErrorInfo":
                reason = text_of(detail.get("reason"))
            case "QuotaFailure":
                violations = [mapping_of(row) for row in list_of(detail.get("violations"))]
                quota_per_day = quota_per_day or any("PerDay" in str(row.get("quotaId", "")) for row in violations)
    code = error.get("code")
    return UpstreamError(
        status=status if status is not None else count_of(code) or None,
        message=(text_of(error.get("message")) or "")[:_MESSAGE_CHARS_MAX],
        type=text_of(error.get("status")) or text_of(error.get("type")),
        code=word_of(code),
        retry_after_s=retry_after_s,
        quota_per_day=quota_per_day,
        reason=reason,
    )


def _seconds_of(delay: object) -> float | None:
    # protobuf's JSON form is "34.5s"; some relays send its fields.
    if isinstance(delay, str) and (match := _DURATION.fullmatch(delay)):
        return float(match.group(1))
    if isinstance(delay, dict):
        seconds = float(count_of(delay.get("seconds"))) + count_of(delay.get("nanos")) / 1e9
        return seconds if math.isfinite(seconds) else None
    return None
