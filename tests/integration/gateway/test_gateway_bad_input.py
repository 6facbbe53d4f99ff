"""What callers get wrong: each is told clearly in its own dialect, costs nothing, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import base64
import http.client
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

OPENAI = "/v1/images/generations"
GEMINI = "/v1beta/models/gemini-3-pro-image:generateContent"
WRONG_KEY = "hf-wrong-key-Qx7Zt"
TEXT = {"text": "a lighthouse, marker Qx7Zt"}


def assert_told(answer: Any, surface: str, status: int, code: str, *, param: str | None = None) -> None:
    """An error has its dialect's shape, says what happened, and claims truthfully that nothing was paid."""
    assert answer.status == status, answer
    assert answer.headers["cache-control"].startswith("no-store")
    body = answer.json
    match surface:
        case "openai":
            told = body["error"]
            assert answer.headers["content-type"] == "application/json"
            assert told["holdfast_code"] == code
            assert {"message", "type", "param", "code"} <= set(told)
            assert told["param"] == param
        case "gemini":
            told = body["error"]
            assert answer.headers["content-type"] == "application/json"
            assert told["code"] == status
            assert told["status"].isupper()
            assert told["details"][0]["reason"] == code.upper()
            fields = [each["field"] for detail in told["details"] for each in detail.get("fieldViolations", [])]
            assert fields == ([] if param is None else [param])
        case _:
            told = body
            assert answer.headers["content-type"] == "application/problem+json"
            assert told["type"] == f"urn:holdfast:error:{code}"
            assert (told["status"], told["code"]) == (status, code)
    assert (told["paid"], told["generation_id"]) == ("no", None)
    assert answer.headers["x-should-retry"] == str(told["retryable"]).lower()


@pytest.fixture(autouse=True)
async def nothing_was_bought(gateway: Any, upstream: Any) -> AsyncIterator[None]:
    """Whatever a test of this file sends to the usual gateway, nothing is accepted and nobody is called."""
    yield
    await gateway.idle()
    assert upstream.asked == []
    assert [gateway.count(table) for table in ("generation", "attempt", "ledger_txn", "blob")] == [0, 0, 0, 0]


BODIES: list[tuple[bytes | dict[str, Any], str, str | None]] = [
    (b"", "invalid_request", None),
    (b'{"prompt": "a lighthouse, marker Qx7Zt"', "invalid_request", None),
    (b'{"prompt": "a lighthouse, marker Qx7Zt",}', "invalid_request", None),
    (b'{"prompt": "\xff\xfe marker Qx7Zt"}', "invalid_request", None),
    (b"[]", "invalid_request", None),
    (b'"a lighthouse, marker Qx7Zt"', "invalid_request", None),
    (b"null", "invalid_request", None),
    ({}, "invalid_request", "prompt"),
    ({"prompt": 7}, "invalid_request", "prompt"),
    ({"prompt": None}, "invalid_request", "prompt"),
    ({"prompt": ""}, "invalid_request", "prompt"),
    ({"prompt": " \n\t"}, "invalid_request", "prompt"),
    ({"prompt": "marker Qx7Zt" * 3000}, "invalid_request", "prompt"),
    ({"n": 0}, "invalid_request", "n"),
    ({"n": -1}, "invalid_request", "n"),
    ({"n": 11}, "invalid_request", "n"),
    ({"n": "1"}, "invalid_request", "n"),
    ({"n": 1.5}, "invalid_request", "n"),
    ({"n": True}, "invalid_request", "n"),
    ({"size": "huge"}, "unsupported_size", "size"),
    ({"size": "0x0"}, "unsupported_size", "size"),
    ({"size": "5000x5000"}, "unsupported_size", "size"),
    ({"size": "2048x512"}, "unsupported_size", "size"),
    ({"size": 1024}, "invalid_request", "size"),
    ({"size": "9" * 99}, "invalid_request", "size"),
    ({"size": "1024x1024", "aspect_ratio": "16:9"}, "invalid_request", "aspect_ratio"),
    ({"quality": "ultra"}, "invalid_request", "quality"),
    ({"response_format": "gif"}, "invalid_request", "response_format"),
    ({"stream": "yes"}, "invalid_request", "stream"),
    ({"partial_images": 4}, "invalid_request", "partial_images"),
    ({"metadata": {"a": 1}}, "invalid_request", "metadata[...]"),
]


