"""The simulated upstreams on a real socket: requests that go well, requests that are none, and the record."""

from __future__ import annotations

import asyncio
import errno
import json
from typing import Any

import pybase64
import pytest

from holdfast.errors import ConfigError
from holdfast.simulator.server import Simulator
from holdfast.wire.image import ImageProbe


def pixels_of(text: str) -> tuple[int, int]:
    """Decode a picture; give its size, and see that it is whole."""
    probe = ImageProbe()
    probe.feed(pybase64.b64decode(text, validate=True))
    seen = probe.finish()
    assert seen is not None
    assert seen.complete
    return seen.width_px, seen.height_px


def parts_of(document: Any) -> list[dict[str, Any]]:
    """List the parts of a Gemini answer."""
    parts: list[dict[str, Any]] = document["candidates"][0]["content"]["parts"]
    return parts


async def test_openai_is_answered_with_a_length(lab: Any) -> None:
    """A picture of the size that was asked for, framed by Content-Length."""
    caller = await lab.start()
    seen = await caller.openai(size="2K")
    assert (seen.status, seen.end, seen.is_whole) == (200, "fin", True)
    assert "content-length" in seen.headers
    assert pixels_of(seen.document["data"][0]["b64_json"]) == (2048, 2048)


async def test_gemini_is_answered_in_chunks(lab: Any) -> None:
    """As Google frames it."""
    caller = await lab.start()
    seen = await caller.gemini()
    assert (seen.status, seen.is_whole) == (200, True)
    assert seen.headers["transfer-encoding"] == "chunked"
    (part,) = [part for part in parts_of(seen.document) if "inlineData" in part]
    assert pixels_of(part["inlineData"]["data"]) == (1024, 1024)


async def test_both_versions_of_the_path_are_served(lab: Any) -> None:
    """google-genai 3 looks under /v1."""
    caller = await lab.start()
    body = {"contents": [{"parts": [{"text": "a"}]}]}
    for version in ("v1", "v1beta"):
        seen = await caller.post(f"/{version}/models/gemini-3-pro-image:generateContent", body)
        assert seen.status == 200


async def test_ten_images_in_one_call_all_differ(lab: Any) -> None:
    """Byte for byte."""
    caller = await lab.start()
    seen = await caller.openai(n=10)
    texts = {item["b64_json"] for item in seen.document["data"]}
    assert len(texts) == 10
    (charge,) = await caller.charges()
    assert charge["micros"] == 10 * 134_000


async def test_two_calls_differ(lab: Any) -> None:
    """And two runs of the same seed do not."""
    first, second = [await lab.start(seed=5) for _ in range(2)]
    one, two = [(await first.openai()).document["data"][0]["b64_json"] for _ in range(2)]
    again = (await second.openai()).document["data"][0]["b64_json"]
    assert one != two
    assert one == again


async def test_jpeg_on_demand(lab: Any) -> None:
    """Named in the answer, and in the bytes."""
    caller = await lab.start()
    document = (await caller.openai(output_format="jpeg")).document
    assert document["output_format"] == "jpeg"
    assert pybase64.b64decode(document["data"][0]["b64_json"]).startswith(b"\xff\xd8\xff")
    assert pixels_of(document["data"][0]["b64_json"]) == (1024, 1024)


async def test_an_openai_stream_shows_previews_on_the_way(lab: Any) -> None:
    """They arrive before the picture is made, not with it."""
    caller = await lab.start()
    seen = await caller.openai("a [sim delay=0.9]", stream=True, partial_images=2)
    assert seen.headers["content-type"].startswith("text/event-stream")
    assert seen.is_whole
    assert seen.body.count(b"event: image_generation.partial_image\n") == 2
    assert seen.body.count(b"event: image_generation.completed\n") == 1
    assert seen.times_s[-1] > 0.89
    assert seen.times_s[-1] - seen.times_s[0] > 0.4


