"""Every fault, as a caller sees it on the wire, and what it costs."""

from __future__ import annotations

import asyncio
import binascii
import json
import zlib
from typing import Any

import pybase64
import pytest

from holdfast.simulator.faults import Fault
from holdfast.simulator.sending import NOT_AN_IMAGE
from holdfast.wire.image import ImageProbe, Probed

PRICE = 134_000
FAL_PRICE = 150_000
"""By its own list: `config.provider_prices`."""
DIALECTS = pytest.mark.parametrize("dialect", ["openai", "gemini"])


async def suffer(caller: Any, dialect: str, words: str, **options: Any) -> Any:
    """Ask for an image with a fault."""
    ask = caller.openai if dialect == "openai" else caller.gemini
    return await ask(f"a lighthouse [sim {words}]", **options)


def text_of(seen: Any, dialect: str) -> str:
    """Find the text of the one picture."""
    if dialect == "openai":
        (item,) = seen.document["data"]
        return str(item["b64_json"])
    parts = seen.document["candidates"][0]["content"]["parts"]
    (data,) = [part["inlineData"]["data"] for part in parts if "inlineData" in part]
    return str(data)


def probed(file: bytes) -> Probed | None:
    """Look at a file as the gateway does."""
    probe = ImageProbe()
    probe.feed(file)
    return probe.finish()


async def micros(caller: Any) -> list[int]:
    """Read what was charged."""
    return [row["micros"] for row in await caller.charges()]


@DIALECTS
async def test_none_goes_well(lab: Any, dialect: str) -> None:
    """Whatever the scenario."""
    caller = await lab.start()
    seen = await suffer(caller, dialect, "none")
    assert (seen.status, seen.is_whole) == (200, True)
    assert probed(pybase64.b64decode(text_of(seen, dialect), validate=True)) is not None


async def test_refuse_connect_resets_the_next_connection_unread(lab: Any) -> None:
    """Even a connection that was open before is closed, so that a new one has to come."""
    caller = await lab.start()
    idle_reader, idle_writer = await caller.send(b"")
    await lab.until(lambda: "connections=1" in repr(lab.simulators[0]))
    assert (await caller.script("refuse_connect")).status == 200
    assert await idle_reader.read() == b""
    assert (await caller.openai()).end == "reset"
    assert (await caller.openai()).status == 200
    assert await micros(caller) == [PRICE]
    idle_writer.close()


@DIALECTS
async def test_refuse_connect_in_a_prompt_resets_without_a_charge(lab: Any, dialect: str) -> None:
    """It can be known only when the request was read."""
    caller = await lab.start()
    seen = await suffer(caller, dialect, "refuse_connect")
    assert (seen.end, seen.raw) == ("reset", b"")
    assert await micros(caller) == [0]


@DIALECTS
async def test_stall_headers_says_nothing_for_ever(lab: Any, dialect: str) -> None:
    """The picture is made and charged; the connection ends when the caller ends it."""
    caller = await lab.start()
    seen = await suffer(caller, dialect, "stall_headers", quiet_s=0.5)
    assert (seen.end, seen.raw) == ("open", b"")
    assert await micros(caller) == [PRICE]
    await lab.until(lambda: "generating=0" in repr(lab.simulators[0]))


@DIALECTS
async def test_stall_body_falls_silent_half_way(lab: Any, dialect: str) -> None:
    """Nothing in the framing says that it is over."""
    caller = await lab.start()
    seen = await suffer(caller, dialect, "stall_body", quiet_s=0.5)
    assert (seen.end, seen.status, seen.is_whole) == ("open", 200, False)
    assert 100_000 < len(seen.body) < 200_000
    assert await micros(caller) == [PRICE]


@DIALECTS
async def test_reset_sent_resets_before_the_answer(lab: Any, dialect: str) -> None:
    """At once; the work goes on, and is charged when it ends."""
    caller = await lab.start()
    seen = await suffer(caller, dialect, "reset_sent delay=0.5")
    assert (seen.end, seen.raw) == ("reset", b"")
    assert await micros(caller) == []
    await lab.until(lambda: lab.simulators[0].charges.count == 1)
    assert await micros(caller) == [PRICE]


