"""What `/admin/v1` answers, as types: the JSON that the console is made of.

Pure: no I/O, clock or randomness. Times are RFC 3339 in UTC, money is integer micro-units, durations are seconds.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from holdfast.wire.generations import AttemptResource, Cost, ErrorResource, Progress, Status
from holdfast.wire.latency import LatencyHour, LatencyRow


class AdminSession(msgspec.Struct, frozen=True, kw_only=True):
    """Who is signed in: `GET` and `POST /admin/v1/session`."""

    object: Literal["admin.session"] = "admin.session"
    key_id: str
    label: str
    """Of the key; for people."""
    by: Literal["session", "key"]
    """How this call proved itself: the cookie, or a key in its header."""
    csrf_token: str | None = None
    """What every call but GET sends as `Holdfast-CSRF` beside the cookie; None for a key, which needs none."""
    created_at: str | None = None
    expires_at: str | None = None
    """When the cookie ends, at the latest; earlier with its key."""


class AdminFile(msgspec.Struct, frozen=True, kw_only=True):
    """A stored image, as much as a list says of it."""

    index: int
    """In `/admin/v1/generations/{id}/images/{index}`."""
    mime: str
    bytes: int
    width: int
    height: int


class AdminGeneration(msgspec.Struct, frozen=True, kw_only=True):
    """A generation of any key, as lists and events show it."""

    id: str
    object: Literal["admin.generation"] = "admin.generation"
    key_id: str
    key_label: str
    surface: str
    """Whose API it was asked through: `openai`, `chat`, `gemini`, `generations`."""
    model: str
    size: str
    """The tier: `1K`, `2K`, `4K`."""
    asked_size: str
    """As asked for: `2048x2048`."""
    n: int
    status: Status
    created_at: str
    started_at: str | None = None
    finished_at: str | None = None
    answered_at: str | None = None
    """When the last byte of an answer was acknowledged."""
    collected_at: str | None = None
    """When image bytes reached somebody; None: never collected."""
    purged_at: str | None = None
    """When images and prompt were deleted."""
    elapsed_s: float
    """Since it was accepted; at its end, all of it."""
    cost: Cost
    images: int
    """How many are stored, drafts left out."""
    files: tuple[AdminFile, ...] = ()
    """These."""
    attempts: int
    joins: int
    """Repeats that were given this one."""
    late: bool = False
    partial_result: bool = False
    cancel_requested: bool = False
    failure_kind: str | None = None
    failure_code: str | None = None
    served_by: str | None = None
    queue_position: int | None = None
    estimated_start_s: float | None = None
    progress: Progress | None = None
    """While it is open."""


class AdminGenerationList(msgspec.Struct, frozen=True, kw_only=True):
    """One page, newest first."""

    object: Literal["list"] = "list"
    data: tuple[AdminGeneration, ...]
    has_more: bool
    """Whether to ask on with `after` = `last_id`; with a filter the next page may be empty, and more behind it."""
    last_id: str | None = None


class StoryMoment(msgspec.Struct, frozen=True, kw_only=True):
    """One event of the log."""

    sequence_number: int
    at: str
    after_s: float
    """Since it was accepted."""
    type: str
    """`queued`, `running`, `stored`, `succeeded`, `failed`, `cancelled`, …"""
    data: dict[str, Any] | None = None


class StoryAttempt(AttemptResource, frozen=True, kw_only=True):
    """One try, with all that is on record of it."""

    hedge: int = 0
    """1: sent beside a slow one."""
    drive: int = 0
    provider: str
    key_number: int | None = None
    """Place of its credential in the upstream's settings, from 1."""
    tier: str | None = None
    route: str | None = None
    received_at: str | None = None
    """When the whole answer was on our disk."""
    http_status: int | None = None
    failure_kind: str | None = None
    failure_detail: str | None = None
    """Redacted; still an upstream's words: show as text only."""
    estimated_micros: int = 0
    decision: dict[str, Any] | None = None
    """What was decided after it: `follows`, `reason`, `after_s`, `to`, …"""
    outrun: bool = False


