"""Budgets over real sockets: however many ask at one instant, not one image more is bought than the budget covers."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

import aiohttp
import pytest

from holdfast.clock import rfc3339
from holdfast.errors import ConfigError
from holdfast.store.budgets import spent
from holdfast.store.keys import insert_key

PRICE = 134_000
ATTEMPT_S = {"attempt_s": {"1K": 60.0, "2K": 60.0, "4K": 60.0}}


def key_id_of(gateway: Any) -> str:
    """The first key's."""
    return str(gateway.read(lambda conn: conn.execute("SELECT id FROM api_key ORDER BY created_at").fetchone()[0]))


async def limit(gateway: Any, **limits: int | None) -> str:
    """Set limits of the first key, as an operator does while the gateway runs."""
    key_id = key_id_of(gateway)
    names = ", ".join(f"{name} = :{name}" for name in limits)
    statement = f"UPDATE api_key SET {names} WHERE id = :id"
    await gateway.core.store.write(lambda conn: conn.execute(statement, {**limits, "id": key_id}).rowcount)
    return key_id


def stands(gateway: Any, owner: str) -> int:
    """What stands against a budget today."""
    return int(gateway.read(spent, owner, rfc3339(gateway.core.clock.now())[:10], "USD").day_micros)


async def test_a_thousand_calls_at_once_against_a_budget_for_a_hundred(start: Any, upstream: Any, journal: Any) -> None:
    """Exactly 100 images, 900 clean refusals, nothing bought beside them, and ledger sums that hold."""
    gateway = await start(deadlines=ATTEMPT_S, latency={"scale": 1.0})
    key_id = await limit(gateway, spend_micros_per_day=100 * PRICE)
    connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=120)
    await gateway.session.close()
    gateway.session = aiohttp.ClientSession(connector=connector, timeout=timeout)
    upstream.gate.clear()
    asking = [
        asyncio.create_task(gateway.images(prompt=f"lighthouse {number} marker Qx7Zt", size="1024x1024"))
        for number in range(1000)
    ]
    # All that is refused is refused while everything that was accepted is under way: holds alone decide.
    async with asyncio.timeout(120):
        while sum(task.done() for task in asking) < 900:
            await asyncio.sleep(0.02)
    assert stands(gateway, f"key:{key_id}") == 100 * PRICE
    upstream.gate.set()
    answers = await asyncio.gather(*asking)
    assert Counter(answer.status for answer in answers) == {200: 100, 402: 900}
    assert (len(upstream.asked), gateway.count("generation"), gateway.count("blob")) == (100, 100, 100)
    for answer in answers:
        if answer.status == 402:
            error = answer.json["error"]
            assert (error["code"], error["type"], error["paid"]) == ("insufficient_quota", "insufficient_quota", "no")
            assert answer.headers["x-should-retry"] == "false"
            assert "13.40 USD" in error["message"]
        else:
            assert len(answer.json["data"]) == 1
    assert len({answer.generation_id for answer in answers if answer.status == 200}) == 100
    assert stands(gateway, f"key:{key_id}") == 100 * PRICE
    # Not even one more; and what is joined or replayed is none.
    assert (await gateway.images(size="1024x1024")).status == 402


