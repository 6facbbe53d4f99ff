"""Usage, what other rules of compensation would have given back, and a provider's list against our attempts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation

import msgspec

from holdfast.clock import rfc3339
from holdfast.config import check_compensation, parse
from holdfast.engine.core import Core
from holdfast.errors import ConfigError, RequestError
from holdfast.gateway.admin.framework import SECURITY, AdminCall, Parameter, Served, Spec
from holdfast.policy.compensation import Rules, rules_of
from holdfast.policy.preview import Preview, preview
from holdfast.policy.reconcile import Resolution, resolutions
from holdfast.store.past import past_charges
from holdfast.store.port import Conn
from holdfast.store.reconcile import Resolved, resolve_exposures, resolve_noted
from holdfast.store.reconciling import Compared, compare, span_of
from holdfast.store.usage_report import usage_report
from holdfast.types import Tier
from holdfast.wire.compensation import PreviewReport, PreviewWish
from holdfast.wire.exports import columns_of, decode_export
from holdfast.wire.reconcile import REASON_CHARS_MAX, ReconcileReport, ResolvedExposure, ResolveWish, Unresolved
from holdfast.wire.usage import (
    BY_PATTERN,
    PARAMETERS,
    UsageQuery,
    UsageReport,
    decode_usage_query,
    render_usage,
    usage_csv,
)

_DAY = {"type": "string", "format": "date"}
_USAGE = (
    Parameter(
        name="by",
        means="Broken down by key, model, size, day, upstream or outcome; several with commas.",
        schema={"type": "string", "pattern": BY_PATTERN},
    ),
    Parameter(name="since", means="The first day (UTC).", schema=_DAY),
    Parameter(name="until", means="The last day (UTC), not before since; by itself, today.", schema=_DAY),
    Parameter(
        name="days",
        means="Without `since`: so many days.",
        schema={"type": "integer", "minimum": 1, "maximum": 3660, "default": 30},
    ),
    Parameter(name="key_id", means="Only this key's."),
    Parameter(name="model", means="Only this model's."),
    Parameter(name="size", means="Only this size's.", schema={"enum": [tier.value for tier in Tier]}),
    Parameter(name="upstream", means="Only what went through this upstream."),
    Parameter(name="outcome", means="Only what ended so: succeeded, cancelled, the code of a failure, or open."),
)
GET_USAGE = Spec(
    "GET",
    "/admin/v1/usage",
    "getUsage",
    "What was used and what it cost, from the roll-ups by day",
    answer=UsageReport,
    parameters=_USAGE,
)
GET_USAGE_CSV = Spec(
    "GET",
    "/admin/v1/usage.csv",
    "getUsageCsv",
    "The same for spreadsheets, without formulas",
    media="text/csv",
    parameters=_USAGE,
)
PREVIEW = Spec(
    "POST",
    "/admin/v1/compensation/preview",
    "previewCompensation",
    "What other rules of compensation would have given back; nothing is changed",
    answer=PreviewReport,
    body=PreviewWish,
)
RECONCILE = Spec(
    "POST",
    "/admin/v1/reconcile",
    "reconcile",
    "Compare a provider's list of charges with our attempts; write down what turns out, where that is asked for",
    answer=ReconcileReport,
    body_media="text/csv",
    parameters=(
        Parameter(name="upstream", means="Whose list it is."),
        Parameter(name="since", means="The first day that it covers; with `until`.", schema=_DAY),
        Parameter(name="until", means="The last day that it covers.", schema=_DAY),
        Parameter(name="columns", means="Unusual names of its columns: `time=Created,amount=Total`."),
        Parameter(name="per_unit", means="How many of its amounts are one unit of the currency; by itself, 1."),
        Parameter(
            name="resolve",
            means="Resolve what is unknown: what the list names, or all that it makes known.",
            schema={"enum": ["named", "all"]},
        ),
        Parameter(
            name="reason",
            means="How that is known, for the log of changes; with `resolve`.",
            schema={"type": "string", "minLength": 1, "maxLength": REASON_CHARS_MAX},
        ),
    ),
    codes=("storage_low",),
)
RESOLVE = Spec(
    "POST",
    "/admin/v1/attempts/{id}/resolve",
    "resolveExposure",
    "Write down what an attempt of unknown outcome cost, as a transaction of the ledger",
    answer=ResolvedExposure,
    body=ResolveWish,
    codes=("storage_low",),
)
SPECS = (GET_USAGE, GET_USAGE_CSV, PREVIEW, RECONCILE, RESOLVE)


class UsagePage:
    """All of it."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def served(self) -> tuple[Served, ...]:
        """Every endpoint."""
        return (
            GET_USAGE.by(self._usage),
            GET_USAGE_CSV.by(self._csv),
            PREVIEW.by(self._preview),
            RECONCILE.by(self._reconcile),
            RESOLVE.by(self._resolve),
        )

    async def _usage(self, asked: AdminCall) -> None:
        # Spelled beside the loop: a month by everything is forty megabytes.
        await asked.call.json(200, await asked.read(_json, _query(asked)), SECURITY)

    async def _csv(self, asked: AdminCall) -> None:
        body = await asked.read(_csv, _query(asked))
        name = b'attachment; filename="usage.csv"'
        headers = ((b"cache-control", b"no-store"), (b"content-disposition", name), *SECURITY)
        await asked.call.respond(200, body, b"text/csv; charset=utf-8", headers)

    async def _preview(self, asked: AdminCall) -> PreviewReport:
        wish = await asked.body(PreviewWish)
        rules = self._rules(wish)
        until = asked.now.astimezone(UTC)
        since = until - timedelta(days=wish.days)
        made = await asked.read(_preview, rules, since, until)
        between = {"since": rfc3339(since), "until": rfc3339(until)}
        document = {**between, "currency": self._core.settings.money.currency, **asdict(made)}
        return msgspec.convert(document, PreviewReport)

    def _rules(self, wish: PreviewWish) -> Rules:
        """Read rules as the settings file's are read.

        Raises:
            RequestError: 400, with the entry named.
        """
        try:
            entries = parse({"compensation": wish.compensation}).compensation
            check_compensation(entries, self._core.settings.routes)
        except ConfigError as exc:
            raise RequestError(str(exc), code="invalid_request", status=400, param="compensation") from exc
        return rules_of(entries)

    async def _reconcile(self, asked: AdminCall) -> ReconcileReport:
        upstream, resolve = asked.word("upstream"), asked.word("resolve", ("named", "all"))
        if not upstream:
            raise RequestError(
                "Name the upstream whose list it is.", code="invalid_request", status=400, param="upstream"
            )
        compared = await asked.read(_compared(asked, await asked.raw(), upstream))
        if resolve is None:
            return compared.report
        found = resolutions(compared.findings, only_named=resolve == "named")
        actor, at, reason = asked.actor.id, rfc3339(asked.now), asked.word("reason")
        if reason is not None and len(reason) > REASON_CHARS_MAX:
            message = f"reason has more than {REASON_CHARS_MAX} characters."
            raise RequestError(message, code="invalid_request", status=400, param="reason")

        def work(conn: Conn) -> tuple[tuple[Resolved, ...], tuple[Unresolved, ...]]:
            return resolve_noted(conn, found, actor=actor, at=at, reason=reason)

        details = {"resolve": resolve, "attempts": len(found)} | _why(reason)
        done, left = await asked.change(work, action="exposure.reconciled", target=upstream, details=details)
        return msgspec.structs.replace(compared.report, resolved=len(done), unresolved=left)

    async def _resolve(self, asked: AdminCall) -> ResolvedExposure:
        wish = await asked.body(ResolveWish)
        resolution = Resolution(attempt_id=asked.names["id"], micros=wish.micros)
        at = rfc3339(asked.now)

        def work(conn: Conn) -> Resolved:
            return resolve_exposures(conn, [resolution], at)[0]

        details = {"micros": wish.micros} | _why(wish.reason)
        done = await asked.change(work, action="exposure.resolved", target=resolution.attempt_id, details=details)
        return msgspec.convert(asdict(done), ResolvedExposure)


