"""How an ended generation is told in each dialect: plain, as a stream, early or late.

Nothing here touches a socket: a dialect gives a `Rendered`, whoever holds the caller writes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from holdfast.clock import from_rfc3339
from holdfast.config import Provider
from holdfast.gateway.links import Links
from holdfast.policy.callers import LateFailure
from holdfast.store.records import AttemptRow, BlobRow, Record, Told
from holdfast.types import Charge, FailureKind, ImageInfo, Request, Surface, Usage, total_usage
from holdfast.wire import chat, gemini, openai
from holdfast.wire.failures import content_type_of, error_headers, late_text, render_error, status_of
from holdfast.wire.fields import document_of, mapping_of
from holdfast.wire.template import Template, slots_of

_FORMATS = {"image/png": "png", "image/jpeg": "jpeg", "image/webp": "webp", "image/gif": "gif"}
_SPEAK_GEMINI = {Provider.GEMINI.value, Provider.VERTEX.value}
"""Their documents hold what a next turn must send back: thought signatures."""
_REFUSED = {FailureKind.REFUSED_INPUT.value, FailureKind.REFUSED_OUTPUT.value}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """An answer, ready to be written."""

    status: int
    template: Template
    files: dict[int, str] = field(default_factory=dict)
    """Where the image of each slot lies, if it lies in the data folder."""
    sizes: dict[int, int] = field(default_factory=dict)
    """Bytes of each file, as recorded."""
    blobs: dict[int, BlobRow] = field(default_factory=dict)
    """The same images, as recorded."""
    content_type: bytes = b"application/json"
    headers: tuple[tuple[bytes, bytes], ...] = ()

    @property
    def has_images(self) -> bool:
        """Whether image bytes are part of it."""
        return bool(self.files)


class Dialect(Protocol):
    """One caller's way of being told."""

    request: Request

    @property
    def is_stream(self) -> bool:
        """Whether the answer is an event stream."""

    @property
    def content_type(self) -> bytes:
        """Of a success."""

    def success(self, record: Record, links: Links) -> Rendered:
        """Tell the images."""

    def failure(self, record: Record, told: Told) -> Rendered:
        """Tell a failure while the status is still free."""

    def late_failure(self, record: Record, told: Told, form: LateFailure) -> Template:
        """Tell a failure after 200 was sent."""

    def partial(self, index: int, info: ImageInfo, created: int) -> Template | None:
        """Tell a preview, slot 0; None where the dialect has none."""


class _Base:
    """What the dialects share."""

    surface: Surface

    def __init__(self, request: Request, root: Path) -> None:
        self.request = request
        # Joined as text: joining and spelling a path is 28 function calls.
        self._root = str(root)

    @property
    def is_stream(self) -> bool:
        return self.request.stream

    @property
    def content_type(self) -> bytes:
        return b"text/event-stream" if self.request.stream else b"application/json"

    def _path(self, blob: BlobRow) -> str:
        return f"{self._root}/{blob.store_key}"

    def _error(self, record: Record, told: Told) -> bytes:
        return render_error(
            self.surface,
            code=told.code,
            message=told.message,
            paid=told.charge,
            generation_id=record.generation.id,
            retry_after_s=told.retry_after_s,
        )

    def failure(self, record: Record, told: Told) -> Rendered:
        return Rendered(
            status=status_of(self.surface, told.code, told.charge),
            template=(self._error(record, told),),
            content_type=content_type_of(self.surface),
            headers=tuple(error_headers(code=told.code, paid=told.charge, retry_after_s=told.retry_after_s)),
        )