class StoryImage(msgspec.Struct, frozen=True, kw_only=True):
    """One image of it."""

    index: int
    kind: Literal["result", "draft", "late"]
    url: str | None
    """`/admin/v1/generations/{id}/images/{index}`: looking at it collects nothing. None: it has been deleted."""
    mime: str
    bytes: int
    width: int
    height: int
    sha256: str
    collected_at: str | None = None
    delete_after: str | None = None


class StoryDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook that tells its end."""

    id: str
    type: str
    state: str
    tries: int
    created_at: str
    ended_at: str | None = None
    last_status: int | None = None
    last_error: str | None = None


class StoryLine(msgspec.Struct, frozen=True, kw_only=True):
    """One ledger entry."""

    at: str
    kind: str
    """`hold`, `capture`, `void`, `compensate`, …"""
    account: str
    micros: int


class AdminStory(msgspec.Struct, frozen=True, kw_only=True):
    """All that is on record of one generation."""

    object: Literal["admin.story"] = "admin.story"
    generation: AdminGeneration
    prompt: str | None
    """What its caller wrote, up to 4,000 characters: show as text only. None: purged."""
    inputs: int
    """Reference images it came with."""
    deadline_at: str
    callers: int
    """Connections that wait for its answer, as last noted."""
    error: ErrorResource | None = None
    events: tuple[StoryMoment, ...]
    attempts: tuple[StoryAttempt, ...]
    images: tuple[StoryImage, ...]
    deliveries: tuple[StoryDelivery, ...]
    ledger: tuple[StoryLine, ...]
    metadata: dict[str, str] | None = None


class OutcomeHour(msgspec.Struct, frozen=True, kw_only=True):
    """What ended in an hour; hours without an end are left out."""

    hour: str
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    charged_micros: int = 0
    compensated_micros: int = 0


class OverviewLoad(msgspec.Struct, frozen=True, kw_only=True):
    """How full it is at this moment."""

    open: int
    """Generations that this process drives."""
    queued: int
    """Parts that wait for a place at their upstream."""
    waiting: int
    """Callers that are held."""
    held_max: int
    """Most that may be open."""
    obstacle: str | None = None
    """`draining`, `storage_low`: nothing new is taken."""


class OverviewTotals(msgspec.Struct, frozen=True, kw_only=True):
    """What ended since `since`."""

    since: str
    succeeded: int
    failed: int
    cancelled: int
    charged_micros: int
    compensated_micros: int


class UpstreamKey(msgspec.Struct, frozen=True, kw_only=True):
    """One credential, by its place in the settings; never by what it is."""

    number: int
    """From 1."""
    state: Literal["ready", "cooling", "ejected"]
    until_s: float | None = None
    """Seconds from now until it may be used again; None: ready, or for good."""
    failures: int = 0
    """In a row."""


class AdminUpstream(msgspec.Struct, frozen=True, kw_only=True):
    """One upstream of the settings."""

    name: str
    provider: str
    base_url: str
    """Without user info and query."""
    state: Literal["ready", "resting", "half_open"]
    until_s: float | None = None
    places: int | None = None
    """That are free now; None: no limit."""
    places_max: int | None = None
    waiting: int = 0
    """Parts in line."""
    models: tuple[str, ...] = ()
    """Public names of the routes that lead there."""
    keys: tuple[UpstreamKey, ...]


class AdminUpstreams(msgspec.Struct, frozen=True, kw_only=True):
    """All of them."""

    at: str
    data: tuple[AdminUpstream, ...]


class FailureCount(msgspec.Struct, frozen=True, kw_only=True):
    """How often a kind of failure was told, or met, in an hour or a day."""

    at: str
    """Its beginning."""
    kind: str
    count: int
    upstream: str | None = None
    """Of attempts; None: what callers were told."""


class FailureReport(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /admin/v1/failures`."""

    since: str
    until: str
    by: Literal["hour", "day"]
    generations: tuple[FailureCount, ...]
    """What callers were told."""
    attempts: tuple[FailureCount, ...]
    """What upstreams did."""


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """The console's first view, in one answer."""

    object: Literal["admin.overview"] = "admin.overview"
    at: str
    version: str
    currency: str
    load: OverviewLoad
    day: OverviewTotals
    """The last 24 hours, of which the latest goes on."""
    hours: tuple[OutcomeHour, ...]
    """The last 24, oldest first."""
    failures: tuple[FailureCount, ...]
    """Kinds of the last 24 hours together, most frequent first."""
    uncollected: int
    """Generations whose images are there and nobody has collected, counted up to 1,000."""
    exposure_micros: int
    """What upstreams may have charged and nobody knows: the ledger's balance."""
    live: tuple[AdminGeneration, ...]
    """Open ones, newest first, up to 50."""
    recent: tuple[AdminGeneration, ...]
    """Ended ones, newest first, up to 20."""
    upstreams: tuple[AdminUpstream, ...]


