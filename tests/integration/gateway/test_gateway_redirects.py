"""Held by redirects on real sockets: silence, 303, silence, and in the end the answer that the POST would have had."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

import pytest

from holdfast.policy import hops

HOP_S = 0.2
QUICK = {"redirect_hop_s": HOP_S, "first_beat_s": 20.0}
REDIRECTS = {"Prefer": "hold=redirects"}
SHORT = {"1K": 1.0, "2K": 1.0, "4K": 1.0}
REFUSAL = {"error": {"message": "no", "type": "image_generation_user_error", "code": "moderation_blocked"}}


@pytest.fixture
async def gateway(start: Any) -> Any:
    """One whose hops are short; what a hop is stretched by is not."""
    return await start(heartbeat=QUICK, deadlines={"generation_s": {"1K": 2.0, "2K": 2.0, "4K": 2.0}})


async def follow(gateway: Any, answer: Any, path: str, **options: Any) -> tuple[Any, list[str]]:
    """Go where redirects lead, as a client does that keeps its headers; give the last answer and the way."""
    way = []
    while answer.status == 303:
        assert answer.body == b""
        path = urljoin(path, answer.headers["location"])
        way.append(path)
        assert len(way) <= 30
        answer = await gateway.ask("GET", path, **options)
    return answer, way


def hop_of(path: str) -> int:
    """Which redirect a path is."""
    return int(dict(parse_qsl(urlsplit(path).query))["hop"])


def changed(path: str, **values: str) -> str:
    """Write a path with another query."""
    parts = urlsplit(path)
    query = dict(parse_qsl(parts.query)) | values
    return f"{parts.path}?{urlencode({name: value for name, value in query.items() if value})}"


async def opened(upstream: Any, after_s: float) -> None:
    """Let the upstream answer after a while."""
    await asyncio.sleep(after_s)
    upstream.gate.set()


async def sent_on(gateway: Any, upstream: Any, **fields: Any) -> tuple[Any, str]:
    """Ask, and be sent on once; the image is not there yet."""
    upstream.gate.clear()
    answer = await gateway.images(headers=REDIRECTS, **fields)
    assert answer.status == 303, answer
    return answer, urljoin("/v1/images/generations", answer.headers["location"])


# The whole way


@pytest.mark.parametrize("by", ["header", "gateway", "route"])
async def test_a_caller_is_held_in_silence_and_told_in_the_end(
    start: Any, upstream: Any, settings_for: Any, by: str, journal: Any
) -> None:
    """Each hop as long as is set and no byte before; at the end the image, once bought and once collected."""
    sections: dict[str, Any] = {"heartbeat": QUICK, "deadlines": {"generation_s": SHORT}}
    if by == "gateway":
        sections["heartbeat"] = {**QUICK, "hold": "redirects"}
    if by == "route":
        (route, other) = settings_for(upstream.port, "x", {})["routes"]
        sections["routes"] = [{**route, "hold": "redirects"}, other]
    gateway = await start(**sections)
    upstream.gate.clear()
    began = time.monotonic()
    headers = REDIRECTS if by == "header" else {}
    first = await gateway.images(headers=headers)
    took = time.monotonic() - began
    opening = asyncio.create_task(opened(upstream, 2.5 * HOP_S * hops.STRETCH))
    answer, way = await follow(gateway, first, "/v1/images/generations")
    await opening
    assert HOP_S <= took <= HOP_S * hops.STRETCH + 1.0
    assert [hop_of(path) for path in way] == list(range(1, len(way) + 1))
    assert len(way) >= 3
    assert (answer.status, answer.picture()) == (200, upstream.pictures[0])
    assert first.headers["preference-applied"] == answer.headers["preference-applied"] == "hold=redirects"
    assert first.generation_id == answer.generation_id
    assert answer.headers["location"] == f"/v1/generations/{answer.generation_id}"
    assert int(answer.headers["content-length"]) == len(answer.body)
    assert "server-timing" in answer.headers
    await gateway.idle()
    row = gateway.record(answer.generation_id).generation
    assert row.answered_at is not None
    assert row.collected_at is not None
    assert journal.of("beat.committed") == []
    assert [each["hop"] for each in journal.of("caller.sent_on")] == [hop_of(path) for path in way]
    assert len(upstream.asked) == 1


async def test_nothing_of_it_where_the_image_is_there_in_time(gateway: Any, upstream: Any) -> None:
    """An ordinary answer."""
    answer = await gateway.images(headers=REDIRECTS)
    assert (answer.status, answer.picture()) == (200, upstream.pictures[0])


@pytest.mark.parametrize(
    ("prefer", "stream"),
    [("hold=beats", False), ("heartbeat=1", False), ("hold=redirects", True), ("", True)],
)
async def test_who_wants_beats_gets_beats(start: Any, upstream: Any, prefer: str, stream: bool) -> None:
    """A caller's own word counts before the gateway's, and a stream is told as a stream."""
    gateway = await start(heartbeat={**QUICK, "hold": "redirects", "first_beat_s": 0.1, "beat_s": 0.1})
    upstream.gate.clear()
    fields = {"stream": True, "model": "gpt-image-2"} if stream else {}
    asking = asyncio.create_task(gateway.images(headers={"Prefer": prefer} if prefer else {}, **fields))
    await asyncio.sleep(3 * HOP_S)
    upstream.gate.set()
    answer = await asking
    assert (answer.status, answer.body[:1]) == (200, b"\n")
    assert "hold=redirects" not in answer.headers.get("preference-applied", "")


@pytest.mark.parametrize("prefer", ["wait=0.05, hold=redirects", "respond-async, hold=redirects"])
async def test_who_asks_for_the_status_is_told_the_status(gateway: Any, upstream: Any, prefer: str) -> None:
    """202 as ever: nobody is held."""
    upstream.gate.clear()
    answer = await gateway.images(headers={"Prefer": prefer})
    assert (answer.status, answer.headers["preference-applied"]) == (202, prefer.partition(",")[0])


async def test_google_s_callers_are_told_in_google_s_words(gateway: Any, upstream: Any) -> None:
    """Without their key in any link: one that came in a query stays behind."""
    upstream.gate.clear()
    path = f"/v1beta/models/gemini-3-pro-image:generateContent?key={gateway.key}"
    body = {"contents": [{"role": "user", "parts": [{"text": "x"}]}]}
    first = await gateway.ask("POST", path, headers=REDIRECTS, json=body)
    assert first.status == 303
    assert gateway.key not in first.headers["location"]
    opening = asyncio.create_task(opened(upstream, 2 * HOP_S))
    answer, way = await follow(gateway, first, path.partition("?")[0], headers={})
    await opening
    assert way[0].startswith(f"/v1/generations/{first.generation_id}/result?hop=1&")
    assert (answer.status, answer.picture()) == (200, upstream.pictures[0])
    assert "candidates" in answer.json


@pytest.mark.parametrize("surface", ["openai", "gemini"])
async def test_a_failure_has_its_true_status(gateway: Any, upstream: Any, surface: str) -> None:
    """In the dialect of the POST, with all that steers an SDK."""
    upstream.answers(REFUSAL, status=400)
    upstream.gate.clear()
    if surface == "openai":
        first, path = await gateway.images(headers=REDIRECTS, model="gpt-image-2"), "/v1/images/generations"
    else:
        first = await gateway.gemini(headers=REDIRECTS, model="gpt-image-2")
        path = "/v1beta/models/gpt-image-2:generateContent"
    assert first.status == 303
    upstream.gate.set()
    answer, _ = await follow(gateway, first, path)
    if surface == "openai":
        assert (answer.status, answer.error["code"]) == (400, "moderation_blocked")
        assert answer.headers["x-should-retry"] == "false"
        assert answer.error["generation_id"] == first.generation_id
    else:
        # A refusal is a 200 there.
        assert (answer.status, answer.json["candidates"][0]["finishReason"]) == (200, "IMAGE_SAFETY")


async def test_a_caller_s_time_holds_over_all_hops(gateway: Any, upstream: Any) -> None:
    """504 when it is over, not at the next redirect."""
    upstream.gate.clear()
    began = time.monotonic()
    first = await gateway.images(headers={**REDIRECTS, "Holdfast-Timeout": "0.7"})
    answer, way = await follow(gateway, first, "/v1/images/generations")
    assert (answer.status, answer.error["code"]) == (504, "deadline_exceeded")
    assert 0.6 <= time.monotonic() - began <= 1.5
    assert way


async def test_who_joined_outlasts_whom_it_joined_over_all_hops(gateway: Any, upstream: Any, journal: Any) -> None:
    """The first is told 504; the second waits on through its hops, up to a time of its own."""
    upstream.gate.clear()
    key = {"Idempotency-Key": "k"}
    first = asyncio.create_task(gateway.images(headers={**key, "Holdfast-Timeout": "0.5"}))
    await upstream.was_asked()
    later = {"Holdfast-Timeout": "8"}
    short = {"Holdfast-Timeout": "1"}
    joined = [await gateway.images(headers={**key, **REDIRECTS, **more}) for more in ({}, later, short)]
    assert (await first).status == 504
    following = [asyncio.create_task(follow(gateway, each, "/v1/images/generations")) for each in joined]
    told, way = await following[2]
    assert (told.status, told.error["code"]) == (504, "deadline_exceeded")
    assert "until=" in way[0]
    upstream.gate.set()
    for each in following[:2]:
        answer, _ = await each
        assert (answer.status, answer.picture()) == (200, upstream.pictures[0])
    assert len(upstream.asked) == 1


async def test_after_the_last_redirect_beats_take_over(
    gateway: Any, upstream: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The image is worth more than the status; a number beyond it is refused."""
    monkeypatch.setattr(hops, "HOPS_FEW", 2)
    upstream.gate.clear()
    first = await gateway.images(headers=REDIRECTS)
    opening = asyncio.create_task(opened(upstream, 6 * HOP_S))
    answer, way = await follow(gateway, first, "/v1/images/generations")
    await opening
    assert [hop_of(path) for path in way] == [1, 2]
    assert (answer.status, answer.body[:1], answer.picture()) == (200, b"\n", upstream.pictures[0])
    for number in ("0", "21", "999", "x", "-1"):
        refused = await gateway.ask("GET", changed(way[-1], hop=number))
        assert (refused.status, refused.json["param"]) == (400, "hop")
    bare = await gateway.ask("GET", f"/v1/generations/{first.generation_id}/result?hop=20")
    assert (bare.status, bare.picture()) == (200, upstream.pictures[0])


