"""fal's queue: what it answers to a submission and to each question about it; its results and its errors.

Pure: no I/O, clock or randomness. Answers of the queue are small documents; a result names its pictures by links, or
holds them as data URIs (`sync_mode`), which leave the document as they come.

Source: docs.fal.ai, queue, errors, request errors (2026); fal_client `client.py`; @fal-ai/client `queue`, `response`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

from holdfast.wire.answers import Answer, AnswerImage, Role
from holdfast.wire.errors import WireError
from holdfast.wire.fields import count_of, document_of, list_of, mapping_of, slot_of, text_of
from holdfast.wire.scan import Event, JsonReader

QUEUE_DOCUMENT_BYTES_MAX = 256 << 10
"""An answer of the queue says a handful of things; logs are not asked for."""
IMAGES_MAX = 16
"""Pictures of one result that are taken; four are the most that can be asked for."""
_MESSAGE_CHARS_MAX = 2_000
_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,199}")
_POLICY = "content_policy_violation"
_RESULT_IMAGES = frozenset({("images", "url"), ("image", "url")})


def FAL_RESULT_IMAGE(path: tuple[str, ...]) -> bool:
    """Where a result has its pictures, as links or as data URIs: `images[].url`; some models `image.url`."""
    return path in _RESULT_IMAGES


class QueueState(StrEnum):
    """Where a request stands in the queue."""

    IN_QUEUE = "IN_QUEUE"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    """It has ended, well or not: the result tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handle:
    """A request that the queue has taken: with it its image is asked for again and again, and never bought again."""

    request_id: str
    status_url: str | None = None
    response_url: str | None = None
    cancel_url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueStatus:
    """What the queue says of a request."""

    state: QueueState
    queue_position: int | None = None
    error: str | None = None
    error_type: str | None = None

    @property
    def has_failed(self) -> bool:
        """Whether it ended without a result."""
        return self.error is not None or self.error_type is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class FalError:
    """An error document, decoded."""

    message: str
    type: str | None = None
    """`error_type`, or the `type` of the entry of `detail` that weighs most."""
    is_input: bool = False
    """It is about something that was sent (`loc` begins with `body`)."""
    is_json: bool = True
    """False: no error document of fal's; a proxy's page, or nothing."""


class QueueReader:
    """Reads one answer of the queue itself: a small document without pictures."""

    def __init__(self) -> None:
        self._json = JsonReader(lambda _: False, skeleton_bytes_max=QUEUE_DOCUMENT_BYTES_MAX)

    def __repr__(self) -> str:
        return f"<QueueReader {self._json!r}>"

    @property
    def complete(self) -> bool:
        """The document has closed."""
        return self._json.complete

    def feed(self, chunk: bytes | bytearray | memoryview) -> list[Event]:
        """Take the next bytes; see `answers.Reader`."""
        return self._json.feed(chunk)

    def finish(self) -> Answer:
        """Return the document; see `answers.Reader`."""
        return Answer(images=(), document=self._json.finish())