class AdminLatency(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /admin/v1/latency`: p50, p95 and p99 of upstream calls, from samples."""

    at: str
    models: tuple[str, ...]
    """All that routes serve, for a choice."""
    data: tuple[LatencyRow, ...]
    """By window: model, size, upstream, count, p50_s, p95_s, p99_s, …"""
    hours: tuple[LatencyHour, ...]
    """Up to a week of them: model, size, hour, count, p50_s, p95_s, p99_s; hours without a sample are left out."""


class ExposureDay(msgspec.Struct, frozen=True, kw_only=True):
    """What was bought a second time on a day."""

    day: str
    model: str
    micros: int


class UnknownAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt of which nobody knows whether it was charged."""

    attempt_id: str
    """What `/admin/v1/attempts/{id}/resolve` takes."""
    generation_id: str
    number: int
    upstream: str
    model: str
    at: str
    estimated_micros: int
    failure_kind: str | None = None


class ExposureReport(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /admin/v1/exposure`."""

    at: str
    currency: str
    balance_micros: int
    """All that may have been charged."""
    days: tuple[ExposureDay, ...]
    """The last 31."""
    unknown: tuple[UnknownAttempt, ...]
    """Newest first, up to 100."""


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One change."""

    id: int
    at: str
    actor: str
    """`key_…`, or `operator` for a command on the machine."""
    actor_label: str | None = None
    action: str
    """`generation.cancelled`, `key.revoked`, `session.opened`, …"""
    target: str
    """What was changed, by its id."""
    details: dict[str, Any] | None = None


class AuditList(msgspec.Struct, frozen=True, kw_only=True):
    """One page, newest first."""

    object: Literal["list"] = "list"
    data: tuple[AuditEntry, ...]
    has_more: bool
    """Whether to ask on with `after` = `last_id`; with a filter the next page may be empty, and more behind it."""
    last_id: int | None = None


class AdminSetting(msgspec.Struct, frozen=True, kw_only=True):
    """One setting as it is in force."""

    name: str
    """`server.port`; in lists `upstreams[0].base_url`."""
    value: str | int | float | bool | list[Any] | dict[str, Any] | None
    """Secrets are `***`."""
    is_default: bool
    unit: str
    means: str


class AdminSettings(msgspec.Struct, frozen=True, kw_only=True):
    """All of them, in the order of the file."""

    data: tuple[AdminSetting, ...]


class AdminEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One server-sent event of `GET /admin/v1/events`; its name is `type`.

    `generation`: one began, moved on or ended, as it stands now. `progress`: the open ones that are listed, every
    second. `behind`: this reader was too slow, and some were left out: read the lists again.
    """

    type: Literal["generation", "progress", "behind"]
    at: str
    generation: AdminGeneration | None = None
    progress: dict[str, Progress] | None = None
    """By generation."""
    load: OverviewLoad | None = None
    """Beside `progress`."""
