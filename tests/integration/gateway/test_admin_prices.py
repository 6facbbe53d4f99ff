"""`/admin/v1/prices` of a running gateway: what is paid and taken on a day, and what is wrong with it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from holdfast.wire.prices import PriceReport, PriceRow

PRICE = {"source": "a contract", "valid_from": "2026-01-01"}
OWN = [
    {"model": "gpt-image-2", "micros": {"1K": 100_000, "2K": 200_000}, "valid_until": "2026-06-30", **PRICE},
    {"model": "gpt-image-2", "micros": {"1K": 150_000}, "source": "a contract", "valid_from": "2026-07-01"},
    {"model": "gpt-image-2", "upstream": "openai", "micros": {"1K": 160_000}, **PRICE},
    {"model": "gpt-image-2", "group": "partners", "micros": {"1K": 155_000}, **PRICE},
]


async def prices(gateway: Any, query: str = "") -> PriceReport:
    """Ask for them."""
    answer = await gateway.ask("GET", f"/admin/v1/prices{query}")
    assert answer.status == 200, answer
    return msgspec.json.decode(answer.body, type=PriceReport)


def row_of(report: PriceReport, model: str, key: str) -> PriceRow:
    """The row of one image."""
    (row,) = [row for row in report.prices if (row.model, row.key) == (model, key)]
    return row


async def test_every_side_of_a_price_on_a_day(start: Any) -> None:
    """The newest that holds, with margins, a group's own price, and what the upstream takes."""
    gateway = await start(prices=OWN, money={"margin": 1.2})
    made = await gateway.ask("POST", "/admin/v1/key-groups", json={"label": "partners", "margin_share": 0.1})
    assert made.status == 201
    report = await prices(gateway, "?on=2026-03-01")
    assert (report.day, report.currency, report.margin, report.groups) == ("2026-03-01", "USD", 1.2, ("partners",))
    row = row_of(report, "gpt-image-2", "1K")
    assert (row.list_micros, row.unit_micros, row.groups, row.costs) == (
        100_000,
        120_000,
        {"partners": 155_000},
        {"openai": 160_000},
    )
    assert (row.source, row.valid_from, row.valid_until) == ("a contract", "2026-01-01", "2026-06-30")
    assert row_of(report, "gpt-image-2", "2K").groups == {"partners": 220_000}
    later = row_of(await prices(gateway, "?on=2026-09-01"), "gpt-image-2", "1K")
    assert (later.list_micros, later.valid_until) == (150_000, None)


async def test_what_is_wrong_is_said_as_the_command_says_it(start: Any) -> None:
    """Below cost, and a model without a price on a day long past."""
    gateway = await start(prices=OWN)
    report = await prices(gateway, "?on=2026-03-01")
    rules = {(each.weight, each.rule) for each in report.findings if each.model == "gpt-image-2"}
    assert ("warning", "below_cost") in rules
    assert ("error", "unknown_group") in rules, "there is no group of that name yet"
    past = await prices(gateway, "?on=2000-01-01")
    assert past.prices == ()
    assert {each.rule for each in past.findings} >= {"missing"}


async def test_today_is_what_is_meant_by_itself(gateway: Any) -> None:
    """Models that are served come first."""
    report = await prices(gateway)
    assert report.day == (await gateway.ask("GET", "/admin/v1/exposure")).json["at"][:10]
    assert report.prices[0].model == "nano-banana-pro"
    assert report.prices[0].costs.keys() == {"google"}


@pytest.mark.parametrize(
    ("query", "param"), [("?on=yesterday", "on"), ("?on=2026-02-30", "on"), ("?day=2026-02-03", "day")]
)
async def test_what_is_no_day_is_refused(gateway: Any, query: str, param: str) -> None:
    """With the parameter named."""
    answer = await gateway.ask("GET", f"/admin/v1/prices{query}")
    assert (answer.status, answer.json["code"], answer.json["param"]) == (400, "invalid_request", param)


async def test_only_an_admin_sees_what_upstreams_take(gateway: Any) -> None:
    """A customer would learn the margin."""
    other = {"Authorization": f"Bearer {await gateway.another_key()}"}
    assert (await gateway.ask("GET", "/admin/v1/prices", headers=other)).json["code"] == "admin_required"