async def test_http_1_0_is_held_so_too(gateway: Any, upstream: Any) -> None:
    """A length on every answer; the connection ends with each."""
    upstream.gate.clear()
    wire = await gateway.dial()
    await wire.send(gateway.post(version="1.0", headers=REDIRECTS))
    first = await wire.answer()
    assert (first.status, first.headers["content-length"]) == (303, "0")
    assert await wire.rest() == b""
    path = urljoin("/v1/images/generations", first.headers["location"])
    upstream.gate.set()
    wire = await gateway.dial()
    await wire.send(f"GET {path} HTTP/1.0\r\nHost: x\r\n\r\n".encode())
    answer = await wire.answer()
    assert (answer.status, answer.picture()) == (200, upstream.pictures[0])


async def test_a_connection_that_is_kept_serves_every_hop(gateway: Any, upstream: Any) -> None:
    """303 and the next GET on one connection, as SDKs do."""
    upstream.gate.clear()
    wire = await gateway.dial()
    await wire.send(gateway.post(headers=REDIRECTS))
    path = "/v1/images/generations"
    for _ in range(3):
        answer = await wire.answer()
        assert answer.status == 303
        path = urljoin(path, answer.headers["location"])
        await wire.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    upstream.gate.set()
    answer = await wire.answer()
    assert (answer.status, answer.picture()) == (200, upstream.pictures[0])