@DIALECTS
async def test_reset_body_resets_half_way(lab: Any, dialect: str) -> None:
    """What was sent before arrives."""
    caller = await lab.start()
    seen = await suffer(caller, dialect, "reset_body")
    assert (seen.end, seen.status, seen.is_whole) == ("reset", 200, False)
    assert 100_000 < len(seen.body) < 200_000
    assert await micros(caller) == [PRICE]


@DIALECTS
async def test_truncate_ends_half_way(lab: Any, dialect: str) -> None:
    """With a FIN, as if that were all."""
    caller = await lab.start()
    seen = await suffer(caller, dialect, "truncate")
    assert (seen.end, seen.status, seen.is_whole) == ("fin", 200, False)
    assert 100_000 < len(seen.body) < 200_000
    assert await micros(caller) == [PRICE]


@DIALECTS
async def test_drip_keeps_the_line_alive_with_white_space(lab: Any, dialect: str) -> None:
    """Every second of life while the picture is made, then slowly the body."""
    caller = await lab.start(speed=10.0)
    seen = await suffer(caller, dialect, "drip delay=6")
    assert seen.is_whole
    assert seen.body.startswith(b"     ")
    assert probed(pybase64.b64decode(text_of(seen, dialect), validate=True)) is not None
    assert len(seen.times_s) >= 12
    assert seen.times_s[-1] - seen.times_s[0] > 0.6 + 0.3


async def test_drip_on_a_stream_is_blank_lines(lab: Any) -> None:
    """Which every SDK takes."""
    caller = await lab.start(speed=10.0)
    seen = await caller.gemini("a [sim drip delay=5]", stream=True)
    assert seen.body.startswith(b"\r\n")
    events = [line for line in seen.body.split(b"\r\n") if line]
    assert all(json.loads(event.removeprefix(b"data: ")) for event in events)


@DIALECTS
async def test_gzip_compresses_unasked(lab: Any, dialect: str) -> None:
    """The document inside is the usual one."""
    caller = await lab.start()
    seen = await suffer(caller, dialect, "gzip")
    assert seen.headers["content-encoding"] == "gzip"
    assert seen.is_whole
    document = json.loads(zlib.decompress(seen.body, wbits=31))
    assert "data" in document or "candidates" in document
    assert await micros(caller) == [PRICE]


async def test_gzip_holds_a_whole_stream(lab: Any) -> None:
    """Its early events included."""
    caller = await lab.start()
    seen = await caller.gemini("a [sim gzip delay=0.2]", stream=True)
    assert zlib.decompress(seen.body, wbits=31).count(b"data: {") == 4


@DIALECTS
async def test_unterminated_sends_all_but_the_end(lab: Any, dialect: str) -> None:
    """The JSON closes, the transfer does not."""
    caller = await lab.start()
    seen = await suffer(caller, dialect, "unterminated", quiet_s=0.5)
    assert (seen.end, seen.is_whole) == ("open", False)
    assert json.loads(seen.body)


@DIALECTS
async def test_html_comes_with_200(lab: Any, dialect: str) -> None:
    """As captive portals and bot walls have it."""
    caller = await lab.start()
    seen = await suffer(caller, dialect, "html")
    assert (seen.status, seen.is_whole) == (200, True)
    assert seen.headers["content-type"].startswith("text/html")
    assert seen.body.startswith(b"<!DOCTYPE html>")
    assert await micros(caller) == [PRICE]


@DIALECTS
async def test_empty_is_nothing_at_all(lab: Any, dialect: str) -> None:
    """A 200 of no bytes."""
    caller = await lab.start()
    seen = await suffer(caller, dialect, "empty")
    assert (seen.status, seen.headers["content-length"], seen.body) == (200, "0", b"")
    assert await micros(caller) == [PRICE]


@DIALECTS
async def test_redirect_leads_elsewhere(lab: Any, dialect: str) -> None:
    """Where there is nothing."""
    caller = await lab.start()
    seen = await suffer(caller, dialect, "redirect")
    assert seen.status == 302
    assert (await caller.get(seen.headers["location"])).status == 404
    assert await micros(caller) == [PRICE]


@DIALECTS
async def test_an_error_in_a_200(lab: Any, dialect: str) -> None:
    """The head lies."""
    caller = await lab.start()
    seen = await suffer(caller, dialect, "error_in_200")
    assert seen.status == 200
    assert "error" in seen.document
    assert await micros(caller) == [0]


