"""Keys in their three places, lists of models, health and readiness, and the pages that need no key."""

from __future__ import annotations

import json
import re
from typing import Any

FULL = 1 << 60


async def test_a_key_is_taken_in_each_of_three_places(gateway: Any, upstream: Any) -> None:
    """Both surfaces take all of them; the scheme's name may be written in any case."""
    places: list[tuple[dict[str, str], str]] = [
        ({"Authorization": f"Bearer {gateway.key}"}, ""),
        ({"Authorization": f"bearer   {gateway.key} "}, ""),
        ({"x-goog-api-key": gateway.key}, ""),
        ({}, f"?key={gateway.key}"),
    ]
    body = {"prompt": "marker Qx7Zt", "contents": [{"parts": [{"text": "marker Qx7Zt"}]}]}
    for headers, query in places:
        for path in ("/v1/images/generations", "/v1beta/models/gemini-3-pro-image:generateContent"):
            answer = await gateway.ask("POST", path + query, headers=headers, json=body)
            assert answer.status == 200
        assert (await gateway.ask("GET", f"/v1/models{query}", headers=headers)).status == 200
    stream = f"/v1beta/models/gemini-3-pro-image:streamGenerateContent?alt=sse&key={gateway.key}"
    assert (await gateway.ask("POST", stream, headers={}, json=body)).status == 200
    assert all("key=" not in asked.path for asked in upstream.asked)


async def test_the_key_is_stored_hashed(gateway: Any) -> None:
    """Who reads the folder finds no key in it."""
    await gateway.images()
    # Not while it runs: whoever closes a database file in this process drops SQLite's locks on it.
    assert await gateway.stop() == 0
    stored = [path.read_bytes() for path in gateway.data.rglob("*") if path.is_file()]
    assert len(stored) >= 3
    # Without what every key begins with; 16 characters of the rest are enough to be it.
    assert not any(gateway.key.encode()[-16:] in each for each in stored)


async def test_a_second_start_makes_no_second_key(start: Any, tmp_path: Any, upstream: Any) -> None:
    """The first one goes on to open the folder."""
    first = await start(data=tmp_path / "kept")
    await first.images()
    assert await first.stop() == 0
    second = await start(data=tmp_path / "kept", key=first.key)
    assert second.count("api_key") == 1
    assert (await second.images()).status == 200


async def test_models_are_listed_in_the_dialect_of_the_credential(gateway: Any) -> None:
    """`/v1/models` is both APIs' path; the header that holds the key tells whose caller it is."""
    bearer, google = {"Authorization": f"Bearer {gateway.key}"}, {"x-goog-api-key": gateway.key}
    openai = (await gateway.ask("GET", "/v1/models", headers=bearer)).json
    assert openai["object"] == "list"
    names = [model["id"] for model in openai["data"]]
    assert names == ["nano-banana-pro", "gemini-3-pro-image", "gpt-image-2"]
    for path, headers in (("/v1/models", google), ("/v1beta/models", google), ("/v1beta/models", bearer)):
        listed = (await gateway.ask("GET", path, headers=headers)).json
        assert [model["name"] for model in listed["models"]] == [f"models/{name}" for name in names]
        assert all("generateContent" in model["supportedGenerationMethods"] for model in listed["models"])
    by_query = (await gateway.ask("GET", f"/v1/models?key={gateway.key}", headers={})).json
    assert "models" in by_query
    one = (await gateway.ask("GET", "/v1/models/gpt-image-2", headers=bearer)).json
    assert (one["id"], one["object"]) == ("gpt-image-2", "model")
    for path in ("/v1/models/gpt-image-2", "/v1beta/models/gpt-image-2"):
        assert (await gateway.ask("GET", path, headers=google)).json["name"] == "models/gpt-image-2"


