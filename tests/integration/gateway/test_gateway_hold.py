"""Holding a caller: silence, then 200 and a line feed now and then, then the answer, in every dialect and version."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from collections.abc import Sequence
from typing import Any

import httpx2
import pytest

from holdfast.gateway.answer import FilePieces

DATA_SEGMENTS_IN_AT = 152
"""Offset of `tcpi_data_segs_in` in the kernel's `struct tcp_info` (include/uapi/linux/tcp.h)."""
FIRST_BEAT_S = 0.15
BEAT_S = 0.1
QUICK = {"first_beat_s": FIRST_BEAT_S, "beat_s": BEAT_S}
PATIENT = {"first_beat_s": 20.0, "beat_s": 10.0}

OPENAI_PYTHON = {"x-stainless-lang": "python", "user-agent": "OpenAI/Python 3.54.0"}
LAST_TRY = {**OPENAI_PYTHON, "x-stainless-retry-count": "2"}
OPENAI_NODE = {"x-stainless-lang": "js", "user-agent": "OpenAI/JS 7.57.0"}
GOOGLE_GENAI = {"x-goog-api-client": "google-genai-sdk/3.4.0 gl-python/3.11.7"}
HTTPX = {"user-agent": "python-httpx/0.28.1"}
CURL = {"user-agent": "curl/7.88.1"}
ASKED = {"prompt": "a lighthouse, marker Qx7Zt"}
GEMINI_ASKED = {"contents": [{"parts": [{"text": "a lighthouse, marker Qx7Zt"}]}]}
GEMINI_PLAIN = "/v1beta/models/gemini-3-pro-image:generateContent"
GEMINI_STREAM = "/v1beta/models/gemini-3-pro-image:streamGenerateContent?alt=sse"
STREAMED = {**ASKED, "model": "gpt-image-2", "quality": "low", "size": "1024x1024", "stream": True}


async def fail_late(gateway: Any, upstream: Any, posts: Sequence[bytes]) -> list[Any]:
    """Post all at once, wait until each has heard a beat, let the upstream fail with 500; give the whole answers."""
    upstream.gate.clear()
    upstream.answers({"error": {"message": "boom", "type": "server_error"}}, status=500)
    wires = [await gateway.dial() for _ in posts]
    answers = []
    for wire, post in zip(wires, posts, strict=True):
        await wire.send(post)
    for wire in wires:
        answers.append(await wire.head())
        await wire.beats(1)
    upstream.gate.set()
    for wire, answer in zip(wires, answers, strict=True):
        answer.body = await wire.chunks()
        # The answer ended as it should: the connection is still good.
        await wire.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await wire.answer()).status == 200
        resource = await gateway.resource(answer.generation_id)
        assert (answer.status, resource["status"]) == (200, "failed")
        assert resource["error"]["code"] == "upstream_failed"
    return answers


async def test_head_and_first_beat_leave_in_one_segment(start: Any, upstream: Any) -> None:
    """A proxy that waits for a body byte passes the status on with it."""
    gateway = await start(heartbeat=QUICK)
    upstream.gate.clear()
    wire = await gateway.dial()
    await wire.send(gateway.post())
    first = await wire.segment()
    assert first.startswith(b"HTTP/1.1 200 OK\r\n")
    assert first.endswith(b"\r\n\r\n1\r\n\n\r\n")
    info = wire.writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 160)
    (segments,) = struct.unpack_from("I", info, DATA_SEGMENTS_IN_AT)
    assert segments == 1
    head = first.lower()
    assert b"\r\ngeneration-id: gen_" in head
    assert b"\r\nlocation: /v1/generations/gen_" in head
    assert b"\r\ncontent-type: application/json\r\n" in head
    assert b"\r\nx-accel-buffering: no\r\n" in head
    assert b"\r\ntransfer-encoding: chunked\r\n" in head
    assert b"content-length" not in head


async def test_a_beat_to_http_1_0_fills_a_buffer(start: Any, upstream: Any) -> None:
    """A second hop that speaks it holds back what does not: 4 KiB at a time, and still only white space."""
    gateway = await start(heartbeat=QUICK)
    upstream.gate.clear()
    wire = await gateway.dial()
    await wire.send(gateway.post(version="1.0"))
    answer = await wire.head()
    for _ in range(2):
        assert await wire.reader.readexactly(4_096) == b"\n" * 4_096
    upstream.gate.set()
    answer.body = await wire.rest()
    assert len(answer.body) - len(answer.body.lstrip(b"\n")) in range(0, 50 * 4_096, 4_096)
    assert answer.picture() == upstream.pictures[0]