class OpenAIDialect(_Base):
    """`/v1/images/generations` and `/v1/images/edits`."""

    surface = Surface.OPENAI

    @property
    def _family(self) -> str:
        """Whose events a stream has."""
        return "image_edit" if self.request.is_edit else "image_generation"

    def success(self, record: Record, links: Links) -> Rendered:
        results = record.results[: record.generation.n]
        embed = self.request.response_format != "url" or self.request.stream
        views = [
            openai.ImageView(
                slot=index if embed else None,
                url=links.of(record.generation.id, index, blob),
                size=f"{blob.width_px}x{blob.height_px}",
            )
            for index, blob in enumerate(results)
        ]
        served_by = record.attempt_of(results[0])
        created = _unix(record)
        usage = _usage(record.attempts)
        if self.request.stream:
            # Readers of a stream add up what its events tell: the whole is told once, with the last image.
            last = len(results) - 1
            template = tuple(
                part
                for index, (view, blob) in enumerate(zip(views, results, strict=True))
                for part in openai.render_completed_event(
                    image=view,
                    created_at=created,
                    usage=usage if index == last else None,
                    model=served_by.model,
                    generation_id=record.generation.id,
                    output_format=_FORMATS.get(blob.mime),
                    background=self.request.background,
                    quality=self.request.quality,
                    family=self._family,
                )
            )
        else:
            template = openai.render_images(
                created=created,
                images=views,
                usage=usage,
                model=served_by.model,
                generation_id=record.generation.id,
                output_format=_FORMATS.get(results[0].mime),
                background=self.request.background,
                quality=self.request.quality,
                size=views[0].size,
            )
        return Rendered(
            status=200,
            template=template,
            files={index: self._path(blob) for index, blob in enumerate(results)} if embed else {},
            sizes={index: blob.bytes for index, blob in enumerate(results)} if embed else {},
            blobs=dict(enumerate(results)) if embed else {},
            content_type=self.content_type,
        )

    def late_failure(self, record: Record, told: Told, form: LateFailure) -> Template:
        document = self._error(record, told)
        if self.request.stream:
            return openai.render_error_event(document)
        if form is LateFailure.TEXT:
            return (late_text(code=told.code, message=told.message, generation_id=record.generation.id),)
        return (document,)

    def partial(self, index: int, info: ImageInfo, created: int) -> Template | None:
        return openai.render_partial_event(
            slot=0,
            partial_image_index=index,
            created_at=created,
            size=info.size,
            output_format=_FORMATS.get(info.mime),
            background=self.request.background,
            quality=self.request.quality,
            family=self._family,
        )


class GeminiDialect(_Base):
    """`:generateContent` and `:streamGenerateContent`."""

    surface = Surface.GEMINI

    def success(self, record: Record, links: Links) -> Rendered:
        template, blobs = self._answer(record)
        return Rendered(
            status=200,
            template=template,
            files={index: self._path(blob) for index, blob in blobs.items()},
            sizes={index: blob.bytes for index, blob in blobs.items()},
            blobs=blobs,
            content_type=self.content_type,
        )

    def _spell(self, document: bytes) -> Template:
        if self.request.stream:
            return tuple(part for event in gemini.render_answer_events(document) for part in event)
        return gemini.render_answer(document)

    def _answer(self, record: Record) -> tuple[Template, dict[int, BlobRow]]:
        """The upstream's own words where it spoke Gemini and made one answer; else words of our making."""
        results = record.results
        attempt = record.attempt_of(results[0])
        if attempt.provider in _SPEAK_GEMINI and attempt.answer is not None and record.generation.parts == 1:
            blobs = {blob.position: blob for blob in record.blobs if blob.attempt_id == attempt.id}
            template = self._spell(attempt.answer)
            slots = slots_of(template)
            # A document recovered without its text names no images; a cut draft has a number and no file.
            if slots and blobs.keys() >= set(slots):
                return template, {index: blobs[index] for index in slots}
        plain = [gemini.PlainImage(slot=index, mime=blob.mime) for index, blob in enumerate(results)]
        document = gemini.plain_document(
            plain, usage=_usage(record.attempts), model=attempt.model, response_id=record.generation.id
        )
        return self._spell(document), dict(enumerate(results))

    def failure(self, record: Record, told: Told) -> Rendered:
        refusal = self._refusal(record, told)
        if refusal is None:
            return super().failure(record, told)
        return Rendered(status=200, template=refusal, content_type=self.content_type)

    def late_failure(self, record: Record, told: Told, form: LateFailure) -> Template:
        refusal = self._refusal(record, told)
        if refusal is not None:
            return refusal
        document = self._error(record, told)
        if self.request.stream:
            return gemini.render_error_event(document)
        if form is LateFailure.TEXT:
            return (late_text(code=told.code, message=told.message, generation_id=record.generation.id),)
        return (document,)

    def _refusal(self, record: Record, told: Told) -> Template | None:
        """A refusal is a 200 in this dialect, and says why there is no image; with a draft it is not only one."""
        if told.kind not in _REFUSED and told.kind != FailureKind.NO_IMAGE.value:
            return None
        ended = _attempt_of(record, told)
        if ended.provider in _SPEAK_GEMINI and ended.http_status == 200 and ended.answer and _says_why(ended.answer):
            template = self._spell(ended.answer)
            if not slots_of(template):
                return template
        is_input = told.kind == FailureKind.REFUSED_INPUT.value
        return self._spell(
            gemini.render_refusal(
                block_reason="PROHIBITED_CONTENT" if is_input else None,
                finish_reason="IMAGE_SAFETY" if told.kind == FailureKind.REFUSED_OUTPUT.value else "NO_IMAGE",
                message=told.message,
                usage=ended.used,
                model=ended.model,
                response_id=record.generation.id,
            )
        )

    def partial(self, index: int, info: ImageInfo, created: int) -> Template | None:
        return None