async def test_health_and_readiness_need_no_key(gateway: Any) -> None:
    """A load balancer has none."""
    for path, said in (("/healthz", "ok"), ("/readyz", "ready")):
        answer = await gateway.ask("GET", path, headers={})
        assert (answer.status, answer.json) == (200, {"status": said})
        head = await gateway.ask("HEAD", path, headers={})
        assert (head.status, head.body) == (200, b"")


async def test_a_full_disk_is_told_before_anything_is_paid(start: Any, upstream: Any, journal: Any) -> None:
    """Not ready, and 503 with an invitation to come back; what is there already is still served."""
    gateway = await start(store={"free_bytes_margin": FULL})
    ready = await gateway.ask("GET", "/readyz", headers={})
    assert (ready.status, ready.json) == (503, {"status": "storage_low"})
    assert (await gateway.ask("GET", "/healthz", headers={})).status == 200
    openai, gemini = await gateway.images(), await gateway.gemini()
    assert (openai.status, openai.error["code"], openai.error["paid"]) == (503, "storage_low", "no")
    assert (gemini.status, gemini.error["status"]) == (503, "UNAVAILABLE")
    for answer in (openai, gemini):
        assert answer.headers["retry-after"] == "60"
        assert answer.headers["x-should-retry"] == "true"
        assert "generation-id" not in answer.headers
    assert upstream.asked == []
    assert gateway.count("generation") == 0
    assert len(journal.of("storage.low")) == 2


async def test_more_than_can_be_held_are_told_to_come_back(start: Any, upstream: Any) -> None:
    """`held_max` bounds what is open; nothing is bought for the one that does not fit."""
    gateway = await start(server={"port": 0, "held_max": 1}, heartbeat={"first_beat_s": 0.05})
    upstream.gate.clear()
    wire = await gateway.dial()
    await wire.send(gateway.post())
    await upstream.was_asked()
    refused = await gateway.images()
    assert (refused.status, refused.error["code"]) == (503, "queue_full")
    assert refused.headers["x-should-retry"] == "true"
    upstream.gate.set()
    assert (await wire.answer()).picture() == upstream.pictures[0]
    assert (await gateway.images()).status == 200
    assert len(upstream.asked) == 2


async def test_a_model_without_a_price_is_refused(gateway: Any, upstream: Any) -> None:
    """Nothing is sold for nothing: the answer names what is missing."""
    answer = await gateway.images(model="gpt-image-2", size="4K", quality="low")
    assert (answer.status, answer.error["code"]) == (503, "price_missing")
    assert "gpt-image-2" in answer.error["message"]
    assert upstream.asked == []


async def test_the_openapi_document_names_what_is_served(gateway: Any) -> None:
    """Open, cacheable, and every path in it answers something else than 404 `not_found`."""
    answer = await gateway.ask("GET", "/openapi.json", headers={})
    document = answer.json
    assert document["openapi"].startswith("3.1")
    google = {"x-goog-api-key": gateway.key}
    for path, operations in document["paths"].items():
        if path == "/admin/v1/events":
            # It has no end.
            continue
        for method in operations:
            asked = await gateway.ask(method.upper(), re.sub(r"\{\w+\}", "0", path), headers=google)
            told = asked.json.get("code") if "problem" in asked.headers.get("content-type", "") else None
            assert asked.status != 405, (method, path)
            if path == "/v1/probe/hold/{id}":
                # Of a probe that was never made there is nothing else to say.
                assert (asked.status, told) == (404, "not_found")
                continue
            assert told != "not_found"
            if asked.status == 404 and told is None:
                assert "NOT_FOUND" not in [each.get("reason") for each in asked.error.get("details", [])], path


async def test_the_docs_page_loads_nothing(gateway: Any) -> None:
    """One static page, no scripts, nothing from elsewhere."""
    answer = await gateway.ask("GET", "/docs", headers={})
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    page = answer.body.decode()
    assert not re.search(r"<script|<link|<img|src=|https?://", page)
    assert "/v1/images/generations" in page
    assert json.dumps(page)
