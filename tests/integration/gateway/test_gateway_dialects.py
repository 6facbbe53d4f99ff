"""A caller of either API gets its image from an upstream of either API: the same bytes that the upstream drew."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import http.client
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest

MODELS = ["nano-banana-pro", "gpt-image-2"]
PRICE = {"nano-banana-pro": 134_000}


def sha256(data: bytes) -> str:
    """Spell a digest as records do."""
    return hashlib.sha256(data).hexdigest()


def stops_at_part(number: int) -> Callable[[Any, Any], Awaitable[None]]:
    """Give an upstream that fails one part of a generation, and draws a picture that names each other part."""

    async def script(asked: Any, reply: Any) -> None:
        part = int(asked.headers["idempotency-key"].split(".")[1])
        if part == number:
            await reply.answer({"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "no"}}, status=400)
        else:
            await reply.pictures(PART_PICTURES[part])

    return script


PART_PICTURES: list[bytes] = []


@pytest.mark.parametrize("model", MODELS)
async def test_delivered_stored_and_drawn_are_the_same_bytes(gateway: Any, upstream: Any, model: str) -> None:
    """I11: what the upstream sent, what lies in the blob store and what the caller decodes have one digest."""
    answer = await gateway.images(model=model)
    (drawn,) = upstream.pictures
    assert answer.status == 200
    assert answer.picture() == drawn
    assert gateway.stored(answer.generation_id) == [drawn]
    (blob,) = gateway.record(answer.generation_id).results
    assert (blob.sha256, blob.bytes, blob.mime) == (sha256(drawn), len(drawn), "image/png")


@pytest.mark.parametrize("model", MODELS)
async def test_an_openai_answer_carries_both_image_and_link(gateway: Any, upstream: Any, model: str) -> None:
    """Programs that read either of them work without asking for it."""
    answer = await gateway.images(model=model, size="1024x1024")
    (item,) = answer.json["data"]
    assert base64.b64decode(item["b64_json"]) == upstream.pictures[0]
    assert (await gateway.ask("GET", item["url"], headers={})).body == upstream.pictures[0]
    assert item["size"] == "64x64"
    assert answer.json["size"] == "64x64"
    assert answer.json["output_format"] == "png"
    assert answer.json["usage"]["total_tokens"] == 12
    assert answer.json["generation_id"] == answer.generation_id


async def test_response_format_url_leaves_the_image_out(gateway: Any, upstream: Any) -> None:
    """The link is what was asked for."""
    answer = await gateway.images(response_format="url")
    (item,) = answer.json["data"]
    assert set(item) == {"url", "size"}
    assert (await gateway.ask("GET", item["url"], headers={})).body == upstream.pictures[0]


async def test_three_images_of_a_gemini_upstream_are_three_parts(gateway: Any, upstream: Any, a_png: Any) -> None:
    """It makes one a call: each part is an attempt of its own, and `data` has their order."""
    PART_PICTURES[:] = [a_png() for _ in range(3)]
    upstream.script = stops_at_part(-1)
    answer = await gateway.images(n=3)
    assert [answer.picture(at) for at in range(3)] == PART_PICTURES
    keys = sorted(asked.headers["idempotency-key"] for asked in upstream.asked)
    assert keys == [f"{answer.generation_id}.{part}.0" for part in range(3)]
    resource = await gateway.resource(answer.generation_id)
    assert sorted(attempt["part"] for attempt in resource["attempts"]) == [0, 1, 2]
    assert resource["cost"]["charged_micros"] == 3 * PRICE["nano-banana-pro"]


async def test_three_images_of_an_openai_upstream_are_one_call(gateway: Any, upstream: Any) -> None:
    """It makes ten a call."""
    answer = await gateway.images(model="gpt-image-2", n=3, quality="low", size="1024x1024")
    assert [answer.picture(at) for at in range(3)] == upstream.pictures
    assert [asked.json["n"] for asked in upstream.asked] == [3]


async def test_a_part_that_fails_is_not_paid_and_the_others_are_delivered(
    gateway: Any, upstream: Any, a_png: Any
) -> None:
    """One image or more is a success: `data` has what exists, the rest of the hold is given back."""
    PART_PICTURES[:] = [a_png() for _ in range(3)]
    upstream.script = stops_at_part(1)
    answer = await gateway.images(n=3)
    assert answer.status == 200
    assert [answer.picture(at) for at in range(2)] == [PART_PICTURES[0], PART_PICTURES[2]]
    assert len(answer.json["data"]) == 2
    resource = await gateway.resource(answer.generation_id)
    assert resource["partial_result"] is True
    assert resource["cost"]["charged_micros"] == 2 * PRICE["nano-banana-pro"]
    accounts = {account: micros for verb, account, micros in gateway.ledger(answer.generation_id) if verb == "capture"}
    assert accounts["revenue"] == -2 * PRICE["nano-banana-pro"]


@pytest.mark.parametrize("model", MODELS)
async def test_an_openai_stream_ends_with_the_image(gateway: Any, upstream: Any, model: str) -> None:
    """Whichever API drew it, the caller sees `image_generation.completed`, with usage."""
    answer = await gateway.images(model=model, stream=True)
    assert answer.headers["content-type"] == "text/event-stream"
    ((name, event),) = answer.events()
    assert name == event["type"] == "image_generation.completed"
    assert base64.b64decode(event["b64_json"]) == upstream.pictures[0]
    assert event["usage"]["total_tokens"] == 12
    assert upstream.asked[0].streams


@pytest.mark.parametrize("model", MODELS)
async def test_a_stream_of_two_has_one_event_for_each(gateway: Any, upstream: Any, model: str) -> None:
    """Usage is told once, with the last: readers add up what events tell."""
    answer = await gateway.images(model=model, stream=True, n=2)
    events = [event for _, event in answer.events()]
    assert {base64.b64decode(event["b64_json"]) for event in events} == set(upstream.pictures)
    assert [event["usage"]["total_tokens"] for event in events] == [0, 24]


@pytest.mark.parametrize("model", ["gemini-3-pro-image", "gpt-image-2"])
@pytest.mark.parametrize("stream", [False, True])
async def test_gemini_callers_are_served_under_both_versions(
    gateway: Any, upstream: Any, model: str, stream: bool
) -> None:
    """google-genai 3 asks under /v1, older ones under /v1beta; plain and streamed, by either upstream."""
    for version in ("v1", "v1beta"):
        answer = await gateway.gemini(version=version, model=model, stream=stream)
        drawn = upstream.pictures[-1]
        assert answer.status == 200
        assert answer.headers["content-type"] == ("text/event-stream" if stream else "application/json")
        documents = [event for _, event in answer.events()] if stream else [answer.json]
        parts = [part for each in documents for one in each["candidates"] for part in one["content"]["parts"]]
        (inline,) = [part["inlineData"] for part in parts if "inlineData" in part]
        assert base64.b64decode(inline["data"]) == drawn
        assert inline["mimeType"] == "image/png"
        assert documents[-1]["candidates"][0]["finishReason"] == "STOP"
        assert documents[-1]["usageMetadata"]["totalTokenCount"] == 12
        assert gateway.stored(answer.generation_id) == [drawn]


async def test_what_gemini_says_beside_the_image_comes_back_unchanged(gateway: Any, upstream: Any, a_png: Any) -> None:
    """Text and `thoughtSignature` belong to the next turn of a conversation."""
    document: dict[str, Any] = {}

    async def script(asked: Any, reply: Any) -> None:
        document.update(asked.document(a_png()))
        document["candidates"][0]["content"]["parts"][1]["thoughtSignature"] = "Cs4B" * 100
        document["candidates"][0]["safetyRatings"] = [{"category": "HARM", "probability": "LOW"}]
        await reply.answer(document)

    upstream.script = script
    assert (await gateway.gemini()).json == document


async def test_drafts_are_kept_and_the_last_image_is_the_result(gateway: Any, upstream: Any, a_png: Any) -> None:
    """OpenAI callers get what was meant, Gemini callers every part; both records list the drafts."""
    pictures = [a_png() for _ in range(3)]
    upstream.gives(*pictures)
    answer = await gateway.images()
    assert len(answer.json["data"]) == 1
    assert answer.picture() == pictures[2]
    resource = await gateway.resource(answer.generation_id)
    assert [image["sha256"] for image in resource["images"]] == [sha256(pictures[2])]
    assert [image["sha256"] for image in resource["drafts"]] == [sha256(pictures[0]), sha256(pictures[1])]
    draft = await gateway.ask("GET", resource["drafts"][0]["url"], headers={})
    assert draft.body == pictures[0]
    same = await gateway.gemini()
    assert [same.picture(at) for at in range(3)] == pictures


async def test_every_generation_answer_tells_where_it_can_be_collected(gateway: Any) -> None:
    """The headers leave first, so that a caller who is cut can come back."""
    first, second = await gateway.images(), await gateway.gemini()
    for answer in (first, second):
        assert answer.generation_id.startswith("gen_")
        assert answer.headers["location"] == f"/v1/generations/{answer.generation_id}"
        assert answer.headers["cache-control"] == "no-store, no-transform"
        assert answer.headers["x-accel-buffering"] == "no"
        assert answer.headers["holdfast-served-by"] == "google/gemini-3-pro-image"
        timing = dict(each.split(";dur=") for each in answer.headers["server-timing"].split(", "))
        assert set(timing) == {"queue", "upstream", "store", "send"}
        assert all(float(spent_ms) >= 0 for spent_ms in timing.values())
        assert (await gateway.ask("GET", answer.headers["location"])).json["id"] == answer.generation_id
    assert first.headers["x-request-id"] != second.headers["x-request-id"]


async def test_what_is_honoured_and_what_is_ignored_is_told(gateway: Any) -> None:
    """Neither a preference nor a field without effect passes in silence."""
    prefer = {"Prefer": "heartbeat=7, return=minimal"}
    answer = await gateway.images(quality="high", background="auto", colour="blue", headers=prefer)
    assert answer.headers["preference-applied"] == "heartbeat=7"
    assert answer.headers["holdfast-ignored"] == "quality, colour"
    plain = await gateway.images()
    assert not {"preference-applied", "holdfast-ignored"} & set(plain.headers)


async def test_a_field_name_cannot_write_headers(gateway: Any) -> None:
    """Ignored fields are named in a header, with nothing in it that a header cannot hold."""
    answer = await gateway.images(**{"a\r\nSet-Cookie: b": 1, "ünï": 2})
    assert answer.status == 200
    assert "set-cookie" not in answer.headers
    assert answer.headers["holdfast-ignored"] == "a??Set-Cookie: b, ?n?"


async def test_the_upstream_gets_its_own_key_and_never_the_callers(gateway: Any, upstream: Any) -> None:
    """Each API's credential header, the size in its own words, and the time it has."""
    await gateway.images(size="4096x4096")
    await gateway.images(model="gpt-image-2", size="1536x1024", quality="low")
    google, openai = upstream.asked
    assert google.path == "/v1beta/models/gemini-3-pro-image:generateContent"
    assert google.headers["x-goog-api-key"].startswith("upstream-secret")
    assert google.headers["x-server-timeout"] == "5"
    assert google.json["generationConfig"]["imageConfig"] == {"aspectRatio": "1:1", "imageSize": "4K"}
    assert openai.path == "/v1/images/generations"
    assert openai.headers["authorization"].startswith("Bearer upstream-secret")
    assert openai.json["size"] == "2496x1664"
    for asked in upstream.asked:
        assert gateway.key not in asked.body.decode() + json.dumps(asked.headers)


