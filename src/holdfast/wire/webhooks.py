"""Webhooks: what receivers are sent, and what the routes take and give.

Pure: no I/O, clock or randomness. Times are RFC 3339 in UTC with milliseconds, given as text. The definitions are the
source of the OpenAPI document.
"""

from __future__ import annotations

import difflib
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from holdfast.errors import RequestError
from holdfast.wire.errors import WireError
from holdfast.wire.fields import document_of, request_error_of
from holdfast.wire.misfit import misfit


class EndedGeneration(msgspec.Struct, frozen=True, kw_only=True):
    """Which generation ended, and how. Thin: whoever wants more reads the generation, with the key."""

    id: str
    status: str
    drive: int
    """How often it had been driven again before."""


class WebhookPayload(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a webhook; the same bytes at each try."""

    type: str
    """`generation.succeeded`, `generation.failed` or `generation.cancelled`."""
    timestamp: str
    """When it ended."""
    data: EndedGeneration


class NewWebhook(msgspec.Struct, frozen=True, kw_only=True):
    """Be told of every end of this key's generations."""

    url: Annotated[str, Meta(min_length=1, max_length=2048, description="Where to, `https://…`.")]


class WebhookResource(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a key wants to be told."""

    id: str
    object: Annotated[Literal["webhook"], Meta(description="Always `webhook`.")]
    url: str | None
    """None: the key's default, which signs for URLs that requests bring along."""
    created_at: str
    disabled_at: str | None
    """When it said 410: nothing is sent to it any more."""
    disabled_reason: str | None
    secret: str | None = None
    """`whsec_…`; in the answers to creation and rotation only."""
    previous_secret_until: str | None = None
    """Until then the secret before signs too; in the answer to rotation only."""


class WebhookList(msgspec.Struct, frozen=True, kw_only=True):
    """A key's webhooks, oldest first."""

    object: Literal["list"]
    data: tuple[WebhookResource, ...]


class TryResource(msgspec.Struct, frozen=True, kw_only=True):
    """One try to tell."""

    at: str
    status: int | None
    error: str | None
    """Why there was no status."""
    took_ms: int


class DeliveryResource(msgspec.Struct, frozen=True, kw_only=True):
    """One end, told to one receiver."""

    id: str
    """Sent as `webhook-id`; the same at each try."""
    object: Literal["webhook.delivery"]
    webhook_id: str
    generation_id: str
    drive: int
    type: str
    state: Literal["pending", "delivered", "failed", "dead"]
    """`failed`: given up on after the last try. `dead`: the webhook was disabled or deleted."""
    tries: int
    """Since it was written or asked for again."""
    next_at: str | None
    last_status: int | None
    last_error: str | None
    created_at: str
    ended_at: str | None
    log: tuple[TryResource, ...]
    """The latest tries, oldest first."""


class DeliveryList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of deliveries, newest first."""

    object: Literal["list"]
    data: tuple[DeliveryResource, ...]
    has_more: bool


def render_payload(*, type_: str, timestamp: str, generation_id: str, drive: int) -> bytes:
    """Write the body of a webhook."""
    status = type_.removeprefix("generation.")
    data = EndedGeneration(id=generation_id, status=status, drive=drive)
    return msgspec.json.encode(WebhookPayload(type=type_, timestamp=timestamp, data=data))


def render(resource: WebhookResource | WebhookList | DeliveryResource | DeliveryList) -> bytes:
    """Write a resource."""
    return msgspec.json.encode(resource)


def decode_new_webhook(body: bytes) -> NewWebhook:
    """Read what a webhook is made from.

    Raises:
        RequestError: Not JSON, a field is unknown, missing or of the wrong type; `param` names it.
    """
    document: Any = None
    try:
        document = document_of(body)
        new = msgspec.convert(document, type=NewWebhook)
    except WireError as exc:
        raise request_error_of(exc) from exc
    except msgspec.ValidationError as exc:
        _refuse_unknown(document)
        raise misfit(exc, document, NewWebhook) from exc
    _refuse_unknown(document)
    return new


def _refuse_unknown(document: Any) -> None:
    """Name a field that means nothing, before a missing one: it is the same one, misspelled."""
    known = NewWebhook.__struct_fields__
    unknown = sorted(name for name in document if name not in known) if isinstance(document, dict) else []
    if unknown:
        name = unknown[0][:64]
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"Did you mean {close[0]!r}?" if close else f"Known here: {', '.join(known)}."
        raise RequestError(f"Unknown field {name!r}. {hint}", param=name)
