"""OpenAI Images: what an upstream answers, plain and streamed, and its errors.

Pure: no I/O, clock or randomness.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, TypeGuard

import msgspec

from holdfast.types import Usage, total_usage
from holdfast.wire.answers import Answer, AnswerImage, Role, UpstreamError
from holdfast.wire.errors import WireError
from holdfast.wire.fields import count_of, document_of, list_of, mapping_of, slot_of, text_of, word_of
from holdfast.wire.scan import Event, ImageBegan, JsonReader
from holdfast.wire.stream import Document, StreamDocuments

LINKS_MAX = 16
"""Images of one answer that are taken by their links; ten are the most that can be asked for."""
_ANSWER_IMAGES = frozenset({("data", "b64_json"), ("b64_json",)})
_ANSWER_URLS = frozenset({("data", "url"), ("url",)})
_MESSAGE_CHARS_MAX = 2_000


def OPENAI_ANSWER_IMAGE(path: tuple[str, ...]) -> bool:
    """An image of an answer (`data[].b64_json`), or of a stream's event (`b64_json`)."""
    return path in _ANSWER_IMAGES


def _is_image(path: tuple[str, ...]) -> bool:
    # Some relays put the image itself where a link belongs, as a data URL.
    return path in _ANSWER_IMAGES or path in _ANSWER_URLS


def _is_url(path: tuple[str, ...]) -> bool:
    return path in _ANSWER_URLS


class ImagesReader:
    """Reads the answer of `POST /v1/images/generations` or `/edits`, not streamed."""

    def __init__(self, *, image_bytes_max: int = 64 << 20) -> None:
        self._json = JsonReader(_is_image, image_bytes_max=image_bytes_max, links_stay=_is_url)
        self._inlined: set[int] = set()
        """Images that stood where a link belongs: only there may a number be somebody's own."""

    def __repr__(self) -> str:
        return f"<ImagesReader {self._json!r}>"

    @property
    def complete(self) -> bool:
        """The document has closed."""
        return self._json.complete

    def feed(self, chunk: bytes | bytearray | memoryview) -> list[Event]:
        """Take the next bytes; see `answers.Reader`."""
        events = self._json.feed(chunk)
        self._inlined |= _inlined_by(events)
        return events

    def finish(self) -> Answer:
        """Return the answer; see `answers.Reader`."""
        skeleton = self._json.finish()
        document = mapping_of(document_of(skeleton))
        return _answer_of(skeleton, document, _images_of(document, self._inlined), cut=self._json.next_index)


