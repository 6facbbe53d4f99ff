"""Callers who leave, half-close, pause or ask twice at once; and the ones who name their own deadline."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from typing import Any

import pytest

QUICK = {"first_beat_s": 0.1, "beat_s": 0.1}
MANY_BYTES = 6_000_000
PAUSE_S = 2.5
"""Long enough for the kernel to give up on a window that stays closed, were it still to do so after `caller_dead_s`."""


async def collected_at(gateway: Any, generation_id: str) -> str | None:
    """Once every caller has been dealt with: when the image was collected."""
    await gateway.idle()
    found = gateway.record(generation_id).generation.collected_at
    return None if found is None else str(found)


async def a_slow_reader(gateway: Any) -> Any:
    """Open a connection whose window is small, so that an image does not fit into the kernel's buffers."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", gateway.port))
    return await gateway.dial(sock=sock, limit=1 << 16)


@pytest.mark.parametrize(("held", "reset"), [(False, True), (True, False), (True, True)])
async def test_a_caller_that_leaves_changes_nothing(
    start: Any, upstream: Any, journal: Any, reset: bool, held: bool
) -> None:
    """Before or after the first beat, closed or reset: the image is made, stored, and there to collect."""
    gateway = await start(heartbeat=QUICK)
    upstream.gate.clear()
    wire = await gateway.dial()
    await wire.send(gateway.post(headers={} if held else {"Prefer": "heartbeat=0"}))
    await upstream.was_asked()
    if held:
        await wire.head()
    wire.leave(reset=reset)
    (left,) = await journal.has("caller.left")
    assert left["held"] is held
    assert (await gateway.resource(left["generation_id"]))["status"] == "running"
    upstream.gate.set()
    resource = await gateway.resource_once(left["generation_id"], "succeeded")
    assert await collected_at(gateway, resource["id"]) is None
    image = await gateway.ask("GET", resource["images"][0]["url"], headers={})
    assert image.body == upstream.pictures[0]
    assert await collected_at(gateway, resource["id"]) is not None
    assert len(upstream.asked) == 1


async def test_a_caller_that_closes_in_silence_is_noticed_at_its_answer(
    gateway: Any, upstream: Any, journal: Any
) -> None:
    """A closed side may still read, so only bytes tell: the answer goes out, is reset, and counts as not received."""
    upstream.gate.clear()
    wire = await gateway.dial()
    await wire.send(gateway.post())
    await upstream.was_asked()
    wire.leave()
    await asyncio.sleep(0.1)
    assert journal.of("caller.left") == []
    upstream.gate.set()
    (left,) = await journal.has("caller.left")
    resource = await gateway.resource(left["generation_id"])
    assert resource["status"] == "succeeded"
    assert await collected_at(gateway, resource["id"]) is None


async def test_a_caller_that_leaves_inside_its_answer_has_not_collected(
    start: Any, upstream: Any, a_png: Any, journal: Any
) -> None:
    """Bytes in a kernel's buffer are no delivery; the image stays, and no connection or task does."""
    gateway = await start()
    picture = a_png(noise_bytes=MANY_BYTES)
    upstream.gives(picture)
    wire = await a_slow_reader(gateway)
    await wire.send(gateway.post())
    answer = await wire.head()
    await wire.segment()
    wire.leave(reset=True)
    await journal.has("caller.left")
    assert await collected_at(gateway, answer.generation_id) is None
    resource = await gateway.resource(answer.generation_id)
    assert (await gateway.ask("GET", resource["images"][0]["url"], headers={})).body == picture


async def test_a_caller_that_leaves_before_its_request_is_whole_asked_nothing(gateway: Any, upstream: Any) -> None:
    """Half a body is no request: nothing is accepted, nothing is bought."""
    wire = await gateway.dial()
    await wire.send(gateway.post()[:-10])
    await asyncio.sleep(0.05)
    wire.leave()
    await gateway.idle()
    assert gateway.count("generation") == 0
    assert upstream.asked == []


@pytest.mark.parametrize("late", [False, True])
async def test_a_caller_that_closes_its_own_side_gets_its_answer(start: Any, upstream: Any, late: bool) -> None:
    """`nc -N` and old HTTP/1.0 programs shut their side down after asking; they are owed the image, and have it."""
    gateway = await start(heartbeat=QUICK)
    if late:
        upstream.gate.clear()
    wire = await gateway.dial()
    wire.writer.write(gateway.post())
    wire.writer.write_eof()
    if late:
        head = await wire.head()
        await wire.beats(2)
        upstream.gate.set()
        head.body = await wire.chunks()
        answer = head
    else:
        answer = await wire.answer()
    assert answer.picture() == upstream.pictures[0]
    assert await wire.rest() == b""
    assert await collected_at(gateway, answer.generation_id) is not None


async def test_connection_close_is_honoured_and_collected(start: Any, upstream: Any, a_png: Any) -> None:
    """The connection ends after the answer, and whether megabytes of it arrived is known all the same."""
    gateway = await start()
    picture = a_png(noise_bytes=MANY_BYTES)
    upstream.gives(picture)
    wire = await gateway.dial()
    await wire.send(gateway.post(headers={"Connection": "close"}))
    answer = await wire.answer()
    assert answer.headers["connection"] == "close"
    assert answer.picture() == picture
    assert await wire.rest() == b""
    assert await collected_at(gateway, answer.generation_id) is not None