async def test_refusals_in_openais_words(lab: Any) -> None:
    """A real status, and the stage that refused."""
    caller = await lab.start()
    for stage in ("input", "output"):
        seen = await caller.openai(f"a [sim refused_{stage}]")
        error = seen.document["error"]
        assert (seen.status, error["code"]) == (400, "moderation_blocked")
        assert error["moderation_details"]["moderation_stage"] == stage
    assert await micros(caller) == [0, PRICE]
    assert [row["outcome"] for row in await caller.charges()] == ["refused", "refused"]


async def test_refusals_in_googles_words(lab: Any) -> None:
    """A 200, and a reason that can be chosen."""
    caller = await lab.start()
    blocked = (await caller.gemini("a [sim refused_input reason=PROHIBITED_CONTENT]")).document
    assert blocked["promptFeedback"]["blockReason"] == "PROHIBITED_CONTENT"
    assert "candidates" not in blocked
    hidden = (await caller.gemini("a [sim refused_output]")).document
    assert hidden["candidates"][0]["finishReason"] == "IMAGE_SAFETY"
    assert await micros(caller) == [0, 0]


async def test_refused_output_comes_after_the_whole_wait(lab: Any) -> None:
    """And refused input does not."""
    caller = await lab.start(speed=10.0)
    early = await caller.gemini("a [sim refused_input delay=8]")
    late = await caller.gemini("a [sim refused_output delay=8]")
    assert early.times_s[0] > 0.29
    assert late.times_s[0] > early.times_s[0] + 0.3


@DIALECTS
@pytest.mark.parametrize("fault", ["no_image", "text_only"])
async def test_an_answer_without_a_picture(lab: Any, dialect: str, fault: str) -> None:
    """Well-formed, 200, and free."""
    caller = await lab.start()
    seen = await suffer(caller, dialect, fault)
    assert (seen.status, seen.is_whole) == (200, True)
    assert b"b64_json" not in seen.body
    assert b"inlineData" not in seen.body
    assert (b"lighthouse be white" in seen.body) == (fault == "text_only")
    assert [(row["outcome"], row["micros"]) for row in await caller.charges()] == [("empty", 0)]


@DIALECTS
async def test_bad_base64(lab: Any, dialect: str) -> None:
    """The JSON is right, the picture's text is not."""
    caller = await lab.start()
    text = text_of(await suffer(caller, dialect, "bad_base64"), dialect)
    with pytest.raises(binascii.Error):
        pybase64.b64decode(text, validate=True)
    assert await micros(caller) == [PRICE]


@DIALECTS
async def test_url_safe(lab: Any, dialect: str) -> None:
    """The other alphabet, of the same picture."""
    caller = await lab.start()
    text = text_of(await suffer(caller, dialect, "url_safe"), dialect)
    assert not set("+/") & set(text)
    assert set("-_") <= set(text)
    assert probed(pybase64.b64decode(text, altchars="-_", validate=True)) is not None


@DIALECTS
async def test_not_image(lab: Any, dialect: str) -> None:
    """Good base64 of something else."""
    caller = await lab.start()
    text = text_of(await suffer(caller, dialect, "not_image"), dialect)
    assert pybase64.b64decode(text, validate=True) == NOT_AN_IMAGE
    assert await micros(caller) == [PRICE]


@DIALECTS
async def test_cut_image(lab: Any, dialect: str) -> None:
    """A file without its end."""
    caller = await lab.start()
    text = text_of(await suffer(caller, dialect, "cut_image"), dialect)
    seen = probed(pybase64.b64decode(text, validate=True))
    assert seen is not None
    assert (seen.width_px, seen.complete) == (1024, False)
    assert await micros(caller) == [PRICE]


@DIALECTS
async def test_mislabelled(lab: Any, dialect: str) -> None:
    """A PNG by another name."""
    caller = await lab.start()
    seen = await suffer(caller, dialect, "mislabelled")
    assert b'"image/jpeg"' in seen.body or b'"output_format":"jpeg"' in seen.body
    shown = probed(pybase64.b64decode(text_of(seen, dialect), validate=True))
    assert shown is not None
    assert shown.mime == "image/png"


@DIALECTS
async def test_other_size(lab: Any, dialect: str) -> None:
    """Whole, and not what was asked for."""
    caller = await lab.start()
    shown = probed(pybase64.b64decode(text_of(await suffer(caller, dialect, "other_size"), dialect), validate=True))
    assert shown is not None
    assert (shown.width_px, shown.height_px, shown.complete) == (1408, 768, True)


