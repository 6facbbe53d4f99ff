"""Models that are no images, passed through: what comes is what the upstream said, and nothing of it stays here."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest

PATH = "/v1/chat/completions"
WORDS = "what is a lighthouse, marker Qx7Zt"
ANSWER = {"id": "chatcmpl-1", "choices": [{"message": {"content": "a tower, marker Qx7Zt"}}]}
EVENTS = [b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n', b": ping\n\n", b"data: [DONE]\n\n"]


@pytest.fixture
async def gateway(start: Any) -> Any:
    """One that passes two models through, beside its own."""
    return await start(passthrough={"upstream": "openai", "models": ["gpt-4o", "qwen/qwen3"], "silence_s": 5.0})


async def ask(gateway: Any, model: str = "gpt-4o", *, headers: dict[str, str] | None = None, **fields: Any) -> Any:
    """Ask as a chat program does, the model behind the messages as openai for Python has it."""
    sent = {"Authorization": f"Bearer {gateway.key}", **(headers or {})}
    body = {"messages": [{"role": "user", "content": WORDS}], "model": model, **fields}
    return await gateway.ask("POST", PATH, headers=sent, json=body)


def assert_nothing_stays(gateway: Any) -> None:
    """No generation, no money, no file."""
    assert gateway.count("generation") == 0
    assert gateway.count("ledger_txn") == 0
    assert list((gateway.data / "spool").iterdir()) == []
    assert list((gateway.data / "inputs").iterdir()) == []


async def test_request_and_answer_pass_as_they_are(gateway: Any, upstream: Any, journal: Any) -> None:
    """But for the key: the caller's stays here, ours goes along; whatever fields there are."""
    upstream.answers(ANSWER, headers={"x-ratelimit-remaining-requests": "9", "Set-Cookie": "a=b", "x-request-id": "r"})
    answer = await ask(gateway, "qwen/qwen3", temperature=0.1, tools=[{"type": "function"}])
    assert (answer.status, answer.json) == (200, ANSWER)
    (asked,) = upstream.asked
    assert asked.path == "/v1/chat/completions"
    assert asked.json["messages"] == [{"role": "user", "content": WORDS}]
    assert (asked.json["model"], asked.json["temperature"]) == ("qwen/qwen3", 0.1)
    assert asked.headers["authorization"].endswith("Jw4Ru")
    assert answer.headers["x-ratelimit-remaining-requests"] == "9"
    assert "set-cookie" not in answer.headers
    assert answer.headers["x-request-id"].startswith("req_")
    (event,) = await journal.has("chat.passed_on")
    assert (event["model"], event["status"], event["upstream"]) == ("qwen/qwen3", "200", "openai")
    assert_nothing_stays(gateway)


async def test_a_body_keeps_its_coding(gateway: Any, upstream: Any) -> None:
    """An upstream that compresses unasked is understood; a header that no answer of ours can have is left out."""
    packed = gzip.compress(json.dumps(ANSWER).encode())
    upstream.answers(packed, headers={"Content-Encoding": "gzip", "x-ratelimit-a": "1\x7f", "x-ratelimit-b": "2"})
    answer = await ask(gateway)
    assert (answer.status, answer.headers["content-encoding"]) == (200, "gzip")
    body = answer.body if answer.body[:2] != b"\x1f\x8b" else gzip.decompress(answer.body)
    assert json.loads(body) == ANSWER
    assert "x-ratelimit-a" not in answer.headers
    assert answer.headers["x-ratelimit-b"] == "2"


async def test_a_stream_comes_as_it_comes(gateway: Any, upstream: Any) -> None:
    """Each event before the next one is made."""
    handed_on = asyncio.Event()

    async def script(_: Any, reply: Any) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        await reply.write(head, b"%x\r\n%b\r\n" % (len(EVENTS[0]), EVENTS[0]))
        await handed_on.wait()
        for event in EVENTS[1:]:
            await reply.write(b"%x\r\n%b\r\n" % (len(event), event))
        await reply.write(b"0\r\n\r\n")

    upstream.script = script
    wire = await gateway.dial()
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": WORDS}], "stream": True}
    await wire.send(gateway.post(body, path=PATH))
    head = await wire.head()
    assert (head.status, head.headers["content-type"]) == (200, "text/event-stream")
    assert await wire.chunk() == EVENTS[0]
    handed_on.set()
    assert await wire.chunks() == b"".join(EVENTS[1:])
    await gateway.idle()
    assert_nothing_stays(gateway)


