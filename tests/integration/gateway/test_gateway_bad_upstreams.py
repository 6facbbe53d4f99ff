"""What upstreams do wrong: each is a classified failure with its charge, and what is paid for and whole is taken."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import socket
from typing import Any

import pytest

PRO_MICROS = 134_000
CHEAP = {"model": "gpt-image-2", "quality": "low", "size": "1024x1024"}
STREAMED = {**CHEAP, "stream": True, "prompt": "a lighthouse, marker Qx7Zt"}


def openai_images(*coded: str) -> bytes:
    """Write an OpenAI answer."""
    return json.dumps({"created": 1, "data": [{"b64_json": each} for each in coded]}).encode()


def cut_body(asked: Any, drawn: bytes) -> bytes:
    """Write two thirds of a good answer: of a picture that weighs more than what stands behind it."""
    body = json.dumps(asked.document(drawn)).encode()
    return body[: len(body) * 2 // 3]


BOOKED = {
    "no": {"hold", "void"},
    "unknown": {"hold", "void", "exposure"},
    "yes": {"hold", "capture", "compensate", "cost"},
}
"""Verbs by what the upstream may have charged."""


async def told_twice(gateway: Any, journal: Any, *, code: str, status: int, paid: str, google: tuple[int, str]) -> Any:
    """Ask in both dialects; caller, record, ledger and log must tell the same; give the OpenAI answer's record.

    Args:
        gateway: Its upstream is scripted already.
        journal: The log.
        code: As the record has it.
        status: To the OpenAI caller.
        paid: What the upstream may have charged.
        google: Code and status to the Gemini caller.
    """
    openai = await gateway.images()
    gateway.forgive()
    gemini = await gateway.gemini()
    gateway.forgive()
    assert (openai.status, openai.error["holdfast_code"], openai.error["paid"]) == (status, code, paid)
    assert (gemini.status, gemini.error["status"], gemini.error["paid"]) == (*google, paid)
    for answer in (openai, gemini):
        assert not {"data", "candidates"} & set(answer.json)
        assert answer.headers["x-should-retry"] == str(answer.error["retryable"]).lower()
        if paid != "no":
            assert answer.headers["x-should-retry"] == "false"
        resource = await gateway.resource(answer.generation_id)
        assert (resource["status"], resource["error"]["code"], resource["paid"]) == ("failed", code, paid)
        (attempt,) = resource["attempts"]
        assert attempt["charge"] == paid
        assert resource["images"] == []
        # Whatever it cost, its caller pays nothing for it.
        charged = PRO_MICROS if paid == "yes" else 0
        cost = resource["cost"]
        assert (cost["charged_micros"], cost["compensated_micros"], cost["held_micros"]) == (charged, charged, 0)
        lines = gateway.ledger(answer.generation_id)
        assert {verb for verb, _, _ in lines} == BOOKED[paid]
        assert sum(micros for _, account, micros in lines if account.startswith("customer:")) == 0
        taken = sum(micros for _, account, micros in lines if account.startswith("provider:"))
        assert taken == (0 if paid == "no" else -PRO_MICROS)
        (finished,) = [each for each in journal.of("generation.finished") if each["generation_id"] == resource["id"]]
        assert (finished["state"], finished["code"], finished["paid"]) == ("failed", code, paid)
    return gateway.record(openai.generation_id)


MALFORMED = {"code": "upstream_failed", "status": 502, "paid": "yes", "google": (500, "INTERNAL")}
LOST = {"code": "outcome_unknown", "status": 502, "paid": "unknown", "google": (504, "DEADLINE_EXCEEDED")}


async def test_answers_that_hold_no_whole_image_are_paid_and_never_delivered(
    gateway: Any, upstream: Any, journal: Any, a_png: Any
) -> None:
    """Invalid base64, base64 that is no image, an image that is cut, pages of HTML, JSON that breaks: `malformed`."""
    good = base64.b64encode(a_png()).decode()
    candidate = '{"candidates":[{"content":{"parts":[{"inlineData":{"data":"%s"}}]},"finishReason":"STOP"}]}'
    bodies = [
        (candidate % (good[:40] + "!!" + good[40:])).encode(),
        (candidate % good[:-3]).encode(),
        (candidate % base64.b64encode(b"no image, though it is long enough to be one").decode()).encode(),
        (candidate % base64.b64encode(a_png()[:-30]).decode()).encode(),
        (candidate % base64.b64encode(a_png()[:20]).decode()).encode(),
        b"<html><body>502 Bad Gateway</body></html>",
        b"",
        b"[[[",
    ]
    for body in bodies:
        upstream.answers(body)
        record = await told_twice(gateway, journal, **MALFORMED)
        assert record.attempts[0].failed.kind == "malformed"
        assert record.attempts[0].http_status == 200


async def test_a_document_that_breaks_behind_its_image_is_delivered(gateway: Any, upstream: Any, a_png: Any) -> None:
    """All of the image is there, and paid for."""
    good = base64.b64encode(a_png()).decode()
    part = {"inlineData": {"mimeType": "image/png", "data": good}}
    body = json.dumps({"candidates": [{"content": {"parts": [part]}, "finishReason": "STOP"}]}).encode()
    upstream.answers(body[:-1])
    answer = await gateway.images()
    assert (answer.status, answer.json["data"][0]["b64_json"]) == (200, good)
    resource = await gateway.resource(answer.generation_id)
    assert (resource["status"], resource["paid"]) == ("succeeded", "yes")


async def test_a_200_without_an_image_is_empty(gateway: Any, upstream: Any, journal: Any) -> None:
    """Text where a picture should be: told as `empty_result`, and nobody knows whether it was billed."""
    said = {"candidates": [{"content": {"parts": [{"text": "I would rather not."}]}, "finishReason": "STOP"}]}
    for body in (said, {}, {"candidates": []}):
        upstream.answers(body)
        answer = await gateway.images()
        assert (answer.status, answer.error["holdfast_code"], answer.error["paid"]) == (502, "empty_result", "unknown")
        resource = await gateway.resource(answer.generation_id)
        assert (resource["error"]["code"], resource["paid"]) == ("empty_result", "unknown")
        assert (await gateway.gemini()).status == 200
    upstream.answers({"created": 1, "data": []})
    answer = await gateway.images(**CHEAP)
    assert (answer.status, answer.error["holdfast_code"]) == (502, "empty_result")


async def test_a_body_that_is_cut_is_paid(gateway: Any, upstream: Any, journal: Any, a_png: Any) -> None:
    """The document had begun: by its length, by its chunks, or by a reset, it broke inside."""

    async def short(asked: Any, reply: Any) -> None:
        await reply.answer(cut_body(asked, a_png(noise_bytes=2_000)), headers={"Content-Length": "5000"})

    async def chunked(asked: Any, reply: Any) -> None:
        body = cut_body(asked, a_png(noise_bytes=2_000))
        await reply.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"%x\r\n%s\r\n" % (len(body), body))

    async def garbage(asked: Any, reply: Any) -> None:
        await chunked(asked, reply)
        await reply.write(b"no chunk at all\r\n")

    async def reset(asked: Any, reply: Any) -> None:
        await short(asked, reply)
        await asyncio.sleep(0.05)
        reply.reset()

    for script in (short, chunked, garbage, reset):
        upstream.script = script
        record = await told_twice(gateway, journal, **MALFORMED)
        # Garbage in the same read as the head is found by whoever decodes the head.
        assert record.attempts[0].failed.phase in ("receive", "decode")


async def test_a_redirect_is_not_followed(gateway: Any, upstream: Any, journal: Any) -> None:
    """A credential and a prompt go with the request: whoever answers may not send them elsewhere."""
    upstream.answers(b"", status=307, headers={"Location": f"http://127.0.0.1:{upstream.port}/elsewhere"})
    await told_twice(gateway, journal, **MALFORMED)
    assert {asked.path for asked in upstream.asked} == {"/v1beta/models/gemini-3-pro-image:generateContent"}


async def test_an_answer_that_is_lost_is_unknown(start: Any, upstream: Any, journal: Any) -> None:
    """Closed or reset after the request, silent until the attempt's time is over: it may have been made and charged."""
    gateway = await start(deadlines={"attempt_s": {"1K": 0.4, "2K": 0.4, "4K": 0.4}})

    async def closes(_: Any, reply: Any) -> None:
        reply.writer.close()

    async def resets(_: Any, reply: Any) -> None:
        reply.reset()

    async def stalls(_: Any, reply: Any) -> None:
        await reply.stall()

    async def stalls_after_its_head(_: Any, reply: Any) -> None:
        await reply.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n \n\r\n")
        await reply.stall()

    for script in (closes, resets, stalls, stalls_after_its_head):
        upstream.script = script
        record = await told_twice(gateway, journal, **LOST)
        assert record.attempts[0].failed.kind == "lost_reply"
        assert record.attempts[0].state == "unknown"
        assert len(journal.of("attempt.unknown")) > 0