async def test_what_fails_unpaid_makes_room_for_others(start: Any, upstream: Any) -> None:
    """Fifty calls that come to nothing cost nothing: the budget is whole again, and then is spent."""
    gateway = await start(retry={"sends_max": 1})
    key_id = await limit(gateway, spend_micros_per_month=3 * PRICE)

    async def refuse(_: Any, reply: Any) -> None:
        await reply.answer({"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "no"}}, status=400)

    drawing, upstream.script = upstream.script, refuse
    told = await asyncio.gather(
        *(gateway.images(prompt=f"{number} marker Qx7Zt", size="1024x1024") for number in range(50))
    )
    assert {answer.status for answer in told} <= {400, 402}
    assert 400 in {answer.status for answer in told}
    assert stands(gateway, f"key:{key_id}") == 0
    upstream.script = drawing
    told = await asyncio.gather(
        *(gateway.images(prompt=f"again {number} marker Qx7Zt", size="1024x1024") for number in range(9))
    )
    assert Counter(answer.status for answer in told) == {200: 3, 402: 6}


async def test_fewer_images_than_were_held_make_room_too(start: Any, upstream: Any) -> None:
    """Three are held, two come: one more may be asked for."""
    gateway = await start()
    key_id = await limit(gateway, spend_micros_per_day=3 * PRICE)
    counted = 0

    async def two_of_three(asked: Any, reply: Any) -> None:
        nonlocal counted
        counted += 1
        if counted == 2:
            await reply.answer({"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "no"}}, status=400)
        else:
            await upstream.draw(asked, reply)

    upstream.script = two_of_three
    answer = await gateway.images(size="1024x1024", n=3)
    assert (answer.status, len(answer.json["data"])) == (200, 2)
    assert stands(gateway, f"key:{key_id}") == 2 * PRICE
    told = [(await gateway.images(prompt=f"{number} marker Qx7Zt", size="1024x1024")).status for number in range(2)]
    assert told == [200, 402]


async def test_keys_of_one_group_share_what_it_may_spend(start: Any, upstream: Any) -> None:
    """A member is told that it is the group's, and not what the others spent."""
    gateway = await start()

    def make(conn: Any) -> None:
        now = rfc3339(gateway.core.clock.now())
        insert = (
            "INSERT INTO key_group (id, label, spend_micros_per_day, created_at) VALUES ('kgr_1', 'team', :micros, :at)"
        )
        conn.execute(insert, {"micros": 2 * PRICE, "at": now})

    await gateway.core.store.write(make)
    await limit(gateway, spend_micros_per_day=None)
    await gateway.core.store.write(lambda conn: conn.execute("UPDATE api_key SET group_id = 'kgr_1'").rowcount)
    other = await gateway.another_key()
    await gateway.core.store.write(lambda conn: conn.execute("UPDATE api_key SET group_id = 'kgr_1'").rowcount)
    headers = {"Authorization": f"Bearer {other}"}
    assert (await gateway.images(size="1024x1024")).status == 200
    assert (await gateway.images(size="1024x1024", headers=headers)).status == 200
    for told in (await gateway.images(size="1024x1024", headers=headers), await gateway.images(size="1024x1024")):
        assert told.status == 402
        assert "this key's group" in told.json["error"]["message"]
        assert "0.27" not in told.json["error"]["message"]
    assert stands(gateway, "group:kgr_1") == 2 * PRICE


@pytest.mark.parametrize("surface", ["gemini", "generations"])
async def test_each_dialect_tells_it_in_its_words(start: Any, surface: str) -> None:
    """402 everywhere, with what its SDK reads."""
    gateway = await start()
    await limit(gateway, spend_micros_per_day=0)
    if surface == "gemini":
        answer = await gateway.gemini()
        assert answer.json["error"]["status"] == "RESOURCE_EXHAUSTED"
    else:
        document = {"model": "nano-banana-pro", "prompt": "marker Qx7Zt"}
        answer = await gateway.ask("POST", "/v1/generations", json=document)
        assert answer.json["title"] == "Budget exhausted"
    assert answer.status == 402
    assert gateway.count("generation") == 0


async def test_a_repeat_is_given_its_image_when_the_budget_is_spent(start: Any) -> None:
    """It was paid for."""
    gateway = await start()
    await limit(gateway, spend_micros_per_day=PRICE)
    headers = {"Idempotency-Key": "order-7"}
    first = await gateway.images(size="1024x1024", headers=headers)
    again = await gateway.images(size="1024x1024", headers=headers)
    assert (first.status, again.status, again.generation_id) == (200, 200, first.generation_id)
    told = await gateway.images(size="1024x1024", headers={"Idempotency-Key": "order-8"})
    assert told.status == 402
    assert json.loads(told.body)["error"]["retryable"] is False


async def test_a_key_without_limits_is_counted_and_never_refused(start: Any) -> None:
    """Whoever sets a limit later finds what was spent before."""
    gateway = await start()
    now = rfc3339(gateway.core.clock.now())
    await gateway.core.store.write(insert_key, "key_other", b"x", "other", now, spend_micros_per_day=0)
    assert [(await gateway.images(size="1024x1024")).status for _ in range(2)] == [200, 200]
    key_id = await limit(gateway, spend_micros_per_day=2 * PRICE)
    assert stands(gateway, f"key:{key_id}") == 2 * PRICE
    assert (await gateway.images(size="1024x1024")).status == 402


async def test_a_group_pays_its_own_price_and_the_upstream_takes_another(start: Any) -> None:
    """The hold, the charge and the budget go by the customer's price, the provider's side by its cost."""
    own = {"model": "nano-banana-pro", "source": "t", "valid_from": "2026-01-01"}
    gateway = await start(
        prices=[
            {**own, "micros": {"1K": 134_000}},
            {**own, "micros": {"1K": 90_000}, "group": "team"},
            {**own, "micros": {"1K": 50_000}, "upstream": "google"},
            {**own, "model": "gpt-image-2", "micros": {"1K": 1}},
        ]
    )

    first = await gateway.images(prompt="1 marker Qx7Zt", size="1024x1024")
    assert {line for line in gateway.ledger(first.generation_id) if line[0] != "hold"} >= {
        ("capture", "revenue", -134_000),
        ("cost", "provider_cost", 50_000),
    }
    member = await gateway.another_key()

    def join_team(conn: Any) -> None:
        conn.execute("INSERT INTO key_group (id, label, created_at) VALUES ('kgr_1', 'team', 'now')")
        conn.execute("UPDATE api_key SET group_id = 'kgr_1' WHERE label = 'another'")

    await gateway.core.store.write(join_team)
    headers = {"Authorization": f"Bearer {member}"}
    second = await gateway.images(prompt="2 marker Qx7Zt", size="1024x1024", headers=headers)
    assert {line for line in gateway.ledger(second.generation_id) if line[0] != "hold"} >= {
        ("capture", "revenue", -90_000),
        ("cost", "provider_cost", 50_000),
    }
    assert stands(gateway, "group:kgr_1") == 90_000


async def test_a_start_without_a_price_for_today_is_refused_by_name(start: Any) -> None:
    """Before anybody asks."""
    prices = [
        {"model": "nano-banana-pro", "micros": {"1K": 1}, "source": "t", "valid_from": "2999-01-01"},
    ]
    with pytest.raises(ConfigError, match=r"'nano-banana-pro' has no price that holds on .* from 2999-01-01 on"):
        await start(prices=prices)