async def test_beats_come_at_their_interval_until_the_answer(start: Any, upstream: Any, journal: Any) -> None:
    """Never early, one byte each, and then the document: white space before it is still JSON."""
    gateway = await start(heartbeat=QUICK)
    upstream.gate.clear()
    wire = await gateway.dial()
    began = time.monotonic()
    await wire.send(gateway.post())
    answer = await wire.head()
    moments = await wire.beats(5)
    assert moments[0] - began >= FIRST_BEAT_S
    assert moments[4] - moments[0] >= 3 * BEAT_S
    upstream.gate.set()
    answer.body += await wire.chunks()
    assert answer.picture() == upstream.pictures[0]
    (committed,) = journal.of("beat.committed")
    assert committed == {"generation_id": answer.generation_id, "caller": "other"}


async def test_a_connection_is_used_again_after_a_held_answer(start: Any, upstream: Any) -> None:
    """The chunked body ends properly: the next call on the connection is held just so."""
    gateway = await start(heartbeat=QUICK)
    wire = await gateway.dial()
    for at in range(2):
        upstream.gate.clear()
        await wire.send(gateway.post())
        answer = await wire.head()
        await wire.beats(1)
        upstream.gate.set()
        answer.body += await wire.chunks()
        assert answer.picture() == upstream.pictures[at]


async def test_beats_in_a_stream_are_blank_lines(start: Any, upstream: Any) -> None:
    """Comments and `[DONE]` crash readers of one SDK or another; a blank line is safe in all of them."""
    gateway = await start(heartbeat=QUICK)
    upstream.gate.clear()
    openai, gemini = await gateway.dial(), await gateway.dial()
    await openai.send(gateway.post({**ASKED, "stream": True}))
    await gemini.send(gateway.post(GEMINI_ASKED, path=GEMINI_STREAM))
    answers = []
    for wire in (openai, gemini):
        answers.append(await wire.head())
        assert answers[-1].headers["content-type"] == "text/event-stream"
        await wire.beats(3)
    upstream.gate.set()
    for wire, answer in zip((openai, gemini), answers, strict=True):
        answer.body = await wire.chunks()
        assert len(answer.events()) >= 1


async def test_heartbeat_0_waits_in_silence_for_the_true_status(start: Any, upstream: Any, journal: Any) -> None:
    """Who asked for it never gets a 200 for a failure."""
    gateway = await start(heartbeat=QUICK)
    upstream.gate.clear()
    upstream.answers({"error": {"message": "boom"}}, status=500)
    asking = asyncio.create_task(gateway.images(headers={"Prefer": "heartbeat=0"}))
    await upstream.was_asked()
    await asyncio.sleep(2 * FIRST_BEAT_S)
    upstream.gate.set()
    answer = await asking
    assert answer.status == 502
    assert answer.headers["preference-applied"] == "heartbeat=0"
    assert journal.of("beat.committed") == []


async def test_an_asked_interval_brings_the_first_beat_forward(start: Any, upstream: Any) -> None:
    """`heartbeat=N` names the longest silence that a caller's path bears."""
    gateway = await start(heartbeat=PATIENT)
    upstream.gate.clear()
    wire = await gateway.dial()
    began = time.monotonic()
    await wire.send(gateway.post(headers={"Prefer": "heartbeat=1"}))
    answer = await wire.head(within_s=5)
    assert answer.headers["preference-applied"] == "heartbeat=1"
    assert time.monotonic() - began >= 1.0


async def test_a_caller_known_to_be_impatient_hears_sooner(start: Any, upstream: Any) -> None:
    """Plain httpx gives up after 5 s of silence, and says who it is; scaled, it gives up after 0.8 s."""
    gateway = await start(heartbeat={**PATIENT, "impatient_first_beat_s": 0.1, "impatient_beat_s": 0.1})
    headers = {"Authorization": f"Bearer {gateway.key}"}
    url = f"{gateway.running.base_url}/v1/images/generations"
    for agent, arrives in (({}, True), (CURL, False)):
        upstream.gate.clear()
        async with httpx2.AsyncClient(timeout=httpx2.Timeout(5, read=0.8), headers={**headers, **agent}) as client:
            asking = asyncio.create_task(client.post(url, json=ASKED))
            await asyncio.sleep(1.2)
            upstream.gate.set()
            if arrives:
                answer = await asking
                assert answer.text.startswith("\n")
                assert answer.json()["data"]
            else:
                with pytest.raises(httpx2.ReadTimeout):
                    await asking