async def test_a_gemini_stream_thinks_aloud(lab: Any) -> None:
    """Its first thought comes early, its picture at the end, lines in CRLF."""
    caller = await lab.start()
    seen = await caller.gemini("a [sim delay=0.8]", stream=True)
    chunks = [json.loads(line.removeprefix(b"data: ")) for line in seen.body.split(b"\r\n\r\n") if line]
    assert [bool(parts_of(chunk)[0].get("thought")) for chunk in chunks] == [True, True, False, False]
    assert "inlineData" in parts_of(chunks[-1])[0]
    assert chunks[-1]["candidates"][0]["finishReason"] == "STOP"
    assert seen.times_s[-1] > 0.79
    assert seen.times_s[-1] - seen.times_s[0] > 0.4


async def test_an_edit_with_images_is_taken(lab: Any) -> None:
    """Images of some megabytes, as a data URL."""
    caller = await lab.start()
    image = pybase64.b64encode(lab.paint(1376, 768, "png") + bytes(3_000_000)).decode()
    body = {"prompt": "redder", "model": "m", "images": [{"image_url": f"data:image/png;base64,{image}"}]}
    seen = await caller.post("/v1/images/edits", body)
    assert pixels_of(seen.document["data"][0]["b64_json"]) == (1376, 768)
    assert seen.document["usage"]["input_tokens_details"]["image_tokens"] > 0


async def test_the_record_names_the_request(lab: Any) -> None:
    """Key, model, size, price and how it ended."""
    caller = await lab.start()
    await caller.gemini()
    await caller.openai("a [sim refused_input]", size="4K")
    first, second = await caller.charges()
    assert {name: first[name] for name in ("idempotency_key", "model", "size", "micros", "outcome")} == {
        "idempotency_key": "key-1",
        "model": "gemini-3-pro-image",
        "size": "1024x1024",
        "micros": 134_000,
        "outcome": "made",
    }
    assert first["at"].endswith("Z")
    assert (second["size"], second["micros"], second["outcome"]) == ("4096x4096", 0, "refused")


async def test_who_hangs_up_is_charged_all_the_same(lab: Any) -> None:
    """When the work ends, not when the caller leaves."""
    caller = await lab.start()
    body = {"prompt": "a [sim delay=1.5]", "model": "nano-banana-pro"}
    _, writer = await caller.send(lab.request("/v1/images/generations", body))
    await asyncio.sleep(0.1)
    writer.transport.abort()
    assert await caller.charges() == []
    await lab.until(lambda: lab.simulators[0].charges.count == 1)
    (charge,) = await caller.charges()
    assert (charge["outcome"], charge["micros"]) == ("made", 134_000)


async def test_an_answer_is_never_told_before_it_is_charged(lab: Any) -> None:
    """Whoever has a picture finds it in the record."""
    caller = await lab.start()
    for number in range(5):
        await caller.gemini("a [sim delay=0.02]")
        assert lab.simulators[0].charges.count == number + 1


async def test_a_simulator_that_ends_charges_no_more(lab: Any) -> None:
    """What was being made is not."""
    caller = await lab.start()
    _, writer = await caller.send(lab.request("/v1/images/generations", {"prompt": "a [sim delay=1]"}))
    await asyncio.sleep(0.1)
    await lab.simulators[0].close()
    await asyncio.sleep(1.0)
    assert lab.simulators[0].charges.count == 0
    writer.close()


async def test_a_connection_serves_one_request_after_the_other(lab: Any) -> None:
    """Kept alive, in both framings."""
    caller = await lab.start()
    reader, writer = await caller.send(b"")
    for path, body in (
        ("/v1/images/generations", {"prompt": "a"}),
        ("/v1beta/models/m:generateContent", {"contents": [{"parts": [{"text": "a"}]}]}),
        ("/v1/images/generations", {"prompt": "a [sim status=429]"}),
    ):
        writer.write(lab.request(path, body))
        head = await reader.readuntil(b"\r\n\r\n")
        if b"chunked" in head:
            while size := int((await reader.readline()).strip(), 16):
                await reader.readexactly(size + 2)
            await reader.readline()
        else:
            await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
    assert len(lab.simulators[0].charges.rows) == 3
    writer.close()


async def test_a_pipelined_request_waits_its_turn(lab: Any) -> None:
    """Two requests in two writes, the second while the first is made."""
    caller = await lab.start()
    reader, writer = await caller.send(lab.request("/v1/images/generations", {"prompt": "a [sim delay=0.2]"}))
    await asyncio.sleep(0.05)
    writer.write(lab.request("/v1/images/generations", {"prompt": "b"}, connection="close"))
    answers = await reader.read(-1)
    assert answers.count(b"HTTP/1.1 200") == 2
    writer.close()


