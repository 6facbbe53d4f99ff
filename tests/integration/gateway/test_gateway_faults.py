"""Our own faults: the caller is told honestly, the others notice nothing, and what was bought is kept."""

from __future__ import annotations

import asyncio
import base64
import socket
from typing import Any

import pytest

from holdfast.engine.watchers import Ended
from holdfast.errors import StorageError
from holdfast.gateway.call import Call
from holdfast.gateway.dialects import OpenAIDialect
from holdfast.store.joining import enter

QUICK = {"first_beat_s": 0.1, "beat_s": 0.1}
STREAMED = {"prompt": "a lighthouse, marker Qx7Zt", "model": "gpt-image-2", "quality": "low", "size": "1024x1024"}


async def test_a_fault_before_acceptance_is_500_and_claims_nothing(
    gateway: Any, upstream: Any, journal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In either dialect, with the request's id to look for in the log; `paid` is unknown, since we do not know."""

    async def broken(*_: Any) -> str:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(gateway.made.engine, "enter", broken)
    openai, gemini = await gateway.images(), await gateway.gemini()
    assert (openai.status, openai.error["code"], openai.error["paid"]) == (500, "internal_error", "unknown")
    assert (gemini.status, gemini.error["status"], gemini.error["paid"]) == (500, "INTERNAL", "unknown")
    for answer in (openai, gemini):
        assert answer.headers["x-should-retry"] == "false"
        assert answer.headers["x-request-id"] in answer.error["message"]
    assert [fault["request_id"] for fault in journal.of("fault.internal")] == [
        openai.headers["x-request-id"],
        gemini.headers["x-request-id"],
    ]
    monkeypatch.undo()
    assert (await gateway.images()).status == 200


async def test_a_disk_that_does_not_take_the_request_is_told_before_anything_is_bought(
    gateway: Any, upstream: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 and nothing paid: what was never accepted was never sent."""
    write = gateway.core.store.write

    async def full(function: Any, *arguments: Any, **more: Any) -> Any:
        if function is enter:
            raise StorageError("The database could not be used: database or disk is full.", reason="full")
        return await write(function, *arguments, **more)

    monkeypatch.setattr(gateway.core.store, "write", full)
    openai, gemini = await gateway.images(), await gateway.gemini()
    assert (openai.status, openai.error["code"], openai.error["paid"]) == (503, "storage_low", "no")
    assert (gemini.status, gemini.error["status"], gemini.error["paid"]) == (503, "UNAVAILABLE", "no")
    assert openai.headers["x-should-retry"] == gemini.headers["x-should-retry"] == "true"
    assert upstream.asked == []
    monkeypatch.undo()
    assert (await gateway.images()).status == 200


@pytest.mark.parametrize("late", [False, True])
async def test_an_end_that_could_not_be_recorded_is_told_as_unknown(
    start: Any, upstream: Any, journal: Any, late: bool
) -> None:
    """The engine lets nobody wait for what cannot come; a record without an end is no success without images."""
    gateway = await start(heartbeat=QUICK)
    upstream.gate.clear()
    prefer = {} if late else {"Prefer": "heartbeat=0"}
    asking = asyncio.create_task(gateway.images(headers={**prefer, "x-stainless-lang": "js"}))
    await upstream.was_asked()
    if late:
        await journal.has("beat.committed")
    (id_,) = gateway.read(lambda conn: [row[0] for row in conn.execute("SELECT id FROM generation")])
    gateway.core.watchers.notify(id_, Ended())
    answer = await asking
    if late:
        assert answer.status == 200
        assert f"holdfast: generation {id_} failed: outcome_unknown" in answer.body.decode()
    else:
        assert (answer.status, answer.error["code"], answer.error["paid"]) == (502, "outcome_unknown", "unknown")
        assert answer.error["generation_id"] == id_
    upstream.gate.set()
    resource = await gateway.resource_once(id_, "succeeded")
    image = await gateway.ask("GET", resource["images"][0]["url"], headers={})
    assert image.body == upstream.pictures[0]


async def test_a_fault_after_the_first_beat_breaks_the_body_off(
    start: Any, upstream: Any, journal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half an answer must not look like a whole one; the image is kept, and the next caller is served."""
    gateway = await start(heartbeat=QUICK)
    upstream.gate.clear()
    wire = await gateway.dial()
    await wire.send(gateway.post())
    answer = await wire.head()

    def broken(*_: Any) -> None:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(OpenAIDialect, "success", broken)
    upstream.gate.set()
    rest = await wire.rest()
    assert set(rest) <= set(b"1\r\n")
    assert not rest.endswith(b"0\r\n\r\n")
    await journal.has("fault.internal")
    monkeypatch.undo()
    resource = await gateway.resource(answer.generation_id)
    assert (resource["status"], len(resource["images"])) == ("succeeded", 1)
    assert gateway.record(answer.generation_id).generation.collected_at is None
    repeat = await gateway.images()
    assert (repeat.generation_id, repeat.picture()) == (answer.generation_id, upstream.pictures[0])
    assert (await gateway.images()).picture() == upstream.pictures[1]


async def test_a_preview_that_is_gone_before_a_slow_reader_can_take_it_is_left_out(
    start: Any, upstream: Any, a_png: Any
) -> None:
    """Previews live until the attempt ends; a reader that is behind gets what is there, then the image."""
    gateway = await start(heartbeat=QUICK)
    first, second, final = a_png(noise_bytes=6_000_000), a_png(), a_png()
    upstream.gives(final, partials=[first, second])
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", gateway.port))
    wire = await gateway.dial(sock=sock, limit=1 << 16)
    await wire.send(gateway.post({**STREAMED, "stream": True, "partial_images": 2}))
    answer = await wire.head()
    await gateway.resource_once(answer.generation_id, "succeeded")
    await asyncio.sleep(0.1)
    answer.body = await wire.chunks(within_s=10)
    events = [event["type"].rpartition(".")[2] for _, event in answer.events()]
    assert events in (["partial_image", "completed"], ["partial_image", "partial_image", "completed"])
    assert gateway.stored(answer.generation_id) == [final]


async def test_a_preview_whose_file_goes_while_its_event_is_written_arrives(
    start: Any, upstream: Any, a_png: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow reader holds up the event's first bytes until the attempt is settled; the image must not be lost by it."""
    gateway = await start(heartbeat=QUICK)
    preview, final, resumes, write = a_png(), a_png(), asyncio.Event(), Call.write
    upstream.gives(final, partials=[preview])

    async def slowly(self: Call, data: bytes) -> None:
        await write(self, data)
        if b"partial_image" in data:
            await resumes.wait()

    monkeypatch.setattr(Call, "write", slowly)
    wire = await gateway.dial()
    await wire.send(gateway.post({**STREAMED, "stream": True, "partial_images": 1}))
    answer = await wire.head()
    await gateway.resource_once(answer.generation_id, "succeeded")
    await is_emptied(gateway)
    resumes.set()
    answer.body = await wire.chunks(within_s=10)
    assert pictures_of(answer) == [preview, final]


async def test_a_preview_that_is_gone_before_it_could_be_opened_is_left_out(
    start: Any, upstream: Any, a_png: Any, journal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of its event is written, not even the 200 is spent for it, and the wait goes on to the image."""
    gateway = await start(heartbeat={"first_beat_s": 60.0, "beat_s": 60.0})
    final, gone, partial = a_png(), [], OpenAIDialect.partial

    def settled(self: OpenAIDialect, *arguments: Any) -> Any:
        for file in (gateway.data / "spool").glob("*.preview"):
            file.unlink()
            gone.append(file)
        return partial(self, *arguments)

    async def script(asked: Any, reply: Any) -> None:
        await reply.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        await reply.write(*asked.events(partials=[a_png()]))
        while not gone:
            await asyncio.sleep(0.01)
        await reply.write(*asked.events(final))

    upstream.script = script
    monkeypatch.setattr(OpenAIDialect, "partial", settled)
    answer = await gateway.images(**{**STREAMED, "stream": True, "partial_images": 1})
    assert "content-length" in answer.headers
    assert pictures_of(answer) == [final]
    assert journal.of("fault.internal") == []


async def is_emptied(gateway: Any) -> None:
    """Wait until nothing is left in the spool."""
    async with asyncio.timeout(10):
        while any((gateway.data / "spool").iterdir()):
            await asyncio.sleep(0.01)


def pictures_of(answer: Any) -> list[bytes]:
    """What a stream showed, previews first."""
    return [base64.b64decode(event["b64_json"]) for _, event in answer.events()]
