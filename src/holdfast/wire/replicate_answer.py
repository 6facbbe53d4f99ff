"""Replicate: predictions, uploaded files and errors, as they are answered.

Pure: no I/O, clock or randomness. A prediction says again what it was asked for; of that, and of its logs, nothing is
kept: the caller's prompt stands in the record of the generation, and nowhere else.

Source: replicate.com/docs, HTTP reference, predictions, rate limits (2026); replicate Python `prediction.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

from holdfast.wire.answers import Answer, AnswerImage, Role, UpstreamError
from holdfast.wire.errors import WireError
from holdfast.wire.fal_answer import Link
from holdfast.wire.fields import document_of, mapping_of, slot_of, text_of
from holdfast.wire.scan import Event, JsonReader

IMAGES_MAX = 16
"""Pictures of one prediction that are taken; one is what is asked for."""
_MESSAGE_CHARS_MAX = 2_000
_URL_CHARS_MAX = 2_048
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,199}")
_KEPT = ("id", "model", "version", "status", "output", "error", "metrics", "created_at", "started_at", "completed_at")
_RESETS = re.compile(r"resets? in ~?\s*(\d{1,5})\s*s\b")
"""`Your rate limit resets in ~30s.`: the only place where it stands."""


class PredictionState(StrEnum):
    """Where a prediction stands."""

    STARTING = "starting"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    """By a cancel, or by `Cancel-After`, while it was worked at."""
    ABORTED = "aborted"
    """`Cancel-After` passed before it was begun; nothing is billed."""

    @property
    def is_end(self) -> bool:
        """Whether nothing more will come of it."""
        return self not in (PredictionState.STARTING, PredictionState.PROCESSING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Handle:
    """A prediction that was created: with it its image is asked for again and again, and never bought again."""

    id: str
    get_url: str | None = None
    cancel_url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What is said of a prediction."""

    handle: Handle
    state: PredictionState
    error: str | None = None
    links: tuple[Link, ...] = ()
    """Its pictures, as far as they lie elsewhere."""
    has_started: bool = False
    """Whether it was begun: from then on it costs."""


def REPLICATE_OUTPUT_IMAGE(path: tuple[str, ...]) -> bool:
    """Where a prediction has its pictures, as links or as data URIs: `output`, one or a list."""
    return path == ("output",)


class PredictionReader:
    """Reads one prediction; pictures that are in it leave as they come, links stay."""

    def __init__(self, *, image_bytes_max: int = 64 << 20) -> None:
        self._json = JsonReader(
            REPLICATE_OUTPUT_IMAGE, image_bytes_max=image_bytes_max, images_max=IMAGES_MAX, links_stay=True
        )

    def __repr__(self) -> str:
        return f"<PredictionReader {self._json!r}>"

    @property
    def complete(self) -> bool:
        """The document has closed."""
        return self._json.complete

    def feed(self, chunk: bytes | bytearray | memoryview) -> list[Event]:
        """Take the next bytes; see `answers.Reader`."""
        return self._json.feed(chunk)

    def finish(self) -> Answer:
        """Return the answer; `decode_prediction` its document tells where it stands."""
        fields = mapping_of(document_of(self._json.finish()))
        kept = {name: fields[name] for name in _KEPT if name in fields}
        urls = mapping_of(fields.get("urls"))
        kept["urls"] = {name: url for name in ("get", "cancel") if (url := text_of(urls.get(name))) is not None}
        images = tuple(AnswerImage(index=index, role=Role.RESULT) for index in range(self._json.next_index))
        links = _links_of(kept.get("output"))
        return Answer(
            images=images,
            document=msgspec.json.encode(kept),
            model_version=text_of(fields.get("version")),
            response_id=text_of(fields.get("id")),
            url_only=not images and bool(links),
        )


def decode_prediction(document: bytes) -> Prediction:
    """Read where a prediction stands.

    Raises:
        WireError: It is none that could be asked for, or says nothing that is known.
    """
    fields = mapping_of(document_of(document))
    id_, word = text_of(fields.get("id")), text_of(fields.get("status"))
    if id_ is None or not is_prediction_id(id_):
        raise WireError("json", "the answer names no prediction")
    if word not in tuple(PredictionState):
        raise WireError("json", "the answer names no status that is known")
    urls = mapping_of(fields.get("urls"))
    return Prediction(
        handle=Handle(id=id_, get_url=text_of(urls.get("get")), cancel_url=text_of(urls.get("cancel"))),
        state=PredictionState(word),
        error=text_of(fields.get("error")),
        links=_links_of(fields.get("output")),
        has_started=text_of(fields.get("started_at")) is not None or word == PredictionState.PROCESSING,
    )


def is_prediction_id(text: str) -> bool:
    """Whether it may stand in a path as it is."""
    return _ID.fullmatch(text) is not None


def _links_of(output: Any) -> tuple[Link, ...]:
    items = output if isinstance(output, list) else [output]
    texts = [item for item in items if isinstance(item, str) and slot_of(item) is None]
    return tuple(Link(url=text) for text in texts if text.lower().startswith(("https://", "http://")))[:IMAGES_MAX]


def decode_file(document: bytes) -> str:
    """Read where an uploaded file lies, as a prediction's input names it.

    Raises:
        WireError: The answer names no such place.
    """
    url = text_of(mapping_of(mapping_of(document_of(document)).get("urls")).get("get"))
    if url is None or len(url) > _URL_CHARS_MAX or not url.startswith(("https://", "http://")):
        raise WireError("json", "the answer names no uploaded file")
    return url


def decode_error(status: int, body: bytes) -> UpstreamError:
    """Read an error body, whatever it is: a problem document, or a proxy's page."""
    try:
        fields = mapping_of(document_of(body))
    except WireError:
        return UpstreamError(status=status, message="the body is not a JSON error", is_json=False)
    detail, title = text_of(fields.get("detail")), text_of(fields.get("title"))
    resets = _RESETS.search(detail or "")
    return UpstreamError(
        status=status,
        message=(detail or title or "the body has no detail")[:_MESSAGE_CHARS_MAX],
        retry_after_s=float(resets[1]) if resets is not None and status == 429 else None,
        is_json=detail is not None or title is not None,
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
    if not is_prediction_id(handle.id):
        raise WireError("json", "the handle names no prediction")
    return handle