def _why(reason: str | None) -> dict[str, str]:
    return {"reason": reason} if reason else {}


def _query(asked: AdminCall) -> UsageQuery:
    return decode_usage_query(_known(asked.call.query), today=asked.now.astimezone(UTC).date())


def _known(query: Mapping[str, str]) -> dict[str, str]:
    """What is asked for; a credential in the query is none of it."""
    return {name: query[name] for name in PARAMETERS if name in query}


def _json(conn: Conn, query: UsageQuery) -> bytes:
    return render_usage(usage_report(conn, query))


def _csv(conn: Conn, query: UsageQuery) -> bytes:
    return usage_csv(usage_report(conn, query)).encode()


def _preview(conn: Conn, rules: Rules, since: datetime, until: datetime) -> Preview:
    return preview(past_charges(conn, since, until), rules)


def _compared(asked: AdminCall, raw: bytes, upstream: str) -> Callable[[Conn], Compared]:
    """Read the list and compare it: a month of it takes a while, off the loop."""
    query = asked.call.query
    columns = columns_of([word for word in query.get("columns", "").split(",") if word])
    told = query.get("per_unit") or "1"
    try:
        per_unit = Decimal(told)
    except InvalidOperation as exc:
        message = f"per_unit is {told[:40]!r}; write a number such as 500000."
        raise RequestError(message, code="invalid_request", status=400, param="per_unit") from exc
    days = {name: query[name] for name in ("since", "until") if query.get(name)}
    if len(days) == 1:
        message = "Give both since and until: the days that the list covers."
        raise RequestError(message, code="invalid_request", status=400, param="since")
    covered = decode_usage_query(days, today=asked.now.astimezone(UTC).date()) if days else None

    def work(conn: Conn) -> Compared:
        lines = decode_export(raw, columns=columns, per_unit=per_unit)
        since, until = span_of(lines) if covered is None else _moments(covered)
        return compare(conn, upstream, lines, since, until)

    return work


def _moments(query: UsageQuery) -> tuple[datetime, datetime]:
    midnight = datetime.min.time()
    first, last = datetime.combine(query.since, midnight, UTC), datetime.combine(query.until, midnight, UTC)
    return first, last + timedelta(days=1)
