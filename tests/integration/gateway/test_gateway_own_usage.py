"""`GET /v1/usage`: what a key has used itself, on real sockets; of others and of the operator's side, nothing."""

from __future__ import annotations

import csv
import io
from typing import Any

import msgspec
import pytest

from holdfast.wire.own_usage import OwnUsage


def bearer(key: str) -> dict[str, str]:
    """Show a key."""
    return {"Authorization": f"Bearer {key}"}


async def usage(gateway: Any, key: str, query: str = "") -> OwnUsage:
    """Ask; the answer fits its type, and nothing else is in it."""
    answer = await gateway.ask("GET", f"/v1/usage?{query}", headers=bearer(key))
    assert answer.status == 200, answer
    for hidden in ("cost_micros", "extra", "unknown", "upstream", "label", "key_id"):
        assert hidden not in answer.body.decode()
    return msgspec.json.decode(answer.body, type=OwnUsage)


async def test_a_key_sees_what_it_used_and_what_that_cost(gateway: Any, upstream: Any) -> None:
    """By day, model, size and outcome; what another one did is not in it."""
    mine, theirs = await gateway.another_key(), await gateway.another_key()
    made = [await gateway.images(headers=bearer(mine), size="1K") for _ in range(2)]
    await gateway.images(headers=bearer(theirs), size="4K")
    upstream.answers({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {}})
    refused = await gateway.images(headers=bearer(mine), size="1K")
    assert refused.status == 400
    await gateway.idle()
    charged = [gateway.record(each.generation_id).generation.charged_micros for each in made]
    (total,) = (await usage(gateway, mine)).rows
    assert (total.generations, total.images, total.charged_micros) == (3, 2, sum(charged))
    by_outcome = (await usage(gateway, mine, "by=outcome,model")).rows
    assert {(row.outcome, row.model, row.generations) for row in by_outcome} == {
        ("succeeded", "nano-banana-pro", 2),
        ("content_refused", "nano-banana-pro", 1),
    }
    assert [row.size for row in (await usage(gateway, mine, "by=size")).rows] == ["1K"]
    (only,) = (await usage(gateway, mine, "outcome=succeeded&days=1")).rows
    assert only.generations == 2
    assert (await usage(gateway, await gateway.another_key())).rows == ()
    assert [row.size for row in (await usage(gateway, theirs, "by=size,day")).rows] == ["4K"]


async def test_it_sees_how_its_budget_stands(gateway: Any, upstream: Any) -> None:
    """What is held for what is open counts until it has ended."""
    key = await gateway.another_key(spend_micros_per_day=50_000_000)
    assert (await usage(gateway, key)).today.spent_micros == 0
    answer = await gateway.images(headers=bearer(key), size="1K")
    charged = gateway.record(answer.generation_id).generation.charged_micros
    await gateway.idle()
    told = await usage(gateway, key)
    assert (told.today.spent_micros, told.today.limit_micros) == (charged, 50_000_000)
    assert (told.this_month.spent_micros, told.this_month.limit_micros) == (charged, None)


async def test_it_is_written_for_spreadsheets_too(gateway: Any) -> None:
    """The same lines, exactly."""
    key = await gateway.another_key()
    answer = await gateway.images(headers=bearer(key), size="1K")
    await gateway.idle()
    got = await gateway.ask("GET", "/v1/usage.csv?by=model,size", headers=bearer(key))
    assert (got.status, got.headers["content-type"]) == (200, "text/csv; charset=utf-8")
    assert 'filename="usage.csv"' in got.headers["content-disposition"]
    head, line = list(csv.reader(io.StringIO(got.body.decode())))
    assert head == ["model", "size", "currency", "generations", "images", "charged", "compensated"]
    charged = gateway.record(answer.generation_id).generation.charged_micros
    assert line[:5] == ["nano-banana-pro", "1K", "USD", "1", "1"]
    assert float(line[5]) == pytest.approx(charged / 1e6)


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("by=key", "by"),
        ("by=upstream", "by"),
        ("by=day,", "by"),
        ("by=", "by"),
        ("key_id=key_1", "key_id"),
        ("upstream=google", "upstream"),
        ("since=2026-02-30", "since"),
        ("since=2026-03-01&until=2026-02-01", "since"),
        ("days=0", "days"),
        ("size=8K", "size"),
        ("sise=1K", "sise"),
    ],
)
async def test_what_cannot_be_told_is_refused_by_name(gateway: Any, query: str, param: str) -> None:
    """400 with the parameter, as a problem document; without a key 401."""
    for path in ("/v1/usage", "/v1/usage.csv"):
        answer = await gateway.ask("GET", f"{path}?{query}")
        assert (answer.status, answer.json["code"], answer.json["param"]) == (400, "invalid_request", param)
        assert answer.headers["content-type"] == "application/problem+json"
        nobody = await gateway.ask("GET", f"{path}?{query}", headers={})
        assert nobody.status == 401


async def test_a_key_in_the_address_is_no_parameter(gateway: Any) -> None:
    """As everywhere on `/v1`."""
    assert (await gateway.ask("GET", f"/v1/usage?key={gateway.key}", headers={})).status == 200
