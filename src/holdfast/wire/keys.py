"""API keys and their groups, as the admin API takes and gives them; `holdfast keys` speaks the same documents.

Pure: no I/O, clock or randomness. Times are RFC 3339 in UTC, money is integer micro-units. The definitions validate
requests and are the source of the OpenAPI document. In a change, what is left out stays as it is, and null takes a
limit away.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from holdfast.errors import RequestError
from holdfast.wire.errors import WireError
from holdfast.wire.fields import document_of, mapping_of, request_error_of
from holdfast.wire.misfit import misfit
from holdfast.wire.nearest import nearest

LABEL_CHARS_MAX = 100
OVERLAP_S_DEFAULT = 86_400
OVERLAP_S_MAX = 90 * 86_400
RATE_MAX = 10_000
_MICROS_MAX = 10**15
_PATTERN = re.compile(r"[A-Za-z0-9*][A-Za-z0-9._:/*-]{0,127}")
_READABLE = r"^[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*$"
"""What a schema can say of one line of text that can be read."""
_QUOTED_CHARS_MAX = 40

_Label = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=LABEL_CHARS_MAX,
        description="For people: one line of text.",
        extra_json_schema={"pattern": _READABLE},
    ),
]
_Micros = Annotated[int, Meta(ge=1, le=_MICROS_MAX, description="Micro-units, 1,000,000 to the unit of the currency.")]


class KeyWish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a key is to be; in a change, what is left out stays as it is."""

    label: _Label | msgspec.UnsetType = msgspec.UNSET
    group_id: (
        Annotated[str, Meta(max_length=64, description="The group whose limits and price are its own too.")] | None
    ) = None
    is_admin: Annotated[bool, Meta(description="Whether it opens the admin API and the console.")] | None = None
    models: (
        Annotated[
            list[Annotated[str, Meta(extra_json_schema={"pattern": f"^{_PATTERN.pattern}$"})]],
            Meta(
                min_length=1,
                max_length=64,
                description="Models or aliases that it may ask for; `*` for any characters.",
            ),
        ]
        | None
    ) = None
    sizes: (
        Annotated[list[Literal["1K", "2K", "4K"]], Meta(min_length=1, max_length=3, description="Sizes likewise.")]
        | None
    ) = None
    surfaces: (
        Annotated[
            list[Literal["openai", "gemini", "generations", "chat"]],
            Meta(min_length=1, max_length=4, description="Whose API it may ask for images on."),
        ]
        | None
    ) = None
    rate_per_min: Annotated[int, Meta(ge=1, le=RATE_MAX, description="Generations accepted in any minute.")] | None = (
        None
    )
    concurrency: Annotated[int, Meta(ge=1, le=100_000, description="Generations open at once.")] | None = None
    spend_micros_per_day: _Micros | None = None
    spend_micros_per_month: _Micros | None = None
    purchases_max: (
        Annotated[int, Meta(ge=1, le=9, description="Most calls for one image that may be charged.")] | None
    ) = None
    tls_required: Annotated[bool, Meta(description="Refused where it comes in clear.")] | None = None
    join: (
        Annotated[Literal["all", "retries", "keyed", "off"], Meta(description="Which of its repeats join.")] | None
    ) = None
    expires_at: (
        Annotated[
            str,
            Meta(
                max_length=40,
                description="When it ends: a moment to come (RFC 3339), or a day, which begins at midnight UTC.",
                extra_json_schema={"anyOf": [{"format": "date-time"}, {"format": "date"}]},
            ),
        ]
        | None
    ) = None