async def test_http_1_0_is_answered_without_chunks(lab: Any) -> None:
    """nginx asks so by default; a stream then ends with the connection."""
    caller = await lab.start()
    body = {"contents": [{"parts": [{"text": "a"}]}]}
    plain = await caller.post("/v1beta/models/m:generateContent", body, version="1.0")
    assert "content-length" in plain.headers
    assert plain.is_whole
    stream = await caller.post("/v1beta/models/m:streamGenerateContent?alt=sse", body, version="1.0")
    assert not {"content-length", "transfer-encoding"} & set(stream.headers)
    assert stream.end == "fin"
    assert stream.body.endswith(b"\r\n\r\n")


async def test_a_chunked_request_is_read(lab: Any) -> None:
    """aiohttp and Go send bodies so."""
    caller = await lab.start()
    head = b"POST /v1/images/generations HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    seen = await caller.raw(head + b'5\r\n{"pro\r\nc\r\nmpt": "abc"}\r\n0\r\n\r\n')
    assert seen.status == 200


async def test_100_continue_is_said(lab: Any) -> None:
    """curl waits a second for it before it sends a large body."""
    caller = await lab.start()
    raw = lab.request("/v1/images/generations", {"prompt": "a"}, expect="100-continue")
    head, _, body = raw.partition(b"\r\n\r\n")
    reader, writer = await caller.send(head + b"\r\n\r\n")
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(body)
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    writer.close()


@pytest.mark.parametrize(
    ("path", "status", "word"),
    [
        ("/v1/images/generations", 400, b'"type":"invalid_request_error"'),
        ("/v1beta/models/m:generateContent", 400, b'"status":"INVALID_ARGUMENT"'),
        ("/v1/nothing", 404, b'"code":"model_not_found"'),
        ("/v1beta/nothing", 404, b'"status":"NOT_FOUND"'),
        ("/_sim/charges", 405, b'"method_not_allowed"'),
        ("/_sim/script", 400, b"error"),
    ],
)
async def test_mistakes_are_told_in_the_dialect(lab: Any, path: str, status: int, word: bytes) -> None:
    """And are not counted as generations."""
    caller = await lab.start()
    seen = await caller.post(path, b'{"broken')
    assert seen.status == status
    assert word in seen.body
    assert await caller.charges() == []


async def test_a_slip_in_a_prompt_is_told(lab: Any) -> None:
    """Else a test would believe that it tested something."""
    caller = await lab.start()
    seen = await caller.gemini("a [sim trunkate]")
    assert seen.status == 400
    assert "truncate" in seen.document["error"]["message"]