# Who may come


async def test_a_link_that_was_changed_is_no_permission(gateway: Any, upstream: Any) -> None:
    """Another hop, time, generation or signature; the key itself is one, whatever the link says."""
    _, path = await sent_on(gateway, upstream)
    other, _ = await sent_on(gateway, upstream)
    upstream.gate.set()
    id_ = urlsplit(path).path.split("/")[3]
    for forged in (
        changed(path, hop="2"),
        changed(path, until="99999999999"),
        changed(path, sig="A" * 43),
        changed(path, sig="\xe9"),
        changed(path, exp="99999999999"),
        changed(path, kid="2"),
        path.replace(id_, other.generation_id),
    ):
        refused = await gateway.ask("GET", forged, headers={})
        assert (refused.status, refused.json["code"]) == (401, "invalid_api_key"), forged
        assert refused.json["paid"] == "no" or refused.json["generation_id"] is None
    assert (await gateway.ask("GET", changed(path, sig=""), headers={})).status == 401
    answer = await gateway.ask("GET", changed(path, sig="A" * 43))
    assert (answer.status, answer.generation_id) == (200, id_)


async def test_another_key_finds_nothing(gateway: Any, upstream: Any) -> None:
    """Even with a link of ours; a wrong one is refused."""
    _, path = await sent_on(gateway, upstream)
    upstream.gate.set()
    stranger = {"Authorization": f"Bearer {await gateway.another_key()}"}
    for each in (path, changed(path, exp="", sig="", kid="")):
        refused = await gateway.ask("GET", each, headers=stranger)
        assert (refused.status, refused.json["code"]) == (404, "generation_not_found")
    assert (await gateway.ask("GET", path, headers={"Authorization": "Bearer hf-nobody"})).status == 401
    nobody = await gateway.ask("GET", "/v1/generations/gen_1/result?hop=1")
    assert (nobody.status, nobody.json["code"]) == (404, "generation_not_found")
    assert (await gateway.ask("GET", path, headers={})).status == 200


