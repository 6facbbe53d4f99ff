"""Rows as values: what the store's functions take and give. Times are RFC 3339 text, as they are at rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter, itemgetter
from typing import Any, Self

import msgspec

from holdfast.generation import OPEN_ATTEMPT_STATES
from holdfast.policy.access import Limits, Scopes
from holdfast.store.exposure import Cap
from holdfast.store.port import Row
from holdfast.types import Charge, Failure, ImageInfo, Tariff, Usage


class _FromRow:
    """Reads a row by the names of the dataclass's fields; columns it does not name are left aside."""

    __slots__ = ()

    @classmethod
    def of(cls, row: Row) -> Self:
        """Make the value of one row."""
        # A row finds a name by comparing one column after the other: each list of columns is searched once.
        columns = tuple(row.keys())
        values = _READERS.get((cls, columns))
        if values is None:
            values = _READERS[cls, columns] = itemgetter(*(columns.index(name) for name in _names_of(cls)))
        # A plain tuple gives its places fastest, whichever database the row is of.
        return cls._made(values(tuple(row)))

    def but(self, **changes: Any) -> Self:
        """Make the value of this row after a change; `dataclasses.replace` takes twice as long."""
        made = self._made(_getter_of(type(self))(self))
        setters = _setters_of(type(self))
        for name, value in changes.items():
            setters[name](made, value)
        return made

    @classmethod
    def _made(cls, values: Iterable[Any]) -> Self:
        # What `__init__` of a frozen dataclass does, without a lookup by name for each of thirty fields.
        made = object.__new__(cls)
        for set_field, value in zip(_setters_of(cls).values(), values, strict=True):
            set_field(made, value)
        return made


_NAMES: dict[type, tuple[str, ...]] = {}
_READERS: dict[tuple[type, tuple[str, ...]], itemgetter[Any]] = {}
_SETTERS: dict[type, dict[str, Callable[[Any, Any], None]]] = {}
_GETTERS: dict[type, attrgetter[Any]] = {}


def _names_of(kind: type) -> tuple[str, ...]:
    """The fields of a kind of value, found once."""
    names = _NAMES.get(kind)
    if names is None:
        names = _NAMES[kind] = tuple(field.name for field in fields(kind))
    return names


def _setters_of(kind: type) -> dict[str, Callable[[Any, Any], None]]:
    setters = _SETTERS.get(kind)
    if setters is None:
        setters = _SETTERS[kind] = {name: vars(kind)[name].__set__ for name in _names_of(kind)}
    return setters


def _getter_of(kind: type) -> attrgetter[Any]:
    getter = _GETTERS.get(kind)
    if getter is None:
        getter = _GETTERS[kind] = attrgetter(*_names_of(kind))
    return getter


