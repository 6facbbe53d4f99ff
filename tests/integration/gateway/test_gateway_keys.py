"""What a key may, on real sockets: scopes, limits and TLS are asked about before anything is bought."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest


def bearer(key: str, **more: str) -> dict[str, str]:
    """The headers of a key."""
    return {"Authorization": f"Bearer {key}", **more}


def code_of(answer: Any) -> tuple[int, str]:
    """What an answer says is wrong."""
    error = answer.json.get("error", answer.json)
    return answer.status, error.get("holdfast_code") or error.get("code")


async def test_a_model_outside_the_scope_is_refused_on_every_surface(gateway: Any, upstream: Any) -> None:
    """By the name it was asked for, alias or not; nothing is sent, nothing is on record."""
    key = await gateway.another_key(models='["gpt-*"]')
    for answer in (
        await gateway.images(headers=bearer(key), model="nano-banana-pro"),
        await gateway.images(headers=bearer(key), model="gemini-3-pro-image"),
        await gateway.images(headers=bearer(key)),
        await gateway.ask("POST", "/v1/generations", headers=bearer(key), json={"prompt": "p"}),
        await gateway.ask(
            "POST",
            "/v1/chat/completions",
            headers=bearer(key),
            json={"model": "nano-banana-pro", "messages": [{"role": "user", "content": "p"}]},
        ),
    ):
        assert code_of(answer) == (403, "model_not_allowed")
    answer = await gateway.gemini(headers={"x-goog-api-key": key})
    assert answer.status == 403
    assert answer.json["error"]["status"] == "PERMISSION_DENIED"
    assert upstream.asked == []
    assert gateway.count("generation") == 0
    assert (await gateway.images(headers=bearer(key), model="gpt-image-2")).status == 200


async def test_an_alias_in_the_scope_opens_its_model(gateway: Any) -> None:
    """Whoever was given Google's name asks by it, or by ours."""
    key = await gateway.another_key(models='["gemini-3-*"]')
    assert (await gateway.images(headers=bearer(key), model="nano-banana-pro")).status == 200
    assert (await gateway.gemini(headers={"x-goog-api-key": key})).status == 200


async def test_only_what_may_be_asked_for_is_listed(start: Any) -> None:
    """In both dialects, passed models too; another one is refused by its name."""
    gateway = await start(passthrough={"upstream": "openai", "models": ["gpt-4o", "qwen/qwen3"]})
    key = await gateway.another_key(models='["gpt-*"]')
    listed = (await gateway.ask("GET", "/v1/models", headers=bearer(key))).json["data"]
    assert [each["id"] for each in listed] == ["gpt-image-2", "gpt-4o"]
    assert (await gateway.ask("GET", "/v1beta/models", headers={"x-goog-api-key": key})).json["models"] == [
        each
        for each in (await gateway.ask("GET", "/v1beta/models", headers={"x-goog-api-key": gateway.key})).json["models"]
        if each["name"] == "models/gpt-image-2"
    ]
    assert (await gateway.ask("GET", "/v1/models/gpt-4o", headers=bearer(key))).status == 200
    for path in ("/v1/models/nano-banana-pro", "/v1/models/gemini-3-pro-image"):
        assert code_of(await gateway.ask("GET", path, headers=bearer(key))) == (403, "model_not_allowed")
    refused = await gateway.ask("GET", "/v1beta/models/nano-banana-pro", headers={"x-goog-api-key": key})
    assert refused.status == 403


async def test_a_size_outside_the_scope_is_refused(gateway: Any, upstream: Any) -> None:
    """By what it resolves to, however it was spelled."""
    key = await gateway.another_key(sizes='["1K","2K"]')
    for size in ("4K", "4096x4096"):
        assert code_of(await gateway.images(headers=bearer(key), size=size)) == (403, "scope_missing")
    assert upstream.asked == []
    assert (await gateway.images(headers=bearer(key), size="1024x1024")).status == 200


async def test_a_surface_outside_the_scope_is_refused_before_its_body_is_read(gateway: Any, upstream: Any) -> None:
    """And what the key made elsewhere stays readable everywhere."""
    key = await gateway.another_key(surfaces='["openai"]')
    assert (await gateway.images(headers=bearer(key))).status == 200
    for path in ("/v1/generations", "/v1/chat/completions"):
        assert code_of(await gateway.ask("POST", path, headers=bearer(key), data=b"not even JSON"))[0] == 403
    assert (await gateway.gemini(headers={"x-goog-api-key": key})).status == 403
    assert len(upstream.asked) == 1
    own = await gateway.ask("GET", "/v1/generations", headers=bearer(key))
    assert [each["status"] for each in own.json["data"]] == ["succeeded"]


async def test_a_key_has_so_many_open_at_once_and_a_repeat_joins_all_the_same(
    gateway: Any, upstream: Any, journal: Any
) -> None:
    """What would be refused as another one is let in as the one that it repeats: nothing is bought twice, or lost."""
    key = await gateway.another_key(concurrency=1)
    named = bearer(key, **{"Idempotency-Key": "one"})
    upstream.gate.clear()
    first = asyncio.create_task(gateway.images(headers=named))
    await upstream.was_asked()
    refused = await gateway.images(headers=bearer(key, **{"Idempotency-Key": "two"}))
    assert code_of(refused) == (429, "concurrency_limited")
    assert refused.headers["retry-after"] == "15"
    assert refused.headers["x-should-retry"] == "true"
    repeat = asyncio.create_task(gateway.images(headers=named))
    await journal.has("generation.joined")
    upstream.gate.set()
    answers = await asyncio.gather(first, repeat)
    assert [each.status for each in answers] == [200, 200]
    assert len(upstream.asked) == 1
    assert gateway.count("generation") == 1
    await gateway.idle()
    assert (await gateway.images(headers=bearer(key))).status == 200