@pytest.mark.parametrize(
    "raw",
    [
        b"nonsense\r\n\r\n",
        b"POST /v1/images/generations HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"x-long: " + b"a" * 70_000,
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["nonsense", "length", "upgrade", "head", "pipelined"],
)
async def test_what_is_no_request_ends_the_connection(lab: Any, raw: bytes) -> None:
    """With an answer, and without harm to the next caller."""
    caller = await lab.start()
    seen = await caller.raw(raw)
    assert seen.status in (400, 431)
    assert seen.headers["connection"] == "close"
    assert seen.end == "fin"
    assert (await caller.openai()).status == 200


@pytest.mark.parametrize("announced", [True, False])
async def test_too_large_a_request_is_told_while_it_is_sent(lab: Any, announced: bool) -> None:
    """The caller reads 413, not a reset."""
    caller = await lab.start(request_bytes_max=100_000)
    body = b'{"prompt": "' + b"a" * 400_000 + b'"}'
    if announced:
        raw = lab.request("/v1/images/generations", body)
    else:
        head = b"POST /v1/images/generations HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        raw = head + b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"
    seen = await caller.raw(raw)
    assert (seen.status, seen.end) == (413, "fin")
    assert b"100000 bytes" in seen.body


async def test_models_are_listed_by_credential(lab: Any) -> None:
    """As the vendors do, each for itself."""
    caller = await lab.start()
    assert (await caller.get("/v1/models")).document["object"] == "list"
    assert "models" in (await caller.get("/v1/models", x_goog_api_key="k")).document
    assert (await caller.get("/v1beta/models/x")).document["name"] == "models/x"


async def test_more_connections_than_allowed_are_reset(lab: Any) -> None:
    """Those that are there are served on."""
    caller = await lab.start(connections_max=2)
    held = [await caller.send(b"") for _ in range(2)]
    await lab.until(lambda: "connections=2" in repr(lab.simulators[0]))
    assert (await caller.raw(b"GET / HTTP/1.1\r\n")).end == "reset"
    for _, writer in held:
        writer.close()
    await lab.until(lambda: "connections=0" in repr(lab.simulators[0]))
    assert (await caller.get("/v1/models")).status == 200


async def test_latencies_are_divided_by_the_speed(lab: Any) -> None:
    """A 4K picture of two minutes takes a fraction of a second at a thousand times the speed."""
    caller = await lab.start(scenario="steady", speed=500.0, seed=3)
    seen = await caller.openai(size="4K")
    assert 90 / 500 < seen.times_s[0] < 10.0


async def test_the_same_seed_meets_the_same_fate(lab: Any) -> None:
    """Request by request."""

    async def fates(seed: int) -> list[tuple[str, int]]:
        caller = await lab.start(scenario="peak-2026-01-17", speed=100_000.0, seed=seed)
        seen = [await caller.openai() for _ in range(30)]
        return [(each.headers.get("retry-after", ""), each.status) for each in seen]

    first = await fates(11)
    assert first == await fates(11)
    assert first != await fates(12)
    assert {status for _, status in first} == {200, 429, 503}


async def test_a_prompt_is_spared_the_scenario(lab: Any) -> None:
    """Whoever asks for something particular gets that and nothing else."""
    caller = await lab.start(scenario="overloaded", speed=100_000.0)
    statuses = [(await caller.openai("a [sim none]")).status for _ in range(20)]
    assert statuses == [200] * 20


@pytest.mark.parametrize(
    ("prompt", "server_timeout", "status"),
    [("a [sim delay=70]", None, 504), ("a [sim delay=70]", "3", 200), ("a [sim delay=130]", "1", 504)],
)
async def test_google_gives_up_after_a_minute_unless_told(
    lab: Any, prompt: str, server_timeout: str | None, status: int
) -> None:
    """A gateway that forgets `X-Server-Timeout` finds out here; the work is charged all the same."""
    caller = await lab.start(speed=100.0)
    headers = {} if server_timeout is None else {"x_server_timeout": server_timeout}
    seen = await caller.gemini(prompt, **headers)
    assert seen.status == status
    await lab.until(lambda: lab.simulators[0].charges.count == 1)
    assert lab.simulators[0].charges.rows[0].micros == 134_000


async def test_a_stream_that_takes_too_long_says_so_within(lab: Any) -> None:
    """After its first thoughts."""
    caller = await lab.start(speed=100.0)
    seen = await caller.gemini("a [sim delay=100]", stream=True)
    assert seen.status == 200
    assert seen.is_whole
    assert b'"thought":true' in seen.body
    assert b"DEADLINE_EXCEEDED" in seen.body
    assert b"inlineData" not in seen.body


async def test_a_taken_port_is_an_os_error(lab: Any) -> None:
    """The command line tells it in its own words."""
    caller = await lab.start()
    second = Simulator(scenario="instant")
    with pytest.raises(OSError, match="address already in use") as refused:
        await second.start("127.0.0.1", caller.port)
    assert refused.value.errno == errno.EADDRINUSE
    await second.close()


def test_an_unknown_scenario_is_told_before_anything_starts() -> None:
    """With the known ones."""
    with pytest.raises(ConfigError, match="overloaded"):
        Simulator(scenario="nothing")


async def test_a_picture_that_cannot_be_painted_ends_the_connection(lab: Any, caplog: pytest.LogCaptureFixture) -> None:
    """With a reset, since the head may be gone; and it is logged."""

    def broken(width_px: int, height_px: int, format_: str) -> bytes:
        raise ValueError("no paint")

    caller = await lab.start(paint=broken)
    with caplog.at_level("ERROR", logger="holdfast"):
        assert (await caller.openai()).end == "reset"
        await lab.until(lambda: "fault.internal" in caplog.text)
    assert (await caller.get("/v1/models")).status == 200
