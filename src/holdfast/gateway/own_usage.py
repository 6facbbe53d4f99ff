"""`GET /v1/usage` and `/v1/usage.csv`: what a key has used, what that cost it, and how its budget stands."""

from __future__ import annotations

from datetime import UTC, date
from typing import Any

import msgspec

from holdfast.clock import Clock
from holdfast.gateway.app import Endpoint, endpoint
from holdfast.gateway.auth import Authenticator
from holdfast.gateway.call import Call
from holdfast.policy.budgets import Budget, Scope
from holdfast.store.budgets import budgets_of, spent
from holdfast.store.port import Conn, Store
from holdfast.store.usage_report import usage_report
from holdfast.types import Surface, Tier
from holdfast.wire.own_usage import OWN_BY_PATTERN, OwnUsage, Spending, decode_own_query, own_usage, own_usage_csv
from holdfast.wire.usage import UsageQuery

_DAY = {"type": "string", "format": "date"}
_TEXT = {"type": "string", "minLength": 1}
PARAMETERS: tuple[tuple[str, dict[str, Any], str], ...] = (
    (
        "by",
        {"type": "string", "pattern": OWN_BY_PATTERN},
        "Broken down by day, model, size or outcome; several with commas.",
    ),
    ("since", _DAY, "The first day (UTC)."),
    ("until", _DAY, "The last day (UTC), not before since; by itself, today."),
    ("days", {"type": "integer", "minimum": 1, "maximum": 3660, "default": 30}, "Without `since`: so many days."),
    ("model", _TEXT, "Only this model's."),
    ("size", {"enum": [tier.value for tier in Tier]}, "Only this size's."),
    ("outcome", _TEXT, "Only what ended so: succeeded, cancelled, the code of a failure, or open."),
)
"""Name, schema and meaning of what may be asked, for the OpenAPI document."""


class OwnUsagePage:
    """Serves both."""

    def __init__(self, *, auth: Authenticator, store: Store, clock: Clock, currency: str) -> None:
        self._auth = auth
        self._currency = currency
        self._store = store
        self._clock = clock

    def endpoints(self) -> list[Endpoint]:
        """Everything that is served."""
        return [
            endpoint("GET", "/v1/usage", Surface.GENERATIONS, self._json),
            endpoint("GET", "/v1/usage.csv", Surface.GENERATIONS, self._csv),
        ]

    async def _json(self, call: Call, _: dict[str, str]) -> None:
        await call.json(200, msgspec.json.encode(await self._read(call)))

    async def _csv(self, call: Call, _: dict[str, str]) -> None:
        text = own_usage_csv(await self._read(call))
        name = b'attachment; filename="usage.csv"'
        headers = ((b"cache-control", b"no-store, no-transform"), (b"content-disposition", name))
        await call.respond(200, text.encode(), b"text/csv; charset=utf-8", headers)

    async def _read(self, call: Call) -> OwnUsage:
        key = await self._auth.authenticate(call)
        today = self._clock.now().astimezone(UTC).date()
        query = decode_own_query(call.query, key_id=key.id, today=today)
        return await self._store.read(read_own, query, today, self._currency)


def read_own(conn: Conn, query: UsageQuery, today: date, currency: str) -> OwnUsage:
    """Read a key's usage and what stands against its limits in this currency, in one snapshot."""
    assert query.key_id is not None
    (budget,) = [each for each in budgets_of(conn, query.key_id) if each.scope is Scope.KEY]
    stands = spent(conn, Budget(scope=Scope.KEY, id=query.key_id).owner, today.isoformat(), currency)
    return own_usage(
        usage_report(conn, query),
        today=Spending(spent_micros=stands.day_micros, limit_micros=budget.micros_per_day),
        this_month=Spending(spent_micros=stands.month_micros, limit_micros=budget.micros_per_month),
    )