async def test_a_hundred_at_one_instant_are_not_more_than_its_limit(gateway: Any, upstream: Any) -> None:
    """Those that are being written down count."""
    key = await gateway.another_key(concurrency=3)
    upstream.gate.clear()
    asked = [asyncio.create_task(gateway.images(headers=bearer(key))) for _ in range(100)]
    await upstream.was_asked(3)
    async with asyncio.timeout(10):
        while sum(each.done() for each in asked) < 97:
            await asyncio.sleep(0.01)
    assert gateway.count("generation") == 3
    upstream.gate.set()
    statuses = sorted([each.status for each in await asyncio.gather(*asked)])
    assert statuses == [200] * 3 + [429] * 97


async def test_a_rate_counts_what_was_accepted_and_nothing_else(gateway: Any, upstream: Any) -> None:
    """Not what was refused, and not a replay; another key has its own."""
    key = await gateway.another_key(rate_per_min=2)
    named = bearer(key, **{"Idempotency-Key": "one"})
    assert (await gateway.images(headers=bearer(key), size="no such size")).status == 400
    assert (await gateway.images(headers=named)).status == 200
    assert (await gateway.images(headers=named)).headers["idempotency-replayed"] == "true"
    assert (await gateway.images(headers=bearer(key))).status == 200
    refused = await gateway.images(headers=bearer(key))
    assert code_of(refused) == (429, "rate_limited")
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert (await gateway.images(headers=named)).headers["idempotency-replayed"] == "true"
    assert (await gateway.images()).status == 200
    assert len(upstream.asked) == 3


async def test_what_is_passed_through_has_the_same_limits(start: Any, upstream: Any) -> None:
    """A key for images is none for a text model, unless it says so; and a rate is a rate."""
    upstream.answers({"id": "chatcmpl-1", "choices": []})
    gateway = await start(passthrough={"upstream": "openai", "models": ["gpt-4o"]})
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "p"}]}
    for_images = await gateway.another_key(models='["nano-*"]')
    asked = {"headers": bearer(for_images), "json": body}
    assert code_of(await gateway.ask("POST", "/v1/chat/completions", **asked)) == (403, "model_not_allowed")
    once = await gateway.another_key(rate_per_min=1, surfaces='["chat"]')
    assert (await gateway.ask("POST", "/v1/chat/completions", headers=bearer(once), json=body)).status == 200
    refused = await gateway.ask("POST", "/v1/chat/completions", headers=bearer(once), json=body)
    assert code_of(refused) == (429, "rate_limited")
    assert len(upstream.asked) == 1


@pytest.mark.parametrize(("purchases_max", "headers", "calls"), [(1, {"Holdfast-Purchases": "3"}, 1), (None, {}, 2)])
async def test_a_key_buys_an_image_as_often_as_it_may(
    start: Any, upstream: Any, purchases_max: int | None, headers: dict[str, str], calls: int
) -> None:
    """Whatever its caller asks for: an outcome that nobody knows is not bought again, where the gateway would."""

    async def hang_up(_: Any, reply: Any) -> None:
        reply.writer.transport.abort()

    upstream.script = hang_up
    gateway = await start(retry={"on_unknown": "buy_once_more", "purchases_max": 2, "backoff_s_first": 0.01})
    key = await gateway.another_key(purchases_max=purchases_max)
    answer = await gateway.images(headers=bearer(key, **headers))
    assert answer.status >= 500
    assert len(upstream.asked) == calls


async def test_a_key_for_https_is_refused_in_clear(start: Any, upstream: Any) -> None:
    """And served where a trusted proxy says that it came over TLS."""
    gateway = await start(server={"trusted_proxies": ["127.0.0.0/8"], "port": 0})
    key = await gateway.another_key(tls_required=1)
    assert code_of(await gateway.images(headers=bearer(key))) == (403, "tls_required")
    assert code_of(await gateway.ask("GET", "/v1/models", headers=bearer(key))) == (403, "tls_required")
    assert upstream.asked == []
    assert (await gateway.images(headers=bearer(key, **{"X-Forwarded-Proto": "https"}))).status == 200


async def test_the_key_that_is_made_first_administers(gateway: Any) -> None:
    """And is the only one that does by itself."""
    await gateway.another_key()
    rows = gateway.read(lambda conn: conn.execute("SELECT label, is_admin FROM api_key ORDER BY id").fetchall())
    assert [tuple(row) for row in rows] == [("first", 1), ("another", 0)]


async def test_wrong_keys_do_not_keep_good_ones_waiting(gateway: Any) -> None:
    """Sixty from this address, and the good one of this address is served before the last of them is told."""
    wrong = [asyncio.create_task(gateway.ask("GET", "/v1/models", headers=bearer(f"hf-{n}"))) for n in range(60)]
    codes: set[Any] = set()
    async with asyncio.timeout(20.0):
        while codes != {(401, "invalid_api_key"), (429, "rate_limited")}:
            await asyncio.sleep(0.02)
            codes = {code_of(each.result()) for each in wrong if each.done()}
    assert (await gateway.ask("GET", "/v1/models")).status == 200
    waiting = [each for each in wrong if not each.done()]
    assert waiting
    for each in waiting:
        each.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