async def test_a_body_of_the_openai_surface_that_cannot_be_meant(gateway: Any) -> None:
    """400, naming the field where there is one to name."""
    for body, code, param in BODIES:
        sent = body
        if isinstance(body, dict):
            sent = json.dumps(body if not body or "prompt" in body else {"prompt": "marker Qx7Zt", **body}).encode()
        headers = {"Authorization": f"Bearer {gateway.key}", "Content-Type": "application/json"}
        answer = await gateway.ask("POST", OPENAI, headers=headers, data=sent)
        assert_told(answer, "openai", 400, code, param=param)
        assert "Qx7Zt" not in answer.error["message"]


def an_image(data: str, **more: Any) -> dict[str, Any]:
    """Write a Gemini request with an inline image."""
    return {"contents": [{"parts": [TEXT, {"inlineData": {"mimeType": "image/png", "data": data, **more}}]}]}


def a_config(**config: Any) -> dict[str, Any]:
    """Write a Gemini request with a configuration."""
    return {"contents": [{"parts": [TEXT]}], "generationConfig": config}


async def test_a_body_of_the_gemini_surface_that_cannot_be_meant(gateway: Any, a_png: Any) -> None:
    """400 INVALID_ARGUMENT, with the field in a `BadRequest` detail where there is one."""
    cut = base64.b64encode(a_png()[:-20]).decode()
    whole = {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(a_png()).decode()}}
    by_reference = {"fileData": {"mimeType": "image/png", "fileUri": "http://images.example/a.png"}}
    cases: list[tuple[dict[str, Any], str, str | None]] = [
        ({}, "invalid_request", "contents"),
        ({"contents": []}, "invalid_request", "contents"),
        ({"contents": "marker Qx7Zt"}, "invalid_request", "contents"),
        ({"contents": [{"parts": [{"text": ""}]}]}, "invalid_request", "contents"),
        ({"contents": [{"role": "model", "parts": [TEXT]}]}, "invalid_request", "contents"),
        ({"contents": [{"parts": [{"text": 7}]}]}, "invalid_request", "contents[0].parts[0].text"),
        (a_config(imageConfig={"imageSize": "4k"}), "unsupported_size", "generationConfig.imageConfig.imageSize"),
        (a_config(imageConfig={"aspectRatio": "7:1"}), "unsupported_size", "generationConfig.imageConfig.aspectRatio"),
        (a_config(candidateCount=0), "invalid_request", "generationConfig.candidateCount"),
        (a_config(responseModalities=["TEXT"]), "invalid_request", "generationConfig.responseModalities"),
        ({"contents": [{"parts": [TEXT, by_reference]}]}, "invalid_request", "contents[0].parts[1].fileData.fileUri"),
        (an_image("no base64 at all!"), "invalid_request", None),
        (an_image(base64.b64encode(b"no image at all").decode()), "invalid_request", "image"),
        (an_image(cut), "invalid_request", "image"),
        ({"contents": [{"parts": [TEXT, *[whole] * 15]}]}, "invalid_request", "contents"),
    ]
    for body, code, param in cases:
        answer = await gateway.ask("POST", GEMINI, headers={"x-goog-api-key": gateway.key}, json=body)
        assert_told(answer, "gemini", 400, code, param=param)
        assert "Qx7Zt" not in answer.error["message"]
    assert list((gateway.data / "spool").iterdir()) == []