class NewKeyWish(KeyWish, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a new key is to be."""

    label: _Label


class GroupWish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a group of keys is to be; in a change, what is left out stays as it is."""

    label: _Label | msgspec.UnsetType = msgspec.UNSET
    margin_share: (
        Annotated[
            float, Meta(ge=-1.0, le=100.0, description="Added to list prices: 0.2 is a fifth; null: `money.margin`.")
        ]
        | None
    ) = None
    spend_micros_per_day: _Micros | None = None
    spend_micros_per_month: _Micros | None = None


class NewGroupWish(GroupWish, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a new group of keys is to be."""

    label: _Label


class RotateWish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a secret is replaced."""

    overlap_s: Annotated[
        int, Meta(ge=0, le=OVERLAP_S_MAX, description="For how many seconds the secret before is valid too.")
    ] = OVERLAP_S_DEFAULT


class SecretResource(msgspec.Struct, frozen=True, kw_only=True):
    """One secret of a key; what it is, nobody can tell any more."""

    created_at: str
    expires_at: str | None
    """None: with the key."""


class KeyResource(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A key, as it stands."""

    id: str
    object: Annotated[Literal["key"], Meta(description="Always `key`.")]
    label: str
    state: Literal["valid", "expired", "revoked"]
    created_at: str
    revoked_at: str | None
    expires_at: str | None
    group_id: str | None
    is_admin: bool
    models: tuple[str, ...] | None
    sizes: tuple[str, ...] | None
    surfaces: tuple[str, ...] | None
    rate_per_min: int | None
    concurrency: int | None
    spend_micros_per_day: int | None
    spend_micros_per_month: int | None
    purchases_max: int | None
    tls_required: bool
    join: str
    secrets: tuple[SecretResource, ...]
    """Newest first; those that ended are kept for a month."""
    key: str | None = None
    """What its owner keeps; in the answers to creation and rotation only."""


class KeyList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of keys, oldest first."""

    object: Literal["list"]
    data: tuple[KeyResource, ...]
    has_more: bool
    """Whether to ask on with `after` = `last_id`."""
    last_id: str | None


class GroupResource(msgspec.Struct, frozen=True, kw_only=True):
    """A group of keys, as it stands."""

    id: str
    object: Annotated[Literal["key_group"], Meta(description="Always `key_group`.")]
    label: str
    created_at: str
    margin_share: float | None
    spend_micros_per_day: int | None
    spend_micros_per_month: int | None


class GroupList(msgspec.Struct, frozen=True, kw_only=True):
    """All groups, oldest first."""

    object: Literal["list"]
    data: tuple[GroupResource, ...]


def decode_key_wish(body: bytes, *, now: datetime, is_new: bool) -> dict[str, Any]:
    """Read what a key is to be, as columns of its row; what is not stated is not among them.

    Args:
        body: JSON.
        now: UTC; nothing ends in the past.
        is_new: Whether it has to say everything that a key needs.

    Raises:
        RequestError: Not JSON, or a field is unknown, missing or not possible; `param` names it.
    """
    wish = _decoded(body, NewKeyWish if is_new else KeyWish)
    columns: dict[str, Any] = dict(wish)
    _check_label(columns)
    for name in ("models", "sizes", "surfaces"):
        if columns.get(name) is not None:
            columns[name] = msgspec.json.encode(list(dict.fromkeys(columns[name]))).decode()
    for pattern in wish.get("models") or ():
        if not _PATTERN.fullmatch(pattern):
            raise RequestError(
                f"models: {pattern[:_QUOTED_CHARS_MAX]!r} names no model: at most 128 letters, digits and . _ : / -, "
                "`*` for any of them.",
                param="models",
            )
    for name in ("is_admin", "tls_required"):
        if name in columns:
            columns[name] = int(bool(columns[name]))
    if "join" in columns:
        columns["join_mode"] = columns.pop("join") or "retries"
    if columns.get("expires_at") is not None:
        columns["expires_at"] = checked_end(columns["expires_at"], now)
    return columns


def decode_group_wish(body: bytes, *, is_new: bool) -> dict[str, Any]:
    """Read what a group is to be; `decode_key_wish` says how."""
    wish = _decoded(body, NewGroupWish if is_new else GroupWish)
    _check_label(wish)
    return wish


def decode_rotate_wish(body: bytes) -> int:
    """Read for how many seconds the secret before is valid beside the new one; an empty body is the usual wish.

    Raises:
        RequestError: Not JSON, or no such number.
    """
    overlap_s = _decoded(body or b"{}", RotateWish).get("overlap_s", OVERLAP_S_DEFAULT)
    assert isinstance(overlap_s, int)
    return overlap_s


def checked_end(text: str, now: datetime) -> str:
    """Read when something ends, spelled as records have it.

    Raises:
        RequestError: It is no moment, or is over.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as exc:
        raise RequestError("expires_at must be a moment such as 2027-01-31T00:00:00Z.", param="expires_at") from exc
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        spelled = moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except OverflowError as exc:
        raise RequestError("expires_at is too far away.", param="expires_at") from exc
    if moment <= now:
        raise RequestError(f"expires_at: {spelled} is over already.", param="expires_at")
    return spelled


def stated(body: bytes) -> dict[str, Any] | None:
    """Give what a document that was read says, for the log of changes; None: nothing."""
    document = msgspec.json.decode(body) if body else {}
    return dict(mapping_of(document)) or None


def _decoded(body: bytes, kind: type[KeyWish | GroupWish | RotateWish]) -> dict[str, Any]:
    """Give the fields that are stated, validated."""
    try:
        document = document_of(body)
        known = kind.__struct_fields__
        for name in mapping_of(document):
            if name not in known:
                path = name[:_QUOTED_CHARS_MAX]
                raise RequestError(f"There is no field {path!r}. {nearest(name, known)}", param=path)
        is_new = kind in (NewKeyWish, NewGroupWish)
        if isinstance(document, dict) and document.get("label", None if is_new else "") is None:
            raise RequestError("label is missing: say for people what it is for.", param="label")
        wish = msgspec.convert(document, type=kind)
    except WireError as exc:
        raise request_error_of(exc) from exc
    except msgspec.ValidationError as exc:
        raise misfit(exc, document, kind) from exc
    return {name: getattr(wish, name) for name in mapping_of(document)}


def _check_label(wish: Mapping[str, Any]) -> None:
    label = wish.get("label")
    if label is not None and not (label.isprintable() and label.strip()):
        raise RequestError("label must be one line of text that can be read.", param="label")


def render(resource: KeyResource | KeyList | GroupResource | GroupList) -> bytes:
    """Write a resource."""
    return msgspec.json.encode(resource)
