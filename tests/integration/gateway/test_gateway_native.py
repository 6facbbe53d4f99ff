"""`POST /v1/generations`, and POSTs that would rather be told a status than be held."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from typing import Any

import pytest

PATH = "/v1/generations"
PROMPT = "a lighthouse in the fog, marker Qx7Zt"


async def create(gateway: Any, *, prefer: str = "", key: str | None = None, **fields: Any) -> Any:
    """Ask natively."""
    headers = {"Authorization": f"Bearer {key or gateway.key}", **({"Prefer": prefer} if prefer else {})}
    return await gateway.ask("POST", PATH, headers=headers, json={"prompt": PROMPT, **fields})


def is_accepted(answer: Any) -> str:
    """See that a 202 says all that is needed to come back; give the id."""
    assert answer.status == 202, answer
    id_ = answer.json["id"]
    assert answer.generation_id == id_
    assert answer.headers["location"] == f"{PATH}/{id_}"
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store, no-transform"
    assert answer.json["status"] in ("queued", "running")
    assert answer.json["images"] == []
    return str(id_)


async def test_it_is_accepted_and_made_while_nobody_waits(gateway: Any, upstream: Any) -> None:
    """202 at once, and the image is there when it is asked for."""
    upstream.gate.clear()
    id_ = is_accepted(await create(gateway, model="gemini-3-pro-image", size="4K", aspect_ratio="16:9"))
    record = gateway.record(id_).generation
    assert (record.surface, record.model, record.size) == ("generations", "nano-banana-pro", "5504x3072")
    upstream.gate.set()
    done = await gateway.resource_once(id_, "succeeded")
    (image,) = done["images"]
    assert (await gateway.ask("GET", image["url"], headers={})).body == upstream.pictures[0]
    assert done["cost"]["charged_micros"] == record.held_micros > 0
    assert done["metadata"] is None


@pytest.mark.parametrize("model", ["nano-banana-pro", "gpt-image-2"])
async def test_both_kinds_of_upstream_serve_it(gateway: Any, upstream: Any, model: str) -> None:
    """The native words become the upstream's."""
    answer = await create(gateway, prefer="wait=50", model=model, n=2)
    assert (answer.status, answer.json["status"], len(answer.json["images"])) == (200, "succeeded", 2)
    assert {asked.prompt for asked in upstream.asked} == {PROMPT}


async def test_metadata_is_kept_and_given_back(gateway: Any) -> None:
    """Wherever the generation is told; of the OpenAI surface's callers too."""
    metadata = {"order": "7", "who": "Zoë ☀"}
    id_ = is_accepted(await create(gateway, metadata=metadata))
    await gateway.resource_once(id_, "succeeded")
    openai = await gateway.images(metadata=metadata)
    listed = (await gateway.ask("GET", PATH)).json["data"]
    assert [each["metadata"] for each in listed] == [metadata, metadata]
    assert (await gateway.resource(openai.generation_id))["metadata"] == metadata


async def test_wait_ends_with_the_generation(gateway: Any, upstream: Any) -> None:
    """200 with the ended resource, and what was waited is told."""
    upstream.gate.clear()
    asking = asyncio.create_task(create(gateway, prefer="wait=3600"))
    await upstream.was_asked()
    upstream.gate.set()
    answer = await asking
    assert (answer.status, answer.json["status"]) == (200, "succeeded")
    assert answer.headers["preference-applied"] == "wait=55"
    assert "retry-after" not in answer.headers
    assert answer.headers["location"].endswith(answer.generation_id)


async def test_wait_ends_with_its_time(gateway: Any, upstream: Any) -> None:
    """202 after it, without a byte before."""
    upstream.gate.clear()
    began = time.monotonic()
    answer = await create(gateway, prefer="wait=0.3")
    assert time.monotonic() - began >= 0.29
    id_ = is_accepted(answer)
    assert (answer.json["status"], answer.headers["preference-applied"]) == ("running", "wait=0.3")
    upstream.gate.set()
    await gateway.resource_once(id_, "succeeded")


async def test_a_failure_is_a_resource_too(gateway: Any, upstream: Any) -> None:
    """As `GET` would tell it: the request was good, the answer is the record."""
    upstream.answers({"error": {"message": "no"}}, status=400)
    answer = await create(gateway, prefer="wait=50", model="gpt-image-2")
    assert (answer.status, answer.json["status"]) == (200, "failed")
    assert (answer.json["error"]["code"], answer.json["paid"]) == ("invalid_request", "no")


