"""Keys, wishes, cursors, addresses and names that cannot be meant: told or passed over, and never bought by mistake."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

NATIVE = "/v1/generations"
LONGEST = "k" * 255
BAD_KEYS = ["", '""', "k" * 256, '"' + "k" * 256 + '"', "schl\xfcssel", "a b", '"half', 'a"b', '"a\\b"', "a\tb"]
BAD_WISHES = ["", '"', ";;;", "=,=,=", "wait", "wait=", "wait=-1", "wait=soon", "wait=1e9", "respond-async=yes"]
BAD_WISHES += ["\xff\xfe", "," * 900, "wait wait=5 5", "handling=\\strict"]
GEMINI = "/v1beta/models/gemini-3-pro-image:generateContent"
INSIDE = [
    "https://10.0.0.1/",
    "https://172.16.0.1/",
    "https://192.168.1.1/",
    "https://100.64.0.1/",
    "https://127.0.0.1/",
    "https://127.1/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0177.0.0.1/",
    "https://0.0.0.0/",
    "https://169.254.1.1/",
    "https://169.254.169.254/latest/meta-data",
    "https://100.100.100.200/",
    "https://168.63.129.16/",
    "https://224.0.0.1/",
    "https://255.255.255.255/",
    "https://[::1]/",
    "https://[::]/",
    "https://[fe80::1]/",
    "https://[fe80::1%25eth0]/",
    "https://[fc00::1]/",
    "https://[fd00:ec2::254]/",
    "https://[::ffff:10.0.0.1]/",
    "https://[::ffff:a9fe:a9fe]/",
    "https://[::7f00:1]/",
    "https://[64:ff9b::a9fe:a9fe]/",
    "https://[2002:7f00:1::]/",
    "https://[2001:0:7f00:1::]/",
    "https://localhost/",
    "https://LOCALHOST./",
    "https://gateway.internal/",
    "https://printer.local/",
    "https://intranet/",
    "https://hooks.example.com:22/",
    "https://hooks.example.com:99999/",
    "https://user@hooks.example.com/",
    "https://hooks.example.com\\@127.0.0.1/",
    "https://127.0.0.1#@hooks.example.com/",
    "https://\u2460\u2461\u2466.0.0.1/",
    "https://hooks.example.com/\r\nX: y",
    "https:///hooks",
    "https:hooks.example.com",
    "//hooks.example.com/",
    "http://hooks.example.com/",
    "file:///etc/passwd",
    "gopher://hooks.example.com/",
]


def bearer(key: str, **more: str) -> dict[str, str]:
    """Headers of a caller."""
    return {"Authorization": f"Bearer {key}", **more}


async def posted(gateway: Any, path: str, document: Mapping[str, Any], line: str) -> Any:
    """Post with a line in the head that no client library would write."""
    wire = await gateway.dial()
    whole = gateway.post(document, path=path)
    await wire.send(whole.replace(b"\r\nHost:", b"\r\n" + line.encode("latin-1") + b"\r\nHost:", 1))
    return await wire.answer()


@pytest.mark.parametrize(
    ("path", "document", "status"),
    [
        ("/v1/images/generations", {"prompt": "a lighthouse, marker Qx7Zt"}, 200),
        (
            "/v1beta/models/gemini-3-pro-image:generateContent",
            {"contents": [{"parts": [{"text": "marker Qx7Zt"}]}]},
            200,
        ),
        (NATIVE, {"prompt": "a lighthouse, marker Qx7Zt"}, 202),
    ],
    ids=["openai", "gemini", "native"],
)
async def test_a_key_that_is_none_is_refused_on_every_surface(
    gateway: Any, upstream: Any, path: str, document: Mapping[str, Any], status: int
) -> None:
    """400 in the caller's dialect, bought nothing; the longest one that there may be is taken, bare and in quotes."""
    for key in BAD_KEYS:
        refused = await posted(gateway, path, document, f"Idempotency-Key: {key}")
        assert refused.status == 400, (key, refused)
        told = refused.json.get("error", refused.json)
        assert told["paid"] == "no"
        assert b"Idempotency-Key" in refused.body
    await gateway.idle()
    assert upstream.asked == []
    bare = await posted(gateway, path, document, f"Idempotency-Key: {LONGEST}")
    assert bare.status == status
    await gateway.resource_once(bare.generation_id, "succeeded")
    quoted = await posted(gateway, path, document, f'Idempotency-Key: "{LONGEST}"')
    assert quoted.status == 200
    assert quoted.generation_id == bare.generation_id
    assert quoted.headers["idempotency-replayed"] == "true"
    assert len(upstream.asked) == 1


async def test_a_wish_that_cannot_be_read_is_passed_over(gateway: Any, upstream: Any) -> None:
    """RFC 7240 §2: the caller is served as if it had not wished, and nothing is told as applied."""
    for prefer in BAD_WISHES:
        answer = await posted(gateway, "/v1/images/generations", {"prompt": "marker Qx7Zt"}, f"Prefer: {prefer}")
        assert (answer.status, "preference-applied" in answer.headers) == (200, False), prefer
        assert answer.picture() == upstream.pictures[-1]