class ImagesStreamReader:
    """Reads the events of a streamed generation or edit; previews are told at once, results make up one document."""

    def __init__(self, *, expected: int = 1, image_bytes_max: int = 64 << 20) -> None:
        """Prepare to read.

        Args:
            expected: Images asked for; one `completed` event is due for each.
            image_bytes_max: Bound on each image.
        """
        self._documents = StreamDocuments(
            _is_image, is_partial=_is_partial, image_bytes_max=image_bytes_max, links_stay=_is_url
        )
        self._inlined: set[int] = set()
        self._expected = expected
        self._images: list[AnswerImage] = []
        self._data: list[dict[str, Any]] = []
        self._merged: dict[str, Any] = {}
        self._usages: list[Usage] = []
        self._error: UpstreamError | None = None
        self._began = 0

    def __repr__(self) -> str:
        return f"<ImagesStreamReader completed={len(self._data)}/{self._expected} images={len(self._images)}>"

    @property
    def complete(self) -> bool:
        """Every expected `completed` event has come, or an error."""
        return (len(self._data) >= self._expected or self._error is not None) and self._documents.is_between_documents

    def feed(self, chunk: bytes | bytearray | memoryview) -> list[Event]:
        """Take the next bytes; see `answers.Reader`."""
        return self._taken(self._documents.feed(chunk))

    def finish(self) -> Answer:
        """Return the answer; a stream that ends without any `completed` event or error was cut."""
        self._taken(self._documents.finish())
        if not self._data and self._error is None:
            raise WireError("json", "the event stream ends before its completed event: it was cut on its way")
        document = {"created": 0, **self._merged, "data": self._data}
        usage = total_usage(self._usages)
        if usage is not None:
            document["usage"] = usage_document(usage)
        return _answer_of(msgspec.json.encode(document), document, self._images, cut=self._began)

    def _taken(self, read: list[Event | Document]) -> list[Event]:
        events: list[Event] = []
        for event in read:
            if isinstance(event, Document):
                self._take_document(event)
            else:
                if isinstance(event, ImageBegan):
                    self._began += 1
                    self._inlined |= _inlined_by((event,))
                events.append(event)
        return events

    def _take_document(self, event: Document) -> None:
        document = mapping_of(document_of(event.skeleton))
        if "error" in document and document["error"] is not None:
            self._error = error_of(document, status=None)
            self._merged["error"] = document["error"]
            return
        kind = text_of(document.get("type")) or event.name
        index = _slot_of(document, self._inlined)
        if kind.endswith(".partial_image"):
            if index is not None:
                self._images.append(AnswerImage(index=index, role=Role.PARTIAL, declared_mime=_mime_of(document)))
        elif kind.endswith(".completed"):
            self._take_completed(document, index)
        elif "data" in document:
            # A relay that was asked for a stream may send its plain answer as the only event.
            self._images += _images_of(document, self._inlined)
            self._data += [dict(mapping_of(item)) for item in list_of(document["data"])]
            self._merge(document)

    def _take_completed(self, document: Mapping[str, Any], index: int | None) -> None:
        item = {name: document[name] for name in ("b64_json", "url", "revised_prompt") if text_of(document.get(name))}
        self._data.append(item)
        if index is not None:
            self._images.append(_image_of(index, item, document))
        self._merge(document)

    def _merge(self, document: Mapping[str, Any]) -> None:
        usage = _usage_of(document)
        if usage is not None:
            self._usages.append(usage)
        created = count_of(document.get("created_at")) or count_of(document.get("created"))
        if created:
            self._merged["created"] = created
        for name in ("background", "output_format", "quality", "size", "model"):
            if text_of(document.get(name)):
                self._merged[name] = document[name]


def _is_partial(name: str, skeleton: bytes) -> bool:
    return name.endswith(".partial_image") or b'.partial_image"' in skeleton


def _inlined_by(events: Iterable[Event]) -> set[int]:
    return {event.index for event in events if isinstance(event, ImageBegan) and event.path in _ANSWER_URLS}


def _slot_of(item: Mapping[str, Any], inlined: Collection[int]) -> int | None:
    """The image of an item: its `b64_json`, else a `url` that was a data URL."""
    index = slot_of(item.get("b64_json"))
    if index is not None:
        return index
    index = slot_of(item.get("url"))
    return index if index in inlined else None


def _images_of(document: Mapping[str, Any], inlined: Collection[int]) -> tuple[AnswerImage, ...]:
    items = [mapping_of(item) for item in list_of(document.get("data"))]
    # A link that reads like a number of ours counts once at most.
    found = {_slot_of(item, inlined): item for item in reversed(items)}
    return tuple(_image_of(index, found[index], document) for index in sorted(filter(_is_index, found)))


def _is_index(value: int | None) -> TypeGuard[int]:
    return value is not None


def links_of(document: bytes) -> tuple[str, ...]:
    """List the images that an answer names by a link, in order; at most `LINKS_MAX`. An empty string is none."""
    items = [mapping_of(item) for item in list_of(mapping_of(document_of(document)).get("data"))]
    urls = (text_of(item.get("url")) or "" for item in items if not text_of(item.get("b64_json")))
    return tuple(url for url in urls if _is_link(url))[:LINKS_MAX]