async def test_reference_images_are_cut_out_or_taken_from_before(gateway: Any, upstream: Any, a_png: Any) -> None:
    """In the order of the list; the one of an earlier generation is kept for this one, whatever becomes of that."""
    earlier = await create(gateway, prefer="wait=50")
    (made,) = upstream.pictures
    sent = [a_png(noise_bytes=90_000), a_png()]
    coded = [base64.b64encode(each).decode() for each in sent]
    images = [
        {"b64": coded[0]},
        {"generation_id": earlier.json["id"], "index": 0},
        {"b64": f"data:image/png;base64,{coded[1]}"},
    ]
    answer = await create(gateway, prefer="wait=50", images=images)
    assert answer.json["status"] == "succeeded", answer
    parts = upstream.asked[-1].json["contents"][-1]["parts"]
    told = [base64.b64decode(part["inlineData"]["data"]) for part in parts if "inlineData" in part]
    assert told == [sent[0], made, sent[1]]
    keys = {path.name for path in (gateway.data / "inputs").iterdir()}
    assert gateway.record(earlier.json["id"]).results[0].sha256 in keys


@pytest.mark.parametrize(
    ("fields", "status", "code", "param", "message"),
    [
        ({"promt": "x"}, 400, "invalid_request", "promt", "Did you mean 'prompt'?"),
        ({"prompt": "x" * 32_001}, 400, "invalid_request", "prompt", "32000 characters"),
        ({"size": "5000x5000"}, 400, "unsupported_size", "size", ""),
        ({"model": "dall-e-3"}, 404, "model_not_found", "model", "Served: "),
        ({"images": [{"url": "http://x.example/y"}]}, 400, "invalid_request", "images[0].url", "https://"),
        ({"images": [{"url": "https://127.0.0.1/y"}]}, 400, "invalid_request", "images[0].url", "loopback"),
        ({"images": [{"b64": "bm8="}]}, 400, "invalid_request", "image", "not a whole PNG"),
        ({"images": [{"generation_id": "gen_1"}]}, 404, "generation_not_found", "images[0]", "no such generation"),
        ({"webhook": {"url": "http://x.example"}}, 400, "invalid_request", "webhook.url", "https://"),
        ({"webhook": {"url": "https://10.0.0.1/"}}, 400, "invalid_request", "webhook.url", "private"),
        ({"webhook": {"url": "https://[::ffff:127.0.0.1]/"}}, 400, "invalid_request", "webhook.url", "IPv4 address"),
        ({"webhook": {"url": "https://169.254.169.254/"}}, 400, "invalid_request", "webhook.url", "metadata"),
        ({"metadata": {"a": 1}}, 400, "invalid_request", "metadata[...]", "text"),
        ({"n": 11}, 400, "invalid_request", "n", "from 1 to 10"),
    ],
)
async def test_what_is_refused_is_a_problem_and_nothing_is_accepted(
    gateway: Any, fields: dict[str, Any], status: int, code: str, param: str, message: str
) -> None:
    """RFC 9457, naming the field."""
    answer = await create(gateway, **fields)
    assert (answer.status, answer.headers["content-type"]) == (status, "application/problem+json")
    assert (answer.json["code"], answer.json["param"], answer.json["paid"]) == (code, param, "no")
    assert message in answer.json["detail"]
    assert gateway.count("generation") == 0
    assert list((gateway.data / "spool").iterdir()) == []


async def test_images_of_others_and_of_the_past_start_nothing(gateway: Any, upstream: Any) -> None:
    """Another key's is as one that never was; one that was deleted is gone."""
    id_ = (await gateway.images()).generation_id
    stranger = await gateway.another_key()
    reference = [{"generation_id": id_, "index": 0}]
    theirs = await create(gateway, key=stranger, images=reference)
    assert (theirs.status, theirs.json["code"], theirs.json["param"]) == (404, "generation_not_found", "images[0]")
    beyond = await create(gateway, images=[{"generation_id": id_, "index": 1}])
    assert (beyond.status, beyond.json["code"]) == (404, "generation_not_found")
    (blob,) = gateway.record(id_).results
    (gateway.data / blob.store_key).unlink()
    gone = await create(gateway, images=reference)
    assert (gone.status, gone.json["code"], gone.json["param"]) == (410, "image_expired", "images[0]")
    assert (gateway.count("generation"), len(upstream.asked)) == (1, 1)