@DIALECTS
@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 502, 503, 504, 524, 599])
async def test_any_status(lab: Any, dialect: str, status: int) -> None:
    """In the head, and where there is JSON in the body."""
    caller = await lab.start()
    seen = await suffer(caller, dialect, f"status={status}")
    assert (seen.status, seen.is_whole) == (status, True)
    if seen.headers["content-type"].startswith("application/json"):
        assert seen.document["error"]["message"]
    else:
        assert status in (502, 524)
    assert await micros(caller) == [PRICE if status in (504, 524) else 0]


@DIALECTS
async def test_retry_after(lab: Any, dialect: str) -> None:
    """As it was written, whatever the speed."""
    caller = await lab.start(speed=50.0)
    seen = await suffer(caller, dialect, "status=503 retry_after=7")
    assert (seen.status, seen.headers["retry-after"]) == (503, "7")
    assert (await suffer(caller, dialect, "retry_after=9")).status == 429


async def test_drafts(lab: Any) -> None:
    """Before the picture that is meant; all of them cost."""
    caller = await lab.start()
    parts = (await caller.gemini("a [sim drafts=3]")).document["candidates"][0]["content"]["parts"]
    pictures = [part for part in parts if "inlineData" in part]
    assert len(pictures) == 4
    assert [bool(part.get("thought")) for part in pictures] == [True, False, True, False]
    assert len({part["inlineData"]["data"] for part in pictures}) == 4
    assert await micros(caller) == [4 * PRICE]


async def test_a_fault_of_the_way_also_befalls_an_error(lab: Any) -> None:
    """An error answer can be cut like any other."""
    caller = await lab.start()
    seen = await caller.openai("a [sim status=500 fault=truncate]")
    assert (seen.status, seen.end, seen.is_whole) == (500, "fin", False)


async def test_a_script_comes_before_a_prompt(lab: Any) -> None:
    """And a prompt before the scenario; each wish of the script for one request."""
    caller = await lab.start(scenario="overloaded", speed=100_000.0)
    told = await caller.script("status=429 retry_after=3", {"fault": "html"}, model="nano-banana-pro")
    assert told.document == {"waiting": 1}
    seen = [await caller.openai("a [sim status=500]") for _ in range(3)]
    assert [each.status for each in seen] == [429, 200, 500]
    assert seen[1].headers["content-type"].startswith("text/html")


async def test_a_script_is_for_whom_it_says(lab: Any) -> None:
    """By prompt, size, and number."""
    caller = await lab.start()
    await caller.script("status=503", prompt_contains="cat", size="2K", nth=2)
    seen = [
        await caller.openai("a dog", size="2K"),
        await caller.openai("a cat", size="2K"),
        await caller.openai("a cat", size="1K"),
        await caller.openai("a cat", size="2K"),
        await caller.openai("a cat", size="2K"),
    ]
    assert [each.status for each in seen] == [200, 200, 200, 503, 200]


async def test_a_script_that_is_none_is_told(lab: Any) -> None:
    """With what to write."""
    caller = await lab.start()
    seen = await caller.script("trunkate")
    assert seen.status == 400
    assert "truncate" in seen.document["error"]["message"]
    large = await caller.post("/_sim/script", b'{"do": ["' + b"a" * 1_100_000 + b'"]}')
    assert large.status == 413


async def test_a_delay_is_one_of_life(lab: Any) -> None:
    """The speed divides it like everything else."""
    caller = await lab.start(speed=20.0)
    seen = await caller.openai("a [sim delay=10]")
    assert 0.49 < seen.times_s[0] < 5.0


async def test_cuts_of_a_scenario_are_charged(lab: Any) -> None:
    """About a tenth of all answers never arrive whole, and every picture is paid for."""
    caller = await lab.start(scenario="cuts", speed=100_000.0, seed=4)
    seen = [await caller.openai() for _ in range(60)]
    lost = [each for each in seen if not (each.raw and each.is_whole)]
    assert 1 <= len(lost) <= 15
    await lab.until(lambda: lab.simulators[0].charges.count == 60)
    assert await micros(caller) == [PRICE] * 60


QUEUED = "/fal-ai/nano-banana-pro"