async def test_a_stream_without_events_is_not_served(gateway: Any) -> None:
    """`streamGenerateContent` without `alt=sse` would be a JSON array that no beat can be put into."""
    path = "/v1beta/models/gemini-3-pro-image:streamGenerateContent"
    answer = await gateway.ask("POST", path, headers={"x-goog-api-key": gateway.key}, json={"contents": [TEXT]})
    assert_told(answer, "gemini", 400, "invalid_request", param="alt")


async def test_a_prompt_of_40_mb_is_too_large(gateway: Any) -> None:
    """413 in either dialect; the rest of the upload is read and thrown away, so that the caller sees it."""
    prompt = "marker Qx7Zt " * 3_300_000
    headers = {"Authorization": f"Bearer {gateway.key}", "Content-Type": "application/json"}
    cases = [(OPENAI, {"prompt": prompt}, "openai"), (GEMINI, {"contents": [{"parts": [{"text": prompt}]}]}, "gemini")]
    for path, document, surface in cases:
        body = io.BytesIO(json.dumps(document).encode())
        answer = await gateway.ask("POST", path, headers=headers, data=body)
        assert_told(answer, surface, 413, "input_too_large")


async def test_a_body_beyond_the_limit_is_refused_before_it_is_read(start: Any, upstream: Any) -> None:
    """By its length, with `Expect` without a byte of it sent; a chunked one as soon as it is too long."""
    gateway = await start(server={"port": 0, "request_bytes_max": 100_000})
    wire = await gateway.dial()
    await wire.send(gateway.post(b"", headers={"Content-Length": "100001", "Expect": "100-continue"}))
    assert_told(await wire.answer(), "openai", 413, "input_too_large")
    wire = await gateway.dial()
    await wire.send(gateway.post(b"", headers={"Content-Length": "", "Transfer-Encoding": "chunked"}))
    for piece in (b'{"prompt": "', b"x" * 60_000, b"x" * 60_000):
        await wire.send(b"%x\r\n%s\r\n" % (len(piece), piece))
    assert_told(await wire.answer(), "openai", 413, "input_too_large")
    headers = {"Authorization": f"Bearer {gateway.key}", "Content-Type": "application/json"}

    def upload() -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=5)
        connection.request("POST", OPENAI, body=b"x" * 3_000_000, headers=headers)
        answer = connection.getresponse()
        told = json.loads(answer.read())
        connection.close()
        return answer.status, told["error"]["holdfast_code"]

    assert await asyncio.to_thread(upload) == (413, "input_too_large")


async def test_missing_and_wrong_keys_in_all_three_places(gateway: Any) -> None:
    """401 that says where a key goes, before a byte of the body is read."""
    bad: list[tuple[dict[str, str], str]] = [
        ({}, ""),
        ({"Authorization": "Bearer "}, ""),
        ({"Authorization": f"Basic {WRONG_KEY}"}, ""),
        ({"Authorization": f"Bearer {WRONG_KEY}"}, ""),
        ({"Authorization": f"Bearer {gateway.key}x"}, ""),
        ({"x-goog-api-key": WRONG_KEY}, ""),
        ({"x-goog-api-key": ""}, ""),
        ({}, f"?key={WRONG_KEY}"),
        ({}, "?key="),
    ]
    for headers, query in bad:
        for path, surface in ((OPENAI, "openai"), (GEMINI, "gemini")):
            answer = await gateway.ask("POST", path + query, headers=headers, json={"contents": [], "prompt": "Qx7Zt"})
            assert_told(answer, surface, 401, "invalid_api_key")
            assert answer.headers["www-authenticate"].startswith("Bearer")
        answer = await gateway.ask("GET", f"/v1/generations/gen_1{query}", headers=headers)
        assert_told(answer, "generations", 401, "invalid_api_key")
    wire = await gateway.dial()
    unread = {"Authorization": "", "Expect": "100-continue", "Content-Length": "1000"}
    await wire.send(gateway.post(b"", headers=unread))
    assert_told(await wire.answer(), "openai", 401, "invalid_api_key")