async def test_http_1_0_callers_read_until_the_end_of_the_stream(start: Any, upstream: Any, journal: Any) -> None:
    """They know no chunks: beats and document as they are, and the connection's end is the body's."""
    gateway = await start(heartbeat=QUICK)
    upstream.gate.clear()
    wire = await gateway.dial()
    await wire.send(gateway.post(version="1.0"))
    answer = await wire.head()
    assert answer.status == 200
    assert not {"transfer-encoding", "content-length"} & set(answer.headers)
    assert answer.headers["connection"] == "close"
    assert (await wire.segment()).strip(b"\n") == b""
    upstream.gate.set()
    answer.body = await wire.rest()
    assert answer.picture() == upstream.pictures[0]
    await journal.has("caller.collected")


async def test_a_quick_answer_to_http_1_0_has_a_length(gateway: Any, upstream: Any, journal: Any) -> None:
    """Nothing is committed early, so it is known."""
    wire = await gateway.dial()
    await wire.send(gateway.post(version="1.0"))
    answer = await wire.head()
    answer.body = await wire.rest()
    assert int(answer.headers["content-length"]) == len(answer.body)
    assert answer.picture() == upstream.pictures[0]
    await journal.has("caller.collected")


async def test_a_quick_failure_keeps_its_status(start: Any, upstream: Any, journal: Any) -> None:
    """Before the first beat nothing is spent: SDKs see what they know how to handle."""
    gateway = await start(heartbeat=QUICK, retry={"sends_max": 1})
    upstream.answers({"error": {"message": "busy"}}, status=503, headers={"Retry-After": "7"})
    answer = await gateway.images()
    assert answer.status == 503
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["retry-after"] == "7"
    assert answer.headers["x-should-retry"] == "true"
    assert answer.generation_id == answer.error["generation_id"]
    assert journal.of("beat.committed") == []


async def test_a_late_failure_is_told_sdks_as_one_line_of_text(start: Any, upstream: Any) -> None:
    """They raise on it, once, and do not post again; a JSON error inside a 200 they would take for an empty success."""
    gateway = await start(heartbeat=QUICK)
    callers = [LAST_TRY, OPENAI_NODE, GOOGLE_GENAI]
    for answer in await fail_late(gateway, upstream, [gateway.post(headers=caller) for caller in callers]):
        line = answer.body.decode().strip()
        assert "\n" not in line
        assert answer.generation_id in line
        assert "upstream_failed" in line
        with pytest.raises(json.JSONDecodeError):
            json.loads(line)


async def test_a_late_failure_is_told_everybody_else_as_a_json_error(start: Any, upstream: Any) -> None:
    """I15: in the caller's dialect, with nothing in it that looks like an image."""
    gateway = await start(heartbeat={**QUICK, "impatient_first_beat_s": 0.1, "impatient_beat_s": 0.1})
    posts = [gateway.post(headers=HTTPX), gateway.post(headers=CURL)]
    gemini = gateway.post(GEMINI_ASKED, path=GEMINI_PLAIN, headers=CURL)
    answers = await fail_late(gateway, upstream, [*posts, gemini])
    assert [answer.error["code"] for answer in answers] == ["upstream_failed", "upstream_failed", 500]
    assert answers[-1].error["status"] == "INTERNAL"
    for answer in answers:
        assert answer.error["paid"] == "unknown"
        assert answer.error["generation_id"] == answer.generation_id
        assert set(answer.json) == {"error"}


async def test_in_a_stream_every_caller_gets_an_error_event(start: Any, upstream: Any) -> None:
    """It raises in all of them."""
    gateway = await start(heartbeat={**QUICK, "impatient_first_beat_s": 0.1, "impatient_beat_s": 0.1})
    callers = [OPENAI_PYTHON, LAST_TRY, OPENAI_NODE, HTTPX, CURL]
    posts = [gateway.post({**ASKED, "stream": True}, headers=caller) for caller in callers]
    posts.append(gateway.post(GEMINI_ASKED, path=GEMINI_STREAM, headers=GOOGLE_GENAI))
    *answers, gemini = await fail_late(gateway, upstream, posts)
    for answer in answers:
        ((name, event),) = answer.events()
        assert (name, event["error"]["code"]) == ("error", "upstream_failed")
    ((_, event),) = gemini.events()
    assert event["error"]["status"] == "INTERNAL"


REFUSALS = [
    ({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}, "content_refused", "no"),
    ({"candidates": [{"finishReason": "IMAGE_SAFETY", "index": 0}]}, "content_refused", "no"),
    ({"candidates": [{"finishReason": "NO_IMAGE", "index": 0}]}, "empty_result", "unknown"),
]


