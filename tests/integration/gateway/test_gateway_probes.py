"""`/v1/probe/…` of a running gateway: held as asked, told as seen, bounded, and remembered for a while."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from holdfast.gateway import probes as probing
from holdfast.gateway.probes import OF_A_KEY_MAX, REMEMBERED_MAX, REMEMBERED_S, VISITS_MAX, ProbeBook, _Visit
from holdfast.wire.probe import HoldQuery

HOLD, ECHO = "/v1/probe/hold", "/v1/probe/echo"


def a_get(gateway: Any, target: str, *, version: str = "1.1", **headers: str) -> bytes:
    """Write a GET as bytes."""
    lines = [f"GET {target} HTTP/{version}", f"Host: 127.0.0.1:{gateway.port}", f"Authorization: Bearer {gateway.key}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


async def probe_of(gateway: Any, id_: str, *, ended: str | None = None) -> dict[str, Any]:
    """What is remembered of a probe, once it stands so."""
    async with asyncio.timeout(5):
        while True:
            answer = await gateway.ask("GET", f"{HOLD}/{id_}")
            if answer.status == 200 and ended in (None, answer.json["visits"][-1]["ended"]):
                return dict(answer.json)
            await asyncio.sleep(0.01)


async def test_silence_is_held_and_answered(gateway: Any) -> None:
    """As long as asked, with headers as an answer with images has them."""
    answer = await gateway.ask("GET", f"{HOLD}?seconds=0.3&id=prb_silent")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-accel-buffering"] == "no"
    assert "content-length" in answer.headers
    assert answer.json["seconds"] == 0.3
    assert answer.json["held_s"] >= 0.3
    assert answer.json["beats"] == 0
    (visit,) = (await probe_of(gateway, "prb_silent", ended="answered"))["visits"]
    assert visit["acknowledged"] is True


async def test_beats_come_and_then_the_answer(gateway: Any) -> None:
    """The first with the head; white space before JSON."""
    wire = await gateway.dial()
    wire.writer.write(a_get(gateway, f"{HOLD}?seconds=0.7&beat=0.2"))
    head = await asyncio.wait_for(wire.reader.readuntil(b"\r\n\r\n"), 5)
    assert head.startswith(b"HTTP/1.1 200 ")
    assert await asyncio.wait_for(wire.reader.readexactly(6), 5) == b"1\r\n\n\r\n"
    rest = await asyncio.wait_for(wire.reader.readuntil(b"0\r\n\r\n"), 5)
    document = json.loads(rest[rest.index(b"{") : rest.rindex(b"}") + 1])
    assert document["beats"] == 1 + rest.count(b"1\r\n\n\r\n") >= 2


async def test_http_1_0_gets_beats_without_chunks(gateway: Any) -> None:
    """As nginx asks by default; the end of the connection is the end of the body."""
    wire = await gateway.dial()
    wire.writer.write(a_get(gateway, f"{HOLD}?seconds=0.5&beat=0.2", version="1.0"))
    whole = await asyncio.wait_for(wire.reader.read(-1), 5)
    head, _, body = whole.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert body.startswith(b"\n\n{")


@pytest.mark.parametrize("status", [100, 102, 103])
async def test_interim_answers_leave_the_status_free(gateway: Any, status: int) -> None:
    """They come before the final head, which has a length."""
    wire = await gateway.dial()
    wire.writer.write(a_get(gateway, f"{HOLD}?seconds=0.7&beat=0.2&interim={status}", Connection="close"))
    whole = await asyncio.wait_for(wire.reader.read(-1), 5)
    assert whole.startswith(f"HTTP/1.1 {status} ".encode())
    document = json.loads(whole.rpartition(b"\r\n\r\n")[2])
    assert document["beats"] == whole.count(f"HTTP/1.1 {status} ".encode()) >= 2
    assert whole.count(b"HTTP/1.1 200 ") == 1


async def test_http_1_0_gets_no_interim_answers(gateway: Any) -> None:
    """RFC 9110 §15.2."""
    wire = await gateway.dial()
    wire.writer.write(a_get(gateway, f"{HOLD}?seconds=0.4&beat=0.1&interim=102", version="1.0"))
    whole = await asyncio.wait_for(wire.reader.read(-1), 5)
    assert whole.count(b"HTTP/1.1 ") == 1


async def test_who_closes_is_remembered_as_left(gateway: Any) -> None:
    """A proxy that gives up says FIN; nobody goes on holding it."""
    wire = await gateway.dial()
    wire.writer.write(a_get(gateway, f"{HOLD}?seconds=60&id=prb_leaving"))
    assert (await probe_of(gateway, "prb_leaving"))["visits"][0]["ended"] == "open"
    wire.writer.write_eof()
    (visit,) = (await probe_of(gateway, "prb_leaving", ended="left"))["visits"]
    assert visit["elapsed_s"] < 10.0
    assert await asyncio.wait_for(wire.reader.read(-1), 5) == b""
    await gateway.idle()


async def test_who_resets_is_remembered_as_reset(gateway: Any) -> None:
    """Which tells a crash, or a balancer with manners of its own, from an end."""
    wire = await gateway.dial()
    wire.writer.write(a_get(gateway, f"{HOLD}?seconds=60&id=prb_resets"))
    await probe_of(gateway, "prb_resets")
    wire.leave(reset=True)
    await probe_of(gateway, "prb_resets", ended="reset")


async def test_a_probe_that_arrives_twice_is_told_twice(gateway: Any) -> None:
    """A hop that repeats requests is seen by it."""
    for _ in range(2):
        await gateway.ask("GET", f"{HOLD}?seconds=0.1&id=prb_repeated")
    report = await probe_of(gateway, "prb_repeated")
    assert len(report["visits"]) == 2
    assert report["seconds"] == 0.1


async def test_a_probe_is_its_keys_own(gateway: Any) -> None:
    """Another key finds nothing, as with generations."""
    await gateway.ask("GET", f"{HOLD}?seconds=0.1&id=prb_of_mine")
    other = await gateway.another_key()
    answer = await gateway.ask("GET", f"{HOLD}/prb_of_mine", headers={"Authorization": f"Bearer {other}"})
    assert answer.status == 404
    assert answer.json["code"] == "not_found"


@pytest.mark.parametrize("target", [f"{HOLD}?seconds=1", f"{HOLD}/prb_12345", ECHO])
async def test_nothing_is_held_or_told_without_a_key(gateway: Any, target: str) -> None:
    """Not to be had by strangers."""
    answer = await gateway.ask("GET", target, headers={})
    assert answer.status == 401
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_wrong_parameter_is_named(gateway: Any) -> None:
    """As everywhere."""
    answer = await gateway.ask("GET", f"{HOLD}?seconds=9000")
    assert (answer.status, answer.json["param"]) == (400, "seconds")
    answer = await gateway.ask("GET", f"{ECHO}?seconds=1")
    assert (answer.status, answer.json["param"]) == (400, "seconds")


async def test_probes_of_a_key_are_bounded(gateway: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is told to wait; another key is not held up, until all are too many."""
    monkeypatch.setattr(probing, "OF_A_KEY_MAX", 2)
    monkeypatch.setattr(probing, "TOGETHER_MAX", 3)
    wires = [await gateway.dial() for _ in range(2)]
    for at, wire in enumerate(wires):
        wire.writer.write(a_get(gateway, f"{HOLD}?seconds=60&id=prb_number{at}"))
        await probe_of(gateway, f"prb_number{at}")
    refused = await gateway.ask("GET", f"{HOLD}?seconds=1")
    assert (refused.status, refused.json["code"]) == (429, "concurrency_limited")
    assert refused.headers["retry-after"] == "30"
    others = {"Authorization": f"Bearer {await gateway.another_key()}"}
    assert (await gateway.ask("GET", f"{HOLD}?seconds=0.1", headers=others)).status == 200
    async with asyncio.timeout(5):
        while repr(gateway.made.probes) != "<Probes 2 of 3>":
            await asyncio.sleep(0.01)
    monkeypatch.setattr(probing, "TOGETHER_MAX", 2)
    assert (await gateway.ask("GET", f"{HOLD}?seconds=0.1", headers=others)).status == 429
    assert repr(gateway.made.probes) == "<Probes 2 of 2>"
    for wire in wires:
        wire.leave(reset=True)
    await gateway.idle()
    assert (await gateway.ask("GET", f"{HOLD}?seconds=0.1")).status == 200


