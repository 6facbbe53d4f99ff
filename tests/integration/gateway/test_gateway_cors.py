"""Pages of other origins: what a browser is told with each answer, on real sockets; off unless it is set."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import urljoin

import pytest

from holdfast.policy.cors import EXPOSED

APP = "https://app.example.com"
ALLOW, EXPOSE = "access-control-allow-origin", "access-control-expose-headers"
ASKS = {"Origin": APP, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,x-a"}


@pytest.fixture
async def shared(start: Any) -> Any:
    """A gateway that pages of one origin may call."""
    return await start(cors={"origins": [APP]})


def from_page(gateway: Any, origin: str = APP, **more: str) -> dict[str, str]:
    """Headers of a call by a page."""
    return {"Authorization": f"Bearer {gateway.key}", "Origin": origin, **more}


def is_readable(answer: Any, origin: str = APP) -> None:
    """See that the page may read it, and all headers of ours."""
    assert answer.headers[ALLOW] == origin
    assert answer.headers[EXPOSE].split(", ") == list(EXPOSED)
    assert "Origin" in answer.headers["vary"]
    assert "access-control-allow-credentials" not in answer.headers


def is_silent(answer: Any) -> None:
    """See that nothing is told."""
    assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_by_itself_nobody_may(gateway: Any) -> None:
    """A preflight is a method that is not served, an answer says nothing of origins, nor that it varies."""
    asked = await gateway.ask("OPTIONS", "/v1/images/generations", headers=ASKS)
    assert asked.status == 405
    answer = await gateway.ask("GET", "/v1/models", headers=from_page(gateway))
    assert answer.status == 200
    for each in (asked, answer):
        is_silent(each)
        assert "vary" not in each.headers


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/v1/images/generations", "POST"),
        ("/v1/generations", "GET, POST"),
        ("/v1/generations/gen_1", "DELETE, GET"),
        ("/v1beta/models/m:generateContent", "POST"),
        ("/v1/chat/completions", "POST"),
        ("/v1/nothing/here", "GET, POST"),
    ],
)
async def test_a_preflight_is_answered_without_a_key(shared: Any, path: str, methods: str) -> None:
    """With the path's methods and the headers asked for; where nothing is served, the call itself tells."""
    answer = await shared.ask("OPTIONS", path, headers=ASKS)
    assert (answer.status, answer.body) == (204, b"")
    is_readable(answer)
    assert answer.headers["access-control-allow-methods"] == methods
    assert answer.headers["access-control-allow-headers"] == "authorization, x-a"
    assert answer.headers["access-control-max-age"] == "7200"
    assert shared.count("generation") == 0


async def test_another_origins_page_is_told_nothing(shared: Any) -> None:
    """Its browser keeps the answer from it; caches know that it would be another for others."""
    for origin in ("https://evil.example", "null", f"{APP}.evil.example"):
        asked = await shared.ask("OPTIONS", "/v1/models", headers={**ASKS, "Origin": origin})
        assert asked.status == 405
        answer = await shared.ask("GET", "/v1/models", headers=from_page(shared, origin))
        for each in (asked, answer):
            is_silent(each)
            assert each.headers["vary"] == "Origin"
    assert (await shared.ask("GET", "/healthz", headers={})).headers["vary"] == "Origin"


@pytest.mark.parametrize("path", ["/admin/v1/session", "/admin/v1/keys", "/admin", "/console", "/metrics"])
async def test_what_admins_ask_is_never_shared(start: Any, path: str) -> None:
    """Not even with everybody."""
    for origins in ([APP], ["*"]):
        gateway = await start(cors={"origins": origins})
        asked = await gateway.ask("OPTIONS", path, headers=ASKS)
        assert asked.status in (404, 405)
        answer = await gateway.ask("GET", path, headers=from_page(gateway))
        for each in (asked, answer):
            is_silent(each)
        await gateway.stop()


async def test_a_session_is_nothing_to_another_origins_page(start: Any) -> None:
    """Even where cookies may come along: they are for a proxy in front."""
    gateway = await start(cors={"origins": [APP], "credentials": True})
    signed = await gateway.ask("POST", "/admin/v1/session")
    cookie = signed.headers["set-cookie"].partition(";")[0]
    headers = {"Origin": APP, "Sec-Fetch-Site": "cross-site", "Cookie": cookie}
    answer = await gateway.ask("GET", "/v1/generations", headers=headers)
    assert (answer.status, answer.json["code"]) == (403, "csrf_failed")
    assert answer.headers["access-control-allow-credentials"] == "true"