async def test_a_reader_that_pauses_gets_its_image(start: Any, upstream: Any, a_png: Any) -> None:
    """A closed window is no dead caller: inside a body silence is allowed for `body_stall_s`, not `caller_dead_s`."""
    gateway = await start(heartbeat={**QUICK, "caller_dead_s": 1.0}, server={"port": 0, "body_stall_s": 20.0})
    picture = a_png(noise_bytes=MANY_BYTES)
    upstream.gives(picture)
    early, held = await a_slow_reader(gateway), await a_slow_reader(gateway)
    await early.send(gateway.post(headers={"Prefer": "heartbeat=0"}))
    first = await early.head()
    upstream.gate.clear()
    await held.send(gateway.post())
    second = await held.head()
    upstream.gate.set()
    await asyncio.sleep(PAUSE_S)
    first.body = await early.reader.readexactly(int(first.headers["content-length"]))
    second.body = await held.chunks()
    for answer in (first, second):
        assert answer.picture() == picture
        assert await collected_at(gateway, answer.generation_id) is not None


async def test_a_pipelined_request_is_not_served(start: Any, upstream: Any) -> None:
    """The first is held; a second behind it gets no answer, buys nothing, and the connection ends with the first's."""
    gateway = await start(heartbeat=QUICK)
    for together in (True, False):
        upstream.gate.clear()
        asked = len(upstream.asked)
        wire = await gateway.dial()
        pieces = [gateway.post(), gateway.post({"prompt": "a second one, marker Qx7Zt"})]
        await wire.send(*([b"".join(pieces)] if together else pieces))
        answer = await wire.head()
        await wire.beats(1)
        upstream.gate.set()
        answer.body = await wire.chunks()
        assert answer.picture() == upstream.pictures[-1]
        assert await wire.rest() == b""
        assert len(upstream.asked) == asked + 1
        assert await collected_at(gateway, answer.generation_id) is not None
    assert gateway.count("generation") == 2


async def test_a_callers_own_deadline_is_told_at_its_instant(start: Any, upstream: Any) -> None:
    """504 although the call is in flight; the image that comes later is kept, shown as late, and free."""
    gateway = await start()
    upstream.gate.clear()
    began = time.monotonic()
    answer = await gateway.images(headers={"Holdfast-Timeout": "0.4"})
    assert time.monotonic() - began >= 0.4
    assert answer.status == 504
    assert answer.error["code"] == "deadline_exceeded"
    assert answer.error["paid"] == "unknown"
    assert answer.headers["x-should-retry"] == "false"
    assert (await gateway.resource(answer.generation_id))["attempts"][0]["status"] == "sent"
    upstream.gate.set()
    resource = await gateway.resource_once(answer.generation_id, "succeeded")
    assert resource["late"] is True
    assert resource["error"] is None
    assert (resource["paid"], resource["cost"]["charged_micros"]) == ("yes", 0)
    image = await gateway.ask("GET", resource["images"][0]["url"], headers={})
    assert image.body == upstream.pictures[0]
    assert {verb for verb, _, _ in gateway.ledger(answer.generation_id)} == {"hold", "void", "extra"}


async def test_a_callers_own_deadline_after_the_first_beat(start: Any, upstream: Any) -> None:
    """The status is spent by then: it is told in the body, in either dialect."""
    gateway = await start(heartbeat=QUICK)
    upstream.gate.clear()
    openai, gemini = await asyncio.gather(
        gateway.images(headers={"Holdfast-Timeout": "1.5"}), gateway.gemini(headers={"Holdfast-Timeout": "1.5"})
    )
    assert (openai.status, openai.error["code"]) == (200, "deadline_exceeded")
    assert (gemini.status, gemini.error["status"]) == (200, "DEADLINE_EXCEEDED")


async def test_an_image_within_the_callers_deadline_is_an_ordinary_success(gateway: Any, upstream: Any) -> None:
    """And its timer finds nothing left to do."""
    answer = await gateway.images(headers={"Holdfast-Timeout": "1.5"})
    assert answer.picture() == upstream.pictures[0]
    await asyncio.sleep(1.55)
    resource = await gateway.resource(answer.generation_id)
    assert (resource["status"], resource["late"]) == ("succeeded", False)


async def test_a_deadline_that_is_none_is_refused(gateway: Any, upstream: Any) -> None:
    """Seconds above 0 and at most an hour."""
    for said in ("0", "-1", "soon", "1e3", "3601", "nan"):
        answer = await gateway.images(headers={"Holdfast-Timeout": said})
        assert (answer.status, answer.error["param"]) == (400, "Holdfast-Timeout")
    assert upstream.asked == []


async def test_a_waiting_generation_tells_how_it_stands(start: Any, upstream: Any) -> None:
    """State, attempt and progress, while it is being made; all of it changes when it has ended."""
    gateway = await start(latency={"scale": 0.001})
    upstream.gate.clear()
    asking = asyncio.create_task(gateway.images())
    await upstream.was_asked()
    (id_,) = gateway.read(lambda conn: [row[0] for row in conn.execute("SELECT id FROM generation")])
    running = await gateway.resource(id_)
    assert (running["status"], running["attempts"][0]["status"]) == ("running", "sent")
    assert running["cost"]["held_micros"] == 134_000
    assert 0.0 <= running["progress"]["fraction"] <= 1.0
    assert running["finished_at"] is None
    upstream.gate.set()
    await asking
    ended = await gateway.resource(id_)
    assert (ended["status"], ended["progress"], ended["cost"]["held_micros"]) == ("succeeded", None, 0)
    assert (ended["paid"], ended["cost"]["charged_micros"]) == ("yes", 134_000)
    assert json.dumps(ended).find("Qx7Zt") == -1