async def test_another_content_type_is_not_guessed_at(gateway: Any) -> None:
    """415, whatever the body holds."""
    body = json.dumps({"prompt": "marker Qx7Zt", "contents": [{"parts": [TEXT]}]}).encode()
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "json"):
        for path, surface in ((OPENAI, "openai"), (GEMINI, "gemini")):
            wire = await gateway.dial()
            await wire.send(gateway.post(body, path=path, headers={"Content-Type": kind}))
            assert_told(await wire.answer(), surface, 415, "unsupported_media_type")


async def test_an_unknown_model_is_404_and_names_those_that_are_served(gateway: Any) -> None:
    """In either dialect, by POST and by GET."""
    bearer, google = {"Authorization": f"Bearer {gateway.key}"}, {"x-goog-api-key": gateway.key}
    body = {"prompt": "marker Qx7Zt", "model": "dall-e-3"}
    answer = await gateway.ask("POST", OPENAI, headers=bearer, json=body)
    assert_told(answer, "openai", 404, "model_not_found", param="model")
    assert "nano-banana-pro" in answer.error["message"]
    assert_told(await gateway.gemini(model="dall-e-3"), "gemini", 404, "model_not_found", param="model")
    for path, headers, surface in (
        ("/v1/models/dall-e-3", bearer, "openai"),
        ("/v1/models/dall-e-3", google, "gemini"),
        ("/v1beta/models/dall-e-3", google, "gemini"),
    ):
        missing = await gateway.ask("GET", path, headers=headers)
        assert_told(missing, surface, 404, "model_not_found", param="model")


async def test_an_unknown_path_is_404_in_the_dialect_it_looks_like(gateway: Any) -> None:
    """Also with `/v1` forgotten or written twice, or a verb that is not served; what to change is said."""
    google = {"x-goog-api-key": gateway.key}
    method = "models/gemini-3-pro-image:generateContent"
    cases = [
        ("/v1/images/variations", None, "openai", "does not serve variations"),
        ("/images/generations", None, "openai", "must end in /v1."),
        ("/models", None, "openai", "must end in /v1."),
        ("/v1/images/generations/", None, "openai", "Leave out the slash"),
        ("/v1/v1/images/generations", None, "openai", "must not end in /v1."),
        (f"/v1/v1beta/{method}", google, "gemini", "must not end in /v1."),
        (f"/v1/v1/{method}", google, "gemini", "must not end in /v1."),
        (f"/v1beta/{method}/", google, "gemini", "Leave out the slash"),
        ("/", None, "openai", "See /docs."),
        ("/v1/", None, "openai", "See /docs."),
        ("/v1beta/cachedContents", google, "gemini", "See /docs."),
        ("/v1beta/models/gemini-3-pro-image:countTokens", google, "gemini", "See /docs."),
        ("/v1/models/gemini-3-pro-image:embedContent", None, "gemini", "See /docs."),
        ("/v1/generations/gen_1/nothing", None, "generations", "See /docs."),
    ]
    for path, headers, surface, hint in cases:
        answer = await gateway.ask("POST", path, headers=headers, json={"prompt": "marker Qx7Zt"})
        assert_told(answer, surface, 404, "not_found")
        assert hint in answer.body.decode()


async def test_a_wrong_method_is_405_and_says_which_are_right(gateway: Any) -> None:
    """RFC 9110 §15.5.6 asks for `Allow`."""
    google = {"x-goog-api-key": gateway.key}
    cases = [
        ("GET", OPENAI, None, "openai", "POST"),
        ("DELETE", "/v1/models", None, "openai", "GET, HEAD"),
        ("PUT", "/v1/models", google, "openai", "GET, HEAD"),
        ("GET", GEMINI, google, "gemini", "POST"),
        ("PUT", "/v1/generations/gen_1", None, "generations", "DELETE, GET, HEAD"),
        ("PATCH", "/healthz", None, "openai", "GET, HEAD"),
    ]
    for method, path, headers, surface, allowed in cases:
        answer = await gateway.ask(method, path, headers=headers)
        if surface == "openai" and headers is google:
            surface = "gemini"
        assert_told(answer, surface, 405, "method_not_allowed")
        assert answer.headers["allow"] == allowed
    head = await gateway.ask("HEAD", OPENAI)
    assert (head.status, head.body, head.headers["allow"]) == (405, b"", "POST")