async def test_an_image_link_is_no_permission_to_wait(gateway: Any, upstream: Any) -> None:
    """Nor the other way round."""
    done = await gateway.images(response_format="url")
    query = urlsplit(done.json["data"][0]["url"]).query
    refused = await gateway.ask("GET", f"/v1/generations/{done.generation_id}/result?hop=1&{query}", headers={})
    assert refused.status == 401
    _, path = await sent_on(gateway, upstream)
    upstream.gate.set()
    id_ = urlsplit(path).path.split("/")[3]
    image = f"/v1/generations/{id_}/images/0?{urlsplit(path).query}"
    assert (await gateway.ask("GET", image, headers={})).status == 401


async def test_what_was_asked_natively_has_no_such_result(gateway: Any) -> None:
    """It is told as a resource; and whoever only looks at a result collects nothing."""
    made = await gateway.ask("POST", "/v1/generations", json={"prompt": "x"})
    refused = await gateway.ask("GET", f"/v1/generations/{made.json['id']}/result")
    assert (refused.status, refused.json["code"]) == (404, "generation_not_found")
    await gateway.resource_once(made.json["id"], "succeeded")
    done = await gateway.images(response_format="url")
    looked = await gateway.ask("HEAD", f"/v1/generations/{done.generation_id}/result")
    assert (looked.status, looked.body, looked.generation_id) == (200, b"", done.generation_id)
    assert gateway.record(done.generation_id).generation.collected_at is None


async def test_what_is_deleted_is_told_in_the_dialect_of_the_post(gateway: Any, upstream: Any) -> None:
    """410, by the file that is gone or by the request that was purged."""
    _, path = await sent_on(gateway, upstream)
    upstream.gate.set()
    id_ = urlsplit(path).path.split("/")[3]
    await gateway.resource_once(id_, "succeeded")
    (blob,) = gateway.record(id_).results
    (gateway.data / blob.store_key).unlink()
    gone = await gateway.ask("GET", path)
    assert (gone.status, gone.error["code"], gone.error["type"]) == (410, "image_expired", "invalid_request_error")
    purge = "UPDATE generation SET request = NULL WHERE id = :id"
    await gateway.core.store.write(lambda conn: conn.execute(purge, {"id": id_}) and None)
    gone = await gateway.ask("GET", path)
    assert (gone.status, gone.error["generation_id"]) == (410, id_)


# Coming, going, repeating