async def test_every_answer_can_be_read(shared: Any) -> None:
    """Errors too, of every dialect: a page that is told nothing of a 401 shows a network error."""
    sent = from_page(shared)
    image = await shared.images(headers=sent, response_format="url")
    is_readable(image)
    assert (image.status, bool(image.generation_id)) == (200, True)
    url = image.json["data"][0]["url"]
    for method, path, headers, status in (
        ("GET", url, {"Origin": APP}, 200),
        ("GET", url, {"Origin": APP, "Range": "bytes=0-3"}, 206),
        ("HEAD", url, {"Origin": APP}, 200),
        ("GET", f"/v1/generations/{image.generation_id}", sent, 200),
        ("GET", f"/v1/generations/{image.generation_id}/events?starting_after=99", sent, 204),
        ("GET", "/v1/generations", {"Origin": APP}, 401),
        ("GET", "/v1beta/models", {"Origin": APP, "x-goog-api-key": "wrong"}, 401),
        ("GET", "/v1/generations/gen_none", sent, 404),
        ("GET", "/v1/nothing", sent, 404),
        ("PUT", "/v1/generations", sent, 405),
        ("POST", "/v1/generations", sent, 415),
        ("DELETE", f"/v1/generations/{image.generation_id}", sent, 204),
        ("GET", url, {"Origin": APP}, 410),
        ("GET", "/openapi.json", {"Origin": APP}, 200),
    ):
        answer = await shared.ask(method, path, headers=headers, **({"data": b"x"} if status == 415 else {}))
        assert answer.status == status, (method, path, answer)
        is_readable(answer)


async def test_a_held_answer_says_it_with_its_first_bytes(start: Any, upstream: Any) -> None:
    """The head goes out with the first beat, from a timer: JSON and event streams alike."""
    gateway = await start(cors={"origins": [APP]}, heartbeat={"first_beat_s": 0.1, "beat_s": 0.1})
    for body in ({"prompt": "marker Qx7Zt"}, {"prompt": "marker Qx7Zt", "model": "gpt-image-2", "stream": True}):
        upstream.gate.clear()
        wire = await gateway.dial()
        await wire.send(gateway.post(body, headers={"Origin": APP}))
        head = await wire.head()
        assert head.status == 200
        is_readable(head)
        upstream.gate.set()
        assert b"b64_json" in await wire.chunks()
        wire.leave()


async def test_one_that_is_sent_on_may_be_followed(start: Any, upstream: Any) -> None:
    """Held by redirects: each hop is told to the page's browser, which asks for each."""
    gateway = await start(cors={"origins": [APP]}, heartbeat={"redirect_hop_s": 0.2})
    upstream.gate.clear()
    sent = from_page(gateway, Prefer="hold=redirects")
    hop = await gateway.images(headers=sent)
    assert hop.status == 303
    is_readable(hop)
    upstream.gate.set()
    where = urljoin(f"{gateway.running.base_url}/v1/images/generations", hop.headers["location"])
    answer = await gateway.ask("GET", where, headers={"Origin": APP})
    assert answer.status == 200
    is_readable(answer)
    await gateway.idle()


async def test_everybodys_pages(start: Any) -> None:
    """A star is the same for all: nothing varies, no cookies."""
    gateway = await start(cors={"origins": ["*"]})
    for headers in (from_page(gateway), from_page(gateway, "null"), {"Authorization": f"Bearer {gateway.key}"}):
        answer = await gateway.ask("GET", "/v1/models", headers=headers)
        assert (answer.status, answer.headers[ALLOW]) == (200, "*")
        assert "vary" not in answer.headers
        assert "access-control-allow-credentials" not in answer.headers
    asked = await gateway.ask("OPTIONS", "/v1/models", headers=ASKS)
    assert (asked.status, asked.headers[ALLOW]) == (204, "*")


async def test_hostile_preflights_bring_nothing_in(shared: Any) -> None:
    """On raw sockets: what is no name is left out, what is too much is cut, and the connection goes on."""
    many = ", ".join(f"x-{at}" for at in range(200))
    wire = await shared.dial()
    for wanted, told in (("x-a, x b, x\tc, é, x-d:1", "x-a"), (many, ", ".join(f"x-{at}" for at in range(64)))):
        await wire.send(
            f"OPTIONS /v1/models HTTP/1.1\r\nHost: a\r\nOrigin: {APP}\r\nAccess-Control-Request-Method: GET\r\n"
            f"Access-Control-Request-Headers: {wanted}\r\n\r\n".encode("latin-1")
        )
        head = await wire.head()
        assert (head.status, head.headers["access-control-allow-headers"]) == (204, told)
    await wire.send(f"OPTIONS /v1/models HTTP/1.1\r\nHost: a\r\nOrigin: {APP}\r\n\r\n".encode())
    plain = await wire.answer()
    assert plain.status == 405
    assert json.loads(plain.body)["error"]["code"]


async def test_a_hundred_pages_at_once(shared: Any) -> None:
    """Preflight and call, one after the other, each its own."""

    async def page() -> None:
        asked = await shared.ask("OPTIONS", "/v1/images/generations", headers=ASKS)
        assert asked.status == 204
        is_readable(await shared.images(headers=from_page(shared), response_format="url"))

    await asyncio.gather(*(page() for _ in range(100)))