async def test_control_characters_in_a_path_are_refused(gateway: Any) -> None:
    """A path goes into logs and messages."""
    for path in ("/v1/models/%00", "/v1/models/a%0d%0aSet-Cookie:x", "/v1beta/models/a%1b[31m:generateContent"):
        wire = await gateway.dial()
        await wire.send(gateway.post(path=path))
        answer = await wire.answer()
        assert (answer.status, answer.error["paid"]) == (400, "no")
        assert "set-cookie" not in answer.headers


CHUNKED = {"Content-Length": "", "Transfer-Encoding": "chunked"}


async def test_a_body_longer_than_announced_is_cut_at_its_length(gateway: Any) -> None:
    """What follows is no part of the request, nor another one; here what is left of it is no JSON."""
    wire = await gateway.dial()
    await wire.send(gateway.post(headers={"Content-Length": "20"}))
    assert_told(await wire.answer(), "openai", 400, "invalid_request")
    assert b"HTTP/1.1 200" not in await wire.rest()


@pytest.mark.parametrize(("path", "surface"), [(OPENAI, "openai"), (GEMINI, "gemini")])
async def test_framing_that_breaks_inside_a_body_is_told_in_the_dialect(
    start: Any, gateway: Any, path: str, surface: str
) -> None:
    """Chunks that are none, and a body that stops: the path is known by then."""
    wire = await gateway.dial()
    await wire.send(gateway.post(b"zz\r\ngarbage\r\n", path=path, headers=CHUNKED))
    assert_told(await wire.answer(), surface, 400, "invalid_request")
    assert await wire.rest() == b""
    quick = await start(server={"port": 0, "body_gap_s": 0.2})
    wire = await quick.dial()
    await wire.send(quick.post(b'{"prompt": "marker Qx7Zt', path=path, headers={"Content-Length": "1000"}))
    assert_told(await wire.answer(), surface, 408, "request_timeout")
    assert quick.count("generation") == 0


async def test_framing_that_could_mean_two_things_is_refused(gateway: Any) -> None:
    """Two lengths, a length and chunks, no Host or two: what another hop might read otherwise."""
    post = gateway.post()
    for wrong in (
        post.replace(b"\r\nContent-Length", b"\r\nContent-Length: 5\r\nContent-Length"),
        post.replace(b"\r\nContent-Length", b"\r\nTransfer-Encoding: chunked\r\nContent-Length"),
        post.replace(b"\r\nHost: ", b"\r\nX-Host: "),
        post.replace(b"\r\nHost: ", b"\r\nHost: other\r\nHost: "),
        post.replace(b"\r\nHost: ", b"\r\nHost : "),
    ):
        wire = await gateway.dial()
        await wire.send(wrong)
        assert_told(await wire.answer(), "openai", 400, "invalid_request")
        assert await wire.rest() == b""


async def test_headers_that_never_end_are_told_so(start: Any, gateway: Any) -> None:
    """By time or by size, and the connection ends."""
    strict = await start(server={"port": 0, "header_timeout_s": 0.2, "header_bytes_max": 4096})
    slow, large = await strict.dial(), await strict.dial()
    await slow.send(f"POST {OPENAI} HTTP/1.1\r\nHost: x\r\nX-Slow: 1\r\n".encode())
    await large.send(f"POST {OPENAI} HTTP/1.1\r\nHost: x\r\n".encode() + b"X-Large: 1\r\n" * 1000)
    assert_told(await large.answer(), "openai", 431, "headers_too_large")
    assert_told(await slow.answer(), "openai", 408, "request_timeout")
    assert await slow.rest() == b""
    assert strict.count("generation") == 0
