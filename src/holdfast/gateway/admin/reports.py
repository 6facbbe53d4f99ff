"""What is known over time: latencies, failures, what nobody knows the cost of, changes, and the settings in force."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Literal, cast

import msgspec

from holdfast.clock import rfc3339
from holdfast.engine.core import Core
from holdfast.errors import RequestError
from holdfast.gateway.admin.framework import LIMIT, MOMENT, AdminCall, Parameter, Served, Spec
from holdfast.gateway.admin.settings import settings_in_force
from holdfast.gateway.asked import Routes
from holdfast.gateway.latency import hours_of, places, rows_of
from holdfast.store.audit_log import AuditRow, changes
from holdfast.store.overview import Counted, exposed, failures
from holdfast.types import Failure, Tier
from holdfast.wire import admin
from holdfast.wire.latency import LatencyHour, LatencyQuery, LatencyRow

DAYS_MAX = 31
"""Most that is counted anew at one request; beyond it are the roll-ups of usage."""
UNKNOWN_MAX = 100
_ID_MAX = 10**15 - 1
By = Literal["hour", "day"]
_WIDTHS = {"hour": len("2026-11-28T12"), "day": len("2026-11-28")}
_BEGINS = {"hour": ":00:00.000Z", "day": "T00:00:00.000Z"}

GET_LATENCY = Spec(
    "GET",
    "/admin/v1/latency",
    "getLatencyOverTime",
    "p50, p95 and p99 of upstream calls by model and size: by window, and by hour for a week",
    answer=admin.AdminLatency,
    parameters=(
        Parameter(name="model", means="Only this model, or the model with this alias."),
        Parameter(name="size", means="Only this size.", schema={"enum": [tier.value for tier in Tier]}),
    ),
)
GET_FAILURES = Spec(
    "GET",
    "/admin/v1/failures",
    "getFailures",
    "How often what failed, by hour or day: what callers were told, and what upstreams did",
    answer=admin.FailureReport,
    parameters=(
        Parameter(name="by", means="How time is divided; by itself, hours.", schema={"enum": ["hour", "day"]}),
        Parameter(name="since", means="From this moment or day on; by itself, for 24 hours.", schema=MOMENT),
        Parameter(
            name="until",
            means=f"Up to this moment or day; later than since, by {DAYS_MAX} days at most.",
            schema=MOMENT,
        ),
    ),
)
GET_EXPOSURE = Spec(
    "GET",
    "/admin/v1/exposure",
    "getExposure",
    "What upstreams may have charged, and nobody knows",
    answer=admin.ExposureReport,
)
LIST_CHANGES = Spec(
    "GET",
    "/admin/v1/audit",
    "listChanges",
    "Who changed what, newest first, for as long as `store.audit_keep_days` says",
    answer=admin.AuditList,
    parameters=(
        Parameter(name="actor", means="Only by this key."),
        Parameter(name="action", means="Only this, such as `key.revoked`."),
        Parameter(name="target", means="Only of what has this id."),
        Parameter(
            name="after",
            means="`last_id` of the page before.",
            schema={"type": "integer", "minimum": 1, "maximum": _ID_MAX},
        ),
        LIMIT,
    ),
)
GET_SETTINGS = Spec(
    "GET", "/admin/v1/settings", "getSettings", "The settings in force, without secrets", answer=admin.AdminSettings
)
SPECS = (GET_LATENCY, GET_FAILURES, GET_EXPOSURE, LIST_CHANGES, GET_SETTINGS)


class ReportsPage:
    """Serves them."""

    def __init__(self, core: Core, routes: Routes) -> None:
        self._core = core
        self._routes = routes

    def served(self) -> tuple[Served, ...]:
        """All endpoints."""
        return (
            GET_LATENCY.by(self._latency),
            GET_FAILURES.by(self._failures),
            GET_EXPOSURE.by(self._exposure),
            LIST_CHANGES.by(self._changes),
            GET_SETTINGS.by(self._settings),
        )

    async def _latency(self, asked: AdminCall) -> admin.AdminLatency:
        size, model = asked.word("size", tuple(tier.value for tier in Tier)), asked.word("model")
        models = tuple(route.model for route in self._routes.all)
        query = LatencyQuery(model=model, size=None if size is None else Tier(size))
        chosen = models if model is None else (self._routes.model_of(model),)
        rows: list[LatencyRow] = []
        hours: list[LatencyHour] = []
        for each, tier in places(chosen, query):
            rows += rows_of(self._core.latencies, each, tier, query)
            hours += hours_of(self._core.latencies, each, tier)
            # Each takes milliseconds where a week is full; whoever is held gets his beats in between.
            await asyncio.sleep(0)
        return admin.AdminLatency(at=rfc3339(asked.now), models=models, data=tuple(rows), hours=tuple(hours))

    async def _failures(self, asked: AdminCall) -> admin.FailureReport:
        by = asked.word("by", ("hour", "day")) or "hour"
        until = asked.moment("until") or asked.now
        since = asked.moment("since") or _day_before(until)
        _check_span(since, until)
        found = await asked.read(failures, since=rfc3339(since), until=rfc3339(until), width=_WIDTHS[by])
        return admin.FailureReport(
            since=rfc3339(since),
            until=rfc3339(until),
            by=cast(By, by),
            generations=tuple(_counts(found.told, by)),
            attempts=tuple(_counts(found.met, by)),
        )

    async def _exposure(self, asked: AdminCall) -> admin.ExposureReport:
        since = (asked.now - timedelta(days=DAYS_MAX - 1)).date().isoformat()
        found = await asked.read(exposed, since_day=since, most=UNKNOWN_MAX)
        return admin.ExposureReport(
            at=rfc3339(asked.now),
            currency=self._core.settings.money.currency,
            balance_micros=found.balance_micros,
            days=tuple(admin.ExposureDay(day=day, model=model, micros=micros) for day, model, micros in found.days),
            unknown=tuple(
                admin.UnknownAttempt(
                    attempt_id=each["id"],
                    generation_id=each["generation_id"],
                    number=each["number"],
                    upstream=each["upstream"],
                    model=each["model"],
                    at=each["sent_at"],
                    estimated_micros=each["estimated_micros"],
                    failure_kind=_kind_of(each["failure"]),
                )
                for each in found.unknown
            ),
        )

    async def _changes(self, asked: AdminCall) -> admin.AuditList:
        page = await asked.read(
            changes,
            limit=asked.limit,
            before=asked.number("after", usual=_ID_MAX, least=1, most=_ID_MAX),
            actor=asked.word("actor"),
            action=asked.word("action"),
            target=asked.word("target"),
        )
        return admin.AuditList(data=tuple(map(_entry, page.rows)), has_more=page.has_more, last_id=page.last_id)

    async def _settings(self, asked: AdminCall) -> admin.AdminSettings:
        return admin.AdminSettings(data=tuple(settings_in_force(self._core.settings)))


def _day_before(until: datetime) -> datetime:
    try:
        return until - timedelta(hours=24)
    except OverflowError as exc:
        raise RequestError("Nothing is that old.", param="until") from exc


def _check_span(since: datetime, until: datetime) -> None:
    if since >= until:
        raise RequestError("since must be before until.", param="since")
    if until - since > timedelta(days=DAYS_MAX):
        raise RequestError(f"since and until are at most {DAYS_MAX} days apart.", param="since")


def _counts(found: Iterable[Counted], by: str) -> Iterable[admin.FailureCount]:
    return (
        admin.FailureCount(at=each.at + _BEGINS[by], kind=each.kind, count=each.count, upstream=each.upstream)
        for each in found
    )


def _kind_of(failure: str | None) -> str | None:
    return None if failure is None else msgspec.json.decode(failure, type=Failure).kind.value


def _entry(row: AuditRow) -> admin.AuditEntry:
    return admin.AuditEntry(
        id=row.id,
        at=row.at,
        actor=row.actor,
        actor_label=row.actor_label,
        action=row.action,
        target=row.target,
        details=None if row.details is None else dict(row.details),
    )
