"""A whole gateway whose rows are in a PostgreSQL: the same to its callers, and patient with its database."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import ConfigError

Start = Callable[..., Awaitable[Any]]


@pytest.fixture
def dsn_for(on_postgres: Callable[..., str]) -> Callable[..., str]:
    """Each folder has a database of its own."""
    return on_postgres


async def test_an_image_is_bought_kept_and_found_after_a_restart(start: Start, tmp_path: Path) -> None:
    """Its rows are in the database, and its bytes in the folder: there is no other database there."""
    data = tmp_path / "data"
    first = await start(data=data)
    answer = await first.images(headers={"Idempotency-Key": "order-7"})
    assert answer.status == 200, answer
    (record,) = [first.record(answer.headers["generation-id"])]
    assert (record.generation.state, len(record.results)) == ("succeeded", 1)
    assert not (data / "holdfast.sqlite3").exists()
    assert await first.stop() == 0
    second = await start(data=data, key=first.key)
    again = await second.images(headers={"Idempotency-Key": "order-7"})
    assert again.status == 200
    assert again.json["data"][0]["b64_json"] == answer.json["data"][0]["b64_json"]
    assert again.headers["generation-id"] == answer.headers["generation-id"]
    assert second.count("attempt") == 1


async def test_a_crowd_is_served_and_each_is_charged_once(start: Start) -> None:
    """Twenty at once, and each of them twice: twenty purchases."""
    gateway = await start()
    asked = [gateway.images(headers={"Idempotency-Key": f"order-{number}"}) for number in range(20) for _ in range(2)]
    answers = await asyncio.gather(*asked)
    assert {answer.status for answer in answers} == {200}
    assert len({answer.headers["generation-id"] for answer in answers}) == 20
    assert gateway.count("attempt") == 20


async def test_an_address_in_a_variable_that_is_not_set_is_told(start: Start) -> None:
    """By the setting's name, and the variable's."""
    with pytest.raises(ConfigError, match=r"store\.database: the environment variable DATABASE is not set"):
        await start(store={"database": "env:DATABASE"})


async def test_a_database_that_is_away_for_two_seconds_is_felt_as_latency(
    start: Start, own_postgres: Any, on_postgres: Callable[..., str], tmp_path: Path
) -> None:
    """Before a call is sent, while it is on its way, and when it comes back: all of them have their images."""
    on_postgres(tmp_path / "data", own_postgres)
    gateway = await start(data=tmp_path / "data")
    before = [asyncio.ensure_future(gateway.images()) for _ in range(10)]
    await asyncio.sleep(0.05)

    def restart() -> None:
        own_postgres.stop()
        time.sleep(2.0)
        own_postgres.start()

    restarting = asyncio.ensure_future(asyncio.to_thread(restart))
    await asyncio.sleep(0.3)
    during = [asyncio.ensure_future(gateway.images()) for _ in range(10)]
    await restarting
    answers = await asyncio.gather(*before, *during)
    assert {answer.status for answer in answers} == {200}