async def test_a_long_request_goes_through_a_file(gateway: Any, upstream: Any) -> None:
    """Longer than what is kept in memory, byte for byte, and what looks like an image is left as it is."""
    upstream.answers(ANSWER)
    long = WORDS + " data:image/png;base64,iVBORw0KGgo... " + "ü" * 100_000
    answer = await ask(gateway, messages=[{"role": "user", "content": long}])
    assert answer.status == 200, answer
    assert upstream.asked[0].json["messages"][0]["content"] == long
    await gateway.idle()
    assert_nothing_stays(gateway)


async def test_image_models_are_drawn_beside_it(gateway: Any, upstream: Any, a_png: Callable[..., bytes]) -> None:
    """The same path serves both, also where the body was long."""
    upstream.gives(a_png())
    padding = [{"role": "system", "content": "x" * 300_000}]
    body = [*padding, {"role": "user", "content": WORDS}]
    answer = await ask(gateway, "nano-banana-pro", messages=body)
    assert answer.status == 200, answer
    assert answer.json["choices"][0]["message"]["content"].startswith("![image](data:image/png;base64,")
    assert gateway.count("generation") == 1
    assert (await ask(gateway, "gpt-5")).status == 404


async def test_models_are_listed(gateway: Any) -> None:
    """Where chat programs look for them; Google's callers have no use for them."""
    listed = await gateway.ask("GET", "/v1/models")
    names = [each["id"] for each in listed.json["data"]]
    assert names[-2:] == ["gpt-4o", "qwen/qwen3"]
    assert "nano-banana-pro" in names
    assert (await gateway.ask("GET", "/v1/models/gpt-4o")).json["id"] == "gpt-4o"
    google = await gateway.ask("GET", "/v1beta/models", headers={"x-goog-api-key": gateway.key})
    assert "models/gpt-4o" not in [each["name"] for each in google.json["models"]]


async def test_errors_are_the_upstream_s_own(gateway: Any, upstream: Any) -> None:
    """Status, body and when to come again; only a refused key is ours to answer for."""
    error = {"error": {"message": "slow down", "type": "requests", "code": "rate_limit_exceeded"}}
    upstream.answers(error, status=429, headers={"Retry-After": "7"})
    answer = await ask(gateway)
    assert (answer.status, answer.json, answer.headers["retry-after"]) == (429, error, "7")
    upstream.answers({"error": {"message": "bad key sk-Jw4Ru"}}, status=401)
    answer = await ask(gateway)
    assert (answer.status, answer.error["code"], answer.error["paid"]) == (502, "upstream_failed", "no")
    assert "Jw4Ru" not in answer.body.decode()


@pytest.mark.parametrize("moment", ["before", "inside"])
async def test_a_broken_answer_is_never_whole(gateway: Any, upstream: Any, moment: str) -> None:
    """Before its head it is 502, perhaps paid for; inside, the caller's connection breaks off as the upstream's did."""

    async def script(_: Any, reply: Any) -> None:
        if moment == "inside":
            await reply.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"id"')
        reply.reset()

    upstream.script = script
    wire = await gateway.dial()
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": WORDS}]}
    await wire.send(gateway.post(body, path=PATH))
    if moment == "before":
        answer = await wire.answer()
        assert (answer.status, answer.error["paid"]) == (502, "unknown")
    else:
        whole = await wire.rest()
        assert b"0\r\n\r\n" not in whole
        assert whole.count(b"100") <= 1
    await gateway.idle()


async def test_silence_has_an_end(start: Any, upstream: Any) -> None:
    """An upstream that says nothing is given up."""
    gateway = await start(passthrough={"upstream": "openai", "models": ["gpt-4o"], "silence_s": 0.3})

    async def script(_: Any, reply: Any) -> None:
        await reply.stall()

    upstream.script = script
    answer = await ask(gateway)
    assert (answer.status, "it is silent" in answer.error["message"]) == (502, True)