async def test_an_end_waits_for_no_probe(gateway: Any) -> None:
    """They are answered early, and new ones are sent away."""
    wire = await gateway.dial()
    wire.writer.write(a_get(gateway, f"{HOLD}?seconds=60&id=prb_waiting", Connection="close"))
    await probe_of(gateway, "prb_waiting")
    gateway.made.probes.release()
    whole = await asyncio.wait_for(wire.reader.read(-1), 5)
    assert whole.startswith(b"HTTP/1.1 200 ")
    assert json.loads(whole.rpartition(b"\r\n\r\n")[2])["held_s"] < 30.0
    refused = await gateway.ask("GET", f"{HOLD}?seconds=1")
    assert (refused.status, refused.json["code"]) == (503, "draining")


async def test_a_head_is_not_held(gateway: Any) -> None:
    """It asks what a GET would be told."""
    assert (await gateway.ask("HEAD", f"{HOLD}?seconds=60")).status == 200


async def test_an_echo_tells_what_arrived(gateway: Any) -> None:
    """Headers of proxies in full, credentials by name only, and what the gateway itself is set to."""
    answer = await gateway.ask(
        "GET",
        ECHO,
        headers={"Authorization": f"Bearer {gateway.key}", "Via": "1.1 a", "X-Forwarded-For": "b, c", "Cookie": "x=1"},
    )
    assert answer.status == 200
    echo = answer.json
    told = {each["name"]: each["value"] for each in echo["headers"]}
    assert told["via"] == "1.1 a"
    assert told["x-forwarded-for"] == "b, c"
    assert told["authorization"] is None
    assert told["cookie"] is None
    assert gateway.key.encode() not in answer.body
    assert (echo["method"], echo["http_version"], echo["scheme"], echo["peer"]) == ("GET", "1.1", "http", "127.0.0.1")
    assert echo["heartbeat"] == {"first_beat_s": 20.0, "beat_s": 10.0}
    assert echo["congestion"] == gateway.running.listeners[0].congestion
    assert echo["request_id"] == answer.headers["x-request-id"]
    assert echo["probes_max"] == OF_A_KEY_MAX