async def test_cursors_and_numbers_that_never_were(gateway: Any) -> None:
    """A cursor of nobody's is a mistake; an event's number is a place in an order, so one that is to come is none."""
    id_ = (await gateway.images()).generation_id
    for cursor in ("gen_never", "gen_00000000000000000000000000", "x", "%00", "..", "é", "'; DROP TABLE generation"):
        refused = await gateway.ask("GET", NATIVE, params={"after": cursor})
        assert (refused.status, refused.json["param"]) == (400, "after"), cursor
    stranger = bearer(await gateway.another_key())
    theirs = await gateway.ask("GET", NATIVE, headers=stranger, params={"after": id_})
    nobodys = await gateway.ask("GET", NATIVE, headers=stranger, params={"after": "gen_never"})
    assert (theirs.status, theirs.json) == (nobodys.status, nobodys.json)
    for number in ("99", "9" * 18):
        over = await gateway.ask(
            "GET", f"{NATIVE}/{id_}/events", headers=bearer(gateway.key, **{"Last-Event-ID": number})
        )
        assert (over.status, over.body) == (204, b""), number
    for number in ("-1", "1.0", "0x1", "9" * 19, "1;2", "1 2", "%31"):
        wrong = bearer(gateway.key, **{"Last-Event-ID": number})
        refused = await gateway.ask("GET", f"{NATIVE}/{id_}/events", headers=wrong)
        assert (refused.status, refused.json["param"]) == (400, "Last-Event-ID"), number


async def test_no_webhook_leads_inside(gateway: Any) -> None:
    """However it is spelled, and by either door; it is told why."""
    for url in INSIDE:
        for path, body in (
            ("/v1/webhooks", {"url": url}),
            (NATIVE, {"prompt": "marker Qx7Zt", "webhook": {"url": url}}),
        ):
            refused = await gateway.ask("POST", path, json=body)
            assert (refused.status, refused.json["code"]) == (400, "invalid_request"), (path, url, refused)
            assert refused.json["param"].startswith(("url", "webhook"))
    assert (await gateway.ask("GET", "/v1/webhooks")).json["data"] == []
    assert gateway.count("generation") == 0


async def test_a_receiver_that_leads_elsewhere_is_not_followed(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A redirect is a failure: what it names was looked at by nobody."""
    monkeypatch.setattr("holdfast.policy.webhooks.SCHEDULE_S", (0.0, 0.05))
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).split(b" ")[1])
        where = f"http://127.0.0.1:{port}/inside"
        writer.write(f"HTTP/1.1 307 X\r\nLocation: {where}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    gateway = await start(webhooks={"allow_private": True, "allow_http": True})
    made = await gateway.ask("POST", "/v1/webhooks", json={"url": f"http://127.0.0.1:{port}/hook"})
    await gateway.images()
    async with asyncio.timeout(10):
        while True:
            log = (await gateway.ask("GET", f"/v1/webhooks/{made.json['id']}/deliveries")).json["data"]
            if log and log[0]["state"] == "failed":
                break
            await asyncio.sleep(0.02)
    assert log[0]["last_status"] == 307
    assert set(asked) == {b"/hook"}
    server.close()


async def test_whatever_has_ended_is_cancelled_without_effect(gateway: Any, upstream: Any) -> None:
    """200 and the resource as it was, however it ended; an end is told once."""
    succeeded = (await gateway.images()).generation_id
    upstream.answers({"error": {"message": "no"}}, status=400)
    failed = (await gateway.ask("POST", NATIVE, json={"prompt": "marker Qx7Zt"})).generation_id
    await gateway.resource_once(failed, "failed")
    upstream.gate.clear()
    cancelled = (await gateway.ask("POST", NATIVE, json={"prompt": "another, marker Qx7Zt"})).generation_id
    await gateway.ask("POST", f"{NATIVE}/{cancelled}/cancel")
    upstream.gate.set()
    await gateway.resource_once(cancelled, "cancelled")
    for id_, state in ((succeeded, "succeeded"), (failed, "failed"), (cancelled, "cancelled")):
        before = await gateway.resource(id_)
        books = gateway.ledger(id_)
        for _ in range(3):
            answer = await gateway.ask("POST", f"{NATIVE}/{id_}/cancel")
            assert (answer.status, answer.json["status"]) == (200, state)
            assert answer.json["sequence_number"] == before["sequence_number"]
            assert answer.json["cancel_requested"] == before["cancel_requested"]
        assert gateway.ledger(id_) == books


async def test_another_keys_generation_is_nobodys(gateway: Any, upstream: Any) -> None:
    """404 on every road to it, the same words as for one that never was: that it exists is not told either."""
    id_ = (await gateway.images()).generation_id
    stranger = bearer(await gateway.another_key())
    for method, path in (
        ("GET", f"{NATIVE}/@"),
        ("HEAD", f"{NATIVE}/@"),
        ("GET", f"{NATIVE}/@/events"),
        ("GET", f"{NATIVE}/@/images/0"),
        ("GET", f"{NATIVE}/@/images/9"),
        ("GET", f"{NATIVE}/@/images/x"),
        ("POST", f"{NATIVE}/@/cancel"),
    ):
        theirs = await gateway.ask(method, path.replace("@", id_), headers=stranger)
        nobodys = await gateway.ask(method, path.replace("@", "gen_never"), headers=stranger)
        assert theirs.status == nobodys.status == 404, path
        assert theirs.body == nobodys.body, path
    start = {"prompt": "marker Qx7Zt", "images": [{"generation_id": id_}]}
    theirs = await gateway.ask("POST", NATIVE, headers=stranger, json=start)
    assert (theirs.status, theirs.json["code"]) == (404, "generation_not_found")
    waited = await gateway.ask("GET", f"{NATIVE}/{id_}", headers={**stranger, "Prefer": "wait=5"})
    assert waited.status == 404
    assert (await gateway.ask("GET", NATIVE, headers=stranger)).json["data"] == []
    assert len(upstream.asked) == 1
    assert (await gateway.resource(id_))["status"] == "succeeded"
