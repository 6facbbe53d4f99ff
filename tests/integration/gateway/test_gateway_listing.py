"""`GET /v1/generations`: a key finds what it has asked for, without having kept any id."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

LIST = "/v1/generations"


async def a_few(gateway: Any, count: int, **fields: Any) -> list[str]:
    """Make generations one after another; give their ids, newest first."""
    made = [(await gateway.images(**fields)).generation_id for _ in range(count)]
    return made[::-1]


def ids(answer: Any) -> list[str]:
    """Which generations were listed."""
    assert answer.status == 200, answer
    return [each["id"] for each in answer.json["data"]]


async def collected(gateway: Any, generation_id: str) -> None:
    """Wait until it is noted that the image arrived."""
    async with asyncio.timeout(5):
        while gateway.record(generation_id).generation.collected_at is None:
            await asyncio.sleep(0.01)


async def test_a_key_lists_its_own_newest_first(gateway: Any) -> None:
    """Each as `GET /v1/generations/{id}` tells it, links that can be followed included."""
    made = await a_few(gateway, 3)
    answer = await gateway.ask("GET", LIST)
    assert ids(answer) == made
    told = answer.json
    assert (told["object"], told["has_more"]) == ("list", False)
    assert (told["first_id"], told["last_id"]) == (made[0], made[-1])
    assert answer.headers["cache-control"] == "no-store, no-transform"
    alone = await gateway.resource(made[0])
    links = [each["images"][0].pop("url") for each in (told["data"][0], alone)]
    for each in (told["data"][0], alone):
        each["images"][0].pop("expires_at")
    assert told["data"][0] == alone
    for link in links:
        assert (await gateway.ask("GET", link, headers={})).status == 200


async def test_pages_follow_one_another(gateway: Any) -> None:
    """`after` is the `last_id` of the page before."""
    made = await a_few(gateway, 3)
    first = await gateway.ask("GET", f"{LIST}?limit=2")
    assert (ids(first), first.json["has_more"]) == (made[:2], True)
    second = await gateway.ask("GET", f"{LIST}?limit=2&after={first.json['last_id']}")
    assert (ids(second), second.json["has_more"]) == (made[2:], False)
    beyond = await gateway.ask("GET", f"{LIST}?after={second.json['last_id']}")
    assert beyond.json == {"object": "list", "data": [], "has_more": False, "first_id": None, "last_id": None}


async def test_filters_find_what_is_looked_for(gateway: Any, upstream: Any) -> None:
    """By state, by model or its alias, and what nobody has fetched yet."""
    (succeeded,) = await a_few(gateway, 1)
    (link_only,) = await a_few(gateway, 1, response_format="url")
    upstream.answers({"error": {"message": "no", "type": "x", "code": "y"}}, status=400)
    (failed,) = await a_few(gateway, 1, model="gpt-image-2")
    await collected(gateway, succeeded)
    for query, wanted in {
        "status=failed": [failed],
        "status=succeeded": [link_only, succeeded],
        "status=running": [],
        "model=gpt-image-2": [failed],
        "model=gemini-3-pro-image": [link_only, succeeded],
        "collected=true": [succeeded],
        "collected=false&status=succeeded": [link_only],
        "idempotency_key=order-7": [],
    }.items():
        assert ids(await gateway.ask("GET", f"{LIST}?{query}")) == wanted, query


async def test_another_key_finds_nothing(gateway: Any) -> None:
    """Neither in its list, nor as a place to go on from."""
    (mine,) = await a_few(gateway, 1)
    stranger = {"Authorization": f"Bearer {await gateway.another_key()}"}
    assert ids(await gateway.ask("GET", LIST, headers=stranger)) == []
    refused = await gateway.ask("GET", f"{LIST}?after={mine}", headers=stranger)
    never = await gateway.ask("GET", f"{LIST}?after=gen_00000000000000000000000000", headers=stranger)
    assert refused.status == never.status == 400
    assert refused.json == never.json
    assert (await gateway.ask("GET", LIST, headers={})).status == 401


async def test_the_key_in_the_query_is_no_filter(gateway: Any) -> None:
    """Google's callers put it there."""
    made = await a_few(gateway, 1)
    assert ids(await gateway.ask("GET", f"{LIST}?key={gateway.key}", headers={})) == made


@pytest.mark.parametrize(
    ("query", "param", "message"),
    [
        ("state=failed", "state", "Did you mean 'status'?"),
        ("status=canceled", "status", "Did you mean 'cancelled'?"),
        ("collected=1", "collected", "true, false"),
        ("limit=1000", "limit", "from 1 to 100"),
        ("after=gen_1", "after", "no generation of this key"),
        ("model=nano-banana-prp", "model", "Did you mean 'nano-banana-pro'?"),
    ],
)
async def test_what_cannot_be_asked_is_a_problem_that_names_it(
    gateway: Any, query: str, param: str, message: str
) -> None:
    """400 in the form of RFC 9457, with the near word."""
    refused = await gateway.ask("GET", f"{LIST}?{query}")
    assert (refused.status, refused.headers["content-type"]) == (400, "application/problem+json")
    assert (refused.json["code"], refused.json["param"]) == ("invalid_request", param)
    assert message in refused.json["detail"]


async def test_what_is_open_is_listed_as_it_stands(gateway: Any, upstream: Any) -> None:
    """A caller that was cut finds its call still running."""
    upstream.gate.clear()
    waiting = asyncio.create_task(gateway.images())
    await upstream.was_asked()
    (open_,) = (await gateway.ask("GET", f"{LIST}?status=running")).json["data"]
    assert (open_["status"], open_["images"], open_["finished_at"]) == ("running", [], None)
    assert open_["progress"]["elapsed_s"] >= 0
    upstream.gate.set()
    assert (await waiting).generation_id == open_["id"]
