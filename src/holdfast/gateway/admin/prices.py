"""`/admin/v1/prices`: what everybody pays and every upstream takes on a day, and what is wrong with it."""

from __future__ import annotations

from datetime import UTC, date

from holdfast.config import NO_END
from holdfast.engine.core import Core
from holdfast.errors import RequestError
from holdfast.gateway.admin.framework import AdminCall, Parameter, Served, Spec
from holdfast.policy.price_table import Finding, Row, findings, rows_of
from holdfast.store.keyring import groups
from holdfast.store.port import Conn
from holdfast.types import Tariff
from holdfast.wire.prices import PriceFinding, PriceReport, PriceRow

GET_PRICES = Spec(
    "GET",
    "/admin/v1/prices",
    "getPrices",
    "List prices, what customers pay and what upstreams take, with what `holdfast prices check` finds",
    answer=PriceReport,
    parameters=(
        Parameter(
            name="on",
            means="Prices of this day (UTC); by itself, today's.",
            schema={"type": "string", "format": "date"},
        ),
    ),
)
SPECS = (GET_PRICES,)


class PricesPage:
    """Serves it."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def served(self) -> tuple[Served, ...]:
        """The endpoint."""
        return (GET_PRICES.by(self._prices),)

    async def _prices(self, asked: AdminCall) -> PriceReport:
        day, settings = _day(asked), self._core.settings

        def read(conn: Conn) -> PriceReport:
            # Off the loop: some hundred rows are priced anew, each for every group.
            tariffs = [Tariff(group=row.label, margin_share=row.margin_share) for row in groups(conn)]
            return PriceReport(
                day=day.isoformat(),
                currency=settings.money.currency,
                margin=float(settings.money.margin),
                groups=tuple(each.group for each in tariffs),
                prices=tuple(map(_row, rows_of(settings, day, tariffs))),
                findings=tuple(map(_finding, findings(settings, day, tariffs))),
            )

        return await asked.read(read)


def _day(asked: AdminCall) -> date:
    text = asked.word("on")
    if text is None:
        return asked.now.astimezone(UTC).date()
    try:
        return date.fromisoformat(text)
    except ValueError as exc:
        message = f"on is {text[:40]!r}; write a day such as 2026-12-01."
        raise RequestError(message, code="invalid_request", status=400, param="on") from exc


def _row(row: Row) -> PriceRow:
    return PriceRow(
        model=row.model,
        key=row.key,
        list_micros=row.list_micros,
        unit_micros=row.unit_micros,
        groups=dict(row.groups),
        costs=dict(row.costs),
        source=row.source,
        valid_from=row.valid_from.isoformat(),
        valid_until=None if row.valid_until == NO_END else row.valid_until.isoformat(),
    )


def _finding(found: Finding) -> PriceFinding:
    return PriceFinding(weight=found.weight.value, rule=found.rule, model=found.model, message=found.message)