def values_of(value: Any) -> dict[str, Any]:
    """Give the fields of a flat value by name, as the parameters of a statement; `asdict` would copy each of them."""
    kind = type(value)
    return dict(zip(_names_of(kind), _getter_of(kind)(value), strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRow(_FromRow):
    """An API key, without its secrets. None in a limit is no limit; times are RFC 3339."""

    id: str
    """Survives rotation: everything on record is under it."""
    label: str
    created_at: str
    join_mode: str = "retries"
    revoked_at: str | None = None
    expires_at: str | None = None
    """When the key as a whole ends."""
    group_id: str | None = None
    is_admin: int = 0
    models: str | None = None
    """What it may ask for, JSON lists; None: everything. Read by `policy.access.Scopes.of`."""
    sizes: str | None = None
    surfaces: str | None = None
    rate_per_min: int | None = None
    """Generations accepted in a minute."""
    concurrency: int | None = None
    """Generations open at once."""
    spend_micros_per_day: int | None = None
    """By UTC day and month; the limits of its group stand beside them."""
    spend_micros_per_month: int | None = None
    purchases_max: int | None = None
    """How often a part may be bought where an outcome is unknown."""
    tls_required: int = 0
    margin_share: float | None = None
    """Of its group: added to list prices, 0.2 is a fifth; None: `money.margin` counts."""
    group_label: str | None = None
    """By which `[[prices]]` name its group."""
    secret_expires_at: str | None = None
    """Of the secret it was found by, if that was replaced."""

    @property
    def scopes(self) -> Scopes:
        """What it may ask for."""
        return Scopes.of(self.models, self.sizes, self.surfaces)

    @property
    def limits(self) -> Limits:
        """How much of it is taken at once."""
        return Limits(rate_per_min=self.rate_per_min, concurrency=self.concurrency)

    @property
    def tariff(self) -> Tariff | None:
        """At what prices it buys; None: at the usual ones."""
        return None if self.group_label is None else Tariff(group=self.group_label, margin_share=self.margin_share)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRow(_FromRow):
    """Several keys under one limit and one price."""

    id: str
    label: str
    created_at: str
    margin_share: float | None = None
    spend_micros_per_day: int | None = None
    spend_micros_per_month: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretRow(_FromRow):
    """A secret of a key: that there is one, and until when."""

    key_id: str
    created_at: str
    expires_at: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewGeneration:
    """What the accepting commit writes."""

    id: str
    key_id: str
    surface: str
    model: str
    tier: str
    size: str
    """As asked for: `4096x4096`."""
    n: int
    parts: int
    request: bytes
    """`types.Request` as JSON."""
    deadline_at: str
    hard_deadline: bool
    created_at: str
    currency: str
    unit_micros: int
    held_micros: int
    traceparent: str | None = None
    fingerprint: bytes | None = None
    """`policy.fingerprint`; None where repeats are not recognised."""
    fingerprint_version: int | None = None
    idempotency_key: str | None = None
    callers: int = 0
    """Connections that wait for its answer."""
    watched_by: str | None = None
    """The process that has them."""
    inputs: tuple[str, ...] = ()
    """Store keys of its reference images."""
    list_micros: int = 0
    """What the upstream takes for an image, without our margin."""
    metadata: str | None = None
    """The caller's own, as JSON."""
    webhook: str | None = None
    """The URL that the request brought along, to be told of the end."""
    default_webhook_id: str | None = None
    """Of the key's default, which signs for that URL, where it has to be made."""
    only_awaited: bool = False
    """Whoever asked waits for it, and was not told to come back."""

    def __post_init__(self) -> None:
        assert (self.webhook is None) == (self.default_webhook_id is None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the caller of a failed generation is told."""

    code: str
    message: str
    charge: Charge
    kind: str | None = None
    reason: str | None = None
    """The upstream's own word, such as Gemini's finishReason."""
    status: int | None = None
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRow(_FromRow):
    """A generation as it stands."""

    id: str
    key_id: str
    surface: str
    model: str
    tier: str
    size: str
    n: int
    request: bytes | None
    state: str
    epoch: int
    drive: int
    parts: int
    parts_open: int
    cancel_requested: int
    deadline_at: str
    hard_deadline: int
    created_at: str
    started_at: str | None
    finished_at: str | None
    answered_at: str | None
    collected_at: str | None
    purge_after: str | None
    currency: str
    unit_micros: int
    held_micros: int
    charged_micros: int
    partial_result: int
    late: int
    failure: str | None
    sequence_number: int
    list_micros: int
    compensated_micros: int
    fingerprint: bytes | None = None
    fingerprint_version: int | None = None
    idempotency_key: str | None = None
    metadata: str | None = None
    only_awaited: int = 0
    held_on: str = ""
    """The day (UTC) of its hold."""
    group_id: str | None = None
    """The group that its hold was counted against."""
    served_by: str | None = None
    """The upstream under which it is counted; empty: it was sent nowhere; None: it has not ended."""
    traceparent: str | None = None
    purged_at: str | None = None
    """When its images and its prompt were gone."""
    deleted_at: str | None = None
    """When its owner had them deleted, before their time."""

    @property
    def told(self) -> Told | None:
        """What its callers are told, if it failed."""
        return None if self.failure is None else msgspec.json.decode(self.failure, type=Told)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAttempt:
    """What the sending commit writes."""

    id: str
    generation_id: str
    part: int
    drive: int
    upstream: str
    provider: str
    model: str
    idempotency_key: str
    estimated_micros: int
    """List price of the images asked for."""
    owner: str
    sent_at: str
    key_number: int | None = None
    """Place of its key in the upstream's settings, from 1."""
    route: str | None = None
    """The public model whose entry it is."""
    tier: str | None = None
    """The size that it is asked for."""
    list_micros: int | None = None
    """What the upstream takes for an image; None: as for what the generation asks for."""
    unit_micros: int | None = None
    """Its price to the customer, if that is another one."""
    hedge: int = 0
    """1: a second attempt, beside one that is slow."""
    because: Mapping[str, Any] | None = None
    """Why it is made, as its event tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRow(_FromRow):
    """An attempt as it stands."""

    id: str
    generation_id: str
    part: int
    drive: int
    number: int
    epoch: int
    upstream: str
    provider: str
    model: str
    state: str
    charge: str
    sent_at: str
    received_at: str | None
    ended_at: str | None
    http_status: int | None
    failure: str | None
    usage: str | None
    answer: bytes | None
    retry_at: str | None = None
    upstream_handle: str | None = None
    """What an upstream that is polled has named the request."""
    key_number: int | None = None
    """Place of its key in the upstream's settings, from 1; None: an earlier version sent it."""
    route: str | None = None
    tier: str | None = None
    list_micros: int | None = None
    unit_micros: int | None = None
    decision: str | None = None
    """What was decided after it failed, as JSON."""
    hedge: int = 0
    """1: a second attempt, beside one that was slow."""
    outrun: int = 0
    """1: another attempt brought the image of its part while it was in flight."""

    @property
    def failed(self) -> Failure | None:
        """How it failed, if it did."""
        return None if self.failure is None else msgspec.json.decode(self.failure, type=Failure)

    @property
    def used(self) -> Usage | None:
        """Tokens, as the upstream counted them."""
        return None if self.usage is None else msgspec.json.decode(self.usage, type=Usage)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBlob:
    """One image that is in the blob store already."""

    id: str
    kind: str
    """`result` or `draft`; a result that comes after the end becomes `late` by itself."""
    position: int
    store_key: str
    info: ImageInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobRow(_FromRow):
    """A stored image."""

    id: str
    generation_id: str
    attempt_id: str
    part: int
    position: int
    kind: str
    store_key: str
    sha256: str
    bytes: int
    mime: str
    width_px: int
    height_px: int
    state: str
    delete_after: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEnd:
    """What the settling commit writes: images, or a failure."""

    attempt_id: str
    at: str
    purge_after: str
    """When what is never collected may be deleted."""
    generation_id: str | None = None
    """Whose it is, and of which key: whoever knows it spares looking that up."""
    key_id: str | None = None
    blobs: tuple[NewBlob, ...] = ()
    failure: Failure | None = None
    http_status: int | None = None
    usage: Usage | None = None
    answer: bytes | None = None
    received_at: str | None = None
    """When the whole answer was in the spool; None where none came."""
    cost_micros: int | None = None
    """List price of what the upstream made; None: as estimated when it was sent."""
    retry_at: str | None = None
    """When its part goes on, after a failure that certainly was not paid for; None: this ends the part."""
    decision: str | None = None
    """What was decided after a failure, as JSON."""
    cap: Cap | None = None
    """Under which a part goes on whose attempt may have been charged."""

    def __post_init__(self) -> None:
        has_results = any(blob.kind == "result" for blob in self.blobs)
        assert has_results is (self.failure is None), "an attempt ends with a result or with a failure"
        if self.retry_at is not None:
            assert self.failure is not None, "what brought its image is not tried again"
            assert self.failure.charge is not Charge.YES, "what was paid for is not bought again"
            is_capped = self.failure.charge is Charge.NO or self.cap is not None
            assert is_capped, "what may have been paid for is bought again only under a cap"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What the settling commit did."""

    was_open: bool
    """False: somebody had ended this attempt before, and nothing was written."""
    finished: Record | None = None
    """The whole of the generation, if this ended it (or turned its failure into a late success)."""
    goes_on: bool = False
    """The part of this attempt is tried again, as was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow(_FromRow):
    """One entry of a generation's log."""

    generation_id: str
    sequence_number: int
    at: str
    type: str
    data: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A generation with everything that belongs to it."""

    generation: GenerationRow
    attempts: tuple[AttemptRow, ...]
    blobs: tuple[BlobRow, ...]

    @property
    def results(self) -> tuple[BlobRow, ...]:
        """Images in the order of `data[]`; after a late success, the late ones."""
        return tuple(blob for blob in self.blobs if blob.kind == "result")

    def drafts(self) -> tuple[BlobRow, ...]:
        """Pictures made on the way, and extras."""
        return tuple(blob for blob in self.blobs if blob.kind != "result")

    @property
    def has_open_attempts(self) -> bool:
        """Whether an image may still come, whatever its callers were told."""
        return any(attempt.state in OPEN_ATTEMPT_STATES for attempt in self.attempts)

    def attempt_of(self, blob: BlobRow) -> AttemptRow:
        """The attempt that brought an image."""
        return next(attempt for attempt in self.attempts if attempt.id == blob.attempt_id)


def to_json(value: Any) -> str:
    """Spell a value for a text column."""
    return msgspec.json.encode(value).decode()


def parts_in_flight(attempts: Sequence[AttemptRow]) -> set[int]:
    """Name the parts that an attempt in flight may still end; two of one part are one, and one that was outrun none."""
    return {each.part for each in attempts if each.state in OPEN_ATTEMPT_STATES and not each.outrun}


def withheld(decision: str, reason: str) -> str:
    """Say of a decision that was not carried out what kept it from that."""
    told: dict[str, Any] = msgspec.json.decode(decision)
    return to_json({**told, "follows": "give_up", "reason": reason, "after_s": None, "to": None, "expected_s": None})
