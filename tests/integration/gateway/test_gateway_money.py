"""What callers, records and the ledger say of money over real sockets, while the folder is in use."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from holdfast.cli.main import main

PRICE = 134_000


async def ledger(capsys: pytest.CaptureFixture[str], gateway: Any, *words: str) -> tuple[int, Any]:
    """Run `holdfast ledger` beside a gateway that uses the folder."""
    capsys.readouterr()
    code = await asyncio.to_thread(main, ["ledger", *words, "--data", str(gateway.data), "--json"])
    return code, json.loads(capsys.readouterr().out)


async def test_a_folder_in_use_is_proved_and_shown(gateway: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """The gateway serves on, before and after."""
    answer = await gateway.images(size="1024x1024")
    assert answer.status == 200, answer
    code, told = await ledger(capsys, gateway, "check")
    assert (code, told["holds"], told["generations"]) == (0, True, 1)
    assert {name: micros for name, micros in told["accounts"].items() if micros and "customer" not in name} == {
        "revenue": -PRICE,
        "provider_cost": PRICE,
        "provider:google": -PRICE,
    }
    code, told = await ledger(capsys, gateway, "show", answer.generation_id)
    assert (code, told["state"], told["charged_micros"]) == (0, "succeeded", PRICE)
    assert list(dict.fromkeys(line["verb"] for line in told["lines"])) == ["hold", "capture", "cost"]
    assert (await gateway.images(size="1024x1024")).status == 200


async def test_an_image_under_way_is_held_and_the_books_hold(
    gateway: Any, upstream: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the middle of a call too."""
    upstream.gate.clear()
    asking = asyncio.create_task(gateway.images(size="1024x1024"))
    while gateway.count("attempt") == 0:
        await asyncio.sleep(0.01)
    code, told = await ledger(capsys, gateway, "check")
    assert (code, told["accounts"]["held"]) == (0, -PRICE)
    upstream.gate.set()
    assert (await asking).status == 200


async def test_a_slow_image_is_given_back_and_the_record_says_so(
    start: Callable[..., Awaitable[Any]], journal: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the operator's rule: here everything is slow, and half of it is given back."""
    rules = [{"when": "slow", "slower_than_s": 0.0, "share": 0.5}]
    gateway = await start(compensation=rules, money={"margin": 2.0})
    answer = await gateway.images(size="1024x1024")
    assert answer.status == 200
    cost = (await gateway.resource(answer.generation_id))["cost"]
    assert cost == {"held_micros": 0, "charged_micros": 2 * PRICE, "compensated_micros": PRICE, "currency": "USD"}
    (finished,) = journal.of("generation.finished")
    assert (finished["charged_micros"], finished["compensated_micros"]) == (2 * PRICE, PRICE)
    code, told = await ledger(capsys, gateway, "check")
    assert (code, told["accounts"]["compensation"], told["accounts"]["provider_cost"]) == (0, PRICE, PRICE)