class ResultReader:
    """Reads a model's output; pictures that are in it leave as they come, links stay."""

    def __init__(self, *, image_bytes_max: int = 64 << 20) -> None:
        self._json = JsonReader(
            FAL_RESULT_IMAGE, image_bytes_max=image_bytes_max, images_max=IMAGES_MAX, links_stay=True
        )

    def __repr__(self) -> str:
        return f"<ResultReader {self._json!r}>"

    @property
    def complete(self) -> bool:
        """The document has closed."""
        return self._json.complete

    def feed(self, chunk: bytes | bytearray | memoryview) -> list[Event]:
        """Take the next bytes; see `answers.Reader`."""
        return self._json.feed(chunk)

    def finish(self) -> Answer:
        """Return the answer; `links_of` its document gives the pictures that are still to be fetched."""
        skeleton = self._json.finish()
        document = mapping_of(document_of(skeleton))
        mimes = {slot_of(item.get("url")): _mime_of(item) for item in _items_of(document)}
        images = tuple(
            AnswerImage(index=index, role=Role.RESULT, declared_mime=mimes.get(index))
            for index in range(self._json.next_index)
        )
        return Answer(images=images, document=skeleton, url_only=not images and bool(links_of(skeleton)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A picture that lies elsewhere."""

    url: str
    declared_mime: str | None = None


def links_of(document: bytes) -> tuple[Link, ...]:
    """List the pictures that a result names by a link, in order; at most `IMAGES_MAX`."""
    items = _items_of(mapping_of(document_of(document)))
    links = (Link(url=text_of(item.get("url")) or "", declared_mime=_mime_of(item)) for item in items)
    return tuple(link for link in links if link.url.lower().startswith(("https://", "http://")))[:IMAGES_MAX]


def _items_of(document: Any) -> list[Any]:
    items = [*list_of(document.get("images")), *list_of(document.get("image"))]
    return [mapping_of(item) for item in items]


def _mime_of(item: Any) -> str | None:
    return text_of(item.get("content_type"))


def decode_submitted(document: bytes) -> Handle:
    """Read the answer to a submission.

    Raises:
        WireError: It names no request that could be asked for.
    """
    fields = mapping_of(document_of(document))
    request_id = text_of(fields.get("request_id"))
    if request_id is None or not is_request_id(request_id):
        raise WireError("json", "the answer names no request")
    return Handle(
        request_id=request_id,
        status_url=text_of(fields.get("status_url")),
        response_url=text_of(fields.get("response_url")),
        cancel_url=text_of(fields.get("cancel_url")),
    )


def is_request_id(text: str) -> bool:
    """Whether it may stand in a path as it is."""
    return _REQUEST_ID.fullmatch(text) is not None


def decode_status(document: bytes) -> QueueStatus:
    """Read what the queue says of a request.

    Raises:
        WireError: It says nothing that is known.
    """
    fields = mapping_of(document_of(document))
    word = text_of(fields.get("status"))
    if word not in tuple(QueueState):
        raise WireError("json", "the answer names no status that is known")
    position = fields.get("queue_position")
    is_position = isinstance(position, int | float) and not isinstance(position, bool)
    return QueueStatus(
        state=QueueState(word),
        queue_position=count_of(position) if is_position else None,
        error=text_of(fields.get("error")),
        error_type=text_of(fields.get("error_type")),
    )


def decode_error(body: bytes) -> FalError:
    """Read an error body, whatever it is: the queue's, a model's list of details, or a proxy's page."""
    try:
        fields = mapping_of(document_of(body))
    except WireError:
        return FalError(message="the body is not a JSON error", is_json=False)
    detail, type_ = fields.get("detail"), text_of(fields.get("error_type"))
    entries = [mapping_of(entry) for entry in list_of(detail)]
    if entries:
        return _worst_of(entries, type_)
    message = text_of(detail) or text_of(fields.get("error")) or text_of(fields.get("message"))
    is_json = message is not None or type_ is not None
    return FalError(message=(message or "the body has no detail")[:_MESSAGE_CHARS_MAX], type=type_, is_json=is_json)


def _worst_of(entries: Sequence[Any], type_: str | None) -> FalError:
    """Of several complaints, a refusal of the content counts, and else the first."""
    entry = next((each for each in entries if each.get("type") == _POLICY), entries[0])
    loc = entry.get("loc")
    first = loc[0] if isinstance(loc, list) and loc else None
    return FalError(
        message=(text_of(entry.get("msg")) or "no message")[:_MESSAGE_CHARS_MAX],
        type=text_of(entry.get("type")) or type_,
        is_input=first == "body",
    )


def encode_handle(handle: Handle) -> str:
    """Spell a handle for the record of its attempt."""
    return msgspec.json.encode(handle).decode()


def decode_handle(text: str) -> Handle:
    """Read a handle from the record of its attempt.

    Raises:
        WireError: It is none of ours.
    """
    try:
        handle = msgspec.json.decode(text, type=Handle)
    except msgspec.MsgspecError as exc:
        raise WireError("json", "the handle cannot be read") from exc
    if not is_request_id(handle.request_id):
        raise WireError("json", "the handle names no request")
    return handle