async def callers_of(gateway: Any, id_: str) -> int:
    """How many wait, as the record has it, with all that is noted."""
    await gateway.made.engine._leaving._note()
    query = "SELECT callers FROM generation WHERE id = ?"
    return int(gateway.read(lambda conn: conn.execute(query, (id_,)).fetchone()[0]))


async def test_between_two_hops_nobody_has_left(gateway: Any, upstream: Any) -> None:
    """The same words in between are another person's; after the grace they are a repeat, which joins."""
    first, path = await sent_on(gateway, upstream)
    id_ = first.generation_id
    assert await callers_of(gateway, id_) == 1
    twin = await gateway.images(headers=REDIRECTS)
    assert twin.generation_id != id_
    # It comes back in time, is counted once, and leaves for good.
    wire = await gateway.dial()
    await wire.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    await asyncio.sleep(0.05)
    assert await callers_of(gateway, id_) == 1
    wire.leave()
    await gateway.idle()
    assert await callers_of(gateway, id_) == 0
    repeat = await gateway.images(headers=REDIRECTS)
    assert repeat.generation_id == id_
    assert len(upstream.asked) == 2
    upstream.gate.set()
    answer, _ = await follow(gateway, repeat, "/v1/images/generations")
    assert answer.status == 200


async def test_who_never_comes_back_has_left(
    gateway: Any, upstream: Any, journal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a moment; its repeat joins, and so does one that asks while nobody knows yet."""
    first, _ = await sent_on(gateway, upstream)
    await asyncio.sleep(2.1)
    began = time.monotonic()
    repeat = await gateway.images(headers=REDIRECTS)
    # Two seconds after it came, the first is asked for: it is on no connection, and does not come.
    assert time.monotonic() - began <= hops.GRACE_S + 1.0
    assert repeat.generation_id == first.generation_id
    assert len(await journal.has("caller.left")) == 1
    upstream.gate.set()
    answer, _ = await follow(gateway, repeat, "/v1/images/generations")
    assert (answer.status, len(upstream.asked)) == (200, 1)


async def test_who_comes_too_late_is_counted_again(
    gateway: Any, upstream: Any, journal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path that is slower than our patience: nobody joins beside him while he waits."""
    monkeypatch.setattr("holdfast.gateway.between.GRACE_S", 0.05)
    first, path = await sent_on(gateway, upstream)
    await journal.has("caller.left")
    assert await callers_of(gateway, first.generation_id) == 0
    wire = await gateway.dial()
    await wire.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    await asyncio.sleep(0.05)
    assert await callers_of(gateway, first.generation_id) == 1
    upstream.gate.set()
    assert (await wire.answer()).status == 200


async def test_the_next_process_serves_the_next_hop(start: Any, upstream: Any, tmp_path: Any) -> None:
    """A restart between two hops: the record knows all that the answer takes."""
    sections = {"heartbeat": QUICK, "data": tmp_path / "kept", "deadlines": {"generation_s": SHORT}}
    first = await start(**sections)
    sent, path = await sent_on(first, upstream, response_format="url")
    upstream.gate.set()
    assert await first.stop() == 0
    second = await start(key=first.key, **sections)
    answer = await second.ask("GET", path, headers={})
    assert (answer.status, answer.generation_id) == (200, sent.generation_id)
    assert "b64_json" not in answer.json["data"][0]
    assert (await second.ask("GET", answer.json["data"][0]["url"], headers={})).body == upstream.pictures[0]


async def test_a_stopping_gateway_tells_who_waits_at_a_hop(start: Any, upstream: Any) -> None:
    """In time, and as the truth is: nobody knows yet."""
    gateway = await start(heartbeat={**QUICK, "redirect_hop_s": 1.0}, deadlines={"generation_s": SHORT})
    first, path = await sent_on(gateway, upstream)
    asking = asyncio.create_task(gateway.ask("GET", path))
    await asyncio.sleep(0.1)
    assert gateway.made.generator.is_waited_for
    gateway.made.generator.release()
    told = await asking
    assert (told.status, told.error["code"], told.generation_id) == (502, "outcome_unknown", first.generation_id)