@pytest.mark.parametrize("is_late", [False, True])
async def test_a_refusal_is_told_gemini_callers_in_googles_own_words(
    start: Any, upstream: Any, journal: Any, is_late: bool
) -> None:
    """It is a 200 there anyway: the upstream's document, unchanged, early or late. The record tells what it was."""
    gateway = await start(heartbeat=QUICK if is_late else PATIENT)
    for count, (said, code, paid) in enumerate(REFUSALS, 1):
        upstream.answers(said)
        if is_late:
            upstream.gate.clear()
        asking = asyncio.create_task(gateway.gemini())
        if is_late:
            await journal.has("beat.committed", count)
        upstream.gate.set()
        answer = await asking
        assert (answer.status, answer.json) == (200, said)
        assert answer.body.startswith(b"\n") is is_late
        resource = await gateway.resource(answer.generation_id)
        assert (resource["status"], resource["error"]["code"], resource["paid"]) == ("failed", code, paid)
        assert resource["cost"]["charged_micros"] == 0


async def test_a_refusal_is_told_openai_callers_as_an_error(gateway: Any, upstream: Any) -> None:
    """In OpenAI's own words for it, and a blind repeat is not invited."""
    for said, code, paid in REFUSALS:
        upstream.answers(said)
        answer = await gateway.images()
        assert answer.status == (400 if code == "content_refused" else 502)
        assert answer.error["code"] == ("moderation_blocked" if code == "content_refused" else "empty_result")
        assert answer.error["paid"] == paid
        assert answer.headers["x-should-retry"] == "false"


async def test_a_refusal_of_an_openai_upstream_is_written_for_gemini_callers(gateway: Any, upstream: Any) -> None:
    """There is no document of Google's to pass on, so one is made."""
    refused = {"error": {"code": "moderation_blocked", "moderation_details": {"moderation_stage": "input"}}}
    upstream.answers(refused, status=400)
    answer = await gateway.gemini(model="gpt-image-2")
    assert answer.status == 200
    assert answer.json["promptFeedback"]["blockReason"] == "PROHIBITED_CONTENT"
    assert not any("content" in each for each in answer.json.get("candidates", []))


async def test_previews_are_passed_on_as_they_come(start: Any, upstream: Any, a_png: Any) -> None:
    """The first of them commits the status; none of them is kept."""
    gateway = await start(heartbeat=PATIENT)
    previews, final, shown = [a_png(), a_png()], a_png(), asyncio.Event()

    async def script(asked: Any, reply: Any) -> None:
        await reply.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        await reply.write(*asked.events(partials=previews))
        await shown.wait()
        await reply.write(*asked.events(final))

    upstream.script = script
    wire = await gateway.dial()
    await wire.send(gateway.post({**STREAMED, "partial_images": 2}))
    answer = await wire.head()
    while answer.body.count(b"\n\n") < 2:
        answer.body += await wire.chunk()
    assert b"partial_image" in answer.body
    shown.set()
    answer.body += await wire.chunks()
    events = [event for _, event in answer.events()]
    kinds = [event["type"].rpartition(".")[2] for event in events]
    assert kinds == ["partial_image", "partial_image", "completed"]
    assert [event.get("partial_image_index") for event in events] == [0, 1, None]
    sent = [type(answer)(200, {}, json.dumps({"data": [event]}).encode()).picture() for event in events]
    assert sent == [*previews, final]
    assert gateway.stored(answer.generation_id) == [final]
    assert gateway.count("blob") == 1


async def test_no_beat_falls_into_a_preview(
    start: Any, upstream: Any, a_png: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a preview is read from a slow disk, beats fall due; inside its data they would break it."""
    gateway = await start(heartbeat={"first_beat_s": 0.02, "beat_s": 0.02})
    preview, final = a_png(noise_bytes=1_000_000), a_png()
    read, pieces = FilePieces.read, []

    async def slowly(self: FilePieces, *arguments: Any) -> memoryview:
        await asyncio.sleep(0.08)
        pieces.append(await read(self, *arguments))
        return pieces[-1]

    async def script(asked: Any, reply: Any) -> None:
        await reply.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        await reply.write(*asked.events(partials=[preview]))
        while len(pieces) < 5:
            await asyncio.sleep(0.01)
        await reply.write(*asked.events(final))

    upstream.script = script
    monkeypatch.setattr(FilePieces, "read", slowly)
    wire = await gateway.dial()
    await wire.send(gateway.post({**STREAMED, "partial_images": 1}))
    answer = await wire.answer(within_s=10)
    events = [event for _, event in answer.events()]
    got = [type(answer)(200, {}, json.dumps({"data": [event]}).encode()).picture() for event in events]
    assert got == [preview, final]


async def test_who_did_not_ask_for_previews_gets_none(gateway: Any, upstream: Any, a_png: Any) -> None:
    """An upstream that sends some anyway changes nothing."""
    final = a_png()
    upstream.gives(final, partials=[a_png(), a_png()])
    answer = await gateway.images(**STREAMED)
    assert [name for name, _ in answer.events()] == ["image_generation.completed"]
    assert gateway.count("blob") == 1