async def test_a_gemini_body_travels_on_as_it_was_written(gateway: Any, upstream: Any) -> None:
    """Tools, safety settings and seeds are between the caller and Google."""
    more = {"safetySettings": [{"category": "HARM", "threshold": "OFF"}], "generationConfig": {"seed": 7}}
    await gateway.gemini(**more)
    assert {name: upstream.asked[0].json[name] for name in more} == more


async def test_reference_images_are_kept_apart_and_sent_as_they_came(gateway: Any, upstream: Any, a_png: Any) -> None:
    """An input image is stored by its digest, is no part of the row, and reaches the upstream byte for byte."""
    picture = a_png(noise_bytes=300_000)
    inline = {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(picture).decode()}}
    text = {"text": "the same, marker Qx7Zt"}
    answer = await gateway.gemini(contents=[{"role": "user", "parts": [text, inline]}])
    assert answer.status == 200
    assert upstream.asked[0].json["contents"][0]["parts"] == [text, inline]
    assert (gateway.data / "inputs" / sha256(picture)).read_bytes() == picture
    assert len(gateway.record(answer.generation_id).generation.request) < 2_000


async def test_without_a_model_the_default_route_serves(gateway: Any) -> None:
    """`nano-banana-pro`, whatever else there is; its aliases are the same model."""
    for fields in ({}, {"model": "gemini-3-pro-image"}, {"model": "nano-banana-pro"}):
        answer = await gateway.images(**fields)
        assert gateway.record(answer.generation_id).generation.model == "nano-banana-pro"


async def test_the_standard_library_and_httpx_read_the_same_image(gateway: Any, upstream: Any) -> None:
    """Callers that are no SDK, with what they send by themselves."""
    body = json.dumps({"prompt": "a lighthouse, marker Qx7Zt"}).encode()
    headers = {"Authorization": f"Bearer {gateway.key}", "Content-Type": "application/json"}

    def ask() -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=5)
        connection.request("POST", "/v1/images/generations", body=body, headers=headers)
        answer = connection.getresponse().read()
        connection.close()
        return answer

    by_http_client = json.loads(await asyncio.to_thread(ask))
    async with httpx2.AsyncClient(base_url=gateway.running.base_url, headers=headers) as client:
        by_httpx = (await client.post("/v1/images/generations", content=body)).json()
    got = [base64.b64decode(each["data"][0]["b64_json"]) for each in (by_http_client, by_httpx)]
    assert got == upstream.pictures