class ChatDialect(_Base):
    """`/v1/chat/completions`."""

    surface = Surface.CHAT

    def success(self, record: Record, links: Links) -> Rendered:
        results = record.results[: record.generation.n]
        shape = chat.Shape(self.request.response_format)
        images = [
            chat.ChatImage(slot=index, mime=blob.mime, url=links.of(record.generation.id, index, blob))
            for index, blob in enumerate(results)
        ]
        head = self._head(record, record.attempt_of(results[0]).model)
        usage = _usage(record.attempts)
        if self.request.stream:
            template = chat.render_chunks(head, images, shape, usage, tells_usage=self.request.tells_usage)
        else:
            template = chat.render_completion(head, images, shape, usage)
        slots = set(slots_of(template))
        return Rendered(
            status=200,
            template=template,
            files={index: self._path(blob) for index, blob in enumerate(results) if index in slots},
            sizes={index: blob.bytes for index, blob in enumerate(results) if index in slots},
            blobs={index: blob for index, blob in enumerate(results) if index in slots},
            content_type=self.content_type,
        )

    def failure(self, record: Record, told: Told) -> Rendered:
        refusal = self._refusal(record, told)
        if refusal is None:
            return super().failure(record, told)
        return Rendered(status=200, template=refusal, content_type=self.content_type)

    def late_failure(self, record: Record, told: Told, form: LateFailure) -> Template:
        refusal = self._refusal(record, told)
        if refusal is not None:
            return refusal
        document = self._error(record, told)
        if self.request.stream:
            return chat.render_chat_error(document)
        if form is LateFailure.TEXT:
            return (late_text(code=told.code, message=told.message, generation_id=record.generation.id),)
        return (document,)

    def _refusal(self, record: Record, told: Told) -> Template | None:
        """A refusal is a 200 in this dialect: programs show what it says, and nobody asks again."""
        if told.kind not in _REFUSED:
            return None
        head = self._head(record, _attempt_of(record, told).model)
        return chat.render_refusal(head, told.message, stream=self.request.stream, tells_usage=self.request.tells_usage)

    def _head(self, record: Record, model: str) -> chat.ChatHead:
        return chat.ChatHead(generation_id=record.generation.id, created=_unix(record), model=model)

    def partial(self, index: int, info: ImageInfo, created: int) -> Template | None:
        return None


def dialect_for(request: Request, root: Path) -> Dialect:
    """The dialect of a request's surface; `root` is the data folder.

    It lives as long as its caller is held, so it keeps what shapes an answer, and neither prompt nor body.
    """
    shape = replace(request, prompt="", inputs=(), mask=None, dialect_body=None)
    if request.surface is Surface.GEMINI:
        return GeminiDialect(shape, root)
    if request.surface is Surface.CHAT:
        return ChatDialect(shape, root)
    return OpenAIDialect(shape, root)


def _attempt_of(record: Record, told: Told) -> AttemptRow:
    """The attempt whose end is told: where there are several parts, not always the last one."""
    for attempt in reversed(record.attempts):
        failure = attempt.failed
        if failure is not None and failure.kind == told.kind and failure.reason == told.reason:
            return attempt
    return record.attempts[-1]


def _says_why(document: bytes) -> bool:
    """Whether an upstream's document tells the Gemini way why there is no image.

    One with an `error`, or with nothing at all, would pass for an empty success.
    """
    whole = mapping_of(gemini.normalised(document_of(document)))
    return bool(whole.get("candidates") or whole.get("promptFeedback")) and not whole.get("error")


def _unix(record: Record) -> int:
    return int(from_rfc3339(record.generation.created_at).timestamp())


def _usage(attempts: Sequence[AttemptRow]) -> Usage | None:
    """Tokens of every attempt that brought images, together; what was outrun brought an extra."""
    counted = [attempt.used for attempt in attempts if attempt.charge == Charge.YES and not attempt.outrun]
    used = [each for each in counted if each is not None]
    return used[0] if len(used) == 1 else total_usage(used)