async def test_who_leaves_is_not_written_for(gateway: Any, upstream: Any) -> None:
    """The upstream's connection is closed at once: its tokens cost money."""
    closed = asyncio.Event()

    async def script(_: Any, reply: Any) -> None:
        await reply.stall()
        closed.set()

    upstream.script = script
    wire = await gateway.dial()
    await wire.send(gateway.post({"model": "gpt-4o", "messages": []}, path=PATH))
    await upstream.was_asked()
    wire.leave()
    async with asyncio.timeout(5):
        await closed.wait()
    await gateway.idle()
    assert_nothing_stays(gateway)


async def test_many_at_once_are_bounded(start: Any, upstream: Any) -> None:
    """Whoever is one too many is told so, and may come again."""
    gateway = await start(passthrough={"upstream": "openai", "models": ["gpt-4o"], "at_once": 1})
    upstream.gate.clear()
    upstream.answers(ANSWER)
    first = asyncio.create_task(ask(gateway))
    await upstream.was_asked()
    second = await ask(gateway)
    assert (second.status, second.error["holdfast_code"]) == (503, "overloaded")
    assert second.headers["x-should-retry"] == "true"
    upstream.gate.set()
    assert (await first).json == ANSWER
    assert (await ask(gateway)).status == 200


async def test_an_upstream_that_is_not_there(start: Any) -> None:
    """Nothing was sent, so nothing was paid."""
    upstreams = [{"name": "openai", "provider": "openai", "base_url": "http://127.0.0.1:9/v1", "keys": ["k"]}]
    routes = [{"model": "gpt-image-2", "upstreams": [{"upstream": "openai", "model": "gpt-image-2"}]}]
    passed = {"upstream": "openai", "models": ["gpt-4o"], "connect_s": 1.0}
    gateway = await start(upstreams=upstreams, routes=routes, passthrough=passed)
    answer = await ask(gateway)
    assert (answer.status, answer.error["paid"]) == (502, "no")
    assert "127.0.0.1" not in answer.body.decode()


async def test_what_is_no_request_is_told(gateway: Any, upstream: Any) -> None:
    """Broken JSON, another type, no key: nothing is sent on."""
    sent = {"Authorization": f"Bearer {gateway.key}", "Content-Type": "application/json"}
    broken = await gateway.ask("POST", PATH, headers=sent, data=b'{"model":"gpt-4o"]')
    assert broken.status == 400
    text = await gateway.ask("POST", PATH, headers={**sent, "Content-Type": "text/plain"}, data=b'{"model":"gpt-4o"}')
    assert text.status == 415
    stranger = await ask(gateway, headers={"Authorization": "Bearer hf-none"})
    assert stranger.status == 401
    assert upstream.asked == []
    assert json.loads(broken.body)["error"]["paid"] == "no"


@pytest.mark.parametrize("whose", ["key", "group"])
async def test_a_key_with_a_budget_is_not_passed_on(start: Any, upstream: Any, whose: str) -> None:
    """What it costs there would count against no budget; where the operator wants it all the same, it passes."""
    settings = {"upstream": "openai", "models": ["gpt-4o"]}
    gateway = await start(passthrough=settings)
    upstream.answers(ANSWER)
    answer = await ask(gateway, headers=await limited(gateway, whose))
    assert (answer.status, answer.json["error"]["code"]) == (403, "model_not_allowed")
    assert "passthrough.with_budget" in answer.json["error"]["message"]
    assert upstream.asked == []
    assert (await ask(gateway)).status == 200
    assert await gateway.stop() == 0
    gateway = await start(passthrough={**settings, "with_budget": True})
    assert (await ask(gateway, headers=await limited(gateway, whose))).status == 200


async def limited(gateway: Any, whose: str) -> dict[str, str]:
    """Make a key that has a budget, of its own or of its group."""
    limits: dict[str, Any] = {"spend_micros_per_month": 5_000_000}
    if whose == "group":
        insert = (
            "INSERT INTO key_group (id, label, spend_micros_per_day, created_at)"
            " VALUES ('kgr_1', 'team', 5000000, '2026-01-17T12:00:00.000Z')"
        )
        await gateway.core.store.write(lambda conn: conn.execute(insert).rowcount)
        limits = {"group_id": "kgr_1"}
    return {"Authorization": f"Bearer {await gateway.another_key(**limits)}"}
