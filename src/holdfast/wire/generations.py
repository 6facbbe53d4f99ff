"""The status resource: a generation as `GET /v1/generations/{id}` tells it.

Pure: no I/O, clock or randomness. Times are RFC 3339 in UTC with milliseconds, given as text. The definitions are the
source of the OpenAPI document.
"""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

from holdfast.wire.sse import event_of
from holdfast.wire.template import Template, template_of

Status = Literal["queued", "running", "succeeded", "failed", "cancelled"]
Paid = Literal["no", "yes", "unknown"]


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """Honest arithmetic: how many generations of this model and size had finished by now."""

    elapsed_s: float
    expected_s: float
    p95_s: float
    fraction: float
    """In [0, 1]."""


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """The customer's side, in millionths of the currency."""

    held_micros: int
    charged_micros: int
    compensated_micros: int
    """Given back of what was charged."""
    currency: str


class AttemptResource(msgspec.Struct, frozen=True, kw_only=True):
    """One try at one upstream."""

    number: int
    """From 1."""
    upstream: str
    model: str
    status: str
    """`sent`, `polling`, `settled`, `rejected`, `charged_failed` or `unknown`."""
    charge: Paid
    started_at: str
    ended_at: str | None = None
    part: int = 0
    """Which of the images wanted it was for."""


class ImageResource(msgspec.Struct, frozen=True, kw_only=True):
    """One stored image."""

    index: int
    """From 0, as in `data[]`."""
    url: str | None
    """Signed link; None once the image has been deleted."""
    mime: str
    bytes: int
    sha256: str
    width: int
    height: int
    expires_at: str | None = None
    """When the image may be deleted, at the earliest; earlier once it was collected. Links end after a day at most."""
    size_differs: bool = False
    """The upstream drew another size than was asked for."""


class ErrorResource(msgspec.Struct, frozen=True, kw_only=True):
    """Why there is no image."""

    code: str
    """One of `failures.CODES`."""
    message: str
    paid: Paid
    retryable: bool


class GenerationResource(msgspec.Struct, frozen=True, kw_only=True):
    """A generation: what was asked for, how it stands, what came of it."""

    id: str
    object: Literal["generation"] = "generation"
    status: Status
    sequence_number: int
    """Of its last event."""
    model: str
    size: str
    created_at: str
    started_at: str | None = None
    finished_at: str | None = None
    queue_position: int | None = None
    """Where it stands in line for its upstream, from 1; None once it is sent, or where there is no line."""
    estimated_start_s: float | None = None
    """Seconds until it should be sent, beside `queue_position`: as places become free, and limits allow."""
    progress: Progress | None = None
    paid: Paid
    cost: Cost
    attempts: tuple[AttemptResource, ...] = ()
    images: tuple[ImageResource, ...] = ()
    drafts: tuple[ImageResource, ...] = ()
    """Pictures the model drew on its way; billed by the upstream, never to the customer."""
    error: ErrorResource | None = None
    partial_result: bool = False
    """Fewer images came than were asked for."""
    served_by: str | None = None
    """Which upstream made the first image, and what the model is called there: `google/gemini-3-pro-image`. After a
    fallback that is another model than was asked for."""
    late: bool = False
    """The image came after the generation had been given up."""
    cancel_requested: bool = False
    """Nothing more is bought; an image that is in flight is still delivered."""
    metadata: dict[str, str] | None = None
    """What its caller had kept with it."""
    deleted_at: str | None = None
    """When its images and its prompt were deleted at its owner's wish; this record and what it cost stay."""


EventType = Literal[
    "generation.queued",
    "generation.running",
    "generation.progress",
    "generation.stored",
    "generation.succeeded",
    "generation.failed",
    "generation.cancelled",
]
EVENT_TYPES = tuple(name.removeprefix("generation.") for name in get_args(EventType))
"""As the log has them."""


class EventResource(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to a generation, and how it stood then."""

    id: str
    type: EventType
    """Also the event's name."""
    status: Status
    sequence_number: int
    """Also the event's id: a stream is taken up behind it."""
    at: str
    progress: Progress | None = None
    """At that moment; None once it has ended."""
    queue_position: int | None = None
    """Where it stands in line, from 1, when this was sent; None where it does not wait for a place."""
    estimated_start_s: float | None = None
    """Seconds from then until it should be sent, beside `queue_position`."""
    late: bool = False
    cancel_requested: bool = False


def render_event(event: EventResource) -> bytes:
    """Write one server-sent event, whole."""
    (text,) = event_of((msgspec.json.encode(event),), name=event.type, id=str(event.sequence_number))
    assert isinstance(text, bytes)
    return text


class PartialImageEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A preview on its way: sent to whoever follows at that moment, and kept nowhere.

    It has no number, so a stream that is taken up again does not bring it back, and no link, since nothing is kept.
    """

    id: str
    type: Literal["generation.partial_image"] = "generation.partial_image"
    """Also the event's name."""
    status: Status = "running"
    at: str
    partial_image_index: int
    """As the upstream numbers them, from 0."""
    mime: str
    bytes: int
    width: int
    height: int
    b64_json: str
    """The image, base64."""


def render_partial_image(event: PartialImageEvent) -> Template:
    """Write the event; the number in `b64_json` is the slot of the image. Without an id: nobody resumes behind it."""
    document = template_of(msgspec.json.encode(event), lambda path: path == ("b64_json",))
    return event_of(document, name=event.type)


class GenerationList(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a key's generations, newest first."""

    object: Literal["list"] = "list"
    data: tuple[GenerationResource, ...]
    has_more: bool
    """Whether to ask for the next page, with `after` = `last_id`."""
    first_id: str | None
    last_id: str | None
    """Where the next page goes on. Usually the last of `data`; with a filter it may be one that was passed over."""


def render_list(page: GenerationList) -> bytes:
    """Write a page."""
    return msgspec.json.encode(page)


def render_generation(generation: GenerationResource) -> bytes:
    """Write the resource."""
    return msgspec.json.encode(generation)


def decode_generation(body: bytes) -> GenerationResource:
    """Read the resource, as a client does; members it does not know are passed over."""
    return msgspec.json.decode(body, type=GenerationResource)
