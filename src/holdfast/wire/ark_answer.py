"""Seedream on Ark: what is answered, plain and streamed; pictures in it, links to them, and errors in their places.

Pure: no I/O, clock or randomness. A 200 may hold an error for each picture, or one for all of them. The stream's
events have names of their own; `image_generation.completed`, which carries the picture in OpenAI's, is an end without
one here.

Source: volcengine-python-sdk `types/images/*.py` (2026-07-23); docs.volcengine.com 82379/1541523, 1824137 (stream).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from holdfast.types import Usage
from holdfast.wire.answers import Answer, AnswerImage, Role, UpstreamError
from holdfast.wire.errors import WireError
from holdfast.wire.fal_answer import Link
from holdfast.wire.fields import count_of, document_of, list_of, mapping_of, slot_of, text_of
from holdfast.wire.openai_answer import error_of
from holdfast.wire.scan import Event, ImageBegan, JsonReader
from holdfast.wire.stream import Document, StreamDocuments

IMAGES_MAX = 16
"""Pictures of one answer that are taken; a group has fifteen at most."""
HANDLE_BYTES_MAX = 64 << 10
"""Of an answer that holds links only; fifteen signed ones take a quarter of it."""
_ANSWER_IMAGES = frozenset({("data", "b64_json"), ("b64_json",)})
_COMPLETED = "image_generation.completed"


def ARK_ANSWER_IMAGE(path: tuple[str, ...]) -> bool:
    """An image of an answer (`data[].b64_json`), or of a stream's event (`b64_json`)."""
    return path in _ANSWER_IMAGES


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What an answer holds besides the images that were cut out of it."""

    links: tuple[Link, ...] = ()
    errors: tuple[UpstreamError, ...] = ()
    """One for each picture that was not made."""
    generated_images: int | None = None
    """As the vendor counts them, which is what it bills; None where it does not say."""


class ArkReader:
    """Reads an answer that is one document."""

    def __init__(self, *, image_bytes_max: int = 64 << 20) -> None:
        self._json = JsonReader(ARK_ANSWER_IMAGE, image_bytes_max=image_bytes_max, images_max=IMAGES_MAX)

    def __repr__(self) -> str:
        return f"<ArkReader {self._json!r}>"

    @property
    def complete(self) -> bool:
        """The document has closed."""
        return self._json.complete

    def feed(self, chunk: bytes | bytearray | memoryview) -> list[Event]:
        """Take the next bytes; see `answers.Reader`."""
        return self._json.feed(chunk)

    def finish(self) -> Answer:
        """Return the answer; `contents_of` its document tells what else there is."""
        skeleton = self._json.finish()
        return _answer_of(skeleton, mapping_of(document_of(skeleton)), cut=self._json.next_index)


class ArkStreamReader:
    """Reads the events of a streamed call; they make up the document of a plain one."""

    def __init__(self, *, image_bytes_max: int = 64 << 20) -> None:
        self._documents = StreamDocuments(ARK_ANSWER_IMAGE, image_bytes_max=image_bytes_max, images_max=IMAGES_MAX)
        self._data: list[dict[str, Any]] = []
        self._merged: dict[str, Any] = {}
        self._has_ended = False
        self._began = 0

    def __repr__(self) -> str:
        return f"<ArkStreamReader pictures={len(self._data)}{' ended' if self._has_ended else ''}>"

    @property
    def complete(self) -> bool:
        """The last event has come, or an error."""
        return self._has_ended and self._documents.is_between_documents

    def feed(self, chunk: bytes | bytearray | memoryview) -> list[Event]:
        """Take the next bytes; see `answers.Reader`."""
        return self._taken(self._documents.feed(chunk))

    def finish(self) -> Answer:
        """Return the answer; a stream that tells of no picture and of no error was cut."""
        self._taken(self._documents.finish())
        if not self._data and not self._has_ended:
            raise WireError("json", "the event stream ends before its completed event: it was cut on its way")
        document = {**self._merged, "data": self._data}
        return _answer_of(msgspec.json.encode(document), document, cut=self._began)

    def _taken(self, read: list[Event | Document]) -> list[Event]:
        events: list[Event] = []
        for event in read:
            if isinstance(event, Document):
                self._take_document(event)
            else:
                self._began += isinstance(event, ImageBegan)
                events.append(event)
        return events

    def _take_document(self, event: Document) -> None:
        document = mapping_of(document_of(event.skeleton))
        kind = text_of(document.get("type")) or event.name
        for name in ("model", "created", "usage"):
            if document.get(name) is not None:
                self._merged[name] = document[name]
        if kind == _COMPLETED:
            self._has_ended = True
        elif "data" in document:
            # A plain answer as the only event.
            self._data += [dict(mapping_of(item)) for item in list_of(document["data"])]
            self._has_ended = True
        elif document.get("image_index") is not None or kind.startswith("image_generation.partial_"):
            told = ("b64_json", "url", "size", "output_format", "error")
            self._data.append({name: document[name] for name in told if document.get(name) is not None})
        elif document.get("error") is not None:
            self._merged["error"] = document["error"]
            self._has_ended = True


def contents_of(document: bytes) -> Contents:
    """Look at what an answer holds besides images.

    Raises:
        WireError: It is no JSON.
    """
    fields = mapping_of(document_of(document))
    items = _items_of(fields)
    usage = mapping_of(fields.get("usage"))
    generated = usage.get("generated_images")
    return Contents(
        links=_links_of(items),
        errors=tuple(error_of(item, status=None) for item in items if isinstance(item.get("error"), dict)),
        generated_images=count_of(generated) if isinstance(generated, int | float) else None,
    )


def _links_of(items: Sequence[Mapping[str, Any]]) -> tuple[Link, ...]:
    # Beside a picture a link says nothing new.
    named = [(text_of(item.get("url")) or "", item) for item in items if slot_of(item.get("b64_json")) is None]
    links = [Link(url=url, declared_mime=_mime_of(item)) for url, item in named if _leads_elsewhere(url)]
    return tuple(links)[:IMAGES_MAX]


def _leads_elsewhere(url: str) -> bool:
    return url.lower().startswith(("https://", "http://"))


def _items_of(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [mapping_of(item) for item in list_of(document.get("data"))]


def _answer_of(skeleton: bytes, document: Mapping[str, Any], *, cut: int) -> Answer:
    items = _items_of(document)
    named = {slot_of(item.get("b64_json")): item for item in items}
    images = [
        # An image in an odd place is not lost: it was paid for.
        AnswerImage(index=index, role=Role.RESULT, declared_mime=_mime_of(named[index]))
        if index in named
        else AnswerImage(index=index, role=Role.DRAFT)
        for index in range(cut)
    ]
    return Answer(
        images=tuple(images),
        document=skeleton,
        usage=_usage_of(document),
        model_version=text_of(document.get("model")),
        url_only=not images and bool(_links_of(items)),
        error=error_of(document, status=None) if document.get("error") is not None else None,
    )


def _mime_of(item: Mapping[str, Any]) -> str | None:
    name = text_of(item.get("output_format"))
    return f"image/{name}" if name else None


def _usage_of(document: Mapping[str, Any]) -> Usage | None:
    usage = document.get("usage")
    if not isinstance(usage, dict):
        return None
    # All output is picture: a token is 256 pixels of it.
    output_tokens = count_of(usage.get("output_tokens"))
    return Usage(output_tokens=output_tokens, output_image_tokens=output_tokens)


def encode_handle(document: bytes) -> str | None:
    """Spell an answer that holds links only for the record of its attempt; None where it is too long for that."""
    return document.decode() if len(document) <= HANDLE_BYTES_MAX else None


def decode_handle(text: str) -> Answer:
    """Read such an answer back.

    Raises:
        WireError: It is none, or it names no picture.
    """
    answer = _answer_of(text.encode(), mapping_of(document_of(text.encode())), cut=0)
    if not answer.url_only:
        raise WireError("json", "the handle names no picture")
    return answer