def _is_link(url: str) -> bool:
    return url.lower().startswith(("https://", "http://"))


def _image_of(index: int, item: Mapping[str, Any], document: Mapping[str, Any]) -> AnswerImage:
    return AnswerImage(
        index=index,
        role=Role.RESULT,
        declared_mime=_mime_of(item) or _mime_of(document),
        revised_prompt=text_of(item.get("revised_prompt")),
    )


def _answer_of(skeleton: bytes, document: Mapping[str, Any], images: Sequence[AnswerImage], *, cut: int) -> Answer:
    listed = {image.index for image in images}
    # An image in an odd place (a key given twice, an event of unknown type) is not lost: it was paid for.
    odd = [AnswerImage(index=index, role=Role.DRAFT) for index in range(cut) if index not in listed]
    urls = (text_of(mapping_of(item).get("url")) or "" for item in list_of(document.get("data")))
    return Answer(
        images=tuple(sorted([*images, *odd], key=lambda image: image.index)),
        document=skeleton,
        usage=_usage_of(document),
        model_version=text_of(document.get("model")),
        response_id=text_of(document.get("id")),
        url_only=not any(image.role is Role.RESULT for image in images) and any(map(_is_link, urls)),
        error=error_of(document, status=None) if document.get("error") is not None else None,
    )


def _mime_of(document: Mapping[str, Any]) -> str | None:
    name = text_of(document.get("output_format"))
    return f"image/{name}" if name else None


def _usage_of(document: Mapping[str, Any]) -> Usage | None:
    usage = document.get("usage")
    if not isinstance(usage, dict):
        return None
    output_tokens = count_of(usage.get("output_tokens"))
    output_details = usage.get("output_tokens_details")
    return Usage(
        input_tokens=count_of(usage.get("input_tokens")),
        input_image_tokens=count_of(mapping_of(usage.get("input_tokens_details")).get("image_tokens")),
        output_tokens=output_tokens,
        # Without details all output of an images endpoint is image.
        output_image_tokens=count_of(mapping_of(output_details).get("image_tokens"))
        if output_details
        else output_tokens,
    )


def usage_document(usage: Usage) -> dict[str, Any]:
    """Write `usage` as OpenAI has it."""
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "text_tokens": max(0, usage.input_tokens - usage.input_image_tokens),
            "image_tokens": usage.input_image_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {
            "image_tokens": usage.output_image_tokens,
            "text_tokens": max(0, usage.output_tokens - usage.output_image_tokens),
        },
        "total_tokens": usage.total_tokens,
    }


def decode_error(status: int | None, body: bytes) -> UpstreamError:
    """Read an error body, whatever it is: an envelope, or a proxy's page of HTML (whose text is not repeated)."""
    try:
        document = document_of(body)
    except WireError:
        return UpstreamError(status=status, message="the body is not a JSON error", is_json=False)
    return error_of(mapping_of(document), status=status)


def error_of(document: Mapping[str, Any], *, status: int | None) -> UpstreamError:
    """Read an error envelope that has been decoded."""
    error = document.get("error")
    if not isinstance(error, dict):
        message = text_of(error) or text_of(document.get("message")) or text_of(document.get("detail"))
        return UpstreamError(
            status=status,
            message=(message or "the body has no error object")[:_MESSAGE_CHARS_MAX],
            is_json=bool(message),
        )
    moderation = mapping_of(error.get("moderation_details"))
    # OpenRouter's filter comes before any provider is asked, and says what it flagged.
    flagged = list_of(mapping_of(error.get("metadata")).get("reasons")) or mapping_of(error.get("metadata")).get(
        "flagged_input"
    )
    return UpstreamError(
        status=status,
        message=(text_of(error.get("message")) or "")[:_MESSAGE_CHARS_MAX],
        type=text_of(error.get("type")),
        code=word_of(error.get("code")),
        reason=text_of(moderation.get("moderation_stage")) or ("flagged_input" if flagged else None),
    )