async def test_an_upload_is_counted_and_thrown_away(start: Any) -> None:
    """Up to the limit of all bodies, and refused above it."""
    gateway = await start(server={"request_bytes_max": 100_000})
    answer = await gateway.ask("POST", ECHO, data=b"\0" * 100_000)
    assert (answer.status, answer.json["body_bytes"]) == (200, 100_000)
    assert answer.json["request_bytes_max"] == 100_000
    refused = await gateway.ask("POST", ECHO, data=b"\0" * 100_001)
    assert (refused.status, refused.json["code"]) == (413, "input_too_large")


def test_the_book_is_bounded() -> None:
    """In probes, in visits of each, and in time; the newest stay."""
    book = ProbeBook()
    for number in range(REMEMBERED_MAX + 5):
        book.note("key_1", HoldQuery(seconds=1.0, id=f"prb_{number:05}"), _Visit(began_at="", began_s=0.0))
    assert repr(book) == f"<ProbeBook {REMEMBERED_MAX} of {REMEMBERED_MAX}>"
    with pytest.raises(Exception, match="No probe of this key"):
        book.find("key_1", "prb_00004", 0.0)
    for _ in range(50):
        book.note("key_1", HoldQuery(seconds=1.0, id="prb_00009"), _Visit(began_at="", began_s=10.0))
    assert len(book.find("key_1", "prb_00009", REMEMBERED_S + 10.0).visits) == VISITS_MAX
    with pytest.raises(Exception, match="10 minutes"):
        book.find("key_1", "prb_00009", REMEMBERED_S + 20.0)
    book.note("key_1", HoldQuery(seconds=1.0), _Visit(began_at="", began_s=0.0))
    assert repr(book) == f"<ProbeBook {REMEMBERED_MAX} of {REMEMBERED_MAX}>"