async def test_a_caller_without_a_key_is_told_in_the_same_form(gateway: Any) -> None:
    """Before the body is looked at."""
    answer = await gateway.ask("POST", PATH, headers={}, data=b"{")
    assert (answer.status, answer.headers["content-type"]) == (401, "application/problem+json")


async def test_openais_callers_may_be_told_a_status_at_once(gateway: Any, upstream: Any) -> None:
    """`respond-async`: 202 while the upstream draws."""
    upstream.gate.clear()
    answer = await gateway.images(headers={"Prefer": "respond-async, heartbeat=1"})
    id_ = is_accepted(answer)
    assert answer.headers["preference-applied"] == "respond-async"
    upstream.gate.set()
    await gateway.resource_once(id_, "succeeded")
    assert len(upstream.asked) == 1


async def test_openais_callers_may_wait_in_silence(start: Any, upstream: Any) -> None:
    """`wait=N`: no beat meanwhile, then 202; what is ended by then is the ordinary answer with its true status."""
    gateway = await start(heartbeat={"first_beat_s": 0.1, "beat_s": 0.1})
    upstream.gate.clear()
    wire = await gateway.dial()
    await wire.send(gateway.post(headers={"Prefer": "wait=0.5"}))
    answer = await wire.answer()
    assert (answer.status, answer.body[:1]) == (202, b"{")
    id_ = json.loads(answer.body)["id"]
    upstream.gate.set()
    await gateway.resource_once(id_, "succeeded")
    done = await gateway.images(headers={"Prefer": "wait=50"})
    assert (done.status, done.picture()) == (200, upstream.pictures[-1])
    assert done.headers["preference-applied"] == "wait=50"
    upstream.answers({"error": {"message": "no"}}, status=400)
    failed = await gateway.images(headers={"Prefer": "wait=50"})
    assert (failed.status, failed.error["holdfast_code"]) == (400, "invalid_request")


async def test_a_stream_that_is_waited_for_is_told_at_its_end_only(gateway: Any, upstream: Any, a_png: Any) -> None:
    """A preview would spend the status."""
    upstream.gives(a_png(), partials=[a_png()])
    options = {"model": "gpt-image-2", "stream": True, "partial_images": 1}
    answer = await gateway.images(headers={"Prefer": "wait=50"}, **options)
    assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream")
    assert b"partial_image" not in answer.body
    assert b"image_generation.completed" in answer.body


async def test_googles_callers_are_held_all_the_same(gateway: Any, upstream: Any) -> None:
    """Their SDKs know no 202; the wish is passed over, and not told as honoured."""
    answer = await gateway.gemini(headers={"Prefer": "respond-async, wait=0"})
    assert (answer.status, answer.picture()) == (200, upstream.pictures[0])
    assert "preference-applied" not in answer.headers


async def test_a_waiting_caller_that_leaves_changes_nothing(gateway: Any, upstream: Any) -> None:
    """The image is made, and can be fetched by whoever has the key."""
    upstream.gate.clear()
    wire = await gateway.dial()
    await wire.send(gateway.post(path=PATH, headers={"Prefer": "wait=50"}))
    await upstream.was_asked()
    wire.leave(reset=True)
    upstream.gate.set()
    async with asyncio.timeout(5):
        while not (done := (await gateway.ask("GET", f"{PATH}?status=succeeded")).json["data"]):
            await asyncio.sleep(0.01)
    assert len(done[0]["images"]) == 1


async def test_whoever_waits_is_told_the_status_when_the_gateway_goes(gateway: Any, upstream: Any) -> None:
    """202 and where to ask, not an error: nothing has failed."""
    upstream.gate.clear()
    asking = asyncio.create_task(create(gateway, prefer="wait=50"))
    await upstream.was_asked()
    gateway.made.generator.release()
    id_ = is_accepted(await asking)
    upstream.gate.set()
    await gateway.resource_once(id_, "succeeded")


async def test_http_1_0_is_told_too(gateway: Any, upstream: Any) -> None:
    """With a length."""
    wire = await gateway.dial()
    await wire.send(gateway.post(path=PATH, version="1.0"))
    answer = await wire.answer()
    assert answer.status in (200, 202)
    await gateway.resource_once(json.loads(answer.body)["id"], "succeeded")