async def taken(caller: Any, words: str) -> str:
    """Submit to the queue; give the path of the request there."""
    seen = await caller.post(QUEUED, {"prompt": f"a lighthouse [sim {words}]"}, idempotency_key="key-1")
    assert seen.status == 200
    assert seen.headers["x-fal-request-id"] == seen.document["request_id"]
    path = str(seen.document["response_url"]).removeprefix("http://x")
    assert seen.document["status_url"] == f"http://x{path}/status"
    return path


async def file_of(caller: Any, path: str) -> Any:
    """Read a result, and fetch the picture that it links to."""
    (image,) = (await caller.get(path)).document["images"]
    return await caller.get(str(image["url"]).removeprefix("http://x"))


async def is_had(caller: Any, path: str) -> bool:
    """Whether the picture is there in the end, whole, and paid for once."""
    seen = await file_of(caller, path)
    found = probed(seen.body)
    return found is not None and found.complete and await micros(caller) == [FAL_PRICE]


async def test_poll_404_knows_of_nothing_at_first(lab: Any) -> None:
    """Three questions."""
    caller = await lab.start()
    path = await taken(caller, "poll_404")
    assert [(await caller.get(f"{path}/status")).status for _ in range(4)] == [404, 404, 404, 200]
    assert await is_had(caller, path)


async def test_poll_503_is_a_proxys(lab: Any) -> None:
    """Three questions, and the first one for the result: HTML."""
    caller = await lab.start()
    path = await taken(caller, "poll_503")
    seen = [await caller.get(f"{path}/status") for _ in range(4)]
    assert [each.status for each in seen] == [503, 503, 503, 200]
    assert seen[0].headers["content-type"].startswith("text/html")
    assert (await caller.get(path)).status == 503
    assert await is_had(caller, path)


async def test_poll_reset_resets_questions(lab: Any) -> None:
    """Nothing of an answer."""
    caller = await lab.start()
    path = await taken(caller, "poll_reset")
    seen = [await caller.get(f"{path}/status") for _ in range(4)]
    assert [(each.end, each.raw[:1]) for each in seen[:3]] == [("reset", b"")] * 3
    assert seen[3].document["status"] == "COMPLETED"
    assert await is_had(caller, path)


async def test_backwards_contradicts_itself(lab: Any) -> None:
    """It says that it has ended while its result is not there."""
    caller = await lab.start()
    path = await taken(caller, "backwards delay=1")
    told = [(await caller.get(f"{path}/status")).document["status"] for _ in range(3)]
    assert told == ["IN_PROGRESS", "IN_QUEUE", "COMPLETED"]
    assert (await caller.get(path)).status == 400
    await lab.until(lambda: lab.simulators[0].charges.count == 1)
    assert await is_had(caller, path)


async def test_expired_links_are_dead_once(lab: Any) -> None:
    """403; the result, read again, has another one."""
    caller = await lab.start()
    path = await taken(caller, "expired")
    assert (await file_of(caller, path)).status == 403
    assert await is_had(caller, path)


async def test_a_request_in_the_queue_can_be_taken_back(lab: Any) -> None:
    """It is gone, and nobody pays."""
    caller = await lab.start()
    path = await taken(caller, "delay=600")
    cancel = f"PUT {path}/cancel HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    assert [(await caller.raw(cancel)).status for _ in range(2)] == [202, 404]
    assert (await caller.get(f"{path}/status")).status == 404
    assert await caller.charges() == []


def test_every_fault_has_a_test_here() -> None:
    """A new one is seen on the wire before it is relied on."""
    tests = "\n".join(name for name in globals() if name.startswith("test_"))
    for fault in Fault:
        aliases = {"refused_input": "refusals", "refused_output": "refusals", "no_image": "without_a_picture"}
        aliases |= {"text_only": "without_a_picture", "error_in_200": "an_error_in_a_200"}
        assert aliases.get(fault.value, fault.value) in tests, fault


async def test_a_hundred_callers_at_once(lab: Any) -> None:
    """Each gets its own picture, and each is charged."""
    caller = await lab.start()
    seen = await asyncio.gather(*(caller.gemini("a [sim delay=0.2]", quiet_s=10) for _ in range(100)))
    assert {each.status for each in seen} == {200}
    assert len({text_of(each, "gemini") for each in seen}) == 100
    assert lab.simulators[0].charges.count == 100