async def test_a_refused_connection_costs_nothing(start: Any, upstream: Any, journal: Any) -> None:
    """Nothing was sent, and that is what is told."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        base = f"http://127.0.0.1:{sock.getsockname()[1]}"
        nowhere = {"name": "google", "provider": "gemini", "base_url": base, "keys": ["k"]}
        route = {"model": "nano-banana-pro", "aliases": ["gemini-3-pro-image"]}
        route["upstreams"] = [{"upstream": "google", "model": "gemini-3-pro-image"}]
        gateway = await start(upstreams=[nowhere], routes=[route], retry={"attempts_max": 1})
        told = {"code": "upstream_failed", "status": 502, "paid": "no", "google": (503, "UNAVAILABLE")}
        record = await told_twice(gateway, journal, **told)
    assert (record.attempts[0].failed.kind, record.attempts[0].state) == ("unreachable", "rejected")
    why = "cannot connect (ECONNREFUSED); nothing was sent"
    told_of = f"the upstream 'google' ({base.removeprefix('http://')}) cannot be reached: {why}"
    assert record.attempts[0].failed.detail == told_of


STATUSES = [
    (500, {}, "upstream_failed", 502, "unknown", (500, "INTERNAL")),
    (502, {}, "upstream_failed", 502, "unknown", (500, "INTERNAL")),
    (429, {"Retry-After": "9"}, "overloaded", 503, "no", (503, "UNAVAILABLE")),
    (503, {"Retry-After": "300"}, "overloaded", 503, "no", (503, "UNAVAILABLE")),
    (401, {}, "upstream_failed", 502, "no", (503, "UNAVAILABLE")),
    (403, {}, "upstream_failed", 502, "no", (503, "UNAVAILABLE")),
    (504, {}, "outcome_unknown", 502, "unknown", (504, "DEADLINE_EXCEEDED")),
    (400, {}, "invalid_request", 400, "no", (400, "INVALID_ARGUMENT")),
]


async def test_an_error_status_is_classified_by_what_it_says_of_money(start: Any, upstream: Any, journal: Any) -> None:
    """Each with its charge, when no more is tried; a hint to wait is passed on, in whole seconds up to 60."""
    gateway = await start(retry={"sends_max": 1})
    for said, headers, code, status, paid, google in STATUSES:
        for body in ({"error": {"message": f"no: {said}", "status": "SAID"}}, b"<html>no</html>"):
            if body == b"<html>no</html>" and said == 400:
                continue
            upstream.answers(body, status=said, headers=headers)
            await told_twice(gateway, journal, code=code, status=status, paid=paid, google=google)
            answer = await gateway.images()
            gateway.forgive()
            hint = min(60, int(headers["Retry-After"])) if headers else None
            assert answer.headers.get("retry-after") == (None if hint is None else str(hint))
            assert answer.error["retryable"] is (code == "overloaded")


async def test_an_upstream_that_quotes_the_prompt_is_not_repeated(gateway: Any, upstream: Any, journal: Any) -> None:
    """Its own words are passed on where they help the caller, save those that hold prompt or credential."""
    told = []
    for message in ("Bad aspect.", "Bad: a lighthouse in the fog, marker Qx7Zt", "Bad key upstream-secret-Jw4Ru"):
        upstream.answers({"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": message}}, status=400)
        told.append((await gateway.images()).error["message"])
    assert "Bad aspect." in told[0]
    assert "Bad" not in told[1] + told[2]


async def test_a_compressed_answer_is_taken(gateway: Any, upstream: Any, a_png: Any) -> None:
    """It was asked not to, and did; the image is paid for."""
    picture = a_png()

    async def script(asked: Any, reply: Any) -> None:
        assert asked.headers["accept-encoding"] == "identity"
        body = gzip.compress(json.dumps(asked.document(picture)).encode())
        await reply.answer(body, headers={"Content-Encoding": "gzip"})

    upstream.script = script
    for answer in (await gateway.images(), await gateway.gemini()):
        assert answer.picture() == picture


async def test_an_image_of_another_size_is_delivered_as_it_is(gateway: Any, upstream: Any, a_png: Any) -> None:
    """It is paid for: its true size is told, and the record says that it differs."""
    picture = a_png(1024, 768)
    upstream.gives(picture)
    answer = await gateway.images(size="1024x1024")
    assert (answer.picture(), answer.json["data"][0]["size"]) == (picture, "1024x768")
    (image,) = (await gateway.resource(answer.generation_id))["images"]
    assert (image["width"], image["height"], image["size_differs"]) == (1024, 768, True)
    square = a_png(1024, 1024)
    upstream.gives(square)
    answer = await gateway.images(size="1024x1024")
    (image,) = (await gateway.resource(answer.generation_id))["images"]
    assert image["size_differs"] is False


async def test_more_images_than_asked_for_are_kept_and_not_delivered(gateway: Any, upstream: Any, a_png: Any) -> None:
    """An upstream that ignores `n` is paid for what it drew; the customer pays what was asked."""
    pictures = [a_png(), a_png(), a_png()]
    upstream.gives(*pictures)
    answer = await gateway.images(**CHEAP, n=2)
    assert [answer.picture(at) for at in range(2)] == pictures[:2]
    assert len(answer.json["data"]) == 2
    resource = await gateway.resource(answer.generation_id)
    assert (len(resource["images"]), len(resource["drafts"])) == (2, 1)
    one = await gateway.images(**CHEAP)
    spent = [(await gateway.resource(each.generation_id))["cost"]["charged_micros"] for each in (answer, one)]
    assert spent[0] == 2 * spent[1] > 0


async def test_fewer_images_than_asked_for_are_a_partial_result(gateway: Any, upstream: Any, a_png: Any) -> None:
    """What exists is delivered and paid, the rest is given back."""
    picture = a_png()
    upstream.gives(picture)
    answer = await gateway.images(**CHEAP, n=3)
    assert len(answer.json["data"]) == 1
    resource = await gateway.resource(answer.generation_id)
    assert (resource["status"], resource["partial_result"]) == ("succeeded", True)


async def test_a_whole_image_beside_a_broken_one_is_delivered(gateway: Any, upstream: Any, a_png: Any) -> None:
    """One of two results is cut: the other is whole, paid for, and what the caller gets."""
    good, cut = (base64.b64encode(each).decode() for each in (a_png(), a_png()[:-20]))
    upstream.answers(openai_images(cut, good))
    answer = await gateway.images(**CHEAP, n=2)
    assert answer.status == 200
    assert [item["b64_json"] for item in answer.json["data"]] == [good]


async def test_an_answer_that_is_whole_before_its_transfer_ends_is_taken(
    gateway: Any, upstream: Any, a_png: Any
) -> None:
    """The document has closed: a connection that stays open, or breaks afterwards, changes nothing."""
    picture = a_png()

    async def never_ends(asked: Any, reply: Any) -> None:
        body = json.dumps(asked.document(picture)).encode()
        await reply.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"%x\r\n%s\r\n" % (len(body), body))
        await reply.stall()

    async def promises_more(asked: Any, reply: Any) -> None:
        await reply.answer(asked.document(picture), headers={"Content-Length": "99999"})

    for script in (never_ends, promises_more):
        upstream.script = script
        assert (await gateway.images()).picture() == picture


async def test_a_stream_that_breaks_before_its_image_is_unknown(gateway: Any, upstream: Any, a_png: Any) -> None:
    """The head of an event stream, and previews, come before any image; who has seen one gets an error event."""
    seen = asyncio.Event()

    async def script(asked: Any, reply: Any) -> None:
        await reply.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        await reply.write(*asked.events(partials=[a_png()]))
        await seen.wait()
        reply.reset()

    upstream.script = script
    wire = await gateway.dial()
    await wire.send(gateway.post({**STREAMED, "partial_images": 1}))
    answer = await wire.head()
    while b"partial_image" not in answer.body:
        answer.body += await wire.chunk()
    seen.set()
    answer.body += await wire.chunks()
    assert [name for name, _ in answer.events()] == ["image_generation.partial_image", "error"]
    assert answer.events()[1][1]["error"]["code"] == "outcome_unknown"
    unseen = await gateway.images(**STREAMED)
    assert (unseen.status, unseen.error["holdfast_code"], unseen.error["paid"]) == (502, "outcome_unknown", "unknown")


async def test_an_answer_beyond_the_bound_is_refused(start: Any, upstream: Any, a_png: Any, journal: Any) -> None:
    """Larger than `response_bytes_max` is malformed, and paid; what fits is taken."""
    gateway = await start(store={"image_bytes_max": 50_000, "response_bytes_max": 200_000})
    upstream.gives(a_png(noise_bytes=300_000))
    await told_twice(gateway, journal, **MALFORMED)
    upstream.gives(a_png(noise_bytes=30_000))
    assert (await gateway.images()).status == 200


@pytest.mark.parametrize("model", ["nano-banana-pro", "gpt-image-2"])
async def test_a_relay_that_keeps_its_caller_with_white_space_is_understood(
    gateway: Any, upstream: Any, a_png: Any, model: str
) -> None:
    """Another holdfast upstream, say: beats before the document are white space of JSON."""
    picture = a_png()

    async def script(asked: Any, reply: Any) -> None:
        await reply.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(3):
            await reply.write(b"1\r\n\n\r\n")
        body = json.dumps(asked.document(picture)).encode()
        await reply.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))

    upstream.script = script
    answer = await gateway.images(model=model, quality="low", size="1024x1024")
    assert answer.picture() == picture
